//! A drawn image through the kernel itself, summed in space, and back; twins against each other.

use super::*;

const MODEL: GlareModel = GlareModel { share: 0.06, range_mm: 4.0 };

/// A body's shadow with a sharp edge and a bright gap, on an even beam.
fn scene(grid: &DetectorGrid) -> Vec<f32> {
    let (nu, nv) = (grid.nu as f64, grid.nv as f64);
    (0..grid.pixel_count())
        .map(|i| {
            let (u, v) = ((i % grid.nu) as f64 / nu - 0.5, (i / grid.nu) as f64 / nv - 0.5);
            let body = if u.hypot(1.3 * v) < 0.33 { 0.03 } else { 1.0 };
            let gap = if (u - 0.1).abs() < 0.02 { 3.0 } else { 1.0 };
            (9000.0 * body * gap * (1.0 + 0.1 * (9.0 * v).sin())) as f32
        })
        .collect()
}

/// `(1 - a) x + a G x` with the kernel summed over pixels in space; beyond the border its pixels go on.
fn with_glare(model: &GlareModel, grid: &DetectorGrid, image: &[f32]) -> Vec<f32> {
    let pitch = [grid.pixel_pitch_u_mm, grid.pixel_pitch_v_mm];
    let reach = pitch.map(|pitch| (MARGIN_RANGES * model.range_mm / pitch) as isize);
    let mut kernel = Vec::new();
    for dv in -reach[1]..=reach[1] {
        for du in -reach[0]..=reach[0] {
            // The kernel's mean over the pixel, by 5 x 5 points.
            let mut mean = 0.0;
            for n in 0..25 {
                let off = |n: isize| (n as f64 - 2.0) / 5.0;
                let x = (du as f64 + off(n % 5)) * pitch[0];
                let y = (dv as f64 + off(n / 5)) * pitch[1];
                mean += (1.0 + (x * x + y * y) / model.range_mm.powi(2)).powf(-1.5) / 25.0;
            }
            let area = pitch[0] * pitch[1] / (2.0 * PI * model.range_mm.powi(2));
            kernel.push((du, dv, mean * area));
        }
    }
    // What lies beyond the reach falls where the border's mean is: a constant.
    let inside: f64 = kernel.iter().map(|(.., weight)| weight).sum();
    let near = |at: isize, count: usize| at.clamp(0, count as isize - 1) as usize;
    (0..image.len())
        .map(|i| {
            let (u, v) = ((i % grid.nu) as isize, (i / grid.nu) as isize);
            let spread: f64 = kernel
                .iter()
                .map(|(du, dv, weight)| {
                    weight * f64::from(image[near(v + dv, grid.nv) * grid.nu + near(u + du, grid.nu)])
                })
                .sum();
            ((1.0 - model.share) * f64::from(image[i]) + model.share * spread / inside) as f32
        })
        .collect()
}

#[test]
fn glare_is_taken_out_of_what_its_own_kernel_made() {
    let grid = DetectorGrid::new([60, 46], [1.6, 1.6]).unwrap();
    let truth = scene(&grid);
    let seen = with_glare(&MODEL, &grid, &truth);
    let worst = |image: &[f32]| {
        // In the shadow, where glare weighs most.
        let dark = image.iter().zip(&truth).filter(|(_, truth)| **truth < 400.0);
        dark.map(|(x, truth)| (x / truth - 1.0).abs()).fold(0.0, f32::max)
    };
    let before = worst(&seen);
    for backend in [Backend::Reference, Backend::Cpu] {
        let mut image = seen.clone();
        Glare::new(MODEL, &grid, backend).unwrap().remove(&mut image);
        let after = worst(&image);
        println!("{backend:?}: off by {:.1} % of the shadow, {:.2} % after", 100.0 * before, 100.0 * after);
        // The tail beyond eight ranges is an eighth of the light that spreads.
        assert!(before > 0.3 && after < 0.15 * before, "{backend:?}: {before} to {after}");
    }
}

#[test]
fn glare_twins_agree_whatever_the_size_of_the_blocks() {
    for (size, pitch, model) in [
        ([211, 190], [0.4, 0.4], MODEL),
        ([128, 96], [0.6, 0.5], GlareModel { share: 0.03, range_mm: 8.0 }),
        ([40, 50], [1.5, 1.5], MODEL),
        ([257, 131], [0.15, 0.15], GlareModel { share: 0.1, range_mm: 3.0 }),
    ] {
        let grid = DetectorGrid::new(size, pitch).unwrap();
        let (mut fast, mut slow) = (scene(&grid), scene(&grid));
        let mut glare = Glare::new(model, &grid, Backend::Cpu).unwrap();
        // Scratch that has been used.
        glare.remove(&mut vec![500.0; grid.pixel_count()]);
        glare.remove(&mut fast);
        Glare::new(model, &grid, Backend::Reference).unwrap().remove(&mut slow);
        let worst = fast.iter().zip(&slow).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{size:?}: {worst:.2} counts of 27 000 apart");
        // At edges of 27 000 counts the blocks lose what `L` hardly passes, and margins end elsewhere: one and a half hundredths
        // of the share of the light (found: 1.1 of them, where a block is half a range and the last one juts out).
        assert!(worst < 1.5e-2 * model.share as f32 * 27_000.0, "{size:?}: {worst}");
    }
}

#[test]
fn glare_leaves_an_even_beam_and_refuses_what_cannot_be() {
    let grid = DetectorGrid::new([100, 80], [0.5, 0.5]).unwrap();
    let mut even = vec![4321.0; grid.pixel_count()];
    Glare::new(MODEL, &grid, Backend::Cpu).unwrap().remove(&mut even);
    assert!(even.iter().all(|x| (x - 4321.0).abs() < 0.05));
    for (share, range_mm) in [(0.6, 5.0), (f64::NAN, 5.0), (-0.1, 5.0), (0.05, 0.0), (0.05, f64::INFINITY)] {
        assert!(
            Glare::new(GlareModel { share, range_mm }, &grid, Backend::Cpu).is_err(),
            "{share} {range_mm}"
        );
    }
}
