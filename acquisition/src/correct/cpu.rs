//! The correction in one pass of `f32` that the compiler vectorises, then the defects.

use super::Corrector;
use crate::bands::{BAND_PIXELS, share};
use multiversion::multiversion;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As the reference. Defects carry an inverse gain of zero and are filled afterwards.
pub(super) fn correct(corrector: &Corrector, raw_counts: &[u16], intensity: &mut [f32]) -> usize {
    let (all, saturation) = (AtomicUsize::new(0), corrector.saturation_counts);
    share(intensity.chunks_mut(BAND_PIXELS).enumerate(), |(band, intensity)| {
        let pixels = band * BAND_PIXELS..band * BAND_PIXELS + intensity.len();
        let (raw, dark) = (&raw_counts[pixels.clone()], &corrector.dark_counts[pixels.clone()]);
        all.fetch_add(subtract(intensity, raw, dark, saturation), Ordering::Relaxed);
        multiply(intensity, &corrector.inverse_gain[pixels]);
    });
    corrector.fill_defects(raw_counts, intensity, all.into_inner())
}

/// Counts above the dark map; gives how many raw counts are at or above saturation.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn subtract(
    counts: &mut [f32],
    raw_counts: &[u16],
    dark_counts: &[f32],
    saturation: u16,
) -> usize {
    let mut saturated = 0_u32;
    for (out, (&raw, dark)) in counts.iter_mut().zip(raw_counts.iter().zip(dark_counts)) {
        *out = f32::from(raw) - dark;
        saturated += u32::from(raw >= saturation);
    }
    saturated as usize
}

#[multiversion(targets("x86_64+avx2"))]
pub(super) fn multiply(counts: &mut [f32], factors: &[f32]) {
    counts.iter_mut().zip(factors).for_each(|(count, factor)| *count *= factor);
}
