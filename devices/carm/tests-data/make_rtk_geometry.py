"""Makes rtk_geometry.csv: random parameters and the matrices that RTK makes of them.

Run by hand with RTK's Python package (itk-rtk 2.7.0):  python make_rtk_geometry.py > rtk_geometry.csv

A line is nine parameters (source to isocenter mm, source to detector mm, gantry rad, projection offset u and v mm,
out-of-plane rad, in-plane rad, source offset x and y mm) and the twelve numbers of GetMatrix, row by row.
"""
import itk
import numpy as np
from itk import RTK as rtk

random = np.random.default_rng(20)
geometry = rtk.ThreeDCircularProjectionGeometry.New()
print("# made by make_rtk_geometry.py with itk-rtk 2.7.0: nine parameters (mm, rad), GetMatrix row by row")
for view in range(24):
    distance = random.uniform(400.0, 900.0)
    parameters = [
        distance,
        distance + random.uniform(200.0, 600.0),
        random.uniform(-np.pi, np.pi),
        *random.uniform(-150.0, 150.0, 2),
        random.uniform(-1.2, 1.2),
        random.uniform(-np.pi, np.pi),
        *random.uniform(-40.0, 40.0, 2),
    ]
    geometry.AddProjectionInRadians(*parameters)
    matrix = np.asarray(itk.array_from_matrix(geometry.GetMatrix(view)))
    print(",".join(repr(float(number)) for number in [*parameters, *matrix.ravel()]))
