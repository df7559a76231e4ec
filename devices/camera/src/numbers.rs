//! Sequence numbers: how a frame that never arrived is noticed.

/// Where a frame's number comes from. A jump of the numbers is a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameNumbers {
    /// From the time stamps: a step of two frame times is one frame lost. Right for sources that stamp by a clock, such
    /// as `aravissrc`, which hides frame ids and drops incomplete frames.
    #[default]
    TimeStamps,
    /// The source's own frame number, in the buffers' offset, such as `videotestsrc`'s or `v4l2src`'s.
    Offset,
    /// One more with each arrival: losses cannot be noticed. For sources without stamps.
    Arrival,
}

/// Numbers the frames of one source.
#[derive(Clone, Debug)]
pub(crate) struct Numbering {
    numbers: FrameNumbers,
    period_ns: f64,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    sequence: u64,
    stamp_ns: Option<u64>,
}

impl Numbering {
    pub(crate) fn new(numbers: FrameNumbers, frame_rate_hz: f64) -> Self {
        Self { numbers, period_ns: 1e9 / frame_rate_hz, last: None }
    }

    /// The number of a frame with this presentation stamp and buffer offset. Never repeats, never goes back.
    pub(crate) fn number(&mut self, stamp_ns: Option<u64>, offset: Option<u64>) -> u64 {
        let next = self.last.map_or(0, |last| last.sequence + 1);
        let sequence = match (self.numbers, self.last) {
            (FrameNumbers::Offset, _) => offset.map_or(next, |offset| offset.max(next)),
            (FrameNumbers::TimeStamps, Some(Last { sequence, stamp_ns: Some(before) })) => {
                let passed_ns = stamp_ns.map_or(0, |now| now.saturating_sub(before));
                let steps = (passed_ns as f64 / self.period_ns).round().max(1.0);
                sequence.saturating_add(steps as u64)
            }
            _ => next,
        };
        self.last = Some(Last { sequence, stamp_ns });
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn numbered(numbers: FrameNumbers, frames: &[(Option<u64>, Option<u64>)]) -> Vec<u64> {
        let mut numbering = Numbering::new(numbers, 25.0);
        frames.iter().map(|&(stamp, offset)| numbering.number(stamp.map(|ms| ms * MS), offset)).collect()
    }

    #[test]
    fn numbering_by_time_stamps_counts_what_is_missing_through_jitter() {
        let frames = [0, 41, 79, 161, 199, 600].map(|ms| (Some(ms), None));
        assert_eq!(numbered(FrameNumbers::TimeStamps, &frames), [0, 1, 2, 4, 5, 15]);
    }

    #[test]
    fn numbering_by_time_stamps_takes_one_step_where_stamps_are_missing_or_turn_back() {
        let frames = [(Some(100), None), (None, None), (Some(500), None), (Some(20), None), (Some(60), None)];
        assert_eq!(numbered(FrameNumbers::TimeStamps, &frames), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn numbering_by_offset_follows_the_source_and_never_goes_back() {
        let frames = [7, 8, 11, 11, 3, 20].map(|offset| (None, Some(offset)));
        assert_eq!(numbered(FrameNumbers::Offset, &frames), [7, 8, 11, 12, 13, 20]);
        assert_eq!(numbered(FrameNumbers::Arrival, &frames), [0, 1, 2, 3, 4, 5]);
    }
}
