//! Raw counts to linear intensity: offset, gain, defects, and the unattenuated intensity beside it.
//!
//! `intensity = (raw_counts - dark) / gain`, then every defect is filled from good pixels around it. Filling comes after
//! the gain, because only gain-corrected neighbours measure the same thing. Where the panel's lag is known ([`lag`]), it is
//! taken out between offset and gain, because the traps see the signal and not its gain-corrected twin; where its glare
//! is known ([`glare`]), that is taken out of the linear image at the end. The
//! logarithm is left to reconstruction: scatter adds to the linear signal, so it can only be taken away before the logarithm.
//!
//! A defect is filled by a plane fitted to the nearest good pixels, weighted by inverse squared distance: exact for a linear
//! field whatever the shape of the cluster or line, with weights worked out once. Where the fit would extrapolate
//! strongly (at a corner of the detector) the weighted mean takes its place.

mod cpu;
mod defects;
pub mod glare;
pub mod grey;
pub mod lag;
pub mod late;
pub mod panel;
mod reference;
pub mod rings;
#[cfg(test)]
mod tests;

use crate::error::AcquisitionError;
use carm::{DetectorCalibration, DetectorGrid, FrameHeader, PixelDefect, RunDescription};
use defects::DefectFill;
use glare::{Glare, GlareModel};
use grey::LogScale;
use lag::{Lag, LagModel};
use panel::PanelModel;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Which ones, by index, in order.
    pub saturated: Vec<u32>,
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

/// Corrects the frames of one detector mode. Copies share the maps.
#[derive(Clone, Debug)]
pub struct Corrector {
    backend: Backend,
    /// Counts `[v, u]`.
    dark_counts: Arc<[f32]>,
    gain: Arc<[f32]>,
    /// `1 / gain`, zero at defects.
    inverse_gain: Arc<[f32]>,
    is_good: Arc<[bool]>,
    fill: Arc<DefectFill>,
    implied_defects: usize,
    air_intensity_per_mas: f64,
    saturation_counts: u16,
    variance: VarianceModel,
    lag: Option<Lag>,
    glare: Option<Glare>,
    grid: DetectorGrid,
    /// Share of the unattenuated intensity that a count stands for, where counts are no intensity.
    transmissions: Option<Arc<[f32]>>,
}

impl Corrector {
    /// For the frames of a run, with its maps and what it says of its panel; none where it brings no maps.
    ///
    /// # Errors
    /// As [`Corrector::new`]; [`AcquisitionError::PanelModel`].
    pub fn for_run(description: &RunDescription) -> Result<Option<Self>, AcquisitionError> {
        let Some(maps) = &description.detector_calibration else { return Ok(None) };
        let mut corrector = Self::new(maps, &description.detector)?;
        if let Some(scale) = LogScale::of(description)? {
            corrector.transmissions = Some(scale.transmissions());
            return Ok(Some(corrector));
        }
        let PanelModel { lag, glare } = PanelModel::of(description)?;
        let corrector = if let Some(model) = lag { corrector.with_lag(model)? } else { corrector };
        Ok(Some(if let Some(model) = glare { corrector.with_glare(model)? } else { corrector }))
    }

    /// Takes lag out as well, from a rested panel on.
    ///
    /// # Errors
    /// [`AcquisitionError::CalibrationNumber`] for a model that cannot be.
    pub fn with_lag(mut self, model: LagModel) -> Result<Self, AcquisitionError> {
        self.lag = Some(Lag::new(model, self.dark_counts.len(), self.backend)?);
        Ok(self)
    }

    /// Takes glare out as well.
    ///
    /// # Errors
    /// As [`Corrector::with_lag`].
    pub fn with_glare(mut self, model: GlareModel) -> Result<Self, AcquisitionError> {
        self.glare = Some(Glare::new(model, &self.grid, self.backend)?);
        Ok(self)
    }

    /// Fills these pixels from now on as well.
    ///
    /// # Errors
    /// [`AcquisitionError::DefectOutside`], [`AcquisitionError::DefectAlone`]; then nothing has changed.
    pub fn add_defects(&mut self, defects: &[PixelDefect]) -> Result<(), AcquisitionError> {
        let (nu, nv) = (self.grid.nu, self.grid.nv);
        let mut is_good = self.is_good.to_vec();
        for &defect in defects {
            let (u, v) = (defect.u as usize, defect.v as usize);
            if u >= nu || v >= nv {
                return Err(AcquisitionError::DefectOutside { nu, nv, found: defect });
            }
            is_good[v * nu + u] = false;
        }
        self.fill = Arc::new(DefectFill::new(&is_good, &self.grid)?);
        Arc::make_mut(&mut self.inverse_gain)
            .iter_mut()
            .zip(&is_good)
            .filter(|(_, good)| !**good)
            .for_each(|(inverse, _)| *inverse = 0.0);
        self.is_good = is_good.into();
        Ok(())
    }

