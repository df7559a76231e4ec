//! The correction in one pass of `f32` that the compiler vectorises, then the defects.

use super::Corrector;
use crate::bands::{BAND_PIXELS, share};
use std::sync::atomic::{AtomicUsize, Ordering};

/// As the reference. Defects carry an inverse gain of zero and are filled afterwards.
pub(super) fn correct(corrector: &Corrector, raw_counts: &[u16], intensity: &mut [f32]) -> usize {
    let (all, saturation) = (AtomicUsize::new(0), corrector.saturation_counts);
    share(intensity.chunks_mut(BAND_PIXELS).enumerate(), |(band, intensity)| {
        let pixels = band * BAND_PIXELS..band * BAND_PIXELS + intensity.len();
        let maps = corrector.dark_counts[pixels.clone()].iter().zip(&corrector.inverse_gain[pixels.clone()]);
        let mut saturated = 0_u32;
        for ((out, &raw), (&dark, &inverse_gain)) in intensity.iter_mut().zip(&raw_counts[pixels]).zip(maps) {
            *out = (f32::from(raw) - dark) * inverse_gain;
            saturated += u32::from(raw >= saturation);
        }
        all.fetch_add(saturated as usize, Ordering::Relaxed);
    });
    corrector.fill_defects(raw_counts, intensity, all.into_inner())
}
