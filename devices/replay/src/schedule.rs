//! When each frame is due: absolute times since the first frame, so that no wait adds to the next.

use carm::FrameHeader;
use std::time::Duration;

/// A jump of the device clock beyond what the sequence numbers explain by more than this is a step of the clock.
const CLOCK_STEP_NS: f64 = 1e9;

/// Turns device clock readings into times since the first frame.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    factor: f64,
    frame_period_ns: f64,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    device_ns: u64,
    sequence: u64,
    recorded_ns: f64,
}

impl Schedule {
    /// `factor` times the recorded speed; `frame_rate_hz` bridges steps of the device clock.
    pub(crate) fn new(factor: f64, frame_rate_hz: f64) -> Self {
        let frame_period_ns = if frame_rate_hz > 0.0 { 1e9 / frame_rate_hz } else { 0.0 };
        Self { factor, frame_period_ns, last: None }
    }

    /// The same, before the first frame.
    pub(crate) fn again(&self) -> Self {
        Self { last: None, ..self.clone() }
    }

    /// Time from the first frame to this one, at the factor.
    pub(crate) fn due(&mut self, header: &FrameHeader) -> Duration {
        let (device_ns, sequence) = (header.stamps.device.0, header.sequence);
        let recorded_ns = match self.last {
            None => 0.0,
            Some(last) => {
                let by_clock = device_ns as f64 - last.device_ns as f64;
                let by_count = sequence.saturating_sub(last.sequence) as f64 * self.frame_period_ns;
                let is_step = by_clock < 0.0 || by_clock - by_count > CLOCK_STEP_NS;
                last.recorded_ns + if is_step { by_count } else { by_clock }
            }
        };
        self.last = Some(Last { device_ns, sequence, recorded_ns });
        Duration::try_from_secs_f64(recorded_ns * 1e-9 / self.factor).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::{ClockStamps, DeviceTime};

    fn header(sequence: u64, device_ms: u64) -> FrameHeader {
        let stamps = ClockStamps { device: DeviceTime(device_ms * 1_000_000), ..ClockStamps::default() };
        FrameHeader { sequence, stamps, ..FrameHeader::default() }
    }

    fn due_ms(factor: f64, frames: &[(u64, u64)]) -> Vec<u128> {
        let mut schedule = Schedule::new(factor, 25.0);
        frames.iter().map(|&(sequence, ms)| schedule.due(&header(sequence, ms)).as_millis()).collect()
    }

    #[test]
    fn schedule_follows_the_device_clock_through_jitter_and_gaps() {
        let frames = [(10, 7000), (11, 7041), (12, 7079), (22, 7480)];
        assert_eq!(due_ms(1.0, &frames), [0, 41, 79, 480]);
        assert_eq!(due_ms(4.0, &frames), [0, 10, 19, 120]);
    }

    #[test]
    fn schedule_bridges_steps_of_the_device_clock_by_the_frame_rate() {
        assert_eq!(due_ms(1.0, &[(0, 5000), (1, 5040), (2, 100), (3, 140)]), [0, 40, 80, 120]);
        assert_eq!(due_ms(1.0, &[(0, 5000), (1, 9_000_000), (2, 9_000_040)]), [0, 40, 80]);
    }
}
