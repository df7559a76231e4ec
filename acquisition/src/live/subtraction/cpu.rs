//! The subtraction in `f32`, row by row: shifts change so slowly that one weight a stretch of pixels would do, but each
//! pixel has its own; only the border is clamped.

use super::field::{ShiftField, cubic};

pub(super) fn subtract(nu: usize, mask: &[f32], fill: &[f32], field: &ShiftField, difference: &mut [f32]) {
    let nv = fill.len() / nu;
    let columns: Vec<(usize, usize, f32)> = (0..nu).map(|u| field.between(u, 0)).collect();
    let mut shifts = vec![[0.0_f32; 2]; field.blocks[0]];
    let rows = fill.chunks_exact(nu).zip(difference.chunks_exact_mut(nu));
    for (v, (fill, difference)) in rows.enumerate() {
        let (v0, v1, y) = field.between(v, 1);
        for (u, shift) in shifts.iter_mut().enumerate() {
            let (above, below) =
                (field.shifts_px[v0 * field.blocks[0] + u], field.shifts_px[v1 * field.blocks[0] + u]);
            *shift = [0, 1].map(|axis| (1.0 - y) * above[axis] + y * below[axis]);
        }
        for (u, ((out, fill), (u0, u1, x))) in difference.iter_mut().zip(fill).zip(&columns).enumerate() {
            let [shift_u, shift_v] = [0, 1].map(|axis| (1.0 - x) * shifts[*u0][axis] + x * shifts[*u1][axis]);
            *out = sample(mask, [nu, nv], u as f32 + shift_u, v as f32 + shift_v) + field.offset - fill;
        }
    }
}

#[inline]
fn sample(image: &[f32], [nu, nv]: [usize; 2], u: f32, v: f32) -> f32 {
    let (whole_u, whole_v) = (u.floor(), v.floor());
    let (wu, wv) = (cubic(u - whole_u), cubic(v - whole_v));
    let is_inside =
        whole_u >= 1.0 && whole_v >= 1.0 && whole_u < (nu - 2) as f32 && whole_v < (nv - 2) as f32;
    if is_inside {
        let first = (whole_v as usize - 1) * nu + whole_u as usize - 1;
        let mut sum = 0.0;
        for (row, weight) in wv.iter().enumerate() {
            let four = &image[first + row * nu..first + row * nu + 4];
            sum += weight * (wu[0] * four[0] + wu[1] * four[1] + (wu[2] * four[2] + wu[3] * four[3]));
        }
        return sum;
    }
    let near = |at: f32, count: usize| at.clamp(0.0, (count - 1) as f32) as usize;
    let mut sum = 0.0;
    for (row, weight_v) in (-1_i8..).zip(wv) {
        for (column, weight_u) in (-1_i8..).zip(wu) {
            let v = near(whole_v + f32::from(row), nv);
            let u = near(whole_u + f32::from(column), nu);
            sum += weight_u * weight_v * image[v * nu + u];
        }
    }
    sum
}
