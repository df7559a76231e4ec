//! The chain as a whole.

use super::*;
use carm::{BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, Exposure, PatientSetup, WallTime};
use ndarray::Array2;

fn description(with_maps: bool) -> RunDescription {
    let maps = DetectorCalibration {
        dark_counts: Array2::from_elem((8, 12), 100.0),
        gain: Array2::from_shape_fn((8, 12), |(v, _)| if v < 4 { 0.5 } else { 1.5 }),
        defects: Vec::new(),
        air_intensity_per_mas: 1000.0,
        electronic_variance: 4.0,
        variance_per_count: 1.0,
        saturation_counts: 16000,
        tube_voltage_kv: 70.0,
        binning: 1,
        acquired: WallTime(0),
    };
    RunDescription {
        run_id: "live".into(),
        protocol: "fluoro".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: DetectorGrid::new([12, 8], [0.3, 0.3]).unwrap(),
        bits_stored: 14,
        frame_rate_hz: 30.0,
        planned_views: Vec::new(),
        detector_calibration: with_maps.then_some(maps),
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.022,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    }
}

fn header() -> FrameHeader {
    let exposure = Exposure { tube_voltage_kv: 70.0, tube_current_ma: 50.0, pulse_width_ms: 10.0 };
    FrameHeader { is_xray_on: true, exposure, ..FrameHeader::default() }
}

#[test]
fn live_chain_corrects_and_says_which_stages_ran() {
    let mut chain = LiveChain::new(&description(true)).unwrap();
    let raw: Vec<u16> = (0..96).map(|i| if i < 48 { 600 } else { 1600 }).collect();
    let mut image = vec![0; 96];
    let (_, ran) = chain.show(&header(), &raw, LiveStages::ALL, &mut image).unwrap();
    assert_eq!((ran, &image), (LiveStages::ALL, &vec![1000; 96]), "even after gain");
    let off = LiveStages { correction: false, ..LiveStages::ALL };
    let (_, ran) = chain.show(&header(), &raw, off, &mut image).unwrap();
    assert_eq!(ran, LiveStages { correction: false, noise_reduction: false, automatic_window: true });
    assert_eq!(image, raw);
}

#[test]
fn live_chain_without_maps_shows_raw_counts_and_says_so() {
    let mut chain = LiveChain::new(&description(false)).unwrap();
    let raw: Vec<u16> = (0..96).map(|i| 60_000 + i).collect();
    let mut image = vec![0; 96];
    let (_, ran) = chain.show(&header(), &raw, LiveStages::ALL, &mut image).unwrap();
    assert!(!ran.correction && !ran.noise_reduction);
    assert_eq!(image, raw);
}

#[test]
fn live_chain_refuses_frames_of_another_size() {
    let mut chain = LiveChain::new(&description(true)).unwrap();
    let error = chain.show(&header(), &[0; 95], LiveStages::ALL, &mut [0; 96]).unwrap_err();
    assert!(matches!(error, AcquisitionError::FrameSize { expected: 96, found: 95 }), "{error}");
    assert!(chain.show(&header(), &[0; 96], LiveStages::ALL, &mut [0; 97]).is_err());
}

#[test]
fn live_note_survives_its_words() {
    for bits in 0..8 {
        let note = LiveNote {
            window: Window { low: 17, high: 65_535 },
            stages: LiveStages::from_bits(bits),
            finished_ns: u64::MAX,
            skipped: 3,
        };
        assert_eq!(LiveNote::from_words(&note.to_words()), note);
    }
}

#[test]
fn live_chain_makes_images_without_allocating() {
    use crate::counting_allocator::allocations;
    let mut chain = LiveChain::new(&description(true)).unwrap();
    let raw = vec![900; 96];
    let mut image = vec![0; 96];
    chain.show(&header(), &raw, LiveStages::ALL, &mut image).unwrap();
    let before = allocations();
    for _ in 0..10 {
        chain.show(&header(), &raw, LiveStages::ALL, &mut image).unwrap();
    }
    assert_eq!(allocations(), before);
}
