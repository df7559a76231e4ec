"""segmentation.py BINARY DATA OUT [CASE ...]: segmentations of real CT and of its cone-beam volumes against label maps.

DATA is the folder of larger real data (its `ct` folder is used). Cone-beam volumes are looked for in OUT as
`cone_thorax.nii.gz` and `cone_abdomen.nii.gz`; `--simulate` makes them first with the virtual C-arm (minutes).
Label maps were made by TotalSegmentator, a network, not by hand. Left out of bone: what lies within 5 mm of costal
cartilage (calcified cartilage is as dense as bone), and metal (over 2000 HU). Cone beam is scored within 110 mm of the
axis and 60 mm of the middle plane.

The chest's map was made on voxels of 1.5 mm and brought onto the CT's by taking the nearest: of two maps of the same bone
on the CT's grid one would differ from the other by that alone. So two more figures stand beside the Dice on the CT's
grid: the Dice on the map's own grid, and the grid's ceiling, which is what the found bone scores against itself once it
has gone through the map's grid in the same way.

Confidence (of the weights in use): expected calibration error and area under the curve for wrong voxels, within three
voxels of the borders that were drawn and of those of the map. `make segmentation` runs this and then fits the weights, also
with each patient left out (`anatomy/tests/data.rs`).

Prints a table and one JSON object, and writes OUT/segmentation.json. Needs numpy, scipy and nibabel.
"""
import json, pathlib, sys
import nibabel as nib, numpy as np
from scipy import ndimage
from program import run

SMALL = pathlib.Path(__file__).resolve().parent.parent / "data"
BONE = [*range(25, 51), *range(69, 79), 91, *range(92, 117)]
AORTA = [52]
# The two label maps number costal cartilage differently.
# The chest's map: 240 x 240 x 222 voxels, first and last on the first and last of the whole CT, whose rows 48 to 443 of 512
# are in the file. Brought back by the nearest voxel it is the file, to the voxel.
OWN_GRID = {"ct/thorax_contrast_lidc0001_labels.nii.gz": ((240, 240, 222), (512, 512, 133), (0, 48, 0))}
THORAX = ("ct/thorax_contrast_lidc0001_labels.nii.gz", 118)
ABDOMEN = ("ct/abdomen_pelvis_3mm_labels.nii.gz", 117)
GOALS = {"ct": 0.93, "cone": 0.90, "aorta": 0.90}
SIMULATED = {"cone_thorax": ("{small}/lidc_idri_0001_thorax.nii.gz", "3,50,-187"),
             "cone_abdomen": ("{data}/ct/abdomen_pelvis_3mm_ct.nii.gz", "1,-120,190")}


def cases(data, out):
    """Name, volume, label map with its cartilage, target, goal."""
    whole, pelvis = data / "ct/thorax_contrast_lidc0001_ct.nii.gz", data / "ct/abdomen_pelvis_3mm_ct.nii.gz"
    small = SMALL / "lidc_idri_0001_thorax.nii.gz"
    return [("thorax, bone", whole, THORAX, "bone", "ct"), ("abdomen, bone", pelvis, ABDOMEN, "bone", "ct"),
            ("small thorax, bone", small, THORAX, "bone", "ct"), ("thorax, aorta", whole, THORAX, "vessel", "aorta"),
            ("small thorax, aorta", small, THORAX, "vessel", "aorta"),
            ("cone beam thorax, bone", out / "cone_thorax.nii.gz", THORAX, "bone", "cone"),
            ("cone beam abdomen, bone", out / "cone_abdomen.nii.gz", ABDOMEN, "bone", "cone")]


def on_grid(mask, affine, image):
    """A mask on another image's grid: averaged first where that grid is coarser, then half or more."""
    sizes = [np.linalg.norm(a[:3, :3], axis=0) for a in (affine, image.affine)]
    width = np.maximum(1, np.round(sizes[1] / sizes[0]).astype(int))
    soft = ndimage.uniform_filter(mask.astype(np.float32), width)
    change = np.linalg.inv(affine) @ image.affine
    return ndimage.affine_transform(soft, change[:3, :3], change[:3, 3], image.shape, order=1) > 0.5


def surface(mask):
    return mask & ~ndimage.binary_erosion(mask)


def score(found, truth, care, spacing):
    """Dice and the 95th percentile of the distances between the surfaces, both ways, where it counts."""
    there, here = truth & care, found & care
    to_truth = ndimage.distance_transform_edt(~truth, sampling=spacing)
    to_found = ndimage.distance_transform_edt(~found, sampling=spacing)
    ways = np.concatenate([to_truth[surface(found) & care], to_found[surface(truth) & care]])
    return {"dice": float(2 * (here & there).sum() / (here.sum() + there.sum())),
            "precision": float((here & there).sum() / here.sum()), "recall": float((here & there).sum() / there.sum()),
            "surface_p95_mm": float(np.percentile(ways, 95)), "diagonal_mm": float(np.linalg.norm(spacing))}


def own_grid(label_map, shape):
    """Places of a map's own voxels along each axis of the file, those that are in it."""
    own, whole, start = OWN_GRID[label_map]
    places = [np.arange(n) * (m - 1) / (n - 1) - s for n, m, s in zip(own, whole, start)]
    return [p[(p >= 0) & (p <= n - 1)] for p, n in zip(places, shape)]


