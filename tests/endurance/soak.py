"""soak.py BINARY OUT [--minutes 60]: whether a daemon that runs on grows.

Live 1024 x 1024 at 30/s, recorded in files of a minute of which retention keeps few, with a client on the WebSocket. Every ten
seconds its resident memory is taken; a line is laid through what comes after the first five minutes. Writes OUT/soak.json and
OUT/soak.csv; exits 1 when memory rises by 1 % an hour or more, a frame is lost, or retention never took anything away.
Needs numpy.
"""
import argparse
import json
import pathlib
import time

import numpy as np

import daemon

RISE_MAX_PERCENT_PER_HOUR = 1.0
SETTLE_MINUTES = 5
SAMPLE_S = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    protocol = daemon.protocol(options.out / "live.toml", 1024, 1024, 0.37, 30)
    configuration = "[service.retention]\nmost-mib = 4000\n" + daemon.virtual_carm(protocol, 60.0)
    samples = []
    with daemon.Daemon(options.binary, options.out, configuration) as served:
        served.wait_live("carm")
        viewer = daemon.Viewer(daemon.on_websocket, served.url, "carm")
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < 60 * options.minutes:
            samples.append((elapsed, served.memory_mib()))
            time.sleep(SAMPLE_S)
        seen = viewer.stop()
        retired = served.status()["runs_retired"]
        ledger = served.stop()["streams"][0]["ledger"]
    (options.out / "soak.csv").write_text("seconds,resident_mib\n" + "".join(f"{s:.0f},{m:.2f}\n" for s, m in samples))
    settled = np.array([sample for sample in samples if sample[0] >= 60 * min(SETTLE_MINUTES, options.minutes / 2)])
    slope, level = np.polyfit(settled[:, 0] / 3600, settled[:, 1], 1)
    rise = 100 * slope / level
    unknown = daemon.unaccounted(ledger)
    report = {"minutes": options.minutes, "frames": ledger["received"], "resident_mib": round(float(level), 1),
              "rise_percent_per_hour": round(float(rise), 3), "runs_retired": retired, "ledger": ledger,
              "client_ms": daemon.quantiles_ms(seen), "longest_silence_s": daemon.longest_silence_s(seen)}
    failed = [f"{key}: {count} frames unaccounted for" for key, count in unknown.items() if count]
    failed += [f"{key}: {ledger[key]}, expected 0" for key in ("lost", "record_lost", "refused", "stalls") if ledger[key]]
    if not rise < RISE_MAX_PERCENT_PER_HOUR:
        failed.append(f"memory: +{rise:.2f} % an hour, expected under {RISE_MAX_PERCENT_PER_HOUR}")
    if not retired:
        failed.append("retention: expected old recordings to be taken away, found none")
    report["failed"] = failed
    (options.out / "soak.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
