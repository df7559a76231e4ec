//! `org.isocenter.Recording1`: the recording of a stream.

use super::StreamHandle;
use crate::error::{CallError, waiting};
use service::RecordingState;

pub(crate) struct Recording(pub(crate) StreamHandle);

#[zbus::interface(name = "org.isocenter.Recording1")]
impl Recording {
    /// Starts a recording; gives its name.
    #[zbus(out_args("run"))]
    async fn start(&self) -> Result<String, CallError> {
        let handle = self.0.clone();
        waiting(move || Ok(handle.stream().start_recording()?.id)).await
    }

    /// Ends the recording; gives its name.
    #[zbus(out_args("run"))]
    async fn stop(&self) -> Result<String, CallError> {
        let handle = self.0.clone();
        waiting(move || Ok(handle.stream().stop_recording()?.id)).await
    }

    /// `off`, `on`, or `failed` when it should be on and cannot.
    #[zbus(property)]
    fn state(&self) -> String {
        state(&self.0.status().recording)[0].clone()
    }

    /// The recording that is being written.
    #[zbus(property)]
    fn run(&self) -> String {
        state(&self.0.status().recording)[1].clone()
    }

    /// Why it failed.
    #[zbus(property)]
    fn reason(&self) -> String {
        state(&self.0.status().recording)[2].clone()
    }
}

/// State, run, reason.
pub(crate) fn state(recording: &RecordingState) -> [String; 3] {
    match recording {
        RecordingState::Off => ["off".into(), String::new(), String::new()],
        RecordingState::On { run } => ["on".into(), run.clone(), String::new()],
        RecordingState::Failed { reason } => ["failed".into(), String::new(), reason.clone()],
    }
}
