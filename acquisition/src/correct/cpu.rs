//! The correction in one pass of `f32` that the compiler vectorises, then the defects.

use super::Corrector;

/// As the reference. Defects carry an inverse gain of zero and are filled afterwards.
pub(super) fn correct(corrector: &Corrector, raw_counts: &[u16], intensity: &mut [f32]) -> usize {
    let mut saturated = 0_u32;
    let saturation = corrector.saturation_counts;
    let maps = corrector.dark_counts.iter().zip(corrector.inverse_gain.iter());
    for ((out, &raw), (&dark, &inverse_gain)) in intensity.iter_mut().zip(raw_counts).zip(maps) {
        *out = (f32::from(raw) - dark) * inverse_gain;
        saturated += u32::from(raw >= saturation);
    }
    for (defect, sources) in corrector.fill.iter() {
        saturated -= u32::from(raw_counts[defect] >= saturation);
        // A dark map that is not finite leaves NaN here: overwritten, and never a source.
        intensity[defect] = sources.iter().map(|s| s.weight * intensity[s.pixel as usize]).sum();
    }
    saturated as usize
}
