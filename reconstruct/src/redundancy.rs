//! How much each ray counts, so that every line through the object counts once.
//!
//! A ray is `(beta, gamma)`: the source's angle since the start of the arc (half a step before the first
//! view) and the fan angle, positive towards the side to which the source moves. Its conjugate, the same
//! line seen from the other end, is `(beta + pi - 2 gamma, -gamma)`. Weights of conjugates add up to one, so
//! there is no factor 1/2 anywhere else.

use crate::error::ReconstructError;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

/// Fan angles that the detector sees, signed, as the common range of all views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FanRange {
    /// Smallest (most negative) angle, radians.
    pub low_rad: f64,
    /// Largest angle, radians.
    pub high_rad: f64,
}

impl FanRange {
    /// The half fan that both sides share.
    pub fn common_rad(&self) -> f64 {
        self.high_rad.min(-self.low_rad)
    }

    /// The half fan of the wider side.
    pub fn half_rad(&self) -> f64 {
        self.high_rad.max(-self.low_rad)
    }

    /// Whether one side is wider than the other.
    pub(crate) fn is_offset(&self) -> bool {
        self.asymmetry() >= CENTRED_ASYMMETRY
    }

    /// +1 when the wider side is that of positive angles, else -1.
    pub(crate) fn wide_side(&self) -> f64 {
        if self.high_rad > -self.low_rad { 1.0 } else { -1.0 }
    }

    /// Share by which the wider side exceeds the narrower one.
    fn asymmetry(&self) -> f64 {
        1.0 - self.common_rad() / self.half_rad()
    }
}

/// Share of an arc over which one of two sweeps fades in and out.
const TAPERED_SHARE: f64 = 0.1;
/// Angles and fan angles at which unmeasured lines are looked for, and what a single sweep may leave.
const UNMEASURED_MAX_PERCENT: f64 = 10.0;
const LINES_ASKED: [usize; 2] = [360, 40];
/// Sides that differ by less than this share of the half fan count as one centred detector.
const CENTRED_ASYMMETRY: f64 = 0.02;

/// A rule that gives every ray its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Redundancy {
    /// A full turn with a centred detector: every line is seen twice.
    FullTurn,
    /// A full turn with an offset detector: lines in the overlap are seen twice, the others once.
    OffsetFullTurn {
        /// Half fan of the overlap, radians.
        overlap_rad: f64,
        /// +1 when the wide side is that of positive fan angles.
        wide_side: f64,
    },
    /// A short scan over `pi + 2 delta`.
    ShortScan {
        /// Half of what the arc exceeds pi by, radians.
        delta_rad: f64,
    },
    /// Any arc: a smooth confidence per ray, divided by the confidence of all measurements of its line.
    ConfidenceNormalised {
        /// Arc covered, radians.
        arc_rad: f64,
        /// Width of the taper at either end of the arc, radians.
        taper_rad: f64,
        /// The detector's fan.
        fan: FanRange,
    },
    /// One of two sweeps round the same axis, whose detectors may look past the axis on different sides: a
    /// confidence per ray, divided by the confidence of all measurements of its line in both sweeps.
    TwoSweeps {
        /// What this sweep measures.
        own: Coverage,
        /// What the other one does.
        other: Coverage,
        /// From this sweep's rays to the other's.
        other_from_own: RayMap,
    },
}

/// Rays that a sweep measures, with smooth ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Arc covered, radians.
    pub arc_rad: f64,
    /// Width of the taper at either end of the arc, radians.
    pub taper_rad: f64,
    /// The detector's fan.
    pub fan: FanRange,
}

impl Coverage {
    /// With a taper of a tenth of the arc.
    pub(crate) fn new(arc_rad: f64, fan: FanRange) -> Self {
        Self { arc_rad, taper_rad: arc_rad * TAPERED_SHARE, fan }
    }

    fn confidence(&self, beta: f64, gamma: f64) -> f64 {
        arc_taper(beta, self.arc_rad, self.taper_rad) * fan_taper(gamma, self.fan)
    }

