//! Other people's geometry, turned into projection matrices (and back where they need it).

use crate::error::{GeometryError, require_positive};
use crate::grid::DetectorGrid;
use crate::projection::{DetectorPose, ProjectionMatrix};
use nalgebra::{Point3, Rotation3, Vector3};

/// DICOM positioner angles (PS3.3 C.8.7.5): LAO and cranial positive, radians.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CarmAngles {
    /// (0018,1510), RAO to LAO positive.
    pub primary_rad: f64,
    /// (0018,1511), caudal to cranial positive.
    pub secondary_rad: f64,
}

/// The two distances of a C-arm, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CarmDistances {
    /// DICOM (0018,9402) for an isocentric system.
    pub source_to_isocenter_mm: f64,
    /// DICOM (0018,1110).
    pub source_to_detector_mm: f64,
}

/// The matrix of an ideal C-arm at the given angles, world of the crate header (LPS for a head-first supine
/// patient). Columns run towards the patient's left and rows towards the feet when the angles are zero.
///
/// # Errors
/// Distances that are not positive.
pub fn projection_from_carm_angles(
    angles: CarmAngles,
    distances: CarmDistances,
    detector: &DetectorGrid,
) -> Result<ProjectionMatrix, GeometryError> {
    ProjectionMatrix::from_pose(&carm_pose(angles, distances)?, detector)
}

/// Where source and detector stand for [`projection_from_carm_angles`].
///
/// # Errors
/// Distances that are not positive.
pub fn carm_pose(angles: CarmAngles, distances: CarmDistances) -> Result<DetectorPose, GeometryError> {
    require_positive("source to isocenter in mm", distances.source_to_isocenter_mm)?;
    require_positive("source to detector in mm", distances.source_to_detector_mm)?;
    // Secondary tips the detector from the front (-y) to the head (+z): a turn about -x, inside the primary
    // turn about z.
    let turn = Rotation3::from_axis_angle(&Vector3::z_axis(), angles.primary_rad)
        * Rotation3::from_axis_angle(&Vector3::x_axis(), -angles.secondary_rad);
    let towards_detector = turn * -Vector3::y();
    let source = Point3::origin() - towards_detector * distances.source_to_isocenter_mm;
    Ok(DetectorPose {
        source,
        centre: source + towards_detector * distances.source_to_detector_mm,
        e_u: turn * Vector3::x(),
        e_v: turn * -Vector3::z(),
    })
}
