//! From which directions views saw a voxel: over less than half a turn, what lies between is missing.

use crate::plan::FdkPlan;
use nalgebra::{Point3, Vector3};
use std::f64::consts::PI;

/// At most about this many views are asked; they lie evenly over the sweep.
const VIEWS_ASKED: usize = 64;
/// A step that is wider than this many median ones, and than so many degrees, is a gap: nobody looked from there.
const GAP_STEPS: f64 = 2.5;
const GAP_DEG: f64 = 5.0;
/// By how much the spans of neighbouring views overlap, as a share of their distance, so that rounding leaves no slit.
const OVERLAP: f64 = 0.05;
/// Parts of half a turn, a bit each.
const PARTS: i64 = u64::BITS as i64;
/// Half a turn without a gap.
pub(crate) const ALL: u64 = u64::MAX;

/// The views that are asked for the whole sweep: every so many, the last, and those beside a gap.
pub(crate) fn asked_views(plan: &FdkPlan) -> Vec<usize> {
    let count = plan.orbit.angles_rad.len();
    let stride = count.div_ceil(VIEWS_ASKED);
    let gap = gap_rad(plan);
    let is_gap = |before: usize| plan.orbit.angles_rad[before + 1] - plan.orbit.angles_rad[before] > gap;
    let is_beside_gap = |view: usize| (view > 0 && is_gap(view - 1)) || (view + 1 < count && is_gap(view));
    (0..count).filter(|view| view % stride == 0 || view + 1 == count || is_beside_gap(*view)).collect()
}

/// Whether what every view sees is seen over half a turn for sure: the arc holds the fan as well, and has no gap.
pub(crate) fn sees_half_a_turn(plan: &FdkPlan) -> bool {
    let needed = PI + 2.0 * plan.fan.half_rad() - plan.orbit.median_step_rad();
    let gap = gap_rad(plan);
    plan.orbit.arc_rad() >= needed && plan.orbit.angles_rad.windows(2).all(|pair| pair[1] - pair[0] <= gap)
}

fn gap_rad(plan: &FdkPlan) -> f64 {
    (GAP_STEPS * plan.orbit.median_step_rad()).max(GAP_DEG.to_radians())
}

/// One asked view, and the part of the arc that it stands for.
pub(crate) struct Span {
    source: Point3<f64>,
    /// From the source to the axis, and at right angles to it, counter-clockwise about the axis.
    inward: Vector3<f64>,
    across: Vector3<f64>,
    radius_mm: f64,
    angle_rad: f64,
    /// How far the span reaches to either side of the view's angle.
    before_rad: f64,
    after_rad: f64,
}

impl Span {
    /// Spans of the asked views, in the order of the sweep. Both ends of the arc reach a whole median step further: an
    /// arc that lacks less counts as complete, as it does for [`crate::Redundancy::for_sweep`].
    pub(crate) fn of_views(plan: &FdkPlan, asked: &[usize]) -> Vec<Self> {
        let (orbit, views, gap) = (&plan.orbit, plan.given_scan.views(), gap_rad(plan));
        let step = orbit.median_step_rad();
        let half_way = |from: usize, to: usize| {
            let way = (orbit.angles_rad[to] - orbit.angles_rad[from]).abs();
            let is_gap = from.abs_diff(to) == 1 && way > gap;
            if is_gap { step / 2.0 } else { way * (0.5 + OVERLAP) }
        };
        let neighbour = |at: Option<usize>| at.and_then(|at| asked.get(at)).copied();
        let span = |(at, view): (usize, &usize)| {
            let source = views[*view].source_position();
            let inward = orbit.inward(&source, &orbit.axis);
            let reach = |other: Option<usize>| other.map_or(step, |other| half_way(*view, other));
            Self {
                source,
                inward,
                across: orbit.axis.cross(&inward),
                radius_mm: (orbit.centre - source).dot(&inward),
                angle_rad: orbit.angles_rad[*view],
                before_rad: reach(neighbour(at.checked_sub(1))),
                after_rad: reach(neighbour(at.checked_add(1))),
            }
        };
        asked.iter().enumerate().map(span).collect()
    }

    /// The parts of half a turn that the span's rays through `point` have, counted from where the first span that saw it
    /// begins, which `start_rad` keeps from call to call.
    pub(crate) fn directions(&self, point: &Point3<f64>, start_rad: &mut Option<f64>) -> u64 {
        let ray = point - self.source;
        let [along, across] = [ray.dot(&self.inward), ray.dot(&self.across)];
        let direction_rad = self.angle_rad + across.atan2(along);
        // How fast the ray's direction turns as the source does.
        let rate = self.radius_mm * along / (along * along + across * across);
        let low = direction_rad - self.before_rad * rate;
        let high = direction_rad + self.after_rad * rate;
        parts(low, high, *start_rad.get_or_insert(low))
    }
}

/// Part `k` of half a turn is there when the angle `start + (k + 1) pi / PARTS`, up to half turns, is after `low` and not
/// after `high`: the last one tells whether the half turn is complete.
fn parts(low_rad: f64, high_rad: f64, start_rad: f64) -> u64 {
    let part = |angle: f64| ((angle - start_rad) * PARTS as f64 / PI).floor() as i64;
    let (before, last) = (part(low_rad), part(high_rad));
    let count = last - before;
    if count >= PARTS {
        return ALL;
    }
    if count <= 0 {
        return 0;
    }
    ((1_u64 << count) - 1).rotate_left(before.rem_euclid(PARTS) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_half_a_turn_are_complete_at_half_a_turn() {
        let at = |low_deg: f64, high_deg: f64| parts(low_deg.to_radians(), high_deg.to_radians(), 0.0);
        assert_eq!(at(0.0, 180.001), ALL);
        assert_eq!(at(0.0, 179.999), ALL >> 1);
        assert_eq!(at(0.0, 1.0), 0);
        // The same directions from the other side, and a quarter in two pieces.
        assert_eq!(at(20.0, 60.0), at(200.0, 240.0));
        assert_eq!(at(0.0, 90.001), at(0.0, 40.0) | at(40.0, 90.001));
        assert_eq!(at(0.0, 90.001) | at(270.0, 360.001), ALL);
        assert_eq!(at(0.0, 90.001).count_ones(), 32);
    }
}
