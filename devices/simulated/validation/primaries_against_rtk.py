#!/usr/bin/env python3
"""Primaries of a real CT against RTK's Joseph projector: same volume, same (wobbling) poses.

    python primaries_against_rtk.py VALIDATION_FIGURES CT.nii.gz

VALIDATION_FIGURES: the example program of this crate. Tolerance, fixed beforehand: RMS difference under 0.3 % of the
largest line integral, mean difference under 0.05 % of it. Both sample the same interpolated voxels by the same method
written twice; what differs is clipping, interpolation arithmetic and single precision.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
from itk import RTK as rtk

NU, NV, PITCH = 616, 480, 0.616
IMAGE = itk.Image[itk.F, 3]


def image(array, spacing, origin):
    out = itk.image_from_array(np.ascontiguousarray(array, np.float32))
    out.SetSpacing([float(s) for s in spacing])
    out.SetOrigin([float(o) for o in origin])
    return out


def main(program, ct):
    nifti = nib.as_closest_canonical(nib.load(ct))
    hu = np.asarray(nifti.dataobj, np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]  # RAS to LPS, [z, y, x]
    spacing = [float(s) for s in nifti.header.get_zooms()[:3]]
    nz, ny, nx = hu.shape
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.ascontiguousarray(hu).tofile(folder / "hu.raw")
        sizes = [str(x) for x in (nx, ny, nz, *spacing)]
        subprocess.run([program, "projections", str(folder / "hu.raw"), *sizes, str(folder)], check=True)
        truth = np.fromfile(folder / "truth.raw", np.float32).reshape(nz, ny, nx)
        ours = np.fromfile(folder / "line_integrals.raw", np.float32).reshape(-1, NV, NU)
        poses = json.loads((folder / "geometry.json").read_text())
    # A layer of air all around, as the virtual C-arm has it.
    truth = np.pad(truth, 1)
    volume = image(truth, spacing, [-(n - 1) / 2 * s for n, s in zip(truth.shape[::-1], spacing)])
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for pose in poses:
        source, centre = (itk.Point[itk.D, 3](pose[k]) for k in ("source", "centre"))
        row, column = itk.Vector[itk.D, 3](pose["e_u"]), itk.Vector[itk.D, 3](pose["e_v"])
        assert geometry.AddProjection(source, centre, row, column)
    stack = image(np.zeros_like(ours), [PITCH, PITCH, 1], [-(NU - 1) / 2 * PITCH, -(NV - 1) / 2 * PITCH, 0])
    joseph = rtk.JosephForwardProjectionImageFilter[IMAGE, IMAGE].New()
    joseph.SetInput(0, stack)
    joseph.SetInput(1, volume)
    joseph.SetGeometry(geometry)
    joseph.Update()
    theirs = itk.array_from_image(joseph.GetOutput())
    difference, top = ours - theirs, float(theirs.max())
    result = {"views": len(poses), "largest": top, "rms": float(np.sqrt((difference**2).mean())),
              "mean": float(difference.mean()), "worst": float(np.abs(difference).max()),
              "worst_percentile_99.9": float(np.percentile(np.abs(difference), 99.9))}
    result["passes"] = result["rms"] < 3e-3 * top and abs(result["mean"]) < 5e-4 * top
    print(json.dumps(result, indent=1))
    return 0 if result["passes"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
