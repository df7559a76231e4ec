//! Defines a resampled row: Keys' cubic convolution in `f64` at the homography's real pixel.

use super::{MeasuredSpan, VirtualView};
use carm::DetectorGrid;

/// Fills `row` (virtual row `v`) from the real image `[v, u]`; zero where nothing was measured.
///
/// Method: Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1981, a = -1/2; the image continues with its
/// border value for the taps outside.
pub fn resample_row(
    view: &VirtualView,
    detector: &DetectorGrid,
    image: &[f32],
    v: usize,
    row: &mut [f32],
) -> MeasuredSpan {
    let mut span = MeasuredSpan::EMPTY;
    for (u, sample) in row.iter_mut().enumerate() {
        let [real_u, real_v] = view.real_pixel(u as f64, v as f64);
        let is_inside = |x: f64, n: usize| x >= -0.5 && x <= n as f64 - 0.5;
        if !(is_inside(real_u, detector.nu) && is_inside(real_v, detector.nv)) {
            *sample = 0.0;
            continue;
        }
        if span.end == 0 {
            span.start = u;
        }
        span.end = u + 1;
        *sample = interpolate(detector, image, real_u, real_v) as f32;
    }
    span
}

fn interpolate(detector: &DetectorGrid, image: &[f32], u: f64, v: f64) -> f64 {
    let (first_u, first_v) = (u.floor(), v.floor());
    let mut sum = 0.0;
    for dv in -1..=2_i64 {
        for du in -1..=2_i64 {
            let clamp = |x: f64, d: i64, n: usize| (x as i64 + d).clamp(0, n as i64 - 1) as usize;
            let pixel = clamp(first_v, dv, detector.nv) * detector.nu + clamp(first_u, du, detector.nu);
            sum += keys(u - first_u - du as f64) * keys(v - first_v - dv as f64) * f64::from(image[pixel]);
        }
    }
    sum
}

/// Weight of a sample at a distance in pixels.
pub(crate) fn keys(distance: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}
