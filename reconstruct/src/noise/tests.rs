//! The map against the covariance of the whole chain written out as a matrix, and against draws of the noise itself.

use super::*;
use crate::test_random::Random;
use crate::{Apodisation, FdkOptions, Silent, reconstruct_stack};
use carm::converters::carm_pose;
use carm::{
    CarmAngles, CarmDistances, DetectorGrid, DetectorPose, ProjectionMatrix, ScanGeometry, VolumeGrid, mask,
};
use nalgebra::{Matrix3, Point3, Rotation3, Vector3};
use ndarray::{Array2, Array3, ArrayView2, array};
use std::sync::Arc;

/// Views on a detector that leans by `turn` against the axes that it would ideally have.
fn scan(size: [usize; 2], pitch_mm: f64, views: usize, turn: Rotation3<f64>) -> ScanGeometry {
    let detector = DetectorGrid::new(size, [pitch_mm; 2]).unwrap();
    let matrices = (0..views)
        .map(|view| {
            let primary_rad = (216.0 * (view as f64 / (views - 1) as f64 - 0.5)).to_radians();
            let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
            let pose = carm_pose(CarmAngles { primary_rad, secondary_rad: 0.0 }, distances).unwrap();
            let frame = Matrix3::from_columns(&[pose.e_u, pose.e_v, pose.e_u.cross(&pose.e_v)]);
            let leaning = frame * turn.matrix();
            let pose = DetectorPose {
                e_u: leaning.column(0).into_owned(),
                e_v: leaning.column(1).into_owned(),
                ..pose
            };
            ProjectionMatrix::from_pose(&pose, &detector).unwrap()
        })
        .collect();
    ScanGeometry::new(detector, matrices).unwrap()
}

fn plan(
    scan: &ScanGeometry,
    shape: [usize; 3],
    voxel_mm: f64,
    turn: Matrix3<f64>,
    options: FdkOptions,
) -> Arc<FdkPlan> {
    let centre = Point3::new(1.7, -2.3, 0.9);
    let grid = VolumeGrid::centred(shape, [voxel_mm, voxel_mm * 1.1, voxel_mm * 0.9], turn, centre).unwrap();
    Arc::new(FdkPlan::new(scan.clone(), grid, options).unwrap())
}

/// Line integrals of a ball of water in the isocenter.
fn ball(scan: &ScanGeometry, radius_mm: f64) -> Array3<f32> {
    let detector = scan.detector();
    Array3::from_shape_fn((scan.views().len(), detector.nv, detector.nu), |(view, v, u)| {
        let p = &scan.views()[view];
        let ray = p.ray(u as f64, v as f64).normalize_or_zero();
        let to_centre = -p.source_position().coords;
        let miss = to_centre.norm_squared() - to_centre.dot(&ray).powi(2);
        (0.04 * (radius_mm * radius_mm - miss).max(0.0).sqrt()) as f32
    })
}

trait Unit {
    fn normalize_or_zero(self) -> Self;
}

impl Unit for Vector3<f64> {
    fn normalize_or_zero(self) -> Self {
        let norm = self.norm();
        if norm > 0.0 { self / norm } else { self }
    }
}

fn blur_kernel() -> Array2<f64> {
    array![[0.02, 0.07, 0.02], [0.08, 0.62, 0.08], [0.02, 0.07, 0.02]]
}

fn noise(photons: f64) -> DetectorNoise {
    DetectorNoise {
        electronic_photons: 9.0,
        correlation: NoiseCorrelation::from_kernel(blur_kernel().view()).unwrap(),
        ..DetectorNoise::white(photons)
    }
}

fn map(plan: &FdkPlan, stack: &Array3<f32>, noise: &DetectorNoise, backend: NoiseBackend) -> Array3<f32> {
    noise_standard_deviation(plan, stack.view(), noise, backend, &mut |_, _| true).unwrap().values
}

/// `image` correlated with an even kernel, nothing beyond the border.
fn blurred(image: ArrayView2<'_, f64>, kernel: &Array2<f64>) -> Array2<f64> {
    let (nv, nu) = image.dim();
    Array2::from_shape_fn((nv, nu), |(v, u)| {
        let taps = kernel.indexed_iter().map(|((kv, ku), weight)| {
            let at = ((v + kv).wrapping_sub(1), (u + ku).wrapping_sub(1));
            weight * image.get(at).copied().unwrap_or(0.0)
        });
        taps.sum()
    })
}

