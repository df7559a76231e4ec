//! What one frame of 1024 x 1024 costs on one core, stage by stage, each beside its `f64` reference; then the whole chain.

use acquisition::correct::glare::{Glare, GlareModel};
use acquisition::correct::{Backend, CorrectedFrame};
use acquisition::live::enhance::{Enhancement, Values};
use acquisition::live::recursive::RecursiveFilter;
use acquisition::live::subtraction::{Subtraction, SubtractionMode};
use acquisition::{
    Corrector, LagModel, LagTerm, LiveChain, LiveSettings, LiveStages, PanelModel, VarianceModel,
};
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, Exposure, FrameHeader, PatientSetup,
    PixelDefect, RunDescription, WallTime,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use isocenter_benches::noise;
use ndarray::Array2;

const SIDE: usize = 1024;
/// One pixel in a thousand, and two lines.
const DEFECTS: usize = 1049;
const BACKENDS: [(&str, Backend); 2] = [("cpu", Backend::Cpu), ("reference", Backend::Reference)];

fn maps() -> DetectorCalibration {
    let at = |n: usize| PixelDefect { u: (n * 7919 % SIDE) as u32, v: (n * 104_729 / 97 % SIDE) as u32 };
    let line = (0..SIDE as u32).flat_map(|v| [PixelDefect { u: 300, v }, PixelDefect { u: 700, v }]);
    DetectorCalibration {
        dark_counts: Array2::from_elem((SIDE, SIDE), 200.0),
        gain: Array2::from_shape_fn((SIDE, SIDE), |(v, u)| 1.0 + 0.1 * ((u * v) as f32 * 1e-3).sin()),
        defects: (0..DEFECTS).map(at).chain(line).collect(),
        air_intensity_per_mas: 800.0,
        electronic_variance: 4.0,
        variance_per_count: 1.5,
        saturation_counts: 16_383,
        tube_voltage_kv: 70.0,
        binning: 1,
        acquired: WallTime(0),
    }
}

fn lag() -> LagModel {
    let term = |rate_per_frame, strength| LagTerm { rate_per_frame, strength };
    LagModel {
        terms: vec![term(1.6, 0.11), term(0.35, 0.0031), term(0.06, 0.0016), term(0.006, 0.000_59)],
        low_exposure_growth: 0.6,
        knee_counts: 3900.0,
        frame_rate_hz: 30.0,
        flat_gain: 1.03,
    }
}

const GLARE: GlareModel = GlareModel { share: 0.05, range_mm: 5.0 };

fn grid() -> DetectorGrid {
    DetectorGrid::new([SIDE, SIDE], [0.37, 0.37]).expect("a grid")
}

fn run() -> RunDescription {
    RunDescription {
        run_id: "bench".into(),
        protocol: "fluoro".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: grid(),
        bits_stored: 14,
        frame_rate_hz: 30.0,
        planned_views: Vec::new(),
        detector_calibration: Some(maps()),
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.022,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: vec![PanelModel { lag: Some(lag()), glare: Some(GLARE) }.to_string()],
    }
}

fn header(sequence: u64) -> FrameHeader {
    let exposure = Exposure { tube_voltage_kv: 70.0, tube_current_ma: 80.0, pulse_width_ms: 10.0 };
    FrameHeader { sequence, is_xray_on: true, exposure, ..FrameHeader::default() }
}

/// Raw counts of a body that lies elsewhere by `shift` pixels, with a vessel that takes a share of the light.
fn raw(shift: f32, filled: f32) -> Vec<u16> {
    let noise = noise(SIDE * SIDE);
    (0..SIDE * SIDE)
        .map(|i| {
            let (u, v) = ((i % SIDE) as f32 + shift, (i / SIDE) as f32 - 0.5 * shift);
            let bone = 1.0 + 0.3 * (0.021 * u).sin() * (0.034 * v).cos() + 0.1 * (0.11 * u + 0.07 * v).sin();
            let vessel =
                if (v - 500.0 - 40.0 * (0.01 * u).sin()).abs() < 9.0 { (-filled).exp() } else { 1.0 };
            let mean = 1500.0 * bone * vessel;
            // Even noise with the deviation of quanta.
            (200.0 + mean + 4.2 * mean.sqrt() * (noise[i] - 0.5)).max(0.0) as u16
        })
        .collect()
}

