//! What a device is to the daemon, in its own process or in another.

mod process;
mod wire;

pub use process::{ProcessDriver, drive};

use carm::{DeviceError, FrameSource};

/// Opens a device, and opens it again after it went away. Called on the stream's device thread, except
/// [`Driver::open_spin`], which whoever arms a spin waits for.
pub trait Driver: Send + Sync {
    /// Name of the stream.
    fn name(&self) -> &str;

    /// Connects and starts the device.
    ///
    /// # Errors
    /// The device's own; the daemon tries again later.
    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError>;

    /// Whether a source that said it was over is opened again, as a camera is, or is done, as a file is.
    fn returns_after_end(&self) -> bool {
        true
    }

    /// Whether the device can turn round the patient.
    fn can_spin(&self) -> bool {
        false
    }

    /// A spin, ready to start with its first frame. Its frames are of the same size as the live ones and say
    /// [`carm::Pedal::Acquisition`].
    ///
    /// # Errors
    /// The device's own.
    fn open_spin(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        Err(DeviceError::Failed {
            device: self.name().into(),
            reason: "expected a device that can spin, found one that cannot".into(),
            source: None,
        })
    }
}
