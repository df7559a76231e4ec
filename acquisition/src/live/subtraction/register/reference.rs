//! The sums of a step as they are written down, pixel by pixel in `f64`.

use super::{Equations, Level, Place, Window};
use nalgebra::Vector3;

/// Weighted by `1 / (1 + (r / limit)²)²`: Geman and McClure's.
pub(super) fn equations(window: &Window, mask: &Level, fill: &Level, place: &Place) -> Equations {
    let at = place.at;
    let (x, y) = (at.x - at.x.floor(), at.y - at.y.floor());
    let mut sums = Equations::default();
    for (v, mv, columns, first) in window.rows(mask, &at) {
        for (mu, u) in (first..).zip(columns) {
            let pixel = |du: isize, dv: isize| {
                let (u, v) = (mu.wrapping_add_signed(du), mv.wrapping_add_signed(dv));
                f64::from(mask.pixels[v * mask.nu + u])
            };
            let bilinear = |du: isize, dv: isize| {
                (1.0 - y) * ((1.0 - x) * pixel(du, dv) + x * pixel(du + 1, dv))
                    + y * ((1.0 - x) * pixel(du, dv + 1) + x * pixel(du + 1, dv + 1))
            };
            let residual = bilinear(0, 0) + at.z - f64::from(fill.pixels[v * fill.nu + u]);
            let gradient =
                [0.5 * (bilinear(1, 0) - bilinear(-1, 0)), 0.5 * (bilinear(0, 1) - bilinear(0, -1))];
            let limit = place.limits[usize::from(residual > 0.0)];
            let weight = 1.0 / (1.0 + (residual / limit).powi(2)).powi(2);
            let row = Vector3::new(gradient[0], gradient[1], 1.0);
            sums.normal += weight * row * row.transpose();
            sums.right -= weight * residual * row;
        }
    }
    sums
}
