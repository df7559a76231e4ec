//! The standard deviation of every voxel of a filtered back-projection, foretold from the noise of the detector.
//!
//! A voxel is a weighted sum of filtered samples, and views are independent, so its variance is the sum of squared weights
//! times the variance of each sample: `Var f(X) = Σ J_i² f_u,i² w_i(X)⁻⁴ Var q_i(u, v)`. The variance of a filtered sample
//! follows from the variance of the line integrals beside it and from how noise is alike from pixel to pixel: the detector's
//! blur ([`NoiseCorrelation`]), the cubic resampling onto the virtual detector, and the ramp with its roll-off
//! (`covariance.rs`). A voxel reads between four samples, whose covariances count by exactly the fractions that it reads
//! with.
//!
//! Taken as even over the few pixels that blur and resampling reach: the fraction of the resampling, and the detector's
//! variance across rows. Along rows, the variance itself is averaged with the squared ramp kernel. Left out: the noise of
//! what continues truncated rows, which only matters within a few columns of the detector's edge, and the second version's
//! corrections.
//!
//! Method: variance back-projection as Wunderlich and Noo, Phys. Med. Biol. 53, 2008, for weights and interpolation of our
//! own chain.

mod columns;
mod correlation;
mod covariance;
mod reference;
#[cfg(test)]
mod tests;
mod view_variance;

use crate::backproject::ColumnLayout;
use crate::error::ReconstructError;
use crate::plan::FdkPlan;
use crate::second_pass::missing::OnArc;
use carm::{ProjectionMatrix, Quantity, Stage, Volume};
use covariance::LagCovariances;
use ndarray::ArrayView3;
use view_variance::{VarianceMaker, ViewVariance};

pub use correlation::NoiseCorrelation;

/// Views whose variances are back-projected together.
const BLOCK_VIEWS: usize = 8;

/// What is known of a detector's noise.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorNoise {
    /// Quanta that a pixel absorbs of the unattenuated beam.
    pub photons: f64,
    /// Standard deviation of the electronic noise, in quanta. It is independent from pixel to pixel.
    pub electronic_photons: f64,
    /// How the light of a quantum spreads over pixels.
    pub correlation: NoiseCorrelation,
    /// Water precorrection that the line integrals went through, as in [`crate::FdkOptions`]; `[1.0]` for none.
    pub water_precorrection: Vec<f64>,
}

impl DetectorNoise {
    /// Quanta alone, independent from pixel to pixel.
    pub fn white(photons: f64) -> Self {
        Self {
            photons,
            electronic_photons: 0.0,
            correlation: NoiseCorrelation::white(),
            water_precorrection: vec![1.0],
        }
    }

    fn check(&self) -> Result<(), ReconstructError> {
        let refuse = |option, expected: &str, found: f64| {
            Err(ReconstructError::BadOption { option, expected: expected.into(), found: found.to_string() })
        };
        if !(self.photons.is_finite() && self.photons > 0.0) {
            return refuse("photons", "a positive number of quanta per pixel in air", self.photons);
        }
        if !(self.electronic_photons.is_finite() && self.electronic_photons >= 0.0) {
            return refuse("electronic noise", "quanta from zero on", self.electronic_photons);
        }
        Ok(())
    }
}

/// Who sums up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoiseBackend {
    /// The equation voxel by voxel in `f64`.
    Reference,
    /// What a column of voxels shares is found once. Oblique volumes go voxel by voxel all the same.
    #[default]
    Columns,
}

