//! How the noise of one pixel is alike that of its neighbours: the autocovariance that the scintillator leaves.

use crate::error::ReconstructError;
use ndarray::{Array2, ArrayView2};
use std::f64::consts::TAU;

/// Pixels that a blur given by its transfer function is followed to.
const TRANSFER_REACH_PX: usize = 8;
/// Frequencies from zero to Nyquist that a transfer function is summed over.
const FREQUENCIES: usize = 64;

/// The autocovariance of white quanta of variance one, blurred: `[|lag in v|, |lag in u|]`. Blurs are even in u and in v.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseCorrelation {
    autocovariance: Array2<f64>,
}

impl NoiseCorrelation {
    /// Each pixel for itself.
    pub fn white() -> Self {
        Self { autocovariance: Array2::ones((1, 1)) }
    }

    /// Of a blur kernel `[v, u]` with an odd number of rows and columns, even in both.
    ///
    /// # Errors
    /// [`ReconstructError::BadOption`] for even sizes, and for a kernel that is not even or not finite.
    pub fn from_kernel(kernel: ArrayView2<'_, f64>) -> Result<Self, ReconstructError> {
        let (nv, nu) = kernel.dim();
        let is_even = |(v, u): (usize, usize)| {
            let here = kernel[(v, u)];
            let tolerance = 1e-9 * here.abs();
            here.is_finite()
                && (here - kernel[(nv - 1 - v, u)]).abs() <= tolerance
                && (here - kernel[(v, nu - 1 - u)]).abs() <= tolerance
        };
        if nv % 2 == 0 || nu % 2 == 0 || !kernel.indexed_iter().all(|(at, _)| is_even(at)) {
            return Err(ReconstructError::BadOption {
                option: "blur kernel",
                expected: "odd numbers of rows and columns, symmetric in both".into(),
                found: format!("{nv} rows and {nu} columns"),
            });
        }
        let autocovariance = Array2::from_shape_fn((nv, nu), |(lag_v, lag_u)| {
            let (v, u) = (nv - lag_v, nu - lag_u);
            let shifted = kernel.slice(ndarray::s![lag_v.., lag_u..]);
            kernel.slice(ndarray::s![..v, ..u]).iter().zip(shifted).map(|(a, b)| a * b).sum()
        });
        Ok(Self { autocovariance })
    }

    /// Of a blur with the modulation transfer `transfer(f_u, f_v)`, frequencies in 1/mm, on pixels of `pitch_mm`.
    ///
    /// Quanta are white up to the pixels' Nyquist frequency; the power spectrum beyond lies folded into that.
    pub fn from_transfer(pitch_mm: [f64; 2], transfer: impl Fn(f64, f64) -> f64) -> Self {
        let frequency = |k: usize| (k as f64 + 0.5) / (2 * FREQUENCIES) as f64;
        let power = Array2::from_shape_fn((FREQUENCIES, FREQUENCIES), |(kv, ku)| {
            transfer(frequency(ku) / pitch_mm[0], frequency(kv) / pitch_mm[1]).powi(2)
        });
        let cosine = Array2::from_shape_fn((TRANSFER_REACH_PX + 1, FREQUENCIES), |(lag, k)| {
            (TAU * frequency(k) * lag as f64).cos() / FREQUENCIES as f64
        });
        Self { autocovariance: cosine.dot(&power).dot(&cosine.t()) }
    }

    /// Of a scintillator whose modulation transfer is `1 / (1 + (f / half)²)`, on pixels of `pitch_mm`.
    ///
    /// # Errors
    /// A frequency that is not positive.
    pub fn scintillator(pitch_mm: [f64; 2], half_per_mm: f64) -> Result<Self, ReconstructError> {
        if !(half_per_mm.is_finite() && half_per_mm > 0.0) {
            return Err(ReconstructError::BadOption {
                option: "frequency of half modulation transfer",
                expected: "a positive number per mm".into(),
                found: half_per_mm.to_string(),
            });
        }
        Ok(Self::from_transfer(pitch_mm, |fu, fv| 1.0 / (1.0 + (fu * fu + fv * fv) / half_per_mm.powi(2))))
    }

