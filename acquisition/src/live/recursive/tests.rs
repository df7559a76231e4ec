//! Against the reference, and against what the filter is for: less noise where nothing moves, no trail where it does.

use super::*;
use crate::correct::VarianceModel;
use carm::FrameHeader;

const NU: usize = 96;
const NV: usize = 72;
const VARIANCE: VarianceModel = VarianceModel { electronic: 9.0, per_count: 0.8 };
/// 0.3 mm pixels at 15 frames a second.
const PITCH_MM: f32 = 0.3;
const FRAME_S: f32 = 1.0 / 15.0;

/// Normal deviates from a fixed seed: the sum of twelve even ones.
struct Noise(u64);

impl Noise {
    fn even(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.even()).sum::<f32>() - 6.0
    }
}

/// Background of 400 counts (noise of 18), with a vertical wire centred on column `wire_u` that takes `depth` of it.
fn scene(wire_u: Option<f32>, depth: f32) -> Vec<f32> {
    (0..NU * NV)
        .map(|i| {
            let u = (i % NU) as f32;
            let wire = wire_u.map_or(0.0, |centre| (-((u - centre) / 0.9).powi(2)).exp());
            400.0 * (1.0 - depth * wire)
        })
        .collect()
}

fn noisy(scene: &[f32], noise: &mut Noise) -> CorrectedFrame {
    let intensity =
        scene.iter().map(|mean| mean + VARIANCE.variance(*mean).sqrt() * noise.normal()).collect();
    CorrectedFrame {
        header: FrameHeader::default(),
        intensity,
        air_intensity: 5000.0,
        variance: VARIANCE,
        ..CorrectedFrame::default()
    }
}

fn deviation(image: &[f32], truth: &[f32]) -> f32 {
    let sum: f32 = image.iter().zip(truth).map(|(x, y)| (x - y).powi(2)).sum();
    (sum / image.len() as f32).sqrt()
}

#[test]
fn recursive_filter_agrees_with_its_reference() {
    let mut noise = Noise(3);
    let mut fast = RecursiveFilter::new(NU, NV);
    let mut slow = RecursiveFilter::with_backend(NU, NV, Backend::Reference);
    for step in 0..8 {
        let mut frame = noisy(&scene(Some(20.0 + 4.0 * step as f32), 0.3), &mut noise);
        frame.air_intensity = if step < 4 { 5000.0 } else { 6000.0 };
        let mut same = frame.clone();
        fast.filter(&mut frame);
        slow.filter(&mut same);
        let worst =
            frame.intensity.iter().zip(&same.intensity).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        // Counts of some hundreds in f32, through a share with a slope of 0.3 per unit of energy.
        assert!(worst < 0.02, "step {step}: {worst}");
    }
}

#[test]
fn recursive_filter_halves_the_noise_where_nothing_moves() {
    let truth = scene(None, 0.0);
    let mut noise = Noise(11);
    let mut filter = RecursiveFilter::new(NU, NV);
    let mut ratio = 1.0;
    for _ in 0..30 {
        let mut frame = noisy(&truth, &mut noise);
        let before = deviation(&frame.intensity, &truth);
        filter.filter(&mut frame);
        ratio = deviation(&frame.intensity, &truth) / before;
    }
    assert!(ratio < 0.5, "{ratio}");
}

#[test]
fn recursive_filter_keeps_a_moving_wire_and_leaves_no_trail() {
    // Contrast of 40 %: 160 counts in a noise of 18, what a 0.36 mm steel wire leaves of a 70 kV beam.
    for speed_mm_s in [0.0, 5.0, 20.0, 50.0, 100.0] {
        let step_px = speed_mm_s * FRAME_S / PITCH_MM;
        let mut noise = Noise(29);
        let mut filter = RecursiveFilter::new(NU, NV);
        let (mut kept, mut trail, mut counted) = (0.0, 0.0, 0);
        for index in 0..24 {
            let centre = 20.0 + (index as f32 * step_px) % 56.0;
            let before = 20.0 + ((index as f32 - 1.0) * step_px) % 56.0;
            let mut frame = noisy(&scene(Some(centre), 0.4), &mut noise);
            let unfiltered = frame.intensity.clone();
            filter.filter(&mut frame);
            if index < 8 {
                continue;
            }
            let column = |image: &[f32], u: f32| {
                image[u.round() as usize..].iter().step_by(NU).sum::<f32>() / NV as f32
            };
            let background = 400.0;
            kept +=
                (background - column(&frame.intensity, centre)) / (background - column(&unfiltered, centre));
            if (centre - before).abs() > 4.0 {
                trail += (background - column(&frame.intensity, before)) / (0.4 * background);
            }
            counted += 1;
        }
        let (kept, trail) = (kept / counted as f32, trail / counted as f32);
        assert!(kept > 0.85, "{speed_mm_s} mm/s: kept {kept}");
        // What is left of the wire at its last place, as a share of its contrast.
        assert!(trail < 0.15, "{speed_mm_s} mm/s: trail {trail}");
    }
}

#[test]
fn recursive_filter_follows_a_step_of_the_exposure_at_once() {
    let truth = scene(None, 0.0);
    let mut noise = Noise(5);
    let mut filter = RecursiveFilter::new(NU, NV);
    for _ in 0..20 {
        filter.filter(&mut noisy(&truth, &mut noise));
    }
    let brighter: Vec<f32> = truth.iter().map(|value| 1.5 * value).collect();
    let mut frame = noisy(&brighter, &mut noise);
    frame.air_intensity *= 1.5;
    let before = deviation(&frame.intensity, &brighter);
    filter.filter(&mut frame);
    assert!(deviation(&frame.intensity, &brighter) < 0.55 * before);
}

#[test]
fn recursive_filter_starts_anew_when_told() {
    let mut filter = RecursiveFilter::new(NU, NV);
    let mut noise = Noise(7);
    filter.filter(&mut noisy(&scene(None, 0.0), &mut noise));
    filter.forget();
    let frame = noisy(&scene(None, 0.0), &mut noise);
    let mut filtered = frame.clone();
    filter.filter(&mut filtered);
    assert_eq!(filtered.intensity, frame.intensity);
}
