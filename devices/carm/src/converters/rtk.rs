//! The nine parameters with which RTK, the Reconstruction Toolkit, places source and detector.
//!
//! RTK's fixed coordinate system has the rotation axis along `y`. Turning it by the gantry, out-of-plane and
//! in-plane angles gives the *detector system*: `x` along the columns' direction, `y` along the rows'
//! direction, `z` from the detector towards the source. There the source stands at
//! `(source_offset_x, source_offset_y, source_to_isocenter)` and the detector's own origin (its point 0 mm,
//! 0 mm) at `(projection_offset_u, projection_offset_v, source_to_isocenter - source_to_detector)`.
//! A matrix here takes RTK's fixed coordinates as the world, whatever they are to the patient.

use crate::error::GeometryError;
use crate::projection::ProjectionMatrix;
use nalgebra::{Matrix3, Matrix3x4, Rotation3, Vector3};

/// The parameters of one view in RTK's `ThreeDCircularProjectionGeometry`; RTK's own names in brackets.
///
/// RTK stores angles in degrees in its XML files; here they are radians.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RtkParameters {
    /// Distance from the source to the isocenter along the detector normal (RTK's SourceToIsocenterDistance).
    pub source_to_isocenter_mm: f64,
    /// Distance from the source to the detector along its normal (SourceToDetectorDistance).
    pub source_to_detector_mm: f64,
    /// Turn about the fixed `y` axis (GantryAngle).
    pub gantry_angle_rad: f64,
    /// Place of the detector's origin along its columns' direction (ProjectionOffsetX).
    pub projection_offset_u_mm: f64,
    /// Place of the detector's origin along its rows' direction (ProjectionOffsetY).
    pub projection_offset_v_mm: f64,
    /// Turn about the detector's `x` axis (OutOfPlaneAngle).
    pub out_of_plane_angle_rad: f64,
    /// Turn about the detector's `z` axis (InPlaneAngle).
    pub in_plane_angle_rad: f64,
    /// Place of the source along the columns' direction (SourceOffsetX).
    pub source_offset_x_mm: f64,
    /// Place of the source along the rows' direction (SourceOffsetY).
    pub source_offset_y_mm: f64,
}

impl RtkParameters {
    /// Largest cosine between columns and rows, and largest relative difference of the two focal lengths, that
    /// [`RtkParameters::from_projection_matrix`] drops: 0.01 pixel at the edge of a detector of 2000 columns.
    pub const SHAPE_TOLERANCE: f64 = 1e-5;

    /// World millimetres to the detector system: the three turns in RTK's order (Euler angles ZXY).
    fn detector_from_world(&self) -> Rotation3<f64> {
        Rotation3::from_axis_angle(&Vector3::z_axis(), -self.in_plane_angle_rad)
            * Rotation3::from_axis_angle(&Vector3::x_axis(), -self.out_of_plane_angle_rad)
            * Rotation3::from_axis_angle(&Vector3::y_axis(), -self.gantry_angle_rad)
    }

    /// The homogeneous matrix from world millimetres to detector millimetres, scaled and signed as RTK's
    /// `GetMatrix` gives it: its third row is the `z` distance from the source, negative in front of it.
    ///
    /// # Method
    /// RTK documentation, "RTK 3D circular projection geometry". In the detector system the ray from the
    /// source `(s_x, s_y, sad)` through `(x, y, z)` meets the plane `z = sad - sdd` at
    /// `s + (x - s) sdd / (sad - z)`; from that the projection offset is taken away. Written as a product:
    /// shift by `s - offset`, scale by `-sdd` over depth `z - sad`, shift by `-s`, turn.
    pub fn detector_matrix_mm(&self) -> Matrix3x4<f64> {
        let (sad, sdd) = (self.source_to_isocenter_mm, self.source_to_detector_mm);
        let (source_x, source_y) = (self.source_offset_x_mm, self.source_offset_y_mm);
        let shift_u = source_x - self.projection_offset_u_mm;
        let shift_v = source_y - self.projection_offset_v_mm;
        let detector_from_source = Matrix3::new(-sdd, 0.0, shift_u, 0.0, -sdd, shift_v, 0.0, 0.0, 1.0);
        let turn = self.detector_from_world();
        let mut source_from_world = Matrix3x4::zeros();
        source_from_world.fixed_columns_mut::<3>(0).copy_from(turn.matrix());
        source_from_world.set_column(3, &-Vector3::new(source_x, source_y, sad));
        detector_from_source * source_from_world
    }

