//! Signal that a flat panel still gives frames later: traps that empty slowly.
//!
//! Per pixel, x in and y out, with stored charges S (Hsieh, Gurmen and King, IEEE Trans. Med. Imaging 19(9), 2000):
//!
//! ```text
//! y_k = x_k + Σ_n b_n e^(-a_n) S_n,k        S_n,k+1 = x_k + e^(-a_n) S_n,k
//! ```
//!
//! With the coefficients below 2.7, 0.80, 0.39 and 0.28 % remain one to four frames after the exposure: the lower end
//! of what Siewerdsen and Jaffray measured (Med. Phys. 26(8), 1999). Lag is stronger at low exposure: b grows by up to
//! 60 % below the knee, so no linear filter undoes it. The steady state is above the input
//! by `1 + Σ b e^(-a) / (1 - e^(-a))`.

use crate::random::{Purpose, Stream};
use rayon::prelude::*;

/// Decay rates, 1/frame.
const RATES: [f64; 4] = [1.6, 0.35, 0.06, 0.006];
/// Strengths.
const STRENGTHS: [f64; 4] = [0.110, 0.0031, 0.0016, 0.000_59];
/// Growth of the strengths towards zero exposure.
const LOW_EXPOSURE_GROWTH: f32 = 0.6;
/// Exposure, as a share of the bare beam, below which they grow.
const KNEE_SHARE: f32 = 0.3;

/// Stored charge of every pixel.
#[derive(Clone, Debug)]
pub(crate) struct Lag {
    knee: f32,
    stored: Vec<[f32; 4]>,
}

impl Lag {
    /// A detector that has rested; `air` is the signal of the bare beam.
    pub fn new(pixels: usize, air: f64) -> Self {
        Self { knee: KNEE_SHARE * air as f32, stored: vec![[0.0; 4]; pixels] }
    }

    /// Takes one frame's signal and gives what is read out, in place.
    pub fn expose(&mut self, signal: &mut [f32]) {
        assert_eq!(signal.len(), self.stored.len(), "pixels that the lag keeps charges of");
        let keep = RATES.map(|rate| (-rate).exp() as f32);
        let release: [f32; 4] = std::array::from_fn(|n| (STRENGTHS[n] * (-RATES[n]).exp()) as f32);
        let knee = self.knee;
        signal.par_chunks_mut(4096).zip(self.stored.par_chunks_mut(4096)).for_each(|(signal, stored)| {
            for (x, stored) in signal.iter_mut().zip(stored) {
                let growth = 1.0 + LOW_EXPOSURE_GROWTH * (1.0 - *x / knee).clamp(0.0, 1.0);
                let mut given = 0.0;
                for n in 0..4 {
                    given += release[n] * stored[n];
                    stored[n] = *x + keep[n] * stored[n];
                }
                *x += growth * given;
            }
        });
    }
}

/// Mean signal of frames `from..to` of an even exposure of 1 above the knee that starts at frame 0.
pub(crate) fn mean_gain(from: usize, to: usize) -> f64 {
    let at = |frame: i32| -> f64 {
        let part = |n: usize| {
            let decay = (-RATES[n]).exp();
            STRENGTHS[n] * decay * (1.0 - decay.powi(frame)) / (1.0 - decay)
        };
        1.0 + (0..4).map(part).sum::<f64>()
    };
    (from..to).map(|frame| at(frame as i32)).sum::<f64>() / (to - from) as f64
}

/// How well a technician's step exposures tell the lag: error of each strength and of the growth.
const MEASURED_WITHIN: f64 = 0.02;

/// What a run tells of its panel's lag.
pub(crate) fn measured(machine_seed: u64, air_counts: f64, frame_rate_hz: f64, flat_gain: f64) -> String {
    let mut stream = Stream::new(machine_seed, 0, 0, Purpose::LagModel);
    let mut off = |truth: f64| truth * (1.0 + MEASURED_WITHIN * (2.0 * stream.uniform() - 1.0));
    let terms: Vec<String> =
        RATES.iter().zip(STRENGTHS).map(|(rate, strength)| format!("{rate}:{}", off(strength))).collect();
    let growth = off(f64::from(LOW_EXPOSURE_GROWTH));
    let knee = off(f64::from(KNEE_SHARE) * air_counts);
    format!(
        "lag={} lag-growth={growth} lag-knee-counts={knee} lag-frame-rate-hz={frame_rate_hz} lag-flat-gain={flat_gain}",
        terms.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rising and falling step against the closed form: 2 % of the lag itself.
    #[test]
    fn lag_step_response_has_its_closed_form() {
        const TOLERANCE: f64 = 0.02;
        let mut lag = Lag::new(1, 1.0);
        let closed = |n: usize, k: i32| {
            STRENGTHS[n] * (-RATES[n]).exp() * (1.0 - (-RATES[n] * f64::from(k)).exp())
                / (1.0 - (-RATES[n]).exp())
        };
        for k in 0..300 {
            let mut signal = [1.0];
            lag.expose(&mut signal);
            let expected: f64 = (0..4).map(|n| closed(n, k)).sum();
            assert!((f64::from(signal[0]) - 1.0 - expected).abs() < TOLERANCE * expected + 1e-6, "{k}");
        }
        for k in 0..60 {
            let mut signal = [0.0];
            lag.expose(&mut signal);
            let remaining: f64 = (0..4).map(|n| closed(n, 300) * (-RATES[n] * f64::from(k)).exp()).sum();
            let expected = remaining * f64::from(1.0 + LOW_EXPOSURE_GROWTH);
            assert!(
                (f64::from(signal[0]) - expected).abs() < TOLERANCE * expected,
                "{k}: {} {expected}",
                signal[0]
            );
        }
    }

    /// One exposed frame, then dark: the published shares, without the growth at low exposure.
    #[test]
    fn lag_after_one_frame_is_what_the_header_says() {
        let mut lag = Lag::new(1, 1.0);
        lag.expose(&mut [1.0]);
        for expected in [0.027, 0.0080, 0.0039, 0.0028] {
            let mut signal = [0.0];
            lag.expose(&mut signal);
            let found = signal[0] / (1.0 + LOW_EXPOSURE_GROWTH);
            assert!((found / expected - 1.0).abs() < 0.05, "{found} {expected}");
        }
    }

    #[test]
    fn lag_mean_gain_is_that_of_the_recursion() {
        let mut lag = Lag::new(1, 1.0);
        let frames: Vec<f64> = (0..48)
            .map(|_| {
                let mut signal = [1.0];
                lag.expose(&mut signal);
                f64::from(signal[0])
            })
            .collect();
        let mean = frames[16..48].iter().sum::<f64>() / 32.0;
        assert!((mean / mean_gain(16, 48) - 1.0).abs() < 1e-5);
    }
}
