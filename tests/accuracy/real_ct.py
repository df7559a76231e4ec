"""real_ct.py BINARY OUT: Hounsfield errors of real CT through the virtual C-arm, class by class.

Three runs of `spine-spin` on the chest CT of tests/data, each against its own true volume, on voxels two voxels inside
each class and inside the field of view:
  cylinder   the patient cut to a cylinder that no view truncates, ideal and monoenergetic
  whole      the whole, truncated patient with the whole spectrum, everything else ideal
  realistic  the whole patient with noise, blur, wobble and detector faults (no scatter, no lag)
Prints one JSON object and writes OUT/real_ct.json. Needs numpy, scipy, nibabel and SimpleITK.
"""
import json, pathlib, sys
import nibabel as nib, numpy as np, SimpleITK as sitk
from scipy.ndimage import binary_erosion, map_coordinates
from program import run

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
CLASSES = {1: "lung", 2: "soft tissue", 3: "contrast-filled blood", 4: "bone"}
RADIUS_MM = 104.0   # the field of view of spine-spin has a radius of 122 mm
LIMITS_HU = {"cylinder": {"lung": 10, "soft tissue": 10, "bone": 40}, "whole": {"soft tissue": 20}}


def read(path):
    """Values [z, y, x] and the index-to-LPS affine."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def cut(source, target):
    """Air outside a cylinder along z through the centre of the CT."""
    image = nib.load(source)
    values = np.asarray(image.dataobj).copy()
    nx, ny = values.shape[:2]
    sx, sy = image.header.get_zooms()[:2]
    x, y = np.meshgrid((np.arange(nx) - (nx - 1) / 2) * sx, (np.arange(ny) - (ny - 1) / 2) * sy, indexing="ij")
    values[np.hypot(x, y) > RADIUS_MM] = -1000
    nib.save(nib.Nifti1Image(values, image.affine), target)


def labels_on(shape, affine, radius_mm):
    labels, label_affine = read(DATA / "lidc_idri_0001_thorax_labels.nii.gz")
    zyx = np.indices(shape).reshape(3, -1)[::-1]
    lps = affine[:3, :3] @ zyx + affine[:3, 3:]
    index = np.linalg.solve(label_affine[:3, :3], lps - label_affine[:3, 3:])
    found = map_coordinates(labels, index[::-1], order=0, cval=0).reshape(shape)
    if radius_mm:
        centre = label_affine @ [*(np.array(labels.shape[::-1]) - 1) / 2, 1]
        found[np.hypot(lps[0] - centre[0], lps[1] - centre[1]).reshape(shape) > radius_mm] = 0
    return found


def main(binary, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    whole = DATA / "lidc_idri_0001_thorax.nii.gz"
    labels = DATA / "lidc_idri_0001_thorax_labels.nii.gz"
    cylinder = out / "cylinder.nii.gz"
    cut(whole, cylinder)
    cases = {
        "cylinder": (cylinder, ["--ideal"]),
        "whole": (whole, ["--ideal", "--polychromatic"]),
        "realistic": (whole, ["--without", "scatter,lag"]),
    }
    report, failed = {}, []
    for name, (patient, options) in cases.items():
        truth, volume, spin = out / f"{name}_truth.mha", out / f"{name}.mha", out / f"{name}.mcap"
        made = run(binary, "simulate", patient, "--labels", labels, "--protocol", "spine-spin", "--out", spin,
                   "--truth-volume", truth, *options)
        facts = run(binary, "reconstruct", spin, "--out", volume)
        spin.unlink()
        hu, affine = read(volume)
        mu, _ = read(truth)
        mu_water = made["mu_water_per_mm"]
        error = hu - 1000 * (mu / mu_water - 1)
        classes = labels_on(hu.shape, affine, RADIUS_MM - 4 if name == "cylinder" else None)
        x, y = (np.arange(hu.shape[2]) - (hu.shape[2] - 1) / 2), (np.arange(hu.shape[1]) - (hu.shape[1] - 1) / 2)
        spacing = np.linalg.norm(affine[:3, 0])
        seen = np.zeros(hu.shape, bool)
        # A cylinder inside every view's cone: 110 mm round the axis, 60 mm up and down.
        seen[:, np.hypot(*np.meshgrid(x, y)) * spacing < 110] = True
        z = (np.arange(hu.shape[0]) - (hu.shape[0] - 1) / 2) * np.linalg.norm(affine[:3, 2])
        seen[np.abs(z) > 60] = False
        report[name] = {"reconstruct_s": facts["reconstruct_s"], "classes": {}}
        for label, tissue in CLASSES.items():
            inside = binary_erosion(classes == label, np.ones((3, 3, 3)), iterations=2) & seen
            if not inside.any():
                continue
            values = error[inside]
            near = error[inside & (np.abs(z) <= 20)[:, None, None]]
            report[name]["classes"][tissue] = {
                "voxels": int(inside.sum()), "mean_hu": round(float(values.mean()), 2),
                "mean_within_20_mm_of_midplane_hu": round(float(near.mean()), 2) if near.size else None, "sd_hu": round(float(values.std()), 2)}
            limit = LIMITS_HU.get(name, {}).get(tissue)
            if limit and not abs(values.mean()) < limit:
                failed.append(f"{name}, {tissue}: expected under {limit} HU, found {values.mean():.1f}")
    report["failed"] = failed
    (out / "real_ct.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
