"""real_time.py BINARY OUT [REPEATS]: how soon after a spin's last view its volume is there.

Simulates `spine-spin` over the chest CT of `tests/data` with volumes of 256 and of 384 voxels a side (minutes), replays
each run as a device at its own speed, through ring, live view and reconstruction, and prints a table and one JSON object.
Wants an otherwise idle machine. Writes OUT/real_time.json.
"""
import json, pathlib, sys
from program import run

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENT = ROOT / "tests/data/lidc_idri_0001_thorax.nii.gz"
PROTOCOL = ROOT / "devices/simulated/protocols/spine-spin.toml"
# Voxels a side and their size, mm: the protocol's own, then the same field finer.
GRIDS = {256: 0.96, 384: 0.64}
GOAL_MS = 300


def protocol(side, voxel_mm):
    """The protocol's text with another volume."""
    front, marker, _ = PROTOCOL.read_text().partition("[volume]")
    if not marker:
        sys.exit(f"{PROTOCOL}: expected a [volume] at its end, found none")
    return f"{front}{marker}\nshape = [{side}, {side}, {side}]\nvoxel_mm = {voxel_mm}\n"


def main(binary, out, repeats=5):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    report = {}
    for side, voxel_mm in GRIDS.items():
        text, recording, volume = out / f"spin{side}.toml", out / f"spin{side}.mcap", out / "spin.mha"
        text.write_text(protocol(side, voxel_mm))
        run(binary, "simulate", PATIENT, "--protocol", text, "--out", recording)
        played = [run(binary, "replay", recording, "--speed", 1, "--out", volume) for _ in range(int(repeats))]
        recording.unlink()
        report[side] = [{name: played[name] for name in
                         ("complete_after_last_view_ms", "refined_after_last_view_ms", "deepest_backlog", "missed")}
                        for played in played]
        after = sorted(row["complete_after_last_view_ms"] for row in report[side])
        print(f"{side}^3: complete {', '.join(f'{ms:.0f}' for ms in after)} ms after the last view (asked: {GOAL_MS}); "
              f"refined {max(r['refined_after_last_view_ms'] for r in report[side]):.0f} ms at most; deepest backlog "
              f"{max(r['deepest_backlog'] for r in report[side])} views; missed {sum(r['missed'] for r in report[side])}",
              file=sys.stderr)
    volume.unlink()
    (out / "real_time.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
