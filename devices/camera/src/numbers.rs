//! Sequence numbers: how a frame that never arrived is noticed.

/// Where the number of a launch line's frame comes from. A jump of the numbers is a loss.
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

/// Largest 16-bit frame id of GigE Vision; the next one is 1, because 0 is kept for tests of the link (GigE Vision 2.2,
/// "block_id").
const LAST_SHORT_ID: u64 = 0xffff;

/// Numbers the frames of one GigE Vision or USB3 Vision camera by its own frame ids, of 16 or of 64 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameIds {
    /// Id and number of the frame before.
    last: Option<(u64, u64)>,
}

impl FrameIds {
    /// The number of the frame with this id. Never repeats, never goes back: ids that do begin anew.
    pub(crate) fn number(&mut self, id: u64) -> u64 {
        let number = self.last.map_or(0, |(last, number)| {
            let is_short = last.max(id) <= LAST_SHORT_ID;
            let step =
                if is_short { (id + LAST_SHORT_ID - last) % LAST_SHORT_ID } else { id.saturating_sub(last) };
            let goes_on = step > 0 && (!is_short || step <= LAST_SHORT_ID / 2);
            number.saturating_add(if goes_on { step } else { 1 })
        });
        self.last = Some((id, number));
        number
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

    #[test]
    fn frame_ids_tell_losses_across_the_turn_of_16_bits_and_never_go_back() {
        let numbered = |ids: &[u64]| {
            let mut numbering = FrameIds::default();
            ids.iter().map(|&id| numbering.number(id)).collect::<Vec<_>>()
        };
        assert_eq!(numbered(&[65533, 65535, 1, 4]), [0, 2, 3, 6]);
        assert_eq!(numbered(&[65535, 65536, 65540, 1 << 40]), [0, 1, 5, (1 << 40) - 65535]);
        assert_eq!(numbered(&[900, 901, 901, 1, 2]), [0, 1, 2, 3, 4]);
        assert_eq!(numbered(&[u64::MAX, 7, 9]), [0, 1, 3]);
    }
}
