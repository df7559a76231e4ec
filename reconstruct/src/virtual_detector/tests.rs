//! One body for both kernels, and the geometry of the virtual detector itself.

use super::*;
use crate::test_scans::{circle_scan, detector};
use carm::{DetectorPose, ScanGeometry};
use nalgebra::Rotation3;

/// `f32` coordinates' fractions and sums of 16 taps, relative to values of order one.
const F32_TAPS_TOLERANCE: f32 = 2e-5;

type Kernel = fn(&VirtualView, &DetectorGrid, &[f32], usize, &mut [f32]) -> MeasuredSpan;
const KERNELS: [(&str, Kernel); 2] = [("reference", resample_row_reference), ("cpu", resample_row)];

fn tilted_scan() -> ScanGeometry {
    let circle = circle_scan(60, 220.0);
    let views = circle
        .views()
        .iter()
        .map(|p| {
            let pose = p.detector_pose(circle.detector());
            let normal = pose.e_u.cross(&pose.e_v);
            let turn = Rotation3::new(normal * 0.03 + pose.e_u * 0.04 - pose.e_v * 0.02);
            let tilted = DetectorPose { e_u: turn * pose.e_u, e_v: turn * pose.e_v, ..pose };
            ProjectionMatrix::from_pose(&tilted, circle.detector()).unwrap()
        })
        .collect();
    ScanGeometry::new(*circle.detector(), views).unwrap()
}

fn view_of(scan: &ScanGeometry, index: usize) -> (VirtualView, VirtualGrid) {
    let orbit = Orbit::fit(scan.views()).unwrap();
    let grid = VirtualGrid::covering(scan, &orbit, &Vector3::z());
    (VirtualView::new(&scan.views()[index], scan.detector(), grid, &orbit, &Vector3::z()), grid)
}

/// Fills an image with a function of the ray's direction, which both detectors must agree on.
fn ray_image(p: &ProjectionMatrix, grid: &DetectorGrid) -> Vec<f32> {
    (0..grid.pixel_count()).map(|i| ray_value(&p.ray((i % grid.nu) as f64, (i / grid.nu) as f64))).collect()
}

fn ray_value(ray: &Vector3<f64>) -> f32 {
    let d = ray / ray.norm();
    ((9.0 * d.x).sin() + (7.0 * d.y + 11.0 * d.z).cos()) as f32
}

#[test]
fn virtual_detector_of_an_ideal_circle_copies_pixels() {
    let scan = circle_scan(60, 220.0);
    let (view, grid) = view_of(&scan, 17);
    assert_eq!(grid, VirtualGrid { nu: detector().nu, nv: detector().nv, before_u: 0, after_u: 0 });
    let alignment = view.alignment.expect("an ideal circle needs no interpolation");
    assert_eq!(
        (alignment.u_step, alignment.v_step),
        (1, -1),
        "rows run to the feet, columns of voxels to the head"
    );
    let image: Vec<f32> = (0..detector().pixel_count()).map(|i| i as f32).collect();
    for (name, kernel) in KERNELS {
        let mut row = vec![f32::NAN; grid.nu];
        let span = kernel(&view, scan.detector(), &image, 5, &mut row);
        assert_eq!(span, MeasuredSpan { start: 0, end: grid.nu }, "{name}");
        let real_row = detector().nv - 1 - 5;
        for (u, value) in row.iter().enumerate() {
            assert!((value - (real_row * detector().nu + u) as f32).abs() < 0.01, "{name} {u}");
        }
    }
}

#[test]
fn virtual_detector_keeps_every_ray_of_a_tilted_one() {
    let scan = tilted_scan();
    let (view, grid) = view_of(&scan, 23);
    assert!(view.alignment.is_none() && grid.nu > detector().nu && grid.nv > detector().nv);
    let image = ray_image(&scan.views()[23], scan.detector());
    let inverse = view.p.fixed_columns::<3>(0).into_owned().try_inverse().unwrap();
    for (name, kernel) in KERNELS {
        let mut row = vec![f32::NAN; grid.nu];
        for v in [0, 3, grid.nv / 2, grid.nv - 1] {
            let span = kernel(&view, scan.detector(), &image, v, &mut row);
            for (u, &found) in row.iter().enumerate() {
                if u < span.start || u >= span.end {
                    assert_eq!(found, 0.0, "{name}");
                    continue;
                }
                let expected = ray_value(&(inverse * Vector3::new(u as f64, v as f64, 1.0)));
                let is_border = u < span.start + 3 || u + 3 >= span.end || !(4..grid.nv - 12).contains(&v);
                let tolerance = if is_border { 0.05 } else { 1e-4 };
                assert!((found - expected).abs() < tolerance, "{name} u {u} v {v}: {found} {expected}");
            }
        }
    }
}

#[test]
fn virtual_detector_cpu_equals_reference() {
    let scan = tilted_scan();
    for index in [0, 11, 59] {
        let (view, grid) = view_of(&scan, index);
        let image = ray_image(&scan.views()[index], scan.detector());
        for v in 0..grid.nv {
            let (mut fast, mut exact) = (vec![f32::NAN; grid.nu], vec![f32::NAN; grid.nu]);
            let fast_span = resample_row(&view, scan.detector(), &image, v, &mut fast);
            let exact_span = resample_row_reference(&view, scan.detector(), &image, v, &mut exact);
            assert_eq!(fast_span, exact_span);
            for (a, b) in fast.iter().zip(&exact) {
                assert!((a - b).abs() <= F32_TAPS_TOLERANCE, "row {v}: {a} {b}");
            }
        }
    }
}

#[test]
fn virtual_detector_columns_are_parallel_to_the_asked_axis() {
    let (view, _) = view_of(&tilted_scan(), 31);
    // A step along z moves v only: rows 0 and 2 of P have no z component.
    assert!(view.p[(0, 2)].abs() < 1e-9 && view.p[(2, 2)].abs() < 1e-12);
    assert!(view.p[(1, 2)] > 0.0, "v increases with the column axis");
}
