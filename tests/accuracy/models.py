"""Printable models of real CTs before programs that nobody here wrote, and the opening that no wall may lose to.

For each CT and target: `isocenter model` as 3MF, STL and DICOM; then PyMeshLab, trimesh, manifold3d and admesh on the
STL, lib3mf on the 3MF, dcmtk on the DICOM, PrusaSlicer's --info on 3MF and STL, and, with --slice, slicing for a bed of
300 x 300 x 400 mm. Last an opening with a ball of 1.45 mm on blocks of the model. Writes OUT/models.json, prints a line
a check, exits 1 when one fails. Needs out/venv (make oracles) and PrusaSlicer (Debian prusa-slicer)."""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

import numpy
import scipy.ndimage

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ORACLES = ROOT / "tests/oracles"
# The ball of the opening, mm; the voxels of the test, mm; blocks looked at, and their side, mm.
BALL_MM, VOXEL_MM, BLOCKS, SIDE_MM = 1.45, 0.15, 12, 36.0
# An opening may remove so much of the volume.
REMOVED_MOST = 0.001
BED = ["--bed-shape=0x0,300x0,300x300,0x300", "--max-print-height=400", "--center=150,150", "--nozzle-diameter=0.4",
       "--layer-height=0.2", "--first-layer-height=0.2", "--support-material"]
NO_DEFECT = {
    "pymeshlab": ["open_edges", "non_manifold_edges", "non_manifold_vertices", "self_intersecting_faces", "degenerate_faces"],
    "admesh": ["Disconnected at first", "Edges fixed", "Facets removed", "Facets added", "Facets reversed",
               "Backwards edges", "Degenerate facets"],
}


def run(command):
    told = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if told.returncode != 0:
        raise RuntimeError(f"{command[0]}: {(told.stderr or told.stdout).strip()[-600:]}")
    return told.stdout


def oracle(*arguments):
    return json.loads(run([sys.executable, ORACLES / arguments[0], *arguments[1:]]))


def prusa_info(path):
    """What --info tells: manifold, and every repair that it names with a count."""
    told = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", run(["prusa-slicer", "--info", path]), re.MULTILINE))
    repairs = {key: value for key, value in told.items()
               if re.search("edge|degenerate|removed|reversed|added|repaired|fixed", key) and value not in ("0", "no")}
    return {"manifold": told.get("manifold"), "repairs": repairs, "size_mm": [float(told[f"size_{a}"]) for a in "xyz"],
            "facets": int(told.get("number_of_facets", 0)), "parts": int(told.get("number_of_parts", 0))}


def sliced(path, out):
    start = time.perf_counter()
    run(["prusa-slicer", "--export-gcode", "--output", out, *BED, path])
    tail = pathlib.Path(out).read_text(errors="replace")[-200_000:]
    value = lambda name: re.search(re.escape(name) + r" = (.+)", tail).group(1)
    return {"seconds": time.perf_counter() - start, "printing": value("; estimated printing time (normal mode)"),
            "material_cm3": float(value("; filament used [cm3]"))}


def corners_of(stl):
    kind = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")]
    return numpy.fromfile(stl, dtype=kind, offset=84)["corners"].astype(float)


def voxels(corners, low, count):
    """Inside by the parity of crossings above, column by column; columns lie off the mesh's own coordinates."""
    x0, y0, z0 = low
    touched = (corners[:, :, 0].max(1) >= x0) & (corners[:, :, 0].min(1) <= x0 + count * VOXEL_MM)
    touched &= (corners[:, :, 1].max(1) >= y0) & (corners[:, :, 1].min(1) <= y0 + count * VOXEL_MM)
    touched &= corners[:, :, 2].max(1) >= z0
    flips = numpy.zeros((count, count, count + 1), dtype=bool)
    for a, b, c in corners[touched]:
        lows, highs = numpy.minimum(numpy.minimum(a, b), c), numpy.maximum(numpy.maximum(a, b), c)
        first = numpy.maximum(numpy.ceil((lows[:2] - low[:2]) / VOXEL_MM).astype(int), 0)
        last = numpy.minimum(numpy.floor((highs[:2] - low[:2]) / VOXEL_MM).astype(int), count - 1)
        if (first > last).any():
            continue
        xs, ys = numpy.meshgrid(numpy.arange(first[0], last[0] + 1), numpy.arange(first[1], last[1] + 1), indexing="ij")
        px, py = x0 + xs * VOXEL_MM, y0 + ys * VOXEL_MM
        side = lambda p, q: (q[0] - p[0]) * (py - p[1]) - (q[1] - p[1]) * (px - p[0])
        u, v, w = side(b, c), side(c, a), side(a, b)
        hit = ((u > 0) & (v > 0) & (w > 0)) | ((u < 0) & (v < 0) & (w < 0))
        if not hit.any():
            continue
        z = (u * a[2] + v * b[2] + w * c[2])[hit] / (u + v + w)[hit]
        # Voxels below the crossing change sides.
        below = numpy.clip(numpy.ceil((z - z0) / VOXEL_MM).astype(int), 0, count)
        numpy.logical_xor.at(flips, (xs[hit], ys[hit], below), True)
    # A voxel is inside when an odd number of crossings lies above it.
    return numpy.logical_xor.accumulate(flips[:, :, ::-1], axis=2)[:, :, ::-1][:, :, 1:]


