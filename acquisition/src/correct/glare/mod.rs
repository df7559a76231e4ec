//! Light that spreads in the scintillator and its housing far beyond a pixel: glare, taken out again.
//!
//! Of the light a share `a` spreads with the long-tailed kernel `1/(2π b²) (1 + r²/b²)^-1.5` (the form of Poludniowski et
//! al., Phys. Med. Biol. 56(6), 2011), whose transfer function is `exp(-2π b f)`. So a panel shows
//!
//! ```text
//! y = (1 - a) x + a G x,    x = (y - L y) / (1 - a),    L = a G / (1 - a + a G)
//! ```
//!
//! `L` passes only what is coarser than `b`: the fast twin works it out on an image reduced by a factor at which nothing
//! of it is lost. Beyond its border the image goes on as its border pixels.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use super::Backend;
use crate::error::AcquisitionError;
use carm::DetectorGrid;
use std::f64::consts::PI;

/// How far the image is continued beyond its border, in ranges of the kernel.
const MARGIN_RANGES: f64 = 8.0;

/// Glare of a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlareModel {
    /// Share of the light that spreads, 0 to 0.5.
    pub share: f64,
    /// Its range `b`, mm.
    pub range_mm: f64,
}

impl GlareModel {
    /// Whether it can be.
    ///
    /// # Errors
    /// [`AcquisitionError::CalibrationNumber`] for a model that cannot be.
    pub fn check(&self) -> Result<(), AcquisitionError> {
        let refuse =
            |what, expected, found| Err(AcquisitionError::CalibrationNumber { what, expected, found });
        if !(0.0..=0.5).contains(&self.share) {
            return refuse("share of glare", "0 to 0.5", self.share);
        }
        if !(0.1..=100.0).contains(&self.range_mm) {
            return refuse("range of glare in mm", "0.1 to 100", self.range_mm);
        }
        Ok(())
    }

    /// Transfer function of the spread light at a frequency, 1/mm.
    fn spread(&self, frequency_per_mm: f64) -> f64 {
        (-2.0 * PI * self.range_mm * frequency_per_mm).exp()
    }

    /// By how much white noise grows when glare is taken out, as a factor of its deviation.
    pub fn noise_gain(&self) -> f64 {
        1.0 / (1.0 - self.share)
    }
}

/// Takes glare out of the images of one panel.
#[derive(Clone)]
pub struct Glare {
    model: GlareModel,
    grid: DetectorGrid,
    twin: Twin,
}

#[derive(Clone)]
enum Twin {
    Reference,
    Cpu(Box<cpu::Reduced>),
}

impl std::fmt::Debug for Glare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Glare").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Glare {
    /// For images of a panel.
    ///
    /// # Errors
    /// As [`GlareModel::check`].
    pub fn new(model: GlareModel, grid: &DetectorGrid, backend: Backend) -> Result<Self, AcquisitionError> {
        model.check()?;
        let twin = match backend {
            Backend::Reference => Twin::Reference,
            Backend::Cpu => Twin::Cpu(Box::new(cpu::Reduced::new(model, grid))),
        };
        Ok(Self { model, grid: *grid, twin })
    }

    /// Takes glare out of an image `[v, u]` of linear intensities.
    ///
    /// # Panics
    /// When the image is not of the panel's size.
    pub fn remove(&mut self, intensity: &mut [f32]) {
        assert_eq!(intensity.len(), self.grid.pixel_count(), "one image of this size");
        match &mut self.twin {
            Twin::Reference => reference::remove(&self.model, &self.grid, intensity),
            Twin::Cpu(reduced) => reduced.remove(intensity),
        }
    }

    pub(super) fn model(&self) -> &GlareModel {
        &self.model
    }
}

/// A size of at least so much that transforms like: of factors two, three and five.
fn transform_size(least: usize) -> usize {
    let is_smooth = |size: &usize| {
        let rest = [2, 3, 5].into_iter().fold(*size, |mut rest, factor| {
            while rest.is_multiple_of(factor) {
                rest /= factor;
            }
            rest
        });
        rest == 1
    };
    (least.max(1)..).find(is_smooth).expect("there is always a larger power of two")
}

/// The pixel that place `at` of a line continued beyond both borders shows; the continuation before the first pixel lies
/// at the end, where the transform has it.
fn continued(at: usize, count: usize, padded: usize) -> usize {
    if at < count {
        at
    } else if at - count < (padded - count) / 2 {
        count - 1
    } else {
        0
    }
}
