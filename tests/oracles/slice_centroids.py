"""For each slice of a DICOM series, sorted along its normal: the middle of the image, and the centroid of
HU + 1024 weighted by a smooth window of 100 mm around that middle; both in LPS mm, from the slice's own
position and orientation alone, as pydicom reads them."""
import json
import os
import sys

import numpy
import pydicom

slices = [pydicom.dcmread(os.path.join(sys.argv[1], name)) for name in os.listdir(sys.argv[1])]
slices = [data for data in slices if "PixelData" in data]


def axes_of(data):
    return numpy.asarray(data.ImageOrientationPatient, float).reshape(2, 3)


normal = numpy.cross(*axes_of(slices[0]))
slices.sort(key=lambda data: numpy.asarray(data.ImagePositionPatient, float) @ normal)
out = []
for data in slices:
    axes, pitch = axes_of(data), [float(mm) for mm in data.PixelSpacing]
    values = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    rows, columns = numpy.indices(values.shape)
    first = numpy.asarray(data.ImagePositionPatient, float)
    points = first + axes[0] * (columns * pitch[1])[..., None] + axes[1] * (rows * pitch[0])[..., None]
    middle = points.mean(axis=(0, 1))
    window = numpy.maximum(0, 1 - ((points - middle) ** 2).sum(axis=2) / 100 ** 2) ** 2
    weight = (values + 1024) * window
    centroid = (points * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
    out.append([middle.tolist(), centroid.tolist()])
json.dump(out, sys.stdout)
