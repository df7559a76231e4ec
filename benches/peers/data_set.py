"""The data that every program here gets: scans with exact projections, and how they lie on disk.

A data set is one folder:
  meta.json      nu, nv, n (views), su, sv (pixel pitch, mm), sid (source to isocenter, RTK's word), sdd (source to
                 detector), arc_deg, short (less than a full turn), scale (size of the phantom, mm),
                 vols: {name: {n, s}} (cube size in voxels, voxel size in mm)
  proj.raw       float32 little endian, [view][v][u], u fastest: line integrals
  matrices.txt   one view a line, 12 numbers: row-major 3x4, (x y z 1) mm -> homogeneous (u v 1) in pixel index (pixel
                 centres at integers), third row scaled so that w is the distance along the optical axis in mm
  truth_<name>.raw  float32 [z][y][x], x fastest: the drawn phantom on the volume of that name, centred on the origin

The world is RTK's: rotation axis along y, at gantry angle 0 the source on +z.
"""

import json
import os
import time

import numpy as np

# The sphere whose edge is looked at: off the centre, its surface in flat surroundings.
SPHERE_RADIUS_MM = 60.0
SPHERE_CENTRE_MM = [7.3, 4.1, -5.7]

WORKLOADS = {
    "w1": dict(n=180, nu=512, nv=512, su=0.8, sv=0.8, sid=1000.0, sdd=1500.0, arc_deg=360.0, short=False,
               scale=100.0, vols={"256": dict(n=256, s=0.85)}),
    "w2": dict(n=248, nu=616, nv=480, su=0.616, sv=0.616, sid=750.0, sdd=1200.0, arc_deg=200.0, short=True,
               scale=85.0, vols={"256": dict(n=256, s=0.8), "384": dict(n=384, s=0.5333333333)}),
    "w3": dict(n=496, nu=1248, nv=960, su=0.308, sv=0.308, sid=750.0, sdd=1200.0, arc_deg=200.0, short=True,
               scale=85.0, vols={"256": dict(n=256, s=0.8), "512": dict(n=512, s=0.5)}),
}


def views(meta, wobble=False, yaw_deg=0.0, offset=0.0, slide_mm=0.0, seed=7):
    """RTK's nine parameters of every view, mm and degrees, in the order of its AddProjection.

    `wobble`: smooth sag and small jitter, mm and degree sized, as calibrated C-arms show.
    `yaw_deg`: the detector turns about the rotation axis from -yaw to +yaw through the sweep while the source keeps its
    path; RTK's gantry angle is the detector's, so the source gets an offset in the turned system.
    `offset`: the detector is moved along its rows by this share of its width.
    `slide_mm`: the detector slides along its rows from -slide to +slide through the sweep.
    """
    random = np.random.default_rng(seed)
    n = meta["n"]
    if meta["short"]:
        angles = -100.0 + meta["arc_deg"] * np.arange(n) / (n - 1)
    else:
        angles = meta["arc_deg"] * np.arange(n) / n
    rows = []
    for index, angle in enumerate(angles):
        row = [meta["sid"], meta["sdd"], angle % 360.0, 0, 0, 0, 0, 0, 0]
        if wobble:
            t = np.deg2rad(angle)
            row = [
                meta["sid"] + 2.0 * np.sin(t) + 0.05 * random.standard_normal(),
                meta["sdd"] + 3.0 * np.cos(t),
                (angle + 0.2 * np.sin(2 * t) + 0.02 * random.standard_normal()) % 360.0,
                2.0 * np.cos(t + 0.3) + 0.05 * random.standard_normal(),
                2.5 * np.sin(t + 0.1),
                0.5 * np.sin(t + 1.0) + 0.02 * random.standard_normal(),
                0.4 * np.cos(2 * t),
                0.3 * np.sin(t),
                0.4 * np.cos(t),
            ]
        if yaw_deg:
            yaw = yaw_deg * (2 * index / (n - 1) - 1)
            row[2] = (row[2] + yaw) % 360.0
            row[7] += row[0] * np.sin(np.deg2rad(-yaw))
            row[0] *= np.cos(np.deg2rad(yaw))
        row[3] += offset * meta["nu"] * meta["su"] + slide_mm * (2 * index / (n - 1) - 1)
        rows.append(row)
    return rows


def geometry_from_views(rows):
    """RTK's geometry from its nine parameters."""
    from itk import RTK as rtk

    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for row in rows:
        geometry.AddProjection(*[float(number) for number in row])
    return geometry


