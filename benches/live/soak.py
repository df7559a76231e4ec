"""An hour of live: does the daemon's memory grow?

soak.py --binary PROGRAM [--minutes 60] [--settle 5] [--size 512] [--rate 30] [--out FOLDER]

One stream, always recorded, files of half a minute, retention on; a client on the WebSocket and one that asks for status
and metrics. Memory of the daemon (resident, without what it shares with others) is read twice a second; a straight line
is fitted to what came after the first `--settle` minutes. Prints one JSON object; exits 1 when the line rises by more
than 1 % an hour and by more than its own uncertainty, or a frame was lost. Needs the Python of the tests.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
import re
import subprocess

import numpy as np

from chaos import PROTOCOL, Watch, get

MOST_PERCENT_PER_HOUR = 1.0


def memory_kib(process):
    """Anonymous memory alone: pages of files come and go as the system likes."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text).group(1)) + int(re.search(r"RssShmem:\s+(\d+)", text).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--settle", type=float, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    folder = options.out or Path(tempfile.mkdtemp(prefix="isocenter-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    size = options.size
    (folder / "live.toml").write_text(
        PROTOCOL.format(kind="fluoroscopy", views=8, arc=0.0, ramp=0.0, volume="", rate=options.rate, size=size, pitch=300 / size)
    )
    run = folder / "live.mcap"
    subprocess.run([binary, "simulate", "water-cylinder:150", "--protocol", folder / "live.toml", "--without", "scatter",
                    "--out", run], check=True, capture_output=True)
    (folder / "isocenter.toml").write_text(
        f'[service]\nfolder = "{folder}/data"\n[service.retention]\nmost-mib = 1000\n[web]\nlisten = "127.0.0.1:0"\n'
        f'[[device]]\nname = "panel"\nrecord = "always"\nfile-lasts-s = 30.0\n[device.recording]\nfile = "{run}"\n'
        "in-memory = true\nagain = true\n"
    )
    daemon = subprocess.Popen([binary, "serve", "--config", folder / "isocenter.toml", "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = next(found.group(1) for line in daemon.stderr if (found := re.search(r"live page at (http://\S+)/", line)))
    threading.Thread(target=daemon.stderr.read, daemon=True).start()
    watch = Watch(url.replace("http", "ws") + "/ws/live/panel")
    watch.start()
    seconds, kib, begun = [], [], time.monotonic()
    try:
        while (at := time.monotonic() - begun) < 60 * options.minutes:
            seconds.append(at)
            kib.append(memory_kib(daemon.pid))
            status = get(f"{url}/api/status")
            urllib.request.urlopen(f"{url}/metrics", timeout=5).read()
            time.sleep(0.5)
        daemon.terminate()
        ended = json.loads(daemon.communicate(timeout=60)[0])
    finally:
        daemon.kill()
    settled = np.array(seconds) > 60 * options.settle
    hours, memory = np.array(seconds)[settled] / 3600, np.array(kib, float)[settled]
    (slope, start), covariance = np.polyfit(hours, memory, 1, cov=True)
    percent, uncertain = 100 * slope / memory.mean(), 200 * np.sqrt(covariance[0, 0]) / memory.mean()
    ledger = ended["streams"][0]["ledger"]
    lost = ledger["lost"] + ledger["record_lost"]
    has_failed = bool(lost) or (percent > MOST_PERCENT_PER_HOUR and percent > uncertain)
    print(json.dumps({
        "minutes": options.minutes, "settle_minutes": options.settle, "size": size, "rate_hz": options.rate,
        "memory_mib": {"start": kib[0] / 1024, "settled": memory[0] / 1024, "end": memory[-1] / 1024},
        "percent_per_hour": round(percent, 2), "uncertainty_percent_per_hour": round(uncertain, 2),
        "runs_retired": status["runs_retired"], "client_images": watch.images, "ledger": ledger, "failed": has_failed,
    }, indent=1))
    sys.exit(int(has_failed))


if __name__ == "__main__":
    main()
