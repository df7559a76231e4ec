//! A volume sorted into the classes of the body: a cleaner object than the volume that it was made of.

use carm::{Volume, VolumeGrid, mask};
use ndarray::{Array3, Axis, s};
use rayon::prelude::*;

/// How far the model goes on beyond the volume at either end, as a share of its length: rays to the far side of the
/// field of view leave it by less.
const EXTENSION: f64 = 0.3;
/// Upper limits of air, lung and soft tissue as attenuation relative to water.
const AIR_BELOW: f32 = 0.1;
const LUNG_BELOW: f32 = 0.75;
const SOFT_BELOW: f32 = 1.12;

/// The body's classes; outside the field of view each line goes on as it ends inside.
///
/// `along`: index axis nearest to the rotation axis.
///
/// # Panics
/// When the volume has no mask: a bug of the caller.
pub(super) fn sorted_into_classes(volume: &Volume, along: usize, mu_water_per_mm: f64) -> Array3<f32> {
    let (values, mu_water) = (&volume.values, mu_water_per_mm as f32);
    let bits = volume.mask.as_ref().expect("a reconstructed volume has a mask");
    let along = Axis(2 - along);
    let lung = class_mean(values, bits, AIR_BELOW * mu_water, LUNG_BELOW * mu_water);
    let soft = class_mean(values, bits, LUNG_BELOW * mu_water, SOFT_BELOW * mu_water);
    let sorted = |value: f32| match value / mu_water {
        share if share < AIR_BELOW => 0.0,
        share if share < LUNG_BELOW => lung,
        share if share < SOFT_BELOW => soft,
        _ => value,
    };
    let mut model = Array3::zeros(values.raw_dim());
    ndarray::Zip::from(model.lanes_mut(along)).and(values.lanes(along)).and(bits.lanes(along)).par_for_each(
        |mut model, values, bits| {
            let is_inside = |index: &usize| bits[*index] & mask::FIELD_OF_VIEW != 0;
            let inside: Vec<usize> = (0..values.len()).filter(is_inside).collect();
            let (Some(&first), Some(&last)) = (inside.first(), inside.last()) else {
                return;
            };
            for (index, model) in model.iter_mut().enumerate() {
                *model = sorted(values[index.clamp(first, last)]);
            }
        },
    );
    model
}

/// Mean of the voxels between two limits inside the field of view; the middle of the limits where there are none.
fn class_mean(values: &Array3<f32>, bits: &Array3<u8>, low: f32, high: f32) -> f32 {
    // Slices are summed one by one, so that the sum does not depend on threads.
    let sums: Vec<(f64, u64)> = values
        .axis_iter(Axis(0))
        .into_par_iter()
        .zip(bits.axis_iter(Axis(0)))
        .map(|(values, bits)| {
            let mut sum = (0.0, 0);
            for (value, bits) in values.iter().zip(bits) {
                if bits & mask::FIELD_OF_VIEW != 0 && *value >= low && *value < high {
                    sum = (sum.0 + f64::from(*value), sum.1 + 1);
                }
            }
            sum
        })
        .collect();
    let (sum, count) = sums.iter().fold((0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    if count == 0 { (low + high) / 2.0 } else { (sum / count as f64) as f32 }
}

/// The grid of blocks of `factor` voxels along each axis; the last may be cut short.
pub(super) fn coarse_grid(grid: &VolumeGrid, factor: usize) -> VolumeGrid {
    let first = (factor as f64 - 1.0) / 2.0;
    VolumeGrid {
        shape: grid.shape.map(|size| size.div_ceil(factor)),
        spacing_mm: grid.spacing_mm.map(|spacing| spacing * factor as f64),
        direction: grid.direction,
        origin: grid.point(first, first, first),
    }
}

/// Means of blocks of `factor` voxels along each axis.
pub(super) fn coarsened(fine: &Array3<f32>, factor: usize) -> Array3<f32> {
    if factor == 1 {
        return fine.clone();
    }
    let (nz, ny, nx) = fine.dim();
    let mut coarse = Array3::zeros([nz, ny, nx].map(|size| size.div_ceil(factor)));
    coarse.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(z, mut slice)| {
        for ((y, x), value) in slice.indexed_iter_mut() {
            let block = |index: usize, size: usize| {
                let start = index * factor;
                start..(start + factor).min(size)
            };
            let block = fine.slice(s![block(z, nz), block(y, ny), block(x, nx)]);
            *value = block.sum() / block.len() as f32;
        }
    });
    coarse
}

/// The model continued beyond both ends of index axis `along` as it ends there.
pub(super) fn extended_along(
    model: &Array3<f32>,
    grid: &VolumeGrid,
    along: usize,
) -> (Array3<f32>, VolumeGrid) {
    let more = (grid.shape[along] as f64 * EXTENSION).ceil() as usize;
    let mut extended_grid = *grid;
    extended_grid.shape[along] += 2 * more;
    let mut first = [0.0; 3];
    first[along] = -(more as f64);
    extended_grid.origin = grid.point(first[0], first[1], first[2]);
    let axis = Axis(2 - along);
    let last = grid.shape[along] - 1;
    let [nx, ny, nz] = extended_grid.shape;
    let mut extended = Array3::zeros((nz, ny, nx));
    for (index, mut slice) in extended.axis_iter_mut(axis).enumerate() {
        let source = index.saturating_sub(more).min(last);
        slice.assign(&model.index_axis(axis, source));
    }
    (extended, extended_grid)
}