/// Standard deviation of every voxel: the chain's matrix column by column, times the covariance of all pixels.
fn dense(plan: &Arc<FdkPlan>, stack: &Array3<f32>, noise: &DetectorNoise) -> Array3<f64> {
    let (views, nv, nu) = stack.dim();
    let [nx, ny, nz] = plan.grid().shape;
    let mut variance = Array3::zeros((nz, ny, nx));
    for view in 0..views {
        let mut responses = vec![Array2::zeros((nv, nu)); nx * ny * nz];
        for (v, u) in (0..nv).flat_map(|v| (0..nu).map(move |u| (v, u))) {
            let mut impulse = Array3::zeros(stack.dim());
            impulse[(view, v, u)] = 1.0_f32;
            let volume = reconstruct_stack(Arc::clone(plan), impulse.view(), &mut Silent).unwrap();
            for (response, value) in responses.iter_mut().zip(&volume.values) {
                response[(v, u)] = f64::from(*value);
            }
        }
        for (variance, response) in variance.iter_mut().zip(&responses) {
            let of_quanta = blurred(response.view(), &blur_kernel());
            for ((direct, spread), p) in
                response.iter().zip(&of_quanta).zip(stack.outer_iter().nth(view).unwrap())
            {
                let photons = noise.photons * (-f64::from(*p)).exp();
                *variance +=
                    spread * spread / photons + (direct * noise.electronic_photons / photons).powi(2);
            }
        }
    }
    variance.mapv(f64::sqrt)
}

#[test]
fn noise_map_equals_the_dense_covariance_of_the_chain() {
    // What is taken as even over a few pixels is not quite: the ball's transmission on pixels of 9 mm.
    const TOLERANCE: f64 = 0.03;
    let upright = Rotation3::identity();
    let leaning = Rotation3::from_euler_angles(0.05, -0.06, 0.04);
    let oblique = *Rotation3::from_euler_angles(0.3, 0.2, 0.0).matrix();
    let hann = FdkOptions { apodisation: Apodisation::Hann { cut: 0.7 }, ..FdkOptions::default() };
    let cases = [
        (upright, Matrix3::identity(), FdkOptions::default()),
        (leaning, Matrix3::identity(), hann.clone()),
        (leaning, oblique, FdkOptions::default()),
        (upright, Matrix3::identity(), FdkOptions { rows_averaged: 2, ..hann }),
    ];
    for (index, (turn, direction, options)) in cases.into_iter().enumerate() {
        let scan = scan([18, 10], 9.0, 10, turn);
        let plan = plan(&scan, [3, 2, 3], 4.3, direction, options);
        let stack = ball(&scan, 160.0);
        let noise = noise(4000.0);
        let exact = dense(&plan, &stack, &noise);
        let found = map(&plan, &stack, &noise, NoiseBackend::Reference);
        for (found, exact) in found.iter().zip(&exact) {
            let error = f64::from(*found) / exact - 1.0;
            assert!(error.abs() < TOLERANCE, "case {index}: {found} against {exact}, {error:+.3}");
        }
    }
}

#[test]
fn noise_map_along_columns_equals_the_reference() {
    for turn in [Rotation3::identity(), Rotation3::from_euler_angles(0.03, -0.04, 0.02)] {
        let scan = scan([40, 30], 8.0, 24, turn);
        let plan = plan(&scan, [17, 15, 21], 9.0, Matrix3::identity(), FdkOptions::default());
        let stack = ball(&scan, 60.0);
        let exact = map(&plan, &stack, &noise(3000.0), NoiseBackend::Reference);
        let fast = map(&plan, &stack, &noise(3000.0), NoiseBackend::Columns);
        assert!(exact.iter().any(|sd| *sd > 1e-4));
        let largest = exact.iter().copied().fold(0.0, f32::max);
        for (fast, exact) in fast.iter().zip(&exact) {
            assert!((fast - exact).abs() < 2e-3 * largest, "{fast} {exact}");
        }
    }
}

/// Chi-square quantiles of 99 degrees of freedom at 2.5 and 97.5 %.
const CHI_SQUARE_99: [f64; 2] = [73.36, 128.42];
const DRAWS: usize = 100;

