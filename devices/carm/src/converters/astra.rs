//! A view as the ASTRA Toolbox writes it in a `cone_vec` geometry: twelve numbers.
//!
//! ASTRA documentation, "3D Geometry": `(srcX, srcY, srcZ, dX, dY, dZ, uX, uY, uZ, vX, vY, vZ)` with `src` the
//! source, `d` the centre of the detector, `u` the vector from detector pixel (0,0) to (0,1), one column on,
//! and `v` the vector from pixel (0,0) to (1,0), one row on. Lengths are in the units of its volume geometry;
//! here they are millimetres, so the volume geometry beside it must be in millimetres too.

use crate::error::GeometryError;
use crate::grid::DetectorGrid;
use crate::projection::ProjectionMatrix;
use nalgebra::{Matrix3, Matrix3x4, Point3, Vector3};

/// One row of a `cone_vec` geometry, mm. Holds skew and unequal pitches, so every matrix fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AstraConeVector {
    /// X-ray source.
    pub source: Point3<f64>,
    /// Centre of the detector (between the middle pixels for even sizes).
    pub detector_centre: Point3<f64>,
    /// From one column to the next.
    pub step_u: Vector3<f64>,
    /// From one row to the next.
    pub step_v: Vector3<f64>,
}

impl AstraConeVector {
    /// Reads ASTRA's order: source, detector centre, column step, row step.
    pub fn from_row(row: &[f64; 12]) -> Self {
        let three = |first: usize| Vector3::new(row[first], row[first + 1], row[first + 2]);
        Self { source: three(0).into(), detector_centre: three(3).into(), step_u: three(6), step_v: three(9) }
    }

    /// Writes ASTRA's order.
    pub fn to_row(&self) -> [f64; 12] {
        let parts = [self.source.coords, self.detector_centre.coords, self.step_u, self.step_v];
        std::array::from_fn(|index| parts[index / 3][index % 3])
    }

    /// The matrix of this view for a detector of `size` (`[nu, nv]`) pixels; the detector is in front of the
    /// source.
    ///
    /// # Errors
    /// Numbers that are not finite, or a source in the detector's plane.
    pub fn projection_matrix(&self, size: [usize; 2]) -> Result<ProjectionMatrix, GeometryError> {
        let what = || "ASTRA cone vector".to_string();
        if let Some(bad) = self.to_row().iter().find(|number| !number.is_finite()) {
            return Err(GeometryError::NotFinite { what: what(), found: bad.to_string() });
        }
        let [centre_u, centre_v] = size.map(|n| (n as f64 - 1.0) / 2.0);
        let first_pixel = self.detector_centre - self.step_u * centre_u - self.step_v * centre_v;
        let ray_from_pixel = Matrix3::from_columns(&[self.step_u, self.step_v, first_pixel - self.source]);
        let m = ray_from_pixel.try_inverse().ok_or_else(|| GeometryError::SingularMatrix {
            what: what(),
            determinant: ray_from_pixel.determinant(),
        })?;
        let mut p = Matrix3x4::zeros();
        p.fixed_columns_mut::<3>(0).copy_from(&m);
        p.set_column(3, &(-m * self.source.coords));
        ProjectionMatrix::with_reference(p, &self.detector_centre)
    }

    /// The vectors of a view. A matrix does not say how far away its detector is: the pitch along `u` does.
    pub fn from_projection_matrix(view: &ProjectionMatrix, detector: &DetectorGrid) -> Self {
        let source_to_detector_mm = view.detector_axes().focal_u_px * detector.pixel_pitch_u_mm;
        let [centre_u, centre_v] = detector.centre();
        let source = view.source_position();
        Self {
            source,
            detector_centre: source + view.ray(centre_u, centre_v) * source_to_detector_mm,
            step_u: view.m_inverse().column(0) * source_to_detector_mm,
            step_v: view.m_inverse().column(1) * source_to_detector_mm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converters::RtkParameters;

    const SIZE: [usize; 2] = [301, 200];

    /// ASTRA's own vectors for its simple circular geometry (`tests-data/make_astra_vectors.py`): angle,
    /// source to origin, origin to detector, column and row spacing, then the twelve numbers.
    fn table() -> Vec<([f64; 5], AstraConeVector)> {
        let text = include_str!("../../tests-data/astra_vectors.csv");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let n: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
                let row: [f64; 12] = n[5..].try_into().unwrap();
                (n[..5].try_into().unwrap(), AstraConeVector::from_row(&row))
            })
            .collect()
    }

    /// Where the ray through `point` meets the detector plane, in steps from its centre: plain ray-plane
    /// intersection and a 2x2 solve, no matrix of ours.
    fn pixel_by_intersection(vector: &AstraConeVector, point: &Point3<f64>) -> [f64; 2] {
        let normal = vector.step_u.cross(&vector.step_v);
        let ray = point - vector.source;
        let along = (vector.detector_centre - vector.source).dot(&normal) / ray.dot(&normal);
        let hit = vector.source + ray * along - vector.detector_centre;
        let (uu, uv, vv) =
            (vector.step_u.norm_squared(), vector.step_u.dot(&vector.step_v), vector.step_v.norm_squared());
        let (hu, hv) = (hit.dot(&vector.step_u), hit.dot(&vector.step_v));
        let determinant = uu * vv - uv * uv;
        [
            (hu * vv - hv * uv) / determinant + (SIZE[0] as f64 - 1.0) / 2.0,
            (hv * uu - hu * uv) / determinant + (SIZE[1] as f64 - 1.0) / 2.0,
        ]
    }

