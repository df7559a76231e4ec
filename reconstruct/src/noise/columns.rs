//! The same where voxel columns are parallel to the detector's: `u` and the depth are found once a column, two detector
//! columns are blended once, and voxels read along.

use super::stride;
use super::view_variance::ViewVariance;
use crate::backproject::ColumnLayout;
use nalgebra::{Point3, Vector3};
use rayon::prelude::*;

/// Adds views to variances that lie as `layout` says; see [`super::reference::add`].
pub(super) fn add(layout: &ColumnLayout, views: &[ViewVariance], sum: &mut [f32]) {
    let [_, fast_count] = layout.column_counts();
    let step = layout.column_step();
    let rows = views.first().map_or(0, |view| view.nv) + 2;
    sum.par_chunks_mut(stride(layout)).enumerate().for_each_init(
        || [vec![0.0_f32; rows], vec![0.0_f32; rows]],
        |lines, (column, sum)| {
            let start = layout.column_start(column / fast_count, column % fast_count);
            for view in views {
                add_view(view, &start, &step, lines, &mut sum[..layout.column_length()]);
            }
        },
    );
}

fn add_view(
    view: &ViewVariance,
    start: &Point3<f64>,
    step: &Vector3<f64>,
    [own, shared]: &mut [Vec<f32>; 2],
    sum: &mut [f32],
) {
    let h = view.p * start.to_homogeneous();
    let u = h.x / h.z;
    if !(u >= -0.5 && u <= view.nu as f64 - 0.5) {
        return;
    }
    let rise = (view.p.fixed_view::<1, 3>(1, 0).dot(&step.transpose()) / h.z) as f32;
    // One row of margin below: index 0 is row -1.
    let first = (h.y / h.z + 1.0) as f32;
    blend(view, u, own, shared);
    let factor = (view.squared_scale / h.z.powi(4)) as f32;
    let last = view.nv as f32 + 1.0;
    for (along, sum) in sum.iter_mut().enumerate() {
        let v = first + rise * along as f32;
        if !(v > 0.0 && v < last) {
            continue;
        }
        let row = v as usize;
        let b = v - row as f32;
        let (one, other) = (1.0 - b, b);
        let next = (row + 1).min(own.len() - 1);
        let of_own = one * own[row] + other * own[next];
        let of_shared = one * shared[row] + other * shared[next];
        *sum += factor * ((one * one + other * other) * of_own + 2.0 * one * other * of_shared);
    }
}

/// Two detector columns as one line from row -1 to row `nv`: what a sample has for itself, and what it shares with the
/// next row.
fn blend(view: &ViewVariance, u: f64, own: &mut [f32], shared: &mut [f32]) {
    let first = u.floor();
    let b = (u - first) as f32;
    let clamped = |column: i64| column.clamp(0, view.nu as i64 - 1) as usize * view.nv;
    let (low, high) = (clamped(first as i64), clamped(first as i64 + 1));
    let (alone, together) = ((1.0 - b) * (1.0 - b) + b * b, 2.0 * b * (1.0 - b));
    let of = |plane: &[f32], out: &mut [f32], other: &[f32]| {
        let [a0, a1] = [low, high].map(|at| &plane[at..at + view.nv]);
        let [s0, s1] = [low, high].map(|at| &other[at..at + view.nv]);
        for v in 0..view.nv {
            let here = (1.0 - b) * a0[v] + b * a1[v];
            let beside = (1.0 - b) * s0[v] + b * s1[v];
            out[v + 1] = alone * here + together * beside;
        }
        out[0] = out[1];
        out[view.nv + 1] = out[view.nv];
    };
    of(&view.planes[0], own, &view.planes[1]);
    of(&view.planes[2], shared, &view.planes[3]);
}
