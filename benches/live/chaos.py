"""Chaos at the daemon: does the live path outlive its workers, its clients, its disk and its device?

chaos.py --binary PROGRAM [--minutes 30] [--size 256] [--rate 30] [--seed 1] [--out FOLDER]

One stream is always recorded, a second one is unplugged and plugged in again. Meanwhile, at random but from a seed:
workers are killed, stopped and starved of memory, clients vanish or never read, the disk fills and is freed, the device
goes away. At the end every sequence number of every stream is looked for: in the run files by an independent reader (the
Python package mcap), as a frame or as a gap that says so. Prints one JSON object: ledgers, latency histogram of a client,
each fault with the time until all was well again. Exits 1 when a frame is silently lost, the live path was down for more
than ten seconds, or a job ended without a result or a reason.

Filling the disk needs a small file system of its own (tmpfs, so root in a mount namespace); where it may not be had, that
fault is left out and the report says so. Needs the Python of the tests (`make oracles`).
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from mcap.stream_reader import StreamReader

DISK_MIB = 192
MOST_DOWN_S = 10.0
BOUNDS_MS = [1, 2, 5, 10, 20, 33, 50, 66, 100, 200, 500, 1000, 10000]

PROTOCOL = """
name = "chaos"
description = "Fluoroscopy or a spin for the chaos run"
kind = "{kind}"
views = {views}
frame_rate_hz = {rate}
[gantry]
source_to_isocenter_mm = 785.0
source_to_detector_mm = 1200.0
first_angle_deg = -100.0
arc_deg = {arc}
ramp_s = {ramp}
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
{volume}
"""


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return json.load(reply)


def post(url):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return {"refused": error.code}


class Watch(threading.Thread):
    """A well-behaved client: every live image by WebSocket, its latency, and the longest time without one."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.stops = url, False
        self.last = time.monotonic()
        self.images, self.worst_s, self.errors = 0, 0.0, []
        self.histogram = [0] * (len(BOUNDS_MS) + 1)
        self.longest_ms = 0.0

    def run(self):
        asyncio.run(self.receive())

    async def receive(self):
        from websockets.asyncio.client import connect

        while not self.stops:
            try:
                async with connect(self.url, max_size=None, compression=None) as page:
                    while not self.stops:
                        message = await asyncio.wait_for(page.recv(), 1.0)
                        if isinstance(message, str):
                            continue
                        now = time.monotonic()
                        took_ms = now * 1e3 - struct.unpack_from("<QQ", message, 16)[1] / 1e6
                        self.histogram[sum(took_ms > bound for bound in BOUNDS_MS)] += 1
                        self.longest_ms = max(self.longest_ms, took_ms)
                        self.worst_s = max(self.worst_s, now - self.last)
                        self.last, self.images = now, self.images + 1
            except (OSError, asyncio.TimeoutError, Exception) as error:  # noqa: BLE001  it is told, and tried again
                self.errors.append(type(error).__name__)
                await asyncio.sleep(0.05)
        self.worst_s = max(self.worst_s, time.monotonic() - self.last)


