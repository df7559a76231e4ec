//! The surface integral as it stands in the paper, point by point.

use nalgebra::{Matrix3, Vector3};
use std::f64::consts::PI;

/// Points on the sphere.
const POINTS: usize = 4000;

/// The flux matrix at `centre` for a field `gradient(point)`, divided by the sphere's area.
pub(crate) fn flux(
    gradient: impl Fn(Vector3<f64>) -> Vector3<f64>,
    centre: Vector3<f64>,
    radius: f64,
) -> Matrix3<f64> {
    let golden = PI * (3.0 - 5.0_f64.sqrt());
    let mut sum = Matrix3::zeros();
    for point in 0..POINTS {
        // A spiral of equal areas.
        let height = 1.0 - (2 * point + 1) as f64 / POINTS as f64;
        let across = (1.0 - height * height).sqrt();
        let angle = golden * point as f64;
        let normal = Vector3::new(height, across * angle.sin(), across * angle.cos());
        sum += gradient(centre + radius * normal) * normal.transpose();
    }
    sum / POINTS as f64
}
