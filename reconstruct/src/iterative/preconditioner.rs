//! How much all rays together say of each voxel: `Aᵀ (weight × path)`, by which corrections are divided.
//!
//! It varies slowly, so it is computed on a coarse grid from every few pixels and interpolated: rays per voxel stay the
//! same, only the path in a voxel grows with its size.

use super::estimate::Estimate;
use super::system::System;
use crate::error::ReconstructError;
use crate::project::{ColumnGrid, ColumnVolume, DetectorRegion, Projector, ViewImage};
use carm::VolumeGrid;
use ndarray::Array3;
use rayon::prelude::*;

/// Coarseness for volumes of at least [`FINE_VOXELS`] along every axis.
const COARSENESS: usize = 4;
const FINE_VOXELS: usize = 64;
/// Views, evenly spaced, that tell what is usual of all.
const ENOUGH_VIEWS: usize = 40;
/// Voxels that rays say less of than this share of the most are left alone.
const LEAST_SHARE: f32 = 1e-3;

/// What a ray contributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RayValue {
    /// Its weight: for corrections that were divided by the ray's path.
    Weight,
    /// Its weight times its path through the grid, mm.
    WeightTimesPath,
}

/// The inverse of `Aᵀ value`, zero outside the mask and where next to nothing is known.
pub(super) fn inverse(system: &System<'_>, value: RayValue) -> Result<Estimate, ReconstructError> {
    let mut estimate = system.zero_estimate();
    for (index, projector) in system.projectors().iter().enumerate() {
        estimate.fields[index] = sum_of(system, projector, value, 1)?;
    }
    let most = estimate.fields.iter().flat_map(|field| field.values.iter().copied()).fold(0.0_f32, f32::max);
    estimate.zip(system.mask(), |sum, mask| {
        *sum = if *sum > LEAST_SHARE * most && mask > 0.0 { 1.0 / *sum } else { 0.0 };
    });
    Ok(estimate)
}

/// `Aᵀ weight` of every voxel, mm, judged by some of the views where there are many.
pub(super) fn sum_of_weights(system: &System<'_>) -> Result<ColumnVolume, ReconstructError> {
    let every = system.view_count().div_ceil(ENOUGH_VIEWS);
    let taken = system.view_count().div_ceil(every);
    let mut sum = sum_of(system, &system.projectors()[0], RayValue::Weight, every)?;
    let scale = system.view_count() as f32 / taken as f32;
    sum.values.par_iter_mut().for_each(|value| *value *= scale);
    Ok(sum)
}