class Daemon:
    def __init__(self, options, folder):
        self.folder, self.options = folder, options
        self.data = folder / "data"
        self.fifo = folder / "panel.fifo"
        if not self.fifo.exists():
            os.mkfifo(self.fifo)
        self.simulate()
        self.small_disk = self.mount()
        (self.data / "runs").mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / "spin.mcap", self.data / "runs" / "old-spin.mcap")
        (self.data / "runs" / "old-spin.keep").touch()
        self.configure()
        self.process = subprocess.Popen(
            [options.binary, "serve", "--config", folder / "isocenter.toml", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.lines = []
        for line in self.process.stderr:
            found = re.search(r"live page at (http://\S+)/", line)
            if found:
                self.url = found.group(1)
                break
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()

    def mount(self):
        self.data.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", self.data], capture_output=True)
        return made.returncode == 0

    def simulate(self):
        size = self.options.size
        make = lambda **more: PROTOCOL.format(rate=self.options.rate, size=size, pitch=300 / size, **more)
        (self.folder / "live.toml").write_text(make(kind="fluoroscopy", views=8, arc=0.0, ramp=0.0, volume=""))
        volume = "[volume]\nshape = [128, 128, 128]\nvoxel_mm = 1.5\n"
        spin = PROTOCOL.format(kind="spin", views=120, arc=210.0, ramp=0.2, rate=self.options.rate, size=128, pitch=300 / 128, volume=volume)
        (self.folder / "spin.toml").write_text(spin)
        for name in ["live", "spin"]:
            run = self.folder / f"{name}.mcap"
            if not run.exists():
                subprocess.run(
                    [self.options.binary, "simulate", "water-cylinder:150", "--protocol", self.folder / f"{name}.toml",
                     "--ideal", "--out", run], check=True, capture_output=True,
                )

    def configure(self):
        launch = (f"filesrc location={self.fifo} blocksize=8192 ! rawvideoparse format=gray16-le width=64 height=64 "
                  "framerate=25/1 ! appsink")
        (self.folder / "isocenter.toml").write_text(
            f'[service]\nfolder = "{self.data}"\nlow-disk-mib = 16\n[service.retention]\nmost-mib = {DISK_MIB // 2}\n'
            f'[web]\nlisten = "127.0.0.1:0"\n[jobs]\nthreads = 1\nmemory-mib = 1024\nsilence-s = 2.0\n'
            f'[[device]]\nname = "panel"\nrecord = "always"\nfile-lasts-s = 10.0\n[device.recording]\nfile = "{self.folder}/live.mcap"\n'
            f'in-memory = true\nagain = true\n'
            f'[[device]]\nname = "grabber"\nreal-time = false\n[device.camera]\nlaunch = "{launch}"\n'
        )

    def status(self):
        return get(f"{self.url}/api/status")

    def worker(self):
        for job in self.status()["jobs"]:
            if job["state"] == "running" and job["process"]:
                return job
        return None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.small_disk:
            subprocess.run(["umount", self.data], capture_output=True)


class Grabber(threading.Thread):
    """The frames of the camera that is unplugged: 25 a second into a FIFO while it is plugged in."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.is_plugged, self.stops = path, True, False

    def run(self):
        frame = struct.pack("<4096H", *range(4096))
        while not self.stops:
            if not self.is_plugged:
                time.sleep(0.02)
                continue
            try:
                with open(self.path, "wb", buffering=0) as fifo:
                    while self.is_plugged and not self.stops:
                        fifo.write(frame)
                        time.sleep(0.04)
            except OSError:
                time.sleep(0.05)


def wait_until(is_so, longest_s):
    """Seconds until it is so, or none."""
    begun = time.monotonic()
    while time.monotonic() - begun < longest_s:
        try:
            if is_so():
                return time.monotonic() - begun
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.02)
    return None


class Faults:
    """Each gives how long it took until all was well again, or none when it did not."""

    def __init__(self, daemon, grabber):
        self.daemon, self.grabber, self.hogs = daemon, grabber, []

    def start_job(self):
        if self.daemon.worker() is None:
            post(f"{self.daemon.url}/api/runs/old-spin/reconstruct")
            wait_until(lambda: self.daemon.worker() is not None, 10)
        return self.daemon.worker()

    def signal_worker(self, number):
        job = self.start_job()
        if job is None:
            return None
        try:
            os.kill(job["process"], number)
        except ProcessLookupError:
            return 0.0
        is_settled = lambda: next(
            now["process"] != job["process"] for now in self.daemon.status()["jobs"] if now["id"] == job["id"]
        )
        return wait_until(is_settled, 30)

    def kill_worker(self):
        return self.signal_worker(signal.SIGKILL)

    def crash_worker(self):
        return self.signal_worker(signal.SIGABRT)

    def stop_worker(self):
        return self.signal_worker(signal.SIGSTOP)

    def starve_worker(self):
        job = self.start_job()
        if job is None:
            return None
        try:
            subprocess.run(["prlimit", f"--pid={job['process']}", "--data=33554432"], capture_output=True)
        except OSError:
            return 0.0
        is_over = lambda: next(
            now["state"] not in ("running", "waiting") for now in self.daemon.status()["jobs"] if now["id"] == job["id"]
        )
        return wait_until(is_over, 60)

    def hog_the_processor(self):
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 2)]
        time.sleep(3)
        for hog in hogs:
            hog.kill()
            hog.wait()
        return self.until_live("panel")

    def client_vanishes(self):
        host, port = self.daemon.url.removeprefix("http://").split(":")
        for _ in range(5):
            client = self.handshake(host, int(port))
            client.recv(1000)
            # A reset, not a farewell.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        return self.until_live("panel")

    def client_never_reads(self):
        host, port = self.daemon.url.removeprefix("http://").split(":")
        lazy = [self.handshake(host, int(port)) for _ in range(5)]
        time.sleep(3)
        took = self.until_live("panel")
        for client in lazy:
            client.close()
        return took

    def handshake(self, host, port):
        client = socket.create_connection((host, port), timeout=5)
        client.sendall(
            f"GET /ws/live/panel HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return client

    def disk_fills(self):
        hog = self.daemon.data / "hog"
        with open(hog, "wb") as file:
            try:
                while True:
                    file.write(b"x" * (1 << 20))
                    file.flush()
            except OSError:
                pass
        wait_until(lambda: self.stream("panel")["recording"]["state"] == "failed", 15)
        hog.unlink()
        return wait_until(lambda: self.stream("panel")["recording"]["state"] == "on", 30)

    def device_unplugs(self):
        self.grabber.is_plugged = False
        wait_until(lambda: self.stream("grabber")["live"] != "live", 10)
        time.sleep(0.5)
        self.grabber.is_plugged = True
        return self.until_live("grabber")

    def stream(self, name):
        return next(stream for stream in self.daemon.status()["streams"] if stream["name"] == name)

    def until_live(self, name):
        return wait_until(lambda: self.stream(name)["live"] == "live", 30)


class Audit(threading.Thread):
    """Reads each run file of the recorded stream as soon as it is closed, before it is taken away to make room."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_, self.read, self.frames, self.gaps, self.stops = daemon, set(), set(), [], False

    def run(self):
        while not self.stops:
            try:
                self.look()
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.5)

    def look(self):
        for run in get(f"{self.daemon_.url}/api/runs"):
            if run["id"].startswith("panel-") and run["state"] != "recording" and run["id"] not in self.read:
                self.take(Path(run["path"]))
                self.read.add(run["id"])

    def take(self, path):
        topics = {}
        with open(path, "rb") as file:
            try:
                for record in StreamReader(file, record_size_limit=None).records:
                    kind = type(record).__name__
                    if kind == "Channel":
                        topics[record.id] = record.topic
                    elif kind == "Message" and topics.get(record.channel_id) == "/frames":
                        self.frames.add(struct.unpack_from("<Q", record.data, 16)[0])
                    elif kind == "Message" and topics.get(record.channel_id) == "/gaps":
                        gap = json.loads(record.data)
                        self.gaps.append((gap["first_sequence"], gap["count"], gap["reason"].split(":")[0]))
            except Exception:  # noqa: BLE001  a run that a full disk cut off ends in the middle
                return

    def missing(self):
        """Numbers between the first and the last that are neither a frame nor in a gap."""
        told = {number for first, count, _ in self.gaps for number in range(first, first + count)}
        known = self.frames | told
        return sorted(set(range(min(known), max(known) + 1)) - known) if known else []


def disturb(daemon, options):
    grabber = Grabber(daemon.fifo)
    grabber.start()
    faults = Faults(daemon, grabber)
    wait_until(lambda: all(stream["live"] == "live" for stream in daemon.status()["streams"]), 30)
    post(f"{daemon.url}/api/streams/grabber/recording/start")
    watch, audit = Watch(daemon.url.replace("http", "ws") + "/ws/live/panel"), Audit(daemon)
    watch.start()
    audit.start()
    choice = random.Random(options.seed)
    kinds = ["kill_worker", "crash_worker", "stop_worker", "starve_worker", "hog_the_processor", "client_vanishes",
             "client_never_reads", "device_unplugs"] + (["disk_fills"] if daemon.small_disk else [])
    done, jobs, deadline = [], {}, time.monotonic() + 60 * options.minutes
    bag = []
    while time.monotonic() < deadline:
        # Every kind once before any comes again.
        bag = bag or choice.sample(kinds, len(kinds))
        kind = bag.pop()
        begun = time.monotonic()
        took = getattr(faults, kind)()
        done.append({"fault": kind, "recovered_s": None if took is None else round(took, 2)})
        jobs.update({job["id"]: (job["state"], job["error"], job["restarts"]) for job in daemon.status()["jobs"]})
        print(f"{kind}: {took} s, {time.monotonic() - begun:.1f} s in all", file=sys.stderr)
        time.sleep(choice.uniform(0.5, 2.0))
    grabber.is_plugged = True
    wait_until(lambda: faults.stream("panel")["recording"]["state"] == "on", 30)
    time.sleep(2)
    status = daemon.status()
    # The last file is closed, and looked at with the others.
    post(f"{daemon.url}/api/streams/panel/recording/stop")
    watch.stops = True
    time.sleep(1)
    audit.stops = True
    audit.join(20)
    audit.look()
    daemon.process.terminate()
    ended = json.loads(daemon.process.communicate(timeout=60)[0])
    return verdict(options, daemon, done, jobs, watch, audit, status, ended)


def verdict(options, daemon, done, jobs, watch, audit, status, ended):
    ledgers = {stream["name"]: stream["ledger"] for stream in ended["streams"]}
    failures = []
    for name, ledger in ledgers.items():
        shown = ledger["shown"] + ledger["skipped"] + ledger["held"] + ledger["unshowable"]
        kept = ledger["recorded"] + ledger["record_lost"] + ledger["unrecorded"]
        if not ledger["received"] == shown == kept:
            failures.append(f"{name}: the ledger does not balance: {ledger}")
    missing = audit.missing()
    if missing:
        failures.append(f"{len(missing)} numbers are neither a frame nor in a gap, from {missing[:5]}")
    if watch.worst_s > MOST_DOWN_S:
        failures.append(f"no live image for {watch.worst_s:.1f} s")
    failures += [f"{fault['fault']}: not recovered" for fault in done if fault["recovered_s"] is None]
    failures += [f"job {id}: failed without a reason" for id, job in jobs.items() if job[0] == "failed" and not job[1]]
    if "old-spin" not in [run["id"] for run in ended["runs"]]:
        failures.append("a run marked to be kept was taken away")
    bounds = [f"<= {bound}" for bound in BOUNDS_MS] + ["above"]
    worst = {}
    for fault in done:
        worst[fault["fault"]] = max(worst.get(fault["fault"], 0), fault["recovered_s"] or 0)
    return {
        "minutes": options.minutes, "seed": options.seed, "size": options.size, "rate_hz": options.rate,
        "load_average": os.getloadavg()[0], "disk_filled": daemon.small_disk or "left out: needs root for a small file system",
        "failures": failures, "ledgers": ledgers,
        "client": {"images": watch.images, "longest_ms": round(watch.longest_ms, 1),
                   "longest_without_an_image_s": round(watch.worst_s, 2), "reconnected": len(watch.errors),
                   "latency_ms": {name: count for name, count in zip(bounds, watch.histogram) if count}},
        "recorded": {"files": len(audit.read), "frames": len(audit.frames),
                     "gaps": [f"{count} from {first}: {why}" for first, count, why in audit.gaps]},
        "runs_retired": status["runs_retired"], "recorder_capacity": status["recorder_capacity"],
        "faults": len(done), "worst_recovery_s": worst,
        "jobs": {str(id): job for id, job in jobs.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    folder = options.out or Path(tempfile.mkdtemp(prefix="isocenter-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    daemon = Daemon(options, folder)
    try:
        report = disturb(daemon, options)
    finally:
        daemon.close()
    print(json.dumps(report, indent=1))
    sys.exit(0 if not report["failures"] else 1)


if __name__ == "__main__":
    main()