    /// By how much the corrections raise the deviation of noise above what the maps state.
    pub fn noise_gain(&self) -> f64 {
        self.glare.as_ref().map_or(1.0, |glare| glare.model().noise_gain())
    }

    /// Whether lag is taken out.
    pub fn corrects_lag(&self) -> bool {
        self.lag.is_some()
    }

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
        let dark_counts: Arc<[f32]> = calibration.dark_counts.iter().copied().collect();
        let gain: Arc<[f32]> = calibration.gain.iter().copied().collect();
        let mut is_good: Vec<bool> = dark_counts
            .iter()
            .zip(gain.iter())
            .map(|(d, g)| d.is_finite() && g.is_finite() && *g > 0.0)
            .collect();
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
            fill: Arc::new(DefectFill::new(&is_good, grid)?),
            is_good: is_good.into(),
            implied_defects: unusable.saturating_sub(listed_unusable),
            air_intensity_per_mas: calibration.air_intensity_per_mas,
            saturation_counts: calibration.saturation_counts,
            variance: VarianceModel {
                electronic: calibration.electronic_variance as f32,
                per_count: calibration.variance_per_count as f32,
            },
            lag: None,
            glare: None,
            grid: *grid,
            transmissions: None,
        })
    }

    /// Pixels that the maps make unusable though no defect list names them.
    pub fn implied_defects(&self) -> usize {
        self.implied_defects
    }

    /// Corrects one frame: `raw_counts` `[v, u]`, u fastest, into `out`, whose buffer is kept between frames. With lag it
    /// wants every frame of the run in order, those without X-rays too.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`]; [`AcquisitionError::NoTubeCharge`] when X-rays were on and no charge is reported.
    pub fn correct(
        &mut self,
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
        out.saturated.clear();
        let mut lag = self.lag.take();
        out.saturated_pixels = match (&self.transmissions, &mut lag, self.backend) {
            (Some(shares), ..) => {
                let counts = out.intensity.iter_mut().zip(raw_counts);
                counts.for_each(|(out, &raw)| *out = air_intensity * shares[usize::from(raw)]);
                0
            }
            (None, Some(lag), _) => self.correct_lagging(lag, header, raw_counts, &mut out.intensity),
            (None, None, Backend::Reference) => reference::correct(self, raw_counts, &mut out.intensity),
            (None, None, Backend::Cpu) => cpu::correct(self, raw_counts, &mut out.intensity),
        };
        self.lag = lag;
        if out.saturated_pixels > 0 {
            let good = raw_counts.iter().zip(self.is_good.iter()).enumerate();
            let full = good.filter(|(_, (count, good))| **good && **count >= self.saturation_counts);
            out.saturated.extend(full.map(|(pixel, _)| pixel as u32));
        }
        if let Some(glare) = &mut self.glare {
            glare.remove(&mut out.intensity);
        }
        out.header = *header;
        out.air_intensity = air_intensity;
        out.interpolated_pixels = self.fill.len();
        let grown = self.noise_gain().powi(2) as f32;
        let VarianceModel { electronic, per_count } = self.variance;
        out.variance = VarianceModel { electronic: grown * electronic, per_count: grown * per_count };
        Ok(())
    }

    /// As `cpu::correct`, with the lag taken out between offset and gain.
    fn correct_lagging(
        &self,
        lag: &mut Lag,
        header: &FrameHeader,
        raw_counts: &[u16],
        intensity: &mut [f32],
    ) -> usize {
        let all = AtomicUsize::new(0);
        lag.correct(header, intensity, &|first, pixels, is_after| {
            let range = first..first + pixels.len();
            if is_after {
                return cpu::multiply(pixels, &self.inverse_gain[range]);
            }
            let (raw, dark) = (&raw_counts[range.clone()], &self.dark_counts[range]);
            all.fetch_add(cpu::subtract(pixels, raw, dark, self.saturation_counts), Ordering::Relaxed);
        });
        self.fill_defects(raw_counts, intensity, all.into_inner())
    }

    /// Fills defects from their neighbours. Of `saturated` pixels gives those that are good.
    fn fill_defects(&self, raw_counts: &[u16], intensity: &mut [f32], mut saturated: usize) -> usize {
        for (defect, sources) in self.fill.iter() {
            saturated -= usize::from(raw_counts[defect] >= self.saturation_counts);
            // A dark map that is not finite leaves NaN here: overwritten, and never a source.
            intensity[defect] = sources.iter().map(|s| s.weight * intensity[s.pixel as usize]).sum();
        }
        saturated
    }

    fn air_intensity(&self, header: &FrameHeader) -> Result<f32, AcquisitionError> {
        if !header.is_xray_on {
            return Ok(0.0);
        }
        let found_mas = header.exposure.tube_charge_mas();
        if found_mas.is_finite() && found_mas > 0.0 {
            // What the flat field had of lag is not in a frame without lag.
            let flat_gain = self.lag.as_ref().map_or(1.0, Lag::flat_gain);
            return Ok((self.air_intensity_per_mas * found_mas / flat_gain) as f32);
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
