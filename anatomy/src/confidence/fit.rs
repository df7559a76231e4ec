//! Fitting the weights to known labels, and scoring them on labels that they have not seen.

use super::{FEATURES, Features, Weights};
use nalgebra::{SMatrix, SVector};

const N: usize = FEATURES.len();
/// Newton steps; a dozen suffice for any data that can be fitted at all.
const STEPS: usize = 30;
/// Pull towards zero, which keeps weights finite and helps them to fit patients that they have not seen.
const RIDGE: f64 = 1e-3;
/// Bins of the expected calibration error.
const BINS: usize = 20;

/// Fits the weights by maximum likelihood; each sample is features, whether the label was right, and its weight.
///
/// # Method
/// Iteratively reweighted least squares (Newton's method on the logistic likelihood) with a small ridge.
pub fn fit(samples: &[(Features, bool, f64)]) -> Weights {
    let mut weights = SVector::<f64, N>::zeros();
    let total: f64 = samples.iter().map(|(_, _, weight)| weight).sum::<f64>().max(f64::MIN_POSITIVE);
    for _ in 0..STEPS {
        let mut gradient = -RIDGE * weights;
        let mut hessian = SMatrix::<f64, N, N>::identity() * RIDGE;
        for (features, is_right, weight) in samples {
            let x = SVector::<f64, N>::from_fn(|i, _| f64::from(features[i]));
            let p = 1.0 / (1.0 + (-weights.dot(&x)).exp());
            let share = weight / total;
            gradient += x * (share * (f64::from(u8::from(*is_right)) - p));
            hessian += x * x.transpose() * (share * p * (1.0 - p));
        }
        let Some(step) = hessian.cholesky().map(|factor| factor.solve(&gradient)) else { break };
        weights += step;
        if step.norm() < 1e-9 {
            break;
        }
    }
    Weights(weights.into())
}

/// How well probabilities fit what happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Expected calibration error: mean distance between stated and found share of right labels, over equal bins.
    pub calibration_error: f64,
    /// Area under the curve for telling wrong voxels from right ones by their confidence.
    pub auc: f64,
    /// Share of wrong voxels.
    pub wrong_share: f64,
    /// Number of voxels.
    pub count: usize,
}

/// Scores stated probabilities, each with whether the label was right.
pub fn score(stated: &[(f64, bool)]) -> Score {
    let mut bins = [(0.0, 0.0, 0.0); BINS];
    for (probability, is_right) in stated {
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += 1.0;
        bin.1 += probability;
        bin.2 += f64::from(u8::from(*is_right));
    }
    let count = stated.len();
    let calibration_error =
        bins.iter().map(|(_, said, found)| (said - found).abs()).sum::<f64>() / count.max(1) as f64;
    let wrong = stated.iter().filter(|(_, is_right)| !is_right).count();
    Score { calibration_error, auc: auc(stated), wrong_share: wrong as f64 / count.max(1) as f64, count }
}

/// Probability that a wrong voxel is stated with less confidence than a right one, ties counting half.
fn auc(stated: &[(f64, bool)]) -> f64 {
    let mut sorted: Vec<(f64, bool)> = stated.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wrong_below, mut pairs, mut rights) = (0.0, 0.0, 0.0);
    let mut at = 0;
    while at < sorted.len() {
        let end = at + sorted[at..].iter().take_while(|(p, _)| *p == sorted[at].0).count();
        let right = sorted[at..end].iter().filter(|(_, is_right)| *is_right).count() as f64;
        let wrong = (end - at) as f64 - right;
        pairs += right * (wrong_below + 0.5 * wrong);
        wrong_below += wrong;
        rights += right;
        at = end;
    }
    if wrong_below * rights > 0.0 { pairs / (wrong_below * rights) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples whose labels are right with the probability that known weights tell.
    fn drawn(weights: &Weights, count: usize) -> Vec<(Features, bool, f64)> {
        let mut state = 99_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..count)
            .map(|_| {
                let mut features = [0.0; N];
                features[0] = 1.0;
                features[1] = (4.0 * uniform() - 2.0) as f32;
                features[3] = uniform() as f32;
                let is_right = uniform() < weights.probability(&features);
                (features, is_right, 1.0)
            })
            .collect()
    }

    #[test]
    fn fit_states_the_probabilities_that_drew_the_samples() {
        let mut truth = [0.0; N];
        (truth[0], truth[1], truth[3]) = (-0.5, 1.5, 2.0);
        let truth = Weights(truth);
        let samples = drawn(&truth, 40_000);
        let found = fit(&samples);
        // The ridge pulls weights a little; what they state must be right.
        let off = |(x, ..): &(Features, bool, f64)| (found.probability(x) - truth.probability(x)).abs();
        let mean_off = samples.iter().map(off).sum::<f64>() / samples.len() as f64;
        assert!(mean_off < 0.02, "{mean_off}");
        let stated: Vec<(f64, bool)> =
            samples.iter().map(|(x, is_right, _)| (found.probability(x), *is_right)).collect();
        assert!(score(&stated).calibration_error < 0.02);
    }

    #[test]
    fn score_knows_a_constant_from_knowledge() {
        let outcomes = |i: usize| !i.is_multiple_of(4);
        let constant: Vec<(f64, bool)> = (0..1000).map(|i| (0.75, outcomes(i))).collect();
        let told = score(&constant);
        assert!(told.calibration_error < 1e-9 && (told.auc - 0.5).abs() < 1e-9);
        let knowing: Vec<(f64, bool)> =
            (0..1000).map(|i| (if outcomes(i) { 0.9 } else { 0.2 }, outcomes(i))).collect();
        assert_eq!(score(&knowing).auc, 1.0);
    }
}
