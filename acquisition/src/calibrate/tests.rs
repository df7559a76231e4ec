//! Maps of a drawn panel come back, its defects are found, and old maps are doubted.

use super::*;
use carm::{BeamModel, DeviceIdentity, PatientSetup, RunDescription};

const NU: usize = 40;
const NV: usize = 30;
const FRAMES: usize = 64;

fn grid() -> DetectorGrid {
    DetectorGrid::new([NU, NV], [0.3, 0.3]).unwrap()
}

struct Noise(u64);

impl Noise {
    fn normal(&mut self) -> f64 {
        let mut even = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f64 / f64::from(1 << 24)
        };
        (0..12).map(|_| even()).sum::<f64>() - 6.0
    }
}

fn gain(pixel: usize) -> f64 {
    1.0 + 0.05 * (pixel as f64 * 0.01).sin() + 0.01 * ((pixel * 7919 % 13) as f64 / 6.0 - 1.0)
}

fn offset(pixel: usize) -> f64 {
    100.0 + (pixel * 31 % 17) as f64
}

/// Dead, stuck, half as sensitive, noisy.
const BAD: [usize; 4] = [5 * NU + 7, 12 * NU + 20, 20 * NU + 33, 25 * NU + 3];

/// Reads an even field: 0.8 counts of variance a count, electronic noise of 3 counts.
fn read(level: f64, noise: &mut Noise) -> Vec<u16> {
    (0..NU * NV)
        .map(|pixel| {
            let signal = level * gain(pixel);
            let spread = (9.0 + 0.8 * level * gain(pixel).powi(2)).sqrt();
            let count = offset(pixel) + signal + spread * noise.normal();
            let count = match BAD.iter().position(|bad| *bad == pixel) {
                None => count,
                Some(0) => 0.0,
                Some(1) => 65_535.0,
                Some(2) => offset(pixel) + 0.5 * signal,
                Some(_) => count + 400.0 * noise.normal(),
            };
            (count + 0.5).clamp(0.0, 65_535.0) as u16
        })
        .collect()
}

fn mode() -> MapsMode {
    let acquired = WallTime(1_700_000_000_000_000_000);
    MapsMode { tube_voltage_kv: 70.0, binning: 1, saturation_counts: 65_535, acquired }
}

fn measured(levels: &[f64]) -> DetectorCalibration {
    let (mut builder, mut noise) = (MapsBuilder::new(grid()), Noise(5));
    for _ in 0..FRAMES {
        builder.add_dark(&read(0.0, &mut noise)).unwrap();
    }
    for level in levels {
        builder.begin_flat();
        for _ in 0..FRAMES {
            // 20000 counts a mAs.
            builder.add_flat(&read(*level, &mut noise), level / 20_000.0).unwrap();
        }
    }
    builder.finish(mode()).unwrap()
}

#[test]
fn calibration_of_a_drawn_panel_finds_its_maps_noise_and_defects() {
    for levels in [&[20_000.0][..], &[4_000.0, 12_000.0, 30_000.0]] {
        let maps = measured(levels);
        let found: Vec<usize> = maps.defects.iter().map(|at| at.v as usize * NU + at.u as usize).collect();
        assert_eq!(found, BAD, "{levels:?}");
        let good: Vec<usize> = (0..NU * NV).filter(|pixel| !BAD.contains(pixel)).collect();
        let mean = good.iter().map(|pixel| gain(*pixel)).sum::<f64>() / good.len() as f64;
        for &pixel in &good {
            let at = (pixel / NU, pixel % NU);
            // Five standard errors: 3 counts over 64 frames, and 130 in 20000 over 64.
            assert!((f64::from(maps.dark_counts[at]) - offset(pixel)).abs() < 5.0 * 3.1 / 8.0, "{pixel}");
            assert!((f64::from(maps.gain[at]) - gain(pixel) / mean).abs() < 5.0 * 0.0011, "{pixel}");
        }
        assert!((maps.electronic_variance / 9.1 - 1.0).abs() < 0.05, "{}", maps.electronic_variance);
        assert!((maps.variance_per_count / 0.8 - 1.0).abs() < 0.05, "{}", maps.variance_per_count);
        assert!((maps.air_intensity_per_mas / (20_000.0 * mean) - 1.0).abs() < 0.002);
        assert!(
            (maps
                .gain
                .iter()
                .enumerate()
                .filter(|(i, _)| !BAD.contains(i))
                .map(|(_, g)| f64::from(*g))
                .sum::<f64>()
                / good.len() as f64
                - 1.0)
                .abs()
                < 1e-6
        );
        assert!(crate::Corrector::new(&maps, &grid()).is_ok());
    }
}

#[test]
fn calibration_refuses_too_few_frames_and_a_dark_field_for_an_even_one() {
    let mut noise = Noise(1);
    let mut builder = MapsBuilder::new(grid());
    assert!(builder.clone().finish(mode()).unwrap_err().to_string().contains("dark frames"));
    for _ in 0..FEWEST_FRAMES {
        builder.add_dark(&read(0.0, &mut noise)).unwrap();
    }
    assert!(builder.clone().finish(mode()).unwrap_err().to_string().contains("even field"));
    for _ in 0..FEWEST_FRAMES {
        builder.add_flat(&read(0.0, &mut noise), 1.0).unwrap();
    }
    assert!(builder.clone().finish(mode()).unwrap_err().to_string().contains("more than 50"));
    assert!(
        builder.add_flat(&[1; 3], 1.0).is_err() && builder.add_flat(&read(9.0, &mut noise), 0.0).is_err()
    );
}

#[test]
fn calibration_is_doubted_when_old_or_of_another_voltage() {
    let run = |kv: f64, maps: Option<DetectorCalibration>| RunDescription {
        run_id: "doubt".into(),
        protocol: "fluoro".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: grid(),
        bits_stored: 16,
        frame_rate_hz: 30.0,
        planned_views: Vec::new(),
        detector_calibration: maps,
        beam: BeamModel {
            tube_voltage_kv: kv,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.022,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    };
    let maps = measured(&[10_000.0]);
    let day_ns = 86_400_000_000_000;
    let at = |days: u64| WallTime(maps.acquired.0 + days * day_ns);
    assert_eq!(doubts(&run(70.0, Some(maps.clone())), at(6)), []);
    assert_eq!(doubts(&run(70.0, Some(maps.clone())), at(9)), [MapsDoubt::Old { days: 9.0 }]);
    let before = |days: u64| WallTime(maps.acquired.0 - days * day_ns);
    assert_eq!(doubts(&run(70.0, Some(maps.clone())), before(1)), []);
    assert_eq!(doubts(&run(70.0, Some(maps.clone())), before(2)), [MapsDoubt::FromTheFuture]);
    let other = doubts(&run(110.0, Some(maps.clone())), at(0));
    assert_eq!(other, [MapsDoubt::Voltage { maps_kv: 70.0, run_kv: 110.0 }]);
    assert_eq!(doubts(&run(70.0, None), WallTime(0)), [MapsDoubt::Missing]);
}