def opening(stl, seed=1):
    """The part of the volume that an opening removes, over blocks around random places on the surface. Middles of
    balls lie on the voxels' lattice, so half a voxel's diagonal is given to them on the way back."""
    corners = corners_of(stl)
    random = numpy.random.default_rng(seed)
    radius, give = BALL_MM / 2, VOXEL_MM * 3**0.5 / 2
    count, margin = int(SIDE_MM / VOXEL_MM), int(numpy.ceil(2 * BALL_MM / VOXEL_MM))
    whole = lost = 0
    for at in random.choice(len(corners), BLOCKS, replace=False):
        low = corners[at].mean(0) - SIDE_MM / 2 + numpy.array([1.3e-4, 2.7e-4, 0.9e-4])
        inside = voxels(corners, low, count)
        deep = scipy.ndimage.distance_transform_edt(inside, sampling=VOXEL_MM) >= radius
        opened = scipy.ndimage.distance_transform_edt(~deep, sampling=VOXEL_MM) <= radius + give
        core = (slice(margin, -margin),) * 3
        whole += int(inside[core].sum())
        lost += int((inside & ~opened)[core].sum())
    return {"voxels": whole, "removed": lost / max(whole, 1), "blocks": BLOCKS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--ct", nargs="+", required=True)
    parser.add_argument("--targets", nargs="+", default=["bone", "vessel", "skin"])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out/models")
    parser.add_argument("--slice", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, failed = [], 0

    def check(row, name, is_passed, told):
        nonlocal failed
        failed += not is_passed
        row["checks"][name] = {"is_passed": bool(is_passed), "told": told}
        print("passed" if is_passed else "FAILED", row["ct"], row["target"], name, told, flush=True)

    for ct in options.ct:
        for target in options.targets:
            stem = options.out / f"{pathlib.Path(ct).name.split('.')[0]}_{target}"
            row = {"ct": pathlib.Path(ct).name, "target": target, "checks": {}}
            rows.append(row)
            files = {kind: stem.with_suffix("." + kind) for kind in ["3mf", "stl", "dcm"]}
            try:
                for kind, path in files.items():
                    told = json.loads(run([options.binary, "model", ct, "--target", target, "--out", path,
                                           "--slicer", "none", "--json"]))
                    if kind == "3mf":
                        row.update(seconds=told["seconds"], stages_s=told["stages_s"], peak_rss_mib=told["peak_rss_mib"],
                                   faces=told["mesh_read_back"]["faces"], bound_mm=told["decimation"]["two_sided_bound_mm"])
                        print(row, flush=True)
            except RuntimeError as error:
                # A target that is not there is refused; that is an answer, and leaves no file.
                row["refused"] = str(error)
                check(row, "refused without a file", not files["3mf"].exists(), str(error))
                continue
            verdict = oracle("mesh_verdicts.py", files["stl"])[0]
            for program, names in NO_DEFECT.items():
                found = {name: verdict[program][name] for name in names}
                check(row, program, not any(found.values()), found)
            check(row, "trimesh", all(verdict["trimesh"][k] for k in ["is_watertight", "is_consistent", "is_volume"]), verdict["trimesh"])
            check(row, "manifold3d", verdict["manifold3d"]["status"] == "Error.NoError", verdict["manifold3d"])
            seen = oracle("exports.py", "3mf", files["3mf"])
            part = seen["parts"][0]
            size = [high - low for low, high in zip(part["low_mm"], part["high_mm"])]
            is_read = seen["unit"] == "MilliMeter" and not seen["warnings"] and part["faces"] == row["faces"]
            check(row, "lib3mf", is_read and part["is_manifold_and_oriented"] and part["colour"], {**seen, "size_mm": size})
            within = oracle("exports.py", "encapsulated", files["dcm"], stem.with_suffix(".extracted.stl"))
            same = (corners_of(stem.with_suffix(".extracted.stl")) == corners_of(files["stl"])).all()
            check(row, "dcmtk", within["sha256"] == within["sha256_by_pydicom"] and same, within["sha256"])
            judged = subprocess.run(["dciodvfy", files["dcm"]], capture_output=True, text=True)
            errors = [line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")]
            check(row, "dciodvfy", not errors and "EncapsulatedSTL" in judged.stdout + judged.stderr, errors)
            for kind in ["3mf", "stl"]:
                told = prusa_info(files[kind])
                is_same = numpy.allclose(told["size_mm"], size, atol=2e-3) and told["facets"] == row["faces"]
                check(row, f"PrusaSlicer --info {kind}", told["manifold"] == "yes" and not told["repairs"] and is_same, told)
            if options.slice:
                try:
                    check(row, "PrusaSlicer slices", True, sliced(files["3mf"], stem.with_suffix(".gcode")))
                except (RuntimeError, AttributeError) as error:
                    check(row, "PrusaSlicer slices", False, str(error))
            told = opening(files["stl"])
            check(row, f"opening with {BALL_MM} mm", told["removed"] < REMOVED_MOST, told)
    (options.out / "models.json").write_text(json.dumps(rows, indent=1))
    print(f"{failed} checks failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
