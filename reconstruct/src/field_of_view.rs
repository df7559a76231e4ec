//! Which voxels the scan can know: measured by every view, or by some.

use crate::plan::FdkPlan;
use crate::redundancy::Redundancy;
use carm::{ProjectionMatrix, mask};
use nalgebra::{Matrix3x4, Point3, RowVector4, Vector3, Vector4};
use ndarray::Array3;
use rayon::prelude::*;

/// At most this many views are asked; they lie evenly over the sweep.
const VIEWS_ASKED: usize = 64;

/// Bits of [`mask`] for every voxel, `[z, y, x]`.
///
/// A voxel is seen by a view when it projects between the centres of the outermost pixels of the real detector. An
/// offset detector's narrow side counts as seen where the conjugate ray, or the other sweep's, is measured.
pub(crate) fn field_of_view(plan: &FdkPlan) -> Array3<u8> {
    let views = plan.given_scan.views();
    let stride = views.len().div_ceil(VIEWS_ASKED);
    let last = views.len() - 1;
    let asked: Vec<Seen> = (0..views.len())
        .filter(|view| view % stride == 0 || *view == last)
        .map(|view| Seen::by(plan, &views[view]))
        .collect();
    let [slow_count, fast_count] = plan.layout.column_counts();
    let length = plan.layout.column_length();
    let step = plan.layout.column_step();
    let columns: Vec<u8> = (0..slow_count * fast_count)
        .into_par_iter()
        .flat_map_iter(|column| {
            let start = plan.layout.column_start(column / fast_count, column % fast_count);
            let mut bits = plan.layout.empty_column::<u8>();
            mark(&asked, &start, &step, &mut bits[..length]);
            bits
        })
        .collect();
    plan.layout.volume_from_columns(&columns)
}

/// The pyramid that a view sees: homogeneous points whose product with every plane is not negative.
struct Seen {
    planes: Vec<RowVector4<f64>>,
}

impl Seen {
    fn by(plan: &FdkPlan, given: &ProjectionMatrix) -> Self {
        let virtual_view = plan.virtual_view(given);
        let real = given.with_rows_averaged(plan.options.rows_averaged);
        let detector = plan.scan.detector();
        let [virtual_nu, virtual_nv] = plan.virtual_size().map(|n| n as f64);
        let mut planes = Vec::with_capacity(8);
        planes.extend(between(real.matrix(), 1, [0.0, detector.nv as f64 - 1.0]));
        // The virtual detector holds the real one, but for extreme tilts.
        planes.extend(between(&virtual_view.p, 1, [0.0, virtual_nv - 1.0]));
        let half_fan_rad = match plan.redundancy {
            Redundancy::OffsetFullTurn { .. } => Some(plan.fan.half_rad()),
            Redundancy::TwoSweeps { own, other, .. } => Some(own.fan.half_rad().min(other.fan.half_rad())),
            _ => None,
        };
        if let Some(half_fan_rad) = half_fan_rad {
            let reach = virtual_view.focal_u_px * half_fan_rad.tan();
            let centre = virtual_view.principal_u_px;
            planes.extend(between(&virtual_view.p, 0, [centre - reach, centre + reach]));
        } else {
            planes.extend(between(real.matrix(), 0, [0.0, detector.nu as f64 - 1.0]));
            planes.extend(between(&virtual_view.p, 0, [0.0, virtual_nu - 1.0]));
        }
        Self { planes }
    }

    /// First and last index along the column `start + index * step` that lie inside; empty when they cross.
    fn interval(&self, start: &Vector4<f64>, step: &Vector4<f64>) -> [f64; 2] {
        let mut interval = [f64::NEG_INFINITY, f64::INFINITY];
        for plane in &self.planes {
            let (at_start, rise) = ((plane * start).x, (plane * step).x);
            let zero = -at_start / rise;
            if rise > 0.0 {
                interval[0] = interval[0].max(zero);
            } else if rise < 0.0 {
                interval[1] = interval[1].min(zero);
            } else if at_start < 0.0 {
                return [f64::INFINITY, f64::NEG_INFINITY];
            }
        }
        interval
    }
}

/// The two planes through the source between which a point's pixel coordinate `axis` lies within `range`, for depths
/// in front of the source.
fn between(p: &Matrix3x4<f64>, axis: usize, range: [f64; 2]) -> [RowVector4<f64>; 2] {
    let (coordinate, depth) = (p.row(axis), p.row(2));
    [coordinate - depth * range[0], depth * range[1] - coordinate]
}

fn mark(asked: &[Seen], start: &Point3<f64>, step: &Vector3<f64>, bits: &mut [u8]) {
    let (start, step) = (start.to_homogeneous(), step.to_homogeneous());
    let last = bits.len() as f64 - 1.0;
    let mut all = [0.0, last];
    for seen in asked {
        let [low, high] = seen.interval(&start, &step);
        all = [all[0].max(low), all[1].min(high)];
        // Rounded here only, so that no view's interval widens another's.
        for bit in whole(low.max(0.0), high.min(last)) {
            bits[bit] |= mask::COVERED;
        }
    }
    for bit in whole(all[0], all[1]) {
        bits[bit] |= mask::FIELD_OF_VIEW;
    }
}

/// The whole numbers from `low`, not negative, to `high`.
fn whole(low: f64, high: f64) -> std::ops::Range<usize> {
    if low <= high { low.ceil() as usize..high.floor() as usize + 1 } else { 0..0 }
}
