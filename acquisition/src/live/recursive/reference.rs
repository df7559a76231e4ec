//! The filter as its header states it, pixel by pixel in `f64`.

use super::{MOVED_ABOVE, ROUNDING_VARIANCE, RecursiveFilter, STILL, STILL_BELOW};
use crate::correct::CorrectedFrame;

pub(super) fn filter(filter: &mut RecursiveFilter, scale: f32, frame: &mut CorrectedFrame) {
    let (nu, nv) = (filter.nu, filter.memory.len() / filter.nu);
    let before: Vec<f64> = filter.memory.iter().map(|&y| f64::from(y) * f64::from(scale)).collect();
    let (electronic, per_count) = (f64::from(frame.variance.electronic), f64::from(frame.variance.per_count));
    let energy = |u: usize, v: usize| {
        let (x, y) = (f64::from(frame.intensity[v * nu + u]), before[v * nu + u]);
        let variance = electronic + per_count * y.max(0.0) + f64::from(ROUNDING_VARIANCE);
        (x - y).powi(2) / variance
    };
    for v in 0..nv {
        for u in 0..nu {
            let mut mean = 0.0;
            for (dv, weight_v) in [(-1, 0.25), (0, 0.5), (1, 0.25)] {
                for (du, weight_u) in [(-1, 0.25), (0, 0.5), (1, 0.25)] {
                    let near =
                        |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count - 1);
                    mean += weight_u * weight_v * energy(near(u, du, nu), near(v, dv, nv));
                }
            }
            let opened = (mean - f64::from(STILL_BELOW)) / f64::from(MOVED_ABOVE - STILL_BELOW);
            let share = f64::from(STILL) + (1.0 - f64::from(STILL)) * opened.clamp(0.0, 1.0);
            let (x, y) = (f64::from(frame.intensity[v * nu + u]), before[v * nu + u]);
            filter.memory[v * nu + u] = (y + share * (x - y)) as f32;
        }
    }
    frame.intensity.copy_from_slice(&filter.memory);
}
