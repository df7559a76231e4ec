//! Blur by the product with a transfer function in the frequency domain.
//!
//! All blurs here are given by their transfer functions in closed form, so the requested MTF is the MTF up to rounding.
//! The image is extended by its own edge pixels before the transform so that nothing wraps around.

use ndarray::Array2;
use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};
use std::f64::consts::PI;
use std::sync::Arc;

/// What the border is extended with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Border {
    /// The nearest pixel.
    Edge,
    /// Nothing.
    Zero,
}

/// A blur planned for one image size.
pub(crate) struct Blur {
    size: [usize; 2],
    padded: [usize; 2],
    border: Border,
    /// Transfer function over the padded size, `[column frequency, row frequency]`, with the inverse's scale.
    transfer: Vec<f32>,
    rows: Arc<dyn RealToComplex<f32>>,
    rows_back: Arc<dyn ComplexToReal<f32>>,
    columns: Arc<dyn Fft<f32>>,
    columns_back: Arc<dyn Fft<f32>>,
}

impl Blur {
    /// `size`: `[nu, nv]`; `margin_px`: how far the kernel reaches; `transfer`: of the spatial frequencies along u
    /// and v in 1/mm.
    pub fn new(
        size: [usize; 2],
        pitch_mm: [f64; 2],
        margin_px: usize,
        border: Border,
        transfer: impl Fn(f64, f64) -> f64,
    ) -> Self {
        let padded = size.map(|n| smooth_size(n + margin_px));
        let [pu, pv] = padded;
        let mut real = RealFftPlanner::<f32>::new();
        let mut complex = FftPlanner::<f32>::new();
        let scale = 1.0 / (pu * pv) as f64;
        let half = pu / 2 + 1;
        let values = (0..half * pv).map(|n| {
            let (ku, kv) = (n / pv, n % pv);
            let fu = ku as f64 / (pu as f64 * pitch_mm[0]);
            let signed = if 2 * kv > pv { kv as f64 - pv as f64 } else { kv as f64 };
            (scale * transfer(fu, signed / (pv as f64 * pitch_mm[1]))) as f32
        });
        Self {
            size,
            padded,
            border,
            transfer: values.collect(),
            rows: real.plan_fft_forward(pu),
            rows_back: real.plan_fft_inverse(pu),
            columns: complex.plan_fft_forward(pv),
            columns_back: complex.plan_fft_inverse(pv),
        }
    }

    /// Blurs `[v, u]` in place.
    pub fn apply(&self, image: &mut Array2<f32>) {
        let [nu, nv] = self.size;
        assert_eq!(image.dim(), (nv, nu), "image size that the blur was planned for");
        let [pu, pv] = self.padded;
        let half = pu / 2 + 1;
        let mut spectrum = vec![Complex32::default(); half * pv];
        let source = image.as_slice().expect("standard layout");
        spectrum.par_chunks_mut(half).enumerate().for_each(|(v, out)| {
            let Some(from) = self.row(v) else { return };
            let mut line = self.extended(&source[from * nu..(from + 1) * nu]);
            self.rows.process(&mut line, out).expect("buffers have the planned sizes");
        });
        let mut columns = transposed(&spectrum, half, pv);
        columns.par_chunks_mut(pv).zip(self.transfer.par_chunks(pv)).for_each(|(column, transfer)| {
            self.columns.process(column);
            for (value, factor) in column.iter_mut().zip(transfer) {
                *value *= factor;
            }
            self.columns_back.process(column);
        });
        let mut spectrum = transposed(&columns, pv, half);
        let target = image.as_slice_mut().expect("standard layout");
        target.par_chunks_mut(nu).zip(spectrum.par_chunks_mut(half)).for_each(|(out, line)| {
            // Of a real signal by construction; rounding leaves dust that the inverse would refuse.
            line[0].im = 0.0;
            if pu % 2 == 0 {
                line[half - 1].im = 0.0;
            }
            let mut whole = vec![0.0; pu];
            self.rows_back.process(line, &mut whole).expect("buffers have the planned sizes");
            out.copy_from_slice(&whole[..nu]);
        });
    }

