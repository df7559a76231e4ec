"""Sizes, affine to LPS and index-weighted sums of a volume as SimpleITK reads it (a file, or a DICOM folder)."""
import json
import os
import sys

import numpy
import SimpleITK

path = sys.argv[1]
if os.path.isdir(path):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(path))
    image = reader.Execute()
else:
    image = SimpleITK.ReadImage(path)
affine = numpy.eye(4)
affine[:3, :3] = numpy.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
affine[:3, 3] = image.GetOrigin()
values = SimpleITK.GetArrayFromImage(image).astype(float)
z, y, x = numpy.ogrid[tuple(slice(0, n) for n in values.shape)]
sums = [values.sum(), (values * x).sum(), (values * y).sum(), (values * z).sum()]
json.dump(dict(shape=image.GetSize(), affine=affine.ravel().tolist(), sums=[float(s) for s in sums]), sys.stdout)
