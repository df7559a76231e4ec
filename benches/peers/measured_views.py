"""measured_views.py BINARY DATA OUT [--only disc,bar]: measured X-ray views, reconstructed and held against what is known of the objects.

  disc  one detector row of a perforated acrylic disc (fan_disc_tb: 549 views with gaps, and its first 90 degrees), our filtered
        back-projection and total variation against the segmentation that came with the data
  bar   a cone-beam scan of a notched bar: the object is round, so its one radiogram stands for every angle; our filtered
        back-projection against the slice that the scanner's own program made of all its views
DATA is the folder of the larger test data. Prints one JSON object, writes OUT/measured_views.json and pictures, exits 1 when
a limit fails.
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys

import itk
import matplotlib
import numpy as np
from scipy.ndimage import map_coordinates

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Correlation by which total variation must beat filtered back-projection, and the bar's with the scanner's slice.
GAIN_OF_TV = 0.03
BAR_CORRELATION = 0.97
# Views of the whole turn that the bar's one radiogram stands for.
BAR_VIEWS = 240
# Rows at either end of the scanner's slice that some of its views do not see.
REFERENCE_MARGIN = 150


def reconstruct(binary, folder, line_integrals, matrices, pitch_mm, grid, voxel_mm, *options):
    """Runs our program on views [view, v, u]. Gives the volume [z, y, x] and what was told."""
    folder.mkdir(parents=True, exist_ok=True)
    count, nv, nu = line_integrals.shape
    np.ascontiguousarray(line_integrals, "<f4").tofile(folder / "proj.raw")
    np.savetxt(folder / "matrices.txt", matrices.reshape(-1, 12), fmt="%.17e")
    (folder / "meta.json").write_text(json.dumps(dict(nu=nu, nv=nv, n=count, su=pitch_mm[0], sv=pitch_mm[1])))
    out = folder / "volume.mha"
    done = subprocess.run(
        [binary, "reconstruct", folder / "proj.raw", "--out", out, "--grid", ",".join(map(str, grid)),
         "--voxel-mm", ",".join(map(str, voxel_mm)), "--json", *map(str, options)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{folder.name}: {done.stderr}")
    return itk.array_from_image(itk.imread(str(out))), json.loads(done.stdout)


def matrix(source, e_u, e_v, distance_mm, pitch_mm, centre_px):
    """A 3x4 matrix of a flat detector whose centre ray goes through the origin."""
    normal = -source / np.linalg.norm(source)
    rows = np.array([e_u * distance_mm / pitch_mm[0] + centre_px[0] * normal,
                     e_v * distance_mm / pitch_mm[1] + centre_px[1] * normal, normal])
    return np.hstack([rows, -rows @ source[:, None]])


def raw(path, kind, shape):
    return np.frombuffer(gzip.decompress(path.read_bytes()), kind).reshape(shape)


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def picture(path, images, profile=None):
    figure, axes = plt.subplots(1, len(images) + (profile is not None), figsize=(4 * (len(images) + 1), 4))
    for axis, (title, image) in zip(axes, images):
        axis.imshow(image, cmap="gray", vmin=np.percentile(image, 1), vmax=np.percentile(image, 99.5))
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    if profile is not None:
        for name, values in profile:
            axes[-1].plot(values, label=name, linewidth=1)
        axes[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def disc(binary, data, out):
    facts = json.loads((data / "fan_disc_tb.json").read_text())
    angles = np.deg2rad(facts["angles_deg"])
    views = raw(data / "fan_disc_tb_f32.raw.gz", "<f4", (len(angles), 1, 560)).copy()
    truth = plt.imread(data / "fan_disc_tb_truth.png")
    truth = (truth if truth.ndim == 2 else truth[..., 0])[::-1]
    pitch = [facts["parameters"]["pixelSizePost"]] * 2
    voxel = facts["parameters"]["effectivePixelSizePost"]
    axis_mm, detector_mm = (facts["parameters"][key] for key in ("distanceSourceOrigin", "distanceSourceDetector"))

    def view_matrix(angle):
        e_u = np.array([np.cos(angle), np.sin(angle), 0.0])
        source = axis_mm * np.array([np.sin(angle), -np.cos(angle), 0.0])
        return matrix(source, e_u, np.array([0.0, 0.0, 1.0]), detector_mm, pitch, [279.5, 0.0])

    matrices = np.array([view_matrix(angle) for angle in angles])
    report, pictures = {}, [("given segmentation", truth[::-1])]
    for name, last_deg in (("all 549 views", 360.0), ("first 90 degrees", 117.0)):
        wanted = np.rad2deg(angles) <= last_deg
        made = {}
        for program, options in (("fbp", []), ("tv", ["--algorithm", "fista-tv"])):
            image, told = reconstruct(binary, out / f"disc_{program}", views[wanted], matrices[wanted], pitch,
                                      (512, 512, 1), (voxel, voxel, voxel), "--limited-angle", *options)
            made[program] = dict(correlation=correlation(image[0], truth), seconds=told["reconstruct_s"])
            pictures.append((f"{program}, {name}: {made[program]['correlation']:.3f}", image[0][::-1]))
        report[name] = made
    picture(out / "disc.png", pictures)
    failed = [f"disc, {name}: expected total variation {GAIN_OF_TV} above {made['fbp']['correlation']:.3f}, found "
              f"{made['tv']['correlation']:.3f}" for name, made in report.items()
              if not made["tv"]["correlation"] >= made["fbp"]["correlation"] + GAIN_OF_TV]
    return report, failed


def axis_of_symmetry(image):
    """Offset and slope of the line u = offset + slope v about which a radiogram of a round bar is its own mirror image."""
    rows, columns = image.shape
    bands = np.linspace(0, rows, 11).astype(int)
    reach = np.arange(5, 0.45 * columns)
    places, found = [], []
    for top, end in zip(bands, bands[1:]):
        row = image[top:end].mean(0)

        def unlike(axis):
            left, right = (np.interp(axis + sign * reach, np.arange(columns), row) for sign in (-1, 1))
            return ((left - right) ** 2).mean()

        tried = np.arange(columns / 2 - 15, columns / 2 + 15, 0.05)
        found.append(tried[np.argmin([unlike(axis) for axis in tried])])
        places.append((top + end - 1) / 2)
    slope, offset = np.polyfit(places, found, 1)
    return offset, slope


def bar(binary, data, out):
    facts = json.loads((data / "cone_notched_bar.json").read_text())
    transmission = raw(data / "cone_notched_bar_radiogram_u16.raw.gz", "<u2", (facts["rows"], facts["cols"])) / 65535
    radiogram = -np.log(np.clip(transmission, 1e-5, None))
    # Two by two cells averaged: the reference is compared on voxels of twice its own.
    kept = radiogram.reshape(1000, 2, 750, 2).mean((1, 3)).astype(np.float32)
    pitch = [2 * pixel for pixel in facts["pixel_mm"]]
    offset, slope = axis_of_symmetry(kept)
    middle_row = (len(kept) - 1) / 2
    roll = np.arctan(slope)
    source_mm, detector_mm = facts["source_to_object_mm"], facts["source_to_detector_mm"]

    def view_matrix(angle):
        across, down = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0, 0.0, -1.0])
        source = source_mm * np.array([np.sin(angle), -np.cos(angle), 0.0])
        e_u, e_v = np.cos(roll) * across + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * across
        return matrix(source, e_u, e_v, detector_mm, pitch, [offset + slope * middle_row, middle_row])

    matrices = np.array([view_matrix(2 * np.pi * view / BAR_VIEWS) for view in range(BAR_VIEWS)])
    views = np.broadcast_to(kept, (BAR_VIEWS, *kept.shape))
    voxel = 2 * facts["reference"]["voxel_mm"]
    volume, told = reconstruct(binary, out / "bar", views, matrices, pitch, (450, 1, 1000), (voxel,) * 3,
                               "--filter", "hann:0.5")
    reference = raw(data / "cone_notched_bar_reference_slice_u16.raw.gz", "<u2",
                    (facts["reference"]["rows"], facts["reference"]["cols"])).astype(float)
    found, seen, shift_px = on_reference(volume[:, 0], reference, voxel / facts["reference"]["voxel_mm"])
    gain, level = np.polyfit(found.ravel(), seen.ravel(), 1)
    value = correlation(found, seen)
    notch = int(np.argmin(seen.sum(1)))
    picture(out / "bar.png", [("isocenter", found), ("scanner's program", seen)],
            [(f"{name}, {place}", profile) for place, row in (("bar", 100), ("notch", notch))
             for name, profile in (("isocenter", gain * found[row] + level), ("scanner", seen[row]))])
    report = dict(correlation=value, seconds=told["reconstruct_s"], shift_px=shift_px, axis_column=offset + slope * middle_row,
                  axis_tilt_deg=float(np.rad2deg(roll)), gain=float(gain), offset=float(level))
    failed = [] if value >= BAR_CORRELATION else [f"bar: expected a correlation of {BAR_CORRELATION}, found {value:.4f}"]
    return report, failed


def on_reference(ours, reference, step):
    """Our slice through the axis, [z, x], sampled on the reference's pixels, which begin at the axis; `step` of them are one of
    ours. The shift along the axis is the one that suits best: neither slice says where its origin lies. The outer rows, which
    some views do not see, are left out."""
    seen = reference[REFERENCE_MARGIN:-REFERENCE_MARGIN]
    z = (np.arange(len(seen)) - (len(seen) - 1) / 2)[:, None]
    x = np.arange(seen.shape[1])[None, :]

    def sampled(shift, sense, every=1):
        places = np.broadcast_arrays(sense * (z + shift)[::every] / step + (ours.shape[0] - 1) / 2,
                                     x / step + (ours.shape[1] - 1) / 2)
        return map_coordinates(ours, places, order=1, mode="nearest")

    def alike(shift, sense):
        return correlation(sampled(shift, sense, 4), seen[::4])

    coarse = max((alike(shift, sense), shift, sense) for sense in (-1, 1) for shift in range(-100, 101, 5))
    fine = max((alike(coarse[1] + shift, coarse[2]), coarse[1] + shift, coarse[2]) for shift in range(-5, 6))
    return sampled(fine[1], fine[2]), seen, fine[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", default="disc,bar")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    report, failed = {}, []
    for name in arguments.only.split(","):
        report[name], missed = {"disc": disc, "bar": bar}[name](
            arguments.binary, arguments.data / "projections", arguments.out)
        failed += missed
    report["failed"] = failed
    (arguments.out / "measured_views.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
