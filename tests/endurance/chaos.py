"""chaos.py BINARY OUT [--minutes 30] [--seed 1]: live at 30/s while everything around it goes wrong.

Two recorded streams, a pre-rendered virtual C-arm and a camera on a socket whose driver has a process of its own; a client
on the WebSocket that looks all the time; a spin that is reconstructed again and again. Every few seconds something
happens, drawn from a seed: a worker is killed, crashed, stopped or left without memory, the cores are starved, a client vanishes or never reads, the disk
fills, the camera is unplugged, its driver is killed. Afterwards every frame is looked for: in the daemon's ledger and in its
recordings, read by the mcap package. Writes OUT/chaos.json (what happened, recovery times, latency histogram, ledgers); exits 1
when a frame is unaccounted for or the live path was down for more than ten seconds. Needs root, for a disk of its own to fill
(a tmpfs that it mounts and takes away).
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader

import daemon

DOWN_MAX_S = 10
DISK_MIB = 6000
PAUSE_S = (3, 9)
COLUMNS, ROWS, RATE_HZ = 256, 200, 30
# Bounds of the latency histogram, ms.
BOUNDS_MS = [5, 10, 20, 33, 50, 100, 200, 500, 1000, 10000]


class Camera(threading.Thread):
    """Serves frames on a socket; `unplugged` closes it and lets nobody in."""

    def __init__(self):
        super().__init__(daemon=True)
        self.unplugged = threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0.2)
        self.port = self.server.getsockname()[1]
        self.frame = bytes(range(256)) * (2 * 64 * 48 // 256)

    def run(self):
        while True:
            with contextlib.suppress(OSError):
                peer, _ = self.server.accept()
                with peer:
                    due = time.monotonic()
                    while not self.unplugged.is_set():
                        peer.sendall(self.frame)
                        due += 1 / RATE_HZ
                        time.sleep(max(0.0, due - time.monotonic()))
            while self.unplugged.is_set():
                time.sleep(0.05)


class Chaos:
    def __init__(self, served, camera, disk, seed):
        self.served, self.camera, self.disk, self.random = served, camera, disk, random.Random(seed)
        self.events = []
        self.acts = [self.worker_killed, self.worker_crashed, self.worker_stopped, self.worker_out_of_memory, self.cores_starved, self.client_vanishes,
                     self.client_never_reads, self.disk_fills, self.camera_unplugged, self.driver_killed]

    def step(self):
        act = self.random.choice(self.acts)
        begun, since_unix = time.monotonic(), time.time()
        told = act()
        recovery_s = self.recovered()
        self.events.append({"at": round(since_unix, 1), "what": act.__name__, "told": told,
                            "lasted_s": round(time.monotonic() - begun - recovery_s, 2), "recovery_s": round(recovery_s, 2)})
        print(json.dumps(self.events[-1]), flush=True)
        time.sleep(self.random.uniform(*PAUSE_S))

    def recovered(self):
        """Until both streams are live, and recorded, again."""
        begun = time.monotonic()
        whole = lambda s: s["live"] == "live" and s["recording"]["state"] == "on"
        self.served.wait("recovery", lambda status: all(whole(stream) for stream in status["streams"]), 60)
        return time.monotonic() - begun

    def worker(self):
        """The process of a job at work; one is begun where there is none."""
        for _ in range(100):
            jobs = [job for job in self.served.status()["jobs"] if job["state"] == "running" and job["process"]]
            if jobs:
                return jobs[-1]["process"], jobs[-1]["id"]
            self.served.ask("/api/runs/spin/reconstruct", "POST")
            time.sleep(0.2)
        raise RuntimeError("no worker came to life")

    def job_ended(self, job):
        self.served.wait("the job's end", lambda status: any(
            j["id"] == job and j["state"] not in ("waiting", "running") for j in status["jobs"]), 120)
        found = next(j for j in self.served.status()["jobs"] if j["id"] == job)
        return f"{found['state']}, begun anew {found['restarts']} times: {found['error']}"

    def signalled(self, number):
        process, job = self.worker()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
        return self.job_ended(job)

    def worker_killed(self):
        return self.signalled(signal.SIGKILL)

    def worker_crashed(self):
        return self.signalled(signal.SIGABRT)

    def worker_stopped(self):
        return self.signalled(signal.SIGSTOP)

    def worker_out_of_memory(self):
        process, job = self.worker()
        # It gets no more than it has.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_DATA, (32 << 20, 32 << 20))
        return self.job_ended(job)

    def cores_starved(self):
        """Two busy processes a core, for eight seconds, a gigabyte of memory each."""
        code = "import time; m = bytearray(1 << 30); e = time.time() + 8\nwhile time.time() < e: m[0] ^= 1"
        for process in [subprocess.Popen(["python3", "-c", code]) for _ in range(2 * os.cpu_count())]:
            process.wait()
        return None

    def client_vanishes(self):
        viewer = daemon.Viewer(daemon.on_websocket, self.served.url, "carm")
        time.sleep(1.5)
        viewer.process.kill()
        viewer.process.join()
        return None

    def client_never_reads(self):
        host, port = re.match(r"http://(.+):(\d+)", self.served.url).groups()
        with socket.create_connection((host, int(port))) as silent:
            silent.sendall(f"GET /ws/live/carm HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
            time.sleep(8)
        return None

    def disk_fills(self):
        """Until nothing is free, for six seconds."""
        ballast = self.disk / "ballast"
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        time.sleep(6)
        lost = {s["name"]: s["ledger"]["record_lost"] for s in self.served.status()["streams"]}
        ballast.unlink()
        return f"frames that the recorder says it lost so far: {lost}"

    def camera_unplugged(self):
        self.camera.unplugged.set()
        time.sleep(self.random.uniform(0.5, 5))
        self.camera.unplugged.clear()
        return None

    def driver_killed(self):
        children = pathlib.Path(f"/proc/{self.served.process.pid}/task/{self.served.process.pid}/children")
        threads = pathlib.Path(f"/proc/{self.served.process.pid}/task").iterdir()
        ids = {int(child) for thread in threads for child in (thread / children.name).read_text().split()}
        drivers = [i for i in ids if b"driver" in pathlib.Path(f"/proc/{i}/cmdline").read_bytes()]
        for driver in drivers:
            os.kill(driver, signal.SIGKILL)
        return f"{len(drivers)} killed"


def recorded_frames(folder):
    """Sequence numbers in all recordings of each stream, by the mcap package; a torn end is passed over."""
    found = {}
    for path in sorted(folder.glob("*.mcap")):
        if path.name == "spin.mcap":
            continue
        stream = "camera" if "camera" in path.name else "carm"
        with open(path, "rb") as file, contextlib.suppress(McapError, EOFError, struct.error):
            for _, channel, message in NonSeekingReader(file, validate_crcs=True).iter_messages(log_time_order=False):
                if channel.topic == "/frames":
                    found.setdefault(stream, []).append(int.from_bytes(message.data[16:24], "little"))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    disk = options.out / "disk"
    disk.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", disk], check=True)
    try:
        report = told(options, disk)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    (options.out / "chaos.json").write_text(json.dumps(report, indent=1))
    print(json.dumps({key: value for key, value in report.items() if key != "events"}, indent=1))
    return 1 if report["failed"] else 0


def told(options, disk):
    runs = disk / "data/runs"
    runs.mkdir(parents=True)
    subprocess.run([options.binary, "simulate", "water-cylinder:200", "--protocol", "spine-spin", "--views", "60", "--ideal",
                    "--out", runs / "spin.mcap"], check=True, stdout=subprocess.DEVNULL)
    camera = Camera()
    camera.start()
    protocol = daemon.protocol(options.out / "live.toml", COLUMNS, ROWS, 1.4, RATE_HZ)
    configuration = (
        '[jobs]\nsilence-s = 2.0\n' + daemon.virtual_carm(protocol, 60.0) +
        '[[device]]\nname = "camera"\nrecord = "always"\nprocess = true\nfile-lasts-s = 60.0\n[device.camera]\n'
        f'launch = "tcpclientsrc host=127.0.0.1 port={camera.port} ! rawvideoparse format=gray16-le width=64 height=48 '
        f'framerate={RATE_HZ}/1 ! appsink"\nframe-rate-hz = {RATE_HZ}.0\nframe-numbers = "arrival"\n')
    with daemon.Daemon(options.binary, options.out, configuration, data=disk / "data") as served:
        for name in ("carm", "camera"):
            served.wait_live(name)
        viewer = daemon.Viewer(daemon.on_websocket, served.url, "carm")
        chaos, end = Chaos(served, camera, disk, options.seed), time.monotonic() + 60 * options.minutes
        chaos.recovered()
        while time.monotonic() < end:
            chaos.step()
        seen = viewer.stop()
        streams = {stream["name"]: stream["ledger"] for stream in served.stop()["streams"]}
    found = recorded_frames(runs)
    failed = []
    for name, ledger in streams.items():
        failed += [f"{name}, {where}: {count} frames unaccounted for"
                   for where, count in daemon.unaccounted(ledger).items() if count]
        numbers = found.get(name, [])
        if len(numbers) != ledger["recorded"]:
            failed.append(f"{name}: the ledger has {ledger['recorded']} recorded frames, the files {len(numbers)}")
    down = daemon.longest_silence_s(seen)
    if down > DOWN_MAX_S:
        failed.append(f"live path: down for {down} s, expected at most {DOWN_MAX_S}")
    late = [(readable - arrival) / 1e6 for _, arrival, _, readable in seen]
    histogram = {f"up to {bound} ms": sum(ms <= bound for ms in late) for bound in BOUNDS_MS}
    worst = {}
    for event in chaos.events:
        worst[event["what"]] = max(worst.get(event["what"], 0), event["recovery_s"])
    return {"minutes": options.minutes, "seed": options.seed, "happened": len(chaos.events), "longest_recovery_s": worst,
            "longest_silence_s": down, "client_ms": daemon.quantiles_ms(seen), "images_histogram": histogram,
            "ledgers": streams, "frames_in_recordings": {name: len(numbers) for name, numbers in found.items()},
            "events": chaos.events, "failed": failed}


if __name__ == "__main__":
    raise SystemExit(main())
