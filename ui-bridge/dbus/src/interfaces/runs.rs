//! `org.isocenter.Runs1`: the recordings.

use crate::error::{CallError, waiting};
use service::Service;
use std::sync::Arc;

pub(crate) struct Runs {
    pub(crate) service: Arc<Service>,
}

/// Name, file, whether a spin, state, begun (ns since 1970), frames, lost, bytes.
type Row = (String, String, bool, String, u64, u64, u64, u64);

#[zbus::interface(name = "org.isocenter.Runs1")]
impl Runs {
    /// All recordings, oldest first: name, file, whether a spin, state, begun (ns since 1970), frames, frames lost,
    /// bytes (zero while recording).
    #[zbus(out_args("runs"))]
    fn list(&self) -> Vec<Row> {
        let row = |run: service::RunInfo| {
            let path = run.path.display().to_string();
            let state = run.state.name().to_owned();
            (run.id, path, run.is_spin, state, run.started_unix_ns, run.frames, run.lost, run.bytes)
        };
        self.service.runs().into_iter().map(row).collect()
    }

    /// Asks for the volume of a recording; gives the job's number.
    #[zbus(out_args("job"))]
    async fn reconstruct(&self, run: String) -> Result<u64, CallError> {
        let service = self.service.clone();
        waiting(move || service.reconstruct(&run)).await
    }

    /// Marks a recording to be kept, or takes the mark away: what is kept never goes to make room.
    async fn keep(&self, run: String, is_kept: bool) -> Result<(), CallError> {
        let service = self.service.clone();
        waiting(move || service.keep_run(&run, is_kept).map(drop)).await
    }

    /// How many there are.
    #[zbus(property)]
    fn count(&self) -> u32 {
        self.service.runs().len() as u32
    }
}
