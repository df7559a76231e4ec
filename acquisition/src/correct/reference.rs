//! The correction as it is written down: `f64`, one pixel at a time.

use super::Corrector;

/// Writes intensities `[v, u]`; gives the number of saturated good pixels.
pub(super) fn correct(corrector: &Corrector, raw_counts: &[u16], intensity: &mut [f32]) -> usize {
    let mut linear = vec![0.0_f64; raw_counts.len()];
    let mut saturated = 0;
    for (pixel, &raw) in raw_counts.iter().enumerate() {
        if !corrector.is_good[pixel] {
            continue;
        }
        saturated += usize::from(raw >= corrector.saturation_counts);
        let dark = f64::from(corrector.dark_counts[pixel]);
        linear[pixel] = (f64::from(raw) - dark) / f64::from(corrector.gain[pixel]);
    }
    for (defect, sources) in corrector.fill.iter() {
        linear[defect] = sources.iter().map(|s| f64::from(s.weight) * linear[s.pixel as usize]).sum();
    }
    for (out, value) in intensity.iter_mut().zip(&linear) {
        *out = *value as f32;
    }
    saturated
}
