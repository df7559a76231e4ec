//! Small scans whose solution is known.

use super::*;
use crate::project::{DetectorRegion, reference};
use crate::test_random::Random;
use crate::test_scans::circle_scan;
use carm::{DetectorGrid, DetectorPose, ProjectionMatrix, ScanGeometry, VolumeGrid};
use nalgebra::{Matrix3, Point3};
use ndarray::{Array3, s};

/// A circle of views on a coarse detector.
fn scan(views: usize, arc_deg: f64, size: [usize; 2], pitch_mm: f64) -> ScanGeometry {
    let detector = DetectorGrid::new(size, [pitch_mm; 2]).unwrap();
    let circle = circle_scan(views, arc_deg);
    let matrices = circle.views().iter().map(|view| {
        let pose: DetectorPose = view.detector_pose(circle.detector());
        ProjectionMatrix::from_pose(&pose, &detector).unwrap()
    });
    ScanGeometry::new(detector, matrices.collect()).unwrap()
}

fn cube(n: usize, voxel_mm: f64) -> VolumeGrid {
    VolumeGrid::centred([n; 3], [voxel_mm; 3], Matrix3::identity(), Point3::origin()).unwrap()
}

/// Two balls in a larger one, 1/mm, faded over a voxel.
fn phantom(grid: &VolumeGrid, radius_mm: f64) -> Array3<f32> {
    let [nx, ny, nz] = grid.shape;
    let ball = |point: Point3<f64>, centre: [f64; 3], radius: f64| {
        ((radius - (point - Point3::from(centre)).norm()) / grid.spacing_mm[0] + 0.5).clamp(0.0, 1.0)
    };
    Array3::from_shape_fn((nz, ny, nx), |(z, y, x)| {
        let point = grid.point(x as f64, y as f64, z as f64);
        let r = radius_mm;
        let mu = 0.02 * ball(point, [0.0; 3], r) + 0.02 * ball(point, [0.4 * r, 0.1 * r, 0.2 * r], 0.3 * r)
            - 0.01 * ball(point, [-0.3 * r, -0.3 * r, -0.1 * r], 0.25 * r);
        mu as f32
    })
}

/// Exact projections of voxels by the `f64` reference: what the volume must come back from.
fn projections(scan: &ScanGeometry, grid: &VolumeGrid, values: &Array3<f32>) -> Array3<f32> {
    let detector = scan.detector();
    let mut stack = Array3::zeros((scan.views().len(), detector.nv, detector.nu));
    let values = values.mapv(f64::from);
    for (view, matrix) in scan.views().iter().enumerate() {
        let image = reference::project(grid, values.view(), matrix, DetectorRegion::whole(detector));
        stack.slice_mut(s![view, .., ..]).assign(&image.mapv(|p| p as f32));
    }
    stack
}

fn relative_error(found: &Array3<f32>, truth: &Array3<f32>) -> f64 {
    let square = |values: Array3<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    (square(found - truth) / square(truth.clone())).sqrt()
}

struct Setup {
    scan: ScanGeometry,
    grid: VolumeGrid,
    truth: Array3<f32>,
    stack: Array3<f32>,
}

fn setup() -> Setup {
    let scan = scan(40, 351.0, [48, 40], 4.0);
    let grid = cube(24, 4.0);
    let truth = phantom(&grid, 38.0);
    let stack = projections(&scan, &grid, &truth);
    Setup { scan, grid, truth, stack }
}

fn data<'a>(setup: &'a Setup) -> ScanData<'a> {
    ScanData { geometry: &setup.scan, line_integrals: setup.stack.view(), weights: None }
}

#[test]
fn every_algorithm_finds_the_volume_that_the_views_came_from() {
    let setup = setup();
    let free = SystemOptions { non_negative: false, ..SystemOptions::default() };
    let bounded = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
    let free = System::new(data(&setup), setup.grid, &free).unwrap();
    let sart = OsSart::new(
        &bounded,
        bounded.zero_estimate(),
        OsSartOptions { relaxation: 1.0, relaxation_decay: 1.0, subset_views: 5 },
    );
    let tv =
        FistaTvOptions { smoothing: Strength::PerMm(0.0), subset_views: 10, ..FistaTvOptions::default() };
    let algorithms: [(Box<dyn Algorithm + '_>, &System<'_>, usize); 3] = [
        (Box::new(sart.unwrap()), &bounded, 30),
        (Box::new(Cgls::new(&free, free.zero_estimate()).unwrap()), &free, 30),
        (Box::new(FistaTv::new(&bounded, bounded.zero_estimate(), tv).unwrap()), &bounded, 40),
    ];
    for (mut algorithm, system, passes) in algorithms {
        let reports = iterate(&mut *algorithm, &StopRule::after(passes), &mut Unwatched).unwrap();
        let error = relative_error(&system.volume(algorithm.estimate()), &setup.truth);
        let last = reports[passes - 1];
        assert!(error < 0.02, "{}: error {error}, {last:?}", algorithm.name());
        assert!(last.residual_rms < 0.02 * reports[0].residual_rms, "{}: {last:?}", algorithm.name());
    }
}

