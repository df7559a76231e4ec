//! Detector maps from measurements: frames without X-rays, and even fields at one or more exposures.
//!
//! Offset is the mean of the dark frames. Gain is the slope of a pixel's mean against the panel's over all even fields
//! (one exposure makes that a ratio), normalised to mean 1 over good pixels. What is spread over time tells the noise:
//! variance against intensity is a straight line. A pixel is a defect where its gain or offset stands far out of its
//! neighbourhood, or its noise far out of all pixels'.

mod age;
mod install;
mod moments;
#[cfg(test)]
mod tests;

pub use age::{MapsDoubt, doubts};
pub use install::{flat_frames_remark, install};

use crate::error::AcquisitionError;
use carm::{DetectorCalibration, DetectorGrid, PixelDefect, WallTime};
use moments::{Moments, median};
use ndarray::Array2;

/// Frames of a field that the maps need at least.
pub const FEWEST_FRAMES: u64 = 8;
/// A good pixel's gain is within this share of its neighbours'.
const GAIN_SHARE: f64 = 0.15;
/// A good pixel's temporal deviation is at most so many times the median one, and its offset within so many of its
/// neighbours'.
const NOISE_FACTOR: f64 = 5.0;
const OFFSET_DEVIATIONS: f64 = 60.0;
/// Half side of the neighbourhood, pixels.
const NEAR: usize = 4;
/// Mean of an even field above the dark that makes it one, counts.
const LEAST_COUNTS: f64 = 50.0;

/// The mode that maps hold for, and when they were measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapsMode {
    /// Tube voltage of the even fields, kV.
    pub tube_voltage_kv: f64,
    /// Pixels binned along each side.
    pub binning: u8,
    /// Counts at and above which a pixel is saturated.
    pub saturation_counts: u16,
    /// When the last frame was taken.
    pub acquired: WallTime,
}

/// Gathers frames and makes maps of them.
#[derive(Clone, Debug)]
pub struct MapsBuilder {
    grid: DetectorGrid,
    dark: Moments,
    /// Tube charge (mAs) and frames of each even field.
    flats: Vec<(f64, Moments)>,
}

impl MapsBuilder {
    /// For one detector mode.
    pub fn new(grid: DetectorGrid) -> Self {
        Self { dark: Moments::new(grid.pixel_count()), flats: Vec::new(), grid }
    }

    /// Takes a frame without X-rays.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`].
    pub fn add_dark(&mut self, counts: &[u16]) -> Result<(), AcquisitionError> {
        self.dark.add(counts)
    }

    /// Begins an even field of another exposure.
    pub fn begin_flat(&mut self) {
        self.flats.push((0.0, Moments::new(self.grid.pixel_count())));
    }

    /// Takes a frame of the even field begun last.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]; [`AcquisitionError::CalibrationNumber`] for a charge that is none.
    pub fn add_flat(&mut self, counts: &[u16], tube_charge_mas: f64) -> Result<(), AcquisitionError> {
        if !(tube_charge_mas.is_finite() && tube_charge_mas > 0.0) {
            return Err(refused("tube charge of an even field in mAs", "a positive number", tube_charge_mas));
        }
        if self.flats.is_empty() {
            self.begin_flat();
        }
        let (charge, frames) = self.flats.last_mut().expect("begun above");
        frames.add(counts)?;
        *charge += (tube_charge_mas - *charge) / frames.count as f64;
        Ok(())
    }

    /// Makes the maps.
    ///
    /// # Errors
    /// [`AcquisitionError::CalibrationNumber`] for too few frames, or a field that is hardly brighter than the dark.
    pub fn finish(self, mode: MapsMode) -> Result<DetectorCalibration, AcquisitionError> {
        let few = |what, frames: u64| refused(what, "at least 8", frames as f64);
        if self.dark.count < FEWEST_FRAMES {
            return Err(few("dark frames", self.dark.count));
        }
        let shortest = self.flats.iter().map(|(_, flat)| flat.count).min().unwrap_or(0);
        if shortest < FEWEST_FRAMES {
            return Err(few("frames of an even field", shortest));
        }
        let levels = self.levels()?;
        let slopes = self.slopes(&levels);
        let is_good = self.good_pixels(&slopes);
        let good = |values: &[f64]| {
            let kept: Vec<f64> =
                values.iter().zip(&is_good).filter(|(_, good)| **good).map(|(v, _)| *v).collect();
            kept.iter().sum::<f64>() / kept.len().max(1) as f64
        };
        let mean = good(&slopes);
        let gain: Vec<f64> = slopes.iter().map(|slope| slope / mean).collect();
        let (electronic_variance, variance_per_count) = self.noise(&gain, &is_good);
        let map = |values: &mut dyn Iterator<Item = f64>| {
            Array2::from_shape_vec((self.grid.nv, self.grid.nu), values.map(|value| value as f32).collect())
                .expect("one value a pixel")
        };
        let air: Vec<f64> =
            self.flats.iter().zip(&levels).map(|((charge, _), level)| level * mean / charge).collect();
        let defects = is_good.iter().enumerate().filter(|(_, good)| !**good).map(|(pixel, _)| PixelDefect {
            u: (pixel % self.grid.nu) as u32,
            v: (pixel / self.grid.nu) as u32,
        });
        Ok(DetectorCalibration {
            dark_counts: map(&mut self.dark.mean.iter().copied()),
            gain: map(&mut gain.iter().copied()),
            defects: defects.collect(),
            air_intensity_per_mas: air.iter().sum::<f64>() / air.len() as f64,
            electronic_variance,
            variance_per_count,
            saturation_counts: mode.saturation_counts,
            tube_voltage_kv: mode.tube_voltage_kv,
            binning: mode.binning,
            acquired: mode.acquired,
        })
    }

