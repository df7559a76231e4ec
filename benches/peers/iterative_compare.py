"""iterative_compare.py --binary PATH --projector PATH [--out out/compare] [--data ../shared/data] [--only CASES] [--fresh]: projectors
and iterative reconstruction beside RTK's.

  projection  W1's drawn phantom onto its views: time a view, error against the exact line integrals, <Ax,y> = <x,A'y>
  sart        passes of OS-SART over W1 from zero beside RTK's SART, both with 10 views a subset
  few_views   few_views.py: total variation from a quarter of noisy views of real CT beside RTK's FDK from all
  disc, bar   measured_views.py on the larger test data; left out where they are not there
Prints and writes OUT/iterative.md and OUT/iterative.json; exits 1 when a verdict or a program fails. RTK's results are kept;
--fresh makes them again, which times need.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

import compare
import data_set
import programs
import regions

W1 = compare.Case("w1", "w1", "w1")
CASES = ["projection", "sart", "few_views", "disc", "bar"]
# Every so many-th view goes through RTK's projector, which takes its time.
RTK_EVERY = 5
FORWARD_MAX_S = 0.020
ADJOINT_MISMATCH_MAX = 1e-5
SART_PASS_MAX_S = 11.0


def kept(path, fresh, make):
    """The JSON object in a file, made where it is not there; `cached` says that it is of an earlier run."""
    if not fresh and path.exists():
        return dict(json.loads(path.read_text()), cached=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = make()
    path.write_text(json.dumps(figures))
    return dict(figures, cached=False)


def rtk(folder, options):
    text = programs.run([sys.executable, os.path.join(programs.HERE, "rtk_iterative.py"), folder, *options])
    return json.loads(text.strip().splitlines()[-1])


def projection(arguments, out):
    folder = programs.data(str(out), W1)
    meta = data_set.load_meta(folder)
    size, spacing_mm = regions.volume_size(meta, "256")
    views = str(meta["n"] // RTK_EVERY)
    threads = ["--threads", str(arguments.threads)]
    theirs = kept(out / "rtk_iterative" / "forward.json", arguments.fresh,
                  lambda: rtk(folder, ["--only", "forward", "--views", views, *threads]))
    _, exact, _ = data_set.load(folder)
    lines, rows = [], [["RTK's Joseph", f"{1e3 * theirs['s_per_view']:.1f}", "", f"{theirs['rms_error']:.4f}", ""]]
    target = out / "isocenter" / "projected.raw"
    target.parent.mkdir(parents=True, exist_ok=True)
    best = None
    for instructions in ("avx2", "avx512"):
        command = [arguments.projector, folder, os.path.join(folder, "truth_256.raw"), str(size), str(spacing_mm), str(meta["nu"]),
                   str(meta["nv"]), str(meta["su"]), str(meta["sv"]), instructions, str(arguments.reps), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)})
        if done.returncode:
            if "does not have it" in done.stderr:
                continue
            raise programs.ProgramFailed(f"project_stack: {done.stderr.strip()}")
        ours = json.loads(done.stdout)
        found = np.memmap(target, "<f4", "r", shape=exact.shape)
        difference = found[::RTK_EVERY].astype(np.float64) - exact[::RTK_EVERY]
        ours["rms_error"] = float(np.sqrt((difference**2).mean()))
        rows.append([f"Isocenter, {instructions}", f"{1e3 * ours['forward_s_per_view']:.2f}", f"{1e3 * ours['back_s_per_view']:.2f}",
                     f"{ours['rms_error']:.4f}", f"{ours['adjoint_mismatch']:.1e}"])
        best = ours if best is None or ours["forward_s_per_view"] < best["forward_s_per_view"] else best
    target.unlink()
    if best is None:
        raise programs.ProgramFailed("project_stack: expected a CPU with AVX2")
    lines.append(("projection of 256^3 to 512^2, a view", best["forward_s_per_view"], FORWARD_MAX_S, " s"))
    lines.append(("projection: RMS against exact line integrals", best["rms_error"], theirs["rms_error"], ""))
    lines.append(("projection: |<Ax,y> / <x,A'y> - 1|", best["adjoint_mismatch"], ADJOINT_MISMATCH_MAX, ""))
    head = ["projector", "ms a view", "its transpose", "RMS error", "adjoint mismatch"]
    return lines, compare.table(head, rows), dict(rtk=theirs, isocenter=best)


def sart(arguments, out):
    folder = programs.data(str(out), W1)
    meta, matrices = data_set.load_meta(folder), data_set.load_matrices(folder)
    size, spacing_mm = regions.volume_size(meta, "256")
    truth = regions.load_truth(folder, "256")
    named = regions.regions(truth, matrices, meta, spacing_mm)
    stem = out / "rtk_iterative" / f"sart_{arguments.passes}"
    options = ["--only", "sart", "--passes", str(arguments.passes), "--threads", str(arguments.threads), "--out", f"{stem}.raw"]
    theirs = kept(stem.with_suffix(".json"), arguments.fresh, lambda: rtk(folder, options))
    errors = {"RTK's SART": regions.errors(data_set.load_volume(f"{stem}.raw", size), truth, named)}
    seconds = {"RTK's SART": theirs["s_per_view"] * meta["n"]}
    target = out / "isocenter" / "sart.mha"
    target.parent.mkdir(parents=True, exist_ok=True)
    stages = []
    for _ in range(arguments.reps):
        told = programs.one_json(programs.run([
            arguments.binary, "reconstruct", os.path.join(folder, "proj.raw"), "--grid", str(size), "--voxel-mm", str(spacing_mm),
            "--algorithm", "os-sart", "--start", "zero", "--iterations", str(arguments.passes), "--threads", str(arguments.threads),
            "--out", str(target), "--json"]), "isocenter")
        stages.append(told["stage_seconds"]["iterative"])
    errors["Isocenter's OS-SART"] = regions.errors(programs.read_volume(str(target), size, spacing_mm), truth, named)
    seconds["Isocenter's OS-SART"] = min(stages) / arguments.passes
    lines = [("OS-SART, a pass", seconds["Isocenter's OS-SART"], SART_PASS_MAX_S, " s")]
    rows = []
    for name, found in errors.items():
        rows.append([name, arguments.passes, f"{seconds[name]:.2f}", *(f"{found[region]['rmse']:.5f}" for region in compare.BODY_REGIONS)])
    for region in ("field of view", "interior"):
        lines.append((f"OS-SART, {arguments.passes} pass(es): RMSE, {region}", errors["Isocenter's OS-SART"][region]["rmse"],
                      errors["RTK's SART"][region]["rmse"], ""))
    head = ["method", "passes", "s a pass", *(f"RMSE, {region}" for region in compare.BODY_REGIONS)]
    return lines, compare.table(head, rows), dict(seconds=seconds, all_s=stages, errors=errors, rtk_cached=theirs["cached"])


def script(name, options, out):
    """A script that judges itself: its report and what it says has failed."""
    done = subprocess.run([sys.executable, os.path.join(programs.HERE, name), *map(str, options)], capture_output=True, text=True)
    if done.returncode > 1 or not done.stdout:
        raise programs.ProgramFailed(f"{name}: {done.stderr.strip()[-800:]}")
    report = json.loads(done.stdout)
    return report["failed"], f"```\n{json.dumps(report, indent=1)}\n```", report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="our program")
    parser.add_argument("--projector", required=True, help="the example project_stack of our crate reconstruct")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/compare"))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--passes", type=int, default=1)
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if set(wanted) - set(CASES):
        parser.error(f"no case {', '.join(sorted(set(wanted) - set(CASES)))}")
    out, where = arguments.out, compare.machine()
    checks, failures, parts, measured = [], [], [], {}
    for case in wanted:
        print(f"{case} ...", flush=True)
        try:
            if case in ("projection", "sart"):
                lines, text, measured[case] = {"projection": projection, "sart": sart}[case](arguments, out)
                checks += [dict(what=what, value=value, limit=limit, unit=unit, passed=bool(value <= limit))
                           for what, value, limit, unit in lines]
            elif case == "few_views":
                missed, text, measured[case] = script("few_views.py", [arguments.binary, out / "few_views"], out)
                failures += missed
            elif not (arguments.data / "projections").is_dir():
                text = f"Not run: {arguments.data / 'projections'} is not there."
            else:
                options = [arguments.binary, arguments.data, out / "measured", "--only", case]
                missed, text, measured[case] = script("measured_views.py", options, out)
                failures += missed
        except programs.ProgramFailed as failure:
            failures.append(f"{case}: {failure}")
            text = "Failed."
        parts += [f"## {case}", text]
    rows = [["pass" if check["passed"] else "FAIL", check["what"], f"{check['value']:.5g}{check['unit']}",
             f"{check['limit']:.5g}{check['unit']}"] for check in checks]
    text = "\n\n".join([
        "# Projectors and iterative reconstruction beside RTK", f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}; {where}; {arguments.threads} threads.",
        "## Verdicts", compare.table(["", "what", "found", "at most"], rows) if rows else "None of the timed cases ran.",
        "\n".join(f"* FAIL {line}" for line in failures) or "Nothing else failed.", *parts]) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "iterative.md").write_text(text)
    (out / "iterative.json").write_text(json.dumps(dict(machine=where, measured=measured, verdicts=checks, failed=failures), indent=1))
    print(text)
    sys.exit(0 if not failures and all(check["passed"] for check in checks) else 1)


if __name__ == "__main__":
    main()
