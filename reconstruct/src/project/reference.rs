//! Defines the projection: Joseph's method in plain `f64`, one ray after the other.
//!
//! Along the index axis in which the ray is steepest it is sampled once per slice of voxels, bilinearly in the slice;
//! beyond the grid the volume is zero, so that it falls off over one voxel. The sum is scaled by the ray's path between
//! slices. Samples behind the source do not count.
//!
//! Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans. Med. Imaging 1(3), 1982.

use super::DetectorRegion;
use carm::{ProjectionMatrix, VolumeGrid};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

/// Line integrals `[v, u]` of `values[z, y, x]` (1/mm gives dimensionless) over a region of the detector.
pub fn project(
    grid: &VolumeGrid,
    values: ArrayView3<'_, f64>,
    view: &ProjectionMatrix,
    region: DetectorRegion,
) -> Array2<f64> {
    Array2::from_shape_fn((region.nv, region.nu), |(row, column)| {
        let mut sum = 0.0;
        visit_samples(grid, view, region.pixel(column, row), |voxel, weight| sum += weight * values[voxel]);
        sum
    })
}

/// The transpose of [`project`]: every pixel gives its value, times the same weights, to the voxels of its ray.
pub fn back(
    grid: &VolumeGrid,
    image: ArrayView2<'_, f64>,
    view: &ProjectionMatrix,
    region: DetectorRegion,
) -> Array3<f64> {
    let [nx, ny, nz] = grid.shape;
    let mut values = Array3::zeros((nz, ny, nx));
    for ((row, column), pixel) in image.indexed_iter() {
        visit_samples(grid, view, region.pixel(column, row), |voxel, weight| values[voxel] += weight * pixel);
    }
    values
}

/// Calls `visit([z, y, x], weight in mm)` for every voxel that the ray through `pixel` samples.
fn visit_samples(
    grid: &VolumeGrid,
    view: &ProjectionMatrix,
    pixel: [f64; 2],
    mut visit: impl FnMut([usize; 3], f64),
) {
    let source_mm = view.source_position();
    let ray_mm = view.ray(pixel[0], pixel[1]);
    let source = grid.voxel(&source_mm);
    let ahead = grid.voxel(&(source_mm + ray_mm));
    let ray: [f64; 3] = std::array::from_fn(|axis| ahead[axis] - source[axis]);
    let main = (0..3).max_by(|&a, &b| ray[a].abs().total_cmp(&ray[b].abs())).expect("three axes");
    let step_mm = ray_mm.norm() / ray[main].abs();
    for slice in 0..grid.shape[main] {
        let depth = (slice as f64 - source[main]) / ray[main];
        if depth < 0.0 {
            continue;
        }
        let mut corners = [([0_i64; 3], step_mm); 4];
        for (bit, axis) in (0..3).filter(|axis| *axis != main).enumerate() {
            let place = source[axis] + depth * ray[axis];
            let share = place - place.floor();
            for (corner, (index, weight)) in corners.iter_mut().enumerate() {
                let is_far = corner >> bit & 1 == 1;
                index[axis] = place.floor() as i64 + i64::from(is_far);
                *weight *= if is_far { share } else { 1.0 - share };
            }
        }
        for (mut index, weight) in corners {
            index[main] = slice as i64;
            if (0..3).all(|axis| (0..grid.shape[axis] as i64).contains(&index[axis])) {
                visit([index[2] as usize, index[1] as usize, index[0] as usize], weight);
            }
        }
    }
}
