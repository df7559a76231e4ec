//! What can be wrong with a request.

use thiserror::Error;

/// Why nothing was segmented.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AnatomyError {
    /// The numbers are not Hounsfield units, so no tissue has a known level.
    #[error("volume quantity: expected Hounsfield units, found {found}")]
    NotHounsfield {
        /// What the volume says of itself.
        found: String,
    },
    /// Two arrays that must share a grid do not.
    #[error("{what}: expected shape [z, y, x] {expected:?}, found {found:?}")]
    ShapeMismatch {
        /// Which array.
        what: &'static str,
        /// The volume's.
        expected: [usize; 3],
        /// The array's.
        found: [usize; 3],
    },
    /// A volume so flat that it has no inside.
    #[error("volume: expected at least {expected} voxels along each axis, found [nx, ny, nz] {found:?}")]
    TooSmall {
        /// The least.
        expected: usize,
        /// What came.
        found: [usize; 3],
    },
    /// No body in the volume.
    #[error("body: expected at least {expected_ml} ml denser than {threshold_hu} HU, found {found_ml:.1} ml")]
    NoBody {
        /// What counts as inside the body, HU.
        threshold_hu: f32,
        /// The least, ml.
        expected_ml: f64,
        /// What was there, ml.
        found_ml: f64,
    },
    /// The target is not in the volume.
    #[error("{target}: not found; {reason}")]
    TargetAbsent {
        /// What was asked for.
        target: &'static str,
        /// Expected and found, with units.
        reason: String,
    },
    /// A seed that cannot start anything.
    #[error("seed at LPS ({x:.1}, {y:.1}, {z:.1}) mm: {reason}")]
    Seed {
        /// Left, mm.
        x: f64,
        /// Posterior, mm.
        y: f64,
        /// Superior, mm.
        z: f64,
        /// Expected and found.
        reason: String,
    },
    /// A parameter outside what has a meaning.
    #[error("{what}: expected {expected}, found {found}")]
    Parameter {
        /// Which one.
        what: &'static str,
        /// Its range.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The caller asked to stop.
    #[error("cancelled during {stage}")]
    Cancelled {
        /// What was under way.
        stage: &'static str,
    },
}
