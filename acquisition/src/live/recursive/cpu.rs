//! The filter in `f32`, row by row: energies first, then their sums down and across.

use super::{MOVED_ABOVE, ROUNDING_VARIANCE, RecursiveFilter, STILL, STILL_BELOW};
use crate::correct::CorrectedFrame;

pub(super) fn filter(filter: &mut RecursiveFilter, frame: &CorrectedFrame) {
    let nu = filter.nu;
    let last = filter.memory.len() / nu - 1;
    let (electronic, per_count) = (frame.variance.electronic + ROUNDING_VARIANCE, frame.variance.per_count);
    let pixels = frame.intensity.iter().zip(&filter.memory);
    for (energy, (x, y)) in filter.energy.iter_mut().zip(pixels) {
        let difference = x - y;
        *energy = difference * difference / (electronic + per_count * y.max(0.0));
    }
    let row_of = |v: usize| &filter.energy[v * nu..][..nu];
    let rows = filter.memory.chunks_exact_mut(nu).zip(frame.intensity.chunks_exact(nu));
    for (v, (memory, intensity)) in rows.enumerate() {
        let rows = row_of(v.saturating_sub(1)).iter().zip(row_of(v)).zip(row_of((v + 1).min(last)));
        let inner = &mut filter.sums[1..=nu];
        for (sum, ((above, here), below)) in inner.iter_mut().zip(rows) {
            *sum = 0.25 * (above + below) + 0.5 * here;
        }
        filter.sums[0] = filter.sums[1];
        filter.sums[nu + 1] = filter.sums[nu];
        let sums = filter.sums.iter().zip(&filter.sums[1..]).zip(&filter.sums[2..]);
        for ((y, x), ((left, here), right)) in memory.iter_mut().zip(intensity).zip(sums) {
            let mean = 0.25 * (left + right) + 0.5 * here;
            let opened = ((mean - STILL_BELOW) * (1.0 / (MOVED_ABOVE - STILL_BELOW))).clamp(0.0, 1.0);
            *y += (STILL + (1.0 - STILL) * opened) * (x - *y);
        }
    }
}
