#!/usr/bin/env python3
"""Scatter of 20, 26 and 32 cm water cylinders (300 mm long) on the spine protocol's detector, without a grid.

    python scatter_monte_carlo.py [HISTORIES]

Prints one JSON object: for each cylinder the scatter relative to the bare beam in 7 x 3 blocks of the detector, with
the standard error, and the same for the middle 60 x 60 mm.
"""
import json
import sys

import numpy as np

from monte_carlo import Cylinder, Water, scatter

FIELD_MM = (616 * 0.616, 480 * 0.616)
BLOCKS = (7, 3)


def run(diameter, histories, water):
    sums, squares = np.zeros(BLOCKS), np.zeros(BLOCKS)
    middle = [0.0, 0.0]

    def tally(u, v, kev):
        place = [np.floor((x / f + 0.5) * b).astype(int) for x, f, b in zip((u, v), FIELD_MM, BLOCKS)]
        inside = (place[0] >= 0) & (place[0] < BLOCKS[0]) & (place[1] >= 0) & (place[1] < BLOCKS[1])
        np.add.at(sums, (place[0][inside], place[1][inside]), kev[inside])
        np.add.at(squares, (place[0][inside], place[1][inside]), kev[inside]**2)
        near = (np.abs(u) < 30) & (np.abs(v) < 30)
        middle[0] += kev[near].sum()
        middle[1] += (kev[near]**2).sum()

    bare = scatter(Cylinder(diameter, 300), "w120_cu0.3", histories, FIELD_MM, 5, water, tally)
    per_block = bare / (BLOCKS[0] * BLOCKS[1])
    per_middle = bare * 3600 / (FIELD_MM[0] * FIELD_MM[1])
    return {"diameter_mm": diameter, "blocks": (sums / per_block).tolist(),
            "blocks_error": (np.sqrt(squares) / per_block).tolist(),
            "middle": middle[0] / per_middle, "middle_error": middle[1]**0.5 / per_middle}


if __name__ == "__main__":
    count = int(float(sys.argv[1])) if len(sys.argv) > 1 else 6_000_000
    water = Water()
    print(json.dumps({"histories": count, "cylinders": [run(d, count, water) for d in (200, 260, 320)]}, indent=1))
