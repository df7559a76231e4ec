//! Floats to the 16-bit integers that DICOM holds, with the rescale that leads back.

use crate::error::InterchangeError;
use carm::Volume;
use std::path::Path;

/// Stored values and `value = slope * stored + intercept`, with both as they will be written.
pub(crate) struct Quantised {
    /// `[z, y, x]` in the volume's order, two's complement.
    pub stored: Vec<i16>,
    pub slope: f64,
    pub intercept: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// Whole numbers within 16 bits are kept as they are (slope 1); anything else takes the finest slope that
/// spans its range, so that no value is off by more than half a slope.
///
/// # Errors
/// Values that are not finite.
pub(crate) fn quantise(path: &Path, volume: &Volume) -> Result<Quantised, InterchangeError> {
    let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut odd, mut is_whole) = (0_usize, true);
    for &value in &volume.values {
        if value.is_finite() {
            lowest = lowest.min(f64::from(value));
            highest = highest.max(f64::from(value));
            is_whole &= value.fract() == 0.0;
        } else {
            odd += 1;
        }
    }
    if odd > 0 {
        return Err(InterchangeError::NotRepresentable {
            path: path.into(),
            format: "DICOM with 16-bit integers",
            expected: "finite values".into(),
            found: format!("{odd} that are not"),
        });
    }
    let is_plain = is_whole && lowest >= f64::from(i16::MIN) && highest <= f64::from(i16::MAX);
    let (slope, intercept) = if is_plain {
        (1.0, 0.0)
    } else {
        let intercept = written((lowest + highest) / 2.0);
        let reach = (highest - intercept).max(intercept - lowest);
        let is_constant = reach <= 1e-12 * intercept.abs();
        // Rounded upwards to the digits that are written, so that the ends still fit.
        let slope = if is_constant { 1.0 } else { written(reach / f64::from(i16::MAX) * (1.0 + 1e-6)) };
        (slope, intercept)
    };
    let stored = volume.values.iter().map(|&value| ((f64::from(value) - intercept) / slope).round() as i16);
    Ok(Quantised { stored: stored.collect(), slope, intercept, lowest, highest })
}

/// A number as its decimal string gives it back.
fn written(value: f64) -> f64 {
    decimal_string(value).parse().expect("our own decimal string is a number")
}

/// A DICOM decimal string (VR DS): as many digits as go into 16 characters.
pub(crate) fn decimal_string(value: f64) -> String {
    let plain = value.to_string();
    if plain.len() <= 16 {
        return plain;
    }
    for digits in (0..15).rev() {
        let fixed = format!("{value:.digits$}");
        let exponential = format!("{value:.digits$e}");
        // Fixed notation where it is short enough and loses no leading digits.
        if fixed.len() <= 16 && value.abs() >= 1e-3 {
            return fixed;
        }
        if exponential.len() <= 16 && value.abs() < 1e-3 {
            return exponential;
        }
    }
    format!("{value:.8e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::oblique_volume;

    #[test]
    fn quantise_keeps_whole_numbers_and_halves_the_slope_otherwise() {
        let mut volume = oblique_volume();
        let quantised = quantise(Path::new("a"), &volume).unwrap();
        assert!(quantised.slope < 0.06, "{}", quantised.slope);
        for (stored, value) in quantised.stored.iter().zip(&volume.values) {
            let back = quantised.slope * f64::from(*stored) + quantised.intercept;
            assert!((back - f64::from(*value)).abs() <= 0.500_1 * quantised.slope);
        }
        volume.values.mapv_inplace(f32::round);
        let quantised = quantise(Path::new("a"), &volume).unwrap();
        assert_eq!((quantised.slope, quantised.intercept), (1.0, 0.0));
        volume.values[[0, 0, 0]] = f32::NAN;
        assert!(quantise(Path::new("a"), &volume).err().unwrap().to_string().contains("1 that are not"));
        volume.values.fill(0.020_6);
        let quantised = quantise(Path::new("a"), &volume).unwrap();
        assert!(
            (quantised.slope * f64::from(quantised.stored[0]) + quantised.intercept - 0.0206).abs() < 1e-8
        );
    }

    #[test]
    fn decimal_strings_fit_and_keep_their_digits() {
        for value in
            [0.0, -1.0 / 3.0, 1e-7 / 3.0, -123_456.789_012_345, 1.5e300, f64::MIN_POSITIVE, -0.1 - 0.2]
        {
            let text = decimal_string(value);
            assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            assert!((back - value).abs() <= 1e-7 * value.abs(), "{text}");
        }
    }
}
