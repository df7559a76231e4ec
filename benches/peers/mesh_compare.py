"""Meshes of the same fields by us, by scikit-image with pymeshfix and by VTK: error, defects and time in one table.

Analytic fields give the error at the vertices; defects are counted by PyMeshLab and trimesh on the files. PyMeshLab's
search for self-intersections rounds: the faces it flags are looked at again exactly. Writes out/compare/meshes.md and
meshes.json. Exits 1 when one of our meshes has a defect."""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy
from exact_crossings import crossing_faces

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent


def ball(x, y, z):
    return 14 - numpy.sqrt(x**2 + y**2 + z**2)


def gyroid(x, y, z):
    """A sponge with many handles that the border of the field cuts; not a distance."""
    s, c = numpy.sin, numpy.cos
    a, b, d = x * 0.9, y * 0.9, z * 0.9
    return (s(a) * c(b) + s(b) * c(d) + s(d) * c(a)) / 0.9


def checkerboard(x, y, z):
    """Ambiguous cells everywhere."""
    return numpy.where((numpy.indices(x.shape).sum(axis=0) // 2) % 2 == 0, 1.0, -1.0) * numpy.ones_like(x)


def noise(x, y, z):
    return numpy.random.default_rng(1).standard_normal(x.shape)


CASES = {"ball": ball, "gyroid": gyroid, "checkerboard": checkerboard, "noise": noise}
SIZE, SPACING = 64, 0.5


def make_field(name, path):
    axis = (numpy.arange(SIZE) - (SIZE - 1) / 2) * SPACING
    z, y, x = numpy.meshgrid(axis, axis, axis, indexing="ij")
    CASES[name](x, y, z).astype("<f4").tofile(path)


def corners_of(stl):
    return numpy.fromfile(stl, dtype=[("n", "<f4", 3), ("c", "<f4", (3, 3)), ("m", "<u2")], offset=84)["c"]


def error_mm(name, stl):
    if name != "ball":
        return None
    centres = corners_of(stl).mean(axis=1) - (SIZE - 1) / 2 * SPACING
    return float(numpy.abs(ball(*centres.T)).mean())


def defects(stl):
    import pymeshlab
    import trimesh

    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.load_new_mesh(str(stl))
    meshes.meshing_remove_duplicate_vertices()
    found = meshes.get_topological_measures()
    meshes.compute_selection_by_self_intersections_per_face()
    mesh = meshes.current_mesh()
    flagged = numpy.flatnonzero(mesh.face_selection_array())
    return {
        "open edges": found["boundary_edges"],
        "non-manifold edges": found["non_two_manifold_edges"],
        "non-manifold vertices": found["non_two_manifold_vertices"],
        "faces flagged as crossing": len(flagged),
        "faces that cross": crossing_faces(mesh.vertex_matrix()[mesh.face_matrix()], flagged),
        "watertight by trimesh": bool(trimesh.load_mesh(stl).is_watertight),
    }


def is_clean(found):
    return found["watertight by trimesh"] and not any(
        found[key] for key in ("open edges", "non-manifold edges", "non-manifold vertices", "faces that cross")
    )


def run(command):
    told = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if told.returncode != 0:
        return {"failed": told.stderr.strip().splitlines()[-1] if told.stderr.strip() else str(told.returncode)}
    return json.loads(told.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ours", required=True, help="the built example mesh_from_field")
    parser.add_argument("--faces", type=int, default=20000)
    options = parser.parse_args()
    out = ROOT / "out/compare"
    out.mkdir(parents=True, exist_ok=True)
    rows, is_sound = [], True
    grid = [SIZE] * 3 + [SPACING] * 3
    for name in CASES:
        field = out / f"mesh_{name}.raw"
        make_field(name, field)
        for program in ["ours", "scikit-image", "vtk"]:
            stl = out / f"mesh_{name}_{program}.stl"
            if program == "ours":
                told = run([options.ours, field, *grid, options.faces, 0.25, stl])
                told["whole_s"] = told["surface_s"] + told["decimate_s"] if "faces" in told else None
            else:
                told = run([sys.executable, HERE / "mesh_peers.py", program, field, *grid, options.faces, stl])
            if "faces" in told:
                told.update(error_mm=error_mm(name, stl), defects=defects(stl))
                is_sound &= program != "ours" or is_clean(told["defects"])
            elif program == "ours":
                is_sound = False
            rows.append({"field": name, "program": program, **told})
            print(name, program, told, flush=True)
    (out / "meshes.json").write_text(json.dumps(rows, indent=1))
    lines = ["| field | program | faces | mean error, mm | open edges, non-manifold edges and vertices | faces flagged as crossing, truly crossing | seconds |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if "faces" not in row:
            lines.append(f"| {row['field']} | {row['program']} | failed: {row['failed']} | | | | |")
            continue
        *topology, flagged, crossing, _ = row["defects"].values()
        counts = f"{', '.join(map(str, topology))} | {flagged}, {crossing}"
        error = "" if row["error_mm"] is None else f"{row['error_mm']:.4f}"
        lines.append(f"| {row['field']} | {row['program']} | {row['faces']} | {error} | {counts} | {row['whole_s']:.2f} |")
    (out / "meshes.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
