//! One body over both implementations, on maps with awkward defects.

use super::*;
use carm::{Exposure, PixelDefect, WallTime};
use ndarray::Array2;

const NU: usize = 37;
const NV: usize = 29;
/// Relative: two `f32` roundings of the division by the gain, and the sum over a defect's sources.
const RELATIVE_TOLERANCE: f64 = 4e-6;

fn grid() -> DetectorGrid {
    DetectorGrid::new([NU, NV], [0.6, 0.6]).unwrap()
}

/// Single pixels, a cluster of 3 x 3, a column, a row, two neighbouring columns at the border, a corner.
fn defects() -> Vec<PixelDefect> {
    let at = |u: usize, v: usize| PixelDefect { u: u as u32, v: v as u32 };
    let mut defects = vec![at(5, 5), at(0, 0), at(20, 3)];
    defects.extend((0..9).map(|i| at(10 + i % 3, 20 + i / 3)));
    defects.extend((0..NV).map(|v| at(15, v)));
    defects.extend((0..NU).map(|u| at(u, 12)));
    defects.extend((0..NV).flat_map(|v| [at(NU - 1, v), at(NU - 2, v)]));
    defects
}

fn calibration() -> DetectorCalibration {
    DetectorCalibration {
        dark_counts: Array2::from_shape_fn((NV, NU), |(v, u)| 90.0 + ((u * 7 + v * 13) % 23) as f32 * 0.7),
        gain: Array2::from_shape_fn((NV, NU), |(v, u)| 0.9 + ((u * 5 + v * 3) % 17) as f32 / 80.0),
        defects: defects(),
        air_intensity_per_mas: 25_000.0,
        electronic_variance: 16.0,
        variance_per_count: 0.5,
        saturation_counts: 60_000,
        tube_voltage_kv: 110.0,
        binning: 1,
        acquired: WallTime(0),
    }
}

fn header() -> FrameHeader {
    let exposure = Exposure { tube_voltage_kv: 110.0, tube_current_ma: 50.0, pulse_width_ms: 8.0 };
    FrameHeader { sequence: 3, is_xray_on: true, exposure, ..FrameHeader::default() }
}

fn is_defect(u: usize, v: usize) -> bool {
    defects().contains(&PixelDefect { u: u as u32, v: v as u32 })
}

/// Raw counts of a field of intensity, rounded; defects say nonsense.
fn raw(calibration: &DetectorCalibration, field: impl Fn(usize, usize) -> f64) -> Vec<u16> {
    let pixel = |i: usize| {
        let (u, v) = (i % NU, i / NU);
        if is_defect(u, v) {
            return 65_535;
        }
        let gain = f64::from(calibration.gain[(v, u)]);
        (field(u, v) * gain + f64::from(calibration.dark_counts[(v, u)])).round() as u16
    };
    (0..NU * NV).map(pixel).collect()
}

fn each_backend(test: impl Fn(Backend)) {
    for backend in [Backend::Reference, Backend::Cpu] {
        test(backend);
    }
}

fn corrected(backend: Backend, calibration: &DetectorCalibration, raw: &[u16]) -> CorrectedFrame {
    let mut corrector = Corrector::with_backend(calibration, &grid(), backend).unwrap();
    // A dirty buffer of the wrong size must not show.
    let mut out = CorrectedFrame { intensity: vec![f32::NAN; 7], ..CorrectedFrame::default() };
    corrector.correct(&header(), raw, &mut out).unwrap();
    out
}

