//! A spin from arming to its end, as a state machine: time and frames come in, transitions come out.
//!
//! ```text
//! idle --arm--> armed --first X-ray frame--> rotating --arc covered--> complete
//!                 |                              |----pedal released--> aborted
//!                 '--disarm--> idle              '----no frames, turned back, told so--> faulted
//! ```
//! A finished spin goes back to idle by [`Spin::reset`].

use crate::error::AcquisitionError;
use carm::{FrameHeader, HostTime, Pedal};

/// What a spin is meant to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpinPlan {
    /// Arc from the first to the last view, rad.
    pub arc_rad: f64,
    /// Views over that arc.
    pub views: u64,
    /// Space reserved for the recording: a spin is only armed with it.
    pub reserved_bytes: u64,
    /// Without a frame for so long, a rotating spin is at fault, ns.
    pub frame_timeout_ns: u64,
    /// Turning back by more than this is a fault, rad (encoders jitter).
    pub turn_back_rad: f64,
}

/// Why a spin failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// No frame came for too long.
    NoFrames {
        /// For how long, ns.
        silent_ns: u64,
    },
    /// The gantry turned back.
    TurnedBack {
        /// By how much, rad.
        by_rad: f64,
    },
    /// A frame without a measured angle.
    NoAngle {
        /// The frame.
        sequence: u64,
    },
    /// What another part reports, such as a full disk.
    Reported(String),
}

/// How far a spin came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Angle of the first view, rad.
    pub first_angle_rad: f64,
    /// Angle furthest from it so far, rad.
    pub furthest_angle_rad: f64,
    /// Views so far.
    pub views: u64,
    /// When the first and the last view came.
    pub first_host: HostTime,
    /// When the last view came.
    pub last_host: HostTime,
}

impl Coverage {
    /// Arc covered, rad.
    pub fn arc_rad(&self) -> f64 {
        (self.furthest_angle_rad - self.first_angle_rad).abs()
    }
}

/// Where a spin stands.
#[derive(Clone, Debug, PartialEq)]
pub enum SpinState {
    /// Nothing asked.
    Idle,
    /// Ready, space reserved.
    Armed {
        /// Since when.
        since: HostTime,
    },
    /// Views are coming.
    Rotating(Coverage),
    /// The planned arc is covered.
    Complete(Coverage),
    /// The operator let go.
    Aborted(Coverage),
    /// It failed; what was covered is kept.
    Faulted {
        /// Why.
        fault: Fault,
        /// What had been covered, if it had begun.
        coverage: Option<Coverage>,
    },
}

impl SpinState {
    /// The state's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Armed { .. } => "armed",
            Self::Rotating(_) => "rotating",
            Self::Complete(_) => "complete",
            Self::Aborted(_) => "aborted",
            Self::Faulted { .. } => "faulted",
        }
    }
}

/// A change of state: an event for the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Name of the state left.
    pub from: &'static str,
    /// Name of the state entered.
    pub to: &'static str,
    /// When.
    pub at: HostTime,
}

/// One spin.
#[derive(Clone, Debug)]
pub struct Spin {
    state: SpinState,
    plan: Option<SpinPlan>,
}

impl Default for Spin {
    fn default() -> Self {
        Self { state: SpinState::Idle, plan: None }
    }
}

impl Spin {
    /// An idle one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it stands.
    pub fn state(&self) -> &SpinState {
        &self.state
    }

    /// Idle to armed, once the space is reserved.
    ///
    /// # Errors
    /// [`AcquisitionError::SpinTransition`] from any other state.
    pub fn arm(&mut self, plan: SpinPlan, now: HostTime) -> Result<Transition, AcquisitionError> {
        if self.state != SpinState::Idle {
            return Err(self.refused("arm", "idle"));
        }
        self.plan = Some(plan);
        Ok(self.enter(SpinState::Armed { since: now }, now))
    }

    /// Armed back to idle.
    ///
    /// # Errors
    /// [`AcquisitionError::SpinTransition`] from any other state.
    pub fn disarm(&mut self, now: HostTime) -> Result<Transition, AcquisitionError> {
        if !matches!(self.state, SpinState::Armed { .. }) {
            return Err(self.refused("disarm", "armed"));
        }
        self.plan = None;
        Ok(self.enter(SpinState::Idle, now))
    }

    /// Complete, aborted or faulted back to idle.
    ///
    /// # Errors
    /// [`AcquisitionError::SpinTransition`] from any other state.
    pub fn reset(&mut self, now: HostTime) -> Result<Transition, AcquisitionError> {
        if matches!(self.state, SpinState::Idle | SpinState::Armed { .. } | SpinState::Rotating(_)) {
            return Err(self.refused("reset", "complete, aborted or faulted"));
        }
        self.plan = None;
        Ok(self.enter(SpinState::Idle, now))
    }

