"""Where a volume is compared with the drawn phantom, and by how much it is off there.

Numbers are in the phantom's own units, in which brain (water) is 1.02; HU are differences over HU_UNIT.
"""

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

import data_set

# Water, the phantom's brain, is 1.02: one thousandth of it is one HU.
HU_UNIT = 0.00102
# The phantom counts as flat where it does not change within this many voxels, so edge blur is left out.
FLAT_NEIGHBOURHOOD = 7
# Half the thickness of a plane across the rotation axis, in voxels: five slices.
HALF_PLANE_VOXELS = 2.6
# Planes across the rotation axis in which bias is held against the ideal circle's, mm.
PLANES_MM = (-38.0, 0.0, 38.0)


def field_of_view(matrices, meta, size, spacing_mm, step=4, is_offset=False):
    """Voxels that every view sees, or, of a detector that looks past the axis, every view or the one opposite, [z, y, x].

    Found on every `step`-th voxel, shrunk by one such step and repeated, so it is a little too small and never too
    large.
    """
    places = (np.arange(step // 2, size, step) - (size - 1) / 2) * spacing_mm
    z, y, x = np.meshgrid(places, places, places, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(x.size)])
    seen = np.ones(x.size, bool)
    for matrix in matrices:
        u, v, w = matrix @ points
        low, high = 0, meta["nu"] - 1
        if is_offset:
            # The origin lies on the axis; the wider side's reach holds on both.
            axis = matrix[0, 3] / matrix[2, 3]
            reach = max(axis, high - axis)
            low, high = axis - reach, axis + reach
        seen &= (u >= low * w) & (u <= high * w) & (v >= 0) & (v <= (meta["nv"] - 1) * w)
    # The cube's own faces are no edge of the field of view.
    coarse = minimum_filter(seen.reshape(x.shape), 3, mode="nearest")
    for axis in range(3):
        coarse = np.repeat(coarse, step, axis)
    return coarse[:size, :size, :size]


def regions(truth, matrices, meta, spacing_mm, is_offset=False):
    """Boolean masks [z, y, x] by name; every one lies in the field of view."""
    size = len(truth)
    flat = maximum_filter(truth, FLAT_NEIGHBOURHOOD) - minimum_filter(truth, FLAT_NEIGHBOURHOOD) < 1e-6
    places = (np.arange(size) - (size - 1) / 2) * spacing_mm
    radius_squared = places[:, None, None] ** 2 + places[None, :, None] ** 2 + places[None, None, :] ** 2
    seen = field_of_view(matrices, meta, size, spacing_mm, is_offset=is_offset)
    inside = flat & (truth > 0.5) & seen

    def plane(y_mm):
        return inside & (np.abs(places - y_mm) < HALF_PLANE_VOXELS * spacing_mm)[None, :, None]

    named = {
        "field of view": seen,
        "interior": inside,
        "centre": flat & seen & (radius_squared < (0.3 * meta["scale"]) ** 2),
        "midplane": plane(0.0),
        # Flat places in and just around the head: what a gain and an offset are fitted on.
        "head and margin": inside | (flat & seen & (radius_squared < (1.1 * meta["scale"]) ** 2)),
    }
    named.update({f"plane {y_mm:+g} mm": plane(y_mm) for y_mm in PLANES_MM})
    return named


def errors(volume, truth, named):
    """Per region: voxels, bias and RMSE. Not-a-number in a region gives not-a-number."""
    difference = volume.astype(np.float64) - truth
    found = {}
    for name, mask in named.items():
        values = difference[mask]
        found[name] = dict(voxels=int(mask.sum()), bias=float(values.mean()), rmse=float(np.sqrt((values**2).mean())))
    return found


def fitted(volume, truth, named):
    """The volume after the gain and offset that suit it best, for a program with a scale of its own."""
    mask = named["head and margin"]
    gain, offset = np.polyfit(volume[mask].astype(np.float64), truth[mask].astype(np.float64), 1)
    return gain * volume + offset


def edge_width_mm(volume, spacing_mm):
    """Distance from 10 to 90 % of the way up the edge of the sphere of water, away from the poles, from a radial profile.

    Voxels within 45 degrees of the plane of the rotation count: beyond, a circle of views leaves the edge to no ray.
    """
    centre, radius = np.array(data_set.SPHERE_CENTRE_MM), data_set.SPHERE_RADIUS_MM
    places = (np.arange(len(volume)) - (len(volume) - 1) / 2) * spacing_mm
    z, y, x = np.meshgrid(places, places, places, indexing="ij", sparse=True)
    distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    near = (np.abs(distance - radius) < 8.0) & (np.abs(y - centre[1]) < distance * np.sqrt(0.5))
    step_mm = 0.05
    bins = np.round((distance[near] - radius + 8.0) / step_mm).astype(int)
    counts = np.bincount(bins)
    profile = np.bincount(bins, volume[near].astype(np.float64))[counts > 0] / counts[counts > 0]
    at_mm = np.flatnonzero(counts) * step_mm - 8.0
    inside, outside = profile[at_mm < -5.0].mean(), profile[at_mm > 5.0].mean()
    rise = (profile - outside) / (inside - outside)

    def crossing(level):
        # Straight through the bins around the crossing: single bins carry the sampling's noise.
        start = np.flatnonzero(rise > level)[-1]
        around = np.abs(at_mm - at_mm[start]) <= 0.2
        slope, offset = np.polyfit(at_mm[around], rise[around], 1)
        return (level - offset) / slope

    return float(crossing(0.1) - crossing(0.9))


def volume_size(meta, key):
    return meta["vols"][key]["n"], meta["vols"][key]["s"]


def load_truth(folder, key):
    size, _ = volume_size(data_set.load_meta(folder), key)
    return data_set.load_volume(f"{folder}/truth_{key}.raw", size)