#[test]
fn conjugate_gradients_residual_falls_at_every_step() {
    let setup = setup();
    let free = SystemOptions { non_negative: false, ..SystemOptions::default() };
    let system = System::new(data(&setup), setup.grid, &free).unwrap();
    let mut cgls = Cgls::new(&system, system.zero_estimate()).unwrap();
    let reports = iterate(&mut cgls, &StopRule::after(12), &mut Unwatched).unwrap();
    assert!(reports.windows(2).all(|pair| pair[1].residual_rms < pair[0].residual_rms), "{reports:?}");
}

#[test]
fn total_variation_beats_least_squares_for_few_noisy_views() {
    let mut setup = setup();
    setup.scan = scan(12, 330.0, [48, 40], 4.0);
    setup.stack = projections(&setup.scan, &setup.grid, &setup.truth);
    let mut state = 99_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    setup.stack.mapv_inplace(|p| p + ((uniform() + uniform() + uniform()) * 0.06) as f32);
    let system = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
    let run = |smoothing_per_mm: f64| {
        let options = FistaTvOptions {
            smoothing: Strength::PerMm(smoothing_per_mm),
            subset_views: 6,
            ..FistaTvOptions::default()
        };
        let mut tv = FistaTv::new(&system, system.zero_estimate(), options).unwrap();
        iterate(&mut tv, &StopRule::after(40), &mut Unwatched).unwrap();
        relative_error(&system.volume(tv.estimate()), &setup.truth)
    };
    let (without, with) = (run(0.0), run(3e-4));
    assert!(with < 0.6 * without, "{with} {without}");
}

#[test]
fn smooth_start_is_ahead_of_a_noisy_one() {
    let mut setup = setup();
    setup.scan = scan(12, 330.0, [48, 40], 4.0);
    let mut random = Random::new(5);
    setup.stack =
        projections(&setup.scan, &setup.grid, &setup.truth).mapv(|p| p + (0.03 * random.normal()) as f32);
    let noisy = setup.truth.mapv(|mu| mu + (0.02 * random.normal()) as f32);
    let system = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
    let run = |start: &Array3<f32>| {
        let smoothing = Strength::PerMm(1e-4);
        let options = FistaTvOptions { smoothing, subset_views: 6, ..FistaTvOptions::default() };
        let start = system.estimate_from(start.view()).unwrap();
        let mut tv = FistaTv::new(&system, start, options).unwrap();
        iterate(&mut tv, &StopRule::after(8), &mut Unwatched).unwrap();
        relative_error(&system.volume(tv.estimate()), &setup.truth)
    };
    let (from_noisy, from_smooth) = (run(&noisy), run(&smooth_start(noisy.view())));
    assert!(from_smooth < 0.8 * from_noisy, "{from_smooth} {from_noisy}");
}

#[test]
fn iterating_again_goes_on_and_cancelling_loses_nothing() {
    let setup = setup();
    let system = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
    let make = || OsSart::new(&system, system.zero_estimate(), OsSartOptions::default()).unwrap();
    let mut at_once = make();
    iterate(&mut at_once, &StopRule::after(4), &mut Unwatched).unwrap();
    let mut in_parts = make();
    iterate(&mut in_parts, &StopRule::after(1), &mut Unwatched).unwrap();
    let reports = iterate(&mut in_parts, &StopRule::after(3), &mut Unwatched).unwrap();
    assert_eq!(reports[0].iteration, 2);
    assert!(at_once.estimate() == in_parts.estimate());

    struct StopAt(usize);
    impl Watcher for StopAt {
        fn progress(&mut self, progress: Progress) -> bool {
            assert_eq!(progress.views, 40);
            progress.views_done < self.0
        }
    }
    let error = iterate(&mut in_parts, &StopRule::after(3), &mut StopAt(20)).unwrap_err();
    assert_eq!(error, ReconstructError::Cancelled);
    iterate(&mut in_parts, &StopRule::after(1), &mut Unwatched).unwrap();
}

