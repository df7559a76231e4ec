//! What every source of frames is to the rest of the program.

use crate::frame::FrameHeader;
use crate::run::RunDescription;

/// What a source delivers next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SourceEvent {
    /// A frame whose counts are now in the caller's slot. A jump of `sequence` tells of frames lost.
    Frame(FrameHeader),
    /// The run is over.
    End,
}

/// What the link between a device and this host lost and mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Frames of which packets were missing in the end. They are not handed out: their numbers are jumped over.
    pub incomplete: u64,
    /// Packets that were missing in the end.
    pub packets_lost: u64,
    /// Packets that came when they were asked for again.
    pub packets_resent: u64,
}

/// A device failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The caller's slot does not hold one frame.
    #[error("frame slot: expected {expected} counts, found {found}")]
    SlotSize {
        /// Counts of one frame.
        expected: usize,
        /// Counts of the slot.
        found: usize,
    },
    /// The device went away.
    #[error("{device}: disconnected after frame {last_sequence}")]
    Disconnected {
        /// The device by name.
        device: String,
        /// Last sequence number received.
        last_sequence: u64,
    },
    /// Frames are due and none comes. The device is still there: asking again waits again.
    #[error("{device}: expected a frame every {period_ms:.1} ms, found none for {silent_ms:.1} ms")]
    Stalled {
        /// The device by name.
        device: String,
        /// Time between frames, ms.
        period_ms: f64,
        /// Time since the last frame, ms.
        silent_ms: f64,
    },
    /// The device's own failure.
    #[error("{device}: {reason}")]
    Failed {
        /// The device by name.
        device: String,
        /// Its reason.
        reason: String,
        /// What lies below, where there is more.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl DeviceError {
    /// Whether a caller's slot holds exactly one frame.
    ///
    /// # Errors
    /// [`DeviceError::SlotSize`].
    pub fn check_slot(slot: &[u16], expected: usize) -> Result<(), Self> {
        let found = slot.len();
        if found == expected { Ok(()) } else { Err(Self::SlotSize { expected, found }) }
    }
}

/// A device that delivers frames in order: simulated, replayed or real.
///
/// Runs on a thread of its own. `next_frame` blocks until a frame is there (or, for a paced source, due).
pub trait FrameSource: Send {
    /// The run that this source is about to deliver.
    fn description(&self) -> &RunDescription;

    /// Waits for the next frame and writes its raw counts, `[v, u]` with `u` fastest, into `slot`.
    ///
    /// # Errors
    /// [`DeviceError::SlotSize`] when `slot` does not hold one frame; otherwise the device's own failure.
    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError>;

    /// What the link to the device has lost since the source was opened. All zero where a source keeps no account of it.
    fn link_counts(&self) -> LinkCounts {
        LinkCounts::default()
    }
}
