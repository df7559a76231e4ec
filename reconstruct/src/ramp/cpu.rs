//! Two real rows in one complex transform: the filter's spectrum is real, so the rows do not mix.

use super::{Apodisation, ramp_kernel};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// The planned filter: share it between threads, give each its own [`RampScratch`].
#[derive(Clone)]
pub struct RampFilter {
    length: usize,
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
    gain: Vec<f32>,
}

/// One thread's buffers.
pub struct RampScratch {
    pub(super) rows: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
}

impl RampFilter {
    /// Plans for rows of `input` samples of which `output` lie in the part that is read back.
    ///
    /// The padded length is at least `input + output`, so that nothing wraps into what is read.
    pub fn new(input: usize, output: usize, apodisation: Apodisation) -> Self {
        let length = fast_length(input + output);
        let mut planner = FftPlanner::<f64>::new();
        let mut kernel: Vec<Complex<f64>> = (0..length)
            .map(|n| {
                let signed = if n <= length / 2 { n as i64 } else { n as i64 - length as i64 };
                Complex::new(ramp_kernel(signed), 0.0)
            })
            .collect();
        planner.plan_fft_forward(length).process(&mut kernel);
        let gain = kernel
            .iter()
            .enumerate()
            .map(|(k, value)| {
                let frequency = k.min(length - k) as f64 / length as f64;
                (value.re * apodisation.gain(frequency) / length as f64) as f32
            })
            .collect();
        let mut planner = FftPlanner::<f32>::new();
        Self {
            length,
            forward: planner.plan_fft_forward(length),
            inverse: planner.plan_fft_inverse(length),
            gain,
        }
    }

    /// Samples of the padded row.
    pub fn padded_length(&self) -> usize {
        self.length
    }

    /// What each frequency is multiplied by, from zero up round the padded length.
    pub(crate) fn gain(&self) -> impl Iterator<Item = f64> {
        self.gain.iter().map(|gain| f64::from(*gain) * self.length as f64)
    }

    /// Buffers for one thread.
    pub fn scratch(&self) -> RampScratch {
        let fft = self.forward.get_inplace_scratch_len().max(self.inverse.get_inplace_scratch_len());
        RampScratch { rows: vec![Complex::default(); self.length], fft: vec![Complex::default(); fft] }
    }

    /// Filters two rows of equal length in place; a missing partner is a row of zeros.
    ///
    /// # Panics
    /// When a row is longer than planned for.
    pub fn filter_pair(&self, scratch: &mut RampScratch, first: &mut [f32], second: Option<&mut [f32]>) {
        let count = first.len();
        assert!(count <= self.length, "a row of {count} samples in a transform of {}", self.length);
        let rows = &mut scratch.rows;
        match &second {
            Some(second) => {
                for (slot, (a, b)) in rows.iter_mut().zip(first.iter().zip(second.iter())) {
                    *slot = Complex::new(*a, *b);
                }
            }
            None => {
                for (slot, a) in rows.iter_mut().zip(first.iter()) {
                    *slot = Complex::new(*a, 0.0);
                }
            }
        }
        rows[count..].fill(Complex::default());
        self.forward.process_with_scratch(rows, &mut scratch.fft);
        for (value, gain) in rows.iter_mut().zip(&self.gain) {
            *value *= gain;
        }
        self.inverse.process_with_scratch(rows, &mut scratch.fft);
        for (slot, a) in rows.iter().zip(first.iter_mut()) {
            *a = slot.re;
        }
        if let Some(second) = second {
            for (slot, b) in rows.iter().zip(second.iter_mut()) {
                *b = slot.im;
            }
        }
    }
}

/// Smallest even length of at least `minimum` with no prime factor above five.
fn fast_length(minimum: usize) -> usize {
    let is_smooth = |mut n: usize| {
        for factor in [2, 3, 5] {
            while n.is_multiple_of(factor) {
                n /= factor;
            }
        }
        n == 1
    };
    (minimum.max(2)..).find(|n| n % 2 == 0 && is_smooth(*n)).expect("a power of two lies above any number")
}
