//! Why a run did not become a volume.

use acquisition::AcquisitionError;
use capture::CaptureError;
use carm::calibration::AngleNotCalibrated;
use carm::{DeviceError, GeometryError};
use reconstruct::ReconstructError;

/// Why a run did not become a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The recording.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Correction, ring or state machine.
    #[error(transparent)]
    Acquisition(#[from] AcquisitionError),
    /// The reconstruction.
    #[error(transparent)]
    Reconstruct(#[from] ReconstructError),
    /// The run's geometry.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A frame's angle has no calibrated matrix.
    #[error("frame {sequence}: {source}")]
    Angle {
        /// The frame.
        sequence: u64,
        /// The range that is calibrated.
        source: AngleNotCalibrated,
    },
    /// The run is not one that makes a volume.
    #[error("run of protocol {protocol}: expected {expected}, found none")]
    NotASpin {
        /// The run's protocol.
        protocol: String,
        /// What a spin brings.
        expected: &'static str,
    },
    /// A thread of the session ended before its work.
    #[error("{thread}: ended before its work was done")]
    ThreadEnded {
        /// Which.
        thread: &'static str,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
