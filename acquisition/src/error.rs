//! What acquisition cannot do.

use carm::PixelDefect;
use std::io;

/// A ring, correction or spin that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquisitionError {
    /// The ring's memory could not be had.
    #[error("frame ring of {bytes} bytes: {doing} failed")]
    RingMemory {
        /// Size of the ring.
        bytes: u64,
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A ring needs a slot to write while others are read, and frames that are not empty.
    #[error("frame ring: expected at least 2 slots of at least 1 pixel, found {slots} of {pixels}")]
    RingShape {
        /// Slots asked for.
        slots: usize,
        /// Pixels of a frame.
        pixels: usize,
    },
    /// A buffer that does not hold one frame.
    #[error("frame: expected {expected} counts, found {found}")]
    FrameSize {
        /// Counts of one frame.
        expected: usize,
        /// Counts of the buffer.
        found: usize,
    },
    /// A calibration map of another size than the detector.
    #[error("{what}: expected [v, u] = {expected:?}, found {found:?}")]
    MapSize {
        /// Which map.
        what: &'static str,
        /// Rows and columns of the detector.
        expected: [usize; 2],
        /// Rows and columns of the map.
        found: [usize; 2],
    },
    /// A defect outside the detector.
    #[error("defect: expected a pixel of {nu} x {nv}, found column {} row {}", found.u, found.v)]
    DefectOutside {
        /// Columns.
        nu: usize,
        /// Rows.
        nv: usize,
        /// The defect.
        found: PixelDefect,
    },
    /// A defect with nothing around it to interpolate from.
    #[error(
        "defect at column {} row {}: expected good pixels within {radius_px} pixels, found none",
        defect.u, defect.v
    )]
    DefectAlone {
        /// The defect.
        defect: PixelDefect,
        /// How far was looked.
        radius_px: usize,
    },
    /// A calibration number that cannot be.
    #[error("{what}: expected {expected}, found {found}")]
    CalibrationNumber {
        /// Which number, with its unit.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
    /// Maps were asked for where there are none.
    #[error("detector maps: expected a file that carries some, found one without")]
    NoMaps,
    /// A remark on the panel that cannot be read.
    #[error("panel model in the run's remarks: expected {expected}, found something else")]
    PanelModel {
        /// What was missing.
        expected: &'static str,
    },
    /// A remark on the grey scale that cannot be read.
    #[error("grey scale in the run's remarks: expected {expected}, found something else")]
    GreyScale {
        /// What was missing.
        expected: &'static str,
    },
    /// X-rays were on and the generator reported no charge: the unattenuated beam is unknown.
    #[error("frame {sequence}: expected a tube charge above 0 mAs with X-rays on, found {found_mas} mAs")]
    NoTubeCharge {
        /// The frame.
        sequence: u64,
        /// The charge reported.
        found_mas: f64,
    },
    /// A frame to be subtracted before there is a mask.
    #[error("frame {sequence}: expected a mask to subtract it from, found none")]
    NoMask {
        /// The frame.
        sequence: u64,
    },
    /// A spin was told something that its state does not allow.
    #[error("spin: expected {expected} to {action}, found {found}")]
    SpinTransition {
        /// What was asked.
        action: &'static str,
        /// The states that allow it.
        expected: &'static str,
        /// The state it is in.
        found: &'static str,
    },
}
