"""compare.py --binary PATH [--out out/compare] [--only w1,w2] [--fresh] [--reps 3]: RTK, plastimatch and Isocenter on
the same exact projections, in turn.

Prints and writes OUT/report.md and OUT/report.json: error by region against the drawn phantom, difference of the volumes,
bias across the rotation axis on wobbling and yawing scans, wall times, and a verdict a line. Exits 1 when a verdict
fails or a program does. Data sets and the peers' volumes are kept in OUT; --fresh runs the peers again, which ratios of
times need: quote them only from one run on an idle machine.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass, field

import numpy as np

import data_set
import programs
import regions


@dataclass
class Case:
    name: str
    workload: str
    # Folder of the data set, which cases share.
    data: str
    options: list = field(default_factory=list)
    volume: str = "256"
    # Apodisation: Hann, zero beyond this share of the detector's Nyquist frequency; 0 for the plain ramp.
    hann: float = 0.5
    # The case whose errors this one is held against: the ideal circle.
    ideal: str | None = None
    # Peers get every so many-th view only; their time is scaled up.
    peers_every: int = 1
    is_sphere: bool = False
    # The detector looks past the axis: only the bias around the axis is held to a limit.
    is_offset: bool = False
    # For comparison alone, plastimatch left out: shows what sampling the phantom's edges elsewhere does to RTK and to us.
    is_control: bool = False
    # How many times faster than RTK, and than plastimatch, the chain is to be on a CPU with AVX-512.
    goal_rtk: float | None = None
    goal_plastimatch: float | None = None


CASES = [
    Case("w1", "w1", "w1", goal_rtk=15),
    Case("w1_ramp", "w1", "w1", hann=0.0),
    Case("w2", "w2", "w2"),
    Case("w2_ramp", "w2", "w2", hann=0.0),
    Case("w2_wobble", "w2", "w2_wobble", ["--wobble"], ideal="w2", goal_rtk=23),
    Case("w2_yaw2.5", "w2", "w2_yaw2.5", ["--yaw=2.5"], ideal="w2"),
    Case("w2_yaw-2.5", "w2", "w2_yaw-2.5", ["--yaw=-2.5"], ideal="w2"),
    # As far as yaw moves the detector, without turning it: nothing is resampled, only other lines are sampled.
    Case("w2_slide32.7", "w2", "w2_slide32.7", ["--slide=32.7"], is_control=True),
    Case("w2_slide-32.7", "w2", "w2_slide-32.7", ["--slide=-32.7"], is_control=True),
    Case("w1_offset0.1", "w1", "w1_offset0.1", ["--offset=0.1"], is_offset=True),
    Case("w1_offset0.25", "w1", "w1_offset0.25", ["--offset=0.25"], is_offset=True),
    Case("w1_offset0.4", "w1", "w1_offset0.4", ["--offset=0.4"], is_offset=True),
    Case("w1_offset0.49", "w1", "w1_offset0.49", ["--offset=0.49"], is_offset=True),
    Case("w2_384", "w2", "w2", volume="384", goal_rtk=14),
    Case("w2_sphere", "w2", "w2_sphere", ["--sphere"], is_sphere=True),
    Case("w2_wobble_sphere", "w2", "w2_wobble_sphere", ["--wobble", "--sphere"], is_sphere=True),
    Case("w3", "w3", "w3", volume="512", peers_every=4, goal_rtk=15, goal_plastimatch=5),
]
BODY_REGIONS = ("field of view", "interior", "centre", "midplane")

# RMSE and |bias| against the drawn phantom: at most RTK's times this and 0.02 HU more.
ERROR_FACTOR = 1.05
ERROR_ALLOWANCE = 2e-5
# RMSE over the whole field of view and the interior of ideal circles with Hann 0.5, closer.
RMSE_FACTOR = 1.02
# Width of a sphere's edge, at most this many times RTK's.
EDGE_FACTOR = 1.03
# Difference of the two volumes on W1's field of view, and of the bias from the ideal circle's.
DIFFERENCE_RMS_MAX_HU = 2.0
BIAS_SHIFT_MAX_HU = 1.0
# Bias around the axis under an offset detector, where RTK's is not larger.
OFFSET_BIAS_MAX_HU = 5.0


def measure(out, case, arguments):
    """Runs every program on a case. Gives figures, errors by region or edge widths, and the RMS difference from RTK in HU."""
    folder = programs.data(out, case)
    meta, matrices = data_set.load_meta(folder), data_set.load_matrices(folder)
    size, spacing_mm = regions.volume_size(meta, case.volume)
    truth = regions.load_truth(folder, case.volume)
    named = None if case.is_sphere else regions.regions(truth, matrices, meta, spacing_mm, case.is_offset)
    options = ["--threads", str(arguments.threads), "--every", str(case.peers_every)]
    found = {"figures": {}, "errors": {}, "edges_mm": {}, "failed": {}}

    def note(program, make):
        try:
            found["figures"][program], volume = make()
        except programs.ProgramFailed as failure:
            found["failed"][program] = str(failure)
            return None
        if case.is_sphere:
            found["edges_mm"][program] = regions.edge_width_mm(volume, spacing_mm)
        elif case.peers_every == 1 or program == "Isocenter":
            found["errors"][program] = regions.errors(volume, truth, named)
        return volume

    def rtk():
        figures, path = programs.peer(
            out, "rtk_fdk.py", case, [*options, "--hann", str(case.hann), "--reps", str(arguments.peer_reps)],
            arguments.fresh)
        return figures, data_set.load_volume(path, size)

    def plastimatch():
        figures, path = programs.peer(out, "plastimatch_fdk.py", case, options, arguments.fresh)
        volume = data_set.load_volume(path, size)
        return figures, volume if case.peers_every > 1 else regions.fitted(volume, truth, named)

    theirs = note("RTK", rtk)
    has_plain_circle = not (case.ideal or case.is_sphere or case.is_offset or case.is_control)
    if has_plain_circle and case.hann and shutil.which("plastimatch"):
        note("plastimatch", plastimatch)
    if arguments.binary:
        ours = note("Isocenter",
                    lambda: programs.isocenter(out, arguments.binary, case, arguments.threads, arguments.reps))
        if ours is not None and theirs is not None and named and case.peers_every == 1:
            inside = named["field of view"]
            difference = (ours[inside].astype(np.float64) - theirs[inside]) / regions.HU_UNIT
            found["difference_rms_hu"] = float(np.sqrt((difference**2).mean()))
    if case.ideal:
        # On the same voxels: what a turned or wobbling detector sees is another part of the phantom's edges and air.
        ideal = programs.kept_volumes(out, case.ideal, size, spacing_mm)
        found["ideal_errors"] = {program: regions.errors(volume, truth, named) for program, volume in ideal.items()}
    return found


def verdicts(measured):
    """What was promised, line by line: text, value, limit, unit. A value that is not a number fails."""
    lines = []
    for case in CASES:
        found = measured.get(case.name, {})
        ours = found.get("errors", {}).get("Isocenter")
        theirs = found.get("errors", {}).get("RTK")
        ideal = found.get("ideal_errors", {})
        if ours and theirs and case.is_offset:
            bias = {name: abs(errors["centre"]["bias"]) / regions.HU_UNIT for name, errors in found["errors"].items()}
            limit = max(OFFSET_BIAS_MAX_HU, bias["RTK"])
            lines.append((f"{case.name}: |bias|, centre", bias["Isocenter"], limit, " HU"))
        elif ours and theirs:
            lines += error_lines(case, ours, theirs, ideal)
        if ours and "Isocenter" in ideal:
            for region in plane_names():
                shift = abs(ours[region]["bias"] - ideal["Isocenter"][region]["bias"]) / regions.HU_UNIT
                lines.append((f"{case.name}: bias off the ideal circle's, {region}", shift, BIAS_SHIFT_MAX_HU, " HU"))
        if case.name == "w1" and "difference_rms_hu" in found:
            lines.append(("w1: RMS difference from RTK, field of view",
                          found["difference_rms_hu"], DIFFERENCE_RMS_MAX_HU, " HU"))
        edges = found.get("edges_mm", {})
        if "Isocenter" in edges and "RTK" in edges:
            lines.append((f"{case.name}: edge of a sphere, 10 to 90 %", edges["Isocenter"],
                          EDGE_FACTOR * edges["RTK"], " mm"))
    return [dict(what=what, value=value, limit=limit, unit=unit, passed=bool(value <= limit))
            for what, value, limit, unit in lines]


def error_lines(case, ours, theirs, ideal):
    """Ideal circles against RTK; a wobbling scan against the larger of RTK's errors on it and on the ideal circle; a yawing
    one, where RTK is wrong, against our own errors on the ideal circle."""
    if case.ideal and not {"RTK", "Isocenter"} <= ideal.keys():
        return [(f"{case.name}: held against {case.ideal}, which has not run", float("nan"), 0.0, "")]
    lines = []
    for region in BODY_REGIONS:
        for measure_of, text in (("rmse", "RMSE"), ("bias", "|bias|")):
            if case.ideal is None:
                limit = abs(theirs[region][measure_of])
            elif "yaw" in case.name:
                limit = abs(ideal["Isocenter"][region][measure_of])
            else:
                limit = max(abs(theirs[region][measure_of]), abs(ideal["RTK"][region][measure_of]))
            is_close = measure_of == "rmse" and case.ideal is None and case.hann and region in ("field of view", "interior")
            limit = RMSE_FACTOR * limit if is_close else ERROR_FACTOR * limit + ERROR_ALLOWANCE
            lines.append((f"{case.name}: {text}, {region}", abs(ours[region][measure_of]), limit, ""))
    return lines


def plane_names():
    return [f"plane {y_mm:+g} mm" for y_mm in regions.PLANES_MM]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def accuracy_table(measured):
    rows = []
    for name, found in measured.items():
        for program, errors in found["errors"].items():
            cells = [f"{errors[region]['rmse']:.5f} ({errors[region]['bias']:+.5f})" for region in BODY_REGIONS]
            rows.append([name, program + (" (gain and offset fitted)" if program == "plastimatch" else ""), *cells])
    return table(["case", "program", *BODY_REGIONS], rows)


def bias_table(measured):
    rows = []
    for name, found in measured.items():
        for program in ("RTK", "Isocenter"):
            if program in found["errors"]:
                cells = [f"{found['errors'][program][region]['bias'] / regions.HU_UNIT:+.2f}" for region in plane_names()]
                rows.append([name, program, *cells])
    return table(["case", "program", *plane_names()], rows)


# Which of a program's figures is its time from projections in memory to the volume.
SECONDS = {"RTK": "fdk_min_s", "plastimatch": "fdk_s", "Isocenter": "reconstruct_s"}


def time_table(measured):
    rows = []
    for name, found in measured.items():
        case = next(case for case in CASES if case.name == name)
        scale = {"Isocenter": 1}
        times = {program: figures[SECONDS[program]] * scale.get(program, case.peers_every)
                 for program, figures in found["figures"].items()}
        ours = times.get("Isocenter")
        for program, value in times.items():
            figures = found["figures"][program]
            ratio = f"{value / ours:.1f}x" if ours else ""
            note = "an earlier run: ratio not to be quoted" if figures.get("cached") else ""
            if case.peers_every > 1:
                note = f"every {case.peers_every}. view, time scaled; " + note
            if program == "Isocenter":
                note = f"fastest of {figures['runs_s']}, backend {figures.get('backend')}"
            goal = {"RTK": case.goal_rtk, "plastimatch": case.goal_plastimatch}.get(program)
            rows.append([name, program, f"{value:.2f}", ratio, f"{goal:g}x" if goal else "",
                         figures.get("peak_rss_mib", ""), note])
    return table(["case", "program", "seconds", "times ours", "goal with AVX-512", "peak MiB", ""], rows)


def edge_table(measured):
    rows = [[name, program, f"{width:.3f}"] for name, found in measured.items()
            for program, width in found["edges_mm"].items()]
    return table(["case", "program", "mm"], rows) if rows else "Not measured."


def machine():
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"


def report(measured, checks, where, arguments):
    failures = [f"* {name}: {text}" for name, found in measured.items() for text in found["failed"].values()]
    rows = [["pass" if check["passed"] else "FAIL", check["what"], f"{check['value']:.5g}{check['unit']}",
             f"{check['limit']:.5g}{check['unit']}"] for check in checks]
    parts = [
        "# Isocenter beside other programs",
        f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}; {where}; {arguments.threads} threads. Exact Shepp-Logan projections, "
        f"the same files for all; Hann 0.5, cases `_ramp` and plastimatch the plain ramp. In the phantom's units water is 1.02, so "
        f"1 HU is {regions.HU_UNIT}.",
        "## Verdicts", table(["", "what", "found", "at most"], rows) if rows else "None: Isocenter gave no volume.",
        "## RMSE (bias) against the drawn phantom", accuracy_table(measured),
        "Field of view: what every view sees, edges of the phantom included. Interior: inside the head, no edge within 3 "
        "voxels. Centre: a ball of 0.3 of the phantom's scale. Midplane: five slices around the source's plane. `_slide`: the "
        "ideal circle with a detector that slides; how its figures spread is what sampling the phantom's edges elsewhere does.",
        "## Bias across the rotation axis, HU", bias_table(measured),
        "## Width of a sphere's edge", edge_table(measured),
        "## Wall time from projections in memory to the volume", time_table(measured),
    ]
    if not shutil.which("plastimatch"):
        parts.append("plastimatch was not run: it is not installed (Debian package plastimatch).")
    if failures:
        parts += ["## Programs that failed", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="our program; left out: only the peers run")
    parser.add_argument("--out", default="out/compare")
    parser.add_argument("--only", help="cases, separated by commas: " + ", ".join(case.name for case in CASES))
    parser.add_argument("--fresh", action="store_true", help="run the peers again instead of using what they gave before")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-reps", type=int, default=2, help="runs of RTK; the fastest counts")
    parser.add_argument("--reps", type=int, default=5, help="runs of ours; the fastest counts")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [case.name for case in CASES]
    unknown = set(wanted) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}")

    where = machine()
    measured = {}
    for case in CASES:
        if case.name in wanted:
            measured[case.name] = measure(arguments.out, case, arguments)
    checks = verdicts(measured)
    text = report(measured, checks, where, arguments)
    with open(os.path.join(arguments.out, "report.md"), "w", encoding="utf-8") as file:
        file.write(text)
    with open(os.path.join(arguments.out, "report.json"), "w", encoding="utf-8") as file:
        json.dump(dict(machine=where, threads=arguments.threads, measured=measured, verdicts=checks), file, indent=1)
    print(text)
    print(f"written to {os.path.join(arguments.out, 'report.md')}")
    failed = any(found["failed"] for found in measured.values()) or not all(check["passed"] for check in checks)
    sys.exit(1 if failed or (arguments.binary and not checks) else 0)


if __name__ == "__main__":
    main()
