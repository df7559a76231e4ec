//! The chain as a whole.

use super::*;
use crate::error::AcquisitionError;
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, Exposure, FrameHeader, PatientSetup,
    RunDescription, WallTime,
};
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
    let mut chain = LiveChain::new(&description(true), LiveSettings::default()).unwrap();
    let raw: Vec<u16> = (0..96).map(|i| if i < 48 { 600 } else { 1600 }).collect();
    let mut image = vec![0; 96];
    let ran = chain.show(&header(), &raw, LiveStages::USUAL, &mut image).unwrap().stages;
    let usual = LiveStages { last_image_hold: false, ..LiveStages::USUAL };
    assert_eq!((ran, &image), (usual, &vec![1000; 96]), "even after gain");
    let off = LiveStages { correction: false, ..LiveStages::USUAL };
    let ran = chain.show(&header(), &raw, off, &mut image).unwrap().stages;
    assert_eq!(ran, LiveStages { automatic_window: true, ..LiveStages::NONE });
    assert_eq!(image, raw);
}

#[test]
fn live_chain_without_maps_shows_raw_counts_and_says_so() {
    let mut chain = LiveChain::new(&description(false), LiveSettings::default()).unwrap();
    let raw: Vec<u16> = (0..96).map(|i| 60_000 + i).collect();
    let mut image = vec![0; 96];
    let all = LiveStages::from_bits(u8::MAX);
    let ran = chain.show(&header(), &raw, all, &mut image).unwrap().stages;
    assert!(!ran.subtracts() && !ran.enhancement && !ran.correction && !ran.noise_reduction);
    assert_eq!(image, raw);
}

#[test]
fn live_chain_refuses_frames_of_another_size() {
    let mut chain = LiveChain::new(&description(true), LiveSettings::default()).unwrap();
    let error = chain.show(&header(), &[0; 95], LiveStages::USUAL, &mut [0; 96]).unwrap_err();
    assert!(matches!(error, AcquisitionError::FrameSize { expected: 96, found: 95 }), "{error}");
    assert!(chain.show(&header(), &[0; 96], LiveStages::USUAL, &mut [0; 97]).is_err());
}

#[test]
fn live_note_survives_its_words() {
    for bits in 0..=u8::MAX {
        let shown = Shown {
            window: Window { low: 17, high: 65_535 },
            stages: LiveStages::from_bits(bits),
            mask_frames: 255 - bits,
            mask_shift_px: 3.25 + f32::from(bits) / 256.0,
        };
        assert_eq!(shown.stages.bits(), bits);
        let note = LiveNote { shown, finished_ns: u64::MAX, skipped: 3 };
        assert_eq!(LiveNote::from_words(&note.to_words()), note);
    }
}

#[test]
fn live_chain_makes_images_without_allocating() {
    use crate::counting_allocator::allocations;
    let mut chain = LiveChain::new(&description(true), LiveSettings::default()).unwrap();
    let raw = vec![900; 96];
    let mut image = vec![0; 96];
    chain.show(&header(), &raw, LiveStages::USUAL, &mut image).unwrap();
    let before = allocations();
    for _ in 0..10 {
        chain.show(&header(), &raw, LiveStages::USUAL, &mut image).unwrap();
    }
    assert_eq!(allocations(), before);
}

/// Frames large enough to be registered, of a scene that a vessel darkens.
mod subtracting {
    use super::*;

    const NU: usize = 96;
    const NV: usize = 80;

    fn chain(settings: LiveSettings) -> LiveChain {
        let mut run = description(true);
        run.detector = DetectorGrid::new([NU, NV], [0.3, 0.3]).unwrap();
        let maps = run.detector_calibration.as_mut().unwrap();
        maps.dark_counts = Array2::from_elem((NV, NU), 100.0);
        maps.gain = Array2::from_elem((NV, NU), 1.0);
        LiveChain::new(&run, settings).unwrap()
    }

    /// Raw counts of frame `number` with a vessel across the middle that takes a share of the light.
    fn frame(number: u64, filled: f64) -> (FrameHeader, Vec<u16>) {
        let counts = (0..NU * NV).map(|i| {
            let (u, v) = ((i % NU) as f64, (i / NU) as f64);
            let tissue = 3000.0 + 1200.0 * (0.31 * u).sin() * (0.27 * v).cos();
            let vessel = if (v - 40.0).abs() < 4.0 { (-filled).exp() } else { 1.0 };
            // A noise of 0, 1, 2 or 3 counts that differs from frame to frame.
            let mixed = (i as u64 * 2_654_435_761) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let noise = (mixed >> 7) & 3;
            (100.0 + tissue * vessel) as u16 + noise as u16
        });
        (FrameHeader { sequence: number, ..header() }, counts.collect())
    }

    struct Rig {
        chain: LiveChain,
        image: Vec<u16>,
        number: u64,
    }

    impl Rig {
        fn show(&mut self, filled: f64, asked: LiveStages) -> Shown {
            self.number += 1;
            let (header, raw) = frame(self.number, filled);
            self.chain.show(&header, &raw, asked, &mut self.image).unwrap()
        }

