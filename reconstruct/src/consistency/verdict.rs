//! From what was found to one number.

use super::flow::Flow;
use super::motions::{self, ViewEquations};
use super::opposite::Opposite;
use ndarray::{Array3, s};

/// A side is truncated where more than this share of its edge pixels sees more than this much water, mm.
const TRUNCATED_SHARE: f64 = 0.1;
const TRUNCATED_WATER_MM: f64 = 15.0;
/// Cosines over the sweep that a slow motion is made of, the constant included.
const WAVES: usize = 5;

/// Joins the usual departure from a smooth flow, so that views without noise raise no alarm.
const JITTER_FLOOR_MM: f64 = 0.06;
/// Pixels at the isocenter with which the limits were set.
const LIMITS_PIXEL_MM: f64 = 3.925;

/// What tells that views and geometry disagree; zero where nothing could be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Squares that slow shifts of the views explain, over those that they leave.
    pub slow_shift: f64,
    /// The same for slow rotations.
    pub slow_rotation: f64,
    /// Largest departure from a smooth flow from view to view, over what is usual in this scan.
    pub jump: f64,
    /// Usual departure along rows, mm, as a standard deviation.
    pub jitter_u_mm: f64,
    /// Usual departure of the rotation about the line of sight, at 50 mm.
    pub jitter_rotation_mm: f64,
    /// Largest difference between neighbouring views over the usual one about it.
    pub order: f64,
    /// Mismatch of lines measured from opposite ends, over that with the columns in opposite order.
    pub mirrored: f64,
    /// Shift along rows between lines measured from opposite ends, mm.
    pub opposite_u_mm: f64,
    /// Rotation about the axis between them, mm at 50 mm.
    pub opposite_turn_mm: f64,
    /// Both and their changes over the views that have an opposite, in standard errors.
    pub opposite_motion: f64,
    /// Rotations about the line of sight and about the rows between them, in standard errors.
    pub opposite_tilt: f64,
}

/// What [`Measures`] may be in a scan whose views and geometry agree.
pub type Limits = Measures;

impl Measures {
    pub(super) fn of(views: &[ViewEquations], flow: &Flow, order: f64, opposite: Option<&Opposite>) -> Self {
        Self {
            slow_shift: motions::explained_by_slow(views, &motions::SHIFTS, WAVES),
            slow_rotation: motions::explained_by_slow(views, &motions::ROTATIONS, WAVES),
            jump: flow.jump_mm / (flow.jitter_u_mm + JITTER_FLOOR_MM),
            jitter_u_mm: flow.jitter_u_mm,
            jitter_rotation_mm: flow.jitter_rotation_mm,
            order,
            mirrored: opposite.map_or(0.0, |of| of.mismatch / of.mirrored_mismatch),
            opposite_u_mm: opposite.map_or(0.0, |of| of.shift_u_mm.abs()),
            opposite_turn_mm: opposite.map_or(0.0, |of| of.turn_mm.abs()),
            opposite_motion: opposite.map_or(0.0, |of| of.motion),
            opposite_tilt: opposite.map_or(0.0, |of| of.tilt),
        }
    }

    /// Limits for pixels of this size at the isocenter: lengths grow with coarser pixels than those they were set with.
    pub(super) fn limits(pixel_mm: f64, is_truncated: bool) -> Self {
        let limits = if is_truncated { TRUNCATED } else { WHOLE };
        let scale = (pixel_mm / LIMITS_PIXEL_MM).max(1.0);
        Self {
            jitter_u_mm: limits.jitter_u_mm * scale,
            jitter_rotation_mm: limits.jitter_rotation_mm * scale,
            opposite_u_mm: limits.opposite_u_mm * scale,
            opposite_turn_mm: limits.opposite_turn_mm * scale,
            ..limits
        }
    }

    /// Every measure by name.
    pub fn parts(&self) -> [(&'static str, f64); 11] {
        [
            ("slow_shift", self.slow_shift),
            ("slow_rotation", self.slow_rotation),
            ("jump", self.jump),
            ("jitter_u_mm", self.jitter_u_mm),
            ("jitter_rotation_mm", self.jitter_rotation_mm),
            ("order", self.order),
            ("mirrored", self.mirrored),
            ("opposite_u_mm", self.opposite_u_mm),
            ("opposite_turn_mm", self.opposite_turn_mm),
            ("opposite_motion", self.opposite_motion),
            ("opposite_tilt", self.opposite_tilt),
        ]
    }

    /// The largest ratio to a limit; not a number where any is none.
    pub(super) fn over(&self, limits: &Limits) -> f64 {
        let ratios =
            self.parts().into_iter().zip(limits.parts()).map(|((_, found), (_, limit))| found / limit);
        ratios.fold(
            0.0,
            |largest: f64, ratio| if largest.is_nan() || ratio <= largest { largest } else { ratio },
        )
    }
}

/// Whether the sides of the views cut through the body.
pub(super) fn is_truncated(line_integrals: &Array3<f32>, mu_water_per_mm: f64) -> bool {
    let (_, nv, nu) = line_integrals.dim();
    let limit = (TRUNCATED_WATER_MM * mu_water_per_mm) as f32;
    [0, nu - 1].into_iter().any(|u| {
        let edge = line_integrals.slice(s![.., nv / 4..(nv - nv / 4).max(nv / 4 + 1), u]);
        let cut = edge.iter().filter(|p| **p > limit).count();
        cut as f64 > TRUNCATED_SHARE * edge.len() as f64
    })
}

/// Limits of bodies that are seen whole, above what drawn bodies without faults show: 160 on a coarse detector (aliased, so
/// that these limits leave room) and 80 as `consistency_trials -- 0 80` draws them. A mirrored detector has a ratio of four
/// and more, a round body in the middle of the field one of one. The other measures suffice here: those in standard errors
/// have no part in the verdict.
const WHOLE: Limits = Limits {
    slow_shift: 0.02,
    slow_rotation: 0.012,
    jump: 7.0,
    jitter_u_mm: 0.22,
    jitter_rotation_mm: 0.17,
    order: 2.5,
    mirrored: 2.0,
    opposite_u_mm: 0.06,
    opposite_turn_mm: 0.3,
    opposite_motion: f64::INFINITY,
    opposite_tilt: f64::INFINITY,
};

/// Limits of truncated bodies, one tenth and more above what the 80 of `consistency_trials -- 0 80` show without faults. What
/// lies outside the field moves the coarse volume more than slow motions do, so that it says little.
const TRUNCATED: Limits = Limits {
    slow_shift: 0.09,
    slow_rotation: 0.11,
    jump: 5.8,
    jitter_u_mm: 0.2,
    jitter_rotation_mm: 0.16,
    order: 1.7,
    mirrored: 2.0,
    opposite_u_mm: 0.2,
    opposite_turn_mm: 0.115,
    opposite_motion: 4.9,
    opposite_tilt: 4.2,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_the_worst_part_and_not_a_number_is_no_consent() {
        let limits = Measures::limits(2.0, false);
        let found = Measures { jitter_u_mm: 3.0 * limits.jitter_u_mm, ..Measures::default() };
        assert!((found.over(&limits) - 3.0).abs() < 1e-12);
        let broken = Measures { slow_shift: f64::NAN, ..Measures::default() };
        assert!(broken.over(&limits).is_nan());
    }
}
