//! `org.isocenter.Spin1`: one turn round the patient.

use super::StreamHandle;
use crate::error::{CallError, waiting};

pub(crate) struct Spin(pub(crate) StreamHandle);

#[zbus::interface(name = "org.isocenter.Spin1")]
impl Spin {
    /// Makes a spin ready, room for its recording set aside; gives the recording's name.
    #[zbus(out_args("run"))]
    async fn arm(&self) -> Result<String, CallError> {
        let handle = self.0.clone();
        waiting(move || Ok(handle.stream().arm_spin()?.run)).await
    }

    /// Starts the armed spin.
    async fn start(&self) -> Result<(), CallError> {
        let handle = self.0.clone();
        waiting(move || handle.stream().start_spin()).await
    }

    /// Disarms, or stops a rotating spin: what was covered is kept.
    async fn abort(&self) -> Result<(), CallError> {
        let handle = self.0.clone();
        waiting(move || handle.stream().abort_spin()).await
    }

    /// `idle`, `arming`, `armed`, `rotating`, `complete`, `aborted` or `faulted`.
    #[zbus(property)]
    fn state(&self) -> String {
        self.0.status().spin.phase.name().to_owned()
    }

    /// Why it failed.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.0.status().spin.reason
    }

    /// Views so far, and planned.
    #[zbus(property)]
    fn views(&self) -> (u64, u64) {
        let spin = self.0.status().spin;
        (spin.views, spin.planned_views)
    }

    /// Arc covered, and planned, degrees.
    #[zbus(property)]
    fn arc_deg(&self) -> (f64, f64) {
        let spin = self.0.status().spin;
        (spin.arc_deg, spin.planned_arc_deg)
    }

    /// Whether the last spin is worth a volume: `accept`, `review` or `repeat` (nothing until a second after its end), then what was
    /// looked at: name, number (not a number where it could not be told), unit, advice.
    #[zbus(property(emits_changed_signal = "false"))]
    fn verdict(&self) -> (String, Vec<(String, f64, String, String)>) {
        let verdict = self.0.status().spin.verdict;
        let advice = verdict.as_ref().map_or("", |verdict| verdict.advice.name()).to_owned();
        let row = |found: service::Finding| {
            let value = found.value.unwrap_or(f64::NAN);
            (found.what.to_owned(), value, found.unit.to_owned(), found.advice.name().to_owned())
        };
        (advice, verdict.map(|verdict| verdict.findings).unwrap_or_default().into_iter().map(row).collect())
    }

    /// Its recording.
    #[zbus(property)]
    fn run(&self) -> String {
        self.0.status().spin.run
    }
}
