"""few_views.py BINARY OUT [--photons 50000] [--hann 0.5]: total variation from a quarter of the views beside RTK's FDK from all.

A real chest CT, cut to a cylinder that no view truncates and given two rods along the rotation axis whose edges can be
measured, goes through the virtual C-arm (248 ideal views). Each pixel gets Poisson noise of the stated quanta in air.
RTK's FDK takes all views, `isocenter reconstruct --algorithm fista-tv --photons` every fourth and nothing else: how much it smooths
follows from the noise. Prints one JSON object, writes OUT/few_views.json and a picture, exits 1 when total variation has the
larger error in the body or an edge more than 10 % wider.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

import itk
import matplotlib
import numpy as np
from scipy.ndimage import binary_erosion
from scipy.optimize import curve_fit
from scipy.special import erfc

import data_set
import programs

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CT = HERE.parent.parent / "tests" / "data" / "lidc_idri_0001_thorax.nii.gz"
VIEWS, EVERY = 248, 4
# The cut body: the field of view of spine-spin has a radius of 122 mm and half a height of 96 mm.
RADIUS_MM, HALF_HEIGHT_MM = 100.0, 70.0
# Rods of contrast agent in soft tissue: centre in mm from the body's, and HU. Soft tissue reaches twice the radius.
RODS = {"500 HU": ((-45.0, 25.0), 500.0), "250 HU": ((35.0, -40.0), 250.0)}
ROD_RADIUS_MM, ROD_HALF_LENGTH_MM = 8.0, 30.0
SOFT_TISSUE_HU = 50.0
EDGE_FACTOR = 1.10
# A rod's edge is looked at so far to either side, in bins of so much.
EDGE_REACH_MM, EDGE_BIN_MM = 6.0, 0.1
# From 10 to 90 % of a step blurred by a normal distribution, in its standard deviations.
TEN_TO_NINETY = 2.563
SEED = 1


def body(target):
    """The CT cut to the cylinder, with rods. Voxels that a rod's edge crosses get their share."""
    image = itk.imread(str(CT), itk.F)
    values = itk.array_from_image(image)
    size, spacing = np.array(values.shape[::-1]), np.array(image.GetSpacing())
    sense = np.diag(itk.array_from_matrix(image.GetDirection()))
    if not np.allclose(np.abs(sense), 1):
        raise programs.ProgramFailed(f"{CT.name}: expected axes along those of the patient, found {sense}")
    x, y = np.meshgrid(*(sense[axis] * (np.arange(size[axis]) - (size[axis] - 1) / 2) * spacing[axis] for axis in (0, 1)))
    z = (np.arange(size[2]) - (size[2] - 1) / 2) * spacing[2]
    lengthwise = np.abs(z) <= ROD_HALF_LENGTH_MM
    for (cx, cy), hu in RODS.values():
        distance = np.hypot(x - cx, y - cy)
        share = np.clip((ROD_RADIUS_MM - distance) / spacing[0] + 0.5, 0, 1)
        rod = SOFT_TISSUE_HU + share * (hu - SOFT_TISSUE_HU)
        around = distance <= 2 * ROD_RADIUS_MM
        values[np.ix_(lengthwise)] = np.where(around, rod, values[np.ix_(lengthwise)])
    values[:, np.hypot(x, y) > RADIUS_MM] = -1000
    values[np.abs(z) > HALF_HEIGHT_MM] = -1000
    cut = itk.image_from_array(np.clip(values, -1000, 3000).astype(np.float32))
    cut.SetSpacing(image.GetSpacing())
    cut.SetOrigin(image.GetOrigin())
    cut.SetDirection(image.GetDirection())
    itk.imwrite(cut, str(target))


