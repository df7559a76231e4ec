//! Rigid motion of the patient during a run, about the isocenter.

use crate::random::{Purpose, Stream};
use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

/// A displacement of the patient in the world (room): turned about the isocenter, then shifted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MotionPose {
    /// Shift along the world's axes, mm.
    pub shift_mm: [f64; 3],
    /// Rotation vector in the world, radians.
    pub rotation_rad: [f64; 3],
}

/// A pose at a time since the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MotionKnot {
    /// Seconds since the run began.
    pub time_s: f64,
    /// Displacement from the reference.
    pub pose: MotionPose,
}

/// How the patient moves. The reference, in which the truth volume is given, is the pose without displacement.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Motion {
    /// Lies still.
    #[default]
    Still,
    /// A cubic spline (Catmull-Rom with the knots' own times) through the knots, held before and after.
    Spline(Vec<MotionKnot>),
    /// Jerks: each knot's pose is reached from the one before within `rise_s` from its time on.
    Steps {
        /// Poses and when each jerk begins; before the first the patient lies at the reference.
        knots: Vec<MotionKnot>,
        /// Seconds that a jerk takes, such as 0.2.
        rise_s: f64,
    },
    /// Trembles: a shift of the given amplitude along each axis with phases of its own.
    Tremor {
        /// Frequency, 1/s; physiological tremor has 4 to 6.
        frequency_hz: f64,
        /// Amplitude, mm.
        amplitude_mm: f64,
    },
}

impl Motion {
    /// World (moved) from world (reference) at a time since the start.
    pub(crate) fn at(&self, time_s: f64, seed: u64) -> Isometry3<f64> {
        let parts = match self {
            Self::Still => return Isometry3::identity(),
            Self::Spline(knots) => spline(knots, time_s),
            Self::Steps { knots, rise_s } => steps(knots, *rise_s, time_s),
            Self::Tremor { frequency_hz, amplitude_mm } => {
                let mut stream = Stream::new(seed, 0, 0, Purpose::Tremor);
                std::array::from_fn(|part| {
                    let phase = std::f64::consts::TAU * (frequency_hz * time_s + stream.uniform());
                    if part < 3 { amplitude_mm * phase.sin() } else { 0.0 }
                })
            }
        };
        let [x, y, z, a, b, c] = parts;
        Isometry3::from_parts(
            Translation3::new(x, y, z),
            UnitQuaternion::from_scaled_axis(Vector3::new(a, b, c)),
        )
    }
}

fn parts(pose: &MotionPose) -> [f64; 6] {
    let ([x, y, z], [a, b, c]) = (pose.shift_mm, pose.rotation_rad);
    [x, y, z, a, b, c]
}

fn spline(knots: &[MotionKnot], time_s: f64) -> [f64; 6] {
    let (Some(first), Some(last)) = (knots.first(), knots.last()) else { return [0.0; 6] };
    if time_s <= first.time_s {
        return parts(&first.pose);
    }
    if time_s >= last.time_s {
        return parts(&last.pose);
    }
    let after = knots.partition_point(|knot| knot.time_s <= time_s);
    let (a, b) = (after - 1, after);
    let slope = |n: usize, part: usize| {
        let (low, high) = (n.saturating_sub(1), (n + 1).min(knots.len() - 1));
        let span = knots[high].time_s - knots[low].time_s;
        (parts(&knots[high].pose)[part] - parts(&knots[low].pose)[part]) / span
    };
    let span = knots[b].time_s - knots[a].time_s;
    let s = (time_s - knots[a].time_s) / span;
    let (from, to) = (parts(&knots[a].pose), parts(&knots[b].pose));
    // Cubic Hermite basis.
    std::array::from_fn(|part| {
        from[part] * (1.0 + 2.0 * s) * (1.0 - s).powi(2)
            + span * slope(a, part) * s * (1.0 - s).powi(2)
            + to[part] * s * s * (3.0 - 2.0 * s)
            - span * slope(b, part) * s * s * (1.0 - s)
    })
}

fn steps(knots: &[MotionKnot], rise_s: f64, time_s: f64) -> [f64; 6] {
    let mut now = [0.0; 6];
    for knot in knots.iter().take_while(|knot| knot.time_s <= time_s) {
        let risen = if rise_s > 0.0 { ((time_s - knot.time_s) / rise_s).min(1.0) } else { 1.0 };
        let smooth = risen * risen * (3.0 - 2.0 * risen);
        let target = parts(&knot.pose);
        now = std::array::from_fn(|part| now[part] + smooth * (target[part] - now[part]));
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knot(time_s: f64, x: f64) -> MotionKnot {
        let pose = MotionPose { shift_mm: [x, 0.0, -x], rotation_rad: [0.0, 0.01 * x, 0.0] };
        MotionKnot { time_s, pose }
    }

    #[test]
    fn motion_spline_passes_its_knots_and_is_exact_on_a_line() {
        let motion = Motion::Spline(vec![knot(0.0, 0.0), knot(1.0, 2.0), knot(3.0, 6.0)]);
        for (time, x) in [(-1.0, 0.0), (0.0, 0.0), (1.0, 2.0), (1.7, 3.4), (3.0, 6.0), (9.0, 6.0)] {
            let pose = motion.at(time, 1);
            assert!((pose.translation.x - x).abs() < 1e-12, "{time}: {}", pose.translation.x);
            assert!((pose.rotation.angle() - 0.01 * x).abs() < 1e-12);
        }
    }

    #[test]
    fn motion_steps_rise_and_stay() {
        let motion = Motion::Steps { knots: vec![knot(1.0, 4.0), knot(2.0, -1.0)], rise_s: 0.2 };
        for (time, x) in [(0.99, 0.0), (1.1, 2.0), (1.3, 4.0), (2.5, -1.0)] {
            assert!((motion.at(time, 1).translation.x - x).abs() < 1e-9, "{time}");
        }
    }

    #[test]
    fn motion_tremor_stays_within_its_amplitude() {
        let motion = Motion::Tremor { frequency_hz: 5.0, amplitude_mm: 0.2 };
        let most =
            (0..200).map(|n| motion.at(0.01 * f64::from(n), 3).translation.x.abs()).fold(0.0, f64::max);
        assert!(most <= 0.2 && most > 0.19, "{most}");
    }
}
