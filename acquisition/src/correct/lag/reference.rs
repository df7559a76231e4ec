//! The recursion as the module's header writes it, a pixel at a time in `f64`.

use super::{Around, Factors, Lag, Step};

pub(super) fn correct(lag: &mut Lag, step: Step, counts: &mut [f32], around: &Around<'_>) {
    let factors = Factors::all(&lag.model, step);
    let (growth, knee) = (lag.model.low_exposure_growth, lag.model.knee_counts);
    around(0, counts, false);
    for (pixel, count) in counts.iter_mut().enumerate() {
        let reading = f64::from(*count);
        let mut released = 0.0;
        for (stored, term) in lag.stored_exact.iter_mut().zip(&factors) {
            stored[pixel] *= term.rested;
            released += term.release * stored[pixel];
        }
        if step.lost > 0.0 {
            let lost = signal(reading, released, growth, knee);
            released = 0.0;
            for (stored, term) in lag.stored_exact.iter_mut().zip(&factors) {
                stored[pixel] = term.kept_lost * stored[pixel] + term.refilled * lost;
                released += term.release * stored[pixel];
            }
        }
        let signal = signal(reading, released, growth, knee);
        if step.stores {
            for (stored, term) in lag.stored_exact.iter_mut().zip(&factors) {
                stored[pixel] = signal + term.keep * stored[pixel];
            }
        }
        *count = signal as f32;
    }
    around(0, counts, true);
}

/// The x with `reading = x + g(x) released`.
fn signal(reading: f64, released: f64, growth: f64, knee: f64) -> f64 {
    let above = reading - released;
    if above >= knee {
        return above;
    }
    let dark = reading - (1.0 + growth) * released;
    if dark <= 0.0 {
        return dark;
    }
    dark / (1.0 - growth * released / knee)
}
