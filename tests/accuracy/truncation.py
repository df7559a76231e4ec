"""truncation.py BINARY OUT: what the end of the detector does to the numbers inside it, and how much water and a CT mend.

A body of water, 380 x 260 mm with a spine and two lungs' worth of air, and the real chest CT of tests/data between two arms,
go through the ideal virtual C-arm; the views are then cut to a field of 235 mm. Four reconstructions of the same
views: rows not continued, continued with water, with the CT itself, and with a CT that lies 3 mm and 2 degrees off and reads
3 % too high. Each against the reconstruction's own true volume in soft tissue, at least two voxels inside it: bias
(mean), cupping (rim less middle) and RMS in HU. Prints one JSON object, writes OUT/truncation.json and OUT/truncation.png,
and exits 1 when the water body is off by more than 20 HU or 25 HU of cupping with water, 5 and 5 with the CT off.
"""
import json, pathlib, sys
import nibabel as nib, numpy as np, SimpleITK as sitk
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion, gaussian_filter
from program import run

CHEST = pathlib.Path(__file__).resolve().parent.parent / "data/lidc_idri_0001_thorax.nii.gz"
FIELD_MM, HALF_HEIGHT_MM = 235.0, 40.0
RIM_MM, MIDDLE_MM = (85.0, 108.0), 35.0
OFF_MM, OFF_DEG, GAIN = 3.0, 2.0, 1.03
LIMITS_HU = {"water": (20.0, 25.0), "CT off": (5.0, 5.0)}
SOFT_HU = 60.0


def ellipse(x, y, cx, cy, a, b):
    return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1


def water_body(target):
    """380 x 260 x 300 mm of water, finer than a voxel of the volume would show; LPS, middle at the origin."""
    spacing, size = 1.5, (290, 210, 200)
    x, y = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing for n in size[:2]], indexing="ij")
    plane = np.where(ellipse(x, y, 0, 0, 190, 130), 0.0, -1000.0)
    plane[ellipse(x, y, 0, 70, 20, 18)] = 350.0
    plane[ellipse(x, y, 60, -30, 18, 14)] = -700.0
    plane[ellipse(x, y, -150, 10, 18, 14)] = 500.0
    values = np.repeat(gaussian_filter(plane, 0.6)[:, :, None], size[2], 2).astype(np.float32)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = np.array([1, 1, -1]) * (np.array(size) - 1) / 2 * spacing
    nib.save(nib.Nifti1Image(values, affine), target)


def chest_with_arms(target):
    """The chest as it is, and an arm with its bone on either side."""
    image = nib.load(CHEST)
    values, affine = np.asarray(image.dataobj).astype(np.float32), image.affine
    spacing, pad = image.header.get_zooms(), 40
    values = np.pad(values, ((pad, pad), (pad, pad), (0, 0)), constant_values=-1000)
    affine = affine.copy()
    affine[:3, 3] -= affine[:3, :2] @ [pad, pad]
    nx, ny = values.shape[:2]
    x, y = np.meshgrid((np.arange(nx) - (nx - 1) / 2) * spacing[0], (np.arange(ny) - (ny - 1) / 2) * spacing[1], indexing="ij")
    body = (values > -400).any(2)
    wide = np.abs(x[body]).max()
    for side in (-1, 1):
        arm = ellipse(x, y, side * (wide + 10), 0, 38, 45) & ~body
        values[arm] = 40.0
        values[ellipse(x, y, side * (wide + 10), 0, 12, 12)] = 900.0
    nib.save(nib.Nifti1Image(values, affine), target)


def moved(source, target):
    image = nib.load(source)
    angle, centre = np.radians(OFF_DEG), image.affine @ [*(np.array(image.shape) - 1) / 2, 1]
    turn, back, there = np.eye(4), np.eye(4), np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    back[:3, 3], there[:3, 3] = -centre[:3], centre[:3] + [OFF_MM, 0, 0]
    values = (np.asarray(image.dataobj).astype(np.float32) + 1000) * GAIN - 1000
    nib.save(nib.Nifti1Image(values.astype(np.float32), there @ turn @ back @ image.affine), target)


def cut_views(truth, folder):
    """The exact views in LPS on the columns of a narrower detector; gives back the stack's and the matrices' paths."""
    told = json.loads((truth / "truth.json").read_text())
    world_from_lps = np.linalg.inv(np.array(told["lps_from_world"]).reshape(4, 4))
    matrices = np.loadtxt(truth / "matrices_true.txt").reshape(-1, 3, 4) @ world_from_lps
    stack = sitk.ReadImage(str(truth / "line_integrals.mha"))
    views = sitk.GetArrayFromImage(stack)
    m = matrices[0][:, :3]
    w = np.linalg.norm(m[2])
    focal_px = np.linalg.norm(np.cross(m[0] / w, m[2] / w))
    sources = np.array([-np.linalg.inv(p[:, :3]) @ p[:, 3] for p in matrices])
    radius_mm = circle_radius(sources)
    keep = 2 * int(focal_px * np.tan(np.arcsin(FIELD_MM / 2 / radius_mm)))
    cut = (views.shape[2] - keep) // 2
    assert cut > 0, f"expected a detector wider than the field of {FIELD_MM} mm"
    narrow = sitk.GetImageFromArray(np.ascontiguousarray(views[:, :, cut:views.shape[2] - cut]))
    narrow.SetSpacing(stack.GetSpacing())
    sitk.WriteImage(narrow, str(folder / "views.mha"))
    shift = np.array([[1.0, 0, -cut], [0, 1, 0], [0, 0, 1]])
    np.savetxt(folder / "matrices.txt", (shift @ matrices).reshape(-1, 12), fmt="%.17g")
    return told["mu_water_per_mm"], 2 * radius_mm * np.sin(np.arctan((views.shape[2] / 2 - cut) / focal_px))


