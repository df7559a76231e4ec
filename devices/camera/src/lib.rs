//! Cameras as devices: GigE and USB3 Vision panels, frame grabbers, files, anything that a GStreamer launch line names.
//!
//! [`open`] opens what the configuration names: a [`Camera`] or a [`Panel`], both [`carm::FrameSource`]s.
//!
//! A [`Panel`] is a GigE Vision or USB3 Vision panel by the library Aravis: frames are numbered by the panel's own ids, carry
//! its time stamps, and packets that the link lost are counted.
//!
//! A [`Camera`] runs one launch line that ends in an `appsink` and hands out what arrives there, bit for bit: 16-bit
//! grey counts as they are, 8-bit ones widened. Elements that convert pixels are refused, because detector counts must
//! not pass a video's idea of colour. [`FrameNumbers`] says how a lost frame is noticed there.
//!
//! What happens to the source comes back as a value within two frame times: [`carm::DeviceError::Stalled`] when frames
//! are due and none comes (asking again waits again), [`carm::DeviceError::Disconnected`] and
//! [`carm::DeviceError::Failed`] when it is gone (open it again), [`carm::SourceEvent::End`] when it said so itself.
//!
//! # Example
//!
//! ```
//! use camera::{Camera, CameraSettings};
//! use carm::{FrameSource, SourceEvent};
//!
//! let launch = "videotestsrc num-buffers=3 pattern=ball ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=30/1 ! appsink";
//! let mut camera = Camera::open(&CameraSettings::new("test", launch))?;
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
pub use genicam::Panel;
pub use numbers::FrameNumbers;
pub use settings::{CameraSettings, CameraSource};
pub use source::Camera;

use carm::FrameSource;

/// Frame times without a frame after which a source counts as stalled.
const STALL_PERIODS: f64 = 1.5;

/// Opens a camera, of whichever kind.
///
/// # Errors
/// [`CameraError`], as [`Camera::open`] and [`Panel::open`] say.
pub fn open(settings: &CameraSettings) -> Result<Box<dyn FrameSource>, CameraError> {
    Ok(match settings.source {
        CameraSource::Launch(_) => Box::new(Camera::open(settings)?),
        CameraSource::GenICam { .. } => Box::new(Panel::open(settings)?),
    })
}