#[test]
fn stop_rules_end_early() {
    let setup = setup();
    let system = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
    let run = |rule: StopRule| {
        let mut sart = OsSart::new(&system, system.zero_estimate(), OsSartOptions::default()).unwrap();
        iterate(&mut sart, &rule, &mut Unwatched).unwrap()
    };
    let all = run(StopRule::after(8));
    assert_eq!(all.len(), 8);
    let by_residual = run(StopRule { residual_rms: all[3].residual_rms * 1.01, ..StopRule::after(8) });
    assert_eq!(by_residual.len(), 4);
    let by_change = run(StopRule { relative_change: all[2].relative_change * 1.01, ..StopRule::after(8) });
    assert_eq!(by_change.len(), 3);
}

#[test]
fn iterating_starts_from_a_volume_and_keeps_to_the_mask() {
    let setup = setup();
    let mask = setup.truth.mapv(|mu| mu > 0.0);
    let options = SystemOptions { mask: Some(mask.clone()), ..SystemOptions::default() };
    let system = System::new(data(&setup), setup.grid, &options).unwrap();
    let start = system.estimate_from(setup.truth.view()).unwrap();
    assert_eq!(system.volume(&start), setup.truth);
    let mut sart = OsSart::new(&system, start, OsSartOptions::default()).unwrap();
    let reports = iterate(&mut sart, &StopRule::after(1), &mut Unwatched).unwrap();
    assert!(reports[0].residual_rms < 1e-5, "{reports:?}");
    let mut sart = OsSart::new(&system, system.zero_estimate(), OsSartOptions::default()).unwrap();
    iterate(&mut sart, &StopRule::after(2), &mut Unwatched).unwrap();
    let volume = system.volume(sart.estimate());
    assert!(volume.iter().zip(&mask).all(|(mu, is_in)| *mu >= 0.0 && (*is_in || *mu == 0.0)));
}

#[test]
fn rays_without_weight_do_not_count() {
    let mut setup = setup();
    let mut weights = Array3::ones(setup.stack.raw_dim());
    // A dead block of the detector.
    setup.stack.slice_mut(s![.., 10..13, 29..33]).fill(40.0);
    weights.slice_mut(s![.., 10..13, 29..33]).fill(0.0);
    let free = SystemOptions { non_negative: false, ..SystemOptions::default() };
    let weighted = ScanData { weights: Some(weights.view()), ..data(&setup) };
    for (is_weighted, data) in [(true, weighted), (false, data(&setup))] {
        let system = System::new(data, setup.grid, &free).unwrap();
        let mut cgls = Cgls::new(&system, system.zero_estimate()).unwrap();
        iterate(&mut cgls, &StopRule::after(25), &mut Unwatched).unwrap();
        let error = relative_error(&system.volume(cgls.estimate()), &setup.truth);
        assert!(if is_weighted { error < 0.03 } else { error > 0.5 }, "{is_weighted}: {error}");
    }
}

#[test]
fn outer_field_takes_up_what_truncated_views_see() {
    // The body is larger than the volume, and the detector sees little more than the volume.
    let scan = scan(60, 354.0, [44, 40], 4.0);
    let body = cube(48, 4.0);
    let truth = phantom(&body, 80.0);
    let stack = projections(&scan, &body, &truth);
    let inner = cube(24, 4.0);
    let inner_truth = truth.slice(s![12..36, 12..36, 12..36]).to_owned();
    let run = |outer: Option<OuterField>| {
        let options = SystemOptions { outer, ..SystemOptions::default() };
        let data = ScanData { geometry: &scan, line_integrals: stack.view(), weights: None };
        let system = System::new(data, inner, &options).unwrap();
        let mut sart = OsSart::new(&system, system.zero_estimate(), OsSartOptions::default()).unwrap();
        iterate(&mut sart, &StopRule::after(12), &mut Unwatched).unwrap();
        // Away from the faces, where a truncated scan cannot know.
        let middle = s![5..19, 5..19, 5..19];
        let found = system.volume(sart.estimate());
        // A constant inside is what truncated views leave open; it is not the outer field's to find.
        let difference = &found.slice(middle) - &inner_truth.slice(middle);
        let mean = difference.mean().unwrap();
        relative_error(
            &(difference - mean + inner_truth.slice(middle)),
            &inner_truth.slice(middle).to_owned(),
        )
    };
    let (without, with) = (run(None), run(Some(OuterField { coarseness: 2, extent: [2.2; 3] })));
    assert!(with < 0.08 && with < 0.6 * without, "with {with}, without {without}");
}

