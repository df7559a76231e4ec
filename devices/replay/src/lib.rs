//! A recorded run played as a device: at its recorded speed, at a factor of it, or flat out.
//!
//! Frames come bit for bit as they were recorded, headers included; a frame that was lost shows as a jump of the
//! sequence number, as it did when the run was recorded. A part of a run can be played ([`Span`]), again and again, and
//! with faults on demand ([`FaultSchedule`]). The types to know are [`ReplayDevice`] (a [`carm::FrameSource`]),
//! [`ReplayOptions`] and [`Pace`].
//!
//! # Example
//!
//! ```
//! use carm::{FrameSource, SourceEvent};
//! use replay::{Pace, ReplayDevice};
//! # use carm::{BeamModel, DetectorGrid, DeviceIdentity, FrameHeader, PatientSetup, RunDescription};
//! # let folder = std::env::temp_dir().join(format!("replay-example-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("RUN.mcap");
//! # let description = RunDescription {
//! #     run_id: "example".into(), protocol: "flat-field".into(), device: DeviceIdentity::default(), seed: None,
//! #     detector: DetectorGrid::new([8, 6], [0.6, 0.6]).unwrap(), bits_stored: 16, frame_rate_hz: 30.0,
//! #     planned_views: Vec::new(), detector_calibration: None,
//! #     beam: BeamModel { tube_voltage_kv: 110.0, effective_energy_kev: 60.0, mu_water_per_mm: 0.0206,
//! #         water_precorrection: vec![1.0] },
//! #     patient: PatientSetup::default(), volume_grid: None, remarks: Vec::new(),
//! # };
//! # let mut writer = capture::RunWriter::create(&path, &description, Default::default()).unwrap();
//! # writer.write_frame(&FrameHeader { sequence: 4, ..FrameHeader::default() }, &[500; 48]).unwrap();
//! # writer.finish(capture::RunOutcome::Complete).unwrap();
//! let mut device = ReplayDevice::open(&path, Pace::FlatOut).unwrap();
//! let mut slot = vec![0; device.description().detector.pixel_count()];
//! while let SourceEvent::Frame(header) = device.next_frame(&mut slot).unwrap() {
//!     println!("frame {}: first count {}", header.sequence, slot[0]);
//! }
//! # std::fs::remove_dir_all(&folder).unwrap();
//! ```

mod error;
mod faults;
mod schedule;
mod span;

#[cfg(test)]
mod tests;

pub use error::ReplayError;
pub use faults::{Fault, FaultKind, FaultLog, FaultSchedule};
pub use span::{FramePosition, Span};

use capture::{CaptureError, RunReader};
use carm::{DeviceError, DeviceTime, FrameHeader, FrameSource, RunDescription, SourceEvent};
use faults::Injector;
use schedule::Schedule;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// How fast a run is played.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pace {
    /// As it was recorded.
    #[default]
    Recorded,
    /// So many times as fast; must be positive.
    Factor(f64),
    /// Without waiting.
    FlatOut,
}

/// How a run is played.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// How fast.
    pub pace: Pace,
    /// Which part of it.
    pub span: Span,
    /// How often; without an end where absent. Numbers and the device's clock go on from one time to the next.
    pub times: Option<u32>,
    /// What is done to the frames.
    pub faults: FaultSchedule,
}

impl Default for ReplayOptions {
    /// The whole run once, as it was recorded.
    fn default() -> Self {
        Self { pace: Pace::Recorded, span: Span::default(), times: Some(1), faults: FaultSchedule::default() }
    }
}

/// A recording as a device.
pub struct ReplayDevice {
    reader: RunReader,
    /// The recording's, with what is not as it was recorded among its remarks.
    description: RunDescription,
    /// Frames that are played, by index.
    played: Range<usize>,
    next: usize,
    times_left: Option<u32>,
    /// Added to numbers and device clocks from the second time on.
    shift: Shift,
    damaged_frames: u64,
    schedule: Option<Schedule>,
    factor: f64,
    /// When the first frame was delivered: the schedule counts from here.
    start: Option<Instant>,
    injector: Option<Injector>,
    /// Frames on their way, where a schedule of faults holds them: each with its delay.
    ready: VecDeque<(FrameHeader, Vec<u16>, Duration)>,
    held_back: Vec<(FrameHeader, Vec<u16>, Duration)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    sequence: u64,
    device_ns: u64,
}

