//! Raw counts to linear intensity: offset, gain, defects, and the unattenuated intensity beside it.
//!
//! `intensity = (raw_counts - dark) / gain`, then every defect is filled from good pixels around it. Filling comes after
//! the gain, because only gain-corrected neighbours measure the same thing; without lag correction in between
//! this is the same as the usual order (offset, defects, lag, gain). The logarithm is left to reconstruction: scatter
//! adds to the linear signal, so it can only be taken away before the logarithm.
//!
//! A defect is filled by a plane fitted to the nearest good pixels, weighted by inverse squared distance: exact for a linear
//! field whatever the shape of the cluster or line, with weights worked out once. Where the fit would extrapolate
//! strongly (at a corner of the detector) the weighted mean takes its place.

mod cpu;
mod defects;
mod reference;
#[cfg(test)]
mod tests;

use crate::error::AcquisitionError;
use carm::{DetectorCalibration, DetectorGrid, FrameHeader};
use defects::DefectFill;

/// Variance of an intensity: `electronic + per_count * intensity`, counts².
///
/// Holds for measured pixels; a filled defect shares the noise of its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VarianceModel {
    /// Variance without X-rays, counts².
    pub electronic: f32,
    /// Variance per gain-corrected count, counts.
    pub per_count: f32,
}

impl VarianceModel {
    /// Variance of one intensity, counts²; below zero intensity only electronics is left.
    pub fn variance(&self, intensity: f32) -> f32 {
        self.electronic + self.per_count * intensity.max(0.0)
    }
}

/// A frame ready for live view and reconstruction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CorrectedFrame {
    /// What was true when it was taken.
    pub header: FrameHeader,
    /// Linear intensity `[v, u]`, u fastest, gain-corrected counts. May be below zero where there is only noise.
    pub intensity: Vec<f32>,
    /// Intensity of the unattenuated beam by the reported charge; zero with X-rays off.
    pub air_intensity: f32,
    /// Good pixels at or above saturation: their intensity is a lower bound.
    pub saturated_pixels: usize,
    /// Pixels filled from their neighbours.
    pub interpolated_pixels: usize,
    /// How noisy each intensity is.
    pub variance: VarianceModel,
}

/// Which implementation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Plain `f64` loops: defines correct.
    Reference,
    /// `f32`, vectorised.
    Cpu,
}

/// Corrects the frames of one detector mode.
#[derive(Clone, Debug)]
pub struct Corrector {
    backend: Backend,
    /// Counts `[v, u]`.
    dark_counts: Vec<f32>,
    gain: Vec<f32>,
    /// `1 / gain`, zero at defects.
    inverse_gain: Vec<f32>,
    is_good: Vec<bool>,
    fill: DefectFill,
    implied_defects: usize,
    air_intensity_per_mas: f64,
    saturation_counts: u16,
    variance: VarianceModel,
}

impl Corrector {
    /// From the maps in force. A pixel whose gain is not positive, or whose maps are not finite, counts as a defect.
    ///
    /// # Errors
    /// [`AcquisitionError::MapSize`], [`AcquisitionError::DefectOutside`], [`AcquisitionError::DefectAlone`],
    /// [`AcquisitionError::CalibrationNumber`].
    pub fn new(calibration: &DetectorCalibration, grid: &DetectorGrid) -> Result<Self, AcquisitionError> {
        Self::with_backend(calibration, grid, Backend::Cpu)
    }

