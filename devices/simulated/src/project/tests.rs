use super::reference::line_integrals;
use super::*;
use crate::random::{Purpose, Stream};

/// A smooth body on an oblique, mirrored, anisotropic grid, with awkward sizes.
fn smooth_body() -> VoxelBody {
    let shape = [33, 47, 29];
    let spacing = Vector3::new(1.5, 1.1, 2.5);
    let mut turn = *nalgebra::Rotation3::from_euler_angles(0.2, -0.1, 0.4).matrix();
    turn.set_column(1, &-turn.column(1));
    let lps_from_voxel = turn * Matrix3::from_diagonal(&spacing);
    let centre = Vector3::new(16.0, 23.0, 14.0);
    let mut values = vec![Lanes::default(); 33 * 47 * 29];
    for i in 1..32 {
        for j in 1..46 {
            for k in 1..28 {
                let r = (Vector3::new(i as f64, j as f64, k as f64) - centre).component_mul(&spacing);
                let bump = |sigma: f64| (-r.norm_squared() / (2.0 * sigma * sigma)).exp() as f32;
                values[(i * 47 + j) * 29 + k] = Lanes([bump(9.0), 0.3 * bump(6.0), 0.01 * bump(7.0), 0.0]);
            }
        }
    }
    VoxelBody {
        shape,
        values,
        voxel_from_lps: lps_from_voxel.try_inverse().unwrap(),
        origin_lps: Point3::new(12.0, -7.0, 30.0) - lps_from_voxel * centre,
    }
}

/// Joseph samples once a plane; on a body of 6 mm detail at 1-2.5 mm voxels that agrees with fine sampling to this
/// share of the largest integral.
const JOSEPH_TOLERANCE: f64 = 4e-3;

#[test]
fn projector_agrees_with_fine_sampling_from_all_sides() {
    let body = smooth_body();
    let middle = Point3::new(12.0, -7.0, 30.0);
    let mut stream = Stream::new(7, 0, 0, Purpose::Tremor);
    for ray in 0..60 {
        let from = Vector3::from_fn(|_, _| stream.normal());
        let source = middle + from * (300.0 / from.norm());
        let aim = middle + Vector3::from_fn(|_, _| 12.0 * (stream.uniform() - 0.5));
        let direction = (aim - source) * 0.37;
        let fast = body.line_integrals(&source, &direction);
        let exact = line_integrals(&body, &source, &direction, 600.0, 0.05);
        for lane in 0..3 {
            let scale = [22.0, 4.5, 0.17][lane];
            let off = (f64::from(fast[lane]) - exact[lane]).abs() / scale;
            assert!(off < JOSEPH_TOLERANCE, "ray {ray} lane {lane}: {} {}", fast[lane], exact[lane]);
        }
        assert_eq!(fast[3], 0.0);
    }
}

#[test]
fn projector_ray_along_a_row_sums_that_row() {
    let mut body = VoxelBody {
        shape: [6, 5, 4],
        values: vec![Lanes::default(); 120],
        voxel_from_lps: Matrix3::from_diagonal(&Vector3::new(0.5, 1.0, 1.0)),
        origin_lps: Point3::origin(),
    };
    for i in 1..5 {
        body.values[(i * 5 + 2) * 4 + 1] = Lanes([i as f32, 0.0, 0.0, 0.0]);
    }
    let along_i = body.line_integrals(&Point3::new(-50.0, 2.0, 1.0), &Vector3::x());
    assert!((along_i[0] - 2.0 * 10.0).abs() < 1e-4, "{along_i:?}");
    let backwards = body.line_integrals(&Point3::new(50.0, 2.0, 1.0), &-Vector3::x());
    assert!((backwards[0] - 20.0).abs() < 1e-4);
    let half_beside = body.line_integrals(&Point3::new(-50.0, 2.5, 1.0), &Vector3::x());
    assert!((half_beside[0] - 10.0).abs() < 1e-4);
    let along_k = body.line_integrals(&Point3::new(6.0, 2.0, -9.0), &Vector3::z());
    assert!((along_k[0] - 3.0).abs() < 1e-4, "{along_k:?}");
}

#[test]
fn projector_ray_beside_the_body_is_zero() {
    let body = smooth_body();
    assert_eq!(body.line_integrals(&Point3::new(400.0, 0.0, 0.0), &Vector3::y()), [0.0; 4]);
    assert_eq!(body.line_integrals(&Point3::new(0.0, 0.0, 300.0), &Vector3::x()), [0.0; 4]);
}

/// Two orders of the same `f32` sums over some fifty planes.
const ROUNDING: f32 = 1e-5;

#[test]
fn projector_wide_walk_agrees_with_the_plain_one() {
    let body = smooth_body();
    let middle = Point3::new(12.0, -7.0, 30.0);
    let mut stream = Stream::new(8, 0, 0, Purpose::Tremor);
    let mut compared = 0;
    for _ in 0..100 {
        let from = Vector3::from_fn(|_, _| stream.normal());
        let direction = -from + Vector3::from_fn(|_, _| 0.02 * stream.normal());
        let source = middle + from * (300.0 / from.norm());
        let start = body.voxel(&source);
        let march = body.march(start, &direction);
        if march.planes == 0 || march.b.stride != 1 {
            continue;
        }
        compared += 1;
        let (plain, mut chosen) = (body.walk_contiguous(&march), [Lanes::default()]);
        body.walk(&[march], &mut chosen);
        for lane in 0..4 {
            let off = (plain.0[lane] - chosen[0].0[lane]).abs();
            assert!(off <= ROUNDING * plain.0[0].max(1e-3), "{plain:?} {chosen:?}");
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn projector_bundle_is_its_rays_one_by_one() {
    let body = smooth_body();
    let source = Point3::new(12.0, -320.0, 31.0);
    // Forty rays: some beside the body, some along its edge, and more than walk together.
    let directions: Vec<_> = (0..40).map(|n| Vector3::new(0.02, 1.0, 0.02 * f64::from(n) - 0.4)).collect();
    let mut together = vec![[f32::NAN; 4]; 40];
    body.bundle(&source, &directions, &mut together);
    for (direction, together) in directions.iter().zip(&together) {
        assert_eq!(body.line_integrals(&source, direction), *together);
    }
    assert!(together.iter().any(|sums| sums[0] > 10.0) && together.contains(&[0.0; 4]));
}
