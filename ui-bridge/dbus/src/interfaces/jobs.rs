//! `org.isocenter.Jobs1`: work that takes long.

use crate::error::CallError;
use service::{Job, Service};
use std::sync::Arc;
use zbus::object_server::SignalEmitter;

pub(crate) struct Jobs {
    pub(crate) service: Arc<Service>,
}

/// Number, kind, recording, state, steps done and in all, result, error.
type Row = (u64, String, String, String, u64, u64, String, String);

#[zbus::interface(name = "org.isocenter.Jobs1")]
impl Jobs {
    /// All jobs, oldest first: number, kind, recording, state, steps done, steps in all, result (a file,
    /// which is a first version until the job is done), error.
    #[zbus(out_args("jobs"))]
    fn list(&self) -> Vec<Row> {
        let row = |job: Job| {
            let result = job.result.map_or_else(String::new, |path| path.display().to_string());
            let (kind, state) = (job.kind.name().to_owned(), job.state.name().to_owned());
            (job.id, kind, job.run, state, job.done, job.all, result, job.error.unwrap_or_default())
        };
        self.service.jobs().list().into_iter().map(row).collect()
    }

    /// Ends a job at its next step.
    fn cancel(&self, job: u64) -> Result<(), CallError> {
        Ok(self.service.jobs().cancel(job)?)
    }

    /// A job went on or ended; at most five times a second for each.
    #[zbus(signal)]
    pub(crate) async fn changed(
        emitter: &SignalEmitter<'_>,
        job: u64,
        state: &str,
        done: u64,
        all: u64,
    ) -> zbus::Result<()>;
}