    /// Takes note of a frame; frames outside a spin change nothing.
    pub fn frame(&mut self, header: &FrameHeader, now: HostTime) -> Option<Transition> {
        let plan = self.plan?;
        let angle = header.gantry.primary_angle_rad;
        let is_view = header.is_xray_on && header.pedal == Pedal::Acquisition;
        match self.state.clone() {
            SpinState::Armed { .. } | SpinState::Rotating(_) if is_view && !angle.is_finite() => {
                Some(self.fault(Fault::NoAngle { sequence: header.sequence }, now))
            }
            SpinState::Armed { .. } if is_view => {
                let coverage = Coverage {
                    first_angle_rad: angle,
                    furthest_angle_rad: angle,
                    views: 1,
                    first_host: now,
                    last_host: now,
                };
                Some(self.enter(SpinState::Rotating(coverage), now))
            }
            SpinState::Rotating(coverage) if is_view => self.turn(plan, coverage, angle, now),
            SpinState::Rotating(coverage) if header.pedal != Pedal::Acquisition => {
                Some(self.enter(SpinState::Aborted(coverage), now))
            }
            // The pedal is down and the beam is off: between views, or after the last.
            _ => None,
        }
    }

    /// Takes note of the time, so that silence is noticed.
    pub fn tick(&mut self, now: HostTime) -> Option<Transition> {
        let (SpinState::Rotating(coverage), Some(plan)) = (&self.state, self.plan) else { return None };
        let silent_ns = now.0.saturating_sub(coverage.last_host.0);
        (silent_ns > plan.frame_timeout_ns).then(|| self.fault(Fault::NoFrames { silent_ns }, now))
    }

    /// The operator stops a spin by another way than the pedal.
    ///
    /// # Errors
    /// [`AcquisitionError::SpinTransition`] unless rotating.
    pub fn abort(&mut self, now: HostTime) -> Result<Transition, AcquisitionError> {
        match self.state {
            SpinState::Rotating(coverage) => Ok(self.enter(SpinState::Aborted(coverage), now)),
            _ => Err(self.refused("abort", "rotating")),
        }
    }

    /// Another part failed, such as the recording.
    ///
    /// # Errors
    /// [`AcquisitionError::SpinTransition`] unless armed or rotating.
    pub fn report_fault(&mut self, reason: &str, now: HostTime) -> Result<Transition, AcquisitionError> {
        match self.state {
            SpinState::Armed { .. } | SpinState::Rotating(_) => {
                Ok(self.fault(Fault::Reported(reason.into()), now))
            }
            _ => Err(self.refused("fault", "armed or rotating")),
        }
    }

    fn turn(
        &mut self,
        plan: SpinPlan,
        coverage: Coverage,
        angle_rad: f64,
        now: HostTime,
    ) -> Option<Transition> {
        let turned = angle_rad - coverage.first_angle_rad;
        let sense = if coverage.arc_rad() > 0.0 {
            (coverage.furthest_angle_rad - coverage.first_angle_rad).signum()
        } else {
            turned.signum()
        };
        let back_rad = coverage.arc_rad() - turned * sense;
        if back_rad > plan.turn_back_rad {
            return Some(self.fault(Fault::TurnedBack { by_rad: back_rad }, now));
        }
        let furthest_angle_rad = if back_rad < 0.0 { angle_rad } else { coverage.furthest_angle_rad };
        let coverage = Coverage { furthest_angle_rad, views: coverage.views + 1, last_host: now, ..coverage };
        // Jitter of the last angle must not keep a spin open: half a step short is the last view.
        let half_step_rad = 0.5 * plan.arc_rad / plan.views.saturating_sub(1).max(1) as f64;
        if coverage.arc_rad() + half_step_rad >= plan.arc_rad {
            return Some(self.enter(SpinState::Complete(coverage), now));
        }
        self.state = SpinState::Rotating(coverage);
        None
    }

    fn fault(&mut self, fault: Fault, now: HostTime) -> Transition {
        let coverage = match self.state {
            SpinState::Rotating(coverage) => Some(coverage),
            _ => None,
        };
        self.enter(SpinState::Faulted { fault, coverage }, now)
    }

    fn enter(&mut self, state: SpinState, at: HostTime) -> Transition {
        let transition = Transition { from: self.state.name(), to: state.name(), at };
        self.state = state;
        transition
    }

