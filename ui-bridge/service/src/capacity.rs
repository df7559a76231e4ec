//! What the recorder can hold on this machine, measured and not guessed.
//!
//! A short run of noisy frames is packed, hashed, written and forced to the disk by the recorder's own writer, in the
//! folder of the recordings. Noise hardly packs, so real frames are no slower.

use crate::clock::monotonic_now;
use crate::error::ServiceError;
use capture::{RunOutcome, RunWriter, WriterOptions};
use carm::{BeamModel, DetectorGrid, DeviceIdentity, FrameHeader, HostTime, PatientSetup, RunDescription};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Side of the frames that are written, pixels.
const SIDE: usize = 1024;
/// How long frames are written; the forced end comes on top.
const LASTS: Duration = Duration::from_millis(400);
/// Frames at most, so that a fast disk is not filled.
const MOST_FRAMES: u64 = 128;
/// Bits of the noise in a count: more than a detector has.
const NOISE_BITS: u32 = 8;

/// What one recorder thread holds, alone on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecorderCapacity {
    /// Raw counts, bytes a second, until they are safe on the disk.
    pub raw_bytes_per_s: f64,
    /// What they took of the disk for each raw byte.
    pub packed_share: f64,
}

impl RecorderCapacity {
    /// Measures it in a folder.
    ///
    /// # Errors
    /// A run that cannot be written there.
    pub fn measure(folder: &Path) -> Result<Self, ServiceError> {
        let path = folder.join(format!(".capacity-{}", std::process::id()));
        let counts = noisy_counts();
        let options = WriterOptions { overwrite: true, ..WriterOptions::default() };
        let measured = write(&path, &counts, options);
        // Half a run is of no use either.
        let _ = std::fs::remove_file(&path);
        measured
    }

    /// Frames of so many pixels a second.
    pub fn frames_per_s(&self, pixels: usize) -> f64 {
        self.raw_bytes_per_s / (2 * pixels.max(1)) as f64
    }
}

fn write(path: &Path, counts: &[u16], options: WriterOptions) -> Result<RecorderCapacity, ServiceError> {
    let mut writer = RunWriter::create(path, &description(), options)?;
    let begun = Instant::now();
    let mut frames = 0;
    while frames < MOST_FRAMES && begun.elapsed() < LASTS {
        let mut header = FrameHeader { sequence: frames, ..FrameHeader::default() };
        header.stamps.host = HostTime(monotonic_now().0);
        writer.write_frame(&header, counts)?;
        frames += 1;
    }
    let summary = writer.finish(RunOutcome::Complete)?;
    let raw_bytes = (frames * 2 * counts.len() as u64) as f64;
    Ok(RecorderCapacity {
        raw_bytes_per_s: raw_bytes / begun.elapsed().as_secs_f64(),
        packed_share: summary.file_bytes as f64 / raw_bytes,
    })
}

/// A ramp with noise, the same each time: xorshift of Marsaglia, 2003.
fn noisy_counts() -> Vec<u16> {
    let mut state = 0x9e37_79b9_u32;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> (32 - NOISE_BITS)) as u16
    };
    (0..SIDE * SIDE).map(|i| 1000 + (i % SIDE) as u16 * 8 + noise()).collect()
}

fn description() -> RunDescription {
    RunDescription {
        run_id: "capacity".into(),
        protocol: "capacity".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: DetectorGrid::new([SIDE, SIDE], [0.3, 0.3]).expect("a grid that is part of the program"),
        bits_stored: 16,
        frame_rate_hz: 30.0,
        planned_views: Vec::new(),
        detector_calibration: None,
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.0221,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_measured_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let capacity = RecorderCapacity::measure(folder.path()).unwrap();
        assert!(capacity.raw_bytes_per_s > 0.0 && capacity.frames_per_s(SIDE * SIDE) > 0.0, "{capacity:?}");
        // Eight noisy bits of sixteen, and a ramp.
        assert!(capacity.packed_share > 0.4 && capacity.packed_share < 1.1, "{capacity:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(RecorderCapacity::measure(&folder.path().join("nowhere")).is_err());
    }
}