    fn total(&self, beta: f64, gamma: f64) -> f64 {
        total_confidence(|beta, gamma| self.confidence(beta, gamma), beta, gamma, self.arc_rad)
    }
}

/// The same ray in the angles of another sweep: `(direction * beta + offset, direction * gamma)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RayMap {
    /// +1 when both sweeps turn the same way round, -1 otherwise.
    pub direction: f64,
    /// Radians.
    pub offset_rad: f64,
}

impl Redundancy {
    /// The rule for a planned sweep.
    ///
    /// `arc_rad`: half a step beyond both ends included. `step_rad`: median angular step.
    ///
    /// # Errors
    /// [`ReconstructError::ArcTooShort`] for less than 180 degrees plus the fan, [`ReconstructError::RaysUnmeasured`]
    /// for an offset detector without a full turn, both unless `limited_angle`.
    ///
    /// # Method
    /// Full turn: Feldkamp et al., J. Opt. Soc. Am. A 1, 1984. Offset detector: Wang, Med. Phys. 29, 2002.
    /// Short scan: Parker, Med. Phys. 9, 1982, over any arc as Silver, Med. Phys. 27, 2000.
    pub fn for_sweep(
        arc_rad: f64,
        step_rad: f64,
        fan: FanRange,
        views: usize,
        limited_angle: bool,
    ) -> Result<Self, ReconstructError> {
        let is_centred = !fan.is_offset();
        if arc_rad > TAU + step_rad * 0.75 {
            return Ok(Self::ConfidenceNormalised { arc_rad, taper_rad: arc_rad - TAU, fan });
        }
        if arc_rad > TAU - step_rad * 0.75 {
            return Ok(if is_centred {
                Self::FullTurn
            } else {
                Self::OffsetFullTurn { overlap_rad: fan.common_rad().max(0.0), wide_side: fan.wide_side() }
            });
        }
        let needed = PI + 2.0 * fan.half_rad();
        if arc_rad < needed - step_rad && !limited_angle {
            return Err(ReconstructError::ArcTooShort {
                needed_deg: needed.to_degrees(),
                half_fan_deg: fan.half_rad().to_degrees(),
                found_deg: arc_rad.to_degrees(),
                views,
            });
        }
        if !is_centred && !limited_angle {
            // Where a little is missing at one end of the fan the field of view ends earlier; a detector that looks
            // past the axis needs more.
            let coverage = Coverage::new(arc_rad, fan);
            let percent = unmeasured_percent(fan.half_rad(), |beta, gamma| coverage.total(beta, gamma));
            if percent > UNMEASURED_MAX_PERCENT {
                return Err(ReconstructError::RaysUnmeasured { percent });
            }
        }
        if arc_rad < PI + 2.0 * step_rad || !is_centred {
            return Ok(Self::confidence(arc_rad, fan));
        }
        Ok(Self::ShortScan { delta_rad: (arc_rad - PI) / 2.0 })
    }

    /// The rule for a sweep that ended anywhere past pi plus the fan, or whose detector is off centre.
    pub fn confidence(arc_rad: f64, fan: FanRange) -> Self {
        let spare = (arc_rad - PI - 2.0 * fan.common_rad()).max(0.0) / 2.0;
        let taper_rad = (spare + fan.common_rad()).min(arc_rad / 4.0);
        Self::ConfidenceNormalised { arc_rad, taper_rad, fan }
    }

    /// The rule for one of two sweeps that together see the whole fan.
    ///
    /// # Errors
    /// [`ReconstructError::RaysUnmeasured`] when lines are left that neither measures, unless `limited_angle`.
    pub(crate) fn two_sweeps(
        own: Coverage,
        other: Coverage,
        other_from_own: RayMap,
        limited_angle: bool,
    ) -> Result<Self, ReconstructError> {
        let half_fan_rad = own.fan.half_rad().min(other.fan.half_rad());
        let percent = unmeasured_percent(half_fan_rad, |beta, gamma| {
            in_both(&own, &other, &other_from_own, beta, gamma)
        });
        if percent > 0.0 && !limited_angle {
            return Err(ReconstructError::RaysUnmeasured { percent });
        }
        Ok(Self::TwoSweeps { own, other, other_from_own })
    }

