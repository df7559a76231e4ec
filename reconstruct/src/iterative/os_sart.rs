//! Simultaneous algebraic reconstruction by ordered subsets.
//!
//! Andersen and Kak, Ultrason. Imaging 6(1), 1984, for one view at a time; Wang and Jiang, J. X-ray Sci. Technol. 12,
//! 2004, for subsets. Each subset's residuals, divided by their rays' paths, are back-projected and divided by what the
//! subset says of each voxel.

use super::estimate::Estimate;
use super::preconditioner::{RayValue, inverse, paths_mm};
use super::subsets::ordered;
use super::system::System;
use super::{Algorithm, IterationReport, Progress};
use crate::error::ReconstructError;
use rayon::prelude::*;

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OsSartOptions {
    /// Views of a subset.
    pub subset_views: usize,
    /// Share of the correction that is applied, above 0 and below 2.
    pub relaxation: f64,
    /// Factor of the relaxation from one pass to the next.
    pub relaxation_decay: f64,
}

impl Default for OsSartOptions {
    fn default() -> Self {
        Self { subset_views: 10, relaxation: 0.7, relaxation_decay: 0.9 }
    }
}

/// The method with its state.
pub struct OsSart<'s, 'd> {
    system: &'s System<'d>,
    subsets: Vec<Vec<usize>>,
    relaxation: f64,
    decay: f64,
    inverse: Estimate,
    estimate: Estimate,
    correction: Estimate,
    images: Vec<Vec<f32>>,
    iteration: usize,
    total_weight: f64,
}

impl<'s, 'd> OsSart<'s, 'd> {
    /// Starts from `start`: [`System::zero_estimate`] or [`System::estimate_from`].
    ///
    /// # Errors
    /// Options out of range.
    pub fn new(
        system: &'s System<'d>,
        start: Estimate,
        options: OsSartOptions,
    ) -> Result<Self, ReconstructError> {
        let bad = |option, expected: &str, found: f64| ReconstructError::BadOption {
            option,
            expected: expected.into(),
            found: found.to_string(),
        };
        if options.subset_views == 0 {
            return Err(bad("views of a subset", "at least 1", 0.0));
        }
        if !(options.relaxation > 0.0 && options.relaxation < 2.0) {
            return Err(bad("relaxation", "above 0 and below 2", options.relaxation));
        }
        if !(options.relaxation_decay > 0.0 && options.relaxation_decay <= 1.0) {
            return Err(bad("decay of the relaxation", "above 0 up to 1", options.relaxation_decay));
        }
        let subsets = ordered(system.view_count(), system.view_count().div_ceil(options.subset_views));
        let largest = subsets.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Self {
            inverse: inverse(system, RayValue::Weight)?,
            correction: system.zero_estimate(),
            images: vec![vec![0.0; system.region().pixel_count()]; largest],
            subsets,
            relaxation: options.relaxation,
            decay: options.relaxation_decay,
            estimate: start,
            iteration: 0,
            total_weight: system.total_weight(),
            system,
        })
    }

    /// Corrects the estimate by one subset; gives back the sum of weighted squared residuals.
    fn correct(&mut self, subset: &[usize]) -> f64 {
        let system = self.system;
        let mut squares = 0.0;
        for (view, image) in subset.iter().zip(&mut self.images) {
            squares += system.residual(&self.estimate, *view, image);
            system.weigh(*view, image);
            let paths = paths_mm(system, *view, system.region());
            image.par_iter_mut().zip(&paths).with_min_len(1 << 12).for_each(|(own, path)| {
                *own = if *path > 0.0 { *own / path } else { 0.0 };
            });
        }
        self.correction.zero();
        system.add_back(subset, &self.images[..subset.len()], &mut self.correction);
        // The inverse is that of all views; a subset says its share.
        let factor = (self.relaxation * system.view_count() as f64 / subset.len() as f64) as f32;
        let lowest = if system.is_non_negative { 0.0 } else { f32::NEG_INFINITY };
        self.estimate.zip_two(&self.correction, &self.inverse, |value, correction, inverse| {
            *value = (*value + factor * inverse * correction).max(lowest);
        });
        squares
    }
}

impl Algorithm for OsSart<'_, '_> {
    fn name(&self) -> &'static str {
        "os-sart"
    }

    fn pass(&mut self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<IterationReport, ReconstructError> {
        let before = self.estimate.clone();
        let (mut squares, mut views_done) = (0.0, 0);
        for subset in self.subsets.clone() {
            let progress =
                Progress { iteration: self.iteration, views_done, views: self.system.view_count() };
            if !go_on(progress) {
                return Err(ReconstructError::Cancelled);
            }
            squares += self.correct(&subset);
            views_done += subset.len();
        }
        self.iteration += 1;
        self.relaxation *= self.decay;
        IterationReport::of(self.iteration, squares / self.total_weight, &self.estimate, &before)
    }

    fn estimate(&self) -> &Estimate {
        &self.estimate
    }
}
