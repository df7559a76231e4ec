//! What can go wrong with a run file.

use std::io;
use std::path::{Path, PathBuf};

/// A run file that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The operating system refused.
    #[error("{}: {doing} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The disk (or the quota, or the file size limit) is full. What was written stays readable, and the run
    /// reads as incomplete.
    #[error(
        "{}: no space left after {written_bytes} bytes: the recording ends here and is incomplete",
        path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Bytes that reached the file.
        written_bytes: u64,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The space for a run could not be set aside; nothing was recorded.
    #[error("{}: expected room for {expected_bytes} bytes, found less", path.display())]
    NoRoomToReserve {
        /// The file that would have been written.
        path: PathBuf,
        /// Bytes asked for.
        expected_bytes: u64,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file of that name exists; a recording never overwrites unless told to.
    #[error("{}: expected a new file, found one that exists", path.display())]
    AlreadyExists {
        /// The file.
        path: PathBuf,
    },
    /// A write after a write that failed: the recording ended there.
    #[error("{}: the recording ended at an earlier write error", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
    /// A buffer that does not hold one frame.
    #[error("frame: expected {expected} counts, found {found}")]
    FrameSize {
        /// Counts of one frame of this run.
        expected: usize,
        /// Counts of the buffer.
        found: usize,
    },
    /// A description that would not read back as it is: a number that is not finite, or a map or grid whose
    /// size is none.
    #[error(
        "run description: expected finite numbers and maps of at most {max_pixels} pixels, found {found}"
    )]
    DescriptionNotStorable {
        /// Largest map.
        max_pixels: usize,
        /// What was found instead.
        found: String,
    },
    /// The file is no run of ours.
    #[error("{}: expected a run file (MCAP), found {found}", path.display())]
    NotARun {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// Neither copy of the run's description can be read.
    #[error(
        "{}: expected a readable run description, found {sound_frames} sound frames without one: {reason}",
        path.display()
    )]
    DescriptionLost {
        /// The file.
        path: PathBuf,
        /// Frames that are sound nevertheless.
        sound_frames: usize,
        /// What is wrong with the last copy tried.
        reason: String,
    },
    /// A frame that is not what was recorded. It is never handed out.
    #[error("{}: frame {sequence} at byte {offset_bytes}: {reason}", path.display())]
    FrameDamaged {
        /// The file.
        path: PathBuf,
        /// The frame's sequence number.
        sequence: u64,
        /// Where it lies.
        offset_bytes: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An index past the last frame.
    #[error("frame index: expected less than {frame_count}, found {found}")]
    NoSuchFrame {
        /// Frames of the run.
        frame_count: usize,
        /// The index asked for.
        found: usize,
    },
    /// The MCAP writer refused for another reason than the disk.
    #[error("{}: {doing} failed", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Its reason.
        #[source]
        source: mcap::McapError,
    },
}

impl CaptureError {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, doing, source }
    }

    /// Sorts a failed write into "full" and the rest.
    pub(crate) fn write(path: &Path, doing: &'static str, written_bytes: u64, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path, written_bytes, source }
            }
            _ => Self::Io { path, doing, source },
        }
    }
}
