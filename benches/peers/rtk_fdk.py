"""rtk_fdk.py FOLDER [--vol 256] [--threads 2] [--hann 0.5] [--reps 1] [--every 1] [--out V.raw]: RTK's FDK on a data set.

The geometry comes from matrices.txt. The chain is what an application runs: Parker weights where the scan is short, weights of
a displaced detector where it is offset, cosine weights, ramp, voxel back projection. Prints one JSON object; fdk_min_s is the fastest run from projections in
memory to the volume, reading and writing left out.
"""

import argparse
import json
import os
import resource

import itk
import numpy as np
from itk import RTK as rtk

import data_set

IMAGE = itk.Image[itk.F, 3]
# Views that RTK back-projects in one call; 16 is its default.
SUBSET = 16
# Largest step between two views that RTK takes for part of the arc: beyond every step of these workloads.
ANGULAR_GAP_RAD = np.deg2rad(20.0)


def reconstruct(image, geometry, meta, volume, hann, timer):
    source = image
    with timer:
        if meta["short"]:
            parker = rtk.ParkerShortScanImageFilter[IMAGE].New()
            parker.SetInput(image)
            parker.SetGeometry(geometry)
            parker.InPlaceOff()
            parker.SetAngularGapThreshold(ANGULAR_GAP_RAD)
            source = parker.GetOutput()
        if meta.get("offset"):
            displaced = rtk.DisplacedDetectorImageFilter[IMAGE].New()
            displaced.SetInput(image)
            displaced.SetGeometry(geometry)
            source = displaced.GetOutput()
        fdk = rtk.FDKConeBeamReconstructionFilter[IMAGE].New()
        fdk.SetInput(0, data_set.volume_image(volume["n"], volume["s"]))
        fdk.SetInput(1, source)
        fdk.SetGeometry(geometry)
        fdk.GetRampFilter().SetTruncationCorrection(0.0)
        fdk.GetRampFilter().SetHannCutFrequency(hann)
        fdk.SetProjectionSubsetSize(SUBSET)
        fdk.Update()
    return itk.array_from_image(fdk.GetOutput())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--vol", default="256")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hann", type=float, default=0.0)
    parser.add_argument("--reps", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="use only every so many-th view")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(arguments.threads)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(arguments.threads)

    meta, projections, matrices = data_set.load(arguments.folder, arguments.every)
    volume = meta["vols"][arguments.vol]
    geometry = data_set.geometry_from_matrices(matrices, meta)
    image = data_set.projection_image(projections, meta)
    seconds = []
    for _ in range(arguments.reps):
        clock = data_set.Clock()
        result = reconstruct(image, geometry, meta, volume, arguments.hann, clock)
        seconds.append(round(clock.s, 3))
    if arguments.out:
        result.astype("<f4").tofile(arguments.out)
    print(json.dumps(dict(
        data=os.path.basename(os.path.normpath(arguments.folder)),
        views=meta["n"],
        threads=arguments.threads,
        hann=arguments.hann,
        fdk_s=seconds,
        fdk_min_s=min(seconds),
        peak_rss_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )))


if __name__ == "__main__":
    main()