#[test]
fn correction_gives_back_a_linear_field_also_at_defects() {
    each_backend(|backend| {
        let calibration = calibration();
        let field = |u: usize, v: usize| 5000.0 + 40.0 * u as f64 - 25.0 * v as f64;
        let out = corrected(backend, &calibration, &raw(&calibration, field));
        for (pixel, &found) in out.intensity.iter().enumerate() {
            let (u, v) = (pixel % NU, pixel / NU);
            // Rounding to counts leaves half a count over the smallest gain. In the corner, and where lines
            // cross or meet the border, a mean may stand in for the plane: off by the field's slope.
            let near_border = u == 0 && v == 0 || u >= NU - 2;
            let tolerance = if near_border { 250.0 } else { 2.0 };
            let error = (f64::from(found) - field(u, v)).abs();
            assert!(error <= tolerance, "{backend:?} at {u}, {v}: {found} against {}", field(u, v));
        }
        assert_eq!(out.interpolated_pixels, (0..NU * NV).filter(|i| is_defect(i % NU, i / NU)).count());
    });
}

#[test]
fn correction_is_closed_form_at_good_pixels() {
    each_backend(|backend| {
        let calibration = calibration();
        let raw = raw(&calibration, |u, v| ((u * 997 + v * 131) % 50_000) as f64);
        let out = corrected(backend, &calibration, &raw);
        for (pixel, &found) in out.intensity.iter().enumerate() {
            let (u, v) = (pixel % NU, pixel / NU);
            if !is_defect(u, v) {
                let dark = f64::from(calibration.dark_counts[(v, u)]);
                let expected = (f64::from(raw[pixel]) - dark) / f64::from(calibration.gain[(v, u)]);
                let error = (f64::from(found) - expected).abs();
                assert!(error <= RELATIVE_TOLERANCE * (expected.abs() + dark), "{backend:?} {u}, {v}");
            }
        }
    });
}

#[test]
fn correction_backends_agree() {
    let calibration = calibration();
    let raw = raw(&calibration, |u, v| ((u * 7919 + v * 104_729) % 40_000) as f64);
    let reference = corrected(Backend::Reference, &calibration, &raw);
    let cpu = corrected(Backend::Cpu, &calibration, &raw);
    for (a, b) in reference.intensity.iter().zip(&cpu.intensity) {
        // Weights of either sign: the error scales with the largest source, not with the sum.
        assert!(f64::from((a - b).abs()) <= RELATIVE_TOLERANCE * 40_000.0, "{a} against {b}");
    }
    assert_eq!(CorrectedFrame { intensity: reference.intensity.clone(), ..cpu }, reference);
}

#[test]
fn correction_counts_saturated_good_pixels_and_scales_air_by_charge() {
    each_backend(|backend| {
        let mut calibration = calibration();
        calibration.saturation_counts = 4000;
        let mut raw = raw(&calibration, |_, _| 1000.0);
        for pixel in [1, 2, 3 * NU + 8] {
            raw[pixel] = 4000;
        }
        let out = corrected(backend, &calibration, &raw);
        assert_eq!(out.saturated_pixels, 3, "{backend:?}");
        assert_eq!(out.saturated, [1, 2, (3 * NU + 8) as u32]);
        // 50 mA for 8 ms are 0.4 mAs.
        assert_eq!(out.air_intensity, 10_000.0);
        assert_eq!(out.variance.variance(1000.0), 516.0);
        assert_eq!(out.variance.variance(-5.0), 16.0);
    });
}

#[test]
fn correction_treats_unusable_maps_as_defects() {
    each_backend(|backend| {
        let mut calibration = calibration();
        calibration.gain[(7, 7)] = 0.0;
        calibration.gain[(7, 9)] = f32::NAN;
        calibration.dark_counts[(9, 7)] = f32::INFINITY;
        let raw = raw(&calibration, |_, _| 1000.0);
        let corrector = Corrector::with_backend(&calibration, &grid(), backend).unwrap();
        assert_eq!(corrector.implied_defects(), 3);
        let out = corrected(backend, &calibration, &raw);
        for (v, u) in [(7, 7), (7, 9), (9, 7)] {
            assert!((out.intensity[v * NU + u] - 1000.0).abs() < 1.0, "{backend:?}");
        }
        assert!(out.intensity.iter().all(|intensity| intensity.is_finite()));
    });
}