    /// Share of the ray `(beta, gamma)`.
    pub fn weight(&self, beta_rad: f64, gamma_rad: f64) -> f64 {
        match *self {
            Self::FullTurn => 0.5,
            Self::OffsetFullTurn { overlap_rad, wide_side } => {
                let towards_wide = gamma_rad * wide_side;
                if towards_wide >= overlap_rad {
                    1.0
                } else if towards_wide <= -overlap_rad {
                    0.0
                } else {
                    0.5 * (1.0 + (FRAC_PI_2 * towards_wide / overlap_rad).sin())
                }
            }
            Self::ShortScan { delta_rad } => short_scan(beta_rad, gamma_rad, delta_rad),
            Self::ConfidenceNormalised { arc_rad, taper_rad, fan } => {
                let confidence =
                    |beta: f64, gamma: f64| arc_taper(beta, arc_rad, taper_rad) * fan_taper(gamma, fan);
                let own = confidence(beta_rad, gamma_rad);
                if own <= 0.0 {
                    return 0.0;
                }
                own / total_confidence(confidence, beta_rad, gamma_rad, arc_rad)
            }
            Self::TwoSweeps { own, other, other_from_own } => {
                let confidence = own.confidence(beta_rad, gamma_rad);
                if confidence <= 0.0 {
                    return 0.0;
                }
                confidence / in_both(&own, &other, &other_from_own, beta_rad, gamma_rad)
            }
        }
    }

    /// The rule's name for provenance.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FullTurn => "full-turn",
            Self::OffsetFullTurn { .. } => "offset-full-turn",
            Self::ShortScan { .. } => "short-scan",
            Self::ConfidenceNormalised { .. } => "confidence-normalised",
            Self::TwoSweeps { .. } => "two-sweeps",
        }
    }
}

/// Share of the lines of a fan to either side that nothing measures.
fn unmeasured_percent(half_fan_rad: f64, total: impl Fn(f64, f64) -> f64) -> f64 {
    let [angles, fans] = LINES_ASKED;
    let mut unmeasured = 0;
    for angle in 0..angles {
        let beta = TAU * (angle as f64 + 0.5) / angles as f64;
        for fan in 0..fans {
            let gamma = half_fan_rad * (2.0 * (fan as f64 + 0.5) / fans as f64 - 1.0);
            unmeasured += usize::from(total(beta, gamma) <= 0.0);
        }
    }
    100.0 * unmeasured as f64 / (angles * fans) as f64
}

/// Confidence of all measurements of a line, given as a ray of the first of two sweeps.
fn in_both(own: &Coverage, other: &Coverage, map: &RayMap, beta: f64, gamma: f64) -> f64 {
    own.total(beta, gamma) + other.total(map.direction * beta + map.offset_rad, map.direction * gamma)
}

/// The causal form: the head of the sweep tapers in, and the tail gets what the head left over, so that the
/// weight of a ray needs only what came before it.
///
/// A centred detector that wobbles has a few columns without a conjugate. They keep the weight of their neighbours: a
/// step there would be filtered into a dark and bright ring at the rim of the field of view.
fn short_scan(beta: f64, gamma: f64, delta: f64) -> f64 {
    if gamma.abs() >= delta {
        return 1.0; // no conjugate in the arc
    }
    let head = |beta: f64, gamma: f64| {
        let width = 2.0 * (delta + gamma);
        if beta >= width { 1.0 } else { (FRAC_PI_2 * beta / width).sin().powi(2) }
    };
    if beta < 2.0 * (delta + gamma) {
        return head(beta.max(0.0), gamma);
    }
    let earlier = beta - PI - 2.0 * gamma;
    if earlier < 0.0 { 1.0 } else { 1.0 - head(earlier, -gamma) }
}