    /// How bright each even field is above the dark: a median, which no defect moves.
    fn levels(&self) -> Result<Vec<f64>, AcquisitionError> {
        let level = |(_, flat): &(f64, Moments)| {
            let mut above: Vec<f64> =
                flat.mean.iter().zip(&self.dark.mean).map(|(flat, dark)| flat - dark).collect();
            let found = median(&mut above);
            let what = "even field in counts above the dark";
            if found > LEAST_COUNTS { Ok(found) } else { Err(refused(what, "more than 50", found)) }
        };
        self.flats.iter().map(level).collect()
    }

    /// Least squares through the dark: counts of a pixel per count of the panel.
    fn slopes(&self, levels: &[f64]) -> Vec<f64> {
        let norm: f64 = levels.iter().map(|level| level * level).sum();
        (0..self.grid.pixel_count())
            .map(|pixel| {
                let product = |((_, flat), level): (&(f64, Moments), &f64)| {
                    level * (flat.mean[pixel] - self.dark.mean[pixel])
                };
                self.flats.iter().zip(levels).map(product).sum::<f64>() / norm
            })
            .collect()
    }

    fn good_pixels(&self, slopes: &[f64]) -> Vec<bool> {
        let (nu, nv) = (self.grid.nu, self.grid.nv);
        let near_slopes = moments::median_near(slopes, [nu, nv], NEAR);
        let near_dark = moments::median_near(&self.dark.mean, [nu, nv], NEAR);
        let spreads: Vec<Vec<f64>> = std::iter::once(&self.dark)
            .chain(self.flats.iter().map(|(_, flat)| flat))
            .map(|field| field.variances().map(f64::sqrt).collect())
            .collect();
        let typical: Vec<f64> = spreads.iter().map(|spread| median(&mut spread.clone()).max(0.3)).collect();
        (0..nu * nv)
            .map(|pixel| {
                let is_even = (slopes[pixel] / near_slopes[pixel] - 1.0).abs() <= GAIN_SHARE;
                let offset = (self.dark.mean[pixel] - near_dark[pixel]).abs();
                let is_calm = spreads
                    .iter()
                    .zip(&typical)
                    .all(|(spread, typical)| spread[pixel] <= NOISE_FACTOR * typical);
                // A pixel that never changes while all others do is stuck.
                let lives =
                    spreads.last().is_none_or(|spread| spread[pixel] > 0.0 || typical.last() == Some(&0.3));
                is_even && is_calm && lives && offset <= OFFSET_DEVIATIONS * typical[0]
            })
            .collect()
    }

    /// Electronic variance, and variance per gain-corrected count, over good pixels.
    fn noise(&self, gain: &[f64], is_good: &[bool]) -> (f64, f64) {
        let over_good = |field: &Moments| {
            let values = field.variances().zip(gain).zip(is_good).filter(|(_, good)| **good);
            let mut values: Vec<f64> = values.map(|((variance, gain), _)| variance / (gain * gain)).collect();
            values.iter_mut().for_each(|variance| *variance = variance.max(0.0));
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let electronic = over_good(&self.dark);
        let (mut product, mut norm) = (0.0, 0.0);
        for (_, flat) in &self.flats {
            let above: f64 = (0..gain.len())
                .filter(|&pixel| is_good[pixel])
                .map(|pixel| (flat.mean[pixel] - self.dark.mean[pixel]) / gain[pixel])
                .sum();
            let level = above / is_good.iter().filter(|good| **good).count().max(1) as f64;
            product += level * (over_good(flat) - electronic);
            norm += level * level;
        }
        (electronic, (product / norm).max(0.0))
    }
}

fn refused(what: &'static str, expected: &'static str, found: f64) -> AcquisitionError {
    AcquisitionError::CalibrationNumber { what, expected, found }
}