#[test]
fn correction_refuses_what_does_not_fit() {
    let good = calibration();
    let other = DetectorGrid::new([NU, NV + 1], [0.6, 0.6]).unwrap();
    assert!(matches!(Corrector::new(&good, &other), Err(AcquisitionError::MapSize { .. })));
    let mut outside = calibration();
    outside.defects.push(PixelDefect { u: NU as u32, v: 0 });
    assert!(matches!(Corrector::new(&outside, &grid()), Err(AcquisitionError::DefectOutside { .. })));
    let mut dead = calibration();
    dead.gain.fill(0.0);
    assert!(matches!(Corrector::new(&dead, &grid()), Err(AcquisitionError::DefectAlone { .. })));
    for found in [0.0, f64::NAN] {
        let bad = DetectorCalibration { air_intensity_per_mas: found, ..calibration() };
        assert!(matches!(Corrector::new(&bad, &grid()), Err(AcquisitionError::CalibrationNumber { .. })));
    }
    let mut corrector = Corrector::new(&good, &grid()).unwrap();
    let mut out = CorrectedFrame::default();
    let error = corrector.correct(&header(), &[0; 3], &mut out).unwrap_err();
    assert!(matches!(error, AcquisitionError::FrameSize { found: 3, .. }), "{error}");
    let silent = FrameHeader { exposure: Exposure::default(), ..header() };
    let error = corrector.correct(&silent, &[0; NU * NV], &mut out).unwrap_err();
    assert!(matches!(error, AcquisitionError::NoTubeCharge { sequence: 3, .. }), "{error}");
    let dark = FrameHeader { is_xray_on: false, ..silent };
    corrector.correct(&dark, &[0; NU * NV], &mut out).unwrap();
    assert_eq!(out.air_intensity, 0.0);
}

/// A panel at rest has no lag, so that both ways must give the same; the flat field's own lag leaves the air alone.
#[test]
fn correction_with_lag_starts_from_a_rested_panel() {
    use super::lag::{LagModel, LagTerm};
    each_backend(|backend| {
        let calibration = calibration();
        let raw = raw(&calibration, |u, v| ((u * 997 + v * 131) % 50_000) as f64);
        let plain = corrected(backend, &calibration, &raw);
        let model = LagModel {
            terms: vec![LagTerm { rate_per_frame: 0.5, strength: 0.1 }],
            low_exposure_growth: 0.5,
            knee_counts: 10_000.0,
            frame_rate_hz: 30.0,
            flat_gain: 1.25,
        };
        let corrector = Corrector::with_backend(&calibration, &grid(), backend).unwrap();
        let mut corrector = corrector.with_lag(model.clone()).unwrap();
        let mut out = CorrectedFrame::default();
        corrector.correct(&header(), &raw, &mut out).unwrap();
        for (a, b) in out.intensity.iter().zip(&plain.intensity) {
            assert!(
                f64::from((a - b).abs()) <= RELATIVE_TOLERANCE * 40_000.0,
                "{backend:?}: {a} against {b}"
            );
        }
        assert_eq!(out.air_intensity, plain.air_intensity / 1.25);
        assert_eq!((&out.saturated, out.saturated_pixels), (&plain.saturated, plain.saturated_pixels));
        // The second exposure reads more than fell on it.
        let (pixel, before) = (3 * NU + 3, out.intensity[3 * NU + 3]);
        let next = FrameHeader { sequence: 4, ..header() };
        corrector.correct(&next, &raw, &mut out).unwrap();
        let keep = (-0.5_f64).exp();
        let expected = f64::from(before) * (1.0 - 0.1 * keep);
        let growth_at_most = f64::from(before) * 0.1 * keep * 0.5;
        let found = f64::from(out.intensity[pixel]);
        assert!(
            found <= expected + 0.1 && found >= expected - 1.1 * growth_at_most - 0.1,
            "{found} {expected}"
        );
    });
}