def circle_radius(points):
    """Of points on a circle in space: least squares in their own plane."""
    middle = points.mean(0)
    flat = (points - middle) @ np.linalg.svd(points - middle)[2][:2].T
    solution = np.linalg.lstsq(np.c_[2 * flat, np.ones(len(flat))], (flat**2).sum(1), rcond=None)[0]
    return float(np.sqrt(solution[2] + solution[0] ** 2 + solution[1] ** 2))


def measure(volume, truth, mu, places):
    hu = truth / mu * 1000 - 1000
    x, y, z = places
    radius = np.hypot(x, y)
    even = binary_erosion((np.abs(hu) < SOFT_HU + 40) & (hu > -150), iterations=3)
    inside = even & (np.abs(z) < HALF_HEIGHT_MM)
    error = volume - hu
    rim = error[inside & (radius > RIM_MM[0]) & (radius < RIM_MM[1])].mean()
    middle = error[inside & (radius < MIDDLE_MM)].mean()
    whole = error[inside & (radius < RIM_MM[1])]
    return {"bias_hu": float(whole.mean()), "cupping_hu": float(rim - middle), "rms_hu": float(np.sqrt((whole**2).mean()))}


def picture(tiles):
    """Four planes a row, -200 to 250 HU, each under its title and figures."""
    height, width = tiles[0][1].shape
    sheet = Image.new("L", (4 * width, len(tiles) // 4 * (height + 34)), 0)
    draw = ImageDraw.Draw(sheet)
    for index, (title, plane, found) in enumerate(tiles):
        x, y = index % 4 * width, index // 4 * (height + 34)
        sheet.paste(Image.fromarray(np.uint8(np.clip((plane + 200) / 450, 0, 1) * 255)), (x, y + 34))
        draw.text((x + 4, y + 3), f"{title}\nbias {found['bias_hu']:+.1f}, cupping {found['cupping_hu']:+.1f} HU", fill=255)
    return sheet


def main(binary, out):
    out = pathlib.Path(out)
    report, failed, pictures = {}, 0, []
    for name, make in {"water body": water_body, "chest and arms": chest_with_arms}.items():
        folder = out / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        make(folder / "ct.nii.gz")
        moved(folder / "ct.nii.gz", folder / "ct_off.nii.gz")
        run(binary, "simulate", folder / "ct.nii.gz", "--protocol", "spine-spin", "--ideal", "--out", folder / "run.mcap",
            "--truth", folder / "truth")
        mu, field_mm = cut_views(folder / "truth", folder)
        image = sitk.ReadImage(str(folder / "truth/volume.mha"))
        truth, spacing = sitk.GetArrayFromImage(image), image.GetSpacing()
        size = truth.shape[::-1]
        centre = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size]))
        offsets = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing)]
        z, y, x = np.meshgrid(*offsets[::-1], indexing="ij")
        ways = {"nothing": ["--truncation", "off"], "water": ["--truncation", "water"],
                "CT": ["--truncation-ct", folder / "ct.nii.gz"], "CT off": ["--truncation-ct", folder / "ct_off.nii.gz"]}
        report[name] = {"field_mm": field_mm}
        for way, options in ways.items():
            target = folder / f"{way.replace(' ', '_')}.mha"
            told = run(binary, "reconstruct", folder / "views.mha", "--geometry", folder / "matrices.txt", "--hu", "--mu-water", mu,
                       "--grid", ",".join(map(str, size)), "--voxel-mm", ",".join(map(str, spacing)),
                       "--center", ",".join(map(str, centre)), "--out", target, *options)
            volume = sitk.GetArrayFromImage(sitk.ReadImage(str(target)))
            found = measure(volume, truth, mu, (x, y, z))
            report[name][way] = {**found, "seconds": told["reconstruct_s"]}
            print(name, way, found, file=sys.stderr, flush=True)
            pictures.append((f"{name}: {way}", volume[size[2] // 2], found))
            if name == "water body" and way in LIMITS_HU:
                bias, cupping = LIMITS_HU[way]
                failed += abs(found["bias_hu"]) > bias or abs(found["cupping_hu"]) > cupping
    picture(pictures).save(out / "truncation.png")
    (out / "truncation.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