#[test]
fn iterations_have_one_result_for_any_number_of_threads() {
    let setup = setup();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let system = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
            let mut tv = FistaTv::new(&system, system.zero_estimate(), FistaTvOptions::default()).unwrap();
            iterate(&mut tv, &StopRule::after(2), &mut Unwatched).unwrap();
            tv.estimate().clone()
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(5) == one);
}

#[test]
fn system_refuses_what_is_not_a_scan() {
    let setup = setup();
    let refuse = |stack: &Array3<f32>, weights: Option<&Array3<f32>>| {
        let data = ScanData {
            geometry: &setup.scan,
            line_integrals: stack.view(),
            weights: weights.map(|weights| weights.view()),
        };
        System::new(data, setup.grid, &SystemOptions::default()).err().expect("an error")
    };
    let short = setup.stack.slice(s![1.., .., ..]).to_owned();
    assert_eq!(
        refuse(&short, None),
        ReconstructError::StackShape { expected: [40, 40, 48], found: [39, 40, 48] }
    );
    let mut poisoned = setup.stack.clone();
    poisoned[[3, 5, 7]] = f32::NAN;
    assert!(matches!(refuse(&poisoned, None), ReconstructError::NotFinite { view: 3, u: 7, v: 5, .. }));
    let negative = setup.stack.mapv(|_| -1.0);
    assert!(matches!(
        refuse(&setup.stack, Some(&negative)),
        ReconstructError::BadOption { option: "weights", .. }
    ));
    let system = System::new(data(&setup), setup.grid, &SystemOptions::default()).unwrap();
    assert!(
        Cgls::new(&system, system.zero_estimate()).is_err(),
        "conjugate gradients cannot keep values positive"
    );
    let lax = OsSartOptions { relaxation: 2.5, ..OsSartOptions::default() };
    assert!(OsSart::new(&system, system.zero_estimate(), lax).is_err());
    let nan = FistaTvOptions { smoothing: Strength::PerMm(f64::NAN), ..FistaTvOptions::default() };
    assert!(FistaTv::new(&system, system.zero_estimate(), nan).is_err());
    let nothing = SystemOptions { mask: Some(setup.truth.mapv(|_| false)), ..SystemOptions::default() };
    assert!(System::new(data(&setup), setup.grid, &nothing).is_err());
}

#[test]
fn statistical_weights_are_inverse_variances() {
    let p = Array3::from_shape_vec((1, 1, 3), vec![0.0_f32, 1.0, 3.0]).unwrap();
    let weights = statistical_weights(p.view(), 1000.0, 5.0);
    let variance = |n: f64| (n + 25.0) / (n * n);
    for (weight, p) in weights.iter().zip([0.0_f64, 1.0, 3.0]) {
        let expected = variance(1000.0) / variance(1000.0 * (-p).exp());
        assert!((f64::from(*weight) - expected).abs() < 1e-6 * expected);
    }
}

#[test]
fn views_tell_their_photons_by_their_noise() {
    let mut random = Random::new(5);
    let photons = 20_000.0;
    let views = Array3::from_shape_fn((6, 40, 60), |(view, v, u)| {
        let p: f64 = 1.2 + (0.05 * u as f64 + view as f64).sin() + 0.01 * v as f64;
        (p + (p.exp() / photons).sqrt() * random.normal()) as f32
    });
    let found = apparent_photons(views.view()).unwrap();
    // The median of 13,920 differences is good to 1 %, photons to twice that; the sine adds to the differences.
    assert!((found / photons - 1.0).abs() < 0.06, "{found}");
    assert_eq!(apparent_photons(Array3::zeros((3, 4, 5)).view()), None, "no noise");
    assert_eq!(apparent_photons(Array3::zeros((3, 4, 2)).view()), None, "no differences");
    assert_eq!(apparent_photons(Array3::zeros((3, 4, 0)).view()), None, "no pixels");
}

