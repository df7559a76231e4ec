//! The whole chain against closed forms: line integrals of balls are known exactly.

use crate::test_scans::{circle_scan, detector, oblique_scan};
use crate::*;
use carm::{DetectorGrid, DetectorPose, ProjectionMatrix, ScanGeometry, Volume, VolumeGrid, mask};
use nalgebra::{Matrix3, Point3, Rotation3, Vector3};
use ndarray::Array3;
use std::f64::consts::PI;
use std::sync::Arc;

/// A ball of even attenuation.
#[derive(Clone, Copy)]
struct Ball {
    centre: Point3<f64>,
    radius_mm: f64,
    mu_per_mm: f64,
}

const BODY: Ball = Ball { centre: Point3::new(4.0, -3.0, 2.0), radius_mm: 60.0, mu_per_mm: 0.02 };

fn project(scan: &ScanGeometry, balls: &[Ball]) -> Array3<f32> {
    let detector = scan.detector();
    Array3::from_shape_fn((scan.views().len(), detector.nv, detector.nu), |(view, v, u)| {
        let p = &scan.views()[view];
        let direction = p.ray(u as f64, v as f64);
        let direction = direction / direction.norm();
        let source = p.source_position();
        balls.iter().map(|ball| ball.mu_per_mm * chord_mm(ball, &source, &direction)).sum::<f64>() as f32
    })
}

fn chord_mm(ball: &Ball, source: &Point3<f64>, direction: &Vector3<f64>) -> f64 {
    let to_centre = ball.centre - source;
    let miss_squared = to_centre.norm_squared() - to_centre.dot(direction).powi(2);
    2.0 * (ball.radius_mm.powi(2) - miss_squared).max(0.0).sqrt()
}

fn grid(shape: [usize; 3], spacing: [f64; 3], direction: Matrix3<f64>) -> VolumeGrid {
    VolumeGrid::centred(shape, spacing, direction, Point3::new(2.0, 1.0, -1.0)).unwrap()
}

fn run(scan: &ScanGeometry, grid: VolumeGrid, options: FdkOptions, balls: &[Ball]) -> Volume {
    let plan = Arc::new(FdkPlan::new(scan.clone(), grid, options).unwrap());
    reconstruct_stack(plan, project(scan, balls).view(), &mut Silent).unwrap()
}

/// Mean over voxels within `share` of the ball's radius.
fn mean_inside(volume: &Volume, ball: &Ball, share: f64) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for ((z, y, x), value) in volume.values.indexed_iter() {
        let point = volume.grid.point(x as f64, y as f64, z as f64);
        if (point - ball.centre).norm() < ball.radius_mm * share {
            sum += f64::from(*value);
            count += 1.0;
        }
    }
    assert!(count > 0.0);
    sum / count
}

/// Ten HU of water, on a detector of 2.5 mm pixels with 2.4 degree steps.
const MEAN_TOLERANCE: f64 = 0.01 * BODY.mu_per_mm;

#[test]
fn fdk_gives_a_ball_its_attenuation_for_short_full_and_offset_scans() {
    let shape = grid([40, 38, 36], [4.0; 3], Matrix3::identity());
    for arc_deg in [202.0, 240.0, 358.0 * 150.0 / 151.0] {
        let scan = circle_scan(150, arc_deg);
        let volume = run(&scan, shape, FdkOptions::default(), &[BODY]);
        let mean = mean_inside(&volume, &BODY, 0.8);
        assert!((mean - BODY.mu_per_mm).abs() < MEAN_TOLERANCE, "{arc_deg}: {mean}");
    }
    let full = circle_scan(181, 360.0 * 180.0 / 181.0);
    let plan = FdkPlan::new(full.clone(), shape, FdkOptions::default()).unwrap();
    assert_eq!(*plan.redundancy(), Redundancy::FullTurn);
    let mean = mean_inside(&run(&full, shape, FdkOptions::default(), &[BODY]), &BODY, 0.8);
    assert!((mean - BODY.mu_per_mm).abs() < MEAN_TOLERANCE, "{mean}");

    for shift_px in [-30.0, 45.0] {
        let offset = shifted(&full, shift_px);
        let plan = FdkPlan::new(offset.clone(), shape, FdkOptions::default()).unwrap();
        assert!(matches!(plan.redundancy(), Redundancy::OffsetFullTurn { .. }));
        let mean = mean_inside(&run(&offset, shape, FdkOptions::default(), &[BODY]), &BODY, 0.8);
        assert!((mean - BODY.mu_per_mm).abs() < MEAN_TOLERANCE, "{shift_px}: {mean}");
    }
}

fn shifted(scan: &ScanGeometry, columns: f64) -> ScanGeometry {
    let views = scan
        .views()
        .iter()
        .map(|p| {
            let pose = p.detector_pose(scan.detector());
            let centre = pose.centre + pose.e_u * columns * scan.detector().pixel_pitch_u_mm;
            ProjectionMatrix::from_pose(&DetectorPose { centre, ..pose }, scan.detector()).unwrap()
        })
        .collect();
    ScanGeometry::new(*scan.detector(), views).unwrap()
}

