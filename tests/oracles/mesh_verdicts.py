"""What programs that nobody here wrote say of binary STL files: PyMeshLab, trimesh, manifold3d and admesh.
Arguments: STL files. Prints one object a file, in their order."""
import json
import re
import subprocess
import sys
import tempfile

import manifold3d
import numpy
import pymeshlab
import trimesh


def by_pymeshlab(path):
    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.load_new_mesh(path)
    meshes.meshing_remove_duplicate_vertices()
    topology = meshes.get_topological_measures()
    # Faces that cross others; then the same mesh's faces without an area.
    meshes.compute_selection_by_self_intersections_per_face()
    crossing = int(meshes.current_mesh().selected_face_number())
    areas = trimesh.triangles.area(meshes.current_mesh().vertex_matrix()[meshes.current_mesh().face_matrix()])
    return {
        "open_edges": topology["boundary_edges"],
        "non_manifold_edges": topology["non_two_manifold_edges"],
        "non_manifold_vertices": topology["non_two_manifold_vertices"],
        "is_manifold": bool(topology["is_mesh_two_manifold"]),
        "components": topology["connected_components_number"],
        "genus": topology["genus"] if topology["is_mesh_two_manifold"] else None,
        "self_intersecting_faces": crossing,
        "degenerate_faces": int((areas <= 0).sum()),
    }


def by_trimesh(path):
    mesh = trimesh.load_mesh(path)
    return {
        "is_watertight": bool(mesh.is_watertight),
        "is_consistent": bool(mesh.is_winding_consistent),
        "is_volume": bool(mesh.is_volume),
        "volume": float(mesh.volume),
        "area": float(mesh.area),
        "components": int(mesh.body_count),
    }


def by_manifold(path):
    mesh = trimesh.load_mesh(path)
    solid = manifold3d.Manifold(
        manifold3d.Mesh(
            vert_properties=numpy.asarray(mesh.vertices, dtype=numpy.float32),
            tri_verts=numpy.asarray(mesh.faces, dtype=numpy.uint32),
        )
    )
    return {"status": str(solid.status()), "volume": float(solid.volume()), "genus": int(solid.genus())}


def by_admesh(path):
    """The full run; its checks alone (-c) print nonsense."""
    with tempfile.NamedTemporaryFile(suffix=".stl") as repaired:
        told = subprocess.run(
            ["admesh", f"--write-binary-stl={repaired.name}", path], capture_output=True, text=True, check=True
        ).stdout
    counts = {}
    for name in ["Edges fixed", "Facets removed", "Facets added", "Facets reversed", "Backwards edges",
                 "Degenerate facets", "Number of parts"]:
        counts[name] = int(re.search(name + r"\s*:\s*(-?\d+)", told).group(1))
    counts["Disconnected at first"] = int(re.search(r"Total disconnected facets\s*:\s*(\d+)", told).group(1))
    return counts


verdicts = [
    {
        "pymeshlab": by_pymeshlab(path),
        "trimesh": by_trimesh(path),
        "manifold3d": by_manifold(path),
        "admesh": by_admesh(path),
    }
    for path in sys.argv[1:]
]
json.dump(verdicts, sys.stdout)
