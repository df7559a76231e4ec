//! Logarithm and exponential of whole images in `f32`, without branches, so that the compiler vectorises them.
//!
//! `ln x` from exponent and mantissa `m` in [√½, √2): `2 artanh((m - 1) / (m + 1))` by its series to the ninth power, which
//! leaves 7e-10. `exp x` as a power of two and the exponential's series over half a step of it, which leaves 5e-9. What
//! rounding in `f32` adds is more than either.

use std::f32::consts::{LN_2, LOG2_E};

/// Bits of √½.
const ROOT_HALF: u32 = 0x3f35_04f3;
/// Adding this rounds to an integer that lies in the lowest bits.
const TO_INTEGER: f32 = 12_582_912.0;

/// The natural logarithm of a positive, normal number.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits.wrapping_sub(ROOT_HALF) as i32) >> 23;
    let mantissa = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series =
        2.0 + square * (2.0 / 3.0 + square * (2.0 / 5.0 + square * (2.0 / 7.0 + square * (2.0 / 9.0))));
    exponent as f32 * LN_2 + s * series
}

/// The exponential of a number between -80 and 80; beyond, that of the nearer end.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-80.0, 80.0);
    let shifted = x * LOG2_E + TO_INTEGER;
    let power = shifted - TO_INTEGER;
    let r = x - power * LN_2;
    let series = 1.0
        + r * (1.0
            + r * (1.0 / 2.0
                + r * (1.0 / 6.0
                    + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)))))));
    let exponent = (shifted.to_bits() as i32).wrapping_sub(TO_INTEGER.to_bits() as i32);
    series * f32::from_bits(((exponent + 127) << 23) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few units in the last place of results of some tens at most.
    const RELATIVE: f64 = 4e-7;

    #[test]
    fn logarithm_and_exponential_are_those_of_the_library() {
        for i in 0..200_000 {
            let x = 1.0 + 0.37 * i as f32;
            let (found, expected) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((found - expected).abs() <= RELATIVE * expected.max(1.0), "ln {x}: {found} {expected}");
            let y = -20.0 + 2e-4 * i as f32;
            let (found, expected) = (f64::from(exp(y)), f64::from(y).exp());
            // The argument's own rounding, times its size, comes on top.
            assert!((found / expected - 1.0).abs() <= 6.0 * RELATIVE, "exp {y}: {found} {expected}");
        }
        assert_eq!((ln(1.0), exp(0.0)), (0.0, 1.0));
        assert!(exp(1e9).is_finite() && exp(-1e9) > 0.0);
    }
}
