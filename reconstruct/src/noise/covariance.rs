//! Covariance of a filtered sample with itself and with its neighbours, for pixels of variance one.
//!
//! Blur, resampling and ramp are convolutions wherever the resampling's fraction changes slowly, so autocovariances
//! convolve: `R(l) = Σ ρ(a) C(l - a)`, with `C` the autocovariance of the resampling kernel times that of the ramp along u,
//! and of the resampling kernel alone along v.

use super::correlation::NoiseCorrelation;
use crate::ramp::RampFilter;
use crate::virtual_detector::keys;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Fractions of a pixel that resampling is tabulated at.
const FRACTIONS: usize = 32;
/// Taps of the resampling kernel, minus one: its autocovariance ends there.
const KEYS_REACH: i64 = 3;
/// Columns on either side over which a row's variance is averaged with the squared ramp kernel.
const SPREAD_REACH: usize = 8;

/// Covariances at lags `[(0, 0), (1, 0), (0, 1), (1, 1)]` in `(u, v)`, of quanta and of electronic noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lags {
    pub(super) quantum: [f64; 4],
    pub(super) electronic: [f64; 4],
}

/// [`Lags`] by the fractions of the pixel that a virtual sample lies at.
pub(super) struct LagCovariances {
    /// `[fraction in v][fraction in u]`.
    table: Vec<Lags>,
    /// Squared ramp kernel for lags from `-SPREAD_REACH` on, sum one.
    pub(super) spread: Vec<f64>,
}

impl LagCovariances {
    /// `rows_averaged`: rows of the detector that one row of the resampled image holds.
    pub(super) fn new(ramp: &RampFilter, correlation: &NoiseCorrelation, rows_averaged: usize) -> Self {
        let quantum = correlation.with_rows_averaged(rows_averaged);
        let electronic = NoiseCorrelation::white().with_rows_averaged(rows_averaged);
        let reach = quantum.reach()[1] + 1 + KEYS_REACH;
        let (kernel, ramp_autocovariance) = of_ramp(ramp, reach as usize + SPREAD_REACH);
        let keys_of: Vec<_> = (0..FRACTIONS).map(|f| autocovariance_of_keys(fraction(f))).collect();
        let along_u: Vec<_> =
            keys_of.iter().map(|keys| filtered(keys, &ramp_autocovariance, quantum.reach()[1] + 1)).collect();
        let table = keys_of
            .iter()
            .flat_map(|along_v| along_u.iter().map(move |along_u| (along_v, along_u)))
            .map(|(along_v, along_u)| Lags {
                quantum: lags(&quantum, along_u, along_v),
                electronic: lags(&electronic, along_u, along_v),
            })
            .collect();
        Self { table, spread: spread(&kernel) }
    }

    /// At a position on the detector, pixels.
    pub(super) fn at(&self, u: f64, v: f64) -> &Lags {
        let nearest = |x: f64| ((x - x.floor()) * FRACTIONS as f64).round() as usize % FRACTIONS;
        &self.table[nearest(v) * FRACTIONS + nearest(u)]
    }
}

fn fraction(index: usize) -> f64 {
    index as f64 / FRACTIONS as f64
}

/// Kernel and its autocovariance from lag 0 to `lags`, from the gain that the filter applies.
fn of_ramp(ramp: &RampFilter, lags: usize) -> (Vec<f64>, Vec<f64>) {
    let length = ramp.padded_length();
    let transformed = |power: i32| {
        let mut line: Vec<Complex<f64>> =
            ramp.gain().map(|gain| Complex::new(gain.powi(power) / length as f64, 0.0)).collect();
        FftPlanner::new().plan_fft_forward(length).process(&mut line);
        (0..=lags).map(|lag| line[lag % length].re).collect::<Vec<f64>>()
    };
    (transformed(1), transformed(2))
}

/// Autocovariance of the four weights at a fraction, lags 0 to 3.
fn autocovariance_of_keys(fraction: f64) -> [f64; 4] {
    let weights = [-1, 0, 1, 2].map(|tap| keys(fraction - f64::from(tap)));
    std::array::from_fn(|lag| (0..4 - lag).map(|tap| weights[tap] * weights[tap + lag]).sum())
}

/// Autocovariance of resampling followed by the ramp, lags 0 to `reach`.
fn filtered(keys: &[f64; 4], ramp: &[f64], reach: i64) -> Vec<f64> {
    let at = |lag: i64| ramp[lag.unsigned_abs() as usize];
    (0..=reach)
        .map(|lag| (-KEYS_REACH..=KEYS_REACH).map(|j| keys[j.unsigned_abs() as usize] * at(lag - j)).sum())
        .collect()
}

fn lags(correlation: &NoiseCorrelation, along_u: &[f64], along_v: &[f64; 4]) -> [f64; 4] {
    let [reach_v, reach_u] = correlation.reach();
    let at = |of: &[f64], lag: i64| of.get(lag.unsigned_abs() as usize).copied().unwrap_or(0.0);
    [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(lag_u, lag_v)| {
        let mut sum = 0.0;
        for v in -reach_v..=reach_v {
            for u in -reach_u..=reach_u {
                sum += correlation.at(v, u) * at(along_u, lag_u - u) * at(along_v, lag_v - v);
            }
        }
        sum
    })
}

fn spread(kernel: &[f64]) -> Vec<f64> {
    let reach = SPREAD_REACH as i64;
    let squared: Vec<f64> = (-reach..=reach).map(|lag| kernel[lag.unsigned_abs() as usize].powi(2)).collect();
    let sum: f64 = squared.iter().sum();
    squared.iter().map(|value| value / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ramp::Apodisation;

    /// White noise through the bare ramp: the sum of the kernel's squares is 1/16 + 2 Σ 1/(π n)⁴ over odd n = 1/12.
    #[test]
    fn covariance_of_white_noise_behind_the_ramp_is_a_twelfth() {
        let ramp = RampFilter::new(400, 400, Apodisation::None);
        let lags = LagCovariances::new(&ramp, &NoiseCorrelation::white(), 1);
        let found = lags.at(7.0, -2.0);
        assert!((found.quantum[0] - 1.0 / 12.0).abs() < 1e-4, "{found:?}");
        assert_eq!(found.quantum, found.electronic);
        // Neighbours along u: 2 h0 h1 and terms that vanish; along v independent.
        assert!((found.quantum[1] + 0.5 / std::f64::consts::PI.powi(2)).abs() < 1e-4, "{found:?}");
        assert_eq!(found.quantum[2..], [0.0; 2]);
        assert!((lags.spread.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    /// Halfway between two rows Keys' weights are (-1, 9, 9, -1)/16.
    #[test]
    fn covariance_falls_where_resampling_averages() {
        let ramp = RampFilter::new(400, 400, Apodisation::None);
        let lags = LagCovariances::new(&ramp, &NoiseCorrelation::white(), 1);
        let (between, on) = (lags.at(3.0, 4.5).quantum, lags.at(3.0, 4.0).quantum);
        assert!((between[0] / on[0] - 164.0 / 256.0).abs() < 1e-9);
        assert!((between[2] / on[0] - (81.0 - 18.0) / 256.0).abs() < 1e-9, "{between:?} {on:?}");
    }
}