impl ReplayDevice {
    /// Opens a recording; its clock starts with the first frame asked for.
    ///
    /// # Errors
    /// [`ReplayError::Recording`], [`ReplayError::Factor`].
    pub fn open(path: impl AsRef<Path>, pace: Pace) -> Result<Self, ReplayError> {
        Self::open_with(path, ReplayOptions { pace, ..ReplayOptions::default() })
    }

    /// As [`ReplayDevice::open`], with all that can be asked for.
    ///
    /// # Errors
    /// [`ReplayError::Recording`], [`ReplayError::Factor`], [`ReplayError::EmptySpan`].
    pub fn open_with(path: impl AsRef<Path>, options: ReplayOptions) -> Result<Self, ReplayError> {
        let factor = match options.pace {
            Pace::Recorded => Some(1.0),
            Pace::Factor(found) if !(found.is_finite() && found > 0.0) => {
                return Err(ReplayError::Factor { found });
            }
            Pace::Factor(factor) => Some(factor),
            Pace::FlatOut => None,
        };
        let reader = RunReader::open(path)?;
        let played = options.span.indices(reader.headers())?;
        let mut description = reader.description().clone();
        description.remarks.extend(remarks(&options, &reader, &played));
        let has_faults = !options.faults.faults.is_empty();
        let injector =
            has_faults.then(|| Injector::new(options.faults, description.detector, description.bits_stored));
        let schedule = factor.map(|factor| Schedule::new(factor, description.frame_rate_hz));
        let mut device = Self {
            next: played.start,
            times_left: options.times,
            shift: Shift::default(),
            damaged_frames: 0,
            schedule,
            factor: factor.unwrap_or(1.0),
            start: None,
            injector,
            ready: VecDeque::new(),
            held_back: Vec::new(),
            played,
            description,
            reader,
        };
        device.pass_over();
        Ok(device)
    }

    /// The recording that is played.
    pub fn recording(&self) -> &RunReader {
        &self.reader
    }

    /// Indices of the frames that are played.
    pub fn played(&self) -> Range<usize> {
        self.played.clone()
    }

    /// Frames left out because they are no longer what was recorded; each shows as a jump of the sequence number.
    pub fn damaged_frames(&self) -> u64 {
        self.damaged_frames
    }

    /// The account of injected faults, which goes on while the device plays elsewhere.
    pub fn fault_log(&self) -> FaultLog {
        self.injector.as_ref().map(|injector| injector.log().clone()).unwrap_or_default()
    }

    /// Has the run seen by another description, as with newer maps; its counts stay as they were recorded.
    ///
    /// # Errors
    /// [`ReplayError::Recording`] for one of a detector of another size.
    pub fn describe_as(&mut self, description: RunDescription) -> Result<(), ReplayError> {
        self.reader.describe_as(description.clone())?;
        self.description = description;
        Ok(())
    }

    /// Goes on with the frame of an index, at once: a single read of the file fetches it, wherever it lies.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchFrame`] outside the frames that are played.
    pub fn seek(&mut self, index: usize) -> Result<(), ReplayError> {
        if !self.played.contains(&index) {
            return Err(ReplayError::NoSuchFrame { played: self.played.clone(), found: index });
        }
        self.next = index;
        self.start = None;
        self.schedule = self.schedule.as_ref().map(Schedule::again);
        self.ready.clear();
        self.held_back.clear();
        self.pass_over();
        Ok(())
    }

    /// Lets the frames before the next one do what they do to later ones.
    fn pass_over(&mut self) {
        if let Some(injector) = &mut self.injector {
            injector.pass_over(self.reader.headers()[..self.next].iter().map(|header| header.sequence));
        }
    }

