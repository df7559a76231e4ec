//! Frames held in memory and handed out at their pace: a virtual C-arm whose images were computed before, or a short
//! recording. What is left for the device's thread is one copy.

use crate::clock::{monotonic_now, wall_now};
use carm::{DeviceError, DeviceTime, FrameHeader, FrameSource, RunDescription, SourceEvent};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames in memory as a device, paced by the description's frame rate and stamped with this host's clocks.
#[derive(Clone)]
pub struct PreRendered {
    description: RunDescription,
    frames: Arc<Vec<(FrameHeader, Vec<u16>)>>,
    again: bool,
    next: u64,
    start: Option<Instant>,
}

impl PreRendered {
    /// Plays once, then ends.
    ///
    /// # Panics
    /// When a frame is not of the description's size.
    pub fn new(description: RunDescription, frames: Vec<(FrameHeader, Vec<u16>)>) -> Self {
        let pixels = description.detector.pixel_count();
        assert!(frames.iter().all(|(_, counts)| counts.len() == pixels), "frames of the description's size");
        Self { description, frames: Arc::new(frames), again: false, next: 0, start: None }
    }

    /// Plays round and round; sequence numbers go on.
    pub fn again_and_again(self) -> Self {
        Self { again: true, ..self }
    }
}

impl FrameSource for PreRendered {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        DeviceError::check_slot(slot, self.description.detector.pixel_count())?;
        let all = self.frames.len() as u64;
        if all == 0 || (!self.again && self.next >= all) {
            return Ok(SourceEvent::End);
        }
        let (header, counts) = &self.frames[(self.next % all) as usize];
        // Numbers keep the gaps of the first round, and a round follows the other without one.
        let (first, last) = (self.frames[0].0.sequence, self.frames[self.frames.len() - 1].0.sequence);
        let round = last.saturating_sub(first) + 1;
        let sequence = header.sequence + self.next / all * round;
        let period_s = 1.0 / self.description.frame_rate_hz;
        let start = *self.start.get_or_insert_with(Instant::now);
        let since = Duration::from_secs_f64((sequence - first) as f64 * period_s);
        std::thread::sleep((start + since).saturating_duration_since(Instant::now()));
        slot.copy_from_slice(counts);
        self.next += 1;
        let device = DeviceTime(since.as_nanos() as u64);
        let mut header = FrameHeader { sequence, mid_exposure: device, ..*header };
        header.stamps = carm::ClockStamps { device, host: monotonic_now(), wall: wall_now() };
        Ok(SourceEvent::Frame(header))
    }
}
