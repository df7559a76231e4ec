//! One sealed memory file mapped once, seen as atomic words.
//!
//! The file can be handed to another process, which may map it for reading only: it is sealed against growing,
//! shrinking, new writable maps and further seals. All access goes through relaxed atomic words, because a reader
//! may be overtaken by the writer at any moment; it then finds the generation changed and throws its copy away.

use crate::error::AcquisitionError;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Zeroed words shared with whoever maps the file.
#[derive(Debug)]
pub(crate) struct SharedWords {
    start: NonNull<AtomicU64>,
    words: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is owned, stays in place until drop, and is only ever reached as atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above; atomics may be shared between threads.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `words` zeroed words, touches every page so that none is missing later, and seals the file.
    pub(crate) fn new(words: usize) -> Result<Self, AcquisitionError> {
        let bytes = words * size_of::<u64>();
        let failed = |doing| {
            move |error: rustix::io::Errno| AcquisitionError::RingMemory {
                bytes: bytes as u64,
                doing,
                source: error.into(),
            }
        };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("isocenter-frames", flags).map_err(failed("creating it"))?;
        rustix::fs::ftruncate(&file, bytes as u64).map_err(failed("sizing it"))?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh shared mapping at an address the kernel chooses, of exactly the file's size; it is
        // unmapped only in `drop`, and the seals below keep the file from shrinking under it.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                MapFlags::SHARED | MapFlags::POPULATE,
                &file,
                0,
            )
        }
        .map_err(failed("mapping it"))?;
        let start = NonNull::new(start.cast()).expect("a mapping never starts at address zero");
        let shared = Self { start, words, file };
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&shared.file, seals).map_err(failed("sealing it"))?;
        Ok(shared)
    }

    /// Maps `words` words of a file that another process made, for reading only.
    pub(crate) fn attach(file: OwnedFd, words: usize) -> Result<Self, AcquisitionError> {
        let bytes = words * size_of::<u64>();
        let failed = |doing, source| AcquisitionError::RingMemory { bytes: bytes as u64, doing, source };
        let size =
            rustix::fs::fstat(&file).map_err(|error| failed("reading its size", error.into()))?.st_size;
        if u64::try_from(size) != Ok(bytes as u64) {
            let found = io::Error::other(format!("found a file of {size} bytes"));
            return Err(failed("attaching to a file of that size", found));
        }
        let seals =
            rustix::fs::fcntl_get_seals(&file).map_err(|error| failed("reading its seals", error.into()))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(failed("attaching", io::Error::other("found a file that may be cut short")));
        }
        // SAFETY: a fresh shared mapping at an address the kernel chooses, of exactly the file's size, which the seal
        // keeps from shrinking; it is unmapped only in `drop`. It is mapped for reading, and readers only load.
        let start = unsafe {
            let flags = MapFlags::SHARED | MapFlags::POPULATE;
            rustix::mm::mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, flags, &file, 0)
        }
        .map_err(|error| failed("mapping it", error.into()))?;
        let start = NonNull::new(start.cast()).expect("a mapping never starts at address zero");
        Ok(Self { start, words, file })
    }

    /// All words.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` points to `words` mapped, zero-initialised, page-aligned words that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// The first half of a word, for waiting on.
    pub(crate) fn half_word(&self, index: usize) -> &AtomicU32 {
        let word = &self.words()[index];
        // SAFETY: an `AtomicU64` is eight aligned bytes of which the first four are a valid `AtomicU32`; this word is
        // never accessed as a whole, so accesses of different sizes never mix.
        unsafe { &*std::ptr::from_ref(word).cast::<AtomicU32>() }
    }

    /// The sealed file.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; no reference into it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.words * 8) };
        debug_assert!(unmapped.is_ok(), "a mapping that was made can be unmapped");
    }
}
