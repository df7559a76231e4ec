#!/usr/bin/env python3
"""Makes scatter.csv: amplitude and range of the scatter of a pencil through water, by ../validation/monte_carlo.py.

    python make_scatter.py cylinder 1.5e6 > scatter.csv     (as committed)

The pencil runs along the central ray through the middle of the body (a water cylinder of the diameter given, 300 mm
long, or a slab as thick). Fit of A (1 - (1 + R^2/b^2)^-1/2) to the energy within R = 10 .. 300 mm of the pencil.
"""
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import curve_fit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "validation"))
from monte_carlo import Cylinder, Slab, Water, scatter  # noqa: E402

RADII_MM = np.arange(10.0, 301.0, 10.0)


def node(thickness, body, histories, water):
    within = np.zeros(len(RADII_MM))

    def tally(u, v, kev):
        within[:] += np.histogram(np.hypot(u, v), np.concatenate([[0], RADII_MM]), weights=kev)[0]

    bare = scatter(body, "w120_cu0.3", histories, (0, 0), 3, water, tally)
    share = np.cumsum(within) / bare
    (amplitude, reach), _ = curve_fit(lambda r, a, b: a * (1 - (1 + (r / b)**2)**-0.5), RADII_MM, share, (0.1, 150))
    model = amplitude * (1 - (1 + (RADII_MM / reach)**2)**-0.5)
    print(thickness, amplitude, reach, "worst", np.abs(model - share).max() / share.max(), file=sys.stderr)
    return f"{thickness},{amplitude:.5g},{reach:.4g}"


def main():
    kind = sys.argv[1]
    histories = int(float(sys.argv[2])) if len(sys.argv) > 2 else 1_000_000
    water = Water()
    rows = ["thickness_mm,amplitude,range_mm", "0,0,150"]
    for thickness in (25, 50, 100, 150, 200, 250, 300, 350, 400):
        body = Cylinder(thickness, 300) if kind == "cylinder" else Slab(thickness)
        rows.append(node(thickness, body, histories, water))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
