//! Temporal noise reduction that lets go where something moves.
//!
//! A pixel moves towards the new frame by a share `k` of the difference `d = x - y`: by [`STILL`] where the differences
//! around it are what noise explains, at once where they are not. The measure is `d² / σ²`, with the variance that the
//! detector's model states for that intensity, averaged over 3 x 3 pixels with binomial weights: single noisy pixels do
//! not open the filter, a wire one pixel wide does. Noise in a still region falls to `sqrt(k / (2 - k))` of one frame's.
//!
//! When the exposure changes, the memory is scaled by the unattenuated intensity, so that a step of the automatic
//! exposure does not look like motion.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::correct::{Backend, CorrectedFrame};

/// Share of a new frame in a still region: noise falls to a third.
pub const STILL: f32 = 0.2;
/// Mean `d² / σ²` up to which a region counts as still: noise alone gives 1.1 on average.
const STILL_BELOW: f32 = 2.2;
/// Mean `d² / σ²` from which on the new frame is taken as it is.
const MOVED_ABOVE: f32 = 5.0;
/// Variance of rounding to whole counts: no frame is quieter.
const ROUNDING_VARIANCE: f32 = 1.0 / 12.0;

/// The memory of one stream.
#[derive(Clone, Debug)]
pub struct RecursiveFilter {
    backend: Backend,
    nu: usize,
    /// The image so far, gain-corrected counts; empty before the first frame.
    memory: Vec<f32>,
    /// Unattenuated intensity of the memory.
    air_intensity: f32,
    has_memory: bool,
    rows: cpu::Rows,
}

impl RecursiveFilter {
    /// For images of `nu` columns and `nv` rows.
    pub fn new(nu: usize, nv: usize) -> Self {
        Self::with_backend(nu, nv, Backend::Cpu)
    }

    /// As [`RecursiveFilter::new`], with a chosen implementation.
    pub fn with_backend(nu: usize, nv: usize, backend: Backend) -> Self {
        Self {
            backend,
            nu,
            memory: vec![0.0; nu * nv],
            air_intensity: 0.0,
            has_memory: false,
            rows: cpu::Rows::new(nu, nv),
        }
    }

    /// Starts anew with the next frame.
    pub fn forget(&mut self) {
        self.has_memory = false;
    }

    /// Whether it has seen a frame.
    pub fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// The image so far, gain-corrected counts `[v, u]`.
    pub fn memory(&self) -> &[f32] {
        &self.memory
    }

    /// Replaces a frame's intensities by the filtered ones.
    ///
    /// # Panics
    /// When the frame is not of this filter's size.
    pub fn filter(&mut self, frame: &mut CorrectedFrame) {
        assert_eq!(frame.intensity.len(), self.memory.len(), "one frame of this filter's size");
        if !self.has_memory {
            self.memory.copy_from_slice(&frame.intensity);
            self.air_intensity = frame.air_intensity;
            self.has_memory = true;
            return;
        }
        let is_lit = frame.air_intensity > 0.0 && self.air_intensity > 0.0;
        let scale = if is_lit { frame.air_intensity / self.air_intensity } else { 1.0 };
        self.air_intensity = frame.air_intensity;
        match self.backend {
            Backend::Reference => reference::filter(self, scale, frame),
            Backend::Cpu => cpu::filter(&mut self.rows, &mut self.memory, scale, frame),
        }
    }
}