    fn skewed() -> AstraConeVector {
        AstraConeVector::from_row(&[
            120.0, -700.0, 33.0, -60.0, 420.0, -12.0, 0.3, 0.05, -0.02, 0.04, 0.1, -0.62,
        ])
    }

    #[test]
    fn astra_matrix_sends_points_where_their_ray_meets_the_detector() {
        for vector in table().into_iter().map(|(_, vector)| vector).chain([skewed()]) {
            let view = vector.projection_matrix(SIZE).unwrap();
            for point in [Point3::origin(), Point3::new(31.0, -12.0, 25.0), Point3::new(-9.0, 44.0, -40.0)] {
                let (expected, found) = (pixel_by_intersection(&vector, &point), view.project(&point));
                assert!((found.u - expected[0]).abs() < 1e-9, "{found:?} against {expected:?}");
                assert!((found.v - expected[1]).abs() < 1e-9, "{found:?} against {expected:?}");
            }
        }
    }

    /// ASTRA documentation, "cone": the source turns about z, at angle zero it lies at -y; columns run along x
    /// then, rows along z.
    #[test]
    fn astra_vectors_of_its_circular_geometry_give_the_closed_form() {
        let table = table();
        assert_eq!(table.len(), 8);
        for ([angle, sad, odd, pitch_u, pitch_v], vector) in table {
            let view = vector.projection_matrix(SIZE).unwrap();
            let (x, y, z) = (31.0, -12.0, 25.0);
            let across = x * angle.cos() + y * angle.sin();
            let depth = sad - x * angle.sin() + y * angle.cos();
            let image = view.project(&Point3::new(x, y, z));
            let magnification = (sad + odd) / depth;
            assert!((image.u - (150.0 + across * magnification / pitch_u)).abs() < 1e-9, "{image:?}");
            assert!((image.v - (99.5 + z * magnification / pitch_v)).abs() < 1e-9, "{image:?}");
            assert!((image.depth_mm - depth).abs() < 1e-9, "{image:?}");
        }
    }

    #[test]
    fn astra_vectors_come_back_from_their_matrix_skew_included() {
        for vector in table().into_iter().map(|(_, vector)| vector).chain([skewed()]) {
            let pitch_mm = [vector.step_u.norm(), vector.step_v.norm()];
            let view = vector.projection_matrix(SIZE).unwrap();
            let back =
                AstraConeVector::from_projection_matrix(&view, &DetectorGrid::new(SIZE, pitch_mm).unwrap());
            for (found, expected) in back.to_row().iter().zip(vector.to_row()) {
                assert!((found - expected).abs() < 1e-9, "{back:?} against {vector:?}");
            }
        }
    }

    #[test]
    fn astra_and_rtk_agree_on_the_same_view() {
        let detector = DetectorGrid::new(SIZE, [0.4, 0.7]).unwrap();
        let origin_mm = [-150.0 * 0.4, -99.5 * 0.7];
        let vector = AstraConeVector {
            step_u: Vector3::new(0.4, 0.0, 0.0),
            step_v: Vector3::new(0.0, 0.7, 0.0),
            source: Point3::new(7.0, -8.0, 785.0),
            detector_centre: Point3::new(1.5, -2.5, -415.0),
        };
        let parameters = RtkParameters {
            source_to_isocenter_mm: 785.0,
            source_to_detector_mm: 1200.0,
            projection_offset_u_mm: 1.5,
            projection_offset_v_mm: -2.5,
            source_offset_x_mm: 7.0,
            source_offset_y_mm: -8.0,
            ..RtkParameters::default()
        };
        let by_astra = vector.projection_matrix(SIZE).unwrap();
        let by_rtk = parameters.projection_matrix(origin_mm, [0.4, 0.7]).unwrap();
        assert!((by_astra.matrix() - by_rtk.matrix()).abs().max() < 1e-9);
        let back = AstraConeVector::from_projection_matrix(&by_rtk, &detector);
        assert!((back.detector_centre - vector.detector_centre).norm() < 1e-9);
    }

    #[test]
    fn astra_vectors_with_the_source_in_the_detector_plane_are_refused() {
        let flat = AstraConeVector { source: Point3::new(-60.0, 420.0, -12.0), ..skewed() };
        let error = flat.projection_matrix(SIZE).unwrap_err();
        assert!(matches!(error, GeometryError::SingularMatrix { .. }), "{error}");
        let broken = AstraConeVector { step_u: Vector3::new(f64::NAN, 0.0, 0.0), ..skewed() };
        let error = broken.projection_matrix(SIZE).unwrap_err();
        assert!(matches!(error, GeometryError::NotFinite { .. }), "{error}");
    }
}