    /// Variance of a blurred pixel as a share of that of its quanta.
    pub fn variance_gain(&self) -> f64 {
        self.autocovariance[(0, 0)]
    }

    /// Of pixels that are the mean of `rows` neighbouring rows each.
    pub fn with_rows_averaged(&self, rows: usize) -> Self {
        let (nv, nu) = self.autocovariance.dim();
        let reach = (nv + rows - 2) / rows;
        let autocovariance = Array2::from_shape_fn((reach + 1, nu), |(lag_v, lag_u)| {
            let pairs = (0..rows).flat_map(|a| (0..rows).map(move |b| (lag_v * rows + a).abs_diff(b)));
            pairs.map(|lag| self.at(lag as i64, lag_u as i64)).sum::<f64>() / (rows * rows) as f64
        });
        Self { autocovariance }
    }

    /// Largest lags in v and u that are not zero.
    pub(super) fn reach(&self) -> [i64; 2] {
        let (nv, nu) = self.autocovariance.dim();
        [nv as i64 - 1, nu as i64 - 1]
    }

    pub(super) fn at(&self, lag_v: i64, lag_u: i64) -> f64 {
        let lag = (lag_v.unsigned_abs() as usize, lag_u.unsigned_abs() as usize);
        self.autocovariance.get(lag).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use std::f64::consts::PI;

    #[test]
    fn correlation_of_a_gaussian_transfer_is_the_closed_form() {
        let sigma_mm = 0.9;
        let pitch = [0.6, 0.8];
        let gauss = |fu: f64, fv: f64| (-2.0 * (PI * sigma_mm).powi(2) * (fu * fu + fv * fv)).exp();
        let found = NoiseCorrelation::from_transfer(pitch, gauss);
        for (v, u) in [(0, 0), (0, 1), (2, 0), (1, 3)] {
            let r2 = (pitch[0] * u as f64).powi(2) + (pitch[1] * v as f64).powi(2);
            let exact = pitch[0] * pitch[1] / (4.0 * PI * sigma_mm * sigma_mm)
                * (-r2 / (4.0 * sigma_mm * sigma_mm)).exp();
            assert!((found.at(v, u) - exact).abs() < 2e-4, "{v} {u}: {} {exact}", found.at(v, u));
        }
    }

    #[test]
    fn correlation_of_averaged_rows_is_that_of_the_averaged_kernel() {
        let kernel = array![[0.02, 0.06, 0.02], [0.1, 0.6, 0.1], [0.02, 0.06, 0.02]];
        let found = NoiseCorrelation::from_kernel(kernel.view()).unwrap().with_rows_averaged(2);
        // Two rows averaged: quanta of rows -1 to 2 reach the first, those of 1 to 4 the second.
        let row = |quantum: i64, first: i64| -> [f64; 3] {
            let of = |v: i64| {
                if (-1..=1).contains(&(quantum - v)) { Some((quantum - v + 1) as usize) } else { None }
            };
            let pick = |u: usize| {
                [first, first + 1].iter().filter_map(|v| of(*v)).map(|k| kernel[(k, u)]).sum::<f64>()
            };
            std::array::from_fn(|u| pick(u) / 2.0)
        };
        for (lag, first) in [(0, 0), (1, 2), (2, 4)] {
            let sum: f64 =
                (-1..=5).map(|q| (0..3).map(|u| row(q, 0)[u] * row(q, first)[u]).sum::<f64>()).sum();
            assert!((found.at(lag, 0) - sum).abs() < 1e-12, "{lag}: {} {sum}", found.at(lag, 0));
        }
    }

    #[test]
    fn correlation_refuses_a_kernel_that_leans() {
        let leaning = array![[0.1, 0.6, 0.3]];
        assert!(NoiseCorrelation::from_kernel(leaning.view()).is_err());
        assert!(NoiseCorrelation::from_kernel(Array2::ones((2, 3)).view()).is_err());
        assert!(NoiseCorrelation::scintillator([0.6, 0.6], 0.0).is_err());
    }
}
