//! DICOM's positioner: two angles and two distances of an isocentric C-arm.
//!
//! PS3.3 C.8.7.5.1.2: the primary angle swings the detector in the patient's axial plane, 0 in front of the
//! patient and +90 degrees at the left; the secondary angle tips it towards the head. They say where the beam
//! comes from and nothing of how the detector sits in it, so the way back drops what is not ideal.

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

/// The positioner angles of a view: where the line from the source through the isocenter points.
///
/// Primary in (-π, π], secondary in [-π/2, π/2], as DICOM has them. Exact for an ideal C-arm; of any other view it
/// is the direction of the source alone, whatever its detector's tilt, roll and offset. With the beam straight
/// along the table the direction leaves the primary angle open, and the columns' direction decides.
pub fn carm_angles_from_projection(view: &ProjectionMatrix) -> CarmAngles {
    /// Sine of the angle between beam and table axis below which the direction says nothing of the primary angle.
    const ALONG_THE_TABLE: f64 = 1e-9;
    let towards_detector = -view.source_position().coords;
    let across = towards_detector.x.hypot(towards_detector.y);
    let e_u = view.detector_axes().e_u;
    let primary_rad = if across > ALONG_THE_TABLE * towards_detector.norm() {
        towards_detector.x.atan2(-towards_detector.y)
    } else {
        e_u.y.atan2(e_u.x)
    };
    CarmAngles { primary_rad, secondary_rad: towards_detector.z.atan2(across) }
}

/// The two distances of a view: from the source to the world origin, and along the detector normal to the
/// detector, whose pitch along `u` fixes the scale that a matrix leaves open.
pub fn carm_distances_from_projection(view: &ProjectionMatrix, detector: &DetectorGrid) -> CarmDistances {
    CarmDistances {
        source_to_isocenter_mm: view.source_position().coords.norm(),
        source_to_detector_mm: view.detector_axes().focal_u_px * detector.pixel_pitch_u_mm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISTANCES: CarmDistances =
        CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };

    fn detector() -> DetectorGrid {
        DetectorGrid::new([301, 200], [0.4, 0.7]).unwrap()
    }

    fn degrees(primary: f64, secondary: f64) -> CarmAngles {
        CarmAngles { primary_rad: primary.to_radians(), secondary_rad: secondary.to_radians() }
    }

    /// By hand from the words of PS3.3 C.8.7.5.1.2, LPS: detector's direction, columns' direction, rows' direction.
    #[test]
    fn carm_angles_put_the_detector_where_dicom_says() {
        let (left, front, head) = (Vector3::x(), -Vector3::y(), Vector3::z());
        for (angles, detector_at, columns, rows) in [
            (degrees(0.0, 0.0), front, left, -head),
            (degrees(90.0, 0.0), left, -front, -head),
            (degrees(-90.0, 0.0), -left, front, -head),
            (degrees(180.0, 0.0), -front, -left, -head),
            (degrees(0.0, 90.0), head, left, front),
            (degrees(0.0, -90.0), -head, left, -front),
            (degrees(90.0, 90.0), head, -front, left),
        ] {
            let pose = carm_pose(angles, DISTANCES).unwrap();
            assert!((pose.centre.coords - detector_at * 415.0).norm() < 1e-9, "{angles:?}: {pose:?}");
            assert!((pose.source.coords + detector_at * 785.0).norm() < 1e-9, "{angles:?}: {pose:?}");
            assert!((pose.e_u - columns).norm() < 1e-12 && (pose.e_v - rows).norm() < 1e-12, "{pose:?}");
        }
    }

    /// `tests-data/make_positioner_views.py`: SciPy's rotations and ray casting.
    fn table() -> Vec<[f64; 9]> {
        include_str!("../../tests-data/positioner_views.csv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let numbers: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
                numbers.try_into().unwrap()
            })
            .collect()
    }

    #[test]
    fn carm_angles_project_points_where_ray_casting_finds_them_and_come_back() {
        assert_eq!(table().len(), 24);
        for [primary_rad, secondary_rad, sad, sdd, x, y, z, column, row] in table() {
            let angles = CarmAngles { primary_rad, secondary_rad };
            let distances = CarmDistances { source_to_isocenter_mm: sad, source_to_detector_mm: sdd };
            let view = projection_from_carm_angles(angles, distances, &detector()).unwrap();
            let image = view.project(&Point3::new(x, y, z));
            assert!((image.u - column).abs() < 1e-8 && (image.v - row).abs() < 1e-8, "{angles:?}: {image:?}");

            let back = carm_angles_from_projection(&view);
            assert!((back.primary_rad - primary_rad).abs() < 1e-9, "{back:?} against {angles:?}");
            assert!((back.secondary_rad - secondary_rad).abs() < 1e-9, "{back:?} against {angles:?}");
            let back = carm_distances_from_projection(&view, &detector());
            assert!((back.source_to_isocenter_mm - sad).abs() < 1e-8, "{back:?}");
            assert!((back.source_to_detector_mm - sdd).abs() < 1e-8, "{back:?}");
        }
    }

    #[test]
    fn carm_angles_beyond_the_head_come_back_as_the_same_arm_in_dicoms_range() {
        let view = projection_from_carm_angles(degrees(30.0, 110.0), DISTANCES, &detector()).unwrap();
        let back = carm_angles_from_projection(&view);
        let expected = degrees(-150.0, 70.0);
        assert!((back.primary_rad - expected.primary_rad).abs() < 1e-9, "{back:?}");
        assert!((back.secondary_rad - expected.secondary_rad).abs() < 1e-9, "{back:?}");
    }

    #[test]
    fn carm_angles_along_the_table_keep_their_primary_angle() {
        for secondary in [90.0, -90.0] {
            let angles = degrees(40.0, secondary);
            let view = projection_from_carm_angles(angles, DISTANCES, &detector()).unwrap();
            let back = carm_angles_from_projection(&view);
            assert!((back.primary_rad - angles.primary_rad).abs() < 1e-9, "{back:?}");
            assert!((back.secondary_rad - angles.secondary_rad).abs() < 1e-7, "{back:?}");
        }
    }

    #[test]
    fn carm_distances_that_are_not_positive_are_refused() {
        let distances = CarmDistances { source_to_isocenter_mm: -1.0, ..DISTANCES };
        let error = carm_pose(degrees(0.0, 0.0), distances).unwrap_err();
        assert!(matches!(error, GeometryError::NotPositive { .. }), "{error}");
    }
}
