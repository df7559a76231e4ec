//! Carries a schedule out, frame by frame.

use super::{Fault, FaultKind, FaultLog, FaultSchedule};
use carm::{DetectorGrid, DeviceTime, FrameHeader, HostTime, WallTime};
use std::time::Duration;

/// What became of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Times that it is delivered.
    pub copies: u32,
    /// Whether it comes behind the next one.
    pub is_held_back: bool,
    /// How late it comes beyond its own time.
    pub late: Duration,
}

/// A schedule at work.
#[derive(Clone, Debug)]
pub(crate) struct Injector {
    schedule: FaultSchedule,
    detector: DetectorGrid,
    full_scale: u16,
    /// Lateness of all frames from now on.
    stalled: Duration,
    /// Error of the device's clock, ns.
    clock_error_ns: i64,
    log: FaultLog,
}

impl Injector {
    pub(crate) fn new(schedule: FaultSchedule, detector: DetectorGrid, bits_stored: u8) -> Self {
        let full_scale = u16::try_from((1_u32 << bits_stored.clamp(1, 16)) - 1).unwrap_or(u16::MAX);
        let log = FaultLog::default();
        Self { schedule, detector, full_scale, stalled: Duration::ZERO, clock_error_ns: 0, log }
    }

    /// What has hit so far.
    pub(crate) fn log(&self) -> &FaultLog {
        &self.log
    }

    /// Takes note of frames that are passed over: what they would have done to all later ones is done.
    pub(crate) fn pass_over(&mut self, sequences: impl Iterator<Item = u64>) {
        (self.stalled, self.clock_error_ns) = (Duration::ZERO, 0);
        let lasting = |kind| matches!(kind, FaultKind::Stall | FaultKind::ClockJump);
        if !self.schedule.faults.iter().any(|fault| lasting(fault.kind)) {
            return;
        }
        for sequence in sequences {
            for place in 0..self.schedule.faults.len() {
                let (kind, time_ms) = {
                    let fault = &self.schedule.faults[place];
                    (fault.kind, fault.milliseconds.unwrap_or(0.0))
                };
                if lasting(kind) && self.hits(place, sequence).is_some() {
                    self.last(kind, time_ms);
                }
            }
        }
    }

    /// The random numbers of a fault that hits a frame.
    fn hits(&self, place: usize, sequence: u64) -> Option<Draw> {
        let fault = &self.schedule.faults[place];
        let mut draw = Draw::new(self.schedule.seed, place as u64, sequence);
        let is_within = fault.frames.is_none_or(|[first, last]| (first..=last).contains(&sequence));
        (is_within && draw.even() < fault.share).then_some(draw)
    }

    /// A stall or a jump of the clock, which lasts.
    fn last(&mut self, kind: FaultKind, time_ms: f64) {
        match kind {
            FaultKind::Stall => self.stalled += Duration::from_secs_f64(time_ms.max(0.0) * 1e-3),
            _ => self.clock_error_ns = self.clock_error_ns.saturating_add((time_ms * 1e6) as i64),
        }
    }

    /// Does to one frame what the schedule says.
    pub(crate) fn strike(&mut self, header: &mut FrameHeader, counts: &mut [u16]) -> Outcome {
        let mut outcome = Outcome { copies: 1, ..Outcome::default() };
        let sequence = header.sequence;
        for place in 0..self.schedule.faults.len() {
            let Some(mut draw) = self.hits(place, sequence) else { continue };
            let fault = self.schedule.faults[place].clone();
            self.log.note(sequence, fault.kind);
            self.apply(&fault, &mut draw, header, counts, &mut outcome);
        }
        outcome.late += self.stalled;
        self.move_clocks(header, outcome.late);
        outcome
    }

    fn apply(
        &mut self,
        fault: &Fault,
        draw: &mut Draw,
        header: &mut FrameHeader,
        counts: &mut [u16],
        outcome: &mut Outcome,
    ) {
        let time_ms = fault.milliseconds.unwrap_or(0.0);
        let pixels = fault.pixels.unwrap_or(0) as usize;
        match fault.kind {
            FaultKind::Drop => outcome.copies = 0,
            FaultKind::Duplicate => outcome.copies *= 2,
            FaultKind::Reorder => outcome.is_held_back = true,
            FaultKind::Delay => outcome.late += Duration::from_secs_f64(time_ms.max(0.0) * 1e-3),
            FaultKind::Stall | FaultKind::ClockJump => self.last(fault.kind, time_ms),
            FaultKind::WrongPose => {
                header.gantry.primary_angle_rad += fault.degrees.unwrap_or(0.0).to_radians();
            }
            FaultKind::Corrupt => {
                for _ in 0..pixels.min(counts.len()) {
                    counts[draw.below(counts.len())] ^= 1 << draw.below(16);
                }
            }
            FaultKind::Saturate => self.saturate(pixels, draw, counts),
        }
    }

    fn saturate(&self, pixels: usize, draw: &mut Draw, counts: &mut [u16]) {
        let DetectorGrid { nu, nv, .. } = self.detector;
        let side = (pixels as f64).sqrt().ceil() as usize;
        let (width, height) = (side.min(nu), side.min(nv));
        let (u, v) = (draw.below(nu - width + 1), draw.below(nv - height + 1));
        for row in counts.chunks_exact_mut(nu).skip(v).take(height) {
            row[u..u + width].fill(self.full_scale);
        }
    }

    fn move_clocks(&self, header: &mut FrameHeader, late: Duration) {
        let late_ns = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        let stamps = &mut header.stamps;
        stamps.host = HostTime(stamps.host.0.saturating_add(late_ns));
        stamps.wall = WallTime(stamps.wall.0.saturating_add(late_ns));
        let device = |time: DeviceTime| DeviceTime(time.0.saturating_add_signed(self.clock_error_ns));
        stamps.device = device(stamps.device);
        header.mid_exposure = device(header.mid_exposure);
    }
}

/// Random numbers of one fault and frame: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Draw(u64);

impl Draw {
    fn new(seed: u64, fault: u64, sequence: u64) -> Self {
        let mut start = Self(seed);
        for key in [fault, sequence] {
            start.0 = start.next() ^ key;
        }
        start
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to but not including 1.
    fn even(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `count`, which is above zero.
    fn below(&mut self, count: usize) -> usize {
        ((self.even() * count as f64) as usize).min(count.saturating_sub(1))
    }
}
