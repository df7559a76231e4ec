//! The band-limited ramp filter with apodisation, along rows, in pixel units.
//!
//! The kernel is homogeneous of degree -2, so the pixel pitch cancels between filter and back-projection.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::error::ReconstructError;
use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

pub use cpu::{RampFilter, RampScratch};
pub use reference::filter_row as filter_row_reference;

/// How the ramp is rolled off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Apodisation {
    /// The ramp as it is.
    #[default]
    None,
    /// `1/2 (1 + cos(pi f / (c f_N)))`, zero beyond `c f_N`; `f_N` is the detector's Nyquist frequency.
    Hann {
        /// `c`, in (0, 1] as a rule.
        cut: f64,
    },
}

impl Apodisation {
    /// Gain at `frequency` in cycles per pixel.
    pub fn gain(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => 1.0,
            Self::Hann { cut } => {
                let limit = cut * 0.5;
                if frequency.abs() >= limit { 0.0 } else { 0.5 * (1.0 + (PI * frequency / limit).cos()) }
            }
        }
    }
}

impl fmt::Display for Apodisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("ramp"),
            Self::Hann { cut } => write!(f, "hann:{cut}"),
        }
    }
}

impl FromStr for Apodisation {
    type Err = ReconstructError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ReconstructError::BadOption {
            option: "filter",
            expected: "ramp, or hann:c with c above 0 and at most 2".into(),
            found: text.into(),
        };
        if text == "ramp" {
            return Ok(Self::None);
        }
        let cut: f64 = text.strip_prefix("hann:").ok_or_else(refuse)?.parse().map_err(|_| refuse())?;
        if cut > 0.0 && cut <= 2.0 { Ok(Self::Hann { cut }) } else { Err(refuse()) }
    }
}

/// The band-limited ramp sampled in space: 1/4 at zero, -1/(pi n)^2 at odd n, zero at even n.
///
/// Kak and Slaney, *Principles of Computerized Tomographic Imaging*, 1988, equation 3.61, with unit pitch.
/// Sampling |f| in frequency instead leaves a constant error of tens of HU.
pub fn ramp_kernel(n: i64) -> f64 {
    if n == 0 {
        0.25
    } else if n % 2 == 0 {
        0.0
    } else {
        -1.0 / (PI * n as f64).powi(2)
    }
}
