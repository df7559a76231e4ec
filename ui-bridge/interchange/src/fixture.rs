//! The volume that the unit tests of every format write and read back.

use carm::{Quantity, Volume, VolumeGrid};
use nalgebra::{Point3, Rotation3};
use ndarray::Array3;

/// Odd, unequal sizes and spacings, oblique axes, no symmetry anywhere; HU-like values that are not integers.
pub(crate) fn oblique_volume() -> Volume {
    let turn = Rotation3::from_euler_angles(0.35, -0.2, 0.8);
    let grid =
        VolumeGrid::new([5, 7, 9], [0.5, 0.75, 2.25], *turn.matrix(), Point3::new(-31.5, 12.25, 107.0))
            .unwrap();
    let values = Array3::from_shape_fn([9, 7, 5], |(z, y, x)| {
        let (x, y, z) = (x as f32, y as f32, z as f32);
        -1000.0 + 13.0 * x + 57.25 * y + 190.5 * z + x * y * z * 0.125
    });
    Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: Some(0.0206) })
}

/// The same volume seen in a mirror: left-handed voxel axes.
pub(crate) fn left_handed_volume() -> Volume {
    let mut volume = oblique_volume();
    let mirrored = -volume.grid.direction.column(0).into_owned();
    volume.grid.direction.set_column(0, &mirrored);
    volume
}

/// Same sizes, same place to 0.01 micrometre per millimetre, values within `tolerance`.
pub(crate) fn assert_same_place_and_values(found: &Volume, expected: &Volume, tolerance: f32) {
    assert_eq!(found.grid.shape, expected.grid.shape);
    let place = (found.grid.space_from_voxel() - expected.grid.space_from_voxel()).abs().max();
    assert!(place < 1e-5, "affines differ by {place}");
    for (index, value) in expected.values.indexed_iter() {
        let difference = (found.values[index] - value).abs();
        assert!(difference <= tolerance, "[z, y, x] = {index:?}: {} against {value}", found.values[index]);
    }
}

/// Values at the same physical points, whatever the order of the voxels.
pub(crate) fn assert_same_values_at_points(found: &Volume, expected: &Volume, tolerance: f32) {
    for ((z, y, x), value) in expected.values.indexed_iter() {
        let index = found.grid.voxel(&expected.grid.point(x as f64, y as f64, z as f64));
        let near = index.map(f64::round);
        let off = (0..3).map(|axis| (near[axis] - index[axis]).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "no voxel at the place of ({x}, {y}, {z}): {index:?}");
        let [i, j, k] = near.map(|n| n as usize);
        let difference = (found.values[[k, j, i]] - value).abs();
        assert!(difference <= tolerance, "({x}, {y}, {z}): {} against {value}", found.values[[k, j, i]]);
    }
}
