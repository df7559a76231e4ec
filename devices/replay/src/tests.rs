//! What a replayed run must share with its recording: every bit of it.

use super::*;
use capture::{RunOutcome, RunWriter, WriterOptions};
use carm::{
    BeamModel, ClockStamps, DetectorGrid, DeviceIdentity, DeviceTime, Exposure, GantryPose, HostTime,
    PatientSetup, Pedal, WallTime,
};
use std::time::Duration;

const PIXELS: usize = 12 * 10;
const PERIOD_NS: u64 = 2_000_000;

fn description() -> RunDescription {
    RunDescription {
        run_id: "replay-test".into(),
        protocol: "spine-spin".into(),
        device: DeviceIdentity::default(),
        seed: Some(3),
        detector: DetectorGrid::new([12, 10], [0.6, 0.6]).unwrap(),
        bits_stored: 16,
        frame_rate_hz: 500.0,
        planned_views: Vec::new(),
        detector_calibration: None,
        beam: BeamModel {
            tube_voltage_kv: 110.0,
            effective_energy_kev: 60.0,
            mu_water_per_mm: 0.02,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    }
}

fn frame(sequence: u64) -> (FrameHeader, Vec<u16>) {
    let header = FrameHeader {
        sequence,
        stamps: ClockStamps {
            device: DeviceTime(1_000 + sequence * PERIOD_NS),
            host: HostTime(77 + sequence * PERIOD_NS),
            wall: WallTime(1_700_000_000_000_000_000 + sequence),
        },
        mid_exposure: DeviceTime(1_500 + sequence * PERIOD_NS),
        is_xray_on: sequence.is_multiple_of(2),
        pedal: Pedal::Acquisition,
        gantry: GantryPose { primary_angle_rad: sequence as f64 * 0.1, secondary_angle_rad: -0.0 },
        exposure: Exposure { tube_voltage_kv: 110.1, tube_current_ma: 40.7, pulse_width_ms: 8.3 },
    };
    let counts = (0..PIXELS as u64).map(|i| (sequence * 7919 + i * i * 31) as u16).collect();
    (header, counts)
}

fn record(sequences: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let mut writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    for sequence in sequences {
        let (header, counts) = frame(sequence);
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.finish(RunOutcome::Complete).unwrap();
    (folder, path)
}

fn play(device: &mut ReplayDevice) -> Vec<(FrameHeader, Vec<u16>)> {
    let mut frames = Vec::new();
    let mut slot = vec![0xDEAD; PIXELS];
    while let SourceEvent::Frame(header) = device.next_frame(&mut slot).unwrap() {
        frames.push((header, slot.clone()));
    }
    frames
}

#[test]
fn replay_gives_every_frame_bit_for_bit_and_gaps_as_jumps() {
    let sequences = [5, 6, 7, 11, 12];
    let (_folder, path) = record(sequences);
    for pace in [Pace::Recorded, Pace::Factor(3.0), Pace::FlatOut] {
        let mut device = ReplayDevice::open(&path, pace).unwrap();
        assert_eq!(device.description(), &description());
        assert_eq!(play(&mut device), sequences.map(frame));
        assert_eq!(device.damaged_frames(), 0);
        assert_eq!(device.next_frame(&mut [0; PIXELS]).unwrap(), SourceEvent::End);
    }
}

#[test]
fn replay_never_delivers_a_frame_before_it_is_due() {
    let (_folder, path) = record(0..20);
    let mut device = ReplayDevice::open(&path, Pace::Factor(2.0)).unwrap();
    let mut slot = vec![0; PIXELS];
    device.next_frame(&mut slot).unwrap();
    let start = Instant::now();
    for sequence in 1..20 {
        device.next_frame(&mut slot).unwrap();
        let due = Duration::from_nanos(sequence * PERIOD_NS / 2);
        // The first frame's own delivery lies a moment before `start`.
        assert!(start.elapsed() + Duration::from_millis(1) >= due, "frame {sequence}: {:?}", start.elapsed());
    }
}

#[test]
fn replay_leaves_out_a_damaged_frame_and_counts_it() {
    let (_folder, path) = record(0..3);
    let (_, counts) = frame(1);
    let mut bytes = std::fs::read(&path).unwrap();
    // A byte of the middle frame's packed counts, found behind the second frame record's mark.
    let marks: Vec<usize> = (0..bytes.len() - 5).filter(|&i| &bytes[i..i + 5] == b"ISFR\x01").collect();
    assert_eq!(marks.len(), 3);
    let middle = marks[1];
    bytes[middle + 130] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let mut device = ReplayDevice::open(&path, Pace::FlatOut).unwrap();
    let frames = play(&mut device);
    assert_eq!(frames, [0, 2].map(frame));
    assert_eq!(device.damaged_frames(), 1);
    assert!(frames.iter().all(|(_, found)| *found != counts));
}

#[test]
fn replay_refuses_a_wrong_slot_and_a_speed_that_is_none() {
    let (_folder, path) = record(0..1);
    for found in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(ReplayDevice::open(&path, Pace::Factor(found)), Err(ReplayError::Factor { .. })));
    }
    let mut device = ReplayDevice::open(&path, Pace::FlatOut).unwrap();
    let error = device.next_frame(&mut [0; 7]).unwrap_err();
    assert!(matches!(error, DeviceError::SlotSize { expected: PIXELS, found: 7 }), "{error}");
}
