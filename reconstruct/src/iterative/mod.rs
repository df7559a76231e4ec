//! Volumes that agree with the views better the longer one iterates.
//!
//! [`System`] is a scan seen as linear equations: views, line integrals, their weights, the voxels that may change, and
//! a coarse outer field for what is truncated. Three algorithms solve it, each an [`Algorithm`] that owns its state, so
//! that it can be stopped, looked at and continued:
//!
//! * [`OsSart`] corrects the volume subset by subset of the views; the fastest way to a good volume.
//! * [`Cgls`] takes the whole scan at once and is the weighted least-squares solution in the end.
//! * [`FistaTv`] also asks for few edges (total variation): few, noisy or missing views.
//!
//! [`iterate`] runs one of them until a [`StopRule`] or the caller says stop.
//!
//! Projection and back-projection are [`crate::project::Projector`]'s, the exact transpose of each other.

mod aligned_scan;
mod cgls;
mod estimate;
mod fista_tv;
mod os_sart;
mod outer;
mod preconditioner;
mod smooth_start;
mod subsets;
mod system;
#[cfg(test)]
mod tests;
pub(crate) mod total_variation;
mod weights;

use crate::error::ReconstructError;

pub use aligned_scan::AlignedScan;
pub use cgls::Cgls;
pub use estimate::Estimate;
pub use fista_tv::{FistaTv, FistaTvOptions, Strength};
pub use os_sart::{OsSart, OsSartOptions};
pub use outer::OuterField;
pub use smooth_start::smooth_start;
pub use system::{ScanData, System, SystemOptions};
pub(crate) use weights::relative_variance;
pub use weights::{apparent_photons, statistical_weights};

/// What has been done, told between two subsets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Iterations finished by the algorithm since it was made.
    pub iteration: usize,
    /// Views taken in the current iteration.
    pub views_done: usize,
    /// Views of an iteration.
    pub views: usize,
}

/// What one iteration, a pass over all views, came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IterationReport {
    /// Iterations finished since the algorithm was made.
    pub iteration: usize,
    /// Weighted root mean square of measured minus projected line integrals, as met during the pass.
    pub residual_rms: f64,
    /// Change of the volume over the pass, relative to its norm.
    pub relative_change: f64,
}

impl IterationReport {
    /// # Errors
    /// [`ReconstructError::Diverged`] when the residual or the volume is no number any more.
    fn of(
        iteration: usize,
        mean_square: f64,
        estimate: &Estimate,
        before: &Estimate,
    ) -> Result<Self, ReconstructError> {
        let report = Self {
            iteration,
            residual_rms: mean_square.sqrt(),
            relative_change: estimate.relative_change_from(before),
        };
        if report.residual_rms.is_finite() && report.relative_change.is_finite() {
            Ok(report)
        } else {
            Err(ReconstructError::Diverged { iteration })
        }
    }
}

/// One iterative method with its state.
pub trait Algorithm {
    /// The field's name, such as `os-sart`.
    fn name(&self) -> &'static str;

    /// One pass over all views. `go_on` is asked between subsets; once it says no, the pass ends with
    /// [`ReconstructError::Cancelled`] and the algorithm can go on later from where it is.
    ///
    /// # Errors
    /// [`ReconstructError::Cancelled`], or [`ReconstructError::Diverged`].
    fn pass(&mut self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<IterationReport, ReconstructError>;

    /// The volume so far.
    fn estimate(&self) -> &Estimate;
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRule {
    /// At most this many passes.
    pub iterations: usize,
    /// Stop after a pass that changed the volume by less, relative to its norm; zero never does.
    pub relative_change: f64,
    /// Stop once the weighted residual is down to this: the noise of the line integrals (Morozov's principle).
    pub residual_rms: f64,
}

impl StopRule {
    /// Exactly so many passes.
    pub fn after(iterations: usize) -> Self {
        Self { iterations, relative_change: 0.0, residual_rms: 0.0 }
    }

    fn is_met(&self, report: &IterationReport) -> bool {
        report.relative_change < self.relative_change || report.residual_rms <= self.residual_rms
    }
}

/// What the caller of [`iterate`] is told; both may say stop by `false`.
pub trait Watcher {
    /// Between two subsets.
    fn progress(&mut self, _progress: Progress) -> bool {
        true
    }

    /// After each pass, with the volume so far: the place to publish it as the next version.
    fn iterated(&mut self, _report: &IterationReport, _estimate: &Estimate) -> bool {
        true
    }
}

/// Watches nothing.
pub struct Unwatched;

impl Watcher for Unwatched {}

/// Runs passes until the rule or the watcher says stop; gives back what each came to.
///
/// # Errors
/// [`ReconstructError::Cancelled`] when stopped within a pass, or what the algorithm finds.
pub fn iterate(
    algorithm: &mut dyn Algorithm,
    rule: &StopRule,
    watcher: &mut dyn Watcher,
) -> Result<Vec<IterationReport>, ReconstructError> {
    let mut reports = Vec::new();
    for _ in 0..rule.iterations {
        let report = algorithm.pass(&mut |progress| watcher.progress(progress))?;
        reports.push(report);
        if !watcher.iterated(&report, algorithm.estimate()) || rule.is_met(&report) {
            break;
        }
    }
    Ok(reports)
}