    /// Factor by which the variance of white noise falls: the mean square of the transfer function.
    pub fn white_noise_gain(&self) -> f64 {
        let [pu, pv] = self.padded;
        let half = pu / 2 + 1;
        let mut sum = 0.0;
        for (n, value) in self.transfer.iter().enumerate() {
            let ku = n / pv;
            let twice = ku != 0 && !(pu % 2 == 0 && ku == half - 1);
            sum += f64::from(*value).powi(2) * if twice { 2.0 } else { 1.0 };
        }
        sum * (pu * pv) as f64
    }

    /// The image row that padded row `v` repeats.
    fn row(&self, v: usize) -> Option<usize> {
        let (nv, pv) = (self.size[1], self.padded[1]);
        match v {
            v if v < nv => Some(v),
            _ if self.border == Border::Zero => None,
            v if v < nv + (pv - nv) / 2 => Some(nv - 1),
            _ => Some(0),
        }
    }

    fn extended(&self, row: &[f32]) -> Vec<f32> {
        let (nu, pu) = (self.size[0], self.padded[0]);
        let mut line = Vec::with_capacity(pu);
        line.extend_from_slice(row);
        let (after, before) = match self.border {
            Border::Edge => (row[nu - 1], row[0]),
            Border::Zero => (0.0, 0.0),
        };
        line.resize(nu + (pu - nu) / 2, after);
        line.resize(pu, before);
        line
    }
}

/// `rows x width` to `width x rows`.
fn transposed(values: &[Complex32], width: usize, rows: usize) -> Vec<Complex32> {
    let mut out = vec![Complex32::default(); values.len()];
    out.par_chunks_mut(rows).enumerate().for_each(|(column, line)| {
        for (row, value) in line.iter_mut().enumerate() {
            *value = values[row * width + column];
        }
    });
    out
}

/// The next even size without prime factors above 5.
fn smooth_size(at_least: usize) -> usize {
    (at_least..)
        .find(|n| {
            let mut rest = *n;
            for prime in [2, 3, 5] {
                while rest % prime == 0 {
                    rest /= prime;
                }
            }
            rest == 1 && n % 2 == 0
        })
        .expect("powers of two are unbounded")
}

/// sin(πx)/(πx).
pub(crate) fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blur_keeps_an_even_image_and_spreads_a_gaussian() {
        let sigma_mm = 1.3;
        let gauss = |fu: f64, fv: f64| (-2.0 * (PI * sigma_mm).powi(2) * (fu * fu + fv * fv)).exp();
        let blur = Blur::new([61, 40], [0.6, 0.8], 24, Border::Edge, gauss);
        let mut even = Array2::from_elem((40, 61), 7.0_f32);
        blur.apply(&mut even);
        assert!(even.iter().all(|value| (value - 7.0).abs() < 1e-4));
        let mut point = Array2::zeros((40, 61));
        point[[20, 30]] = 1.0;
        blur.apply(&mut point);
        for (dv, du) in [(0, 0), (0, 2), (3, 0), (2, 3)] {
            let r2 = (0.6 * du as f64).powi(2) + (0.8 * dv as f64).powi(2);
            let exact =
                0.6 * 0.8 / (2.0 * PI * sigma_mm * sigma_mm) * (-r2 / (2.0 * sigma_mm * sigma_mm)).exp();
            let found = f64::from(point[[20 + dv, 30 + du]]);
            assert!((found - exact).abs() < 1e-5, "{du} {dv}: {found} {exact}");
        }
    }

    #[test]
    fn blur_white_noise_gain_is_the_kernels_sum_of_squares() {
        let transfer = |fu: f64, fv: f64| 1.0 / (1.0 + fu * fu + 0.5 * fv * fv);
        let blur = Blur::new([64, 50], [1.0, 1.0], 30, Border::Zero, transfer);
        let mut point = Array2::zeros((50, 64));
        point[[25, 32]] = 1.0;
        blur.apply(&mut point);
        let squares: f64 = point.iter().map(|value| f64::from(*value).powi(2)).sum();
        assert!((squares / blur.white_noise_gain() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn blur_sizes_have_small_factors() {
        assert_eq!([smooth_size(616), smooth_size(681), smooth_size(7)], [640, 720, 8]);
    }
}
