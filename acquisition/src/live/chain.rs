//! The stages in their order, and what each needs of the others.

use super::LiveStages;
use super::enhance::{Enhancement, Values};
use super::logarithm::exp;
use super::recursive::RecursiveFilter;
use super::subtraction::{Subtraction, SubtractionMode};
use super::window::{AutoWindow, Window};
use crate::bands::{BAND_PIXELS, share};
use crate::correct::late::LateDefects;
use crate::correct::{CorrectedFrame, Corrector};
use crate::error::AcquisitionError;
use carm::{FrameHeader, GantryPose, PixelDefect, RunDescription};
use multiversion::multiversion;

/// Counts of a subtracted image where mask and frame are equal.
pub const SUBTRACTED_COUNTS: f32 = 16_384.0;
/// A window on differences of logarithms is at least so wide below and above zero: noise alone is not stretched to the ends.
const DARKEST_FAINT: f32 = 0.12;
const BRIGHTEST_FAINT: f32 = 0.06;
/// A gantry that has turned by more than this shows another view: the mask is of no use any more.
const TURNED_RAD: f64 = 0.01;

/// How the stages of a stream work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSettings {
    /// Frames that a mask is the mean of.
    pub mask_frames: u8,
    /// Whether the mask is laid onto each frame, or stays where it is.
    pub shifts_mask: bool,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self { mask_frames: 4, shifts_mask: true }
    }
}

/// How an image came about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// The window to show it with.
    pub window: Window,
    /// Stages that really ran.
    pub stages: LiveStages,
    /// Frames that the mask is made of so far; zero without one.
    pub mask_frames: u8,
    /// How far the mask was shifted at most, pixels.
    pub mask_shift_px: f32,
}

/// Makes the live images of one device. On a rayon pool its threads share the bands of an image; the image is the same.
#[derive(Clone, Debug)]
pub struct LiveChain {
    settings: LiveSettings,
    corrector: Option<Corrector>,
    late: LateDefects,
    late_defects: Vec<PixelDefect>,
    filter: RecursiveFilter,
    /// None where frames are too small to be registered.
    subtraction: Option<Subtraction>,
    mask_pose: GantryPose,
    enhancement: Enhancement,
    window: AutoWindow,
    difference_window: AutoWindow,
    corrected: CorrectedFrame,
    /// Intensities of this frame alone, while the filter runs on the side for the image that will be held.
    unfiltered: Vec<f32>,
    /// What is shown where stages beyond the filter made it.
    shown: Vec<f32>,
    /// Stages and window of the last image.
    last: Option<(LiveStages, Window)>,
}

impl LiveChain {
    /// For the frames of a run; without maps it shows raw counts.
    ///
    /// # Errors
    /// Maps that are unusable.
    pub fn new(description: &RunDescription, settings: LiveSettings) -> Result<Self, AcquisitionError> {
        let grid = &description.detector;
        let [nu, nv] = [grid.nu, grid.nv];
        let image = || vec![0.0; grid.pixel_count()];
        Ok(Self {
            settings,
            corrector: Corrector::for_run(description)?,
            late: LateDefects::new(nu, nv),
            late_defects: Vec::new(),
            filter: RecursiveFilter::new(nu, nv),
            subtraction: Subtraction::new([nu, nv], settings.shifts_mask).ok(),
            mask_pose: GantryPose::default(),
            enhancement: Enhancement::new(nu, nv),
            window: AutoWindow::new(nu, nv),
            difference_window: AutoWindow::new(nu, nv),
            corrected: CorrectedFrame { intensity: image(), ..CorrectedFrame::default() },
            unfiltered: image(),
            shown: image(),
            last: None,
        })
    }

    /// Takes the next frames as a new mask.
    pub fn remask(&mut self) {
        if let Some(subtraction) = &mut self.subtraction {
            subtraction.begin_mask();
        }
    }

    /// Pixels that turned out to be defect since calibration; they are filled from their neighbours.
    pub fn late_defects(&self) -> &[PixelDefect] {
        &self.late_defects
    }

    /// Makes the image of one frame into `image`.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]; what the corrector finds.
    pub fn show(
        &mut self,
        header: &FrameHeader,
        raw_counts: &[u16],
        asked: LiveStages,
        image: &mut [u16],
    ) -> Result<Shown, AcquisitionError> {
        let expected = self.shown.len();
        for found in [raw_counts.len(), image.len()] {
            if found != expected {
                return Err(AcquisitionError::FrameSize { expected, found });
            }
        }
        let mut ran = LiveStages { automatic_window: asked.automatic_window, ..LiveStages::NONE };
        ran.correction = self.correct(header, raw_counts, asked)?;
        // Only corrected intensities have the noise that the model states.
        if ran.correction {
            ran.noise_reduction = self.reduce_noise(asked);
            let difference = self.subtract(asked)?;
            (ran.subtraction, ran.peak_opacification, ran.roadmap) = match difference {
                None => (false, false, false),
                Some(mode) => (
                    mode == SubtractionMode::Live,
                    mode == SubtractionMode::PeakOpacification,
                    mode == SubtractionMode::Roadmap,
                ),
            };
            if asked.enhancement {
                let values = if ran.subtracts() { Values::Difference } else { Values::Counts };
                if !ran.subtracts() {
                    self.shown.copy_from_slice(&self.corrected.intensity);
                }
                self.enhancement.enhance(&mut self.shown, values);
                ran.enhancement = true;
            }
        } else {
            self.filter.forget();
        }
        Ok(self.finish(ran, image))
    }

