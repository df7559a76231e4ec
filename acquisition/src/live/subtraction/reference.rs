//! The subtraction as it is written down: `f64`, each pixel by itself.

use super::field::{ShiftField, cubic};

pub(super) fn subtract(nu: usize, mask: &[f32], fill: &[f32], field: &ShiftField, difference: &mut [f32]) {
    let nv = fill.len() / nu;
    for v in 0..nv {
        for u in 0..nu {
            let [shift_u, shift_v] = field.at(u, v);
            let laid = sample(mask, [nu, nv], u as f64 + f64::from(shift_u), v as f64 + f64::from(shift_v));
            difference[v * nu + u] = (laid + f64::from(field.offset) - f64::from(fill[v * nu + u])) as f32;
        }
    }
}

/// Cubic convolution; beyond the border the border's pixels go on.
fn sample(image: &[f32], [nu, nv]: [usize; 2], u: f64, v: f64) -> f64 {
    let (whole_u, whole_v) = (u.floor(), v.floor());
    let (weights_u, weights_v) = (cubic(u - whole_u), cubic(v - whole_v));
    let near = |at: f64, count: usize| at.clamp(0.0, (count - 1) as f64) as usize;
    let mut sum = 0.0;
    for (row, weight_v) in (-1..).zip(weights_v) {
        for (column, weight_u) in (-1..).zip(weights_u) {
            let v = near(whole_v + f64::from(row), nv);
            let u = near(whole_u + f64::from(column), nu);
            sum += weight_u * weight_v * f64::from(image[v * nu + u]);
        }
    }
    sum
}