def matrices_from_geometry(geometry, meta):
    """RTK's matrices go from mm to mm on the detector; these go to pixel index."""
    import itk

    pixel_from_detector = np.array([
        [1 / meta["su"], 0, (meta["nu"] - 1) / 2],
        [0, 1 / meta["sv"], (meta["nv"] - 1) / 2],
        [0, 0, 1],
    ])
    matrices = np.empty((meta["n"], 3, 4))
    for view in range(meta["n"]):
        matrix = pixel_from_detector @ np.asarray(itk.array_from_matrix(geometry.GetMatrix(view)))
        matrix /= np.linalg.norm(matrix[2, :3])
        matrices[view] = -matrix if matrix[2, 3] < 0 else matrix
    return matrices


def geometry_from_matrices(matrices, meta):
    """RTK's geometry from source, detector centre and detector axes of any 3x4 matrices.

    The pixel pitch fixes the scale that a matrix alone leaves open.
    """
    import itk
    from itk import RTK as rtk

    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    centre_u, centre_v = (meta["nu"] - 1) / 2, (meta["nv"] - 1) / 2
    for view, matrix in enumerate(matrices):
        inverse = np.linalg.inv(matrix[:, :3])
        source = -inverse @ matrix[:, 3]
        # The ray's change per column and per row, up to one scale; rays point from the source to the origin.
        step_u, step_v = inverse[:, 0], inverse[:, 1]
        to_centre = inverse @ [centre_u, centre_v, 1.0]
        sign = np.sign(to_centre @ -source)
        centre = source + sign * meta["su"] / np.linalg.norm(step_u) * to_centre
        vectors = [itk.Point[itk.D, 3](), itk.Point[itk.D, 3](), itk.Vector[itk.D, 3](), itk.Vector[itk.D, 3]()]
        values = [source, centre, sign * step_u / np.linalg.norm(step_u), sign * step_v / np.linalg.norm(step_v)]
        for vector, value in zip(vectors, values):
            for axis in range(3):
                vector[axis] = float(value[axis])
        if not geometry.AddProjection(*vectors):
            raise RuntimeError(f"RTK refused the matrix of view {view}")
    return geometry


def save(folder, meta, projections, matrices):
    """Writes all but the truth. meta.json comes last: a folder that has it is whole."""
    os.makedirs(folder, exist_ok=True)
    np.ascontiguousarray(projections, "<f4").tofile(os.path.join(folder, "proj.raw"))
    np.savetxt(os.path.join(folder, "matrices.txt"), matrices.reshape(len(matrices), 12), fmt="%.17e")
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
        json.dump(meta, file, indent=1)


def load_meta(folder):
    with open(os.path.join(folder, "meta.json"), encoding="utf-8") as file:
        return json.load(file)


def load_matrices(folder):
    return np.loadtxt(os.path.join(folder, "matrices.txt")).reshape(-1, 3, 4)


def load(folder, every=1):
    """meta, projections [view, v, u], matrices [view, 3, 4]; of `every` views the first."""
    meta = load_meta(folder)
    shape = (meta["n"], meta["nv"], meta["nu"])
    projections = np.memmap(os.path.join(folder, "proj.raw"), "<f4", "r", shape=shape)[::every]
    return dict(meta, n=len(projections)), np.array(projections), load_matrices(folder)[::every]


def load_volume(path, size):
    """A raw float32 cube [z, y, x]."""
    return np.fromfile(path, "<f4").reshape(size, size, size)


def projection_image(projections, meta):
    """The stack as an ITK image in detector millimetres, centred."""
    import itk

    image = itk.image_from_array(np.ascontiguousarray(projections, np.float32))
    image.SetSpacing([meta["su"], meta["sv"], 1.0])
    image.SetOrigin([-(meta["nu"] - 1) / 2 * meta["su"], -(meta["nv"] - 1) / 2 * meta["sv"], 0.0])
    return image


def volume_image(size, spacing_mm):
    """An ITK cube of zeros, centred on the origin."""
    import itk

    image = itk.image_from_array(np.zeros((size, size, size), np.float32))
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin([-(size - 1) / 2 * spacing_mm] * 3)
    return image


class Clock:
    """Wall seconds (`s`) and processor seconds (`cpu`) of a `with` block."""

    def __enter__(self):
        self.wall_start, self.cpu_start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.s = time.perf_counter() - self.wall_start
        self.cpu = time.process_time() - self.cpu_start
