//! What a run says of its panel beyond the maps: one remark of a fixed form, so that it travels with the run's description
//! through every recording, written and read by whoever makes and corrects frames.
//!
//! ```text
//! panel-model lag=1.6:0.11,0.35:0.0031 lag-growth=0.6 lag-knee-counts=16800 lag-frame-rate-hz=30 lag-flat-gain=1.02 glare=0.05:5
//! ```

use super::glare::GlareModel;
use super::lag::{LagModel, LagTerm, MOST_TERMS};
use crate::error::AcquisitionError;
use carm::RunDescription;
use std::fmt;
use std::str::FromStr;

/// First word of the remark.
const MARK: &str = "panel-model";

/// How a panel behaves, in one mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PanelModel {
    /// Its lag, where it is known.
    pub lag: Option<LagModel>,
    /// Its glare, where that is known: share and range in mm.
    pub glare: Option<GlareModel>,
}

impl PanelModel {
    /// What a run's description says; nothing is known where it says nothing.
    ///
    /// # Errors
    /// [`AcquisitionError::PanelModel`] for a remark that cannot be read, [`AcquisitionError::CalibrationNumber`] for
    /// numbers that cannot be.
    pub fn of(description: &RunDescription) -> Result<Self, AcquisitionError> {
        let remark = description.remarks.iter().find(|remark| remark.split(' ').next() == Some(MARK));
        remark.map_or(Ok(Self::default()), |remark| remark.parse())
    }

    /// Takes what a run's description says of its panel out of it.
    pub(crate) fn take_from(description: &mut RunDescription) {
        description.remarks.retain(|remark| remark.split(' ').next() != Some(MARK));
    }
}

impl fmt::Display for PanelModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        if let Some(lag) = &self.lag {
            write_lag(f, lag)?;
        }
        let Some(GlareModel { share, range_mm }) = self.glare else { return Ok(()) };
        write!(f, " glare={share}:{range_mm}")
    }
}

fn write_lag(f: &mut fmt::Formatter<'_>, lag: &LagModel) -> fmt::Result {
    let term = |term: &LagTerm| format!("{}:{}", term.rate_per_frame, term.strength);
    write!(f, " lag={}", lag.terms.iter().map(term).collect::<Vec<_>>().join(","))?;
    write!(f, " lag-growth={} lag-knee-counts={}", lag.low_exposure_growth, lag.knee_counts)?;
    write!(f, " lag-frame-rate-hz={} lag-flat-gain={}", lag.frame_rate_hz, lag.flat_gain)
}

impl FromStr for PanelModel {
    type Err = AcquisitionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(' ');
        if words.next() != Some(MARK) {
            return Err(refuse("panel-model as the first word"));
        }
        let pairs: Vec<(&str, &str)> = words
            .map(|word| word.split_once('=').ok_or_else(|| refuse("name=value")))
            .collect::<Result<_, _>>()?;
        let value = |name: &'static str| {
            let mut found = pairs.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value);
            found.next().filter(|_| found.next().is_none()).ok_or_else(|| refuse(name))
        };
        let number = |name| value(name)?.parse::<f64>().map_err(|_| refuse(name));
        let is_named = |name: &str| pairs.iter().any(|(known, _)| *known == name);
        let glare = is_named("glare").then(|| value("glare").and_then(glare)).transpose()?;
        let lags = pairs.len() - usize::from(glare.is_some());
        if lags == 0 {
            return Ok(Self { lag: None, glare });
        }
        let lag = LagModel {
            terms: value("lag")?.splitn(MOST_TERMS + 1, ',').map(term).collect::<Result<_, _>>()?,
            low_exposure_growth: number("lag-growth")?,
            knee_counts: number("lag-knee-counts")?,
            frame_rate_hz: number("lag-frame-rate-hz")?,
            flat_gain: number("lag-flat-gain")?,
        };
        if lags != 5 {
            return Err(refuse("the five numbers of the lag, that of the glare, and nothing else"));
        }
        lag.check()?;
        Ok(Self { lag: Some(lag), glare })
    }
}

fn term(text: &str) -> Result<LagTerm, AcquisitionError> {
    let pair =
        text.split_once(':').and_then(|(rate, strength)| Some((rate.parse().ok()?, strength.parse().ok()?)));
    let (rate_per_frame, strength) = pair.ok_or_else(|| refuse("up to four pairs rate:strength for lag"))?;
    Ok(LagTerm { rate_per_frame, strength })
}

fn glare(text: &str) -> Result<GlareModel, AcquisitionError> {
    let pair =
        text.split_once(':').and_then(|(share, range)| Some((share.parse().ok()?, range.parse().ok()?)));
    let (share, range_mm) = pair.ok_or_else(|| refuse("share:range for glare"))?;
    let model = GlareModel { share, range_mm };
    model.check()?;
    Ok(model)
}

fn refuse(expected: &'static str) -> AcquisitionError {
    AcquisitionError::PanelModel { expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMARK: &str = "panel-model lag=1.6:0.11,0.35:0.0031 lag-growth=0.6 lag-knee-counts=16800.5 \
                          lag-frame-rate-hz=29.97 lag-flat-gain=1.0312345678901234 glare=0.0512:4.9";

    #[test]
    fn panel_model_reads_back_bit_for_bit() {
        let model: PanelModel = REMARK.parse().unwrap();
        let lag = model.lag.clone().unwrap();
        assert_eq!(lag.terms[1], LagTerm { rate_per_frame: 0.35, strength: 0.0031 });
        assert_eq!((lag.knee_counts, lag.flat_gain), (16800.5, 1.031_234_567_890_123_4));
        assert_eq!(model.glare, Some(GlareModel { share: 0.0512, range_mm: 4.9 }));
        assert_eq!(model.to_string(), REMARK);
        let glare = "panel-model glare=0.05:5";
        assert_eq!(glare.parse::<PanelModel>().unwrap().to_string(), glare);
        assert_eq!("panel-model".parse::<PanelModel>().unwrap(), PanelModel::default());
    }

    #[test]
    fn panel_model_that_is_none_is_refused() {
        for (from, to) in [
            ("panel-model", "panel"),
            ("lag-growth=0.6", "lag-growth"),
            ("lag-growth=0.6", "lag-growth=x"),
            ("lag-growth=0.6", "lag-growth=-2"),
            ("lag-growth=0.6", "lag-growth=0.6 lag-growth=0.7"),
            ("lag-growth=0.6", "lag-growth=0.6 glow=1"),
            ("glare=0.0512:4.9", "glare=0.0512"),
            ("glare=0.0512:4.9", "glare=0.9:4.9"),
            ("glare=0.0512:4.9", "glare=0.0512:-4.9"),
            ("1.6:0.11", "1.6:NaN"),
            ("1.6:0.11", "1.6"),
            ("1.6:0.11", "1:0.1,1:0.1,1:0.1,1:0.1,1:0.1"),
        ] {
            assert!(REMARK.replacen(from, to, 1).parse::<PanelModel>().is_err(), "{to}");
        }
    }
}