#[test]
fn noise_map_agrees_with_a_hundred_draws_behind_a_blurring_scintillator() {
    let scan = scan([48, 36], 8.0, 60, Rotation3::from_euler_angles(0.01, 0.02, -0.015));
    let options = FdkOptions { apodisation: Apodisation::Hann { cut: 0.9 }, ..FdkOptions::default() };
    let plan = plan(&scan, [20, 20, 16], 7.0, Matrix3::identity(), options);
    let clean = ball(&scan, 65.0);
    let noise = noise(3000.0);
    let predicted = map(&plan, &clean, &noise, NoiseBackend::Columns);
    let (mut sum, mut squares) =
        (Array3::<f64>::zeros(predicted.dim()), Array3::<f64>::zeros(predicted.dim()));
    let mut field = None;
    for draw in 0..DRAWS {
        let noisy = drawn(&clean, &noise, draw as u64);
        let volume = reconstruct_stack(Arc::clone(&plan), noisy.view(), &mut Silent).unwrap();
        for ((value, sum), squares) in volume.values.iter().zip(&mut sum).zip(&mut squares) {
            *sum += f64::from(*value);
            *squares += f64::from(*value).powi(2);
        }
        field = volume.mask;
    }
    let (mut covered, mut count, mut ratio) = (0, 0, 0.0);
    for (((sum, squares), sd), bits) in sum.iter().zip(&squares).zip(&predicted).zip(field.as_ref().unwrap())
    {
        if bits & mask::FIELD_OF_VIEW == 0 {
            continue;
        }
        let deviations = (squares - sum * sum / DRAWS as f64) / f64::from(*sd).powi(2);
        covered += usize::from(deviations > CHI_SQUARE_99[0] && deviations < CHI_SQUARE_99[1]);
        ratio += deviations / (DRAWS as f64 - 1.0);
        count += 1;
    }
    assert!(count > 3000, "{count} voxels");
    let share = covered as f64 / f64::from(count);
    println!(
        "covered {:.2} % of {count} voxels, drawn over foretold variance {:.4}",
        100.0 * share,
        ratio / f64::from(count)
    );
    assert!((share - 0.95).abs() < 0.02, "covered {share}");
}

/// Poisson quanta, blurred, with normal electronic noise, as line integrals.
fn drawn(clean: &Array3<f32>, noise: &DetectorNoise, seed: u64) -> Array3<f32> {
    let mut random = Random::new(seed);
    let mut noisy = clean.clone();
    for mut view in noisy.outer_iter_mut() {
        let quanta = view.mapv(|p| random.poisson(noise.photons * (-f64::from(p)).exp()));
        // The border goes on with itself, so that light is neither lost nor won there.
        let share = blurred(Array2::ones(quanta.dim()).view(), &blur_kernel());
        let light = blurred(quanta.view(), &blur_kernel()) / share;
        for (p, light) in view.iter_mut().zip(&light) {
            let read = light + noise.electronic_photons * random.normal();
            *p = -(read / noise.photons).ln() as f32;
        }
    }
    noisy
}

#[test]
fn noise_map_refuses_what_it_cannot_use_and_stops_when_asked() {
    let scan = scan([24, 16], 16.0, 12, Rotation3::identity());
    let plan = plan(&scan, [4; 3], 8.0, Matrix3::identity(), FdkOptions::default());
    let stack = ball(&scan, 60.0);
    let with = |stack: &Array3<f32>, noise: &DetectorNoise, go_on: bool| {
        noise_standard_deviation(&plan, stack.view(), noise, NoiseBackend::Columns, &mut |_, _| go_on)
            .unwrap_err()
    };
    let white = DetectorNoise::white(1000.0);
    assert!(matches!(
        with(&stack, &DetectorNoise::white(0.0), true),
        ReconstructError::BadOption { option: "photons", .. }
    ));
    let wrong = Array3::zeros((12, 16, 23));
    assert!(matches!(with(&wrong, &white, true), ReconstructError::StackShape { .. }));
    let mut bad = stack.clone();
    bad[(3, 5, 7)] = f32::NAN;
    assert!(matches!(with(&bad, &white, true), ReconstructError::NotFinite { view: 3, u: 7, v: 5, .. }));
    assert!(matches!(with(&stack, &white, false), ReconstructError::Cancelled));
}
