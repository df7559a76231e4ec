"""rtk_iterative.py FOLDER [--vol 256] [--threads 2] [--views N] [--passes 1] [--only forward back sart] [--out X.raw]: RTK's Joseph projectors and SART on a data set.

Prints one JSON object an operation: wall and processor seconds a view, and the error against the exact line integrals
(projection) or the drawn phantom (SART, 10 views a subset, relaxation 0.3, as RTK sets it). `--views` takes evenly spaced ones.
"""

import argparse
import json
import os

import itk
import numpy as np
from itk import RTK as rtk

import data_set

IMAGE = itk.Image[itk.F, 3]


def rms(difference):
    return float(np.sqrt((difference.astype(np.float64) ** 2).mean()))


def forward(geometry, projections, meta, volume):
    project = rtk.JosephForwardProjectionImageFilter[IMAGE, IMAGE].New()
    project.SetInput(0, data_set.projection_image(np.zeros_like(projections), meta))
    project.SetInput(1, volume)
    project.SetGeometry(geometry)
    return project


def back(geometry, projections, meta, empty):
    smear = rtk.JosephBackProjectionImageFilter[IMAGE, IMAGE].New()
    smear.SetInput(0, empty)
    smear.SetInput(1, data_set.projection_image(projections, meta))
    smear.SetGeometry(geometry)
    return smear


def sart(geometry, projections, meta, empty, passes):
    kind = rtk.SARTConeBeamReconstructionFilter
    method = kind[list(kind.keys())[0]].New()
    method.SetInput(0, empty)
    method.SetInput(1, data_set.projection_image(projections, meta))
    method.SetGeometry(geometry)
    method.SetLambda(0.3)
    method.SetEnforcePositivity(False)
    method.SetNumberOfIterations(passes)
    method.SetNumberOfProjectionsPerSubset(10)
    method.SetForwardProjectionFilter(type(method).ForwardProjectionType_FP_JOSEPH)
    method.SetBackProjectionFilter(type(method).BackProjectionType_BP_JOSEPH)
    return method


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--vol", default="256")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--views", type=int, default=0)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--out", help="raw file for the result of the last operation")
    parser.add_argument("--only", nargs="*", default=["forward", "back", "sart"])
    arguments = parser.parse_args()
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(arguments.threads)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(arguments.threads)
    meta, projections, matrices = data_set.load(arguments.folder)
    if arguments.views:
        step = meta["n"] // arguments.views
        projections, matrices = np.ascontiguousarray(projections[::step]), matrices[::step]
        meta["n"] = len(projections)
    geometry = data_set.geometry_from_matrices(matrices, meta)
    size, spacing_mm = meta["vols"][arguments.vol]["n"], meta["vols"][arguments.vol]["s"]
    truth = data_set.load_volume(os.path.join(arguments.folder, f"truth_{arguments.vol}.raw"), size)
    for what in arguments.only:
        image = data_set.volume_image(size, spacing_mm)
        if what == "forward":
            itk.array_view_from_image(image)[:] = truth
            operation = forward(geometry, projections, meta, image)
        elif what == "back":
            operation = back(geometry, projections, meta, image)
        else:
            operation = sart(geometry, projections, meta, image, arguments.passes)
        with data_set.Clock() as clock:
            operation.Update()
        found = itk.array_view_from_image(operation.GetOutput())
        views = meta["n"] * (arguments.passes if what == "sart" else 1)
        report = dict(what=what, views=meta["n"], passes=arguments.passes, threads=arguments.threads,
                      s_per_view=clock.s / views, cpu_s_per_view=clock.cpu / views)
        if what != "back":
            report["rms_error"] = rms(found - (projections if what == "forward" else truth))
        if arguments.out:
            np.ascontiguousarray(found, "<f4").tofile(arguments.out)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
