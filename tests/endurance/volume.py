"""volume.py BINARY OUT [--spins 5]: how soon after its last view a spin's volume lies on disk, live images going on.

The daemon with a virtual C-arm of 616 x 480 pixels at 30/s, its frames computed before: `spine-spin` of the chest, 248 views,
256^3. Each spin is armed and started as from the page; the clock starts when its last view has been recorded (as the status,
asked every 5 ms, tells) and stops when the volume's file is there: its first version, and the second in its place. Prints a table and writes OUT/volume.json; exits 1 when a first version takes longer than the limit or a
frame is lost. Run it on an idle machine.
"""
import argparse
import json
import pathlib
import time

import daemon

# What is left after the last view: the last block of views, and writing 50 MiB.
FIRST_MAX_S = 2.0
POLL_S = 0.005


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--spins", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    protocol = daemon.protocol(options.out / "live.toml", 616, 480, 0.616, 30)
    device = daemon.virtual_carm(protocol, 600).replace('record = "always"', 'record = "on-request"') + 'spin = "spine-spin"\n'
    with daemon.Daemon(options.binary, options.out, device) as served:
        served.wait_live("carm")
        rows = []
        for _ in range(options.spins):
            rows.append(spin(served))
            print(json.dumps(rows[-1]), flush=True)
        ledger = served.stream("carm")["ledger"]
        served.stop()
    failed = [f"spin {i + 1}: first version after {row['first_s']} s, expected at most {FIRST_MAX_S}"
              for i, row in enumerate(rows) if row["first_s"] > FIRST_MAX_S]
    failed += [f"{key}: {ledger[key]} frames, expected none" for key in ("lost", "record_lost", "refused") if ledger[key]]
    (options.out / "volume.json").write_text(json.dumps({"rows": rows, "failed": failed}, indent=1))
    print("\n".join(failed) or "all within their limits")
    return 1 if failed else 0


def spin(served):
    def ask(action):
        answer = served.ask(f"/api/streams/carm/spin/{action}", "POST")
        if "refused" in answer:
            raise RuntimeError(f"{action}: {answer}")
        return answer

    run = ask("arm")["run"]
    volume = served.data / "volumes" / f"{run}.nii.gz"
    ask("start")
    while served.stream("carm")["spin"]["phase"] in ("armed", "rotating"):
        time.sleep(POLL_S)
    complete = time.monotonic()
    while not volume.exists():
        time.sleep(POLL_S)
    first, version = time.monotonic() - complete, volume.stat().st_ino
    while volume.stat().st_ino == version:
        time.sleep(POLL_S)
    second = time.monotonic() - complete
    is_over = lambda status: all(job["state"] == "done" for job in status["jobs"])
    served.wait("the job's end", is_over)
    described = next(r for r in served.ask("/api/runs") if r["id"] == run)
    return {"frames": described["frames"], "lost": described["lost"], "first_s": round(first, 2), "second_s": round(second, 2)}


if __name__ == "__main__":
    raise SystemExit(main())
