//! Defines variance back-projection: every voxel, every view, in `f64`.

use super::stride;
use super::view_variance::ViewVariance;
use crate::backproject::ColumnLayout;
use nalgebra::Point3;
use rayon::prelude::*;

/// Adds `scale² / w⁴ · Var q(u, v)` for every voxel; `sum` lies as `layout` says.
pub(super) fn add(layout: &ColumnLayout, views: &[ViewVariance], sum: &mut [f32]) {
    let [_, fast_count] = layout.column_counts();
    let step = layout.column_step();
    sum.par_chunks_mut(stride(layout)).enumerate().for_each(|(column, sum)| {
        let start = layout.column_start(column / fast_count, column % fast_count);
        for (along, sum) in sum[..layout.column_length()].iter_mut().enumerate() {
            let point = start + step * along as f64;
            *sum += views.iter().map(|view| of_voxel(view, &point)).sum::<f64>() as f32;
        }
    });
}

fn of_voxel(view: &ViewVariance, point: &Point3<f64>) -> f64 {
    let h = view.p * point.to_homogeneous();
    view.squared_scale / h.z.powi(4) * of_sample(view, h.x / h.z, h.y / h.z)
}

/// Variance of a bilinear sample of the filtered view. With the fraction `b`, the two samples along a direction count with
/// `(1-b)² + b²` for themselves and with `2 b (1-b)` for their covariance.
fn of_sample(view: &ViewVariance, u: f64, v: f64) -> f64 {
    if !(u >= -0.5 && u <= view.nu as f64 - 0.5 && v > -1.0 && v < view.nv as f64) {
        return 0.0;
    }
    let (first_u, first_v) = (u.floor(), v.floor());
    let (bu, bv) = (u - first_u, v - first_v);
    let own = |b: f64| (1.0 - b) * (1.0 - b) + b * b;
    let shared = |b: f64| 2.0 * b * (1.0 - b);
    let counts = [own(bu) * own(bv), shared(bu) * own(bv), own(bu) * shared(bv), shared(bu) * shared(bv)];
    let mut sum = 0.0;
    for (plane, count) in view.planes.iter().zip(counts) {
        let at = |du: i64, dv: i64| {
            let u = (first_u as i64 + du).clamp(0, view.nu as i64 - 1) as usize;
            let v = (first_v as i64 + dv).clamp(0, view.nv as i64 - 1) as usize;
            f64::from(plane[u * view.nv + v])
        };
        sum += count
            * ((1.0 - bu) * ((1.0 - bv) * at(0, 0) + bv * at(0, 1))
                + bu * ((1.0 - bv) * at(1, 0) + bv * at(1, 1)));
    }
    sum
}