    /// Makes the image that stays while X-rays are off: what the filter has gathered of the latest frames, where the last
    /// image was of one frame alone. None where the last image is already the best there is.
    pub fn hold(&mut self, asked: LiveStages, image: &mut [u16]) -> Option<Shown> {
        let (mut stages, window) = self.last.take()?;
        let is_gathered = asked.last_image_hold && stages.correction && self.filter.has_memory();
        if !is_gathered || stages.noise_reduction || stages.subtracts() || image.len() != self.shown.len() {
            return None;
        }
        self.shown.copy_from_slice(self.filter.memory());
        if stages.enhancement {
            self.enhancement.enhance(&mut self.shown, Values::Counts);
        }
        (stages.last_image_hold, stages.automatic_window) = (true, false);
        to_counts(&self.shown, image);
        Some(Shown { window, stages, mask_frames: 0, mask_shift_px: 0.0 })
    }

    fn correct(
        &mut self,
        header: &FrameHeader,
        raw_counts: &[u16],
        asked: LiveStages,
    ) -> Result<bool, AcquisitionError> {
        if let Some(corrector) = self.corrector.as_mut().filter(|_| asked.correction) {
            corrector.correct(header, raw_counts, &mut self.corrected)?;
            let found = self.late.look(&self.corrected, raw_counts, corrector);
            // One with nothing around it to fill it from stays as it is.
            if !found.is_empty() && corrector.add_defects(&found).is_ok() {
                self.late_defects.extend(found);
            }
            return Ok(true);
        }
        let counts = raw_counts.iter().map(|&count| f32::from(count));
        self.corrected.intensity.iter_mut().zip(counts).for_each(|(place, count)| *place = count);
        Ok(false)
    }

    /// Filters the frame where that is asked for; on the side where only the held image wants it.
    fn reduce_noise(&mut self, asked: LiveStages) -> bool {
        if asked.noise_reduction {
            self.filter.filter(&mut self.corrected);
        } else if asked.last_image_hold {
            self.unfiltered.copy_from_slice(&self.corrected.intensity);
            self.filter.filter(&mut self.corrected);
            std::mem::swap(&mut self.unfiltered, &mut self.corrected.intensity);
        } else {
            self.filter.forget();
        }
        asked.noise_reduction
    }

    /// What is to be seen of the frame: itself, or what a mask leaves of it.
    fn subtract(&mut self, asked: LiveStages) -> Result<Option<SubtractionMode>, AcquisitionError> {
        let Some(subtraction) = self.subtraction.as_mut().filter(|_| asked.subtracts()) else {
            return Ok(None);
        };
        let pose = self.corrected.header.gantry;
        let turned = (pose.primary_angle_rad - self.mask_pose.primary_angle_rad)
            .abs()
            .max((pose.secondary_angle_rad - self.mask_pose.secondary_angle_rad).abs());
        if turned > TURNED_RAD {
            subtraction.begin_mask();
        }
        if subtraction.mask_frames() < u32::from(self.settings.mask_frames) {
            self.mask_pose = pose;
            subtraction.add_mask(&self.corrected)?;
            return Ok(None);
        }
        let mode = match (asked.roadmap, asked.peak_opacification) {
            (true, _) => SubtractionMode::Roadmap,
            (_, true) => SubtractionMode::PeakOpacification,
            _ => SubtractionMode::Live,
        };
        self.shown.copy_from_slice(subtraction.subtract(&self.corrected, mode)?);
        Ok(Some(mode))
    }

    /// Counts and their window.
    fn finish(&mut self, ran: LiveStages, image: &mut [u16]) -> Shown {
        let native = &self.corrected.intensity;
        let mut shown = if ran.enhancement || ran.subtracts() { &self.shown } else { native };
        let window = if ran.subtracts() {
            self.shown.iter_mut().for_each(|d| *d = SUBTRACTED_COUNTS * exp(-*d));
            shown = &self.shown;
            if ran.automatic_window {
                self.difference_window.follow_within(native, shown);
            }
            let Window { low, high } = self.difference_window.window();
            let (faint_low, faint_high) =
                (SUBTRACTED_COUNTS * exp(-DARKEST_FAINT), SUBTRACTED_COUNTS * exp(BRIGHTEST_FAINT));
            Window { low: low.min(faint_low as u16), high: high.max(faint_high as u16) }
        } else {
            if ran.automatic_window {
                self.window.follow_within(native, shown);
            }
            self.window.window()
        };
        to_counts(shown, image);
        self.last = Some((ran, window));
        let subtraction = self.subtraction.as_ref();
        let shift = subtraction.filter(|_| ran.subtracts()).map_or(0.0, |one| one.shifts().farthest_px());
        Shown {
            window,
            stages: ran,
            mask_frames: subtraction.map_or(0, |one| one.mask_frames() as u8),
            mask_shift_px: shift,
        }
    }
}

fn to_counts(shown: &[f32], image: &mut [u16]) {
    share(image.chunks_mut(BAND_PIXELS).zip(shown.chunks(BAND_PIXELS)), |(image, shown)| round(image, shown));
}

#[multiversion(targets("x86_64+avx2"))]
fn round(image: &mut [u16], shown: &[f32]) {
    for (place, intensity) in image.iter_mut().zip(shown) {
        // Saturates at both ends; NaN, which no correction gives, would be zero.
        *place = (intensity + 0.5) as u16;
    }
}
