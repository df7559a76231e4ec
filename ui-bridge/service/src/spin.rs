//! What is known of a stream's spin.

use crate::verdict::Verdict;
use acquisition::SpinState;
use serde::Serialize;

/// Where a spin stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpinPhase {
    /// Nothing asked.
    #[default]
    Idle,
    /// Its device is being made ready.
    Arming,
    /// Ready to start; room on the disk is set aside.
    Armed,
    /// Views are coming.
    Rotating,
    /// The planned arc is covered.
    Complete,
    /// The operator let go.
    Aborted,
    /// It failed.
    Faulted,
}

impl SpinPhase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Arming => "arming",
            Self::Armed => "armed",
            Self::Rotating => "rotating",
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Faulted => "faulted",
        }
    }
}

/// A stream's spin, the last one included.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SpinStatus {
    /// Where it stands.
    pub phase: SpinPhase,
    /// Why it failed, where it did.
    pub reason: String,
    /// Views so far.
    pub views: u64,
    /// Views planned.
    pub planned_views: u64,
    /// Arc covered, degrees.
    pub arc_deg: f64,
    /// Arc planned, degrees.
    pub planned_arc_deg: f64,
    /// Its recording.
    pub run: String,
    /// Whether it is worth a volume, once it is over.
    pub verdict: Option<Verdict>,
}

impl SpinStatus {
    /// Takes over what the state machine knows.
    pub(crate) fn follow(&mut self, state: &SpinState) {
        let coverage = match state {
            SpinState::Idle => {
                self.phase = SpinPhase::Idle;
                None
            }
            SpinState::Armed { .. } => {
                self.phase = SpinPhase::Armed;
                None
            }
            SpinState::Rotating(coverage) => {
                self.phase = SpinPhase::Rotating;
                Some(*coverage)
            }
            SpinState::Complete(coverage) => {
                self.phase = SpinPhase::Complete;
                Some(*coverage)
            }
            SpinState::Aborted(coverage) => {
                self.phase = SpinPhase::Aborted;
                Some(*coverage)
            }
            SpinState::Faulted { fault, coverage } => {
                self.phase = SpinPhase::Faulted;
                self.reason = format!("{fault:?}");
                *coverage
            }
        };
        if let Some(coverage) = coverage {
            self.views = coverage.views;
            self.arc_deg = coverage.arc_rad().to_degrees();
        }
    }
}
