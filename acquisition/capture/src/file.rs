//! The bytes of a run file, read by position and never beyond what is there.

use crate::error::CaptureError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// An opened file and its length at that time.
#[derive(Debug)]
pub(crate) struct RunFile {
    pub(crate) path: PathBuf,
    file: File,
    pub(crate) bytes: u64,
    reads: AtomicU64,
}

impl RunFile {
    pub(crate) fn open(path: &Path) -> Result<Self, CaptureError> {
        let metadata = std::fs::metadata(path).map_err(CaptureError::io(path, "opening"))?;
        if !metadata.is_file() {
            return Err(CaptureError::NotARun { path: path.into(), found: "no plain file".into() });
        }
        let file = File::open(path).map_err(CaptureError::io(path, "opening"))?;
        let bytes = file.metadata().map_err(CaptureError::io(path, "opening"))?.len();
        Ok(Self { path: path.into(), file, bytes, reads: AtomicU64::new(0) })
    }

    /// Takes note of what a recorder has appended meanwhile.
    pub(crate) fn refresh(&mut self) -> Result<(), CaptureError> {
        let metadata = self.file.metadata().map_err(CaptureError::io(&self.path, "reading the length"))?;
        self.bytes = metadata.len();
        Ok(())
    }

    /// Reads `count` bytes at `offset` into `buffer`, or fewer at the end of the file.
    pub(crate) fn read(&self, offset: u64, count: u64, buffer: &mut Vec<u8>) -> Result<(), CaptureError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let count = count.min(self.bytes.saturating_sub(offset));
        buffer.resize(usize::try_from(count).expect("callers cap what they read"), 0);
        self.file.read_exact_at(buffer, offset).map_err(CaptureError::io(&self.path, "reading"))
    }

    /// Reads so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}
