//! What the daemon refuses.

use acquisition::AcquisitionError;
use capture::CaptureError;
use carm::DeviceError;
use std::io;
use std::path::PathBuf;

/// A request that cannot be met, or a daemon that cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The folder for recordings.
    #[error("{}: {doing} failed", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Two devices of one name, or none at all.
    #[error("devices: expected at least one, each with a name of its own, found {found}")]
    Devices {
        /// What there is.
        found: String,
    },
    /// A thread could not be started.
    #[error("thread {name}: could not be started")]
    Thread {
        /// Which.
        name: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No such stream, run or job.
    #[error("{kind}: expected one of [{known}], found {found}")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// What there is.
        known: String,
        /// What was asked for.
        found: String,
    },
    /// The device has not delivered a frame yet.
    #[error("{stream}: expected a device that has delivered a frame, found none")]
    NoFrames {
        /// The stream.
        stream: String,
    },
    /// Something that the present state does not allow.
    #[error("{stream}: expected {expected} to {action}, found {found}")]
    NotNow {
        /// The stream.
        stream: String,
        /// What was asked.
        action: &'static str,
        /// What that needs.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// The recorder did not answer.
    #[error("{stream}: expected the recorder's answer within {seconds} s, found none")]
    NoAnswer {
        /// The stream.
        stream: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The recording.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Ring, correction or spin.
    #[error(transparent)]
    Acquisition(#[from] AcquisitionError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