    /// The matrix to pixel index, for a detector image whose pixel (0, 0) has its centre at
    /// `pixel_origin_mm` (`[u, v]`, ITK's image origin) and whose pitch is `pitch_mm` (`[u, v]`, ITK's
    /// spacing). The isocenter is taken to be in front of the source.
    ///
    /// # Errors
    /// A parameter that is not finite, a pitch that is not positive, or a source-to-detector distance of zero,
    /// with which RTK means a parallel beam.
    pub fn projection_matrix(
        &self,
        pixel_origin_mm: [f64; 2],
        pitch_mm: [f64; 2],
    ) -> Result<ProjectionMatrix, GeometryError> {
        let detector_from_pixel = detector_from_pixel(pixel_origin_mm, pitch_mm)?;
        let pixel_from_detector = detector_from_pixel
            .try_inverse()
            .ok_or(GeometryError::SingularMatrix { what: "detector image".into(), determinant: 0.0 })?;
        ProjectionMatrix::new(pixel_from_detector * self.detector_matrix_mm())
    }

    /// The parameters of a view, for a detector image with the given origin and pitch (as in
    /// [`RtkParameters::projection_matrix`], which it undoes).
    ///
    /// Angles come back in (-π, π], the out-of-plane angle in [-π/2, π/2]; at its ends only the sum or
    /// difference of the other two is defined, and the in-plane angle is given as zero. A detector seen from
    /// its other side (`u`, `v` and depth right-handed) gives both distances negative, as RTK's own conversion
    /// from vectors does.
    ///
    /// # Errors
    /// [`GeometryError::SkewedDetector`] or [`GeometryError::UnequalFocalLengths`] where the matrix has what
    /// nine parameters cannot hold; a pitch that is not positive.
    pub fn from_projection_matrix(
        view: &ProjectionMatrix,
        pixel_origin_mm: [f64; 2],
        pitch_mm: [f64; 2],
    ) -> Result<Self, GeometryError> {
        let detector_from_pixel = detector_from_pixel(pixel_origin_mm, pitch_mm)?;
        let axes = view.detector_axes();
        let cosine = axes.e_u.dot(&axes.e_v);
        if cosine.abs() > Self::SHAPE_TOLERANCE {
            return Err(GeometryError::SkewedDetector { what: WHAT.into(), cosine });
        }
        let [focal_u_mm, focal_v_mm] = [axes.focal_u_px * pitch_mm[0], axes.focal_v_px * pitch_mm[1]];
        if (focal_u_mm - focal_v_mm).abs() > Self::SHAPE_TOLERANCE * focal_u_mm {
            return Err(GeometryError::UnequalFocalLengths { what: WHAT.into(), focal_u_mm, focal_v_mm });
        }

        // Rows of the turn are the detector's axes; z points to the source for a left-handed detector.
        let side = if view.is_right_handed() { -1.0 } else { 1.0 };
        let e_z = axes.normal.into_inner() * -side;
        let e_v = e_z.cross(&axes.e_u);
        let turn = Matrix3::from_rows(&[axes.e_u.transpose(), e_v.transpose(), e_z.transpose()]);
        let source = turn * view.source_position().coords;
        let principal = detector_from_pixel * Vector3::new(axes.principal_u_px, axes.principal_v_px, 1.0);
        let [in_plane_angle_rad, out_of_plane_angle_rad, gantry_angle_rad] = angles_zxy(&turn);
        Ok(Self {
            source_to_isocenter_mm: source.z,
            source_to_detector_mm: side * 0.5 * (focal_u_mm + focal_v_mm),
            gantry_angle_rad,
            projection_offset_u_mm: source.x - principal.x,
            projection_offset_v_mm: source.y - principal.y,
            out_of_plane_angle_rad,
            in_plane_angle_rad,
            source_offset_x_mm: source.x,
            source_offset_y_mm: source.y,
        })
    }
}