#[test]
fn smoothing_follows_the_noise_of_the_gradient() {
    let setup = setup();
    let mut random = Random::new(11);
    let sd = 0.02;
    let noise = setup.stack.mapv(|_| (sd * random.normal()) as f32);
    let data = ScanData { geometry: &setup.scan, line_integrals: noise.view(), weights: None };
    let system = System::new(data, setup.grid, &SystemOptions::default()).unwrap();
    let sum = preconditioner::sum_of_weights(&system).unwrap();
    let expected = fista_tv::gradient_noise(&system, preconditioner::middle_value(&sum.values), sd * sd);
    let views: Vec<usize> = (0..system.view_count()).collect();
    let images: Vec<Vec<f32>> = views.iter().map(|view| system.measured(*view).to_vec()).collect();
    let mut gradient = system.zero_estimate();
    system.add_back(&views, &images, &mut gradient);
    let values = system.volume(&gradient);
    let middle = values.slice(s![6..18, 6..18, 6..18]);
    let found = (middle.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 1728.0).sqrt();
    // One voxel in the middle of all stands for these, and rays are not quite dense.
    assert!((found / expected - 1.0).abs() < 0.15, "found {found}, expected {expected}");
    let smoothing = |air_variance: f64| {
        let smoothing = Strength::ForNoise { air_variance, least_per_mm: 1e-9 };
        let options = FistaTvOptions { smoothing, ..FistaTvOptions::default() };
        FistaTv::new(&system, system.zero_estimate(), options).unwrap().smoothing_per_mm()
    };
    assert!((smoothing(4e-4) / smoothing(1e-4) - 2.0).abs() < 1e-6);
    assert_eq!(smoothing(0.0), 1e-9, "no noise");
}

#[test]
fn one_detector_row_gives_the_slice_that_it_saw() {
    let scan = scan(60, 354.0, [48, 1], 4.0);
    let grid = VolumeGrid::centred([28, 26, 1], [4.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
    let truth = phantom(&grid, 40.0);
    let stack = projections(&scan, &grid, &truth);
    let data = ScanData { geometry: &scan, line_integrals: stack.view(), weights: None };
    let system = System::new(data, grid, &SystemOptions::default()).unwrap();
    assert_eq!(
        system.projectors()[0].column_grid().column_direction(),
        nalgebra::Vector3::x(),
        "columns in the slice"
    );
    let options = OsSartOptions { relaxation: 1.0, relaxation_decay: 1.0, subset_views: 5 };
    let mut sart = OsSart::new(&system, system.zero_estimate(), options).unwrap();
    iterate(&mut sart, &StopRule::after(30), &mut Unwatched).unwrap();
    let error = relative_error(&system.volume(sart.estimate()), &truth);
    assert!(error < 0.03, "{error}");
}

#[test]
fn aligned_scan_of_a_tilted_detector_gives_the_same_volume() {
    let straight = scan(40, 351.0, [48, 40], 4.0);
    let detector = *straight.detector();
    let tilted = straight.views().iter().enumerate().map(|(index, view)| {
        let pose = view.detector_pose(&detector);
        let turn = nalgebra::Rotation3::new(pose.e_u.cross(&pose.e_v) * 0.03 * (index as f64 / 6.0).sin());
        let pose = DetectorPose { e_u: turn * pose.e_u, e_v: turn * pose.e_v, ..pose };
        ProjectionMatrix::from_pose(&pose, &detector).unwrap()
    });
    let tilted = ScanGeometry::new(detector, tilted.collect()).unwrap();
    let grid = cube(24, 4.0);
    let truth = phantom(&grid, 38.0);
    let stack = projections(&tilted, &grid, &truth);
    let aligned = AlignedScan::new(&tilted, stack.view(), &nalgebra::Vector3::z()).unwrap();
    let solve = |geometry: &ScanGeometry, stack: &Array3<f32>, weights: Option<&Array3<f32>>| {
        let data = ScanData {
            geometry,
            line_integrals: stack.view(),
            weights: weights.map(|weights| weights.view()),
        };
        let system = System::new(data, grid, &SystemOptions::default()).unwrap();
        let options = OsSartOptions { relaxation: 1.0, relaxation_decay: 1.0, subset_views: 5 };
        let mut sart = OsSart::new(&system, system.zero_estimate(), options).unwrap();
        iterate(&mut sart, &StopRule::after(15), &mut Unwatched).unwrap();
        relative_error(&system.volume(sart.estimate()), &truth)
    };
    let direct = solve(&tilted, &stack, None);
    let resampled = solve(&aligned.geometry, &aligned.line_integrals, Some(&aligned.weights));
    // Cubic interpolation of 4 mm pixels costs a little at the edges.
    assert!(direct < 0.03 && resampled < direct + 0.03, "direct {direct}, resampled {resampled}");
}
