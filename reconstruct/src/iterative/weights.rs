//! How much each measured ray is worth.

use ndarray::{Array3, ArrayView3};

/// About how many rays the noise is judged by.
const SAMPLES: usize = 1 << 20;

/// Inverse variances of line integrals, relative to that of an unattenuated ray.
///
/// `photons`: quanta per pixel in air. `noise_photons`: standard deviation of the electronic noise, in quanta. The
/// variance of `-ln(n / photons)` is `(n + noise²) / n²` to first order, with `n = photons exp(-p)` expected.
pub fn statistical_weights(
    line_integrals: ArrayView3<'_, f32>,
    photons: f64,
    noise_photons: f64,
) -> Array3<f32> {
    let variance = |expected: f64| {
        let (of_quanta, of_electronics) = relative_variance(expected, noise_photons);
        of_quanta + of_electronics
    };
    let air = variance(photons);
    line_integrals.mapv(|p| (air / variance(photons * f64::from(-p).exp())) as f32)
}

/// Quanta per pixel in air that the noise of the views speaks of; none where there is no noise to be seen.
///
/// From second differences along rows, which leave little of the object; that of a ray of `p` is divided by `exp(p / 2)`,
/// the growth of photon noise, and the median of all tells the noise in air. What a detector's blur takes from the
/// difference of neighbours goes unseen, so blurred views seem to have more quanta than they have.
pub fn apparent_photons(line_integrals: ArrayView3<'_, f32>) -> Option<f64> {
    let every = line_integrals.len().div_ceil(SAMPLES).max(1);
    let mut differences: Vec<f32> = line_integrals
        .rows()
        .into_iter()
        .step_by(every)
        .flat_map(|row| {
            row.windows(3)
                .into_iter()
                .map(|p| (p[0] - 2.0 * p[1] + p[2]).abs() * (-0.5 * p[1]).exp())
                .collect::<Vec<_>>()
        })
        .collect();
    if differences.is_empty() {
        return None;
    }
    let middle = differences.len() / 2;
    let median = f64::from(*differences.select_nth_unstable_by(middle, f32::total_cmp).1);
    // The weights (1, -2, 1) add six variances; the median of a normal deviate's size is 0.6745.
    let air_variance = (median / 0.674_49).powi(2) / 6.0;
    (air_variance > 0.0).then(|| 1.0 / air_variance)
}

/// Variance of `-ln(n)` to first order, with `photons` quanta expected: what the quanta add and what the electronics add.
pub(crate) fn relative_variance(photons: f64, noise_photons: f64) -> (f64, f64) {
    (1.0 / photons, (noise_photons / photons).powi(2))
}
