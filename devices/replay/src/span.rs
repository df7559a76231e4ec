//! Which part of a run is played.

use crate::ReplayError;
use carm::FrameHeader;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A place in a run: `812` is the frame of that number, `27.5s` a time since the first frame by the device's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FramePosition {
    /// A frame by its sequence number.
    Sequence(u64),
    /// Seconds since the first frame.
    Seconds(f64),
}

impl FromStr for FramePosition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || format!("expected a frame such as 812 or a time such as 27.5s, found {text}");
        match text.strip_suffix('s') {
            Some(seconds) => {
                let seconds = seconds.parse::<f64>().ok().filter(|time| time.is_finite() && *time >= 0.0);
                seconds.map(Self::Seconds).ok_or_else(refuse)
            }
            None => text.parse().map(Self::Sequence).map_err(|_| refuse()),
        }
    }
}

impl fmt::Display for FramePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(sequence) => write!(f, "frame {sequence}"),
            Self::Seconds(seconds) => write!(f, "{seconds} s"),
        }
    }
}

/// A part of a run; all of it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    /// The first frame; where it was lost, the next one.
    pub from: Option<FramePosition>,
    /// The last frame, included; where it was lost, the one before.
    pub to: Option<FramePosition>,
}

impl Span {
    /// Indices of its frames.
    ///
    /// # Errors
    /// [`ReplayError::EmptySpan`]; a run without any frame is played as it is.
    pub fn indices(&self, headers: &[FrameHeader]) -> Result<Range<usize>, ReplayError> {
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return Ok(0..0) };
        let seconds =
            |header: &FrameHeader| (header.stamps.device.0 as f64 - first.stamps.device.0 as f64) * 1e-9;
        let is_before = |header: &FrameHeader, at: FramePosition| match at {
            FramePosition::Sequence(sequence) => header.sequence < sequence,
            FramePosition::Seconds(time) => seconds(header) < time,
        };
        let is_after = |header: &FrameHeader, at: FramePosition| match at {
            FramePosition::Sequence(sequence) => header.sequence > sequence,
            FramePosition::Seconds(time) => seconds(header) > time,
        };
        let start = self.from.map_or(Some(0), |from| headers.iter().position(|h| !is_before(h, from)));
        let end =
            self.to.map_or(Some(headers.len() - 1), |to| headers.iter().rposition(|h| !is_after(h, to)));
        match (start, end) {
            (Some(start), Some(end)) if start <= end => Ok(start..end + 1),
            _ => {
                let told =
                    |at: Option<FramePosition>, open: &str| at.map_or(open.into(), |at| at.to_string());
                Err(ReplayError::EmptySpan {
                    run: format!("{} to {}, {:.3} s", first.sequence, last.sequence, seconds(last)),
                    from: told(self.from, "the start"),
                    to: told(self.to, "the end"),
                })
            }
        }
    }
}