        /// Mean difference of logarithms in the vessel and outside.
        fn differences(&self) -> [f64; 2] {
            let of = |is_in: &dyn Fn(usize) -> bool| {
                let rows: Vec<f64> = (0..NU * NV)
                    .filter(|i| is_in(i / NU))
                    .map(|i| -(f64::from(self.image[i]) / f64::from(SUBTRACTED_COUNTS)).ln())
                    .collect();
                rows.iter().sum::<f64>() / rows.len() as f64
            };
            [of(&|v| v.abs_diff(40) < 3), of(&|v| v.abs_diff(40) > 10)]
        }
    }

    fn rig() -> Rig {
        let chain = chain(LiveSettings { mask_frames: 3, ..LiveSettings::default() });
        Rig { chain, image: vec![0; NU * NV], number: 0 }
    }

    const SUBTRACT: LiveStages =
        LiveStages { subtraction: true, noise_reduction: false, ..LiveStages::USUAL };

    #[test]
    fn live_chain_takes_a_mask_subtracts_remasks_and_says_so() {
        let mut rig = rig();
        for taken in 1..=3 {
            let shown = rig.show(0.0, SUBTRACT);
            assert!(!shown.stages.subtraction && shown.mask_frames == taken, "{shown:?}");
        }
        let shown = rig.show(0.3, SUBTRACT);
        assert!(shown.stages.subtraction && shown.mask_frames == 3, "{shown:?}");
        let [vessel, around] = rig.differences();
        assert!((vessel - 0.3).abs() < 0.01 && around.abs() < 0.003, "{vessel} {around}");
        let Window { low, high } = shown.window;
        assert!(low < 13_000 && high > 16_384, "vessel and ground in the window: {shown:?}");
        // Off shows the frame itself; on again takes the same mask.
        assert!(!rig.show(0.3, LiveStages::USUAL).stages.subtracts());
        assert!(rig.show(0.3, SUBTRACT).stages.subtraction);
        rig.chain.remask();
        for _ in 0..3 {
            assert!(!rig.show(0.3, SUBTRACT).stages.subtraction);
        }
        rig.show(0.3, SUBTRACT);
        let [vessel, _] = rig.differences();
        assert!(vessel.abs() < 0.01, "{vessel}");
    }

    #[test]
    fn live_chain_shows_the_peak_and_then_a_roadmap() {
        let mut rig = rig();
        for _ in 0..3 {
            rig.show(0.0, SUBTRACT);
        }
        for filled in [0.1, 0.4, 0.2] {
            rig.show(filled, SUBTRACT);
        }
        let peak = LiveStages { peak_opacification: true, ..SUBTRACT };
        assert!(rig.show(0.1, peak).stages.peak_opacification);
        assert!((rig.differences()[0] - 0.4).abs() < 0.01, "{:?}", rig.differences());
        let road = LiveStages { roadmap: true, ..SUBTRACT };
        assert!(rig.show(0.0, road).stages.roadmap);
        assert!((rig.differences()[0] + 0.4).abs() < 0.01, "{:?}", rig.differences());
    }

    #[test]
    fn live_chain_drops_a_mask_of_another_view() {
        let mut rig = rig();
        for _ in 0..4 {
            rig.show(0.0, SUBTRACT);
        }
        let (mut header, raw) = frame(9, 0.0);
        header.gantry.primary_angle_rad = 0.2;
        let shown = rig.chain.show(&header, &raw, SUBTRACT, &mut rig.image).unwrap();
        assert!(!shown.stages.subtraction && shown.mask_frames == 1, "{shown:?}");
    }

    #[test]
    fn live_chain_holds_a_quieter_image_than_its_last_one() {
        let mut rig = rig();
        let unfiltered = LiveStages { noise_reduction: false, ..LiveStages::USUAL };
        for _ in 0..20 {
            rig.show(0.0, unfiltered);
        }
        let last = rig.image.clone();
        let shown = rig.chain.hold(unfiltered, &mut rig.image).expect("a quieter image");
        assert!(shown.stages.last_image_hold && !shown.stages.noise_reduction, "{shown:?}");
        let truth = |i: usize| {
            let (u, v) = ((i % NU) as f64, (i / NU) as f64);
            // What rounding down and the noise's mean of 1.5 counts leave.
            3000.0 + 1200.0 * (0.31 * u).sin() * (0.27 * v).cos() + 1.0
        };
        let deviation = |image: &[u16]| {
            let sum: f64 = image.iter().enumerate().map(|(i, x)| (f64::from(*x) - truth(i)).powi(2)).sum();
            (sum / image.len() as f64).sqrt()
        };
        let ratio = deviation(&rig.image) / deviation(&last);
        assert!(ratio < 0.6, "{ratio}");
        assert!(rig.chain.hold(unfiltered, &mut rig.image).is_none(), "once");
        rig.show(0.0, LiveStages::USUAL);
        assert!(rig.chain.hold(LiveStages::USUAL, &mut rig.image).is_none(), "it was filtered already");
    }
}