/// The standard deviation of each voxel in 1/mm, for the views of `plan` in order.
///
/// `line_integrals`: `[view, v, u]` as measured, rows not averaged; their own noise hardly matters. `progress` hears how
/// many views of how many are done, and stops the work by `false`. Voxels that no view sees have none: zero.
///
/// Runs on the current rayon pool; the result does not depend on its size.
///
/// # Errors
/// A stack that is not the plan's, samples that are not numbers, a noise model out of range, and
/// [`ReconstructError::Cancelled`].
pub fn noise_standard_deviation(
    plan: &FdkPlan,
    line_integrals: ArrayView3<'_, f32>,
    noise: &DetectorNoise,
    backend: NoiseBackend,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Volume, ReconstructError> {
    noise.check()?;
    let detector = plan.given_scan.detector();
    let matrices = plan.given_scan.views();
    let expected = [matrices.len(), detector.nv, detector.nu];
    let found = [line_integrals.shape()[0], line_integrals.shape()[1], line_integrals.shape()[2]];
    let Some(samples) = line_integrals.as_slice().filter(|_| found == expected) else {
        return Err(ReconstructError::StackShape { expected, found });
    };
    let lags = LagCovariances::new(&plan.ramp, &noise.correlation, plan.options.rows_averaged);
    let mut maker = VarianceMaker::new(plan, noise, lags);
    let scales = arc_scales(plan, matrices);
    let [slow_count, fast_count] = plan.layout.column_counts();
    let mut sum = vec![0.0_f32; slow_count * fast_count * stride(&plan.layout)];
    let mut block: Vec<ViewVariance> = Vec::with_capacity(BLOCK_VIEWS);
    let views = matrices.iter().zip(samples.chunks_exact(detector.pixel_count()));
    for (index, ((matrix, samples), scale)) in views.zip(scales).enumerate() {
        if let Some(pixel) = samples.iter().position(|sample| !sample.is_finite()) {
            let (u, v) = (pixel % detector.nu, pixel / detector.nu);
            return Err(ReconstructError::NotFinite { view: index, found: samples[pixel], u, v });
        }
        block.push(maker.view(plan, matrix, samples, scale));
        if block.len() == BLOCK_VIEWS || index + 1 == matrices.len() {
            match backend {
                NoiseBackend::Columns if plan.has_parallel_columns => {
                    columns::add(&plan.layout, &block, &mut sum);
                }
                _ => reference::add(&plan.layout, &block, &mut sum),
            }
            block.clear();
        }
        if !progress(index + 1, matrices.len()) {
            return Err(ReconstructError::Cancelled);
        }
    }
    let values = plan.layout.volume_from_columns(&sum).mapv(f32::sqrt);
    let mut volume = Volume::new(*plan.grid(), values, Quantity::MuPerMm);
    volume.provenance.backend = "cpu".into();
    volume.provenance.stages.push(stage(plan, noise));
    Ok(volume)
}

/// Floats from one column of the sum to the next.
fn stride(layout: &ColumnLayout) -> usize {
    layout.stride()
}

/// Arc element times focal length of every view, as [`crate::Fdk`] gives them to views that all come.
fn arc_scales(plan: &FdkPlan, matrices: &[ProjectionMatrix]) -> Vec<f64> {
    let mut angle_rad = 0.0;
    let places: Vec<OnArc> = matrices
        .iter()
        .map(|matrix| {
            let view = plan.virtual_view(matrix);
            angle_rad = plan.orbit.angle_near(&view.source, angle_rad);
            OnArc::of(&view, angle_rad)
        })
        .collect();
    places
        .iter()
        .enumerate()
        .map(|(index, place)| {
            let before = index.checked_sub(1).map(|index| place.way_to_mm(&places[index]));
            let after = places.get(index + 1).map(|next| place.way_to_mm(next));
            let ways = [before.or(after), after.or(before)].map(|way| way.expect("a plan has three views"));
            (ways[0] + ways[1]) / 2.0 * place.focal_u_px
        })
        .collect()
}

fn stage(plan: &FdkPlan, noise: &DetectorNoise) -> Stage {
    let parameters = [
        ("quantity", "standard deviation".to_string()),
        ("photons", noise.photons.to_string()),
        ("electronic_photons", noise.electronic_photons.to_string()),
        ("blurred_variance_share", noise.correlation.variance_gain().to_string()),
        ("filter", plan.options.apodisation.to_string()),
        ("rows_averaged", plan.options.rows_averaged.to_string()),
        ("redundancy", plan.redundancy.name().to_string()),
    ];
    Stage {
        name: "noise-map".into(),
        parameters: parameters.map(|(key, value)| (key.to_string(), value)).into(),
        seconds: 0.0,
    }
}

/// Turns standard deviations of attenuation into those of Hounsfield units: a factor, no offset.
///
/// # Panics
/// When the volume does not hold attenuation: a bug of the caller.
pub fn noise_to_hu(volume: &mut Volume, mu_water_per_mm: f64) {
    assert_eq!(volume.quantity, Quantity::MuPerMm, "Hounsfield units are made of attenuation");
    let scale = (1000.0 / mu_water_per_mm) as f32;
    volume.values.mapv_inplace(|sd| sd * scale);
    volume.quantity = Quantity::Hu { mu_water_per_mm: Some(mu_water_per_mm) };
}
