//! A drawn abdomen with vessels that fill, and a mask that lies elsewhere: what stays outside the vessels is noise.

use super::*;
use crate::correct::VarianceModel;
use carm::FrameHeader;

const NU: usize = 320;
const NV: usize = 256;
const AIR: f64 = 9000.0;
const PER_COUNT: f64 = 0.6;

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

/// Line integrals of soft tissue, ribs, vertebrae and bowel gas at a place, pixels.
fn body(u: f64, v: f64) -> f64 {
    let bump =
        |cu: f64, cv: f64, size: f64| (-((u - cu).powi(2) + (v - cv).powi(2)) / (2.0 * size * size)).exp();
    let ribs = 0.25 * (0.09 * u + 0.16 * v).sin().powi(4);
    let spine = 0.5 * (-((u - 160.0) / 26.0).powi(4)).exp() * (1.0 + 0.4 * (0.17 * v).sin());
    let gas =
        bump(80.0, 190.0, 9.0) + bump(240.0, 70.0, 12.0) + bump(60.0, 60.0, 7.0) + bump(255.0, 200.0, 8.0);
    1.2 + ribs + spine - 0.4 * gas + 0.05 * (0.4 * u).sin() * (0.35 * v).sin()
}

/// Distance to the nearest vessel's middle over its radius, and the radius.
fn vessel(u: f64, v: f64) -> (f64, f64) {
    let branches: [(f64, f64); 3] = [
        (u - 150.0 - 6.0 * (0.03 * v).sin(), 6.0),
        (v - 120.0 - 0.2 * (u - 150.0), 3.0),
        (v - 60.0 + 0.25 * (u - 150.0), 2.0),
    ];
    branches
        .into_iter()
        .map(|(off, radius)| (off.abs() / radius, radius))
        .fold((9.0, 1.0), |best, one| if one.0 < best.0 { one } else { best })
}

/// Iodine's line integral: a tube, 0.2 through the middle of the widest.
fn contrast(u: f64, v: f64) -> f64 {
    let (off, radius) = vessel(u, v);
    0.2 * radius / 6.0 * (1.0 - off * off).max(0.0).sqrt()
}

/// A frame in which tissue lies at `place(u, v)`; vessels are told in the frame's own pixels.
fn frame(
    place: impl Fn(f64, f64) -> [f64; 2],
    filled: f64,
    exposure: f64,
    noise: Option<&mut Noise>,
) -> CorrectedFrame {
    let mut noise = noise;
    let intensity = (0..NU * NV).map(|pixel| {
        let (u, v) = ((pixel % NU) as f64, (pixel / NU) as f64);
        let [x, y] = place(u, v);
        let mean = exposure * AIR * (-body(x, y) - filled * contrast(u, v)).exp();
        let off = noise.as_mut().map_or(0.0, |noise| noise.normal() * (PER_COUNT * mean).sqrt());
        (mean + off) as f32
    });
    CorrectedFrame {
        header: FrameHeader::default(),
        intensity: intensity.collect(),
        // The generator's word is off by two percent.
        air_intensity: (1.02 * AIR) as f32,
        variance: VarianceModel { electronic: 0.0, per_count: PER_COUNT as f32 },
        ..CorrectedFrame::default()
    }
}

/// Noise of a difference between one fill and a mask of so many frames.
fn floor(fill: &CorrectedFrame, mask_frames: f64) -> f64 {
    let relative: f64 =
        fill.intensity.iter().map(|mean| PER_COUNT / f64::from(*mean)).sum::<f64>() / (NU * NV) as f64;
    (relative * (1.0 + 1.0 / mask_frames)).sqrt()
}

fn is_outside(pixel: usize) -> bool {
    let (u, v) = (pixel % NU, pixel / NU);
    let (off, radius) = vessel(u as f64, v as f64);
    // Beyond the shift at the border, one of both images has no tissue to show.
    off * radius > radius + 2.0 && (16..NU - 16).contains(&u) && (16..NV - 16).contains(&v)
}

struct Found {
    residual_over_floor: f64,
    vessel_contrast: f64,
}

/// Subtracts with four mask frames; contrast against the noise-free truth along the widest vessel's middle.
fn subtracted(place: impl Fn(f64, f64) -> [f64; 2] + Copy, moves: bool, backend: Backend) -> Found {
    let mut noise = Noise(17);
    let mut subtraction = Subtraction::with_backend([NU, NV], moves, backend).unwrap();
    subtraction.begin_mask();
    for _ in 0..4 {
        subtraction.add_mask(&frame(|u, v| [u, v], 0.0, 1.0, Some(&mut noise))).unwrap();
    }
    let fill = frame(place, 1.0, 1.03, Some(&mut noise));
    let difference = subtraction.subtract(&fill, SubtractionMode::Live).unwrap();
    let outside: Vec<f64> = difference
        .iter()
        .enumerate()
        .filter(|(pixel, _)| is_outside(*pixel))
        .map(|(_, d)| f64::from(*d))
        .collect();
    let residual = (outside.iter().map(|d| d * d).sum::<f64>() / outside.len() as f64).sqrt();
    let (mut shown, mut truth) = (0.0, 0.0);
    for v in 20..NV - 20 {
        for u in 130..170 {
            let (off, radius) = vessel(u as f64, v as f64);
            if off < 0.6 && radius == 6.0 {
                shown += f64::from(difference[v * NU + u]);
                truth += contrast(u as f64, v as f64);
            }
        }
    }
    Found { residual_over_floor: residual / floor(&fill, 4.0), vessel_contrast: shown / truth }
}

