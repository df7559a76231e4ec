//! Weighted least squares with total variation, by ordered subsets with momentum.
//!
//! Minimises `½ Σ w (p - A x)² + β TV(x)`, `x ≥ 0`: FISTA (Beck and Teboulle, SIAM J. Imaging Sci. 2(1), 2009) with a
//! diagonal metric `D = Aᵀ(w A 1)`, which majorises the data term, and the gradient of one subset standing for that of
//! all (Kim, Ramani and Fessler, IEEE Trans. Med. Imaging 34(1), 2015). Momentum starts anew whenever a pass leaves a
//! larger residual than the one before. Noise in the start goes away slowly: [`super::smooth_start`].

use super::estimate::Estimate;
use super::preconditioner::{RayValue, inverse, middle_value, sum_of_weights};
use super::subsets::ordered;
use super::system::System;
use super::total_variation::{Smoothing, TotalVariation};
use super::{Algorithm, IterationReport, Progress};
use crate::error::ReconstructError;
use crate::project::ColumnVolume;
use rayon::prelude::*;

/// The metric of smoothing stays below this many times its middle value, where little is known of a voxel.
const MAX_METRIC: f32 = 4.0;

/// Sum of squared weights over the sum of weights, in voxels, of the rays that sample a voxel: that of a bilinear tent,
/// two thirds along each direction.
const TENT_SQUARED: f64 = 4.0 / 9.0;
/// Subsets at the least where views are few, and views of a subset.
const SUBSETS: usize = 8;
const FEWEST_VIEWS: usize = 8;
const MOST_VIEWS: usize = 20;
/// A voxel's noise counts as at most this many times that in the middle of all, and at least as its inverse.
const MAX_NOISE_RATIO: f32 = 4.0;
/// Smoothing in standard deviations of the gradient's noise: few voxels have more.
const NOISE_FACTOR: f64 = 3.0;

/// Standard deviation of `Aᵀ w noise` in a voxel whose sum of weights is `sum_mm`, mm: `air_variance Σ w a²` for rays that
/// sample it with the weights `a`.
pub(super) fn gradient_noise(system: &System<'_>, sum_mm: f32, air_variance: f64) -> f64 {
    let spacing_mm = system.grid().spacing_mm;
    let voxel_mm = (spacing_mm[0] * spacing_mm[1] * spacing_mm[2]).cbrt();
    (air_variance * TENT_SQUARED * voxel_mm * f64::from(sum_mm)).sqrt()
}

/// The gradient's noise in the middle of all voxels, mm, and each voxel's over that.
fn noise_by_voxel(system: &System<'_>, air_variance: f64) -> Result<(f64, ColumnVolume), ReconstructError> {
    let mut ratios = sum_of_weights(system)?;
    let middle = middle_value(&ratios.values);
    ratios.values.par_iter_mut().for_each(|sum| {
        *sum = (*sum / middle).sqrt().clamp(1.0 / MAX_NOISE_RATIO, MAX_NOISE_RATIO);
    });
    Ok((gradient_noise(system, middle, air_variance), ratios))
}

/// How much is smoothed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strength {
    /// So much, 1/mm: about the contrast that noise may have and still be taken away. 2e-5 is 1 HU.
    PerMm(f64),
    /// As the noise of the views asks for. At the true volume the gradient of the data term is nothing but noise; total
    /// variation takes away what its own gradient can balance, so its strength is a fixed number of standard deviations
    /// of that noise, voxel by voxel (as Fessler and Rogers, IEEE Trans. Image Process. 5(9), 1996, weigh a quadratic one).
    ForNoise {
        /// Variance of an unattenuated line integral, to which the system's weights are relative.
        air_variance: f64,
        /// At least so much, 1/mm.
        least_per_mm: f64,
    },
}

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FistaTvOptions {
    /// Views of a subset.
    pub subset_views: usize,
    /// How much is smoothed.
    pub smoothing: Strength,
    /// Dual steps of smoothing after each subset.
    pub smoothing_steps: usize,
    /// Share of the full step, up to 1; smaller steps forgive subsets that differ much.
    pub step: f64,
}

impl FistaTvOptions {
    /// What suits a scan of so many views: several subsets, for each brings the volume on as far as all views would, but none
    /// of so few directions that momentum drives them apart.
    pub fn for_views(views: usize) -> Self {
        Self { subset_views: (views / SUBSETS).clamp(FEWEST_VIEWS, MOST_VIEWS), ..Self::default() }
    }
}

impl Default for FistaTvOptions {
    fn default() -> Self {
        Self { subset_views: MOST_VIEWS, smoothing: Strength::PerMm(1e-4), smoothing_steps: 4, step: 1.0 }
    }
}

/// The method with its state.
pub struct FistaTv<'s, 'd> {
    system: &'s System<'d>,
    options: FistaTvOptions,
    smoothing_per_mm: f64,
    /// Each voxel's noise of the gradient over that in the middle of all, where smoothing goes by it.
    noise: Option<ColumnVolume>,
    subsets: Vec<Vec<usize>>,
    inverse: Estimate,
    /// The inverse relative to its middle value.
    metric: Estimate,
    metric_max: f32,
    variation: TotalVariation,
    estimate: Estimate,
    /// The estimate with momentum.
    ahead: Estimate,
    scratch: Estimate,
    momentum: f64,
    last_residual: f64,
    images: Vec<Vec<f32>>,
    iteration: usize,
    total_weight: f64,
}

