//! From intensity to line integrals to Hounsfield units.

use carm::{Quantity, Volume};
use rayon::prelude::*;

/// A quantum of this many counts is the floor of the logarithm: never zero, never negative.
const FLOOR_QUANTA: f32 = 1.5;

/// The samples of one view, `[v, u]`.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// `-ln(I / I0)`, dimensionless.
    LineIntegrals(&'a [f32]),
    /// Linear, corrected detector counts.
    Intensity {
        /// Counts per pixel.
        intensity: &'a [f32],
        /// What the unattenuated beam would give, in the same counts.
        air_intensity: f32,
        /// Counts of one X-ray quantum: the floor under the logarithm.
        counts_per_quantum: f32,
    },
}

impl Samples<'_> {
    /// Number of pixels.
    pub fn len(&self) -> usize {
        match self {
            Self::LineIntegrals(samples) | Self::Intensity { intensity: samples, .. } => samples.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Water precorrection: maps polyenergetic to monoenergetic line integrals, `p_mono = Σ c[k] p^(k+1)`.
///
/// Kachelriess, Sourbelle and Kalender, Med. Phys. 33(5), 2006.
#[derive(Clone, Debug, PartialEq)]
pub struct WaterPrecorrection {
    coefficients: Vec<f32>,
}

impl WaterPrecorrection {
    /// From the coefficients of `p`, `p²`, ...; empty or `[1]` changes nothing.
    pub fn new(coefficients: &[f64]) -> Self {
        Self { coefficients: coefficients.iter().map(|c| *c as f32).collect() }
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.coefficients.is_empty() || self.coefficients == [1.0]
    }

    #[inline(always)]
    fn apply(&self, p: f32) -> f32 {
        self.coefficients.iter().rev().fold(0.0, |sum, c| (sum + c) * p)
    }
}

/// Writes the line integrals of a view, water-precorrected.
///
/// Only measured counts are precorrected: line integrals given as such are taken as they are.
pub fn line_integrals(samples: Samples<'_>, precorrection: &WaterPrecorrection, out: &mut [f32]) {
    const PIXELS_AT_ONCE: usize = 8192;
    match samples {
        Samples::LineIntegrals(given) => out.copy_from_slice(given),
        Samples::Intensity { intensity, air_intensity, counts_per_quantum } => {
            let floor = counts_per_quantum * FLOOR_QUANTA;
            let log_air = air_intensity.ln();
            let identity = precorrection.is_identity();
            out.par_chunks_mut(PIXELS_AT_ONCE).zip(intensity.par_chunks(PIXELS_AT_ONCE)).for_each(
                |(out, intensity)| {
                    for (p, counts) in out.iter_mut().zip(intensity) {
                        *p = log_air - counts.max(floor).ln();
                    }
                    if !identity {
                        out.iter_mut().for_each(|p| *p = precorrection.apply(*p));
                    }
                },
            );
        }
    }
}

/// Turns attenuation into Hounsfield units in place.
///
/// # Panics
/// When the volume does not hold attenuation: a bug of the caller.
pub fn to_hu(volume: &mut Volume, mu_water_per_mm: f64) {
    assert_eq!(volume.quantity, Quantity::MuPerMm, "Hounsfield units are made of attenuation");
    let scale = (1000.0 / mu_water_per_mm) as f32;
    volume.values.as_slice_mut().expect("standard layout").par_iter_mut().for_each(|value| {
        *value = *value * scale - 1000.0;
    });
    volume.quantity = Quantity::Hu { mu_water_per_mm: Some(mu_water_per_mm) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_integrals_are_the_logarithm_with_a_floor_of_quanta() {
        let intensity = [1000.0, 500.0, 0.0, -3.0];
        let samples =
            Samples::Intensity { intensity: &intensity, air_intensity: 1000.0, counts_per_quantum: 2.0 };
        let mut out = [0.0; 4];
        line_integrals(samples, &WaterPrecorrection::new(&[1.0]), &mut out);
        let expected = [0.0, 2.0_f32.ln(), (1000.0_f32 / 3.0).ln(), (1000.0_f32 / 3.0).ln()];
        for (found, expected) in out.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{out:?}");
        }
    }

    #[test]
    fn water_precorrection_is_the_polynomial_without_constant() {
        let precorrection = WaterPrecorrection::new(&[1.1, 0.05, -0.002]);
        let p = 3.0_f32;
        let expected = 1.1 * p + 0.05 * p * p - 0.002 * p * p * p;
        assert!((precorrection.apply(p) - expected).abs() < 1e-6);
        assert_eq!(precorrection.apply(0.0), 0.0);
    }
}
