"""plastimatch_fdk.py FOLDER [--vol 256] [--threads 2] [--every 1] [--out V.raw]: plastimatch's FDK on a data set.

Writes the data set as plastimatch's PFM images and geometry files into a temporary folder and runs `plastimatch fdk`
(Debian's package plastimatch). It samples the detector with the nearest neighbour, has no short-scan weights and an
arbitrary scale: a mark of speed, not an equal. Prints one JSON object with its own filter and back-projection times.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import itk
import numpy as np

import data_set


def line(numbers):
    return " ".join(f"{number:.10e}" for number in numbers) + "\n"


def write_view(stem, projection, matrix, meta):
    centre = [(meta["nu"] - 1) / 2, (meta["nv"] - 1) / 2]
    # plastimatch takes the image centre apart from the matrix and wants depth in units of the detector distance.
    rows = np.array([matrix[0] - centre[0] * matrix[2], matrix[1] - centre[1] * matrix[2], matrix[2]]) / meta["sdd"]
    source = -np.linalg.solve(matrix[:, :3], matrix[:, 3])
    with open(stem + ".txt", "w", encoding="utf-8") as file:
        file.write(line(centre) + "".join(line(row) for row in rows))
        file.write(f"{meta['sid']:.8e}\n{meta['sdd']:.8e}\n" + line(source / np.linalg.norm(source)))
        # Its reader expects these two matrices and does not use them.
        file.write("Extrinsic\n" + line(np.zeros(4)) * 4 + "Intrinsic\n" + line(np.zeros(4)) * 3)
    with open(stem + ".pfm", "wb") as file:
        file.write(f"Pf\n{meta['nu']} {meta['nv']}\n-1\n".encode())
        file.write(np.ascontiguousarray(projection, "<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--vol", default="256")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="use only every so many-th view")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    meta, projections, matrices = data_set.load(arguments.folder, arguments.every)
    size, spacing_mm = (meta["vols"][arguments.vol][key] for key in ("n", "s"))
    with tempfile.TemporaryDirectory() as folder:
        for view, (projection, matrix) in enumerate(zip(projections, matrices)):
            write_view(os.path.join(folder, f"out_{view:04d}"), projection, matrix, meta)
        target = os.path.join(folder, "volume.mha")
        extent = size * spacing_mm
        with data_set.Clock() as clock:
            run = subprocess.run(
                ["plastimatch", "fdk", "-I", folder, "-O", target, "-r", f"{size} {size} {size}",
                 "-z", f"{extent} {extent} {extent}", "-X", "c", "-f", "ramp"],
                capture_output=True, text=True, stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)})
        times = {}
        for key, label in [("io_s", r"I/O time \(total\)"), ("filter_s", "Filter time"),
                           ("back_projection_s", "Backprojection time")]:
            found = re.search(label + r" = ([0-9.e+-]+)", run.stdout)
            times[key] = float(found.group(1)) if found else None
        if run.returncode != 0 or times["back_projection_s"] is None:
            sys.exit(f"plastimatch failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        if arguments.out:
            itk.array_from_image(itk.imread(target, itk.F)).astype("<f4").tofile(arguments.out)
    print(json.dumps(dict(data=os.path.basename(os.path.normpath(arguments.folder)), views=meta["n"],
                          threads=arguments.threads, wall_s=round(clock.s, 3), **times,
                          fdk_s=round(clock.s - (times["io_s"] or 0.0), 3))))


if __name__ == "__main__":
    main()
