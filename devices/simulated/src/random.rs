//! Random numbers that depend on what they are for, not on who asks first.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011) turns a
//! counter and a key into 128 random bits. Here the key is the seed and the counter is (frame, pixel, purpose, draw),
//! so any thread may compute any pixel of any frame and the bits are the same.

/// What a random number is for; each purpose has its own stream.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Purpose {
    Quanta = 1,
    Electronics,
    RowNoise,
    ColumnOffset,
    GainMap,
    GainDrift,
    OffsetMap,
    Defects,
    DefectNoise,
    Calibration,
    Gantry,
    Vibration,
    Encoder,
    Clock,
    Exposure,
    Drop,
    Tremor,
    LagModel,
    GlareModel,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The block function of Philox4x32 with ten rounds.
pub(crate) fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// The stream of one pixel of one frame for one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    pub fn new(seed: u64, frame: u32, pixel: u32, purpose: Purpose) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, pixel, frame, purpose as u32],
            block: [0; 4],
            used: 4,
        }
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in (0, 1), never 0 and never 1: safe under a logarithm.
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.next_u32()) + 0.5) * (1.0 / 4_294_967_296.0)
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Four independent normal numbers from one block: both numbers of two Box-Muller pairs.
    pub fn normals(&mut self) -> [f64; 4] {
        let mut pair = || {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
            [radius * cosine, radius * sine]
        };
        let ([a, b], [c, d]) = (pair(), pair());
        [a, b, c, d]
    }

    /// Poisson with the given mean.
    ///
    /// # Method
    /// Below 10 sequential inversion; above, the transformed rejection PTRS of Hörmann, *The transformed rejection
    /// method for generating Poisson random variables*, Insurance: Mathematics and Economics 12, 1993.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean.is_nan() || mean <= 0.0 {
            return 0.0;
        }
        if mean < 10.0 { self.poisson_by_inversion(mean) } else { self.poisson_by_rejection(mean) }
    }

    fn poisson_by_inversion(&mut self, mean: f64) -> f64 {
        let u = self.uniform();
        let (mut count, mut term) = (0.0, (-mean).exp());
        let mut below = term;
        while u > below && count < 100.0 {
            count += 1.0;
            term *= mean / count;
            below += term;
        }
        count
    }

    fn poisson_by_rejection(&mut self, mean: f64) -> f64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let v_r = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= v_r {
                return k;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
            let left = (v * inverse_alpha / (a / (us * us) + b)).ln();
            if left <= k * mean.ln() - mean - ln_factorial(k) {
                return k;
            }
        }
    }
}

/// ln k! by Stirling's series, to 1e-10 from k = 10 on and by products below.
fn ln_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    let x = k + 1.0;
    let inverse = 1.0 / x;
    (x - 0.5) * x.ln() - x
        + 0.5 * std::f64::consts::TAU.ln()
        + inverse * (1.0 / 12.0 - inverse * inverse * (1.0 / 360.0 - inverse * inverse / 1260.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kat_vectors` of the Random123 distribution (philox 4x32, 10 rounds).
    #[test]
    fn philox_gives_the_published_known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }

    fn moments(mean: f64) -> (f64, f64) {
        let n = 200_000;
        let draws: Vec<f64> =
            (0..n).map(|pixel| Stream::new(11, 3, pixel, Purpose::Quanta).poisson(mean)).collect();
        let average = draws.iter().sum::<f64>() / f64::from(n);
        (average, draws.iter().map(|x| (x - average).powi(2)).sum::<f64>() / f64::from(n))
    }

    #[test]
    fn poisson_has_its_mean_as_mean_and_variance() {
        for mean in [0.05, 0.7, 9.5, 10.5, 40.0, 900.0, 250_000.0] {
            let (average, variance) = moments(mean);
            // Five standard errors of 200 000 draws: mean sqrt(m/n), variance sqrt((2 + 1/m)/n) relative.
            let n = 200_000.0_f64;
            assert!((average - mean).abs() < 5.0 * (mean / n).sqrt(), "{mean}: {average}");
            assert!(
                (variance / mean - 1.0).abs() < 5.0 * ((2.0 + 1.0 / mean) / n).sqrt(),
                "{mean}: {variance}"
            );
        }
    }

    #[test]
    fn normal_has_unit_variance_and_no_mean() {
        let n = 100_000;
        let draws: Vec<f64> =
            (0..n).map(|pixel| Stream::new(5, 0, pixel, Purpose::Electronics).normal()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.016 && (variance - 1.0).abs() < 0.023, "{mean} {variance}");
    }

    #[test]
    fn normals_of_a_block_have_unit_variance_and_are_independent() {
        let n = 50_000_u32;
        let draws: Vec<_> =
            (0..n).map(|pixel| Stream::new(5, 0, pixel, Purpose::Electronics).normals()).collect();
        for a in 0..4 {
            let mean = draws.iter().map(|x| x[a]).sum::<f64>() / f64::from(n);
            // Five standard errors: 1/sqrt(n) of means and correlations, sqrt(2/n) of variances.
            assert!(mean.abs() < 0.023, "{a}: {mean}");
            for b in 0..=a {
                let product = draws.iter().map(|x| x[a] * x[b]).sum::<f64>() / f64::from(n);
                let expected = if a == b { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 0.032, "{a} {b}: {product}");
            }
        }
    }

    #[test]
    fn ln_factorial_matches_the_product() {
        let mut exact = 0.0;
        for k in 1..60 {
            exact += f64::from(k).ln();
            assert!((ln_factorial(f64::from(k)) - exact).abs() < 1e-9, "{k}");
        }
    }
}
