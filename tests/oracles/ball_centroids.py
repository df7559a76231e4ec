"""Where SimpleITK finds balls in volumes, in LPS millimetres.

ball_centroids.py QUESTION      JSON with "balls" (each "centre" [x, y, z] and "radius" of the window around it)
                                and "paths" (volume files or DICOM folders); prints for each path the centroid of
                                the value above -1000 in every window, and the PatientPosition of DICOM
"""
import json
import os
import sys

import numpy
import pydicom
import SimpleITK


def image_of(path):
    if not os.path.isdir(path):
        return SimpleITK.ReadImage(path)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(path))
    return reader.Execute()


def centroids(image, balls):
    """Every voxel's place by the image's own transform of its index."""
    values = SimpleITK.GetArrayFromImage(image).astype(float) + 1000.0
    origin = numpy.asarray(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    steps = [numpy.asarray(image.TransformIndexToPhysicalPoint(index)) - origin
             for index in [(1, 0, 0), (0, 1, 0), (0, 0, 1)]]
    z, y, x = numpy.indices(values.shape)
    points = origin + sum(index[..., None] * step for index, step in zip((x, y, z), steps))
    found = []
    for ball in balls:
        inside = numpy.linalg.norm(points - numpy.asarray(ball["centre"]), axis=-1) < ball["radius"]
        weights = values[inside]
        found.append((points[inside] * weights[:, None]).sum(axis=0) / weights.sum())
    return [place.tolist() for place in found]


def patient_position(path):
    if os.path.isdir(path):
        path = os.path.join(path, sorted(os.listdir(path))[0])
    if path.endswith((".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")):
        return None
    return pydicom.dcmread(path, stop_before_pixels=True).get("PatientPosition", "")


question = json.loads(sys.argv[1])
print(json.dumps([dict(path=path, centroids=centroids(image_of(path), question["balls"]),
                       patient_position=patient_position(path)) for path in question["paths"]]))
