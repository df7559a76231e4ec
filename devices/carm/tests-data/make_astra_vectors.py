"""Makes astra_vectors.csv: circular cone geometries and the vectors that ASTRA makes of them.

Run by hand with the ASTRA Toolbox's Python package (astra-toolbox 2.x; no GPU needed):
python make_astra_vectors.py > astra_vectors.csv

A line is angle in rad, source to origin, origin to detector, column and row spacing in mm, then the cone_vec row.
"""
import astra
import numpy as np

random = np.random.default_rng(20)
print(f"# made by make_astra_vectors.py with astra-toolbox {astra.__version__}: angle (rad), distances and spacings (mm), cone_vec")
for _ in range(8):
    angle = random.uniform(-np.pi, np.pi)
    source_to_origin, origin_to_detector = random.uniform(400.0, 900.0), random.uniform(200.0, 600.0)
    pitch_u, pitch_v = random.uniform(0.1, 1.0, 2)
    cone = astra.create_proj_geom("cone", pitch_u, pitch_v, 200, 301, [angle], source_to_origin, origin_to_detector)
    vectors = astra.functions.geom_2vec(cone)["Vectors"][0]
    numbers = [angle, source_to_origin, origin_to_detector, pitch_u, pitch_v, *vectors]
    print(",".join(repr(float(number)) for number in numbers))
