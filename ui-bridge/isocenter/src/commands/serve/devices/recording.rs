//! A recorded run as a device that stands beside the C-arm now: its frames, with today's clocks.

use crate::commands::serve::config::RecordingPart;
use anyhow::{Context, Result, ensure};
use capture::{CaptureError, RunReader};
use carm::{DeviceError, FrameHeader, FrameSource, RunDescription, SourceEvent, WallTime};
use replay::{Pace, ReplayDevice};
use service::{Driver, PreRendered, monotonic_now, wall_now};
use std::path::{Path, PathBuf};

/// Memory that a recording may take.
const MOST_BYTES: u64 = 4 << 30;

/// From the disk, or from memory.
pub fn driver(name: &str, part: &RecordingPart) -> Result<Box<dyn Driver>> {
    let about = || format!("device {name}: recording");
    let reader = RunReader::open(&part.file).with_context(about)?;
    if !part.in_memory {
        let name = name.to_owned();
        return Ok(Box::new(RecordingDriver { name, part: part.clone() }));
    }
    let frames = Frames::read(reader, part).with_context(about)?;
    Ok(Box::new(MemoryDriver { name: name.into(), again: part.again, frames }))
}

struct RecordingDriver {
    name: String,
    part: RecordingPart,
}

impl Driver for RecordingDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        Ok(Box::new(Played::open(&self.name, &self.part)?))
    }

    fn returns_after_end(&self) -> bool {
        false
    }
}

/// A recording with this host's clocks, and again from its start where that is asked for.
struct Played {
    name: String,
    path: PathBuf,
    pace: Pace,
    again: bool,
    device: ReplayDevice,
    description: RunDescription,
    /// Added to the recorded numbers, and the number delivered last.
    shift: u64,
    last: u64,
}

impl Played {
    fn open(name: &str, part: &RecordingPart) -> Result<Self, DeviceError> {
        let pace = Pace::Factor(part.speed);
        let device = open(name, &part.file, pace)?;
        let mut description = device.description().clone();
        description.frame_rate_hz *= part.speed;
        keep_age(&mut description, device.recording().headers());
        let (path, name) = (part.file.clone(), name.to_owned());
        Ok(Self { name, path, pace, again: part.again, device, description, shift: 0, last: 0 })
    }

    fn begin_again(&mut self) -> Result<(), DeviceError> {
        self.device = open(&self.name, &self.path, self.pace)?;
        let first = self.device.recording().headers().first().map_or(0, |header| header.sequence);
        self.shift = (self.last + 1).wrapping_sub(first);
        Ok(())
    }
}

impl FrameSource for Played {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        let mut event = self.device.next_frame(slot)?;
        if event == SourceEvent::End && self.again {
            self.begin_again()?;
            event = self.device.next_frame(slot)?;
        }
        let SourceEvent::Frame(mut header) = event else { return Ok(SourceEvent::End) };
        header.sequence = header.sequence.wrapping_add(self.shift);
        self.last = header.sequence;
        header.stamps.host = monotonic_now();
        header.stamps.wall = wall_now();
        Ok(SourceEvent::Frame(header))
    }
}

/// Maps are as old beside today's frames as they were beside the recorded ones.
fn keep_age(description: &mut RunDescription, headers: &[FrameHeader]) {
    if let (Some(maps), Some(first)) = (&mut description.detector_calibration, headers.first()) {
        let age_ns = first.stamps.wall.0.saturating_sub(maps.acquired.0);
        maps.acquired = WallTime(wall_now().0.saturating_sub(age_ns));
    }
}

fn open(name: &str, path: &Path, pace: Pace) -> Result<ReplayDevice, DeviceError> {
    ReplayDevice::open(path, pace).map_err(|error| DeviceError::Failed {
        device: name.into(),
        reason: error.to_string(),
        source: Some(Box::new(error)),
    })
}

struct MemoryDriver {
    name: String,
    again: bool,
    frames: PreRendered,
}

impl Driver for MemoryDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let frames = self.frames.clone();
        Ok(Box::new(if self.again { frames.again_and_again() } else { frames }))
    }

    fn returns_after_end(&self) -> bool {
        false
    }
}

struct Frames;

impl Frames {
    fn read(mut reader: RunReader, part: &RecordingPart) -> Result<PreRendered> {
        let mut description = reader.description().clone();
        description.frame_rate_hz *= part.speed;
        keep_age(&mut description, reader.headers());
        let pixels = description.detector.pixel_count();
        let needed = 2 * pixels as u64 * reader.frame_count() as u64;
        ensure!(
            needed <= MOST_BYTES,
            "in-memory: expected at most {} MiB of frames, found {}",
            MOST_BYTES >> 20,
            needed >> 20
        );
        let mut frames = Vec::new();
        for index in 0..reader.frame_count() {
            let mut counts = vec![0; pixels];
            match reader.read_frame(index, &mut counts) {
                Ok(header) => frames.push((header, counts)),
                // Left out, as `replay` leaves it out: a jump of the number.
                Err(CaptureError::FrameDamaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(PreRendered::new(description, frames))
    }
}