/// Median of the positive values, from at most a few hundred thousand of them.
pub(super) fn middle_value(values: &[f32]) -> f32 {
    let stride = values.len().div_ceil(1 << 18);
    let mut some: Vec<f32> = values.iter().copied().filter(|value| *value > 0.0).step_by(stride).collect();
    if some.is_empty() {
        return 1.0;
    }
    let middle = some.len() / 2;
    *some.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// The sum over every `every`-th view.
fn sum_of(
    system: &System<'_>,
    projector: &Projector,
    value: RayValue,
    every: usize,
) -> Result<ColumnVolume, ReconstructError> {
    let grid = projector.column_grid().grid;
    let is_fine = grid.shape.iter().all(|n| *n >= FINE_VOXELS);
    let coarseness = if is_fine { COARSENESS } else { 1 };
    let coarse_grid = coarser(&grid, coarseness)?;
    let detector = system.data().geometry.detector();
    let region = DetectorRegion::every(detector, coarseness);
    let axis = projector.column_grid().column_direction();
    let coarse = Projector::new(coarse_grid, &axis, projector.isa());
    let mut sum = coarse.column_grid().zeros();
    for view in (0..system.view_count()).step_by(every) {
        let values = values_of(system, view, region, value);
        let view = &system.data().geometry.views()[view];
        coarse.add_back(&[ViewImage { view, region, values: &values }], &mut sum);
    }
    if coarseness == 1 {
        return Ok(sum);
    }
    // A quarter of the rays along u and v, four times the path, sixteen times the voxel's face: four times the sum.
    Ok(interpolate(&coarse.to_array(&sum), &coarse_grid, projector.column_grid(), 1.0 / coarseness as f32))
}

fn coarser(grid: &VolumeGrid, coarseness: usize) -> Result<VolumeGrid, ReconstructError> {
    if coarseness == 1 {
        return Ok(*grid);
    }
    // One more on either side, so that the border's fall-off stays outside.
    let shape = grid.shape.map(|n| n.div_ceil(coarseness) + 2);
    let spacing = grid.spacing_mm.map(|spacing| spacing * coarseness as f64);
    Ok(VolumeGrid::centred(shape, spacing, grid.direction, grid.centre())?)
}

fn values_of(system: &System<'_>, view: usize, region: DetectorRegion, value: RayValue) -> Vec<f32> {
    let weights = system.weights(view);
    let nu = system.region().nu;
    let paths = (value == RayValue::WeightTimesPath).then(|| paths_mm(system, view, region));
    (0..region.pixel_count())
        .map(|pixel| {
            let (column, row) = (pixel % region.nu, pixel / region.nu);
            let weight =
                weights.map_or(1.0, |weights| weights[row * region.step * nu + column * region.step]);
            weight * paths.as_ref().map_or(1.0, |paths| paths[pixel])
        })
        .collect()
}

/// Path of each ray through all fields, mm.
pub(super) fn paths_mm(system: &System<'_>, view: usize, region: DetectorRegion) -> Vec<f32> {
    // The outermost field holds the others.
    let grid = &system.projectors()[system.projectors().len() - 1].column_grid().grid;
    let view = &system.data().geometry.views()[view];
    let source = grid.voxel(&view.source_position());
    let ahead = |u: f64, v: f64| grid.voxel(&(view.source_position() + view.ray(u, v)));
    // Voxel coordinates, and the ray in mm, are linear in the pixel.
    let [origin, step_u, step_v] = [ahead(0.0, 0.0), ahead(1.0, 0.0), ahead(0.0, 1.0)];
    let [mm, mm_u] = [view.ray(0.0, 0.0), view.ray(1.0, 0.0) - view.ray(0.0, 0.0)];
    let mm_v = view.ray(0.0, 1.0) - mm;
    let faces: [[f32; 2]; 3] = std::array::from_fn(|axis| {
        [-0.5, grid.shape[axis] as f64 - 0.5].map(|face| (face - source[axis]) as f32)
    });
    let mut paths = vec![0.0; region.pixel_count()];
    paths.par_chunks_mut(region.nu).enumerate().for_each(|(row, paths)| {
        let [first, v] = region.pixel(0, row);
        let slope: [f32; 3] = std::array::from_fn(|axis| {
            (origin[axis] - source[axis]
                + first * (step_u[axis] - origin[axis])
                + v * (step_v[axis] - origin[axis])) as f32
        });
        let step: [f32; 3] =
            std::array::from_fn(|axis| ((step_u[axis] - origin[axis]) * region.step as f64) as f32);
        let start_mm = mm + mm_u * first + mm_v * v;
        let step_mm = mm_u * region.step as f64;
        let length = [start_mm.norm_squared(), 2.0 * start_mm.dot(&step_mm), step_mm.norm_squared()]
            .map(|part| part as f32);
        for (column, path) in paths.iter_mut().enumerate() {
            let column = column as f32;
            let (mut near, mut far) = (0.0_f32, f32::MAX);
            for axis in 0..3 {
                let slope = slope[axis] + column * step[axis];
                let inverse = 1.0 / if slope.abs() < 1e-12 { 1e-12 } else { slope };
                let [a, b] = [faces[axis][0] * inverse, faces[axis][1] * inverse];
                near = near.max(a.min(b));
                far = far.min(a.max(b));
            }
            *path = (far - near).max(0.0) * (length[0] + column * (length[1] + column * length[2])).sqrt();
        }
    });
    paths
}

/// Trilinear, onto a grid with the same centre and axes.
fn interpolate(coarse: &Array3<f32>, from: &VolumeGrid, to: &ColumnGrid, scale: f32) -> ColumnVolume {
    let grid = to.grid;
    let [nx, ny, nz] = grid.shape;
    let places = |axis: usize| -> Vec<(usize, f32)> {
        let ratio = grid.spacing_mm[axis] / from.spacing_mm[axis];
        let middle = (grid.shape[axis] as f64 - 1.0) / 2.0;
        (0..grid.shape[axis])
            .map(|index| {
                let place = (index as f64 - middle) * ratio + (from.shape[axis] as f64 - 1.0) / 2.0;
                let whole = place.floor().clamp(0.0, from.shape[axis] as f64 - 2.0);
                (whole as usize, (place - whole) as f32)
            })
            .collect()
    };
    let (xs, ys, zs) = (places(0), places(1), places(2));
    let mut values = Array3::<f32>::zeros((nz, ny, nx));
    values.as_slice_mut().expect("a new array").par_chunks_mut(nx * ny).zip(&zs).for_each(
        |(slice, (z, share_z))| {
            let lerp = |a: f32, b: f32, share: f32| a + share * (b - a);
            for (row, (y, share_y)) in slice.chunks_exact_mut(nx).zip(&ys) {
                for (value, (x, share_x)) in row.iter_mut().zip(&xs) {
                    let line = |dz: usize, dy: usize| {
                        lerp(coarse[[z + dz, y + dy, *x]], coarse[[z + dz, y + dy, x + 1]], *share_x)
                    };
                    let plane = |dz: usize| lerp(line(dz, 0), line(dz, 1), *share_y);
                    *value = scale * lerp(plane(0), plane(1), *share_z);
                }
            }
        },
    );
    to.store(values.view()).expect("finite values of the grid's shape")
}
