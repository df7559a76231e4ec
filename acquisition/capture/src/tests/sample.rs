//! A small run with awkward numbers in every field.

use crate::{RunOutcome, RunSummary, RunWriter, WriterOptions};
use carm::{
    BeamModel, CarmAngles, CarmDistances, ClockStamps, DetectorCalibration, DetectorGrid, DeviceIdentity,
    DeviceTime, Exposure, FrameHeader, GantryPose, HostTime, PatientPosition, PatientSetup, Pedal,
    PixelDefect, PlannedView, RunDescription, TablePose, VolumeGrid, WallTime,
};
use nalgebra::{Isometry3, Point3, Rotation3, Vector3};
use ndarray::Array2;
use std::path::Path;

pub(crate) const NU: usize = 15;
pub(crate) const NV: usize = 11;
/// Frames of the sample run; sequence numbers 4 and 5 are missing.
pub(crate) const SEQUENCES: [u64; 10] = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11];

pub(crate) fn description() -> RunDescription {
    let detector = DetectorGrid::new([NU, NV], [0.616, 0.1 + 0.2]).unwrap();
    let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
    let moved = Isometry3::new(Vector3::new(0.1, -0.2, 0.3), Vector3::new(0.001, 0.002, -0.003));
    let view = |i: usize| {
        let primary_rad = -1.9 + 0.7 * i as f64;
        let angles = CarmAngles { primary_rad, secondary_rad: 1e-3 / 3.0 };
        let p = carm::converters::projection_from_carm_angles(angles, distances, &detector).unwrap();
        let projection_matrix = if i.is_multiple_of(2) { p } else { p.for_space(&moved) };
        PlannedView { primary_angle_rad: primary_rad, projection_matrix }
    };
    let map = |scale: f32| {
        Array2::from_shape_fn((NV, NU), |(v, u)| scale * (1.0 + ((v * 31 + u * 17) % 13) as f32 / 97.0))
    };
    let direction = *Rotation3::from_euler_angles(0.1, -0.2, 0.3).matrix();
    RunDescription {
        run_id: "sample".into(),
        protocol: "spine-spin".into(),
        device: DeviceIdentity {
            manufacturer: "Isocenter".into(),
            model: "virtual C-arm \"α\"".into(),
            serial_number: "0".into(),
        },
        seed: Some(u64::MAX),
        detector,
        bits_stored: 14,
        frame_rate_hz: 30.0 / 1.001,
        planned_views: (0..3).map(view).collect(),
        detector_calibration: Some(DetectorCalibration {
            dark_counts: map(101.3),
            gain: map(0.97),
            defects: vec![PixelDefect { u: 3, v: 4 }, PixelDefect { u: 14, v: 10 }],
            air_intensity_per_mas: 1e5 / 3.0,
            electronic_variance: 12.5,
            variance_per_count: 0.73,
            saturation_counts: 16_383,
            tube_voltage_kv: 110.0,
            binning: 2,
            acquired: WallTime(1_700_000_000_123_456_789),
        }),
        beam: BeamModel {
            tube_voltage_kv: 110.0,
            effective_energy_kev: 61.7,
            mu_water_per_mm: 0.020_123_456_789_012_34,
            water_precorrection: vec![1.0, 1.0 / 30.0, -0.0, f64::MIN_POSITIVE],
        },
        patient: PatientSetup {
            position: PatientPosition::Ffdr,
            table: TablePose { lateral_mm: 1.5, vertical_mm: -20.25, longitudinal_mm: 1e3 / 7.0 },
            isocenter_lps: Point3::new(-12.5, 1.0 / 3.0, 800.0),
        },
        volume_grid: Some(
            VolumeGrid::new([32, 31, 30], [0.8, 0.9, 1.0], direction, Point3::new(-9.0, 8.0, -7.0)).unwrap(),
        ),
        remarks: vec!["without lag".into(), "äöü 中".into()],
    }
}

/// The frame with a sequence number: a smooth field with bits that look like noise, different in each frame.
pub(crate) fn frame(sequence: u64) -> (FrameHeader, Vec<u16>) {
    let header = FrameHeader {
        sequence,
        stamps: ClockStamps {
            device: DeviceTime(5_000_000 + sequence * 33_366_700),
            host: HostTime(900_000_000_000 + sequence * 33_400_000),
            wall: WallTime(1_700_000_000_000_000_000 + sequence * 33_400_000),
        },
        mid_exposure: DeviceTime(9_000_000 + sequence * 33_366_700),
        is_xray_on: sequence % 3 != 2,
        pedal: [Pedal::Released, Pedal::Fluoroscopy, Pedal::Acquisition][sequence as usize % 3],
        gantry: GantryPose { primary_angle_rad: -1.9 + sequence as f64 / 7.0, secondary_angle_rad: -0.0 },
        exposure: Exposure {
            tube_voltage_kv: 109.9,
            tube_current_ma: 40.0 / 3.0,
            pulse_width_ms: 8.0 + sequence as f64 * 1e-3,
        },
    };
    let count = |i: usize| {
        let noise = (i as u64 ^ sequence.wrapping_mul(0x9E37)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
        (8000 + 40 * (i % NU) + 25 * (i / NU)) as u16 + noise as u16
    };
    (header, (0..NU * NV).map(count).collect())
}

/// Records the sample run; four frames or so to a chunk.
pub(crate) fn record(path: &Path) -> RunSummary {
    let options = WriterOptions { chunk_bytes: 1500, ..WriterOptions::default() };
    let mut writer = RunWriter::create(path, &description(), options).unwrap();
    fill(&mut writer);
    writer.finish(RunOutcome::Complete).unwrap()
}

/// Writes the frames, the gap and the events of the sample run.
pub(crate) fn fill(writer: &mut RunWriter) {
    writer.write_event("xray_on", "{\"pedal\": \"acquisition\"}", HostTime(900_000_000_000)).unwrap();
    for sequence in SEQUENCES {
        if sequence == 6 {
            writer.write_gap(4, 2, "lost in transit").unwrap();
        }
        let (header, counts) = frame(sequence);
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.write_event("xray_off", "", HostTime(901_000_000_000)).unwrap();
}
