"""A daemon under test, and clients that look at its live images: what latency.py, chaos.py and soak.py share.

Clients run in processes of their own, and note when each image could be read: through the WebSocket by `picows` (which costs
8 MiB 4 ms; `websockets` costs them 10), through the D-Bus ring by `dbus-fast` and a mapped file. Times are those of the host's monotonic clock, which the daemon stamps each
frame with when its last byte has come.
"""
import asyncio
import contextlib
import json
import mmap
import multiprocessing
import pathlib
import re
import signal
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROTOCOL = ROOT / "devices/simulated/protocols/fluoro-ap.toml"
PATIENT = ROOT / "tests/data/lidc_idri_0001_thorax.nii.gz"
# An image on the WebSocket: the header's places of sequence, arrival and finish.
HEADER = struct.Struct("<QQQ")
HEADER_AT = 16
# Words of the ring's header, and of the note behind it.
RING_SEQUENCE, RING_ARRIVAL, RING_FINISHED = 0, 2, 1


def protocol(path, columns, rows, pitch_mm, rate_hz):
    """The fluoroscopy protocol with another detector."""
    text = PROTOCOL.read_text()
    for key, value in {"columns": columns, "rows": rows, "pixel_pitch_mm": pitch_mm, "frame_rate_hz": rate_hz}.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1, key
    path.write_text(text)
    return path


def virtual_carm(protocol_path, file_lasts_s):
    """A device of the configuration: pre-rendered frames of the chest, always recorded."""
    return (f'[[device]]\nname = "carm"\nrecord = "always"\nfile-lasts-s = {file_lasts_s}\n'
            f'[device.virtual-carm]\npatient = "{PATIENT}"\nprotocol = "{protocol_path}"\nframes = 8\n')


