"""A D-Bus client of the daemon that nobody here wrote the protocol of: dbus-fast.

dbus_client.py ADDRESS STREAM
Takes a spin from arming to its end by the introspected interface, maps the live ring, reads images from it, and tries to
alter them.
"""

import asyncio
import json
import mmap
import os
import struct
import sys

from dbus_fast import DBusError
from dbus_fast.aio import MessageBus

NAME, DAEMON = "org.isocenter.Daemon1", "/org/isocenter/Daemon1"
address, stream = sys.argv[1:]


def read_newest(ring, layout):
    """The newest image with its sequence number, or none when it was overwritten meanwhile."""
    word = lambda at: struct.unpack_from("=Q", ring, 8 * at)[0]
    published = word(0)
    if not published:
        return None
    newest = published - 1
    slot = layout["control_words"] + newest % layout["slots"] * layout["slot_words"]
    if word(slot) != 2 * newest + 2:
        return None
    sequence = word(slot + 1)
    start = 8 * (slot + 1 + layout["header_words"] + layout["note_words"])
    counts = struct.unpack_from(f"={layout['columns'] * layout['rows']}H", ring, start)
    window = word(slot + 1 + layout["header_words"])
    if word(slot) != 2 * newest + 2:
        return None
    return {"sequence": sequence, "low": window & 0xFFFF, "high": window >> 16 & 0xFFFF, "mean": sum(counts) / len(counts)}


def refused(attempt):
    try:
        attempt()
    except (OSError, ValueError):
        return True
    return False


async def main():
    bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
    path = f"{DAEMON}/stream/{stream}"
    described = await bus.introspect(NAME, path)
    proxy = bus.get_proxy_object(NAME, path, described)
    spin, live = proxy.get_interface("org.isocenter.Spin1"), proxy.get_interface("org.isocenter.LiveStream1")
    told = []
    proxy.get_interface("org.freedesktop.DBus.Properties").on_properties_changed(
        lambda interface, changed, _: told.append(changed["State"].value)
        if interface == "org.isocenter.Spin1" and "State" in changed
        else None
    )
    # There is a ring once the device has delivered a frame.
    for _ in range(200):
        try:
            file, layout = await live.call_open_ring()
            break
        except DBusError:
            await asyncio.sleep(0.05)
    ring = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    images = []
    while len(images) < 5:
        image = read_newest(ring, layout)
        if image and all(image["sequence"] != known["sequence"] for known in images):
            images.append(image)
        await asyncio.sleep(0.01)
    alterations = [
        refused(lambda: mmap.mmap(file, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)),
        refused(lambda: os.pwrite(file, b"x", 0)),
        refused(lambda: os.ftruncate(file, 4096)),
    ]
    run = await spin.call_arm()
    await spin.call_start()
    for _ in range(600):
        if await spin.get_state() == "complete":
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    views, _ = await spin.get_views()
    daemon = bus.get_proxy_object(NAME, DAEMON, await bus.introspect(NAME, DAEMON))
    jobs_interface = daemon.get_interface("org.isocenter.Jobs1")
    jobs = []
    for _ in range(1200):
        jobs = await jobs_interface.call_list()
        if jobs and jobs[-1][3] in ("done", "failed"):
            break
        await asyncio.sleep(0.05)
    print(json.dumps({"images": images, "alterations_refused": alterations, "run": run, "state": await spin.get_state(),
                      "told": told, "views": views, "jobs": jobs}))


asyncio.run(main())