def simulate(binary, out):
    """The data set of all views without noise, in RTK's world (rotation axis along y), and mu of water."""
    folder = out / "exact"
    if (folder / "meta.json").exists():
        return folder, json.loads((folder / "meta.json").read_text())["mu_water_per_mm"]
    folder.mkdir(parents=True, exist_ok=True)
    body(out / "body.nii.gz")
    truth = out / "simulated"
    programs.run([binary, "simulate", str(out / "body.nii.gz"), "--protocol", "spine-spin", "--views", str(VIEWS), "--ideal", "--out",
                  str(out / "run.mcap"), "--truth", str(truth), "--json"])
    told = json.loads((truth / "truth.json").read_text())
    volume = itk.imread(str(truth / "volume.mha"))
    stack = itk.imread(str(truth / "line_integrals.mha"))
    values, projections = itk.array_from_image(volume), itk.array_from_image(stack)
    size, spacing = values.shape[0], volume.GetSpacing()[0]
    if values.shape != (size,) * 3 or not np.allclose(itk.array_from_matrix(volume.GetDirection()), np.eye(3)):
        raise programs.ProgramFailed(f"the true volume: expected a cube along LPS, found {values.shape}")
    centre = np.array(volume.GetOrigin()) + (size - 1) / 2 * spacing
    # RTK's x, y, z are left, superior, anterior.
    lps_from_rtk = np.eye(4)
    lps_from_rtk[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    lps_from_rtk[:3, 3] = centre
    world_from_rtk = np.linalg.inv(np.array(told["lps_from_world"]).reshape(4, 4)) @ lps_from_rtk
    matrices = np.array([matrix @ world_from_rtk for matrix in np.loadtxt(truth / "matrices_true.txt").reshape(-1, 3, 4)])
    matrices /= np.linalg.norm(matrices[:, 2:, :3], axis=2, keepdims=True)
    projections, matrices = upright(projections, matrices)
    np.ascontiguousarray(values.transpose(1, 0, 2)[::-1], "<f4").tofile(folder / f"truth_{size}.raw")
    pitch = stack.GetSpacing()
    meta = dict(nu=projections.shape[2], nv=projections.shape[1], n=len(projections), su=pitch[0], sv=pitch[1], short=True,
                mu_water_per_mm=told["mu_water_per_mm"], vols={str(size): dict(n=size, s=spacing)})
    data_set.save(folder, meta, projections, matrices)
    shutil.rmtree(truth)
    (out / "run.mcap").unlink()
    return folder, told["mu_water_per_mm"]


def upright(projections, matrices):
    """Views turned by half a turn where their rows run down: RTK weights a short scan as if rows ran along +y."""
    v_along_y = matrices[0, 1, 1] * matrices[0, 2, 3] - matrices[0, 1, 3] * matrices[0, 2, 1]
    if v_along_y > 0:
        return projections, matrices
    _, nv, nu = projections.shape
    turn = np.array([[-1.0, 0, nu - 1], [0, -1.0, nv - 1], [0, 0, 1]])
    return projections[:, ::-1, ::-1], turn @ matrices


def noisy(exact, folder, photons, every):
    """The data set of every so many-th view, each pixel with the noise of so many quanta in air."""
    meta, projections, matrices = data_set.load(exact)
    random = np.random.default_rng(SEED)
    expected = photons * np.exp(-projections.astype(np.float64))
    counts = np.maximum(random.poisson(expected), 0.5)
    line_integrals = np.log(photons / counts).astype(np.float32)[::every]
    data_set.save(folder, dict(meta, n=len(line_integrals)), line_integrals, matrices[::every])


def fista_tv(binary, folder, size, spacing_mm, photons, extra):
    target = folder / "tv.mha"
    text = programs.run([binary, "reconstruct", str(folder / "proj.raw"), "--grid", str(size), "--voxel-mm", str(spacing_mm),
                         "--algorithm", "fista-tv", "--photons", str(photons), "--out", str(target), "--json", *extra])
    return programs.read_volume(str(target), size, spacing_mm), programs.one_json(text, "isocenter")


def fdk(folder, size, hann):
    target = folder / f"rtk_hann{hann:g}.raw"
    programs.run([sys.executable, str(HERE / "rtk_fdk.py"), str(folder), "--vol", str(size), "--hann", str(hann), "--out", str(target)])
    return data_set.load_volume(target, size)


def edge_width_mm(volume, distance_mm, mask):
    """Distance from 10 to 90 % of the way up the rod's edge: that of the blurred step which suits the radial profile best, since
    a profile's own crossings are its noise's in a noisy volume."""
    near = mask & (np.abs(distance_mm - ROD_RADIUS_MM) < EDGE_REACH_MM)
    bins = np.round((distance_mm[near] - ROD_RADIUS_MM + EDGE_REACH_MM) / EDGE_BIN_MM).astype(int)
    counts = np.bincount(bins)
    kept = counts > 0
    profile = np.bincount(bins, volume[near].astype(np.float64))[kept] / counts[kept]
    at_mm = np.flatnonzero(kept) * EDGE_BIN_MM - EDGE_REACH_MM

    def step(at, outside, height, place, blur):
        return outside + height * 0.5 * erfc((at - place) / (np.sqrt(2) * blur))

    guess = [profile[-1], profile[0] - profile[-1], 0.0, 1.0]
    found, _ = curve_fit(step, at_mm, profile, guess, sigma=1 / np.sqrt(counts[kept]))
    return float(TEN_TO_NINETY * abs(found[3]))


def judged(volume, truth, spacing_mm, mu_water):
    """RMSE over the body in HU, and the widths of the rods' edges in mm."""
    places = (np.arange(len(truth)) - (len(truth) - 1) / 2) * spacing_mm
    z, y, x = np.meshgrid(places, places, places, indexing="ij", sparse=True)
    inside = np.broadcast_to(np.hypot(x, z) < RADIUS_MM - 3, truth.shape) & (np.abs(y) < HALF_HEIGHT_MM - 10)
    inside = binary_erosion(inside)
    hu = 1000 / mu_water
    difference = (volume[inside].astype(np.float64) - truth[inside]) * hu
    found = dict(rmse_hu=float(np.sqrt((difference**2).mean())), bias_hu=float(difference.mean()))
    for name, ((cx, cy), _) in RODS.items():
        distance = np.broadcast_to(np.hypot(x - cx, -z - cy), truth.shape)
        middle = np.broadcast_to(np.abs(y) < ROD_HALF_LENGTH_MM / 2, truth.shape)
        found[f"edge {name}, mm"] = edge_width_mm(volume, distance, middle)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--photons", type=float, default=50000.0)
    parser.add_argument("--hann", type=float, nargs="*", default=[0.5], help="windows of RTK's FDK; 0.5 as in every comparison, 0 for the ramp")
    parser.add_argument("--options", default="", help="more options of ours, separated by spaces")
    arguments = parser.parse_args()
    out = arguments.out
    exact, mu_water = simulate(arguments.binary, out)
    meta = data_set.load_meta(exact)
    (name, facts), = meta["vols"].items()
    size, spacing_mm = facts["n"], facts["s"]
    truth = data_set.load_volume(exact / f"truth_{name}.raw", size)
    full, few = out / f"all_{arguments.photons:g}", out / f"few_{arguments.photons:g}"
    if not (full / "meta.json").exists():
        noisy(exact, full, arguments.photons, 1)
        noisy(exact, few, arguments.photons, EVERY)
    volume, told = fista_tv(arguments.binary, few, size, spacing_mm, arguments.photons, arguments.options.split())
    stage = next(stage for stage in told["stages"] if stage["name"] == "fista-tv")
    ours = judged(volume, truth, spacing_mm, mu_water)
    report = dict(photons=arguments.photons, seconds=told["reconstruct_s"], parameters=stage["parameters"],
                  passes=len(told["iterations"]), truth=judged(truth, truth, spacing_mm, mu_water),
                  fista_tv=dict(views=data_set.load_meta(few)["n"], **ours))
    images, failed = [("true", truth), (f"FISTA-TV, {VIEWS // EVERY} views", volume)], []
    for hann in arguments.hann:
        kept = full / f"rtk_hann{hann:g}.raw"
        theirs = data_set.load_volume(kept, size) if kept.exists() else fdk(full, size, hann)
        found = judged(theirs, truth, spacing_mm, mu_water)
        report[f"rtk_fdk, hann {hann:g}"] = dict(views=VIEWS, **found)
        images.append((f"RTK's FDK, {VIEWS} views, Hann {hann:g}", theirs))
        for key, value in found.items():
            limit = EDGE_FACTOR * value if "edge" in key else value
            if "bias" not in key and not ours[key] <= limit:
                failed.append(f"hann {hann:g}: {key}: expected at most {limit:.3f}, found {ours[key]:.3f}")
    report["failed"] = failed
    figure, axes = plt.subplots(1, len(images), figsize=(5 * len(images), 5))
    for axis, (title, image) in zip(axes, images):
        axis.imshow(image[::-1, size // 2] * 1000 / mu_water - 1000, cmap="gray", vmin=-250, vmax=350)
        axis.set_title(title)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(out / "few_views.png", dpi=90)
    (out / "few_views.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except programs.ProgramFailed as failure:
        sys.exit(str(failure))