#[test]
fn fdk_confidence_weights_give_the_same_ball() {
    let shape = grid([40, 38, 36], [4.0; 3], Matrix3::identity());
    let scan = circle_scan(150, 215.0);
    let options = FdkOptions { confidence_weights: true, ..FdkOptions::default() };
    let mean = mean_inside(&run(&scan, shape, options, &[BODY]), &BODY, 0.8);
    assert!((mean - BODY.mu_per_mm).abs() < MEAN_TOLERANCE, "{mean}");
}

#[test]
fn fdk_of_a_turned_scan_is_the_turned_volume() {
    // Turning scan and grid together must change nothing; turning the scan alone uses the oblique path.
    let turn = Rotation3::from_euler_angles(0.35, -0.2, 0.5);
    let ball = Ball { centre: turn * BODY.centre, ..BODY };
    let scan = oblique_scan(120, 205.0, turn);
    for direction in [*turn.matrix(), Matrix3::identity()] {
        let volume = run(&scan, grid([40, 38, 36], [4.0; 3], direction), FdkOptions::default(), &[ball]);
        let mean = mean_inside(&volume, &ball, 0.75);
        assert!((mean - ball.mu_per_mm).abs() < MEAN_TOLERANCE, "{mean}");
    }
}

#[test]
fn fdk_backends_agree_with_the_reference_whatever_the_axes() {
    // f32 sums of 60 views, 1/depth² in f32, positions of order 100 px in f32.
    const F32_TOLERANCE: f32 = 4e-6;
    let turn = Rotation3::from_euler_angles(0.9, 0.1, 0.0);
    let permuted = Matrix3::new(0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0);
    let flipped = Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, -1.0));
    for direction in [Matrix3::identity(), permuted, flipped, *turn.matrix()] {
        // From a fraction of a row per voxel to several: every window of the fast kernels occurs.
        for spacing in [[2.5, 3.0, 2.0], [3.0, 9.0, 8.0], [1.5, 1.5, 1.2], [3.5, 4.5, 4.0]] {
            let shape = grid([35, 22, 37], spacing, direction);
            let scan = circle_scan(60, 205.0);
            let with = |backend| {
                let options = FdkOptions { backend, block_views: 7, ..FdkOptions::default() };
                run(&scan, shape, options, &[BODY])
            };
            let exact = with(Backend::Reference);
            assert!(exact.values.iter().any(|v| *v > 0.01));
            // The kernels on pairs of 16-bit integers give one volume.
            if Isa::Avx512.is_available() {
                let [narrow, wide] = [Isa::Avx2, Isa::Avx512].map(|isa| with(Backend::CpuForced(isa)));
                assert_eq!(narrow.values, wide.values, "{spacing:?}");
            }
            for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()) {
                let fast = with(Backend::CpuForced(isa));
                for (index, (a, b)) in fast.values.iter().zip(&exact.values).enumerate() {
                    assert!((a - b).abs() <= F32_TOLERANCE, "{isa:?} {spacing:?} voxel {index}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn fdk_bits_do_not_depend_on_threads_or_block_size() {
    let scan = circle_scan(61, 205.0);
    let shape = grid([37, 41, 35], [3.0; 3], Matrix3::identity());
    let with = |threads: usize, block_views: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = FdkOptions {
            block_views,
            truncation_water_per_mm: Some(0.02),
            water_precorrection: vec![1.0, 0.01],
            ..FdkOptions::default()
        };
        pool.install(|| run(&scan, shape, options, &[BODY]))
    };
    let first = with(1, 1);
    for (threads, block_views) in [(2, 1), (1, 8), (2, 16), (3, 61)] {
        assert_eq!(
            first.values,
            with(threads, block_views).values,
            "{threads} threads, blocks of {block_views}"
        );
    }
}

#[test]
fn fdk_of_averaged_rows_finds_the_same_ball_in_the_same_place() {
    let scan = circle_scan(150, 215.0);
    let shape = grid([40, 38, 36], [4.0; 3], Matrix3::identity());
    let options = FdkOptions { rows_averaged: 2, ..FdkOptions::default() };
    let volume = run(&scan, shape, options, &[BODY]);
    let mean = mean_inside(&volume, &BODY, 0.75);
    assert!((mean - BODY.mu_per_mm).abs() < MEAN_TOLERANCE, "{mean}");
    let small = Ball { radius_mm: 4.0, ..BODY };
    let options = FdkOptions { rows_averaged: 2, ..FdkOptions::default() };
    let fine = grid([31, 31, 31], [1.0; 3], Matrix3::identity());
    let fine = fine.transformed(&nalgebra::Translation3::from(small.centre.coords).into());
    let found = centroid(&run(&scan, fine, options, &[small]), &small.centre);
    assert!((found - small.centre).norm() < 0.1, "{found} instead of {}", small.centre);
}

/// Random awkward geometries: unequal pitches, offsets, tilts, flipped axes.
#[test]
fn fdk_puts_a_point_where_it_is_for_ten_awkward_geometries() {
    const VOXEL_MM: f64 = 1.0;
    let mut random = Lehmer(20_261_121);
    for case in 0..10 {
        let grid_px =
            DetectorGrid::new([200, 160], [random.within(0.8, 1.1), random.within(0.7, 1.2)]).unwrap();
        let turn = Rotation3::from_euler_angles(
            random.within(-0.3, 0.3),
            random.within(-0.3, 0.3),
            random.within(-3.0, 3.0),
        );
        let tilt = Rotation3::new(Vector3::from_fn(|_, _| random.within(-0.03, 0.03)));
        let (flip_u, flip_v) = (random.sign(), random.sign());
        let shift = [random.within(-8.0, 8.0), random.within(-8.0, 8.0)];
        let base = oblique_scan(240, 210.0, turn);
        let views = base
            .views()
            .iter()
            .map(|p| {
                let pose = p.detector_pose(base.detector());
                let centre = pose.centre + pose.e_u * shift[0] + pose.e_v * shift[1];
                let (e_u, e_v) = (tilt * pose.e_u * flip_u, tilt * pose.e_v * flip_v);
                ProjectionMatrix::from_pose(&DetectorPose { centre, e_u, e_v, ..pose }, &grid_px).unwrap()
            })
            .collect();
        let scan = ScanGeometry::new(grid_px, views).unwrap();
        let centre = turn * Point3::from(Vector3::from_fn(|_, _| random.within(-18.0, 18.0)));
        let ball = Ball { centre, radius_mm: 3.0, mu_per_mm: 0.05 };
        let near = centre.map(|x| (x / VOXEL_MM).round() * VOXEL_MM);
        let local = VolumeGrid::centred([25, 23, 27], [VOXEL_MM; 3], Matrix3::identity(), near).unwrap();
        for direction in [Matrix3::identity(), *turn.matrix()] {
            let local = VolumeGrid::centred(local.shape, local.spacing_mm, direction, near).unwrap();
            let volume = run(&scan, local, FdkOptions::default(), &[ball]);
            let found = centroid(&volume, &centre);
            let error = (found - centre).norm() / VOXEL_MM;
            assert!(error < 0.05, "case {case}: {error} voxel");
        }
    }
}

/// Centroid of what lies around the place asked for, symmetric about it to first order.
fn centroid(volume: &Volume, near: &Point3<f64>) -> Point3<f64> {
    let mut place = *near;
    for _ in 0..4 {
        let (mut sum, mut weight) = (Vector3::zeros(), 0.0);
        for ((z, y, x), value) in volume.values.indexed_iter() {
            let point = volume.grid.point(x as f64, y as f64, z as f64);
            let distance = (point - place).norm();
            let window = if distance < 7.0 {
                (0.5 + 0.5 * (distance / 7.0 * std::f64::consts::PI).cos()).powi(2)
            } else {
                0.0
            };
            sum += point.coords * window * f64::from(value.max(0.0));
            weight += window * f64::from(value.max(0.0));
        }
        place = Point3::from(sum / weight);
    }
    place
}

/// A small seeded generator for test geometry.
struct Lehmer(u64);

impl Lehmer {
    fn within(&mut self, low: f64, high: f64) -> f64 {
        self.0 = (self.0 as u128 * 48_271 % 0x7fff_ffff) as u64;
        low + (high - low) * self.0 as f64 / f64::from(0x7fff_ffff_u32)
    }

    fn sign(&mut self) -> f64 {
        if self.within(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 }
    }
}

#[test]
fn fdk_continues_a_truncated_body() {
    let wide = Ball { radius_mm: 150.0, ..BODY };
    let scan = circle_scan(150, 210.0);
    let shape = grid([40, 38, 6], [4.0; 3], Matrix3::identity());
    let core = Ball { radius_mm: 80.0, ..BODY };
    let bias = |truncation_water_per_mm| {
        let options = FdkOptions { truncation_water_per_mm, ..FdkOptions::default() };
        mean_inside(&run(&scan, shape, options, &[wide]), &core, 1.0) / BODY.mu_per_mm - 1.0
    };
    let (uncorrected, corrected) = (bias(None), bias(Some(0.02)));
    assert!(uncorrected.abs() > 0.05, "{uncorrected}");
    assert!(corrected.abs() < 0.02, "{corrected}");
}

/// A CT of balls that lies `shift_mm` off along x and reads `gain` times their attenuation.
fn known(balls: &[Ball], shift_mm: f64, gain: f64) -> KnownBody {
    let grid = grid([110, 110, 60], [4.0; 3], Matrix3::identity());
    let shape = (grid.shape[2], grid.shape[1], grid.shape[0]);
    let attenuation_per_mm = Array3::from_shape_fn(shape, |(z, y, x)| {
        let point = grid.point(x as f64, y as f64, z as f64) - Vector3::new(shift_mm, 0.0, 0.0);
        let inside = balls.iter().filter(|ball| (point - ball.centre).norm() < ball.radius_mm);
        (gain * inside.map(|ball| ball.mu_per_mm).sum::<f64>()) as f32
    });
    KnownBody { grid, attenuation_per_mm }
}

#[test]
fn fdk_continues_a_truncated_body_with_a_ct_better_than_with_water() {
    // An arm beside the trunk, outside the field: water knows nothing of it.
    let wide = Ball { radius_mm: 130.0, ..BODY };
    let arm = Ball { centre: Point3::new(165.0, 30.0, 0.0), radius_mm: 40.0, mu_per_mm: 0.04 };
    let scan = circle_scan(150, 210.0);
    let shape = grid([40, 38, 6], [4.0; 3], Matrix3::identity());
    // Where the arm's shadow ends; and the middle.
    let places = [(60.0, 12.0), (-60.0, -12.0), (0.0, 60.0), (0.0, -60.0), (0.0, 0.0)];
    let error = |known_body| {
        let options = FdkOptions { truncation_water_per_mm: Some(0.02), known_body, ..FdkOptions::default() };
        let volume = run(&scan, shape, options, &[wide, arm]);
        let bias = |(x, y)| {
            let place = Ball { centre: Point3::new(x, y, 0.0), radius_mm: 14.0, ..BODY };
            mean_inside(&volume, &place, 1.0) / BODY.mu_per_mm - 1.0
        };
        places.map(bias).into_iter().map(f64::abs).fold(0.0, f64::max)
    };
    let water = error(None);
    let exact = error(Some(Arc::new(known(&[wide, arm], 0.0, 1.0))));
    let off = error(Some(Arc::new(known(&[wide, arm], 3.0, 1.03))));
    assert!(exact < 0.75 * water, "{exact} against {water}");
    assert!(off < 0.95 * water, "{off} against {water}");
    // A CT that ends before the rows do leaves them to water.
    let elsewhere = Ball { centre: Point3::new(0.0, 0.0, 0.0), ..arm };
    assert_eq!(error(Some(Arc::new(known(&[elsewhere], 0.0, 1.0)))), water);
}

#[test]
fn fdk_knows_its_field_of_view() {
    let scan = circle_scan(60, 205.0);
    let detector = detector();
    let volume =
        run(&scan, grid([90, 90, 90], [4.0; 3], Matrix3::identity()), FdkOptions::default(), &[BODY]);
    let bits = volume.mask.as_ref().unwrap();
    // The largest centred cylinder: half the detector seen from the source at the isocenter.
    let half_mm = (detector.nu as f64 - 1.0) / 2.0 * detector.pixel_pitch_u_mm;
    let radius_mm = 785.0 * (half_mm / 1200.0).atan().sin();
    for ((z, y, x), bit) in bits.indexed_iter() {
        let point = volume.grid.point(x as f64, y as f64, z as f64);
        let is_central = point.z.abs() < 60.0;
        if is_central && point.x.hypot(point.y) < radius_mm - 4.0 {
            assert_eq!(bit & mask::FIELD_OF_VIEW, mask::FIELD_OF_VIEW, "{point}");
        }
        if point.x.hypot(point.y) > radius_mm + 40.0 && point.y > 0.0 {
            assert_eq!(bit & mask::FIELD_OF_VIEW, 0, "{point}");
        }
    }
}

/// A circle whose detector is rolled and tilted, as no virtual detector is.
fn rolled_scan() -> ScanGeometry {
    let flat = circle_scan(60, 205.0);
    let views = flat
        .views()
        .iter()
        .map(|p| {
            let (axes, source) = (p.detector_axes(), p.source_position());
            let [u, v] = detector().centre();
            let ray = p.ray(u, v);
            let centre = source + ray / ray.norm() * 1200.0;
            let roll = Rotation3::from_axis_angle(&nalgebra::Unit::new_normalize(centre - source), 0.07);
            let tilt = Rotation3::from_axis_angle(&axes.e_u, 0.1);
            let turn = tilt * roll;
            let (e_u, e_v) = (turn * axes.e_u.into_inner(), turn * axes.e_v.into_inner());
            let pose = DetectorPose { source, centre, e_u, e_v };
            ProjectionMatrix::from_pose(&pose, &detector()).unwrap()
        })
        .collect();
    ScanGeometry::new(detector(), views).unwrap()
}

#[test]
fn fdk_calls_seen_what_every_view_measured() {
    let scan = rolled_scan();
    let (last_u, last_v) = (detector().nu as f64 - 1.0, detector().nv as f64 - 1.0);
    for tilt_rad in [0.0, 0.35] {
        let direction = Rotation3::new(Vector3::new(tilt_rad, 0.0, 0.0)).into_inner();
        let shape = grid([40, 40, 40], [7.0; 3], direction);
        let plan = FdkPlan::new(scan.clone(), shape, FdkOptions::default()).unwrap();
        assert_eq!(plan.has_parallel_columns(), tilt_rad == 0.0);
        let bits = plan.layout.volume_from_columns(&crate::field_of_view::field_of_view(&plan));
        let mut counts = [0; 3];
        for ((z, y, x), bit) in bits.indexed_iter() {
            let point = shape.point(x as f64, y as f64, z as f64);
            let pixels = scan.views().iter().map(|p| p.project(&point));
            let measured =
                pixels.filter(|at| (0.0..=last_u).contains(&at.u) && (0.0..=last_v).contains(&at.v));
            let expected = match measured.count() {
                0 => 0,
                60 => mask::FIELD_OF_VIEW | mask::COVERED,
                _ => mask::COVERED,
            };
            assert_eq!(bit & (mask::FIELD_OF_VIEW | mask::COVERED), expected, "{point}, tilt {tilt_rad}");
            counts[(expected.count_ones()) as usize] += 1;
        }
        assert!(counts.iter().all(|count| *count > 1000), "{counts:?}");
    }
}

/// The largest angle between directions, as lines in the plane of the swing, from which measuring views saw a point.
fn largest_unseen_rad(scan: &ScanGeometry, point: &Point3<f64>) -> f64 {
    let (last_u, last_v) = (detector().nu as f64 - 1.0, detector().nv as f64 - 1.0);
    let sees = |p: &&ProjectionMatrix| {
        let at = p.project(point);
        (0.0..=last_u).contains(&at.u) && (0.0..=last_v).contains(&at.v)
    };
    let line = |p: &ProjectionMatrix| {
        let ray = point - p.source_position();
        ray.y.atan2(ray.x).rem_euclid(PI)
    };
    let mut lines: Vec<f64> = scan.views().iter().filter(sees).map(line).collect();
    lines.sort_by(f64::total_cmp);
    let Some(first) = lines.first().copied() else { return PI };
    lines.push(first + PI);
    lines.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

#[test]
fn fdk_marks_voxels_seen_over_less_than_half_a_turn() {
    let whole = circle_scan(240, 215.0);
    let with_gap = whole.views().iter().enumerate().filter(|(view, _)| !(110..140).contains(view));
    let with_gap = ScanGeometry::new(detector(), with_gap.map(|(_, view)| *view).collect()).unwrap();
    // A step of the scan, and what sets the bit apart: the distance of the asked views, twice where a voxel leaves the
    // view, and a step at the ends.
    let (surely_seen, surely_not) = (0.02, [0.16, 0.09]);
    // Pieces of an oblique column, 72 mm here, are taken to be seen from the same directions.
    let of_pieces = 0.04;
    for (name, scan, expected) in [
        ("short", whole, [0.0, 0.0]),
        ("limited", circle_scan(240, 150.0), [1.0, 1.0]),
        ("in part limited", circle_scan(240, 176.0), [0.2, 0.9]),
        ("gap", with_gap, [0.9, 1.0]),
    ] {
        for tilt_rad in [0.0, 0.35] {
            let shape =
                grid([24, 22, 20], [9.0; 3], Rotation3::new(Vector3::new(tilt_rad, 0.0, 0.0)).into_inner());
            let options = FdkOptions { limited_angle: true, ..FdkOptions::default() };
            let plan = FdkPlan::new(scan.clone(), shape, options).unwrap();
            let bits = plan.layout.volume_from_columns(&crate::field_of_view::field_of_view(&plan));
            let (mut seen, mut limited) = (0, 0);
            for ((z, y, x), bits) in bits.indexed_iter() {
                let point = shape.point(x as f64, y as f64, z as f64);
                if bits & mask::COVERED == 0 {
                    assert_eq!(bits & mask::LIMITED_ANGLE, 0, "{name}: {point}");
                    continue;
                }
                let unseen_rad = largest_unseen_rad(&scan, &point);
                let is_in_field = bits & mask::FIELD_OF_VIEW != 0;
                if unseen_rad < surely_seen && (tilt_rad == 0.0 || name == "short") {
                    assert_eq!(
                        bits & mask::LIMITED_ANGLE,
                        0,
                        "{name}, tilt {tilt_rad}, {point}: {unseen_rad}"
                    );
                } else if unseen_rad
                    > surely_not[usize::from(is_in_field)] + if tilt_rad == 0.0 { 0.0 } else { of_pieces }
                {
                    assert_ne!(
                        bits & mask::LIMITED_ANGLE,
                        0,
                        "{name}, tilt {tilt_rad}, {point}: {unseen_rad}"
                    );
                }
                if is_in_field {
                    seen += 1;
                    limited += usize::from(bits & mask::LIMITED_ANGLE != 0);
                }
            }
            let share = limited as f64 / f64::from(seen);
            assert!((expected[0]..=expected[1]).contains(&share), "{name}, tilt {tilt_rad}: {share}");
        }
    }
}

/// A body that is wider than the field below z = 0 and narrow above.
#[test]
fn fdk_marks_what_depends_on_continued_rows() {
    let scan = circle_scan(120, 210.0);
    let shape = grid([30, 28, 40], [5.0; 3], Matrix3::identity());
    let options = FdkOptions { truncation_water_per_mm: Some(0.02), ..FdkOptions::default() };
    let plan = Arc::new(FdkPlan::new(scan.clone(), shape, options).unwrap());
    let detector = detector();
    let cut_from = 70;
    let stack = Array3::from_shape_fn((120, detector.nv, detector.nu), |(_, v, u)| {
        let is_inside = v >= cut_from || (40..110).contains(&u);
        if is_inside { 3.0 } else { 0.0 }
    });
    let volume = crate::reconstruct_stack(plan, stack.view(), &mut crate::Silent).unwrap();
    let bits = volume.mask.as_ref().unwrap();
    // Edges are smoothed over 6 rows, so that the first continued row lies a few before the first cut one.
    let (surely_not, surely) = (cut_from as f64 - 8.0, cut_from as f64);
    let mut counts = [0; 2];
    for ((z, y, x), bits) in bits.indexed_iter() {
        let point = shape.point(x as f64, y as f64, z as f64);
        if bits & mask::FIELD_OF_VIEW == 0 {
            continue;
        }
        let rows = scan.views().iter().map(|p| p.project(&point).v);
        let lowest = rows.fold(f64::NEG_INFINITY, f64::max);
        if lowest > surely {
            assert_eq!(bits & mask::EXTRAPOLATED, mask::EXTRAPOLATED, "{point}: {lowest}");
            counts[1] += 1;
        } else if lowest < surely_not {
            assert_eq!(bits & mask::EXTRAPOLATED, 0, "{point}: {lowest}");
            counts[0] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 3000), "{counts:?}");
    let told = volume.provenance.stages.iter().find(|stage| stage.name == "masks").unwrap();
    let extrapolated = bits.iter().filter(|bits| **bits & mask::EXTRAPOLATED != 0).count();
    assert_eq!(told.parameters["extrapolated"], extrapolated.to_string());
}

#[test]
fn fdk_refuses_what_it_cannot_use() {
    let scan = circle_scan(60, 205.0);
    let shape = grid([8, 8, 8], [4.0; 3], Matrix3::identity());
    let short = circle_scan(60, 150.0);
    let error = FdkPlan::new(short, shape, FdkOptions::default()).err().unwrap();
    assert!(matches!(error, ReconstructError::ArcTooShort { views: 60, .. }), "{error}");

    let plan = Arc::new(FdkPlan::new(scan.clone(), shape, FdkOptions::default()).unwrap());
    let mut fdk = Fdk::new(Arc::clone(&plan));
    let mut samples = vec![0.0_f32; detector().pixel_count()];
    let p = scan.views()[0];
    let push = |fdk: &mut Fdk, p, samples: &[f32]| {
        let input = ViewInput { projection_matrix: p, samples: Samples::LineIntegrals(samples) };
        fdk.push(input, &mut Silent)
    };
    let size = push(&mut fdk, p, &samples[1..]).unwrap_err();
    assert!(matches!(size, ReconstructError::ViewSize { view: 0, .. }), "{size}");
    samples[155] = f32::NAN;
    let nan = push(&mut fdk, p, &samples).unwrap_err();
    assert!(matches!(nan, ReconstructError::NotFinite { u: 1, v: 1, .. }), "{nan}");
    samples[155] = 0.0;
    let far = p.for_space(&nalgebra::Isometry3::translation(300.0, 0.0, 0.0));
    let off = push(&mut fdk, far, &samples).unwrap_err();
    assert!(matches!(off, ReconstructError::OffOrbit { .. }), "{off}");
    for p in &scan.views()[..40] {
        push(&mut fdk, *p, &samples).unwrap();
    }
    let cut = fdk.finish(&mut Silent).unwrap_err();
    assert!(matches!(cut, ReconstructError::SweepCutShort { .. }), "{cut}");
}

#[test]
fn fdk_survives_missing_views_and_a_gap() {
    let scan = circle_scan(240, 210.0);
    let shape = grid([40, 38, 20], [4.0; 3], Matrix3::identity());
    let stack = project(&scan, &[BODY]);
    let plan = Arc::new(FdkPlan::new(scan.clone(), shape, FdkOptions::default()).unwrap());
    let mut fdk = Fdk::new(Arc::clone(&plan));
    for (view, (p, samples)) in scan.views().iter().zip(stack.outer_iter()).enumerate() {
        if view % 97 == 5 || (120..130).contains(&view) {
            continue;
        }
        let samples = Samples::LineIntegrals(samples.as_slice().unwrap());
        fdk.push(ViewInput { projection_matrix: *p, samples }, &mut Silent).unwrap();
    }
    let volume = fdk.finish(&mut Silent).unwrap();
    let mean = mean_inside(&volume, &BODY, 0.8);
    assert!((mean - BODY.mu_per_mm).abs() < MEAN_TOLERANCE, "{mean}");
    assert!(
        volume.provenance.warnings.iter().any(|w| w.contains("13 of 240")),
        "{:?}",
        volume.provenance.warnings
    );
}

/// A body with a lung under its dome and a piece of bone: strong edges above and below the plane of the orbit.
const CHEST: [Ball; 3] = [
    Ball { centre: Point3::new(4.0, -3.0, 2.0), radius_mm: 85.0, mu_per_mm: 0.02 },
    Ball { centre: Point3::new(-20.0, 8.0, 52.0), radius_mm: 32.0, mu_per_mm: -0.015 },
    Ball { centre: Point3::new(35.0, 20.0, 30.0), radius_mm: 12.0, mu_per_mm: 0.02 },
];

/// The first version of the chest, of the views that `keep` says came, and what makes the second of it.
fn first_version(
    scan: &ScanGeometry,
    shape: VolumeGrid,
    keep: impl Fn(usize) -> bool,
) -> (Volume, SecondPass) {
    let stack = project(scan, &CHEST);
    let plan = Arc::new(FdkPlan::new(scan.clone(), shape, FdkOptions::default()).unwrap());
    let mut fdk = Fdk::new(plan);
    for (view, (p, samples)) in scan.views().iter().zip(stack.outer_iter()).enumerate() {
        if keep(view) {
            let samples = Samples::LineIntegrals(samples.as_slice().unwrap());
            fdk.push(ViewInput { projection_matrix: *p, samples }, &mut Silent).unwrap();
        }
    }
    fdk.finish_first_pass(&mut Silent).unwrap()
}

fn two_versions(scan: &ScanGeometry, shape: VolumeGrid, keep: impl Fn(usize) -> bool) -> [Volume; 2] {
    let (first, second_pass) = first_version(scan, shape, keep);
    let mut second = first.clone();
    second_pass.refine(&mut second, 0.02, &mut || true, &mut Silent).unwrap();
    [first, second]
}

/// Root mean square difference from `truth` in the field of view, away from surfaces.
fn rms_error(volume: &Volume, truth: impl Fn(usize, usize, usize, &Point3<f64>) -> f64) -> f64 {
    let bits = volume.mask.as_ref().unwrap();
    let (mut sum, mut count) = (0.0, 0.0);
    for (at @ (z, y, x), value) in volume.values.indexed_iter() {
        let point = volume.grid.point(x as f64, y as f64, z as f64);
        let is_near_surface =
            CHEST.iter().any(|ball| ((point - ball.centre).norm() - ball.radius_mm).abs() < 8.0);
        if bits[at] & mask::FIELD_OF_VIEW != 0 && !is_near_surface {
            sum += (f64::from(*value) - truth(z, y, x, &point)).powi(2);
            count += 1.0;
        }
    }
    assert!(count > 1000.0);
    f64::sqrt(sum / count)
}

fn chest_mu(point: &Point3<f64>) -> f64 {
    let inside = CHEST.iter().filter(|ball| (point - ball.centre).norm() < ball.radius_mm);
    inside.map(|ball| ball.mu_per_mm).sum()
}

#[test]
fn second_pass_stops_when_told() {
    let scan = circle_scan(150, 215.0);
    let shape = grid([60, 60, 48], [4.0; 3], Matrix3::identity());
    // While views are predicted, and while the cone-beam artefact is estimated.
    for (missing, at) in [(70..74, 3), (0..0, 5)] {
        let (mut volume, second_pass) = first_version(&scan, shape, |view| !missing.contains(&view));
        let mut asked = 0;
        let mut goes_on = || {
            asked += 1;
            asked < at
        };
        let told = second_pass.refine(&mut volume, 0.02, &mut goes_on, &mut Silent);
        assert!(matches!(told, Err(ReconstructError::Cancelled)), "{told:?}");
        assert_eq!(asked, at);
    }
}

#[test]
fn second_pass_takes_the_cone_beam_artefact_away() {
    let scan = circle_scan(150, 215.0);
    let shape = grid([60, 60, 48], [4.0; 3], Matrix3::identity());
    let [first, second] = two_versions(&scan, shape, |_| true);
    let [before, after] = [&first, &second].map(|volume| rms_error(volume, |_, _, _, point| chest_mu(point)));
    println!("{:.1} HU before, {:.1} HU after", before / 2e-5, after / 2e-5);
    assert!(after < 0.7 * before, "{before} before, {after} after");
    assert!(second.provenance.stages.iter().any(|stage| stage.name == "cone-beam-artefact"));
}

#[test]
fn second_pass_predicts_lost_views() {
    let scan = circle_scan(240, 210.0);
    let shape = grid([60, 60, 24], [4.0; 3], Matrix3::identity());
    let [_, all] = two_versions(&scan, shape, |_| true);
    let [first, second] = two_versions(&scan, shape, |view| view != 40 && !(120..130).contains(&view));
    let [before, after] =
        [&first, &second].map(|volume| rms_error(volume, |z, y, x, _| f64::from(all.values[(z, y, x)])));
    println!("{:.1} HU before, {:.1} HU after", before / 2e-5, after / 2e-5);
    assert!(after < 0.5 * before, "{before} before, {after} after");
    assert!(second.provenance.warnings.iter().any(|w| w.contains("11 missing views were predicted")));
}

#[test]
fn fdk_makes_the_same_volume_in_slabs() {
    let about_x = Rotation3::from_axis_angle(&Vector3::x_axis(), std::f64::consts::FRAC_PI_2);
    // Columns along z, along y, and oblique.
    let upright = circle_scan(60, 205.0);
    let lying = oblique_scan(60, 205.0, about_x);
    let tilted = Rotation3::from_axis_angle(&Vector3::x_axis(), 0.35).into_inner();
    for (scan, direction) in
        [(&upright, Matrix3::identity()), (&lying, Matrix3::identity()), (&upright, tilted)]
    {
        let shape = grid([30, 26, 22], [6.0; 3], direction);
        let whole = run(scan, shape, FdkOptions::default(), &[BODY]);
        let stack = project(scan, &[BODY]);
        let plan = FdkPlan::new(scan.clone(), shape, FdkOptions::default()).unwrap();
        // Room for ten planes at most.
        let slabs = plan.slabs(plan.bytes_of_views() + 9 * 10 * 30 * 22).unwrap();
        assert!(slabs.len() > 1, "{}", slabs.len());
        let mut seen = 0;
        for slab in slabs {
            let part = reconstruct_stack(slab.plan, stack.view(), &mut Silent).unwrap();
            let [x, y, z] = slab.first_voxel;
            for ((dz, dy, dx), value) in part.values.indexed_iter() {
                let at = (z + dz, y + dy, x + dx);
                assert_eq!(value.to_bits(), whole.values[at].to_bits());
                assert_eq!(part.mask.as_ref().unwrap()[(dz, dy, dx)], whole.mask.as_ref().unwrap()[at]);
                let there = part.grid.point(dx as f64, dy as f64, dz as f64);
                let expected = shape.point(at.2 as f64, at.1 as f64, at.0 as f64);
                assert!((there - expected).norm() < 1e-9);
                seen += 1;
            }
        }
        assert_eq!(seen, whole.values.len());
        let error = plan.slabs(1000).err().unwrap().to_string();
        assert!(error.contains("memory"), "{error}");
    }
}

/// A sweep whose detector looks past the axis by `shift_mm` along its rows, the last view first where `is_back`.
fn shifted_sweep(shift_mm: f64, is_back: bool) -> ScanGeometry {
    let centred = circle_scan(150, 212.0);
    let mut views: Vec<ProjectionMatrix> = centred
        .views()
        .iter()
        .map(|p| {
            let (axes, source) = (p.detector_axes(), p.source_position());
            let [u, v] = detector().centre();
            let (e_u, e_v) = (axes.e_u.into_inner(), axes.e_v.into_inner());
            let ray = p.ray(u, v);
            let centre = source + ray / ray.norm() * 1200.0 + e_u * shift_mm;
            ProjectionMatrix::from_pose(&DetectorPose { source, centre, e_u, e_v }, &detector()).unwrap()
        })
        .collect();
    if is_back {
        views.reverse();
    }
    ScanGeometry::new(detector(), views).unwrap()
}

/// Each detector reaches 40 mm over the axis; the body needs nearly four times that on either side.
#[test]
fn fdk_joins_two_sweeps_with_offset_detectors() {
    let wide = Ball { centre: Point3::new(4.0, -3.0, 2.0), radius_mm: 150.0, mu_per_mm: 0.02 };
    let shape = grid([84, 84, 4], [4.0; 3], Matrix3::identity());
    for is_back in [false, true] {
        let scans = [shifted_sweep(130.0, false), shifted_sweep(-130.0, is_back)];
        let options = FdkOptions::default();
        let alone = FdkPlan::new(scans[0].clone(), shape, options.clone());
        assert!(matches!(alone.err(), Some(ReconstructError::RaysUnmeasured { .. })));
        let plans = FdkPlan::for_two_sweeps(scans.clone(), shape, &options).unwrap();
        let mut volumes = plans.into_iter().zip(&scans).map(|(plan, scan)| {
            reconstruct_stack(Arc::new(plan), project(scan, &[wide]).view(), &mut Silent).unwrap()
        });
        let mut volume = volumes.next().unwrap();
        add_second_sweep(&mut volume, &volumes.next().unwrap());
        let mut shells = [(0.0, 0.0); 14];
        for ((z, y, x), value) in volume.values.indexed_iter() {
            let from_centre = (volume.grid.point(x as f64, y as f64, z as f64) - wide.centre).norm();
            if from_centre < 140.0 {
                assert_eq!(
                    volume.mask.as_ref().unwrap()[(z, y, x)] & mask::FIELD_OF_VIEW,
                    mask::FIELD_OF_VIEW
                );
                let shell = &mut shells[(from_centre / 10.0) as usize];
                *shell = (shell.0 + f64::from(*value), shell.1 + 1.0);
            }
        }
        for (shell, (sum, count)) in shells.into_iter().enumerate().filter(|(_, (_, count))| *count > 0.0) {
            let error = sum / count / wide.mu_per_mm - 1.0;
            assert!(error.abs() < 0.01, "{} mm from the centre, back: {is_back}: {error}", shell * 10);
        }
        let one_sided = [scans[0].clone(), scans[0].clone()];
        let error = FdkPlan::for_two_sweeps(one_sided, shape, &options).err().unwrap();
        assert!(matches!(error, ReconstructError::RaysUnmeasured { .. }), "{error}");
    }
}
