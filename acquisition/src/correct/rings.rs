//! What calibration does not know of each pixel's gain: seen in a sweep as what a pixel differs from its row neighbours by,
//! view after view, while the body in front of it changes. Left alone it makes rings; it is taken out before the volume is
//! made, in the detector's own pixels, because rings smear where an arm wobbles.
//!
//! Of each view the logarithm's difference to a parabola through the four neighbours on either side is summed, weighted by
//! one over its variance; beyond three deviations it is an edge of the body and says nothing. A pixel's mean is believed as
//! far as the spread of all pixels stands above what noise alone would leave (Wiener's share). What the neighbours' own gains
//! put into each other's parabolas is then solved for along the row.

use super::{CorrectedFrame, Corrector};
use crate::error::AcquisitionError;
use std::sync::Arc;

/// Neighbours on each side.
const REACH: usize = 4;
/// What a parabola fitted to the neighbours takes of each, from the nearest on: `a - b k²` with sum 1/2 and no second moment.
const PARABOLA: [f32; REACH] = [0.313_953_5, 0.226_744_2, 0.081_395_35, -0.122_093_02];
/// Sum of the squares of all eight.
const PARABOLA_NOISE: f32 = 0.343_023_26;
/// Steps in which the row is solved: each takes out what the parabola leaves of a finer structure.
const SOLVING_STEPS: usize = 3;
/// Differences count up to so many deviations.
const BOUND: f32 = 3.0;
/// Deviation that the body's own texture is reckoned with, beside noise: views through air do not outweigh all others.
const TEXTURE: f32 = 0.01;
/// Deviation over median of the size of normal deviates.
const DEVIATION_PER_MEDIAN: f64 = 1.4826;

/// Gathers what a sweep tells of each pixel.
#[derive(Clone, Debug)]
pub struct RingResidual {
    nu: usize,
    /// Sums of weighted differences, and of weights.
    sums: Vec<f32>,
    weights: Vec<f32>,
    logarithms: Vec<f32>,
}

impl RingResidual {
    /// For images of `nu` columns and `nv` rows.
    pub fn new(nu: usize, nv: usize) -> Self {
        let image = || vec![0.0; nu * nv];
        Self { nu, sums: image(), weights: image(), logarithms: vec![0.0; nu] }
    }

    /// Takes note of a view.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`].
    pub fn observe(&mut self, frame: &CorrectedFrame) -> Result<(), AcquisitionError> {
        let (expected, found) = (self.sums.len(), frame.intensity.len());
        if expected != found {
            return Err(AcquisitionError::FrameSize { expected, found });
        }
        let nu = self.nu;
        if nu <= 2 * REACH {
            return Ok(());
        }
        let sums = self.sums.chunks_exact_mut(nu).zip(self.weights.chunks_exact_mut(nu));
        for (intensity, (sums, weights)) in frame.intensity.chunks_exact(nu).zip(sums) {
            for (log, x) in self.logarithms.iter_mut().zip(intensity) {
                *log = x.max(1.0).ln();
            }
            for u in REACH..nu - REACH {
                let difference = self.logarithms[u] - parabola(&self.logarithms, u);
                let level = intensity[u].max(1.0);
                let noise = frame.variance.variance(level) / (level * level) * (1.0 + PARABOLA_NOISE);
                let variance = noise + TEXTURE * TEXTURE;
                if difference * difference < BOUND * BOUND * variance {
                    sums[u] += difference / variance;
                    weights[u] += 1.0 / variance;
                }
            }
        }
        Ok(())
    }

    /// Factors by which intensities `[v, u]` are to be multiplied; one where nothing is known.
    pub fn factors(&self) -> Vec<f32> {
        let known: Vec<(f64, f64)> =
            self.sums
                .iter()
                .zip(&self.weights)
                .map(|(sum, weight)| {
                    if *weight > 0.0 {
                        (f64::from(sum / weight), 1.0 / f64::from(*weight))
                    } else {
                        (0.0, 0.0)
                    }
                })
                .collect();
        let mut sizes: Vec<f64> =
            known.iter().filter(|(_, noise)| *noise > 0.0).map(|(mean, _)| mean.abs()).collect();
        if sizes.is_empty() {
            return vec![1.0; known.len()];
        }
        let middle = sizes.len() / 2;
        let spread = (DEVIATION_PER_MEDIAN * *sizes.select_nth_unstable_by(middle, f64::total_cmp).1).powi(2);
        let noise = known.iter().map(|(_, noise)| noise).sum::<f64>() / sizes.len() as f64;
        let gain = (spread - noise).max(0.0);
        if gain <= 0.0 {
            return vec![1.0; known.len()];
        }
        let believed = known.iter().map(|(mean, noise)| (mean * gain / (gain + noise)) as f32);
        let mut off: Vec<f32> = believed.collect();
        off.chunks_exact_mut(self.nu).for_each(solve);
        off.iter().map(|off| (-off).exp()).collect()
    }
}

