//! The exact line integral through voxels of constant value.
//!
//! Siddon, "Fast calculation of the exact radiological path for a three-dimensional CT array", Med. Phys. 12(2), 1985:
//! the ray's crossings with the voxel faces, in order, cut it into pieces that lie in one voxel each.

use super::DetectorRegion;
use carm::{ProjectionMatrix, VolumeGrid};
use ndarray::{Array2, ArrayView3};

/// Line integrals `[v, u]` of `values[z, y, x]`, each voxel a box of constant value.
pub fn project(
    grid: &VolumeGrid,
    values: ArrayView3<'_, f64>,
    view: &ProjectionMatrix,
    region: DetectorRegion,
) -> Array2<f64> {
    Array2::from_shape_fn((region.nv, region.nu), |(row, column)| {
        integral(grid, values, view, region.pixel(column, row))
    })
}

fn integral(grid: &VolumeGrid, values: ArrayView3<'_, f64>, view: &ProjectionMatrix, pixel: [f64; 2]) -> f64 {
    let source_mm = view.source_position();
    let ray_mm = view.ray(pixel[0], pixel[1]);
    let source = grid.voxel(&source_mm);
    let ahead = grid.voxel(&(source_mm + ray_mm));
    let mut crossings = Vec::new();
    // Depths at which the ray is inside the box, from the source on.
    let mut inside = [0.0, f64::INFINITY];
    for axis in 0..3 {
        let (start, slope) = (source[axis], ahead[axis] - source[axis]);
        let faces = [-0.5, grid.shape[axis] as f64 - 0.5];
        if slope == 0.0 {
            if start < faces[0] || start > faces[1] {
                return 0.0;
            }
            continue;
        }
        let ends = faces.map(|face| (face - start) / slope);
        inside = [inside[0].max(ends[0].min(ends[1])), inside[1].min(ends[0].max(ends[1]))];
        crossings.extend((0..=grid.shape[axis]).map(|face| (face as f64 - 0.5 - start) / slope));
    }
    if inside[0] >= inside[1] {
        return 0.0;
    }
    crossings.retain(|depth| *depth > inside[0] && *depth < inside[1]);
    crossings.extend(inside);
    crossings.sort_by(f64::total_cmp);
    crossings
        .windows(2)
        .map(|piece| {
            let middle = (piece[0] + piece[1]) / 2.0;
            let index: [usize; 3] = std::array::from_fn(|axis| {
                let place = source[axis] + middle * (ahead[axis] - source[axis]);
                (place.round().max(0.0) as usize).min(grid.shape[axis] - 1)
            });
            (piece[1] - piece[0]) * values[[index[2], index[1], index[0]]]
        })
        .sum::<f64>()
        * ray_mm.norm()
}
