//! Against the reference, and against what it is for: faint things raised, noise and strong edges left.

use super::*;

const NU: usize = 203;
const NV: usize = 150;

struct Noise(u64);

impl Noise {
    fn normal(&mut self) -> f32 {
        let mut even = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1 << 24) as f32
        };
        (0..12).map(|_| even()).sum::<f32>() - 6.0
    }
}

/// A step from 400 to 2000 counts at column 100, and on the dark side a disc eight pixels wide with so much contrast.
fn scene(contrast: f32, noise: Option<&mut Noise>) -> Vec<f32> {
    let mut noise = noise;
    (0..NU * NV)
        .map(|i| {
            let (u, v) = ((i % NU) as f32, (i / NU) as f32);
            let disc = if (u - 50.0).hypot(v - 75.0) < 4.0 { contrast } else { 0.0 };
            let mean = if u < 100.0 { 400.0 * (1.0 + disc) } else { 2000.0 };
            mean + noise.as_mut().map_or(0.0, |noise| mean.sqrt() * noise.normal())
        })
        .collect()
}

fn mean_of(image: &[f32], is_in: impl Fn(f32, f32) -> bool) -> (f32, f32) {
    let inside: Vec<f32> =
        (0..NU * NV).filter(|i| is_in((i % NU) as f32, (i / NU) as f32)).map(|i| image[i]).collect();
    let mean = inside.iter().sum::<f32>() / inside.len() as f32;
    let variance = inside.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / inside.len() as f32;
    (mean, variance.sqrt())
}

#[test]
fn enhancement_agrees_with_its_reference() {
    let mut noise = Noise(5);
    for (nu, nv, values) in
        [(NU, NV, Values::Counts), (NV, NU, Values::Difference), (10, 3045, Values::Counts)]
    {
        let mut fast = Enhancement::new(nu, nv);
        let mut slow = Enhancement::with_backend(nu, nv, Backend::Reference);
        for _ in 0..3 {
            let mut image = scene(0.2, Some(&mut noise));
            image[7] = -30.0;
            let mut same = image.clone();
            fast.enhance(&mut image, values);
            slow.enhance(&mut same, values);
            let worst = image.iter().zip(&same).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            // Counts of thousands in f32.
            assert!(worst < 0.02, "{nu} x {nv} {values:?}: {worst}");
        }
    }
}

#[test]
fn enhancement_knows_what_white_noise_leaves_in_each_level() {
    let mut noise = Noise(9);
    let (nu, nv) = (512, 512);
    let white: Vec<f64> = (0..nu * nv).map(|_| f64::from(noise.normal())).collect();
    // As the fast twin, with all gains zero, would: here by the fast twin's own steps.
    let mut enhancement = Enhancement::new(nu, nv);
    let deviations = cpu::deviations(&mut enhancement, &white);
    println!("{deviations:?}");
    for (level, (found, expected)) in deviations.into_iter().zip(NOISE).enumerate() {
        // The coarsest level has 32 x 32 independent details: three percent each of three deviations.
        assert!((found / expected - 1.0).abs() < 0.1, "level {level}: {found} for {expected}");
    }
}

#[test]
fn enhancement_raises_what_is_faint_and_leaves_noise_and_strong_edges() {
    let mut noise = Noise(3);
    let mut enhancement = Enhancement::new(NU, NV);
    let before = scene(0.1, Some(&mut noise));
    let mut after = before.clone();
    enhancement.enhance(&mut after, Values::Counts);
    let contrast = |image: &[f32]| {
        let (disc, _) = mean_of(image, |u, v| (u - 50.0).hypot(v - 75.0) < 3.0);
        let (around, _) = mean_of(image, |u, v| (10.0..20.0).contains(&(u - 50.0).hypot(v - 75.0)));
        disc / around - 1.0
    };
    let even = |u: f32, v: f32| (140.0..190.0).contains(&u) && (20.0..130.0).contains(&v);
    let ((mean, quiet), (mean_after, noisy)) = (mean_of(&before, even), mean_of(&after, even));
    let raised = contrast(&after) / contrast(&before);
    println!("contrast raised {raised:.2} times, noise {:.2}", noisy / quiet);
    assert!(raised > 1.4, "contrast raised {raised} times");
    assert!(noisy / quiet < 1.15, "noise raised {} times", noisy / quiet);
    assert!((mean_after / mean - 1.0).abs() < 0.01, "{mean} became {mean_after}");
    // The edge of 1600 counts overshoots by less than a seventh of itself on the bright side, a tenth on the dark one.
    let mut clean = scene(0.0, None);
    let mut enhancement = Enhancement::new(NU, NV);
    enhancement.noise = enhancement.noise.max(1.0);
    enhancement.enhance(&mut clean, Values::Counts);
    let (low, high) = clean.iter().fold((f32::MAX, 0.0_f32), |(low, high), x| (low.min(*x), high.max(*x)));
    println!("edge from {low:.0} to {high:.0}");
    assert!(low > 240.0 && high < 2230.0, "{low} to {high}");
}

#[test]
fn enhancement_does_not_pump() {
    let mut noise = Noise(21);
    let mut enhancement = Enhancement::new(NU, NV);
    let mut contrasts = Vec::new();
    for _ in 0..12 {
        let mut image = scene(0.3, Some(&mut noise));
        enhancement.enhance(&mut image, Values::Counts);
        contrasts.push(mean_of(&image, |u, _| u > 120.0).0);
    }
    let (low, high) =
        contrasts.iter().fold((f32::MAX, 0.0_f32), |(low, high), x| (low.min(*x), high.max(*x)));
    assert!(high / low < 1.01, "{low} to {high}");
}

#[test]
fn enhancement_of_an_even_or_tiny_image_changes_nothing() {
    for (nu, nv) in [(1, 1), (3, 40), (64, 64)] {
        let mut image = vec![700.0; nu * nv];
        Enhancement::new(nu, nv).enhance(&mut image, Values::Counts);
        assert!(image.iter().all(|x| (x - 700.0).abs() < 0.01), "{nu} x {nv}");
    }
}