/// What the parabola through its neighbours gives a pixel.
fn parabola(row: &[f32], u: usize) -> f32 {
    let pairs = (1..=REACH).map(|k| row[u - k] + row[u + k]);
    pairs.zip(PARABOLA).map(|(pair, weight)| pair * weight).sum()
}

/// From `e = g - W g` to `g`, by `g = e + W g` from `g = e` on.
fn solve(row: &mut [f32]) {
    let differences = row.to_vec();
    for _ in 0..SOLVING_STEPS {
        let before = row.to_vec();
        for u in REACH..row.len().saturating_sub(REACH) {
            row[u] = differences[u] + parabola(&before, u);
        }
    }
}

impl Corrector {
    /// Multiplies intensities by these factors `[v, u]` from now on, as if the gain had been measured so.
    ///
    /// # Errors
    /// [`AcquisitionError::FrameSize`].
    pub fn apply_factors(&mut self, factors: &[f32]) -> Result<(), AcquisitionError> {
        let (expected, found) = (self.gain.len(), factors.len());
        if expected != found {
            return Err(AcquisitionError::FrameSize { expected, found });
        }
        let (gain, inverse) = (Arc::make_mut(&mut self.gain), Arc::make_mut(&mut self.inverse_gain));
        for ((gain, inverse), factor) in gain.iter_mut().zip(inverse).zip(factors) {
            *gain /= factor;
            *inverse *= factor;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correct::VarianceModel;

    const NU: usize = 200;
    const NV: usize = 6;
    const VIEWS: usize = 150;

    fn normal(state: &mut u64) -> f64 {
        (0..12)
            .map(|_| {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 40) as f64 / f64::from(1 << 24)
            })
            .sum::<f64>()
            - 6.0
    }

    /// Views of a turning body with an edge, through pixels whose gain is off by `deviation`.
    fn residual(deviation: f64) -> (Vec<f64>, Vec<f32>) {
        let mut state = 11;
        let gains: Vec<f64> = (0..NU * NV).map(|_| deviation * normal(&mut state)).collect();
        let mut rings = RingResidual::new(NU, NV);
        for view in 0..VIEWS {
            let centre = 100.0 + 40.0 * (0.04 * view as f64).sin();
            let intensity = gains.iter().enumerate().map(|(i, gain)| {
                let off = ((i % NU) as f64 - centre) / 50.0;
                let path = 3.0 * (1.0 - off * off).max(0.0).sqrt() + if off.abs() < 0.1 { 0.4 } else { 0.0 };
                let mean = 20_000.0 * (-path).exp();
                (mean * (1.0 + gain) + mean.sqrt() * normal(&mut state)) as f32
            });
            let frame = CorrectedFrame {
                intensity: intensity.collect(),
                air_intensity: 20_000.0,
                variance: VarianceModel { electronic: 0.0, per_count: 1.0 },
                ..CorrectedFrame::default()
            };
            rings.observe(&frame).unwrap();
        }
        (gains, rings.factors())
    }

    fn deviation(values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn ring_residual_learns_what_each_pixel_is_off_by() {
        let (gains, factors) = residual(0.01);
        let inside = |i: &usize| (20..NU - 20).contains(&(i % NU));
        let off = |i: usize| (1.0 + gains[i]) * f64::from(factors[i]) - 1.0;
        let before = deviation((0..NU * NV).filter(inside).map(|i| gains[i]));
        let after = deviation((0..NU * NV).filter(inside).map(off));
        println!("gains off by {:.2} % before, {:.2} % after", 100.0 * before, 100.0 * after);
        // Noise of 0.3 % in the mean of 150 views behind the thickest part, and structure coarser than the parabola: 0.51 was
        // seen.
        assert!(after < 0.6 * before, "{before} to {after}");
    }

    #[test]
    fn ring_residual_believes_nothing_where_all_is_noise() {
        let (_, factors) = residual(0.0);
        let most = deviation(factors.iter().map(|factor| f64::from(*factor) - 1.0));
        println!("factors differ from one by {:.3} %", 100.0 * most);
        assert!(most < 5e-4, "{most}");
        let mut rings = RingResidual::new(NU, NV);
        assert!(rings.observe(&CorrectedFrame::default()).is_err());
        assert!(rings.factors().iter().all(|factor| *factor == 1.0));
    }
}
