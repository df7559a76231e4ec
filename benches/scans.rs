//! Scans that the benches share, at the sizes of real C-arms.

use carm::converters::carm_pose;
use carm::{
    CarmAngles, CarmDistances, DetectorGrid, DetectorPose, ProjectionMatrix, ScanGeometry, VolumeGrid,
};
use nalgebra::{Matrix3, Point3, Rotation3};

/// The binned panel of a spine spin: 616x480 pixels of 0.616 mm.
///
/// # Panics
/// Never: the sizes are constants.
pub fn panel() -> DetectorGrid {
    DetectorGrid::new([616, 480], [0.616, 0.616]).expect("constant sizes")
}

/// `count` views over 200 degrees, source to isocenter 785 mm, to detector 1200 mm. `tilt_rad` rolls the detector, as
/// a real arm does, so that views need the virtual detector's interpolation.
///
/// # Panics
/// When `count` is below two.
pub fn spine_scan(count: usize, tilt_rad: f64) -> ScanGeometry {
    assert!(count >= 2, "a sweep has at least two views");
    let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
    let views = (0..count)
        .map(|view| {
            let primary_rad = (200.0 * view as f64 / (count - 1) as f64 - 100.0).to_radians();
            let pose = carm_pose(CarmAngles { primary_rad, secondary_rad: 0.0 }, distances)
                .expect("constant distances");
            let roll = Rotation3::new(pose.e_u.cross(&pose.e_v) * tilt_rad);
            let pose = DetectorPose { e_u: roll * pose.e_u, e_v: roll * pose.e_v, ..pose };
            ProjectionMatrix::from_pose(&pose, &panel()).expect("an orthonormal pose")
        })
        .collect();
    ScanGeometry::new(panel(), views).expect("one handedness")
}

/// A cube of `n` voxels a side around the isocenter.
///
/// # Panics
/// When `n` is zero.
pub fn cube(n: usize, voxel_mm: f64) -> VolumeGrid {
    VolumeGrid::centred([n; 3], [voxel_mm; 3], Matrix3::identity(), Point3::origin()).expect("a cube")
}

/// Samples without structure that a kernel could profit from.
pub fn noise(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}