class Daemon:
    """`isocenter serve`, with a page on a free port and D-Bus on a socket, until the end of a `with` block."""

    def __init__(self, binary, folder, configuration, data=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.peer = folder, data or folder / "data", folder / "peer"
        head = (f'[service]\nfolder = "{self.data}"\n[dbus]\npeer_socket = "{self.peer}"\n'
                '[web]\nlisten = "127.0.0.1:0"\n')
        self.path = folder / "isocenter.toml"
        # Retention is a part of [service], whose head stands above.
        self.path.write_text(head + configuration)
        self.process = subprocess.Popen([binary, "serve", "--config", self.path, "--json"], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log = open(folder / "daemon.log", "w")
        self.url, self.address = None, f"unix:path={self.peer}"
        for line in self.process.stderr:
            self.log.write(line)
            if found := re.search(r"live page at (\S+)", line):
                self.url = found[1].rstrip("/")
                break
        if not self.url:
            raise RuntimeError(f"the daemon has no page; see {folder}/daemon.log")
        self.reader = threading.Thread(target=lambda: [self.log.write(line) for line in self.process.stderr], daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, path, verb="GET"):
        request = urllib.request.Request(self.url + path, method=verb, data=b"" if verb == "POST" else None)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return {"refused": error.code, **json.loads(error.read() or b"{}")}

    def status(self):
        return self.ask("/api/status")

    def stream(self, name):
        return next(stream for stream in self.status()["streams"] if stream["name"] == name)

    def wait(self, what, is_so, patience_s=120):
        deadline = time.monotonic() + patience_s
        while not is_so(status := self.status()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {patience_s} s: {json.dumps(status)[:600]}")
            time.sleep(0.1)
        return status

    def wait_live(self, name):
        self.wait(f"{name} live", lambda status: any(s["name"] == name and s["live"] == "live" for s in status["streams"]))

    def stop(self):
        """Ends it in order: its report."""
        self.process.send_signal(signal.SIGTERM)
        report = json.loads(self.process.stdout.read())
        if self.process.wait(60) != 0:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}; see {self.log.name}")
        return report

    def memory_mib(self):
        """Resident, anonymous and shared."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


class Viewer:
    """A client in a process of its own; `seen` has an entry (sequence, arrival, finish, readable), ns, for each image."""

    def __init__(self, look, *arguments):
        self.ends, (here, there) = multiprocessing.Event(), multiprocessing.Pipe(False)
        self.pipe = here
        self.process = multiprocessing.Process(target=_looking, args=(look, there, self.ends, *arguments), daemon=True)
        self.process.start()

    def stop(self):
        self.ends.set()
        seen = self.pipe.recv()
        self.process.join()
        return seen


def _looking(look, pipe, ends, *arguments):
    seen = []
    with contextlib.suppress(KeyboardInterrupt):
        look(seen, ends, *arguments)
    pipe.send(seen)


def on_websocket(seen, ends, url, stream):
    """Reads every message that comes, its fragments laid together."""
    from picows import WSError, WSListener, WSMsgType, ws_connect

    class Images(WSListener):
        def on_ws_frame(self, transport, frame):
            if frame.msg_type == WSMsgType.BINARY:
                self.image = bytearray()
            elif frame.msg_type != WSMsgType.CONTINUATION:
                return
            self.image += frame.get_payload_as_memoryview()
            if frame.fin:
                seen.append((*HEADER.unpack_from(self.image, HEADER_AT), time.monotonic_ns()))

    async def look():
        while not ends.is_set():
            try:
                transport, _ = await ws_connect(Images, url.replace("http", "ws") + f"/ws/live/{stream}", max_frame_size=1 << 24)
            except (OSError, WSError):
                await asyncio.sleep(0.2)
                continue
            gone = asyncio.ensure_future(transport.wait_disconnected())
            while not ends.is_set() and not gone.done():
                await asyncio.wait([gone], timeout=0.2)
            transport.disconnect()

    asyncio.run(look())


def on_chromium(seen, ends, url, stream):
    """Watches the live page in a headless Chromium that draws without a GPU: each image from its frame's last byte to the canvas."""
    from playwright.sync_api import sync_playwright
    watch = """() => {
        let drawn = 0;
        window.drawnImages = [];
        const look = () => {
            requestAnimationFrame(look);
            const view = window.isocenterView;
            if (!view || view.drawn === drawn) return;
            drawn = view.drawn;
            window.drawnImages.push([Number(view.image.sequence), view.latencyMs]);
        };
        look();
    }"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium",
                                             args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(url)
        page.evaluate(watch)
        ends.wait()
        seen += [(sequence, 0, 0, round(1e6 * late_ms)) for sequence, late_ms in page.evaluate("() => window.drawnImages")]
        browser.close()


def on_ring(seen, ends, address, stream):
    """Looks at the mapped ring every half millisecond, and copies each new image out."""
    layout, ring = asyncio.run(_opened(address, stream))
    word = lambda at: struct.unpack_from("=Q", ring, 8 * at)[0]
    published = word(0)
    while not ends.is_set():
        if (now := word(0)) == published:
            time.sleep(0.0005)
            continue
        published, image = now, now - 1
        slot = layout["control_words"] + image % layout["slots"] * layout["slot_words"]
        header, note = slot + 1, slot + 1 + layout["header_words"]
        start = 8 * (note + layout["note_words"])
        counts = ring[start:start + 2 * layout["columns"] * layout["rows"]]
        entry = (word(header + RING_SEQUENCE), word(header + RING_ARRIVAL), word(note + RING_FINISHED))
        if word(slot) == 2 * image + 2 and counts:
            seen.append((*entry, time.monotonic_ns()))


async def _opened(address, stream):
    from dbus_fast.aio import MessageBus
    name, path = "org.isocenter.Daemon1", f"/org/isocenter/Daemon1/stream/{stream}"
    bus = await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()
    proxy = bus.get_proxy_object(name, path, await bus.introspect(name, path))
    file, layout = await proxy.get_interface("org.isocenter.LiveStream1").call_open_ring()
    return layout, mmap.mmap(file, 0, prot=mmap.PROT_READ)


def quantiles_ms(seen):
    """Of the time from a frame's last byte to the readable image."""
    late = sorted((readable - arrival) / 1e6 for _, arrival, _, readable in seen)
    if not late:
        raise RuntimeError("no image was seen")
    at = lambda share: round(late[min(len(late) - 1, int(share * len(late)))], 2)
    return {"images": len(late), "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": round(late[-1], 2)}


def longest_silence_s(seen):
    """Between two images that were readable."""
    times = [entry[3] for entry in seen]
    return round(max((b - a for a, b in zip(times, times[1:])), default=0) / 1e9, 3)


def unaccounted(ledger):
    """Frames that a ledger does not know the fate of."""
    shown = ledger["shown"] + ledger["skipped"] + ledger["held"] + ledger["unshowable"]
    kept = ledger["recorded"] + ledger["record_lost"] + ledger["unrecorded"]
    return {"live": ledger["received"] - shown, "recording": ledger["received"] - kept}
