//! The sums of a step in `f32`, eight pixels of a row side by side; rows add up in `f64`.

use super::{Equations, Level, Place, Scratch, Window};
use nalgebra::{Matrix3, Vector3};

const LANES: usize = 8;

pub(super) fn equations(
    window: &Window,
    mask: &Level,
    fill: &Level,
    place: &Place,
    scratch: &mut Scratch,
) -> Equations {
    let at = place.at;
    let (x, y) = ((at.x - at.x.floor()) as f32, (at.y - at.y.floor()) as f32);
    let step = Step { x, offset: at.z as f32, per_limit: place.limits.map(|limit| (1.0 / limit) as f32) };
    let mut total = [0.0_f64; SUMS];
    for (v, mv, columns, first) in window.rows(mask, &at) {
        let count = columns.len();
        let line = |dv: usize| &mask.pixels[(mv + dv - 1) * mask.nu + first - 1..][..count + 3];
        let (above, here, below, next) = (line(0), line(1), line(2), line(3));
        scratch.blended.resize(count + 3, 0.0);
        scratch.slope.resize(count + 3, 0.0);
        let rows = above.iter().zip(here).zip(below.iter().zip(next));
        let out = scratch.blended.iter_mut().zip(&mut scratch.slope);
        for ((blended, slope), ((a, b), (c, d))) in out.zip(rows) {
            *blended = (1.0 - y) * b + y * c;
            *slope = 0.5 * ((1.0 - y) * (c - a) + y * (d - b));
        }
        let fill = &fill.pixels[v * fill.nu + columns.start..][..count];
        step.add(&scratch.blended, &scratch.slope, fill, &mut total);
    }
    let [w, wx, wy, wxx, wxy, wyy, wr, wrx, wry] = total;
    Equations {
        normal: Matrix3::new(wxx, wxy, wx, wxy, wyy, wy, wx, wy, w),
        right: -Vector3::new(wrx, wry, wr),
    }
}

const SUMS: usize = 9;

struct Step {
    x: f32,
    offset: f32,
    /// One over the limit of residuals below zero, and above.
    per_limit: [f32; 2],
}

impl Step {
    /// Adds one row.
    fn add(&self, blended: &[f32], slope: &[f32], fill: &[f32], total: &mut [f64; SUMS]) {
        let mut sums = [[0.0_f32; LANES]; SUMS];
        let whole = fill.len() / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            let [b0, b1, b2, b3] = [0, 1, 2, 3].map(|by| lanes(blended, start + by));
            let [s1, s2] = [1, 2].map(|by| lanes(slope, start + by));
            let fill = lanes(fill, start);
            let mut products = [[0.0_f32; LANES]; SUMS];
            for n in 0..LANES {
                let pixel = self.products([b0[n], b1[n], b2[n], b3[n]], [s1[n], s2[n]], fill[n]);
                for (product, value) in products.iter_mut().zip(pixel) {
                    product[n] = value;
                }
            }
            for (sum, product) in sums.iter_mut().zip(products) {
                for (sum, value) in sum.iter_mut().zip(product) {
                    *sum += value;
                }
            }
        }
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += f64::from(sum.iter().sum::<f32>());
        }
        for n in whole..fill.len() {
            let four = [blended[n], blended[n + 1], blended[n + 2], blended[n + 3]];
            let pixel = self.products(four, [slope[n + 1], slope[n + 2]], fill[n]);
            total.iter_mut().zip(pixel).for_each(|(total, value)| *total += f64::from(value));
        }
    }

    #[inline(always)]
    fn products(&self, b: [f32; 4], s: [f32; 2], fill: f32) -> [f32; SUMS] {
        let (x, rest) = (self.x, 1.0 - self.x);
        let r = rest * b[1] + x * b[2] + self.offset - fill;
        let gu = 0.5 * ((rest * b[2] + x * b[3]) - (rest * b[0] + x * b[1]));
        let gv = rest * s[0] + x * s[1];
        let scaled = r * if r > 0.0 { self.per_limit[1] } else { self.per_limit[0] };
        let below = 1.0 + scaled * scaled;
        let w = 1.0 / (below * below);
        let (wu, wv, wr) = (w * gu, w * gv, w * r);
        [w, wu, wv, wu * gu, wu * gv, wv * gv, wr, wr * gu, wr * gv]
    }
}

#[inline(always)]
fn lanes(values: &[f32], at: usize) -> [f32; LANES] {
    values[at..at + LANES].try_into().expect("so many values")
}
