//! The pyramid as it is written down: `f64`, the kernel's 25 products for every pixel.

use super::{Enhancement, GAINS, NOISE, NOISE_REACH, STRONG, Values};

const KERNEL: [f64; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

struct Image {
    nu: usize,
    nv: usize,
    pixels: Vec<f64>,
}

impl Image {
    /// Beyond the border its pixels go on.
    fn at(&self, u: isize, v: isize) -> f64 {
        let near = |at: isize, count: usize| at.clamp(0, count as isize - 1) as usize;
        self.pixels[near(v, self.nv) * self.nu + near(u, self.nu)]
    }

    /// Mean by the kernel around every second pixel.
    fn reduced(&self) -> Self {
        let (nu, nv) = (self.nu.div_ceil(2), self.nv.div_ceil(2));
        let mean = |i: usize| {
            let (u, v) = (2 * (i % nu) as isize, 2 * (i / nu) as isize);
            let pairs = (0..5_usize).flat_map(|m| (0..5_usize).map(move |n| (m, n)));
            let product = |(m, n): (usize, usize)| {
                KERNEL[m] * KERNEL[n] * self.at(u + n as isize - 2, v + m as isize - 2)
            };
            pairs.map(product).sum::<f64>()
        };
        Self { nu, nv, pixels: (0..nu * nv).map(mean).collect() }
    }

    /// Value at pixel `(u, v)` of the level below: the kernel over those of its places where a pixel lies, times four.
    fn expanded(&self, u: usize, v: usize) -> f64 {
        let mut sum = 0.0;
        for (m, weight_v) in KERNEL.iter().enumerate() {
            for (n, weight_u) in KERNEL.iter().enumerate() {
                let (twice_u, twice_v) = (u as isize + n as isize - 2, v as isize + m as isize - 2);
                if twice_u.rem_euclid(2) == 0 && twice_v.rem_euclid(2) == 0 {
                    sum += 4.0 * weight_u * weight_v * self.at(twice_u.div_euclid(2), twice_v.div_euclid(2));
                }
            }
        }
        sum
    }
}

pub(super) fn enhance(enhancement: &mut Enhancement, image: &mut [f32]) {
    let is_counts = enhancement.values == Values::Counts;
    let forth = |x: f64| if is_counts { 2.0 * x.max(0.0).sqrt() } else { x };
    let back = |s: f64| if is_counts { 0.25 * s.max(0.0).powi(2) } else { s };
    let (nu, nv) = (enhancement.means[0].nu, enhancement.means[0].nv);
    let pixels = image.iter().map(|x| forth(f64::from(*x))).collect();
    let mut levels = vec![Image { nu, nv, pixels }];
    while levels.len() < enhancement.means.len() {
        levels.push(levels[levels.len() - 1].reduced());
    }
    let mut details: Vec<Vec<f64>> = levels
        .windows(2)
        .map(|pair| {
            let (fine, coarse) = (&pair[0], &pair[1]);
            let detail = |i: usize| fine.pixels[i] - coarse.expanded(i % fine.nu, i / fine.nu);
            (0..fine.pixels.len()).map(detail).collect()
        })
        .collect();
    let Some(finest) = details.first() else { return };
    let step = enhancement.sample_step();
    let noise = f64::from(enhancement.follow_noise(finest.iter().step_by(step).map(|d| d.abs() as f32)));
    for ((details, gain), share) in details.iter_mut().zip(GAINS).zip(NOISE) {
        for detail in details {
            let t = detail.abs() / (noise * f64::from(share));
            let above = t * t / (t * t + f64::from(NOISE_REACH).powi(2));
            *detail *= 1.0 + f64::from(gain) * above / (1.0 + (t / f64::from(STRONG)).powi(2));
        }
    }
    for level in (0..details.len()).rev() {
        let (finer, coarser) = levels.split_at_mut(level + 1);
        let (fine, coarse) = (&mut finer[level], &coarser[0]);
        for (i, pixel) in fine.pixels.iter_mut().enumerate() {
            *pixel = coarse.expanded(i % fine.nu, i / fine.nu) + details[level][i];
        }
    }
    image.iter_mut().zip(&levels[0].pixels).for_each(|(out, s)| *out = back(*s) as f32);
}
