//! Which voxels the scan can know: measured by every view, or by some, over half a turn or less.

use crate::directions::{ALL, Span, asked_views, sees_half_a_turn};
use crate::plan::FdkPlan;
use crate::redundancy::Redundancy;
use carm::{ProjectionMatrix, mask};
use nalgebra::{Matrix3x4, Point3, Vector4};
use rayon::prelude::*;
use std::ops::Range;

/// Voxels of a column that is not parallel to the rotation axis which are taken to be seen from the same directions.
const PIECE: usize = 8;

/// Bits of [`mask`] for every voxel in columns, as the plan's layout has them.
///
/// A voxel is seen by a view when it projects between the centres of the outermost pixels of the real detector. An
/// offset detector's narrow side counts as seen where the conjugate ray, or the other sweep's, is measured.
pub(crate) fn field_of_view(plan: &FdkPlan) -> Vec<u8> {
    let asked = asked_views(plan);
    let spans = Span::of_views(plan, &asked);
    let views = plan.given_scan.views();
    let is_half_turn_sure = sees_half_a_turn(plan);
    let [_, fast_count] = plan.layout.column_counts();
    let length = plan.layout.column_length();
    let step = plan.layout.column_step();
    let along = |view: &usize| Seen::by(plan, &views[*view]).along(&step.to_homogeneous());
    let asked: Vec<(Bounds, Span)> = asked.iter().map(along).zip(spans).collect();
    let piece = if plan.has_parallel_columns { length } else { PIECE };
    let mut columns = plan.layout.empty_columns::<u8>();
    columns.par_chunks_mut(plan.layout.stride()).enumerate().for_each_init(
        Scratch::default,
        |scratch, (column, bits)| {
            let start = plan.layout.column_start(column / fast_count, column % fast_count);
            for (index, bits) in bits[..length].chunks_mut(piece).enumerate() {
                let start = start + step * (index * piece) as f64;
                let middle = start + step * ((bits.len() as f64 - 1.0) / 2.0);
                mark(&asked, is_half_turn_sure, &start, &middle, scratch, bits);
            }
        },
    );
    columns
}

/// The pyramid that a view sees: homogeneous points whose product with every plane is not negative.
pub(crate) struct Seen {
    planes: Vec<Vector4<f64>>,
}

impl Seen {
    fn by(plan: &FdkPlan, given: &ProjectionMatrix) -> Self {
        let virtual_view = plan.virtual_view(given);
        let real = given.with_pixels_averaged([1, plan.options.rows_averaged]);
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

    /// What projects onto the virtual detector between the rows `first` and `last`.
    pub(crate) fn on_rows(plan: &FdkPlan, p: &Matrix3x4<f64>, rows: [f64; 2]) -> Self {
        let last_column = plan.virtual_size()[0] as f64 - 1.0;
        Self { planes: between(p, 1, rows).into_iter().chain(between(p, 0, [0.0, last_column])).collect() }
    }

    /// For many columns of one direction.
    pub(crate) fn along(self, step: &Vector4<f64>) -> Bounds {
        Bounds(self.planes.into_iter().map(|plane| (plane, plane.dot(step))).collect())
    }
}

/// The pyramid that a view sees, with how fast columns of one direction rise above each plane.
pub(crate) struct Bounds(Vec<(Vector4<f64>, f64)>);

impl Bounds {
    /// The whole indices along a column of `length` voxels from `start` on that lie inside.
    pub(crate) fn range(&self, start: &Vector4<f64>, length: usize) -> Range<usize> {
        whole_within(self.interval(start), length)
    }

    /// First and last index along a column from `start` on that lie inside the planes; empty when they cross.
    fn interval(&self, start: &Vector4<f64>) -> [f64; 2] {
        let mut interval = [f64::NEG_INFINITY, f64::INFINITY];
        for (plane, rise) in &self.0 {
            let at_start = plane.dot(start);
            let zero = -at_start / rise;
            if *rise > 0.0 {
                interval[0] = interval[0].max(zero);
            } else if *rise < 0.0 {
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
fn between(p: &Matrix3x4<f64>, axis: usize, range: [f64; 2]) -> [Vector4<f64>; 2] {
    let (coordinate, depth) = (p.row(axis).transpose(), p.row(2).transpose());
    [coordinate - depth * range[0], depth * range[1] - coordinate]
}

/// Buffers for one column.
#[derive(Default)]
struct Scratch {
    /// What each asked view sees of the column.
    seen: Vec<Range<usize>>,
    /// The directions that each voxel was seen from.
    directions: Vec<u64>,
}

fn mark(
    asked: &[(Bounds, Span)],
    is_half_turn_sure: bool,
    start: &Point3<f64>,
    middle: &Point3<f64>,
    scratch: &mut Scratch,
    bits: &mut [u8],
) {
    let start = start.to_homogeneous();
    let length = bits.len();
    let mut all = [0.0, length as f64 - 1.0];
    let Scratch { seen, directions } = scratch;
    seen.clear();
    seen.extend(asked.iter().map(|(bounds, _)| {
        let [low, high] = bounds.interval(&start);
        all = [all[0].max(low), all[1].min(high)];
        // Rounded here only, so that no view's interval widens another's.
        whole_within([low, high], length)
    }));
    let seen_by_all = whole_within(all, length);
    // Of what all see nothing more is asked where that is half a turn for sure.
    let settled = if is_half_turn_sure { seen_by_all.clone() } else { 0..0 };
    bits[settled.clone()].fill(mask::COVERED);
    if settled.len() < length {
        directions.clear();
        directions.resize(length, 0);
        let mut sweep_start = None;
        for (range, (_, span)) in seen.iter().zip(asked).filter(|(range, _)| !range.is_empty()) {
            let from = span.directions(middle, &mut sweep_start);
            for part in beside(range, &settled) {
                bits[part.clone()].iter_mut().for_each(|bits| *bits |= mask::COVERED);
                directions[part].iter_mut().for_each(|directions| *directions |= from);
            }
        }
        for part in beside(&(0..length), &settled) {
            for (bits, from) in bits[part.clone()].iter_mut().zip(&directions[part]) {
                if *bits & mask::COVERED != 0 && *from != ALL {
                    *bits |= mask::LIMITED_ANGLE;
                }
            }
        }
    }
    bits[seen_by_all].iter_mut().for_each(|bits| *bits |= mask::FIELD_OF_VIEW);
}

/// The parts of a range before and after another; all of it where that is empty.
pub(crate) fn beside(range: &Range<usize>, settled: &Range<usize>) -> [Range<usize>; 2] {
    if settled.is_empty() {
        return [range.clone(), 0..0];
    }
    let before = range.start..range.end.min(settled.start);
    let after = range.start.max(settled.end)..range.end;
    [before, after].map(|part| if part.start < part.end { part } else { 0..0 })
}

/// The whole numbers of an interval that index one of `length`.
fn whole_within([low, high]: [f64; 2], length: usize) -> Range<usize> {
    let (low, high) = (low.max(0.0), high.min(length as f64 - 1.0));
    if low <= high { low.ceil() as usize..high.floor() as usize + 1 } else { 0..0 }
}
