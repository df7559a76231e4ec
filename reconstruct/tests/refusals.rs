//! Scans that cannot be: each ends with an error that says what was expected, what was found, and where.

use carm::{DetectorGrid, DetectorPose, GeometryError, ProjectionMatrix, ScanGeometry, VolumeGrid};
use nalgebra::{Matrix3, Point3, Vector3};
use ndarray::Array3;
use reconstruct::consistency::check_consistency;
use reconstruct::{FdkOptions, FdkPlan, ReconstructError, Silent, reconstruct_stack};
use std::sync::Arc;

fn detector() -> DetectorGrid {
    DetectorGrid::new([20, 16], [12.0; 2]).unwrap()
}

fn view(source: Point3<f64>, detector: &DetectorGrid) -> ProjectionMatrix {
    let ray = -source.coords / source.coords.norm();
    let e_v = Vector3::z();
    let pose = DetectorPose { source, centre: source + ray * 1200.0, e_u: e_v.cross(&ray), e_v };
    ProjectionMatrix::from_pose(&pose, detector).unwrap()
}

fn on_circle(degrees: f64) -> Point3<f64> {
    let angle = degrees.to_radians();
    Point3::new(785.0 * angle.cos(), 785.0 * angle.sin(), 0.0)
}

fn grid() -> VolumeGrid {
    VolumeGrid::centred([8; 3], [6.0; 3], Matrix3::identity(), Point3::origin()).unwrap()
}

fn plan(sources: &[Point3<f64>]) -> Result<FdkPlan, ReconstructError> {
    let detector = detector();
    let views = sources.iter().map(|source| view(*source, &detector)).collect();
    FdkPlan::new(ScanGeometry::new(detector, views).unwrap(), grid(), FdkOptions::default())
}

#[test]
fn single_view_is_refused() {
    let error = plan(&[on_circle(0.0)]).err().unwrap();
    assert!(matches!(error, ReconstructError::TooFewViews { needed: 3, found: 1 }), "{error}");
}

#[test]
fn sources_on_one_line_are_refused() {
    let sources: Vec<_> = (0..12).map(|i| Point3::new(-785.0, 40.0 * f64::from(i) - 220.0, 0.0)).collect();
    let error = plan(&sources).err().unwrap();
    assert!(matches!(error, ReconstructError::NoArc { extent_mm } if extent_mm < 1e-3), "{error}");
}

#[test]
fn zero_sized_detectors_and_volumes_are_refused() {
    for size in [[0, 16], [20, 0]] {
        assert!(DetectorGrid::new(size, [1.0; 2]).is_err(), "{size:?}");
    }
    for shape in [[0, 8, 8], [8, 0, 8], [8, 8, 0]] {
        let refused = VolumeGrid::centred(shape, [1.0; 3], Matrix3::identity(), Point3::origin());
        assert!(refused.is_err(), "{shape:?}");
    }
    assert!(matches!(ScanGeometry::new(detector(), Vec::new()), Err(GeometryError::NoViews)));
}

#[test]
fn samples_that_are_no_numbers_are_refused_with_their_place() {
    let sources: Vec<_> = (0..13).map(|i| on_circle(18.0 * f64::from(i))).collect();
    let plan = Arc::new(plan(&sources).unwrap());
    let mut stack = Array3::zeros((13, 16, 20));
    for bad in [f32::NAN, f32::INFINITY] {
        stack[(4, 3, 7)] = bad;
        let error = reconstruct_stack(Arc::clone(&plan), stack.view(), &mut Silent).unwrap_err();
        assert!(matches!(error, ReconstructError::NotFinite { view: 4, u: 7, v: 3, .. }), "{error}");
        let views = sources.iter().map(|source| view(*source, &detector())).collect();
        let scan = ScanGeometry::new(detector(), views).unwrap();
        let error = check_consistency(&scan, stack.view(), 0.02, &mut |_, _| true).unwrap_err();
        assert!(matches!(error, ReconstructError::NotFinite { view: 4, u: 7, v: 3, .. }), "{error}");
    }
}