const WHAT: &str = "projection matrix as RTK parameters";

/// Pixel index to detector millimetres, homogeneous.
fn detector_from_pixel(origin_mm: [f64; 2], pitch_mm: [f64; 2]) -> Result<Matrix3<f64>, GeometryError> {
    crate::error::require_positive("pixel pitch u in mm", pitch_mm[0])?;
    crate::error::require_positive("pixel pitch v in mm", pitch_mm[1])?;
    Ok(Matrix3::new(pitch_mm[0], 0.0, origin_mm[0], 0.0, pitch_mm[1], origin_mm[1], 0.0, 0.0, 1.0))
}

/// In-plane, out-of-plane and gantry angle of `R = Rz(-in) Rx(-out) Ry(-gantry)`.
fn angles_zxy(turn: &Matrix3<f64>) -> [f64; 3] {
    let sine_out = -turn[(2, 1)];
    let cosine_out = turn[(0, 1)].hypot(turn[(1, 1)]);
    let out_of_plane = sine_out.atan2(cosine_out);
    if cosine_out < 1e-9 {
        return [0.0, out_of_plane, (-turn[(0, 2)]).atan2(turn[(0, 0)])];
    }
    [turn[(0, 1)].atan2(turn[(1, 1)]), out_of_plane, turn[(2, 0)].atan2(turn[(2, 2)])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Point3;

    /// Parameters and the matrices that RTK itself makes of them (`tests-data/make_rtk_geometry.py`).
    fn table() -> Vec<(RtkParameters, Matrix3x4<f64>)> {
        let text = include_str!("../../tests-data/rtk_geometry.csv");
        let row = |line: &str| {
            let n: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
            let parameters = RtkParameters {
                source_to_isocenter_mm: n[0],
                source_to_detector_mm: n[1],
                gantry_angle_rad: n[2],
                projection_offset_u_mm: n[3],
                projection_offset_v_mm: n[4],
                out_of_plane_angle_rad: n[5],
                in_plane_angle_rad: n[6],
                source_offset_x_mm: n[7],
                source_offset_y_mm: n[8],
            };
            (parameters, Matrix3x4::from_row_slice(&n[9..]))
        };
        text.lines().filter(|line| !line.starts_with('#')).map(row).collect()
    }

    const ORIGIN_MM: [f64; 2] = [-93.5, -61.25];
    const PITCH_MM: [f64; 2] = [0.308, 0.616];
    /// RTK's entries reach 1e6; its angles pass through degrees on the way.
    const RELATIVE: f64 = 1e-12;

    #[test]
    fn rtk_detector_matrix_is_the_one_rtk_makes() {
        let table = table();
        assert_eq!(table.len(), 24);
        for (parameters, expected) in table {
            let difference = (parameters.detector_matrix_mm() - expected).abs().max();
            assert!(difference <= RELATIVE * expected.abs().max(), "{parameters:?}: {difference:e}");
        }
    }

    #[test]
    fn rtk_projection_matrix_sends_points_to_the_pixels_that_rtk_says() {
        for (parameters, rtk) in table() {
            let view = parameters.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap();
            for point in [Point3::new(10.0, -20.0, 30.0), Point3::new(-80.0, 3.0, 41.0)] {
                let mm = rtk * point.to_homogeneous();
                let expected =
                    [(mm.x / mm.z - ORIGIN_MM[0]) / PITCH_MM[0], (mm.y / mm.z - ORIGIN_MM[1]) / PITCH_MM[1]];
                let image = view.project(&point);
                assert!((image.u - expected[0]).abs() < 1e-8 && (image.v - expected[1]).abs() < 1e-8);
                assert!(image.depth_mm > 0.0, "{parameters:?}: {image:?}");
            }
        }
    }

    #[test]
    fn rtk_parameters_come_back_from_their_matrix() {
        for (given, _) in table() {
            let view = given.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap();
            let back = RtkParameters::from_projection_matrix(&view, ORIGIN_MM, PITCH_MM).unwrap();
            let again = back.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap();
            let difference = (again.matrix() - view.matrix()).abs().max() / view.matrix().abs().max();
            assert!(difference < 1e-11, "{given:?} came back as {back:?}: {difference:e}");
            assert!((back.source_to_isocenter_mm - given.source_to_isocenter_mm).abs() < 1e-8);
            assert!((back.source_offset_x_mm - given.source_offset_x_mm).abs() < 1e-8);
            assert!((back.projection_offset_v_mm - given.projection_offset_v_mm).abs() < 1e-8);
            let turned = (back.gantry_angle_rad - given.gantry_angle_rad).sin().abs();
            assert!(turned < 1e-9, "{given:?} came back as {back:?}");
        }
    }

    #[test]
    fn rtk_parameters_hold_a_quarter_turn_out_of_plane_and_a_mirrored_detector() {
        let (mut parameters, _) = table()[0];
        for quarter in [0.5, -0.5] {
            parameters.out_of_plane_angle_rad = quarter * std::f64::consts::PI;
            assert_round_trip(&parameters.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap());
        }
        let (parameters, _) = table()[1];
        let mut mirrored = *parameters.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap().matrix();
        let flip = mirrored.row(2) * 300.0 - mirrored.row(0);
        mirrored.set_row(0, &flip);
        let mirrored = ProjectionMatrix::new(mirrored).unwrap();
        assert!(mirrored.is_right_handed());
        let back = assert_round_trip(&mirrored);
        assert!(back.source_to_isocenter_mm < 0.0 && back.source_to_detector_mm < 0.0, "{back:?}");
    }

    fn assert_round_trip(view: &ProjectionMatrix) -> RtkParameters {
        let back = RtkParameters::from_projection_matrix(view, ORIGIN_MM, PITCH_MM).unwrap();
        let again = back.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap();
        let difference = (again.matrix() - view.matrix()).abs().max() / view.matrix().abs().max();
        assert!(difference < 1e-11, "{back:?}: {difference:e}");
        back
    }

    #[test]
    fn rtk_parameters_refuse_skew_and_unequal_focal_lengths() {
        let (parameters, _) = table()[0];
        let view = *parameters.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap().matrix();
        let shaped = |shape: Matrix3<f64>| ProjectionMatrix::new(shape * view).unwrap();
        let skewed = shaped(Matrix3::new(1.0, 0.01, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0));
        let error = RtkParameters::from_projection_matrix(&skewed, ORIGIN_MM, PITCH_MM).unwrap_err();
        assert!(matches!(error, GeometryError::SkewedDetector { .. }), "{error}");
        let stretched = shaped(Matrix3::new(1.001, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0));
        let error = RtkParameters::from_projection_matrix(&stretched, ORIGIN_MM, PITCH_MM).unwrap_err();
        assert!(matches!(error, GeometryError::UnequalFocalLengths { .. }), "{error}");
    }

    #[test]
    fn rtk_parameters_refuse_a_parallel_beam_and_nan() {
        let (good, _) = table()[0];
        let parallel = RtkParameters { source_to_detector_mm: 0.0, ..good };
        let error = parallel.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap_err();
        assert!(matches!(error, GeometryError::SingularMatrix { .. }), "{error}");
        let broken = RtkParameters { gantry_angle_rad: f64::NAN, ..good };
        let error = broken.projection_matrix(ORIGIN_MM, PITCH_MM).unwrap_err();
        assert!(matches!(error, GeometryError::NotFinite { .. }), "{error}");
    }
}
