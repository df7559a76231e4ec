//! How much each measured ray is worth.

use ndarray::{Array3, ArrayView3};

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

/// Variance of `-ln(n)` to first order, with `photons` quanta expected: what the quanta add and what the electronics add.
pub(crate) fn relative_variance(photons: f64, noise_photons: f64) -> (f64, f64) {
    (1.0 / photons, (noise_photons / photons).powi(2))
}
