//! Cameras as devices: GigE and USB3 Vision panels, frame grabbers, files, anything that a GStreamer launch line names.
//!
//! [`open`] opens what [`CameraSettings`] name, of two kinds:
//!
//! * A panel by the library Aravis (`genicam.rs`): frames are numbered by the panel's own ids, carry its time stamps, and
//!   packets that the link lost are counted.
//! * A launch line that ends in an `appsink` (`source.rs`): what arrives there, bit for bit, 16-bit grey counts as they are,
//!   8-bit ones widened. Elements that convert pixels are refused, because detector counts must not pass a video's idea of
//!   colour. [`FrameNumbers`] says how a lost frame is noticed there.
//!
//! What happens to the source comes back as a value within two frame times: [`carm::DeviceError::Stalled`] when frames
//! are due and none comes (asking again waits again), [`carm::DeviceError::Disconnected`] and
//! [`carm::DeviceError::Failed`] when it is gone (open it again), [`carm::SourceEvent::End`] when it said so itself.
//!
//! # Example
//!
//! ```
//! use camera::CameraSettings;
//! use carm::{FrameSource, SourceEvent};
//!
//! let launch = "videotestsrc num-buffers=3 pattern=ball ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=30/1 ! appsink";
//! let mut camera = camera::open(&CameraSettings::new("test", launch))?;
//! let mut counts = vec![0; camera.description().detector.pixel_count()];
//! let mut frames = 0;
//! while let SourceEvent::Frame(header) = camera.next_frame(&mut counts)? {
//!     assert_eq!(header.sequence, frames);
//!     frames += 1;
//! }
//! assert_eq!(frames, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bus;
mod closing;
mod error;
mod genicam;
mod header;
mod launch;
mod numbers;
mod pixels;
mod settings;
mod source;

#[cfg(test)]
mod tests;

pub use error::CameraError;
pub use numbers::FrameNumbers;
pub use settings::{CameraSettings, CameraSource};

use carm::FrameSource;
use genicam::Panel;
use source::Camera;

/// Frame times without a frame after which a source counts as stalled.
const STALL_PERIODS: f64 = 1.5;

/// Opens a camera, of whichever kind.
///
/// # Errors
/// [`CameraError`]: a launch line that does not parse or converts pixels, a panel that is not there or lacks a feature, a
/// source that does not start, frames that are not grey counts, a frame rate that nobody tells.
pub fn open(settings: &CameraSettings) -> Result<Box<dyn FrameSource>, CameraError> {
    settings.check()?;
    Ok(match &settings.source {
        CameraSource::Launch(line) => Box::new(Camera::open(settings, line)?),
        CameraSource::GenICam { camera, features } => Box::new(Panel::open(settings, camera, features)?),
    })
}
