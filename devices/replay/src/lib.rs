//! A recorded run played as a device: at its recorded speed, at a factor of it, or flat out.
//!
//! Frames come bit for bit as they were recorded, headers included; a frame that was lost shows as a jump of the
//! sequence number, as it did when the run was recorded. The types to know are [`ReplayDevice`] (a
//! [`carm::FrameSource`]) and [`Pace`].
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

mod schedule;

#[cfg(test)]
mod tests;

use capture::{CaptureError, RunReader};
use carm::{DeviceError, FrameHeader, FrameSource, RunDescription, SourceEvent};
use schedule::Schedule;
use std::path::Path;
use std::time::Instant;

/// How fast a run is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As it was recorded.
    Recorded,
    /// So many times as fast; must be positive.
    Factor(f64),
    /// Without waiting.
    FlatOut,
}

/// A run that cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error("the recording cannot be played")]
    Recording(#[from] CaptureError),
    /// A speed that is none.
    #[error("replay speed: expected a positive factor, found {found}")]
    Factor {
        /// The factor given.
        found: f64,
    },
}

/// A recording as a device.
pub struct ReplayDevice {
    reader: RunReader,
    next: usize,
    damaged_frames: u64,
    schedule: Option<Schedule>,
    /// When the first frame was delivered: the schedule counts from here.
    start: Option<Instant>,
}

impl ReplayDevice {
    /// Opens a recording; its clock starts with the first frame asked for.
    ///
    /// # Errors
    /// [`ReplayError::Recording`], [`ReplayError::Factor`].
    pub fn open(path: impl AsRef<Path>, pace: Pace) -> Result<Self, ReplayError> {
        let factor = match pace {
            Pace::Recorded => Some(1.0),
            Pace::Factor(found) if !(found.is_finite() && found > 0.0) => {
                return Err(ReplayError::Factor { found });
            }
            Pace::Factor(factor) => Some(factor),
            Pace::FlatOut => None,
        };
        let reader = RunReader::open(path)?;
        let schedule = factor.map(|factor| Schedule::new(factor, reader.description().frame_rate_hz));
        Ok(Self { reader, next: 0, damaged_frames: 0, schedule, start: None })
    }

    /// The recording that is played.
    pub fn recording(&self) -> &RunReader {
        &self.reader
    }

    /// Frames left out because they are no longer what was recorded; each shows as a jump of the sequence number.
    pub fn damaged_frames(&self) -> u64 {
        self.damaged_frames
    }

    /// Waits until a frame is due.
    fn pace(&mut self, header: &FrameHeader) {
        let Some(schedule) = &mut self.schedule else { return };
        let start = *self.start.get_or_insert_with(Instant::now);
        let due = start + schedule.due(header);
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

impl FrameSource for ReplayDevice {
    fn description(&self) -> &RunDescription {
        self.reader.description()
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        let expected = self.reader.description().detector.pixel_count();
        if slot.len() != expected {
            return Err(DeviceError::SlotSize { expected, found: slot.len() });
        }
        while self.next < self.reader.frame_count() {
            let index = self.next;
            self.next += 1;
            match self.reader.read_frame(index, slot) {
                Ok(header) => {
                    self.pace(&header);
                    return Ok(SourceEvent::Frame(header));
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
        Ok(SourceEvent::End)
    }
}
