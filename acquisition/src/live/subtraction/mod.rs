//! Subtraction angiography: what the mask has and the fill has not is contrast medium.
//!
//! Images are logarithms of the intensity. `D = ln mask - ln fill`: vessels are bright. The mask is the mean of several
//! frames before the bolus. It is first laid onto the fill, because patients move: one shift for the whole image, then
//! shifts of blocks that blend into each other ([`register`]). A difference of exposure between both is taken out with
//! it. Peak opacification keeps the most that each pixel ever showed; the roadmap shows that under live fluoroscopy.

mod cpu;
mod field;
mod reference;
pub mod register;
#[cfg(test)]
mod tests;

pub use field::ShiftField;

use super::logarithm::ln;
use crate::correct::{Backend, CorrectedFrame};
use crate::error::AcquisitionError;
use register::Registration;

/// Intensity below which nothing is told apart, gain-corrected counts: the logarithm stops there.
const FLOOR_COUNTS: f32 = 1.0;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubtractionMode {
    /// Mask minus this frame.
    #[default]
    Live,
    /// The most that each pixel has shown since the mask.
    PeakOpacification,
    /// Mask minus this frame, with the peak opacification that was reached when the roadmap began taken off.
    Roadmap,
}

/// Subtracts one stream's frames.
#[derive(Clone, Debug)]
pub struct Subtraction {
    nu: usize,
    nv: usize,
    backend: Backend,
    /// Sum of logarithms of the frames of the mask, and how many.
    mask_sum: Vec<f32>,
    mask_frames: u32,
    mask: Vec<f32>,
    fill: Vec<f32>,
    difference: Vec<f32>,
    peak: Vec<f32>,
    has_peak: bool,
    registration: Registration,
}

impl Subtraction {
    /// For frames of `nu` columns and `nv` rows, which follow the patient where `moves`.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`] for frames too small to be registered: 16 pixels a side.
    pub fn new([nu, nv]: [usize; 2], moves: bool) -> Result<Self, AcquisitionError> {
        Self::with_backend([nu, nv], moves, Backend::Cpu)
    }

    /// As [`Subtraction::new`], with a chosen implementation.
    ///
    /// # Errors
    /// As [`Subtraction::new`].
    pub fn with_backend(
        [nu, nv]: [usize; 2],
        moves: bool,
        backend: Backend,
    ) -> Result<Self, AcquisitionError> {
        const SMALLEST: usize = 16;
        if nu < SMALLEST || nv < SMALLEST {
            return Err(AcquisitionError::FrameSize { expected: SMALLEST * SMALLEST, found: nu * nv });
        }
        let image = || vec![0.0; nu * nv];
        Ok(Self {
            nu,
            nv,
            backend,
            mask_sum: image(),
            mask_frames: 0,
            mask: image(),
            fill: image(),
            difference: image(),
            peak: image(),
            has_peak: false,
            registration: Registration::new([nu, nv], moves, backend),
        })
    }

    /// Begins a new mask; frames are added by [`Subtraction::add_mask`]. This is also remasking.
    pub fn begin_mask(&mut self) {
        self.mask_sum.fill(0.0);
        self.mask_frames = 0;
        self.has_peak = false;
        self.registration.forget();
    }

    /// Frames in the mask.
    pub fn mask_frames(&self) -> u32 {
        self.mask_frames
    }

    /// Takes a frame before the bolus into the mask.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`].
    pub fn add_mask(&mut self, frame: &CorrectedFrame) -> Result<(), AcquisitionError> {
        self.take(frame)?;
        self.mask_sum.iter_mut().zip(&self.fill).for_each(|(sum, log)| *sum += log);
        self.mask_frames += 1;
        let share = 1.0 / self.mask_frames as f32;
        self.mask.iter_mut().zip(&self.mask_sum).for_each(|(mean, sum)| *mean = share * sum);
        self.registration.set_mask(&self.mask);
        Ok(())
    }

    /// Subtracts a frame: attenuation by contrast medium as line integrals `[v, u]`, dimensionless, about zero elsewhere.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]; [`AcquisitionError::NoMask`] before the first mask frame.
    pub fn subtract(
        &mut self,
        frame: &CorrectedFrame,
        mode: SubtractionMode,
    ) -> Result<&[f32], AcquisitionError> {
        if self.mask_frames == 0 {
            return Err(AcquisitionError::NoMask { sequence: frame.header.sequence });
        }
        self.take(frame)?;
        let field = self.registration.register(&self.mask, &self.fill);
        match self.backend {
            Backend::Reference => {
                reference::subtract(self.nu, &self.mask, &self.fill, field, &mut self.difference)
            }
            Backend::Cpu => cpu::subtract(self.nu, &self.mask, &self.fill, field, &mut self.difference),
        }
        match mode {
            SubtractionMode::Live => {
                self.follow_peak();
                Ok(&self.difference)
            }
            SubtractionMode::PeakOpacification => {
                self.follow_peak();
                Ok(&self.peak)
            }
            SubtractionMode::Roadmap => {
                if !self.has_peak {
                    self.follow_peak();
                }
                self.difference
                    .iter_mut()
                    .zip(&self.peak)
                    .for_each(|(shown, vessel)| *shown -= vessel.max(0.0));
                Ok(&self.difference)
            }
        }
    }

    /// Where the mask was laid for the last frame.
    pub fn shifts(&self) -> &ShiftField {
        self.registration.field()
    }

    fn follow_peak(&mut self) {
        if self.has_peak {
            self.peak.iter_mut().zip(&self.difference).for_each(|(most, now)| *most = most.max(*now));
        } else {
            self.peak.copy_from_slice(&self.difference);
            self.has_peak = true;
        }
    }

    fn take(&mut self, frame: &CorrectedFrame) -> Result<(), AcquisitionError> {
        let (expected, found) = (self.nu * self.nv, frame.intensity.len());
        if expected != found {
            return Err(AcquisitionError::FrameSize { expected, found });
        }
        let air = if frame.air_intensity > 0.0 { frame.air_intensity.ln() } else { 0.0 };
        for (log, intensity) in self.fill.iter_mut().zip(&frame.intensity) {
            *log = ln(intensity.max(FLOOR_COUNTS)) - air;
        }
        Ok(())
    }
}
