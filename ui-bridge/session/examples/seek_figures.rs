//! How long a seek takes in a recording of 216,000 small frames (two hours at 30/s), and whether what it shows is what an
//! uninterrupted replay shows.
//!
//! `cargo run --release -p session --example seek_figures -- FOLDER [FRAMES]`

use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, DeviceTime, Exposure, FrameHeader,
    HostTime, PatientSetup, RunDescription, WallTime,
};
use ndarray::Array2;
use session::{Seeker, Stages, image_hash};
use std::path::Path;
use std::time::Instant;

const NU: usize = 64;
const NV: usize = 48;
/// Frames shown, besides the first and the last.
const SEEKS: usize = 500;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("expected a folder for the recording")?;
    let frames: u64 = arguments.next().map_or(Ok(216_000), |count| count.parse())?;
    let path = Path::new(&folder).join("seek.mcap");
    let start = Instant::now();
    record(&path, frames)?;
    let megabytes = std::fs::metadata(&path)?.len() as f64 * 1e-6;
    println!("{frames} frames of {NU} x {NV} recorded in {:.1} s, {megabytes:.0} MB", seconds(start));

    let start = Instant::now();
    let expected = uninterrupted(&path)?;
    println!("played without interruption in {:.1} s", seconds(start));

    let start = Instant::now();
    let mut seeker = Seeker::new(RunReader::open(&path)?)?;
    println!("opened in {:.3} s", seconds(start));
    let start = Instant::now();
    seeker.go_to(expected.len(), &mut |_, _| true)?;
    let (states, spacing) = (seeker.states(), seeker.spacing());
    println!("gone through once in {:.1} s: {states} states, one every {spacing} frames", seconds(start));

    let mut positions = vec![0, expected.len() - 1];
    // Multiples of an odd number that shares no factor with the count lie all over it.
    positions.extend((1..=SEEKS).map(|n| n * 104_729 % expected.len()));
    let mut milliseconds = Vec::new();
    for &index in &positions {
        let start = Instant::now();
        let (_, made) = seeker.show(index, &mut |_, _| true)?;
        milliseconds.push(seconds(start) * 1e3);
        if image_hash(&made.image) != expected[index] {
            return Err(format!("frame {index}: shown otherwise than without interruption").into());
        }
    }
    milliseconds.sort_by(f64::total_cmp);
    let share = |share: f64| milliseconds[(share * (milliseconds.len() - 1) as f64).round() as usize];
    println!(
        "{} seeks, each image equal: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        positions.len(),
        share(0.5),
        share(0.99),
        share(1.0)
    );
    std::fs::remove_file(&path)?;
    Ok(())
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// Hash of every live image, in order.
fn uninterrupted(path: &Path) -> Result<Vec<String>, Failure> {
    let mut reader = RunReader::open(path)?;
    let mut stages = Stages::new(reader.description())?;
    let mut counts = vec![0; NU * NV];
    let mut hashes = Vec::new();
    for index in 0..reader.frame_count() {
        let header = reader.read_frame(index, &mut counts)?;
        hashes.push(image_hash(&stages.make(&header, &counts)?.image));
    }
    Ok(hashes)
}

fn record(path: &Path, frames: u64) -> Result<(), Failure> {
    let options = WriterOptions { overwrite: true, ..WriterOptions::default() };
    let mut writer = RunWriter::create(path, &description()?, options)?;
    for sequence in 0..frames {
        let (header, counts) = frame(sequence);
        writer.write_frame(&header, &counts)?;
    }
    writer.finish(RunOutcome::Complete)?;
    Ok(())
}

/// Fluoroscopy with pauses: a bar that moves before a body that does not, and the exposure in steps.
fn frame(sequence: u64) -> (FrameHeader, Vec<u16>) {
    let is_xray_on = sequence % 900 < 750;
    let mut header = FrameHeader { sequence, is_xray_on, ..FrameHeader::default() };
    let elapsed_ns = sequence * 33_333_333;
    header.stamps.device = DeviceTime(elapsed_ns);
    header.stamps.host = HostTime(elapsed_ns);
    header.exposure = Exposure { tube_voltage_kv: 70.0, tube_current_ma: 100.0, pulse_width_ms: 10.0 };
    let level = if is_xray_on { 6000 + 800 * (sequence / 700 % 4) } else { 100 };
    let count = |pixel: usize| {
        let bar = if is_xray_on && (pixel as u64 % NU as u64) == sequence / 3 % NU as u64 { 2500 } else { 0 };
        let noise = (pixel as u64 ^ sequence.wrapping_mul(0x9E37)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57;
        (level + noise - bar) as u16
    };
    (header, (0..NU * NV).map(count).collect())
}

fn description() -> Result<RunDescription, Failure> {
    Ok(RunDescription {
        run_id: "seek".into(),
        protocol: "fluoroscopy".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: DetectorGrid::new([NU, NV], [4.0, 4.0])?,
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
            "panel-model lag=1.6:0.11,0.35:0.0031,0.03:0.0004,0.003:0.00008 lag-growth=0.6 lag-knee-counts=16800 \
             lag-frame-rate-hz=30 lag-flat-gain=1.02"
                .into(),
        ],
    })
}
