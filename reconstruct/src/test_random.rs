//! Random numbers for tests: seeded, the same everywhere.

use std::f64::consts::{PI, TAU};

/// A stream of 64-bit numbers (Steele, Lea and Flood, OOPSLA 2014: SplitMix).
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17
    }

    /// Normal with mean zero and standard deviation one.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Poisson, exactly: the probabilities are taken off one by one outwards from the most likely number.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        let mode = mean.floor();
        let mut rest = self.uniform();
        let (mut low, mut high) = (mode, mode + 1.0);
        let mut p_low = (mode * mean.ln() - mean - log_factorial(mode)).exp();
        let mut p_high = p_low * mean / high;
        loop {
            rest -= p_low;
            if rest <= 0.0 {
                return low;
            }
            rest -= p_high;
            if rest <= 0.0 {
                return high;
            }
            if low > 0.0 {
                p_low *= low / mean;
                low -= 1.0;
            } else {
                p_low = 0.0;
            }
            high += 1.0;
            p_high *= mean / high;
            if p_low + p_high < 1e-18 {
                return mode;
            }
        }
    }
}

fn log_factorial(n: f64) -> f64 {
    if n < 20.0 {
        return (2..=n as u32).map(|k| f64::from(k).ln()).sum();
    }
    n * n.ln() - n + 0.5 * (2.0 * PI * n).ln() + 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3))
}
