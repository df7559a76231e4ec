//! The file under a recording: space reserved ahead, bytes counted, and when they are forced to the disk.

use crate::error::CaptureError;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether the space for a run was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// None was asked for.
    None,
    /// So many bytes belong to this file alone until it is finished.
    Reserved {
        /// Bytes set aside.
        bytes: u64,
    },
    /// The file system cannot reserve; a full disk shows only when it is full.
    Unsupported,
}

/// A file being recorded into.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) path: PathBuf,
    file: File,
    pub(crate) reservation: Reservation,
    written_bytes: Arc<AtomicU64>,
}

/// The writing end; counts what has reached the file.
struct Counted {
    file: File,
    written_bytes: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Storage {
    /// Creates the file and sets space aside. A file that could not get its space is removed again.
    pub(crate) fn create(path: &Path, overwrite: bool, reserve_bytes: u64) -> Result<Self, CaptureError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).truncate(true);
        options.create(overwrite).create_new(!overwrite);
        let file = options.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => CaptureError::AlreadyExists { path: path.into() },
            _ => CaptureError::Io { path: path.into(), doing: "creating the file", source },
        })?;
        let reservation = reserve(&file, reserve_bytes).map_err(|source| {
            // Nothing was recorded: an empty file would only mislead. Failing to remove it changes nothing.
            let _ = std::fs::remove_file(path);
            CaptureError::NoRoomToReserve { path: path.into(), expected_bytes: reserve_bytes, source }
        })?;
        let written_bytes = Arc::default();
        Ok(Self { path: path.into(), file, reservation, written_bytes })
    }

    /// The writing end.
    pub(crate) fn writer(&self) -> Result<Box<dyn Write + Send>, CaptureError> {
        let file = self.file.try_clone().map_err(CaptureError::io(&self.path, "opening the file twice"))?;
        Ok(Box::new(Counted { file, written_bytes: self.written_bytes.clone() }))
    }

    /// Bytes that reached the file.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Forces what was written to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Forces the file and its directory entry to the disk, so that the file itself survives a power cut.
    pub(crate) fn sync_with_directory(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }

    /// Gives back what was reserved beyond the last byte.
    pub(crate) fn release(&self) -> io::Result<()> {
        let Reservation::Reserved { bytes } = self.reservation else { return Ok(()) };
        let end = self.file.metadata()?.len();
        self.file.set_len(end)?;
        if bytes > end {
            // Some file systems free such space only when told so; others have just done it and may refuse.
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = rustix::fs::fallocate(&self.file, punch, end, bytes - end);
        }
        Ok(())
    }
}

/// Sets space aside behind the end of the file without changing its length, so that a crash leaves no zeros.
fn reserve(file: &File, bytes: u64) -> io::Result<Reservation> {
    if bytes == 0 {
        return Ok(Reservation::None);
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) => Ok(Reservation::Reserved { bytes }),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(Reservation::Unsupported),
        Err(error) => Err(error.into()),
    }
}
