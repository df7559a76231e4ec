//! Long work tells how far it is and asks whether to go on.

use crate::error::PrintingError;

/// Whoever watches long work.
pub trait Progress: Send {
    /// `done` of `all` steps of the current stage are complete; returns false to stop.
    fn step(&mut self, stage: &'static str, done: u64, all: u64) -> bool;
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _stage: &'static str, _done: u64, _all: u64) -> bool {
        true
    }
}

/// Tells the watcher and turns its wish to stop into an error.
pub(crate) fn advance(
    progress: &mut dyn Progress,
    stage: &'static str,
    done: usize,
    all: usize,
) -> Result<(), PrintingError> {
    if progress.step(stage, done as u64, all as u64) { Ok(()) } else { Err(PrintingError::Cancelled) }
}
