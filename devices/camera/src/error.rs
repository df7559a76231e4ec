//! Why a source is no camera.

use carm::GeometryError;
use std::time::Duration;

/// A launch line that cannot be used, or a source that does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// GStreamer itself is not usable here.
    #[error("GStreamer cannot be used")]
    GStreamer(#[source] gstreamer::glib::Error),
    /// The launch line does not parse, or names an element that is not installed.
    #[error("{camera}: launch line: {reason}")]
    LaunchLine {
        /// The camera by name.
        camera: String,
        /// GStreamer's reason.
        reason: String,
    },
    /// A GigE Vision or USB3 Vision panel that cannot be opened or set.
    #[error("{camera}: {doing}: {reason}")]
    GenICam {
        /// The camera by name.
        camera: String,
        /// What was asked of it.
        doing: &'static str,
        /// The library's reason, or what was expected and found.
        reason: String,
    },
    /// Not exactly one `appsink`.
    #[error("{camera}: launch line: expected one appsink at its end, found {found}")]
    AppSink {
        /// The camera by name.
        camera: String,
        /// How many there are.
        found: usize,
    },
    /// An element that would change counts.
    #[error(
        "{camera}: launch line: expected counts to pass unchanged, found {element}, which converts pixels"
    )]
    Converts {
        /// The camera by name.
        camera: String,
        /// The element's kind.
        element: String,
    },
    /// No frame came.
    #[error("{camera}: expected a first frame within {} s, found {reason}", waited.as_secs_f64())]
    NoFirstFrame {
        /// The camera by name.
        camera: String,
        /// How long was waited at most.
        waited: Duration,
        /// What came instead.
        reason: String,
    },
    /// Frames of a format that is not grey counts.
    #[error("{camera}: expected GRAY16_LE or GRAY8, for a panel Mono8 to Mono16, found {found}")]
    Format {
        /// The camera by name.
        camera: String,
        /// The format, or what there was instead.
        found: String,
    },
    /// A rate that neither the source nor the configuration tells.
    #[error("{camera}: expected a frame rate from the source or the configuration, found none")]
    NoFrameRate {
        /// The camera by name.
        camera: String,
    },
    /// A number in the settings that cannot be.
    #[error("{camera}: {what}: expected {expected}, found {found}")]
    Setting {
        /// The camera by name.
        camera: String,
        /// Which number, with its unit.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
    /// A detector that cannot be.
    #[error("{camera}: {source}")]
    Detector {
        /// The camera by name.
        camera: String,
        /// What is wrong with it.
        source: GeometryError,
    },
}