fn arc_taper(beta: f64, arc: f64, taper: f64) -> f64 {
    if beta <= 0.0 || beta >= arc {
        return 0.0;
    }
    let edge = beta.min(arc - beta);
    if edge >= taper { 1.0 } else { (FRAC_PI_2 * edge / taper).sin().powi(2) }
}

/// Falls to zero over the part of the fan that only one side sees, so that offset detectors join smoothly.
fn fan_taper(gamma: f64, fan: FanRange) -> f64 {
    if gamma < fan.low_rad || gamma > fan.high_rad {
        return 0.0;
    }
    let overlap = fan.common_rad();
    if !fan.is_offset() || overlap <= 0.0 {
        return 1.0;
    }
    let from_narrow_edge = if fan.wide_side() > 0.0 { gamma - fan.low_rad } else { fan.high_rad - gamma };
    let width = 2.0 * overlap;
    if from_narrow_edge >= width {
        1.0
    } else {
        (FRAC_PI_2 * from_narrow_edge / width).sin().powi(2).max(1e-6)
    }
}

fn total_confidence(confidence: impl Fn(f64, f64) -> f64, beta: f64, gamma: f64, arc: f64) -> f64 {
    let turns = |start: f64, gamma: f64| {
        let first = (-start / TAU).ceil() as i64;
        let last = ((arc - start) / TAU).floor() as i64;
        (first..=last).map(|turn| confidence(start + turn as f64 * TAU, gamma)).sum::<f64>()
    };
    turns(beta, gamma) + turns(beta + PI - 2.0 * gamma, -gamma)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAN: FanRange = FanRange { low_rad: -0.16, high_rad: 0.16 };

    /// Adds the weights of every measurement of a line.
    fn line_sum(rule: &Redundancy, arc: f64, beta: f64, gamma: f64) -> f64 {
        total_confidence(
            |b, g| if (0.0..=arc).contains(&b) { rule.weight(b, g) } else { 0.0 },
            beta,
            gamma,
            arc,
        )
    }

    fn assert_lines_count_once(rule: Redundancy, arc: f64, fan: FanRange) {
        for i in 0..400 {
            for j in -10..=10 {
                let gamma = fan.half_rad() * 0.99 * f64::from(j) / 10.0;
                if gamma < fan.low_rad || gamma > fan.high_rad {
                    continue;
                }
                let beta = arc * (f64::from(i) + 0.5) / 400.0;
                let conjugate_seen = -gamma >= fan.low_rad && -gamma <= fan.high_rad;
                let sum =
                    if conjugate_seen { line_sum(&rule, arc, beta, gamma) } else { rule.weight(beta, gamma) };
                assert!((sum - 1.0).abs() < 1e-9, "{rule:?} beta {beta} gamma {gamma}: {sum}");
            }
        }
    }

    #[test]
    fn redundancy_every_line_counts_once() {
        let step = 0.01;
        for arc in [PI + 0.34, 3.84, 4.5, 6.0, TAU] {
            let rule = Redundancy::for_sweep(arc, step, FAN, 400, false).unwrap();
            assert_lines_count_once(rule, arc, FAN);
            assert_lines_count_once(Redundancy::confidence(arc, FAN), arc, FAN);
        }
    }

    #[test]
    fn redundancy_offset_detector_counts_every_line_once() {
        for fan in [FanRange { low_rad: -0.03, high_rad: 0.2 }, FanRange { low_rad: -0.2, high_rad: 0.1 }] {
            let rule = Redundancy::for_sweep(TAU, 0.01, fan, 628, false).unwrap();
            assert!(matches!(rule, Redundancy::OffsetFullTurn { .. }));
            assert_lines_count_once(rule, TAU, fan);
        }
    }

    /// Half-overlapping detectors on either side, 200 degrees each, there and back or twice the same way.
    #[test]
    fn redundancy_two_sweeps_count_every_line_once() {
        let own = Coverage::new(3.7, FanRange { low_rad: -0.05, high_rad: 0.25 });
        let (same_way, back) = (FanRange { low_rad: -0.25, high_rad: 0.05 }, own.fan);
        for (fan, direction, offset_rad) in [(same_way, 1.0, 0.1), (back, -1.0, 3.5)] {
            let other = Coverage::new(3.5, fan);
            let map = RayMap { direction, offset_rad };
            // (beta, gamma) = direction * ((beta', gamma') - (offset, 0)).
            let inverse = RayMap { direction, offset_rad: -direction * offset_rad };
            let rule = Redundancy::two_sweeps(own, other, map, false).unwrap();
            let other_rule = Redundancy::two_sweeps(other, own, inverse, false).unwrap();
            for i in 0..300 {
                for j in -12..=12 {
                    let (beta, gamma) = (TAU * f64::from(i) / 300.0, 0.02 * f64::from(j));
                    let seen = |rule: &Redundancy, arc: f64, beta: f64, gamma: f64| {
                        total_confidence(|b, g| rule.weight(b, g), beta, gamma, arc)
                    };
                    let sum = seen(&rule, own.arc_rad, beta, gamma)
                        + seen(&other_rule, other.arc_rad, direction * beta + offset_rad, direction * gamma);
                    assert!((sum - 1.0).abs() < 1e-9, "direction {direction}, {beta} {gamma}: {sum}");
                }
            }
        }
        let one_sided = Coverage::new(3.5, own.fan);
        let map = RayMap { direction: 1.0, offset_rad: 0.0 };
        let error = Redundancy::two_sweeps(own, one_sided, map, false).unwrap_err();
        assert!(matches!(error, ReconstructError::RaysUnmeasured { .. }), "{error}");
    }

    #[test]
    fn redundancy_short_scan_weight_is_causal() {
        // The same head of the sweep under a longer plan with the same delta gives the same weights.
        let rule = Redundancy::ShortScan { delta_rad: 0.2 };
        let later_ray = rule.weight(PI + 0.1, 0.05);
        let earlier_conjugate = rule.weight(PI + 0.1 - PI - 0.1, -0.05);
        assert!((later_ray + earlier_conjugate - 1.0).abs() < 1e-12);
    }

    /// A step between columns would be filtered into a ring.
    #[test]
    fn redundancy_has_no_step_along_a_row_of_a_wobbling_centred_detector() {
        const MOST_BETWEEN_COLUMNS: f64 = 0.02;
        let fan = FanRange { low_rad: -0.158, high_rad: 0.16 };
        let rule = Redundancy::for_sweep(3.84, 0.0155, fan, 248, false).unwrap();
        for i in 0..248 {
            let beta = 0.0155 * (f64::from(i) + 0.5);
            let along: Vec<f64> = (-300..=300).map(|u| rule.weight(beta, f64::from(u) * 0.00055)).collect();
            for (column, pair) in along.windows(2).enumerate() {
                let step = (pair[1] - pair[0]).abs();
                assert!(step < MOST_BETWEEN_COLUMNS, "beta {beta}, column {column}: {step}");
            }
        }
    }

    #[test]
    fn redundancy_gives_first_and_last_view_of_a_short_scan_weight() {
        let step = 200.8_f64.to_radians() / 248.0;
        let arc = step * 248.0;
        let rule = Redundancy::for_sweep(arc, step, FAN, 248, false).unwrap();
        assert!(rule.weight(step / 2.0, 0.0) > 0.0);
        assert!(rule.weight(arc - step / 2.0, 0.0) > 0.0);
    }

    #[test]
    fn redundancy_refuses_less_than_half_a_turn_plus_fan() {
        let error = Redundancy::for_sweep(3.2, 0.01, FAN, 100, false).unwrap_err();
        assert!(matches!(error, ReconstructError::ArcTooShort { views: 100, .. }), "{error}");
        assert!(Redundancy::for_sweep(3.2, 0.01, FAN, 100, true).is_ok());
    }
}
