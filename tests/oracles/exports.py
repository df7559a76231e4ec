"""What independent programs say of models and labels that we export. Arguments: what to look at, then files.

exports.py 3mf FILE               lib3mf: unit, warnings, parts with size and colour, build items, metadata
exports.py encapsulated FILE OUT  dcmtk and pydicom: the document within, whose bytes go to OUT
exports.py labels FILE            highdicom: segments, affine from voxel index to LPS millimetres, labels [z, y, x]
"""
import base64
import hashlib
import json
import subprocess
import sys

import numpy


def by_lib3mf(path):
    import lib3mf
    from lib3mf import Lib3MF

    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(path)
    parts = []
    objects = model.GetMeshObjects()
    while objects.MoveNext():
        mesh = objects.GetCurrentMeshObject()
        resource, item, has_colour = mesh.GetObjectLevelProperty()
        colour = None
        if has_colour:
            groups = model.GetBaseMaterialGroups()
            while groups.MoveNext():
                group = groups.GetCurrentBaseMaterialGroup()
                if group.GetResourceID() == resource:
                    shown = group.GetDisplayColor(item)
                    colour = [shown.Red, shown.Green, shown.Blue]
        outbox = mesh.GetOutbox()
        parts.append({
            "name": mesh.GetName(),
            "faces": mesh.GetTriangleCount(),
            "is_manifold_and_oriented": mesh.IsManifoldAndOriented(),
            "low_mm": list(outbox.MinCoordinate),
            "high_mm": list(outbox.MaxCoordinate),
            "colour": colour,
        })
    items, count = model.GetBuildItems(), 0
    while items.MoveNext():
        count += 1
    group = model.GetMetaDataGroup()
    metadata = [group.GetMetaData(at) for at in range(group.GetMetaDataCount())]
    return {
        "unit": Lib3MF.ModelUnit(int(model.GetUnit())).name,
        "warnings": [reader.GetWarning(at) for at in range(reader.GetWarningCount())],
        "parts": parts,
        "build_items": count,
        "metadata": {entry.GetName(): entry.GetValue() for entry in metadata},
    }


def by_dcmtk_and_pydicom(path, out):
    import pydicom

    told = subprocess.run(["dcm2json", path], capture_output=True, text=True, check=True).stdout
    dataset = json.loads(told)
    length = dataset["00420015"]["Value"][0]
    document = base64.b64decode(dataset["00420011"]["InlineBinary"])[:length]
    with open(out, "wb") as file:
        file.write(document)
    read = pydicom.dcmread(path)
    return {
        "sha256": hashlib.sha256(document).hexdigest(),
        "sha256_by_pydicom": hashlib.sha256(bytes(read.EncapsulatedDocument)[:length]).hexdigest(),
        "sop_class": read.SOPClassUID.name,
        "kind": read.MIMETypeOfEncapsulatedDocument,
        "unit": read.MeasurementUnitsCodeSequence[0].CodeValue,
        "frame_of_reference_uid": read.FrameOfReferenceUID,
        "is_mirrored": read.ModelMirroring,
    }


def by_highdicom(path):
    import highdicom

    read = highdicom.seg.segread(path)
    volume = read.get_volume(combine_segments=True, skip_overlap_checks=False)
    # It counts slices, rows, columns; we count columns, rows, slices.
    swap = numpy.eye(4)[[2, 1, 0, 3]]
    return {
        "segments": [
            {
                "number": one.segment_number,
                "name": one.segment_label,
                "category": one.segmented_property_category.meaning,
                "type": one.segmented_property_type.meaning,
                "algorithm": str(one.algorithm_type.value),
            }
            for one in (read.get_segment_description(number) for number in read.segment_numbers)
        ],
        "frame_of_reference_uid": str(read.FrameOfReferenceUID),
        "shape": list(volume.spatial_shape)[::-1],
        "affine": (volume.affine @ swap).tolist(),
        "labels": volume.array.ravel().astype(int).tolist(),
    }


told = {"3mf": by_lib3mf, "encapsulated": by_dcmtk_and_pydicom, "labels": by_highdicom}
json.dump(told[sys.argv[1]](*sys.argv[2:]), sys.stdout)
