//! Counts that are no intensity: images that were stored on a logarithmic grey scale, as DICOM's `LOG`. One remark of a fixed
//! form in the run's description says what they mean, so that counts stay as they were recorded.
//!
//! ```text
//! grey-scale log zero=0 per-count=0.00023025850929940458
//! ```
//!
//! A count c stands for the line integral `p = zero + per_count c`, and so for `exp(-p)` of the unattenuated intensity.

use crate::error::AcquisitionError;
use carm::RunDescription;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// First words of the remark.
const MARK: &str = "grey-scale log";

/// What a count stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogScale {
    /// Line integral of count 0.
    pub zero: f64,
    /// Line integral of one count more.
    pub per_count: f64,
}

impl LogScale {
    /// What a run's description says; none where counts are intensities.
    ///
    /// # Errors
    /// [`AcquisitionError::GreyScale`] for a remark that cannot be read.
    pub fn of(description: &RunDescription) -> Result<Option<Self>, AcquisitionError> {
        let remark = description.remarks.iter().find(|remark| remark.starts_with(MARK));
        remark.map(|remark| remark.parse()).transpose()
    }

    /// Share of the unattenuated intensity that each count stands for.
    pub(super) fn transmissions(self) -> Arc<[f32]> {
        (0..=u16::MAX).map(|count| (-self.zero - self.per_count * f64::from(count)).exp() as f32).collect()
    }
}

impl fmt::Display for LogScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} zero={} per-count={}", self.zero, self.per_count)
    }
}

impl FromStr for LogScale {
    type Err = AcquisitionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |expected| AcquisitionError::GreyScale { expected };
        let numbers = text.strip_prefix(MARK).ok_or_else(|| refuse("grey-scale log in front"))?;
        let mut words = numbers.split_whitespace();
        let mut number = |name: &'static str| {
            let value = words.next().and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
            let value = value.and_then(|value| value.parse::<f64>().ok()).filter(|value| value.is_finite());
            value.ok_or_else(|| refuse(name))
        };
        let scale = Self { zero: number("zero")?, per_count: number("per-count")? };
        if scale.per_count == 0.0 || words.next().is_some() {
            return Err(refuse("two numbers, the second not zero"));
        }
        Ok(scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_scale_comes_back_from_its_remark_and_refuses_others() {
        let scale = LogScale { zero: -0.25, per_count: std::f64::consts::LN_10 * 1e-4 };
        assert_eq!(scale.to_string().parse::<LogScale>().unwrap(), scale);
        for text in
            ["grey-scale log", "grey-scale log zero=0 per-count=0", "grey-scale log zero=x per-count=1"]
        {
            assert!(text.parse::<LogScale>().is_err(), "{text}");
        }
    }

    #[test]
    fn grey_scale_counts_stand_for_transmissions() {
        let shares = LogScale { zero: 0.5, per_count: 1e-3 }.transmissions();
        for count in [0_u16, 1, 2500, 65_535] {
            let expected = (-0.5 - 1e-3 * f64::from(count)).exp();
            assert!((f64::from(shares[count as usize]) / expected - 1.0).abs() < 1e-6, "{count}");
        }
    }
}
