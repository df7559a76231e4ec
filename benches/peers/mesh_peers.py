"""One field to a mesh by other programs, timed: scikit-image's marching cubes repaired by pymeshfix, and VTK's flying
edges with its quadric decimation. Arguments: method, field file, nx ny nz, sx sy sz, faces to keep, STL to write.
Prints one JSON object."""
import json
import sys
import time

import numpy

METHOD, FIELD = sys.argv[1:3]
SHAPE = [int(n) for n in sys.argv[3:6]]
SPACING = [float(s) for s in sys.argv[6:9]]
FACES, STL = int(sys.argv[9]), sys.argv[10]


def write_stl(vertices, faces):
    records = numpy.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    records["corners"] = vertices[faces]
    with open(STL, "wb") as file:
        file.write(b"\0" * 80 + len(faces).to_bytes(4, "little"))
        records.tofile(file)


# Both leave the surface open at the border of the field, where we cap it: a layer of outside closes it for them.
field = numpy.fromfile(FIELD, dtype="<f4").reshape(SHAPE[::-1])
padded = numpy.pad(field, 1, constant_values=-abs(field).max())
start = time.perf_counter()
if METHOD == "scikit-image":
    import pymeshfix
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(padded, 0.0, spacing=SPACING[::-1])
    vertices, faces = vertices[:, ::-1] - SPACING, faces[:, ::-1]
    surface_s = time.perf_counter() - start
    vertices, faces = pymeshfix.clean_from_arrays(vertices, faces, joincomp=False, remove_smallest_components=False)
else:
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkQuadricDecimation

    image = vtkImageData()
    image.SetDimensions(*(n + 2 for n in SHAPE))
    image.SetSpacing(SPACING)
    image.SetOrigin([-s for s in SPACING])
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.0)
    edges.ComputeNormalsOff()
    edges.Update()
    mesh = edges.GetOutput()
    surface_s = time.perf_counter() - start
    decimation = vtkQuadricDecimation()
    decimation.SetInputData(mesh)
    decimation.SetTargetReduction(max(0.0, 1 - FACES / mesh.GetNumberOfPolys()))
    decimation.Update()
    mesh = decimation.GetOutput()
    vertices = vtk_to_numpy(mesh.GetPoints().GetData())
    faces = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)[:, ::-1]
whole_s = time.perf_counter() - start
write_stl(numpy.asarray(vertices, dtype=numpy.float32), numpy.asarray(faces))
print(json.dumps({"faces": len(faces), "surface_s": surface_s, "whole_s": whole_s}))