    /// As [`Corrector::new`], with a chosen implementation.
    ///
    /// # Errors
    /// As [`Corrector::new`].
    pub fn with_backend(
        calibration: &DetectorCalibration,
        grid: &DetectorGrid,
        backend: Backend,
    ) -> Result<Self, AcquisitionError> {
        let (nu, nv) = (grid.nu, grid.nv);
        for (what, map) in [("dark map", &calibration.dark_counts), ("gain map", &calibration.gain)] {
            let found = [map.nrows(), map.ncols()];
            if found != [nv, nu] {
                return Err(AcquisitionError::MapSize { what, expected: [nv, nu], found });
            }
        }
        check_numbers(calibration)?;
        let dark_counts: Vec<f32> = calibration.dark_counts.iter().copied().collect();
        let gain: Vec<f32> = calibration.gain.iter().copied().collect();
        let mut is_good: Vec<bool> =
            dark_counts.iter().zip(&gain).map(|(d, g)| d.is_finite() && g.is_finite() && *g > 0.0).collect();
        let unusable = is_good.iter().filter(|good| !**good).count();
        let mut listed_unusable = 0;
        for &defect in &calibration.defects {
            let (u, v) = (defect.u as usize, defect.v as usize);
            if u >= nu || v >= nv {
                return Err(AcquisitionError::DefectOutside { nu, nv, found: defect });
            }
            let pixel = v * nu + u;
            let is_usable = dark_counts[pixel].is_finite() && gain[pixel].is_finite() && gain[pixel] > 0.0;
            listed_unusable += usize::from(!is_usable);
            is_good[pixel] = false;
        }
        let inverse_gain = gain.iter().zip(&is_good).map(|(g, good)| if *good { 1.0 / g } else { 0.0 });
        Ok(Self {
            backend,
            inverse_gain: inverse_gain.collect(),
            dark_counts,
            gain,
            fill: DefectFill::new(&is_good, grid)?,
            is_good,
            implied_defects: unusable.saturating_sub(listed_unusable),
            air_intensity_per_mas: calibration.air_intensity_per_mas,
            saturation_counts: calibration.saturation_counts,
            variance: VarianceModel {
                electronic: calibration.electronic_variance as f32,
                per_count: calibration.variance_per_count as f32,
            },
        })
    }

    /// Pixels that the maps make unusable though no defect list names them.
    pub fn implied_defects(&self) -> usize {
        self.implied_defects
    }

    /// Corrects one frame: `raw_counts` `[v, u]`, u fastest, into `out`, whose buffer is kept between frames.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]; [`AcquisitionError::NoTubeCharge`] when X-rays were on and no charge is reported.
    pub fn correct(
        &self,
        header: &FrameHeader,
        raw_counts: &[u16],
        out: &mut CorrectedFrame,
    ) -> Result<(), AcquisitionError> {
        let expected = self.dark_counts.len();
        if raw_counts.len() != expected {
            return Err(AcquisitionError::FrameSize { expected, found: raw_counts.len() });
        }
        let air_intensity = self.air_intensity(header)?;
        out.intensity.resize(expected, 0.0);
        let saturated_pixels = match self.backend {
            Backend::Reference => reference::correct(self, raw_counts, &mut out.intensity),
            Backend::Cpu => cpu::correct(self, raw_counts, &mut out.intensity),
        };
        out.header = *header;
        out.air_intensity = air_intensity;
        out.saturated_pixels = saturated_pixels;
        out.interpolated_pixels = self.fill.len();
        out.variance = self.variance;
        Ok(())
    }

    fn air_intensity(&self, header: &FrameHeader) -> Result<f32, AcquisitionError> {
        if !header.is_xray_on {
            return Ok(0.0);
        }
        let found_mas = header.exposure.tube_charge_mas();
        if found_mas.is_finite() && found_mas > 0.0 {
            return Ok((self.air_intensity_per_mas * found_mas) as f32);
        }
        Err(AcquisitionError::NoTubeCharge { sequence: header.sequence, found_mas })
    }
}

fn check_numbers(calibration: &DetectorCalibration) -> Result<(), AcquisitionError> {
    let refuse = |what, expected, found| Err(AcquisitionError::CalibrationNumber { what, expected, found });
    let air = calibration.air_intensity_per_mas;
    if !(air.is_finite() && air > 0.0) {
        return refuse("air intensity in counts per mAs", "a positive number", air);
    }
    let variances = [
        ("electronic variance in counts²", calibration.electronic_variance),
        ("variance per count in counts", calibration.variance_per_count),
    ];
    for (what, found) in variances {
        if !(found.is_finite() && found >= 0.0) {
            return refuse(what, "zero or more", found);
        }
    }
    Ok(())
}
