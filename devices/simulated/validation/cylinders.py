#!/usr/bin/env python3
"""Cupping and scatter of water cylinders against an own integration and the Monte Carlo.

    python cylinders.py VALIDATION_FIGURES [scatter_monte_carlo.json]

Cupping: -ln T along the central row, with a spectrum that SpekPy computes here, xraylib's attenuation interpolated by
xraylib itself, exact chords from the projection matrix. Tolerance, fixed beforehand: 0.3 % of each line integral
(plus 2e-4).
Scatter: each of 7 x 3 blocks of the detector within 20 % of the Monte Carlo (scatter_monte_carlo.py).
"""
import json
import subprocess
import sys

import numpy as np
import spekpy
import xraylib


def own_transmission(chords_mm):
    s = spekpy.Spek(kvp=120, th=12, dk=0.5, physics="casim", mu_data_source="pene", z=100.0, mas=1.0)
    s.multi_filter([("Al", 2.5), ("Cu", 0.3)])
    energy, fluence = s.get_spectrum(edges=False, diff=True)
    keep = energy > 15
    energy, fluence = energy[keep], fluence[keep]

    def mu(parts):
        return np.array([sum(w * xraylib.CS_Total(z, float(e)) for z, w in parts) for e in energy])
    csi = 1 - np.exp(-mu([(55, 0.511549), (53, 0.488451)]) * 4.51 * 0.8 * 0.06)
    water = 0.1 * mu([(1, 0.111894), (8, 0.888106)])
    weight = fluence * csi * energy
    return (weight * np.exp(-np.outer(chords_mm, water))).sum(1) / weight.sum()


def chords(matrix, diameter, row, columns, length=300.0):
    p = np.array(matrix).reshape(3, 4)
    source = -np.linalg.solve(p[:, :3], p[:, 3])
    d = np.linalg.solve(p[:, :3], np.stack([np.arange(columns), np.full(columns, row), np.ones(columns)])).T
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    a, b = (d[:, :2]**2).sum(1), d[:, :2] @ source[:2]
    root = np.sqrt(np.maximum(b * b - a * (source[:2] @ source[:2] - (diameter / 2)**2), 0))
    return 2 * root / a  # the central row never leaves through the ends


def main(program, monte_carlo=None):
    ours = json.loads(subprocess.run([program, "cylinders"], check=True, capture_output=True).stdout)
    passes, report = True, {}
    for body in ours:
        t = np.array(body["transmission_row_240"])
        length = chords(body["matrix"], body["diameter_mm"], 240, len(t))
        expected, found = -np.log(own_transmission(length)), -np.log(t)
        off = np.abs(found - expected)
        good = bool((off < 3e-3 * expected + 2e-4).all())
        report[body["diameter_mm"]] = {"line_integral_middle": float(found.max()), "own": float(expected.max()),
                                       "worst_difference": float(off.max()), "passes": good}
        passes &= good
    if monte_carlo:
        for body, mc in zip(ours, json.load(open(monte_carlo))["cylinders"]):
            assert body["diameter_mm"] == mc["diameter_mm"]
            ratio = np.array(body["blocks"]) / np.array(mc["blocks"])
            middle = np.array(body["transmission_row_240"])[259:357].mean()
            good = bool((np.abs(ratio - 1) < 0.2).all() and abs(body["middle"] / mc["middle"] - 1) < 0.2)
            report[body["diameter_mm"]]["scatter"] = {
                "spr_middle_monte_carlo": mc["middle"] / middle, "spr_middle": body["middle"] / middle,
                "monte_carlo_relative_error": mc["middle_error"] / mc["middle"],
                "blocks_ratio_range": [float(ratio.min()), float(ratio.max())], "passes": good}
            passes &= good
    print(json.dumps(report, indent=1))
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
