//! Which voxels the scan can know: seen by every view, or by some.

use crate::plan::FdkPlan;
use crate::redundancy::Redundancy;
use crate::virtual_detector::VirtualView;
use carm::mask;
use ndarray::Array3;
use rayon::prelude::*;

/// At most this many views are asked; they lie evenly over the sweep.
const VIEWS_ASKED: usize = 64;

/// Bits of [`mask`] for every voxel, `[z, y, x]`.
///
/// An offset detector's narrow side counts as seen where the conjugate ray is measured.
pub(crate) fn field_of_view(plan: &FdkPlan) -> Array3<u8> {
    let views = plan.given_scan.views();
    let stride = views.len().div_ceil(VIEWS_ASKED);
    let last = views.len() - 1;
    let asked: Vec<Seen> = (0..views.len())
        .filter(|view| view % stride == 0 || *view == last)
        .map(|view| Seen::of(plan, &plan.virtual_view(&views[view])))
        .collect();
    let [slow_count, fast_count] = plan.layout.column_counts();
    let length = plan.layout.column_length();
    let step = plan.layout.column_step();
    let columns: Vec<u8> = (0..slow_count * fast_count)
        .into_par_iter()
        .flat_map_iter(|column| {
            let start = plan.layout.column_start(column / fast_count, column % fast_count);
            let mut bits = plan.layout.empty_column::<u8>();
            if plan.has_parallel_columns {
                mark_parallel(&asked, &start, &step, &mut bits[..length]);
            } else {
                mark_general(&asked, &start, &step, &mut bits[..length]);
            }
            bits
        })
        .collect();
    plan.layout.volume_from_columns(&columns)
}

/// A view's limits on its virtual detector.
struct Seen {
    p: nalgebra::Matrix3x4<f64>,
    u_px: [f64; 2],
    v_px: [f64; 2],
}

impl Seen {
    fn of(plan: &FdkPlan, view: &VirtualView) -> Self {
        let [nu, nv] = plan.virtual_size().map(|n| n as f64);
        let mut u_px = [0.0, nu - 1.0];
        if let Redundancy::OffsetFullTurn { .. } = plan.redundancy {
            let reach = view.focal_u_px * plan.fan.half_rad().tan();
            u_px = [view.principal_u_px - reach, view.principal_u_px + reach];
        }
        Self { p: view.p, u_px, v_px: [0.0, nv - 1.0] }
    }
}

type Point = nalgebra::Point3<f64>;
type Vector = nalgebra::Vector3<f64>;

/// Along a parallel column `u` is constant and `v` linear: each view leaves one interval.
fn mark_parallel(asked: &[Seen], start: &Point, step: &Vector, bits: &mut [u8]) {
    let (mut all, mut any) = ([0.0, bits.len() as f64 - 1.0], [f64::INFINITY, f64::NEG_INFINITY]);
    for seen in asked {
        let h = seen.p * start.to_homogeneous();
        let rise = seen.p.fixed_view::<1, 3>(1, 0).dot(&step.transpose()) / h.z;
        let (u, v) = (h.x / h.z, h.y / h.z);
        if !(seen.u_px[0]..=seen.u_px[1]).contains(&u) {
            all = [f64::INFINITY, f64::NEG_INFINITY];
            continue;
        }
        let (low, high) = ((seen.v_px[0] - v) / rise, (seen.v_px[1] - v) / rise);
        all = [all[0].max(low), all[1].min(high)];
        any = [any[0].min(low), any[1].max(high)];
    }
    for (along, bit) in bits.iter_mut().enumerate() {
        let along = along as f64;
        if along >= any[0] && along <= any[1] {
            *bit |= mask::COVERED;
        }
        if along >= all[0] && along <= all[1] {
            *bit |= mask::FIELD_OF_VIEW | mask::COVERED;
        }
    }
}

fn mark_general(asked: &[Seen], start: &Point, step: &Vector, bits: &mut [u8]) {
    for (along, bit) in bits.iter_mut().enumerate() {
        let point = start + step * along as f64;
        let count = asked
            .iter()
            .filter(|seen| {
                let h = seen.p * point.to_homogeneous();
                (seen.u_px[0]..=seen.u_px[1]).contains(&(h.x / h.z))
                    && (seen.v_px[0]..=seen.v_px[1]).contains(&(h.y / h.z))
            })
            .count();
        *bit = match count {
            0 => 0,
            n if n == asked.len() => mask::FIELD_OF_VIEW | mask::COVERED,
            _ => mask::COVERED,
        };
    }
}