fn corrected(shift: f32, filled: f32) -> CorrectedFrame {
    CorrectedFrame {
        header: header(1),
        intensity: raw(shift, filled).iter().map(|&count| f32::from(count) - 200.0).collect(),
        air_intensity: 13_000.0,
        variance: VarianceModel { electronic: 4.0, per_count: 1.5 },
        ..CorrectedFrame::default()
    }
}

fn stages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one frame of 1024 x 1024");
    group.sample_size(10);
    let counts = raw(0.0, 0.0);
    for (name, backend) in BACKENDS {
        let plain = Corrector::with_backend(&maps(), &grid(), backend).expect("maps");
        let lagging = plain.clone().with_lag(lag()).expect("a model");
        for (what, mut corrector) in [("offset, gain, defects, I0", plain), ("the same and lag", lagging)] {
            let (mut out, mut sequence) = (CorrectedFrame::default(), 0);
            group.bench_function(BenchmarkId::new(what, name), |bencher| {
                bencher.iter(|| {
                    sequence += 1;
                    corrector.correct(&header(sequence), &counts, &mut out).expect("a frame");
                });
            });
        }
        let mut glare = Glare::new(GLARE, &grid(), backend).expect("a model");
        let before = corrected(0.0, 0.0).intensity;
        let mut image = before.clone();
        group.bench_function(BenchmarkId::new("glare", name), |bencher| {
            bencher.iter(|| {
                image.copy_from_slice(&before);
                glare.remove(&mut image);
            });
        });
        let mut filter = RecursiveFilter::with_backend(SIDE, SIDE, backend);
        let mut frame = corrected(0.0, 0.0);
        group.bench_function(BenchmarkId::new("recursive filter", name), |bencher| {
            bencher.iter(|| filter.filter(&mut frame));
        });
        let mut enhancement = Enhancement::with_backend(SIDE, SIDE, backend);
        group.bench_function(BenchmarkId::new("enhancement", name), |bencher| {
            bencher.iter(|| {
                image.copy_from_slice(&before);
                enhancement.enhance(&mut image, Values::Counts);
            });
        });
        let mut subtraction = Subtraction::with_backend([SIDE, SIDE], true, backend).expect("a size");
        subtraction.add_mask(&corrected(0.0, 0.0)).expect("a mask");
        let fills = [corrected(3.3, 0.3), corrected(-1.8, 0.3)];
        let mut at = 0;
        group.bench_function(BenchmarkId::new("subtraction, mask laid on anew", name), |bencher| {
            bencher.iter(|| {
                at += 1;
                subtraction.subtract(&fills[at % 2], SubtractionMode::Live).expect("a frame").len()
            });
        });
    }
    group.finish();
}

fn chain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("live chain, 1024 x 1024");
    group.sample_size(20);
    let subtracting = LiveStages { subtraction: true, ..LiveStages::USUAL };
    for (name, asked) in [
        ("usual", LiveStages::USUAL),
        ("and enhancement", LiveStages { enhancement: true, ..LiveStages::USUAL }),
        ("and subtraction", subtracting),
        ("and both", LiveStages { enhancement: true, ..subtracting }),
    ] {
        let mut chain = LiveChain::new(&run(), LiveSettings::default()).expect("a run");
        let frames = [raw(0.0, 0.0), raw(1.7, 0.3)];
        let mut image = vec![0; SIDE * SIDE];
        let mut sequence = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                sequence += 1;
                // The first frames are the mask; then the body moves to and fro.
                let counts = &frames[if sequence > 8 { sequence as usize % 2 } else { 0 }];
                chain.show(&header(sequence), counts, asked, &mut image).expect("a frame")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stages, chain);
criterion_main!(benches);
