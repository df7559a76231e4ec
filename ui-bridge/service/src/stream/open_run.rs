//! A run that is being written: what of it is in the file, what still waits in memory, and what is missing.

use crate::clock::monotonic_now;
use crate::runs::RunInfo;
use crate::verdict::Verdict;
use acquisition::{Arrival, SequenceLedger, Transition};
use capture::{CaptureError, RunWriter};
use carm::FrameHeader;
use std::collections::VecDeque;
use std::time::Instant;

/// Two clocks that come apart by more between two frames did not run on: one was set.
const CLOCK_STEP_NS: i64 = 100_000_000;

pub(crate) struct OpenRun {
    pub(crate) writer: RunWriter,
    pub(crate) info: RunInfo,
    ledger: SequenceLedger,
    /// Numbers of the frames that the writer holds in memory: they would be lost with the program.
    pub(crate) pending: VecDeque<u64>,
    appended: u64,
    pub(crate) begun: Instant,
    pub(crate) last_write: Instant,
    wall: ClockWatch,
    device: ClockWatch,
}

impl OpenRun {
    pub(crate) fn new(writer: RunWriter, info: RunInfo) -> Self {
        Self {
            writer,
            info,
            ledger: SequenceLedger::new(),
            pending: VecDeque::new(),
            appended: 0,
            begun: Instant::now(),
            last_write: Instant::now(),
            wall: ClockWatch::default(),
            device: ClockWatch::default(),
        }
    }

    /// Writes a frame, with a gap before it where numbers are missing and a word where a clock was set; gives how many
    /// frames reached the file meanwhile.
    pub(crate) fn write(
        &mut self,
        header: &FrameHeader,
        counts: &[u16],
        overtaken: bool,
    ) -> Result<u64, CaptureError> {
        if let Arrival::AfterGap { first_sequence, count } = self.ledger.observe(header.sequence) {
            let reason =
                if overtaken { "the device overtook the recorder" } else { "never arrived from the device" };
            self.writer.write_gap(first_sequence, count, reason)?;
            self.info.lost += count;
        }
        let stamps = header.stamps;
        let steps = [
            ("wall clock", self.wall.step_ns(stamps.wall.0, stamps.host.0)),
            ("device's clock", self.device.step_ns(stamps.device.0, stamps.host.0)),
        ];
        for (clock, step_ns) in steps.into_iter().filter_map(|(clock, step)| Some((clock, step?))) {
            let text = format!("the {clock} stepped by {:+.3} s", step_ns as f64 * 1e-9);
            self.writer.write_event("clock", &text, stamps.host)?;
        }
        self.writer.write_frame(header, counts)?;
        self.pending.push_back(header.sequence);
        self.info.frames += 1;
        self.last_write = Instant::now();
        Ok(self.settle())
    }

    /// Appends what waits in memory; gives how many frames that were.
    pub(crate) fn flush(&mut self) -> Result<u64, CaptureError> {
        self.writer.flush()?;
        Ok(self.settle())
    }

    /// Tells those who read the file that no frame follows; gives how many reached it with that.
    pub(crate) fn end_frames(&mut self) -> Result<u64, CaptureError> {
        self.writer.end_frames(monotonic_now())?;
        Ok(self.settle())
    }

    /// Frames that reached the file since the last call.
    pub(crate) fn settle(&mut self) -> u64 {
        let newly = self.writer.frames_appended() - self.appended;
        self.appended += newly;
        self.pending.drain(..newly as usize);
        newly
    }

    /// The frames before the run's first one that should have been recorded, and why they are not.
    pub(crate) fn tell_unwritten(&mut self, first: u64, next: u64, why: &str) -> Result<(), CaptureError> {
        let count = next.saturating_sub(first);
        self.info.lost += count;
        self.writer.write_gap(first, count, &format!("could not be recorded: {why}"))
    }

    /// The device was away and is back.
    pub(crate) fn tell_return(&mut self, header: &FrameHeader) -> Result<(), CaptureError> {
        (self.wall, self.device) = Default::default();
        self.writer.write_event("device", "opened again", header.stamps.host)
    }

    /// What was found at the end of a spin.
    pub(crate) fn tell_verdict(&mut self, verdict: &Verdict) -> Result<(), CaptureError> {
        self.writer.write_event("verdict", &verdict.to_string(), monotonic_now())
    }

    /// A change of the spin's state becomes an event of the recording.
    pub(crate) fn tell(&mut self, Transition { from, to, at }: Transition) -> Result<(), CaptureError> {
        self.writer.write_event("spin", &format!("{from} -> {to}"), at)
    }
}

/// Notices that a clock was set, by the host's monotonic one.
#[derive(Default)]
struct ClockWatch {
    ahead_ns: Option<i64>,
}

impl ClockWatch {
    /// By how much a clock was set since the last frame; a clock at zero is one that the device does not have.
    fn step_ns(&mut self, clock_ns: u64, host_ns: u64) -> Option<i64> {
        if clock_ns == 0 {
            return None;
        }
        let ahead_ns = clock_ns.wrapping_sub(host_ns) as i64;
        let step_ns = ahead_ns.wrapping_sub(self.ahead_ns.replace(ahead_ns)?);
        (step_ns.unsigned_abs() > CLOCK_STEP_NS as u64).then_some(step_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_was_set_is_noticed_and_drift_is_not() {
        let mut watch = ClockWatch::default();
        let second = 1_000_000_000_u64;
        assert_eq!(watch.step_ns(0, 5 * second), None);
        assert_eq!(watch.step_ns(100 * second, 5 * second), None);
        assert_eq!(watch.step_ns(101 * second + 50_000_000, 6 * second), None);
        assert_eq!(watch.step_ns(99 * second + 50_000_000, 7 * second), Some(-3 * second as i64));
        assert_eq!(watch.step_ns(100 * second + 50_000_000, 8 * second), None);
    }
}