    fn refused(&self, action: &'static str, expected: &'static str) -> AcquisitionError {
        AcquisitionError::SpinTransition { action, expected, found: self.state.name() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::GantryPose;

    const STEP_RAD: f64 = 0.02;

    fn plan(views: u64) -> SpinPlan {
        SpinPlan {
            arc_rad: STEP_RAD * (views - 1) as f64,
            views,
            reserved_bytes: 1,
            frame_timeout_ns: 500,
            turn_back_rad: 0.01,
        }
    }

    fn view(index: u64, angle_rad: f64) -> FrameHeader {
        FrameHeader {
            sequence: index,
            is_xray_on: true,
            pedal: Pedal::Acquisition,
            gantry: GantryPose { primary_angle_rad: angle_rad, secondary_angle_rad: 0.0 },
            ..FrameHeader::default()
        }
    }

    fn armed(views: u64) -> Spin {
        let mut spin = Spin::new();
        let transition = spin.arm(plan(views), HostTime(1)).unwrap();
        assert_eq!(transition, Transition { from: "idle", to: "armed", at: HostTime(1) });
        spin
    }

    #[test]
    fn spin_completes_when_the_planned_arc_is_covered_either_way_round() {
        for sense in [1.0, -1.0] {
            let mut spin = armed(10);
            let mut seen = Vec::new();
            for index in 0..10_u64 {
                let jitter = if index.is_multiple_of(2) { 0.004 } else { -0.004 };
                let angle = 1.0 + sense * (STEP_RAD * index as f64 + jitter);
                seen.extend(spin.frame(&view(index, angle), HostTime(100 * index)).map(|t| (index, t.to)));
            }
            assert_eq!(seen, [(0, "rotating"), (9, "complete")]);
            let SpinState::Complete(coverage) = spin.state() else { panic!("{:?}", spin.state()) };
            assert_eq!(coverage.views, 10);
            assert_eq!(spin.reset(HostTime(2000)).unwrap().to, "idle");
        }
    }

    #[test]
    fn spin_aborts_when_the_pedal_is_released_and_keeps_what_was_covered() {
        let mut spin = armed(10);
        for index in 0..4 {
            spin.frame(&view(index, STEP_RAD * index as f64), HostTime(index));
        }
        let dark = FrameHeader { is_xray_on: false, ..view(4, 0.08) };
        assert_eq!(spin.frame(&dark, HostTime(4)), None);
        let released = FrameHeader { pedal: Pedal::Released, ..dark };
        assert_eq!(spin.frame(&released, HostTime(5)).unwrap().to, "aborted");
        let SpinState::Aborted(coverage) = spin.state() else { panic!("{:?}", spin.state()) };
        assert!((coverage.arc_rad() - 3.0 * STEP_RAD).abs() < 1e-12 && coverage.views == 4);
    }

    #[test]
    fn spin_faults_on_silence_turning_back_and_missing_angles() {
        let mut spin = armed(10);
        assert_eq!(spin.tick(HostTime(1_000_000)), None, "an armed spin may wait");
        spin.frame(&view(0, 0.0), HostTime(100));
        assert_eq!(spin.tick(HostTime(600)), None);
        assert_eq!(spin.tick(HostTime(601)).unwrap().to, "faulted");
        assert!(matches!(spin.state(), SpinState::Faulted { fault: Fault::NoFrames { silent_ns: 501 }, .. }));

        let mut spin = armed(10);
        for (index, angle) in [0.0, 0.02, 0.04, 0.035, 0.06].into_iter().enumerate() {
            assert_ne!(spin.frame(&view(index as u64, angle), HostTime(9)).map(|t| t.to), Some("faulted"));
        }
        assert_eq!(spin.frame(&view(5, 0.03), HostTime(9)).unwrap().to, "faulted");

        let mut spin = armed(10);
        assert_eq!(spin.frame(&view(0, f64::NAN), HostTime(9)).unwrap().to, "faulted");
        assert!(matches!(spin.state(), SpinState::Faulted { fault: Fault::NoAngle { sequence: 0 }, .. }));
    }

    #[test]
    fn spin_refuses_what_its_state_does_not_allow() {
        let mut spin = Spin::new();
        assert_eq!(spin.frame(&view(0, 0.0), HostTime(0)), None, "frames outside a spin change nothing");
        let text = spin.abort(HostTime(0)).unwrap_err().to_string();
        assert_eq!(text, "spin: expected rotating to abort, found idle");
        assert!(spin.disarm(HostTime(0)).is_err() && spin.reset(HostTime(0)).is_err());
        assert!(spin.report_fault("disk full", HostTime(0)).is_err());
        spin.arm(plan(5), HostTime(0)).unwrap();
        assert!(spin.arm(plan(5), HostTime(0)).is_err());
        assert_eq!(spin.disarm(HostTime(1)).unwrap().to, "idle");
        spin.arm(plan(5), HostTime(2)).unwrap();
        assert_eq!(spin.report_fault("disk full", HostTime(3)).unwrap().to, "faulted");
        let expected = SpinState::Faulted { fault: Fault::Reported("disk full".into()), coverage: None };
        assert_eq!(spin.state(), &expected);
    }
}
