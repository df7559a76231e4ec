//! Why a run cannot be played.

use capture::CaptureError;
use std::ops::Range;

/// A run that cannot be played as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error("the recording cannot be played")]
    Recording(#[from] CaptureError),
    /// A speed that is none.
    #[error("replay speed: expected a positive factor, found {found}")]
    Factor {
        /// The factor given.
        found: f64,
    },
    /// A part of the run without a frame.
    #[error("part of the run: expected at least one of its frames ({run}), found none from {from} to {to}")]
    EmptySpan {
        /// What the run holds.
        run: String,
        /// Where the part begins.
        from: String,
        /// Where it ends.
        to: String,
    },
    /// A frame that is not among those played.
    #[error("frame index: expected {} to {}, found {found}", played.start, played.end.saturating_sub(1))]
    NoSuchFrame {
        /// Indices that are played.
        played: Range<usize>,
        /// The index asked for.
        found: usize,
    },
    /// Text that is no schedule of faults.
    #[error("schedule of faults: {0}")]
    ScheduleText(Box<toml::de::Error>),
    /// A fault that cannot be.
    #[error("schedule of faults: fault {number} ({kind}): expected {expected}, found {found}")]
    Fault {
        /// Its place in the schedule, from 1.
        number: usize,
        /// Its kind.
        kind: &'static str,
        /// What would do.
        expected: String,
        /// What was given.
        found: String,
    },
}
