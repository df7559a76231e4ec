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

/// How the rows of a view become those of its line integrals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Pixels of a row.
    pub nu: usize,
    /// Neighbouring rows that become one.
    pub averaged: usize,
}

/// Writes the line integrals of a view, rows averaged (counts, before the logarithm) and water-precorrected.
///
/// Only measured counts are precorrected: line integrals given as such are taken as they are.
pub fn line_integrals(samples: Samples<'_>, rows: Rows, precorrection: &WaterPrecorrection, out: &mut [f32]) {
    const ROWS_AT_ONCE: usize = 16;
    let (Samples::LineIntegrals(given) | Samples::Intensity { intensity: given, .. }) = samples;
    out.par_chunks_mut(rows.nu * ROWS_AT_ONCE)
        .zip(given.par_chunks(rows.nu * rows.averaged * ROWS_AT_ONCE))
        .for_each(|(out, given)| {
            for (out, given) in out.chunks_exact_mut(rows.nu).zip(given.chunks_exact(rows.nu * rows.averaged))
            {
                average_rows(given, out);
            }
            if let Samples::Intensity { air_intensity, counts_per_quantum, .. } = samples {
                let floor = counts_per_quantum * FLOOR_QUANTA;
                negative_logarithm(out, air_intensity, floor);
                if !precorrection.is_identity() {
                    out.iter_mut().for_each(|p| *p = precorrection.apply(*p));
                }
            }
        });
}

/// The mean of the rows in `given`, as many as there are.
fn average_rows(given: &[f32], out: &mut [f32]) {
    let mut rows = given.chunks_exact(out.len());
    out.copy_from_slice(rows.next().expect("at least one row"));
    let share = out.len() as f32 / given.len() as f32;
    for row in rows {
        out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    if share < 1.0 {
        out.iter_mut().for_each(|sum| *sum *= share);
    }
}

/// `-ln(max(counts, floor) / air)` in place.
fn negative_logarithm(samples: &mut [f32], air_intensity: f32, floor: f32) {
    let per_air = 1.0 / air_intensity;
    for sample in samples {
        *sample = -logarithm(sample.max(floor) * per_air);
    }
}

/// The natural logarithm of a positive normal number to 4e-7 or one part in 5e6, without branches so that loops become vectors.
///
/// `x = 2^e m` with `m` in `[sqrt(1/2), sqrt(2))` and `ln m = 2 artanh((m - 1) / (m + 1))` by its series.
#[inline(always)]
fn logarithm(x: f32) -> f32 {
    const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
    let bits = x.to_bits() as i32;
    let exponent = (bits - SQRT_HALF_BITS) >> 23;
    let m = f32::from_bits((bits - (exponent << 23)) as u32);
    let t = (m - 1.0) / (m + 1.0);
    let t2 = t * t;
    let series = 2.0 + t2 * (2.0 / 3.0 + t2 * (2.0 / 5.0 + t2 * (2.0 / 7.0 + t2 * (2.0 / 9.0))));
    exponent as f32 * std::f32::consts::LN_2 + t * series
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
        let rows = Rows { nu: 2, averaged: 1 };
        line_integrals(samples, rows, &WaterPrecorrection::new(&[1.0]), &mut out);
        let expected = [0.0, 2.0_f32.ln(), (1000.0_f32 / 3.0).ln(), (1000.0_f32 / 3.0).ln()];
        for (found, expected) in out.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{out:?}");
        }
    }

    #[test]
    fn line_integrals_of_averaged_rows_are_those_of_the_mean_counts() {
        let intensity = [1000.0, 500.0, 200.0, 300.0, 8.0, 9.0];
        let samples =
            Samples::Intensity { intensity: &intensity, air_intensity: 1000.0, counts_per_quantum: 2.0 };
        let mut out = [0.0; 2];
        // The third row has no partner and is left out.
        line_integrals(samples, Rows { nu: 2, averaged: 2 }, &WaterPrecorrection::new(&[1.0]), &mut out);
        for (found, mean) in out.iter().zip([600.0_f32, 400.0]) {
            assert!((found - (1000.0 / mean).ln()).abs() < 1e-5, "{out:?}");
        }
    }

    #[test]
    fn logarithm_equals_that_of_twice_the_precision() {
        // Every size that counts over air can have, and the edges of the series.
        let samples = (0..200_000).map(|i| 1.1e-6 * 1.0001_f32.powi(i)).chain([1.0, 0.5_f32.sqrt(), 2.0]);
        for x in samples.filter(|x| *x < 4.0) {
            let expected = f64::from(x).ln();
            let error = (f64::from(logarithm(x)) - expected).abs();
            assert!(error <= 4e-7_f64.max(2e-7 * expected.abs()), "ln({x}) is off by {error}");
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
