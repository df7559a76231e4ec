"""Latency of the daemon: from the last byte in the device's slot to a client that holds the finished image.

latency.py --binary PROGRAM [--seconds 60] [--size 1024] [--rate 30] [--load] [--prefer-clients] [--out FOLDER]

Pre-rendered frames of the virtual C-arm, all live stages and the recording on. Two clients, each a process: one maps the
live ring that D-Bus hands out and copies each image, one receives each image on the page's WebSocket. Both compare the
host's monotonic clock with the arrival that the image carries. `--load` keeps a reconstruction running beside them;
`--prefer-clients` gives the clients real-time priority, so that on a busy machine it is the daemon that is measured.
Prints one JSON object. Needs the Python of the tests (`make oracles`), dbus-daemon, and a quiet machine.
"""

import argparse
import asyncio
import json
import mmap
import multiprocessing
import os
import re
import statistics
import struct
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

PROTOCOL = """
name = "latency"
description = "Fluoroscopy for the measurement of latency"
kind = "fluoroscopy"
views = {views}
frame_rate_hz = {rate}
[gantry]
source_to_isocenter_mm = 785.0
source_to_detector_mm = 1200.0
first_angle_deg = 0.0
arc_deg = 0.0
ramp_s = 0.0
[detector]
columns = {size}
rows = {size}
pixel_pitch_mm = {pitch}
bits = 14
offset_counts = 200.0
air_counts = 13000.0
electronic_noise_counts = 2.0
[beam]
spectrum = "w70_cu0.6"
tube_voltage_kv = 70.0
tube_current_ma = 80.0
pulse_width_ms = 10.0
effective_energy_kev = 53.0
grid_primary_transmission = 0.7
grid_scatter_transmission = 0.2
"""


def monotonic_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def prefer_if(asked):
    if asked:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def summary(latencies_ms, skipped):
    ordered = sorted(latencies_ms)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
    return {
        "images": len(ordered), "not_seen": skipped, "mean_ms": round(statistics.fmean(ordered), 2),
        "p50_ms": at(0.5), "p99_ms": at(0.99), "p99.9_ms": at(0.999), "max_ms": round(ordered[-1], 2),
    }


def ring_client(address, seconds, prefers, results):
    """Copies every image of the live ring as soon as it is there."""
    from dbus_fast.aio import MessageBus

    prefer_if(prefers)

    async def open_ring():
        bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
        path = "/org/isocenter/Daemon1/stream/panel"
        proxy = bus.get_proxy_object("org.isocenter.Daemon1", path, await bus.introspect("org.isocenter.Daemon1", path))
        return await proxy.get_interface("org.isocenter.LiveStream1").call_open_ring()

    file, layout = asyncio.run(open_ring())
    words = np.frombuffer(mmap.mmap(file, 0, prot=mmap.PROT_READ), dtype=np.uint64)
    counts_words = (layout["columns"] * layout["rows"] + 3) // 4
    image = np.empty(counts_words, dtype=np.uint64)
    latencies, skipped, seen = [], 0, int(words[0])
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        published = int(words[0])
        if published == seen:
            time.sleep(0.0002)
            continue
        skipped += published - seen - 1
        seen = published
        slot = layout["control_words"] + (seen - 1) % layout["slots"] * layout["slot_words"]
        arrived = int(words[slot + 3])
        start = slot + 1 + layout["header_words"] + layout["note_words"]
        np.copyto(image, words[start : start + counts_words])
        held = monotonic_ns()
        if int(words[slot]) != 2 * (seen - 1) + 2:
            skipped += 1
            continue
        latencies.append((held - arrived) / 1e6)
    results.put(("d-bus ring", summary(latencies, skipped)))


def web_client(url, seconds, prefers, results):
    """Receives every image on the WebSocket."""
    from websockets.asyncio.client import connect

    prefer_if(prefers)

    async def receive():
        latencies, skipped, last = [], 0, None
        async with connect(url, max_size=None, compression=None) as socket:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                message = await socket.recv()
                held = monotonic_ns()
                if isinstance(message, str):
                    continue
                sequence, arrived = struct.unpack_from("<QQ", message, 16)
                if last is not None:
                    skipped += sequence - last - 1
                last = sequence
                latencies.append((held - arrived) / 1e6)
        return summary(latencies, skipped)

    results.put(("websocket", asyncio.run(receive())))


def post(url):
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as reply:
        return json.load(reply)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as reply:
        return json.load(reply)


def keep_busy(url, run, until):
    """Keeps one reconstruction running; gives how many were begun."""
    begun = 0
    while time.monotonic() < until:
        jobs = get(f"{url}/api/status")["jobs"]
        if not any(job["state"] in ("waiting", "running") for job in jobs):
            post(f"{url}/api/runs/{run}/reconstruct")
            begun += 1
        time.sleep(0.5)
    return begun


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--prefer-clients", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="isocenter-latency-"))
    data = folder / "data"
    (data / "runs").mkdir(parents=True, exist_ok=True)
    binary = os.path.abspath(options.binary)
    frames = folder / f"frames-{options.size}.mcap"
    if not frames.exists():
        protocol = folder / "latency.toml"
        text = PROTOCOL.format(views=12, rate=options.rate, size=options.size, pitch=300 / options.size)
        protocol.write_text(text)
        subprocess.run([binary, "simulate", "water-cylinder:200", "--protocol", protocol, "--without", "scatter", "--out", frames], check=True)
    load = data / "runs" / "load-spin.mcap"
    if options.load and not load.exists():
        subprocess.run([binary, "simulate", "water-cylinder:200", "--protocol", "spine-spin", "--ideal", "--out", load], check=True)
    configuration = folder / "isocenter.toml"
    configuration.write_text(
        f'[service]\nfolder = "{data}"\n[web]\nlisten = "127.0.0.1:0"\n[dbus]\nbus = "session"\n[[device]]\nname = "panel"\n'
        f'record = "always"\n[device.recording]\nfile = "{frames}"\nin-memory = true\nagain = true\n'
    )
    bus = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address=1"], stdout=subprocess.PIPE, text=True)
    address = bus.stdout.readline().strip()
    daemon = subprocess.Popen(
        [binary, "serve", "--config", configuration, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": address},
    )
    try:
        url = None
        while url is None:
            found = re.search(r"live page at (http://\S+)/", daemon.stderr.readline())
            url = found and found.group(1)
        time.sleep(2)
        results = multiprocessing.Queue()
        clients = [
            multiprocessing.Process(target=ring_client, args=(address, options.seconds, options.prefer_clients, results)),
            multiprocessing.Process(
                target=web_client,
                args=(url.replace("http", "ws") + "/ws/live/panel", options.seconds, options.prefer_clients, results),
            ),
        ]
        for client in clients:
            client.start()
        begun = keep_busy(url, "load-spin", time.monotonic() + options.seconds) if options.load else 0
        told = dict(results.get(timeout=options.seconds + 60) for _ in clients)
        status = get(f"{url}/api/status")["streams"][0]
        daemon.terminate()
        report = json.loads(daemon.communicate(timeout=60)[0])
    finally:
        daemon.kill()
        bus.kill()
    print(json.dumps({
        "size": options.size, "rate_hz": options.rate, "seconds": options.seconds, "reconstructions": begun, "clients_preferred": options.prefer_clients,
       
        "real_time": status["real_time"], **told, "daemon_p99_ms": status["latency_p99_ms"],
        "ledger": report["streams"][0]["ledger"],
    }, indent=1))


if __name__ == "__main__":
    main()
