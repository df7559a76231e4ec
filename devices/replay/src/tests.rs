//! What a replayed run must share with its recording: every bit of it.

use super::*;
use capture::{RunOutcome, RunWriter, WriterOptions};
use carm::{
    BeamModel, ClockStamps, DetectorGrid, DeviceIdentity, DeviceTime, Exposure, GantryPose, HostTime,
    PatientSetup, Pedal, WallTime,
};
use std::time::Duration;

pub(crate) const PIXELS: usize = 12 * 10;
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

pub(crate) fn frame(sequence: u64) -> (FrameHeader, Vec<u16>) {
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

pub(crate) fn record(sequences: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, std::path::PathBuf) {
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

pub(crate) fn play(device: &mut ReplayDevice) -> Vec<(FrameHeader, Vec<u16>)> {
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

#[test]
fn replay_plays_a_part_and_seeks_with_one_read() {
    let sequences = [5, 6, 7, 11, 12, 13];
    let (_folder, path) = record(sequences);
    let part = |from: &str, to: &str| {
        let span = Span { from: Some(from.parse().unwrap()), to: Some(to.parse().unwrap()) };
        ReplayDevice::open_with(
            &path,
            ReplayOptions { pace: Pace::FlatOut, span, ..ReplayOptions::default() },
        )
    };
    assert_eq!(play(&mut part("6", "12").unwrap()), [6, 7, 11, 12].map(frame));
    assert_eq!(play(&mut part("8", "11").unwrap()), [11].map(frame));
    // Frames are 2 ms apart: 5 at zero, 7 at 4 ms, 11 at 12 ms.
    assert_eq!(play(&mut part("0.004s", "0.0121s").unwrap()), [7, 11].map(frame));
    for (from, to) in [("8", "10"), ("14", "20"), ("12", "6"), ("1s", "2s")] {
        let error = part(from, to).err().unwrap();
        assert!(
            matches!(error, ReplayError::EmptySpan { .. }) && error.to_string().contains("5 to 13"),
            "{error}"
        );
    }
    let mut device = ReplayDevice::open(&path, Pace::FlatOut).unwrap();
    let mut slot = vec![0; PIXELS];
    for index in [4, 0, 5, 2] {
        let before = device.recording().file_reads();
        device.seek(index).unwrap();
        assert!(matches!(device.next_frame(&mut slot).unwrap(), SourceEvent::Frame(_)));
        assert_eq!(slot, frame(sequences[index]).1);
        assert_eq!(device.recording().file_reads() - before, 1);
    }
    assert!(matches!(device.seek(6), Err(ReplayError::NoSuchFrame { found: 6, .. })));
    assert!("12x".parse::<FramePosition>().is_err() && "-1s".parse::<FramePosition>().is_err());
}

#[test]
fn replay_again_goes_on_with_numbers_and_clock() {
    let (_folder, path) = record([5, 6, 9]);
    let options = ReplayOptions { pace: Pace::FlatOut, times: Some(3), ..ReplayOptions::default() };
    let frames = play(&mut ReplayDevice::open_with(&path, options).unwrap());
    let numbers: Vec<u64> = frames.iter().map(|(header, _)| header.sequence).collect();
    assert_eq!(numbers, [5, 6, 9, 10, 11, 14, 15, 16, 19]);
    // Each lap is four periods of the last frame behind the first, and one more.
    for (header, _) in &frames {
        assert_eq!(header.stamps.device.0, 1_000 + header.sequence * PERIOD_NS);
    }
    assert_eq!(frames[7].1, frame(6).1);
}

/// Two hours at 30 frames a second.
#[test]
fn replay_seeks_anywhere_in_two_hours_with_one_read() {
    const FRAMES: u64 = 216_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.mcap");
    let small = RunDescription { detector: DetectorGrid::new([4, 2], [0.6, 0.6]).unwrap(), ..description() };
    // Forced to disk once a second of two hours, it would take most of a minute to write.
    let seldom = WriterOptions { sync_interval_ns: u64::MAX, ..WriterOptions::default() };
    let mut writer = RunWriter::create(&path, &small, seldom).unwrap();
    let long = |sequence: u64| {
        let (mut header, counts) = frame(sequence);
        header.stamps.host = HostTime(sequence * 33_333_333);
        header.stamps.device = DeviceTime(sequence * 33_333_333);
        (header, counts[..8].to_vec())
    };
    for sequence in 0..FRAMES {
        let (header, counts) = long(sequence);
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.finish(RunOutcome::Complete).unwrap();
    let mut device = ReplayDevice::open(&path, Pace::FlatOut).unwrap();
    assert!(device.recording().is_indexed());
    let mut slot = vec![0; 8];
    for index in [FRAMES - 1, 0, 107_333, 3, 215_000] {
        let before = device.recording().file_reads();
        let start = Instant::now();
        device.seek(index as usize).unwrap();
        let event = device.next_frame(&mut slot).unwrap();
        println!("frame {index}: {:?} after the seek", start.elapsed());
        assert_eq!((event, slot.clone()), (SourceEvent::Frame(long(index).0), long(index).1));
        assert_eq!(device.recording().file_reads() - before, 1);
    }
}
