//! The recursion in `f32`, a stretch of pixels at a time, without a branch.

use super::{Around, Factors, Lag, MOST_TERMS, Step};
use crate::bands::share;
use multiversion::multiversion;

/// Pixels of a stretch: it stays near while maps and charges are applied.
const BLOCK: usize = 2048;

pub(super) fn correct(lag: &mut Lag, step: Step, counts: &mut [f32], around: &Around<'_>) {
    let factors = Factors::all(&lag.model, step);
    let is_next = step.lost == 0.0 && step.idle == 0.0;
    let keep = factors.map(|term| term.keep as f32);
    let release = factors.map(|term| term.release as f32);
    let line = Line {
        growth: lag.model.low_exposure_growth as f32,
        knee: lag.model.knee_counts as f32,
        per_knee: (lag.model.low_exposure_growth / lag.model.knee_counts) as f32,
    };
    let [a, b, c, d] = lag.stored.each_mut().map(|stored| stored.chunks_mut(BLOCK));
    let stored = a.zip(b).zip(c.zip(d)).map(|((a, b), (c, d))| [a, b, c, d]);
    share(counts.chunks_mut(BLOCK).zip(stored).enumerate(), |(block, (counts, mut stored))| {
        let first = block * BLOCK;
        around(first, counts, false);
        if !is_next {
            bridge(counts, &mut stored, &factors, release, line);
        }
        if step.stores {
            advance(counts, stored, keep, release, line);
        } else {
            show(counts, stored, release, line);
        }
        around(first, counts, true);
    });
}

#[derive(Clone, Copy)]
struct Line {
    growth: f32,
    knee: f32,
    per_knee: f32,
}

impl Line {
    /// The x with `reading = x + g(x) released`: the smaller of both sides' solutions above the knee, the larger below.
    #[inline]
    fn signal(self, reading: f32, released: f32) -> f32 {
        let above = reading - released;
        let dark = above - self.growth * released;
        let below = dark / (1.0 - self.per_knee * released);
        let low = if dark <= 0.0 { dark } else { below };
        if above >= self.knee { above } else { low }
    }
}

/// Takes the charges over a pause and over lost frames: rare, so a pixel at a time.
fn bridge(
    counts: &[f32],
    stored: &mut [&mut [f32]; MOST_TERMS],
    factors: &[Factors; MOST_TERMS],
    release: [f32; MOST_TERMS],
    line: Line,
) {
    for (pixel, &reading) in counts.iter().enumerate() {
        let mut released = 0.0;
        for ((stored, term), release) in stored.iter_mut().zip(factors).zip(release) {
            stored[pixel] *= term.rested as f32;
            released += release * stored[pixel];
        }
        let lost = line.signal(reading, released);
        for (stored, term) in stored.iter_mut().zip(factors) {
            stored[pixel] = term.kept_lost as f32 * stored[pixel] + term.refilled as f32 * lost;
        }
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn advance(
    counts: &mut [f32],
    [a, b, c, d]: [&mut [f32]; MOST_TERMS],
    keep: [f32; MOST_TERMS],
    release: [f32; MOST_TERMS],
    line: Line,
) {
    let stored = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
    for (count, ((a, b), (c, d))) in counts.iter_mut().zip(stored) {
        let released = (release[0] * *a + release[1] * *b) + (release[2] * *c + release[3] * *d);
        let x = line.signal(*count, released);
        *a = x + keep[0] * *a;
        *b = x + keep[1] * *b;
        *c = x + keep[2] * *c;
        *d = x + keep[3] * *d;
        *count = x;
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn show(counts: &mut [f32], [a, b, c, d]: [&mut [f32]; MOST_TERMS], release: [f32; MOST_TERMS], line: Line) {
    let stored = a.iter().zip(b).zip(c.iter().zip(d));
    for (count, ((a, b), (c, d))) in counts.iter_mut().zip(stored) {
        let released = (release[0] * *a + release[1] * *b) + (release[2] * *c + release[3] * *d);
        *count = line.signal(*count, released);
    }
}