#[test]
fn subtraction_follows_a_mask_that_has_moved_as_a_whole() {
    for [x, y] in [[0.0, 0.0], [0.37, -0.61], [-2.3, 1.8], [5.9, 0.4], [-4.1, -4.3]] {
        let found = subtracted(|u, v| [u + x, v + y], true, Backend::Cpu);
        let (residual, contrast) = (found.residual_over_floor, found.vessel_contrast);
        println!("({x}, {y}) px: residual {residual:.2} of the noise floor, vessel contrast {contrast:.3}");
        assert!(residual < 1.4, "({x}, {y}): {residual} of the noise floor");
        assert!(contrast > 0.95 && contrast < 1.05, "({x}, {y}): contrast {contrast}");
    }
    let left_alone = subtracted(|u, v| [u + 5.9, v + 0.4], false, Backend::Cpu).residual_over_floor;
    assert!(left_alone > 3.0, "without registration only {left_alone}: the scene is too easy");
}

#[test]
fn subtraction_follows_blocks_that_move_apart() {
    // A breath: the lower half of the image moves further than the upper.
    let breath = |u: f64, v: f64| [u + 0.5, v + 1.0 + 2.0 * (v / NV as f64)];
    let found = subtracted(breath, true, Backend::Cpu);
    println!("breath: residual {:.2}, contrast {:.3}", found.residual_over_floor, found.vessel_contrast);
    assert!(found.residual_over_floor < 1.4, "{}", found.residual_over_floor);
    assert!(found.vessel_contrast > 0.95, "{}", found.vessel_contrast);
}

#[test]
fn subtraction_agrees_with_its_reference() {
    let mut noise = Noise(3);
    let mask = frame(|u, v| [u, v], 0.0, 1.0, Some(&mut noise));
    let fill = frame(|u, v| [u - 1.7, v + 2.2 + v / 100.0], 1.0, 1.0, Some(&mut noise));
    let of = |backend| {
        let mut subtraction = Subtraction::with_backend([NU, NV], true, backend).unwrap();
        subtraction.add_mask(&mask).unwrap();
        subtraction.subtract(&fill, SubtractionMode::Live).unwrap().to_vec()
    };
    let (fast, slow) = (of(Backend::Cpu), of(Backend::Reference));
    let apart = fast.iter().zip(&slow).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Weights from coordinates of hundreds in f32, on a difference of neighbours of a tenth.
    assert!(apart < 2e-4, "{apart}");
}

#[test]
fn subtraction_keeps_the_peak_remasks_and_shows_a_roadmap() {
    let still = |u: f64, v: f64| [u, v];
    let mut subtraction = Subtraction::new([NU, NV], false).unwrap();
    let frame = |filled: f64| frame(still, filled, 1.0, None);
    let error = subtraction.subtract(&frame(0.0), SubtractionMode::Live).unwrap_err();
    assert!(matches!(error, AcquisitionError::NoMask { .. }), "{error}");
    subtraction.add_mask(&frame(0.0)).unwrap();
    let middle = 128 * NU + (150.0_f64 + 6.0 * (0.03_f64 * 128.0).sin()).round() as usize;
    let shown = |subtraction: &mut Subtraction, filled: f64, mode| {
        f64::from(subtraction.subtract(&frame(filled), mode).unwrap()[middle])
    };
    for (filled, expected) in [(0.3, 0.06), (1.0, 0.2), (0.4, 0.2)] {
        let peak = shown(&mut subtraction, filled, SubtractionMode::PeakOpacification);
        assert!((peak - expected).abs() < 0.01, "{filled}: {peak}");
    }
    let full = shown(&mut subtraction, 1.0, SubtractionMode::Live);
    assert!((full - 0.2).abs() < 0.01, "{full}");
    // Under the roadmap the vessel stays dark when its iodine has gone, and a wire adds to it.
    let road = shown(&mut subtraction, 0.0, SubtractionMode::Roadmap);
    assert!((road + 0.2).abs() < 0.01, "{road}");
    subtraction.begin_mask();
    subtraction.add_mask(&frame(0.5)).unwrap();
    let remasked = shown(&mut subtraction, 1.0, SubtractionMode::Live);
    assert!((remasked - 0.1).abs() < 0.01, "{remasked}");
    assert!(subtraction.subtract(&CorrectedFrame::default(), SubtractionMode::Live).is_err());
    assert!(Subtraction::new([8, 300], true).is_err());
}
