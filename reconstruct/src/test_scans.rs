//! Scans that several tests share.

use carm::converters::carm_pose;
use carm::{CarmAngles, CarmDistances, DetectorGrid, DetectorPose, ProjectionMatrix, ScanGeometry};
use nalgebra::Rotation3;

/// Small detector with the fan of the spine protocol.
pub fn detector() -> DetectorGrid {
    DetectorGrid::new([154, 120], [2.464, 2.464]).unwrap()
}

/// An ideal circle of `count` views over `arc_deg` degrees, first to last.
pub fn circle_scan(count: usize, arc_deg: f64) -> ScanGeometry {
    oblique_scan(count, arc_deg, Rotation3::identity())
}

/// The circle of [`circle_scan`] turned as a whole.
pub fn oblique_scan(count: usize, arc_deg: f64, turn: Rotation3<f64>) -> ScanGeometry {
    let views = (0..count)
        .map(|view| {
            let degrees = arc_deg * (view as f64 / (count - 1) as f64 - 0.5);
            let angles = CarmAngles { primary_rad: degrees.to_radians(), secondary_rad: 0.0 };
            let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
            let pose = carm_pose(angles, distances).unwrap();
            let pose = DetectorPose {
                source: turn * pose.source,
                centre: turn * pose.centre,
                e_u: turn * pose.e_u,
                e_v: turn * pose.e_v,
            };
            ProjectionMatrix::from_pose(&pose, &detector()).unwrap()
        })
        .collect();
    ScanGeometry::new(detector(), views).unwrap()
}
