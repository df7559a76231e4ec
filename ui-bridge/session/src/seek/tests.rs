//! A shown frame is the uninterrupted replay's to the last bit, wherever the seek came from and whatever was kept.

use super::*;
use capture::{RunOutcome, RunWriter, WriterOptions};
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, DeviceTime, Exposure, PatientSetup,
    RunDescription, WallTime,
};
use ndarray::Array2;

const NU: usize = 16;
const NV: usize = 12;
const FRAMES: u64 = 300;

fn description() -> RunDescription {
    RunDescription {
        run_id: "seek".into(),
        protocol: "fluoro".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: DetectorGrid::new([NU, NV], [0.6, 0.6]).unwrap(),
        bits_stored: 16,
        frame_rate_hz: 30.0,
        planned_views: Vec::new(),
        detector_calibration: Some(DetectorCalibration {
            dark_counts: Array2::from_elem((NV, NU), 100.0),
            gain: Array2::from_elem((NV, NU), 1.0),
            defects: Vec::new(),
            air_intensity_per_mas: 20_000.0,
            electronic_variance: 9.0,
            variance_per_count: 0.8,
            saturation_counts: 65_535,
            tube_voltage_kv: 70.0,
            binning: 1,
            acquired: WallTime(0),
        }),
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.022,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: vec![
            "panel-model lag=1.6:0.11,0.03:0.002 lag-growth=0.6 lag-knee-counts=16800 lag-frame-rate-hz=30 \
             lag-flat-gain=1.02"
                .into(),
        ],
    }
}

/// Bright and dark by turns, with a pause without X-rays, and a bar that moves.
fn frame(sequence: u64) -> (FrameHeader, Vec<u16>) {
    let is_xray_on = !(100..120).contains(&sequence);
    let mut header = FrameHeader { sequence, is_xray_on, ..FrameHeader::default() };
    header.stamps.device = DeviceTime(sequence * 33_333_333);
    header.exposure = Exposure { tube_voltage_kv: 70.0, tube_current_ma: 100.0, pulse_width_ms: 10.0 };
    let level = if !is_xray_on { 100 } else { 3000 + 400 * (sequence / 40 % 3) };
    let count = |pixel: usize| {
        let bar = if is_xray_on && pixel % NU == (sequence % 16) as usize { 2000 } else { 0 };
        let noise = (((pixel as u64 + 7 * sequence) * 2_654_435_761) >> 7) % 61;
        (level + noise - bar) as u16
    };
    (header, (0..NU * NV).map(count).collect())
}

fn recording(folder: &std::path::Path) -> RunReader {
    let path = folder.join("run.mcap");
    let mut writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    for sequence in (0..FRAMES).filter(|sequence| !(200..204).contains(sequence)) {
        let (header, counts) = frame(sequence);
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.finish(RunOutcome::Complete).unwrap();
    RunReader::open(&path).unwrap()
}

fn bits(made: &Made) -> (Vec<u16>, Vec<u32>, [u16; 2]) {
    let corrected = made.corrected.intensity.iter().map(|value| value.to_bits()).collect();
    (made.image.clone(), corrected, [made.window.low, made.window.high])
}

#[test]
fn seek_shows_every_frame_as_an_uninterrupted_replay_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = recording(folder.path());
    let frames = reader.frame_count();
    let mut stages = Stages::new(reader.description()).unwrap();
    let mut counts = vec![0; NU * NV];
    let mut expected = Vec::new();
    for index in 0..frames {
        let header = reader.read_frame(index, &mut counts).unwrap();
        expected.push(bits(stages.make(&header, &counts).unwrap()));
    }
    // Room for all states, for nine, and for as few as can be.
    for states in [1000, 9, 1] {
        let reader = RunReader::open(folder.path().join("run.mcap")).unwrap();
        let mut seeker = Seeker::within(reader, 16, states * NU * NV * PIXEL_BYTES).unwrap();
        for step in 0..3 * frames {
            let index = step * 131 % frames;
            let (header, made) = seeker.show(index, &mut |_, _| true).unwrap();
            assert_eq!(header.sequence, if index < 200 { index as u64 } else { index as u64 + 4 });
            assert_eq!(bits(made), expected[index], "frame {index} with room for {states} states");
        }
        assert!(seeker.states() <= states.max(2), "{} of {states}", seeker.states());
        assert!(seeker.show(frames, &mut |_, _| true).is_err());
    }
}

#[test]
fn seek_takes_no_more_frames_than_lie_between_two_states() {
    let folder = tempfile::tempdir().unwrap();
    let mut seeker = Seeker::within(recording(folder.path()), 16, 1 << 30).unwrap();
    let frames = seeker.recording().frame_count();
    seeker.go_to(frames, &mut |_, _| true).unwrap();
    for index in [frames - 1, 0, 17, 250, 95] {
        let mut taken = 0;
        seeker
            .show(index, &mut |_, _| {
                taken += 1;
                true
            })
            .unwrap();
        assert!(taken < 16, "{taken} frames to show {index}");
    }
    assert!(matches!(seeker.show(90, &mut |_, _| false), Err(SessionError::Cancelled)));
}
