//! One file an interface.

mod alarms;
mod daemon;
mod device;
mod dose;
mod jobs;
mod live_stream;
mod recording;
mod runs;
mod spin;

pub(crate) use alarms::{Alarms, severity};
pub(crate) use daemon::Daemon;
pub(crate) use device::Device;
pub(crate) use dose::Dose;
pub(crate) use jobs::Jobs;
pub(crate) use live_stream::{LiveStream, ledger, stages};
pub(crate) use recording::{Recording, state as recording_state};
pub(crate) use runs::Runs;
pub(crate) use spin::Spin;

use service::{Service, Stream, StreamStatus};
use std::sync::Arc;

/// A stream of the service by its place, which never changes.
#[derive(Clone)]
pub(crate) struct StreamHandle {
    pub(crate) service: Arc<Service>,
    pub(crate) index: usize,
}

impl StreamHandle {
    pub(crate) fn stream(&self) -> &Stream {
        &self.service.streams()[self.index]
    }

    pub(crate) fn status(&self) -> StreamStatus {
        self.stream().status()
    }
}
