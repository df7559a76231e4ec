"""Makes positioner_views.csv: C-arm angles and where a point then falls, by SciPy's rotations and ray casting.

Run by hand with NumPy and SciPy:  python make_positioner_views.py > positioner_views.csv

The arm starts with the detector in front of a supine patient (LPS: x left, y posterior, z superior), columns towards the
patient's left, rows towards the feet. The primary angle swings it in the axial plane towards the left; the secondary
angle then tips it on the great circle towards the head (DICOM PS3.3 C.8.7.5.1.2). The point is found by meeting its
ray with the detector plane, pixels of 0.4 x 0.7 mm, 301 x 200 of them.

A line is primary and secondary angle in rad, source to isocenter and to detector in mm, the point in mm, its column and
row.
"""
import numpy as np
from scipy.spatial.transform import Rotation

random = np.random.default_rng(20)
print("# made by make_positioner_views.py: primary, secondary (rad), distances (mm), point (mm), column, row (pixels)")
for _ in range(24):
    primary, secondary = random.uniform(-np.pi, np.pi), random.uniform(-1.5, 1.5)
    source_to_isocenter = random.uniform(500.0, 900.0)
    source_to_detector = source_to_isocenter + random.uniform(200.0, 500.0)
    swing = Rotation.from_rotvec([0.0, 0.0, primary])
    across = swing.apply([1.0, 0.0, 0.0])
    front = swing.apply([0.0, -1.0, 0.0])
    # Tip about the axis that takes the front towards the head.
    tip = Rotation.from_rotvec(secondary * np.cross(front, [0.0, 0.0, 1.0]))
    beam, down = tip.apply(front), tip.apply([0.0, 0.0, -1.0])
    source = -source_to_isocenter * beam
    centre = source + source_to_detector * beam
    point = random.uniform(-80.0, 80.0, 3)
    ray = point - source
    hit = source + ray * ((centre - source) @ beam) / (ray @ beam) - centre
    column, row = hit @ across / 0.4 + 150.0, hit @ down / 0.7 + 99.5
    numbers = [primary, secondary, source_to_isocenter, source_to_detector, *point, column, row]
    print(",".join(repr(float(number)) for number in numbers))