def through_own_grid(mask, places):
    """A mask on a map's own grid, by the mean of what it covers, and brought back by the nearest voxel."""
    width = [max(p[1] - p[0], 1.0) for p in places]
    soft = ndimage.gaussian_filter(mask.astype(np.float32), [w / 3 if w > 1 else 0 for w in width])
    there = ndimage.map_coordinates(soft, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest") > 0.5
    nearest = [np.abs(np.arange(n)[:, None] - p).argmin(1) for n, p in zip(mask.shape, places)]
    return there, there[np.ix_(*nearest)]


def dice(one, other):
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def beyond_the_grid(found, truth, care, places):
    """Dice on the map's own grid, and what the grid alone allows on the CT's."""
    there, back = through_own_grid(found, places)
    at = np.ix_(*[np.round(p).astype(int) for p in places])
    return {"dice_on_own_grid": dice(there & care[at], truth[at] & care[at]),
            "ceiling_of_grid": dice(found & care, back & care)}


def calibration(confidence, is_right):
    """Expected calibration error over twenty bins, and area under the curve for wrong voxels."""
    stated = confidence / 100
    bins = np.minimum((stated * 20).astype(int), 19)
    error = sum(abs(stated[bins == b].sum() - is_right[bins == b].sum()) for b in range(20)) / len(stated)
    wrong, right = (np.bincount(confidence[is_right == kind], minlength=101) for kind in (False, True))
    below = np.cumsum(wrong) - wrong
    auc = (right * (below + 0.5 * wrong)).sum() / (wrong.sum() * right.sum())
    return {"calibration_error": float(error), "auc": float(auc), "wrong_share": float((~is_right).mean())}


def near_border(mask):
    """Within three voxels of a border."""
    three = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), 3)
    return ndimage.binary_dilation(mask, three) & ~ndimage.binary_erosion(mask, three, border_value=1)


def confidence_told(path, found, truth, care):
    confidence = np.asarray(nib.load(path).dataobj).astype(int)
    is_right = found == truth
    bands = {"drawn": near_border(found) & care, "map": near_border(truth) & care}
    return {name: calibration(confidence[band], is_right[band]) for name, band in bands.items()}


def cared(image, labels, affine, cartilage, target, is_cone):
    grey = np.asarray(image.dataobj)
    care = np.ones(image.shape, bool)
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    if target == "bone":
        near = on_grid(labels == cartilage, affine, image)
        care &= (ndimage.distance_transform_edt(~near, sampling=spacing) > 5) if near.any() else True
        care &= grey < 2000
    if is_cone:
        place = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(image.shape, spacing)]
        care &= (np.hypot(place[0][:, None], place[1][None, :]) < 110)[:, :, None]
        care &= (np.abs(place[2]) < 60)[None, None, :]
    return care


def main(binary, data, out, *wanted):
    data, out = pathlib.Path(data), pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if "--simulate" in wanted:
        for name, (patient, isocenter) in SIMULATED.items():
            run(binary, "simulate", patient.format(small=SMALL, data=data), "--protocol", "spine-spin", "--views", 160,
                "--without", "scatter,lag", "--isocenter", isocenter, "--out", out / f"{name}.mcap")
            run(binary, "reconstruct", out / f"{name}.mcap", "--filter", "hann:0.6", "--out", out / f"{name}.nii.gz")
            (out / f"{name}.mcap").unlink()
    wanted = [name for name in wanted if not name.startswith("--")]
    report = {}
    for name, volume, (label_map, cartilage), target, goal in cases(data, out):
        if not volume.exists() or (wanted and name not in wanted):
            continue
        made = run(binary, "segment", volume, "--target", target, "--out", out / "labels.nii.gz",
                   "--confidence", out / "confidence.nii.gz")
        image, known = nib.load(volume), nib.load(data / label_map)
        labels = np.asarray(known.dataobj)
        ids = AORTA if target == "vessel" else [i for i in BONE if i != cartilage]
        truth = on_grid(np.isin(labels, ids), known.affine, image)
        found = np.asarray(nib.load(out / "labels.nii.gz").dataobj) > 0
        care = cared(image, labels, known.affine, cartilage, target, goal == "cone")
        told = score(found, truth, care, np.linalg.norm(image.affine[:3, :3], axis=0))
        report[name] = {**told, "goal_dice": GOALS[goal], "seconds": made["segment_s"], "peak_rss_mib": made["peak_rss_mib"]}
        row = report[name]
        if label_map in OWN_GRID and volume.parent.name == "ct":
            row |= beyond_the_grid(found, truth, care, own_grid(label_map, found.shape))
        if target == "bone":
            row["confidence"] = confidence_told(out / "confidence.nii.gz", found, truth, care)
        print(f"{name:24} Dice {row['dice']:.3f} (goal {row['goal_dice']:.2f})  95 % {row['surface_p95_mm']:.2f} mm "
              f"(voxel diagonal {row['diagonal_mm']:.2f})  precision {row['precision']:.3f}  recall {row['recall']:.3f}  "
              f"{row['seconds']:.1f} s  {row['peak_rss_mib']:.0f} MiB", file=sys.stderr)
        if "ceiling_of_grid" in row:
            print(f"    on the map's own grid Dice {row['dice_on_own_grid']:.3f}; the grid alone allows {row['ceiling_of_grid']:.3f} "
                  f"on the CT's", file=sys.stderr)
        for border, told in row.get("confidence", {}).items():
            print(f"    confidence near borders {border}: calibration error {told['calibration_error']:.3f}, AUC "
                  f"{told['auc']:.3f}, wrong {told['wrong_share']:.3f}", file=sys.stderr)
    (out / "segmentation.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