impl<'s, 'd> FistaTv<'s, 'd> {
    /// Starts from `start`.
    ///
    /// # Errors
    /// Options out of range.
    pub fn new(
        system: &'s System<'d>,
        start: Estimate,
        options: FistaTvOptions,
    ) -> Result<Self, ReconstructError> {
        check(&options)?;
        let subsets = ordered(system.view_count(), system.view_count().div_ceil(options.subset_views));
        let largest = subsets.iter().map(Vec::len).max().unwrap_or(0);
        let inverse = inverse(system, RayValue::WeightTimesPath)?;
        let middle = middle_value(&inverse.fields[0].values);
        let (smoothing_per_mm, noise) = match options.smoothing {
            Strength::PerMm(smoothing) => (smoothing, None),
            Strength::ForNoise { air_variance, least_per_mm } => {
                let (noise, ratios) = noise_by_voxel(system, air_variance)?;
                ((NOISE_FACTOR * noise * f64::from(middle)).max(least_per_mm), Some(ratios))
            }
        };
        let mut metric = inverse.clone();
        metric.zip(&inverse, |own, inverse| *own = (inverse / middle).min(MAX_METRIC));
        let metric_max = metric.fields[0].values.iter().copied().fold(0.0, f32::max);
        Ok(Self {
            variation: TotalVariation::new(system.projectors()[0].column_grid()),
            ahead: start.clone(),
            scratch: system.zero_estimate(),
            estimate: start,
            inverse,
            metric,
            metric_max,
            momentum: 1.0,
            last_residual: f64::INFINITY,
            images: vec![vec![0.0; system.region().pixel_count()]; largest],
            subsets,
            options,
            smoothing_per_mm,
            noise,
            iteration: 0,
            total_weight: system.total_weight(),
            system,
        })
    }

    /// How much is smoothed, 1/mm.
    pub fn smoothing_per_mm(&self) -> f64 {
        self.smoothing_per_mm
    }

    fn correct(&mut self, subset: &[usize]) -> f64 {
        let system = self.system;
        let mut squares = 0.0;
        for (view, image) in subset.iter().zip(&mut self.images) {
            squares += system.residual(&self.ahead, *view, image);
            system.weigh(*view, image);
        }
        self.scratch.zero();
        system.add_back(subset, &self.images[..subset.len()], &mut self.scratch);
        // From here on `scratch` is the point that is smoothed.
        let factor = (self.options.step * system.view_count() as f64 / subset.len() as f64) as f32;
        self.scratch.zip_two(&self.ahead, &self.inverse, |value, ahead, inverse| {
            *value = ahead + factor * inverse * *value;
        });
        let next = (1.0 + (1.0 + 4.0 * self.momentum * self.momentum).sqrt()) / 2.0;
        let push = ((self.momentum - 1.0) / next) as f32;
        self.momentum = next;
        let lowest = if system.is_non_negative { 0.0 } else { f32::NEG_INFINITY };
        // `ahead` takes the smoothed point, then becomes that plus momentum while the estimate becomes the point.
        let smoothing = Smoothing {
            strength: (self.smoothing_per_mm * self.options.step) as f32,
            metric: &self.metric.fields[0],
            metric_max: self.metric_max,
            lowest,
            steps: self.options.smoothing_steps,
            weights: self.noise.as_ref(),
        };
        self.variation.smooth(&self.scratch.fields[0], &smoothing, &mut self.ahead.fields[0]);
        if let ([_, around], [_, ahead]) = (&self.scratch.fields[..], &mut self.ahead.fields[..]) {
            ahead.values.copy_from_slice(&around.values);
        }
        self.scratch.zip_two(&self.ahead, &self.estimate, |value, point, before| {
            let point = point.max(lowest);
            *value = point + push * (point - before);
        });
        self.estimate.zip(&self.ahead, |own, point| *own = point.max(lowest));
        std::mem::swap(&mut self.ahead, &mut self.scratch);
        squares
    }
}

fn check(options: &FistaTvOptions) -> Result<(), ReconstructError> {
    let bad = |option, expected: &str, found: f64| {
        Err(ReconstructError::BadOption { option, expected: expected.into(), found: found.to_string() })
    };
    if options.subset_views == 0 {
        return bad("views of a subset", "at least 1", 0.0);
    }
    let of_smoothing = match options.smoothing {
        Strength::PerMm(smoothing) => vec![smoothing],
        Strength::ForNoise { air_variance, least_per_mm } => vec![air_variance, least_per_mm],
    };
    for found in of_smoothing {
        if !(found >= 0.0 && found.is_finite()) {
            return bad("smoothing", "at least 0 per mm", found);
        }
    }
    if !(options.step > 0.0 && options.step <= 1.0) {
        return bad("step", "above 0 up to 1", options.step);
    }
    Ok(())
}

impl Algorithm for FistaTv<'_, '_> {
    fn name(&self) -> &'static str {
        "fista-tv"
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
        if squares > self.last_residual {
            self.momentum = 1.0;
            self.ahead.zip(&self.estimate, |ahead, own| *ahead = own);
        }
        self.last_residual = squares;
        IterationReport::of(self.iteration, squares / self.total_weight, &self.estimate, &before)
    }

    fn estimate(&self) -> &Estimate {
        &self.estimate
    }
}
