"""What lib3mf, the 3MF Consortium's own reader, finds in a package: python read_3mf.py FILE

Prints unit, warnings, metadata and every object with its size, triangles, validity and colour.
"""

import json
import sys

import lib3mf
from lib3mf import get_wrapper


def colour_of(model, mesh):
    resource, index, has = mesh.GetObjectLevelProperty()
    if not has:
        return None
    group = model.GetBaseMaterialGroupByID(resource)
    colour = group.GetDisplayColor(index)
    return [colour.Red, colour.Green, colour.Blue]


def told(model, mesh):
    vertices = [mesh.GetVertex(i).Coordinates for i in range(mesh.GetVertexCount())]
    return {
        "name": mesh.GetName(),
        "triangles": mesh.GetTriangleCount(),
        "is_manifold_and_oriented": mesh.IsManifoldAndOriented(),
        "low": [min(v[axis] for v in vertices) for axis in range(3)],
        "high": [max(v[axis] for v in vertices) for axis in range(3)],
        "colour": colour_of(model, mesh),
    }


def main():
    model = get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(sys.argv[1])
    objects = []
    meshes = model.GetMeshObjects()
    while meshes.MoveNext():
        objects.append(told(model, meshes.GetCurrentMeshObject()))
    group = model.GetMetaDataGroup()
    metadata = [group.GetMetaData(i) for i in range(group.GetMetaDataCount())]
    print(
        json.dumps(
            {
                "is_millimetre": model.GetUnit() == lib3mf.ModelUnit.MilliMeter,
                "warnings": [reader.GetWarning(i)[1] for i in range(reader.GetWarningCount())],
                "metadata": {entry.GetName(): entry.GetValue() for entry in metadata},
                "objects": objects,
            }
        )
    )


main()