    /// Waits until a frame is due.
    fn pace(&mut self, header: &FrameHeader, late: Duration) {
        let Some(schedule) = &mut self.schedule else { return };
        let start = *self.start.get_or_insert_with(Instant::now);
        let late = late.div_f64(self.factor.max(f64::MIN_POSITIVE));
        let due = schedule.due(header).checked_add(late).and_then(|after| start.checked_add(after));
        let Some(due) = due else { return };
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    /// The next frame as it was recorded, numbered on where the run is played again; none at the end.
    fn read_next(&mut self, slot: &mut [u16]) -> Result<Option<FrameHeader>, DeviceError> {
        loop {
            if self.next == self.played.end && !self.begin_again() {
                return Ok(None);
            }
            let index = self.next;
            self.next += 1;
            match self.reader.read_frame(index, slot) {
                Ok(mut header) => {
                    header.sequence = header.sequence.wrapping_add(self.shift.sequence);
                    for time in [&mut header.stamps.device, &mut header.mid_exposure] {
                        *time = DeviceTime(time.0.wrapping_add(self.shift.device_ns));
                    }
                    return Ok(Some(header));
                }
                Err(CaptureError::FrameDamaged { .. }) => self.damaged_frames += 1,
                Err(error) => {
                    return Err(DeviceError::Failed {
                        device: "replay".into(),
                        reason: error.to_string(),
                        source: Some(Box::new(error)),
                    });
                }
            }
        }
    }

    /// Goes back to the first frame, unless the run was played often enough.
    fn begin_again(&mut self) -> bool {
        match &mut self.times_left {
            Some(0 | 1) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        let headers = &self.reader.headers()[self.played.clone()];
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else { return false };
        let rate_hz = self.reader.description().frame_rate_hz;
        let period_ns = if rate_hz > 0.0 { (1e9 / rate_hz) as u64 } else { 0 };
        let span_ns = last.stamps.device.0.wrapping_sub(first.stamps.device.0);
        let count = last.sequence.wrapping_sub(first.sequence).wrapping_add(1);
        self.shift.sequence = self.shift.sequence.wrapping_add(count);
        self.shift.device_ns = self.shift.device_ns.wrapping_add(span_ns).wrapping_add(period_ns);
        self.next = self.played.start;
        true
    }

    /// The next frame through the schedule of faults.
    fn next_faulty(&mut self, slot: &mut [u16]) -> Result<Option<(FrameHeader, Duration)>, DeviceError> {
        while self.ready.is_empty() {
            let Some(mut header) = self.read_next(slot)? else {
                self.ready.extend(self.held_back.drain(..));
                break;
            };
            let Some(injector) = &mut self.injector else { return Ok(Some((header, Duration::ZERO))) };
            let outcome = injector.strike(&mut header, slot);
            let copies = (0..outcome.copies).map(|_| (header, slot.to_vec(), outcome.late));
            if outcome.is_held_back {
                self.held_back.extend(copies);
            } else if outcome.copies > 0 {
                self.ready.extend(copies);
                self.ready.extend(self.held_back.drain(..));
            }
        }
        let Some((header, counts, late)) = self.ready.pop_front() else { return Ok(None) };
        slot.copy_from_slice(&counts);
        Ok(Some((header, late)))
    }
}

/// What a recording of this replay must say, so that nobody takes it for what the device delivered.
fn remarks(options: &ReplayOptions, reader: &RunReader, played: &Range<usize>) -> Vec<String> {
    let mut remarks = Vec::new();
    if *played != (0..reader.frame_count()) {
        let number = |index: usize| reader.headers().get(index).map_or(0, |header| header.sequence);
        let (first, last) = (number(played.start), number(played.end.saturating_sub(1)));
        remarks
            .push(format!("a part of a recording: frames {first} to {last}; earlier ones left lag behind"));
    }
    if options.times != Some(1) {
        remarks.push("a recording played again and again".into());
    }
    let FaultSchedule { seed, faults } = &options.faults;
    if !faults.is_empty() {
        let kinds: Vec<&str> = faults.iter().map(|fault| fault.kind.name()).collect();
        remarks.push(format!("a recording with faults on purpose: {}, seed {seed}", kinds.join(", ")));
    }
    remarks
}

impl FrameSource for ReplayDevice {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        DeviceError::check_slot(slot, self.reader.description().detector.pixel_count())?;
        let next = match &self.injector {
            None => self.read_next(slot)?.map(|header| (header, Duration::ZERO)),
            Some(_) => self.next_faulty(slot)?,
        };
        let Some((header, late)) = next else { return Ok(SourceEvent::End) };
        self.pace(&header, late);
        Ok(SourceEvent::Frame(header))
    }
}
