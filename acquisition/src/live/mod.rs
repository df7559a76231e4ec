//! From raw counts to the image on the screen: correction, temporal noise reduction, automatic window.
//!
//! Every stage can be switched at run time, and the frame says which ones made it ([`LiveNote`]). What comes out are
//! 16-bit counts on the scale of the gain-corrected intensity, so that a client may choose a window of its own.

pub mod recursive;
pub mod subtraction;
pub mod window;

use crate::correct::{CorrectedFrame, Corrector};
use crate::error::AcquisitionError;
use crate::ring::FrameNote;
use carm::{FrameHeader, RunDescription};
use recursive::RecursiveFilter;
use window::AutoWindow;
pub use window::Window;

/// Stages of the live image that can be on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveStages {
    /// Offset, gain, defects and, where the run knows it of its panel, lag. Off where the device brings no maps.
    pub correction: bool,
    /// The motion-adaptive recursive filter. Needs the noise model that the maps bring.
    pub noise_reduction: bool,
    /// The window follows the image; off, it stays as it is.
    pub automatic_window: bool,
}

impl LiveStages {
    /// All on.
    pub const ALL: Self = Self { correction: true, noise_reduction: true, automatic_window: true };

    /// One bit each, lowest first in the order of the fields.
    pub fn bits(self) -> u8 {
        u8::from(self.correction) | u8::from(self.noise_reduction) << 1 | u8::from(self.automatic_window) << 2
    }

    /// From [`LiveStages::bits`]; further bits are ignored.
    pub fn from_bits(bits: u8) -> Self {
        Self { correction: bits & 1 != 0, noise_reduction: bits & 2 != 0, automatic_window: bits & 4 != 0 }
    }
}

/// What travels with each live image, as the ring's note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveNote {
    /// The window to show it with.
    pub window: Window,
    /// Stages that made it.
    pub stages: LiveStages,
    /// Host's monotonic clock when it was finished, ns.
    pub finished_ns: u64,
    /// Frames passed over since the image before.
    pub skipped: u64,
}

impl LiveNote {
    /// Word 0: window low (bits 0 to 15), high (16 to 31), stages (32 to 39); word 1: finished, ns; word 2: skipped.
    pub fn to_words(&self) -> FrameNote {
        let window = u64::from(self.window.low) | u64::from(self.window.high) << 16;
        [window | u64::from(self.stages.bits()) << 32, self.finished_ns, self.skipped, 0]
    }

    /// Back from [`LiveNote::to_words`].
    pub fn from_words(words: &FrameNote) -> Self {
        Self {
            window: Window { low: words[0] as u16, high: (words[0] >> 16) as u16 },
            stages: LiveStages::from_bits((words[0] >> 32) as u8),
            finished_ns: words[1],
            skipped: words[2],
        }
    }
}

/// Makes the live images of one device.
#[derive(Clone, Debug)]
pub struct LiveChain {
    corrector: Option<Corrector>,
    filter: RecursiveFilter,
    window: AutoWindow,
    corrected: CorrectedFrame,
}

impl LiveChain {
    /// For the frames of a run; without maps it shows raw counts.
    ///
    /// # Errors
    /// Maps that are unusable.
    pub fn new(description: &RunDescription) -> Result<Self, AcquisitionError> {
        let grid = &description.detector;
        Ok(Self {
            corrector: Corrector::for_run(description)?,
            filter: RecursiveFilter::new(grid.nu, grid.nv),
            window: AutoWindow::new(grid.nu, grid.nv),
            corrected: CorrectedFrame {
                intensity: vec![0.0; grid.pixel_count()],
                ..CorrectedFrame::default()
            },
        })
    }

    /// Makes the image of one frame into `image`; gives its window and the stages that really ran.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]; what the corrector finds.
    pub fn show(
        &mut self,
        header: &FrameHeader,
        raw_counts: &[u16],
        asked: LiveStages,
        image: &mut [u16],
    ) -> Result<(Window, LiveStages), AcquisitionError> {
        let expected = self.corrected.intensity.len();
        for found in [raw_counts.len(), image.len()] {
            if found != expected {
                return Err(AcquisitionError::FrameSize { expected, found });
            }
        }
        let mut ran = LiveStages { correction: false, noise_reduction: false, ..asked };
        match self.corrector.as_mut().filter(|_| asked.correction) {
            Some(corrector) => {
                corrector.correct(header, raw_counts, &mut self.corrected)?;
                ran.correction = true;
            }
            None => {
                let counts = raw_counts.iter().map(|&count| f32::from(count));
                self.corrected.intensity.iter_mut().zip(counts).for_each(|(place, count)| *place = count);
            }
        }
        // Only corrected intensities have the noise that the model states.
        if ran.correction && asked.noise_reduction {
            self.filter.filter(&mut self.corrected);
            ran.noise_reduction = true;
        } else {
            self.filter.forget();
        }
        if asked.automatic_window {
            self.window.follow(&self.corrected.intensity);
        }
        for (place, intensity) in image.iter_mut().zip(&self.corrected.intensity) {
            // Saturates at both ends; NaN, which no correction gives, would be zero.
            *place = (intensity + 0.5) as u16;
        }
        Ok((self.window.window(), ran))
    }
}

#[cfg(test)]
mod tests;
