//! The 3x4 projection matrix, normalised so that its third row measures depth in millimetres.
//!
//! Hartley and Zisserman, *Multiple View Geometry*, 2nd ed., section 6.2, with pixel centres at integers.

use crate::error::GeometryError;
use crate::grid::DetectorGrid;
use nalgebra::{Isometry3, Matrix3, Matrix3x4, Point3, Unit, Vector3};

/// World millimetres to pixel index: `s (u, v, 1)ᵀ = P (x, y, z, 1)ᵀ`.
///
/// Always normalised: `|m₃| = 1`, and the reference point given at construction lies at positive depth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProjectionMatrix {
    p: Matrix3x4<f64>,
    inverse: Matrix3<f64>,
}

/// Where a point falls on the detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImagePoint {
    /// Column, pixel centres at integers.
    pub u: f64,
    /// Row, pixel centres at integers.
    pub v: f64,
    /// Distance from the source along the detector normal, mm.
    pub depth_mm: f64,
}

/// What a projection matrix says of its detector, valid also with skew and unequal pitches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorAxes {
    /// Direction of increasing column in the world.
    pub e_u: Unit<Vector3<f64>>,
    /// Direction of increasing row in the world.
    pub e_v: Unit<Vector3<f64>>,
    /// Detector normal, from the source towards the detector.
    pub normal: Unit<Vector3<f64>>,
    /// Focal length in columns: source-to-detector distance over pitch u.
    pub focal_u_px: f64,
    /// Focal length in rows: source-to-detector distance over pitch v.
    pub focal_v_px: f64,
    /// Column of the foot of the perpendicular from the source.
    pub principal_u_px: f64,
    /// Row of the foot of the perpendicular from the source.
    pub principal_v_px: f64,
}

/// A detector placed in the world: the parts from which a projection matrix is composed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorPose {
    /// X-ray source, mm.
    pub source: Point3<f64>,
    /// Centre of the pixel grid (between the middle pixels for even sizes), mm.
    pub centre: Point3<f64>,
    /// Direction of increasing column.
    pub e_u: Vector3<f64>,
    /// Direction of increasing row.
    pub e_v: Vector3<f64>,
}

impl ProjectionMatrix {
    /// Smallest |det M| accepted after scaling each row of M to unit length.
    const MIN_DETERMINANT: f64 = 1e-9;

    /// Normalises `p` so that the world origin (the isocenter) lies at positive depth.
    ///
    /// # Errors
    /// Non-finite entries, a singular left block, or the origin in the plane of the source.
    pub fn new(p: Matrix3x4<f64>) -> Result<Self, GeometryError> {
        Self::with_reference(p, &Point3::origin())
    }

    /// Normalises `p` so that `reference`, a point in the patient, lies at positive depth.
    ///
    /// # Errors
    /// As [`ProjectionMatrix::new`].
    pub fn with_reference(p: Matrix3x4<f64>, reference: &Point3<f64>) -> Result<Self, GeometryError> {
        let what = || "projection matrix".to_string();
        if let Some(bad) = p.iter().find(|value| !value.is_finite()) {
            return Err(GeometryError::NotFinite { what: what(), found: bad.to_string() });
        }
        let m: Matrix3<f64> = p.fixed_columns::<3>(0).into_owned();
        let row_norms = [m.row(0).norm(), m.row(1).norm(), m.row(2).norm()];
        let determinant = m.determinant() / (row_norms[0] * row_norms[1] * row_norms[2]);
        if determinant.is_nan() || determinant.abs() < Self::MIN_DETERMINANT {
            return Err(GeometryError::SingularMatrix { what: what(), determinant });
        }
        let mut p = p / row_norms[2];
        let depth = (p * reference.to_homogeneous()).z;
        if depth.abs() < 1e-6 {
            return Err(GeometryError::ReferenceInSourcePlane { what: what(), depth_mm: depth });
        }
        if depth < 0.0 {
            p = -p;
        }
        let inverse = p
            .fixed_columns::<3>(0)
            .into_owned()
            .try_inverse()
            .ok_or(GeometryError::SingularMatrix { what: what(), determinant })?;
        Ok(Self { p, inverse })
    }

    /// Takes back, bit for bit, what [`ProjectionMatrix::matrix`] and [`ProjectionMatrix::m_inverse`] gave.
    ///
    /// # Errors
    /// Non-finite entries, a third row whose length is not 1, or an inverse that is not that of `p`.
    pub fn from_stored(p: Matrix3x4<f64>, m_inverse: Matrix3<f64>) -> Result<Self, GeometryError> {
        const TOLERANCE: f64 = 1e-6;
        let what = || "stored projection matrix".to_string();
        if let Some(bad) = p.iter().chain(m_inverse.iter()).find(|value| !value.is_finite()) {
            return Err(GeometryError::NotFinite { what: what(), found: bad.to_string() });
        }
        let m: Matrix3<f64> = p.fixed_columns::<3>(0).into_owned();
        let deviation = (m.row(2).norm() - 1.0).abs().max((m_inverse * m - Matrix3::identity()).abs().max());
        if deviation.is_nan() || deviation > TOLERANCE {
            return Err(GeometryError::SingularMatrix { what: what(), determinant: m.determinant() });
        }
        Ok(Self { p, inverse: m_inverse })
    }

    /// Composes the matrix of a placed detector.
    ///
    /// # Errors
    /// Axes that are not orthonormal, or a source in the detector plane.
    pub fn from_pose(pose: &DetectorPose, grid: &DetectorGrid) -> Result<Self, GeometryError> {
        let deviation = [pose.e_u.norm() - 1.0, pose.e_v.norm() - 1.0, pose.e_u.dot(&pose.e_v)]
            .into_iter()
            .fold(0.0_f64, |worst, d| if d.is_nan() { f64::NAN } else { worst.max(d.abs()) });
        if deviation.is_nan() || deviation > 1e-6 {
            return Err(GeometryError::NotOrthonormal { what: "detector axes".into(), deviation });
        }
        let [centre_u, centre_v] = grid.centre();
        let step_u = pose.e_u * grid.pixel_pitch_u_mm;
        let step_v = pose.e_v * grid.pixel_pitch_v_mm;
        let first_pixel = pose.centre - step_u * centre_u - step_v * centre_v;
        // Columns map (u, v, 1) to the ray direction; its inverse is M up to scale.
        let ray_from_pixel = Matrix3::from_columns(&[step_u, step_v, first_pixel - pose.source]);
        let m = ray_from_pixel.try_inverse().ok_or(GeometryError::SingularMatrix {
            what: "detector pose with the source in the detector plane".into(),
            determinant: ray_from_pixel.determinant(),
        })?;
        let mut p = Matrix3x4::zeros();
        p.fixed_columns_mut::<3>(0).copy_from(&m);
        p.set_column(3, &(-m * pose.source.coords));
        // "In front of the source" is where the detector is.
        Self::with_reference(p, &pose.centre)
    }

    /// The normalised 3x4 matrix.
    pub fn matrix(&self) -> &Matrix3x4<f64> {
        &self.p
    }

    /// The normalised left 3x3 block `M`.
    pub fn m(&self) -> Matrix3<f64> {
        self.p.fixed_columns::<3>(0).into_owned()
    }

    /// `M⁻¹`: maps `(u, v, 1)` to the direction of its ray, pointing away from the source.
    pub fn m_inverse(&self) -> &Matrix3<f64> {
        &self.inverse
    }

    /// The X-ray source `-M⁻¹ p`.
    pub fn source_position(&self) -> Point3<f64> {
        Point3::from(-self.inverse * self.p.column(3))
    }

    /// Projects a world point.
    pub fn project(&self, point: &Point3<f64>) -> ImagePoint {
        let h = self.p * point.to_homogeneous();
        ImagePoint { u: h.x / h.z, v: h.y / h.z, depth_mm: h.z }
    }

    /// Direction of the ray through a pixel, away from the source, scaled to unit depth along the normal.
    pub fn ray(&self, u: f64, v: f64) -> Vector3<f64> {
        self.inverse * Vector3::new(u, v, 1.0)
    }

    /// Detector axes, focal lengths and principal point.
    pub fn detector_axes(&self) -> DetectorAxes {
        let x_u: Vector3<f64> = self.inverse.column(0).into_owned();
        let x_v: Vector3<f64> = self.inverse.column(1).into_owned();
        let m = self.m();
        let m3 = m.row(2).transpose();
        DetectorAxes {
            e_u: Unit::new_normalize(x_u),
            e_v: Unit::new_normalize(x_v),
            normal: Unit::new_normalize(m3),
            focal_u_px: 1.0 / x_u.norm(),
            focal_v_px: 1.0 / x_v.norm(),
            principal_u_px: m.row(0).transpose().dot(&m3),
            principal_v_px: m.row(1).transpose().dot(&m3),
        }
    }

    /// The placed detector, given the pixel pitch along u (which fixes the scale that P leaves open).
    pub fn detector_pose(&self, grid: &DetectorGrid) -> DetectorPose {
        let axes = self.detector_axes();
        let source = self.source_position();
        let source_to_detector_mm = axes.focal_u_px * grid.pixel_pitch_u_mm;
        let [centre_u, centre_v] = grid.centre();
        DetectorPose {
            source,
            centre: source + self.ray(centre_u, centre_v) * source_to_detector_mm,
            e_u: axes.e_u.into_inner(),
            e_v: axes.e_v.into_inner(),
        }
    }

    /// The same view for points given in another space: `pixel_from_a = pixel_from_b * b_from_a`.
    pub fn for_space(&self, world_from_a: &Isometry3<f64>) -> Self {
        let p = self.p * world_from_a.to_homogeneous();
        let rotation = world_from_a.rotation.to_rotation_matrix();
        Self { p, inverse: rotation.matrix().transpose() * self.inverse }
    }

    /// The same view after every rectangle of `[columns, rows]` pixels has become one.
    pub fn with_pixels_averaged(&self, sides: [usize; 2]) -> Self {
        let [columns, rows] = sides.map(|side| side as f64);
        // v' = (v + 1/2) / rows - 1/2: pixel centres at integers before and after.
        let [shift_u, shift_v] = [columns, rows].map(|side| 0.5 / side - 0.5);
        let averaged = Matrix3::new(1.0 / columns, 0.0, shift_u, 0.0, 1.0 / rows, shift_v, 0.0, 0.0, 1.0);
        let back = Matrix3::new(columns, 0.0, -shift_u * columns, 0.0, rows, -shift_v * rows, 0.0, 0.0, 1.0);
        Self { p: averaged * self.p, inverse: self.inverse * back }
    }

    /// True when u, v and the depth direction form a right-handed system.
    pub fn is_right_handed(&self) -> bool {
        self.m().determinant() > 0.0
    }
}

/// A detector and the matrix of every view: the geometry of one scan.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanGeometry {
    detector: DetectorGrid,
    views: Vec<ProjectionMatrix>,
}

impl ScanGeometry {
    /// Checks that the set is not empty and does not mix left- and right-handed detectors.
    ///
    /// # Errors
    /// [`GeometryError::NoViews`], [`GeometryError::MixedHandedness`] naming the first odd view.
    pub fn new(detector: DetectorGrid, views: Vec<ProjectionMatrix>) -> Result<Self, GeometryError> {
        let first = views.first().ok_or(GeometryError::NoViews)?.is_right_handed();
        let name = |right| if right { "positive" } else { "negative" };
        if let Some(view) = views.iter().position(|p| p.is_right_handed() != first) {
            return Err(GeometryError::MixedHandedness { view, expected: name(first), found: name(!first) });
        }
        Ok(Self { detector, views })
    }

    /// From raw 3x4 matrices, one a view, the world origin at positive depth.
    ///
    /// # Errors
    /// As [`ScanGeometry::new`], and what [`ProjectionMatrix::new`] finds, with the view's index. A set whose
    /// signs of `det(M)` differ only by a common factor per matrix is normalised first, so a matrix scaled by
    /// -1 is not "mixed".
    pub fn from_matrices(
        detector: DetectorGrid,
        matrices: impl IntoIterator<Item = Matrix3x4<f64>>,
    ) -> Result<Self, GeometryError> {
        let views = matrices
            .into_iter()
            .enumerate()
            .map(|(view, p)| ProjectionMatrix::new(p).map_err(|error| in_view(error, view)))
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(detector, views)
    }

    /// The same scan after every rectangle of `[columns, rows]` pixels has become one.
    ///
    /// # Panics
    /// As [`DetectorGrid::with_pixels_averaged`].
    pub fn with_pixels_averaged(&self, sides: [usize; 2]) -> Self {
        Self {
            detector: self.detector.with_pixels_averaged(sides),
            views: self.views.iter().map(|view| view.with_pixels_averaged(sides)).collect(),
        }
    }

    /// The detector's pixel grid.
    pub fn detector(&self) -> &DetectorGrid {
        &self.detector
    }

    /// One matrix a view.
    pub fn views(&self) -> &[ProjectionMatrix] {
        &self.views
    }
}

fn in_view(error: GeometryError, view: usize) -> GeometryError {
    let named = |what: String| format!("{what} of view {view}");
    match error {
        GeometryError::NotFinite { what, found } => GeometryError::NotFinite { what: named(what), found },
        GeometryError::SingularMatrix { what, determinant } => {
            GeometryError::SingularMatrix { what: named(what), determinant }
        }
        GeometryError::ReferenceInSourcePlane { what, depth_mm } => {
            GeometryError::ReferenceInSourcePlane { what: named(what), depth_mm }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awkward_pose() -> (DetectorPose, DetectorGrid) {
        let turn = nalgebra::Rotation3::from_euler_angles(0.3, -0.7, 1.9);
        let pose = DetectorPose {
            source: Point3::new(120.0, -700.0, 33.0),
            centre: Point3::new(-60.0, 420.0, -12.0),
            e_u: turn * Vector3::x(),
            e_v: turn * Vector3::y(),
        };
        (pose, DetectorGrid::new([301, 200], [0.4, 0.7]).unwrap())
    }

    #[test]
    fn projection_matrix_sends_each_pixel_centre_back_to_its_pixel() {
        let (pose, grid) = awkward_pose();
        let p = ProjectionMatrix::from_pose(&pose, &grid).unwrap();
        for (u, v) in [(0.0, 0.0), (300.0, 199.0), (17.25, 140.5)] {
            let pixel = pose.centre
                + pose.e_u * (u - 150.0) * grid.pixel_pitch_u_mm
                + pose.e_v * (v - 99.5) * grid.pixel_pitch_v_mm;
            let halfway = pose.source + (pixel - pose.source) * 0.37;
            let image = p.project(&halfway);
            assert!((image.u - u).abs() < 1e-9 && (image.v - v).abs() < 1e-9, "{image:?}");
        }
        assert!((p.source_position() - pose.source).norm() < 1e-9);
    }

    #[test]
    fn projection_matrix_comes_back_from_store_bit_for_bit_and_not_with_a_foreign_inverse() {
        let (pose, grid) = awkward_pose();
        let p = ProjectionMatrix::from_pose(&pose, &grid).unwrap();
        let moved = p.for_space(&Isometry3::new(Vector3::new(5.0, -8.0, 2.0), Vector3::new(0.1, 0.5, -0.2)));
        for p in [p, moved] {
            assert_eq!(ProjectionMatrix::from_stored(*p.matrix(), *p.m_inverse()), Ok(p));
        }
        assert!(ProjectionMatrix::from_stored(*p.matrix(), *moved.m_inverse()).is_err());
        assert!(ProjectionMatrix::from_stored(*p.matrix() * 2.0, *p.m_inverse() / 2.0).is_err());
    }

    #[test]
    fn projection_matrix_gives_back_the_pose_it_was_made_of() {
        let (pose, grid) = awkward_pose();
        let p = ProjectionMatrix::from_pose(&pose, &grid).unwrap();
        let back = p.detector_pose(&grid);
        assert!((back.centre - pose.centre).norm() < 1e-9);
        assert!((back.e_u - pose.e_u).norm() < 1e-12 && (back.e_v - pose.e_v).norm() < 1e-12);
    }

    #[test]
    fn projection_matrix_depth_is_distance_along_the_normal_whatever_the_scale_and_sign() {
        let (pose, grid) = awkward_pose();
        let p = ProjectionMatrix::from_pose(&pose, &grid).unwrap();
        let scaled = ProjectionMatrix::with_reference(p.matrix() * -3.7, &pose.centre).unwrap();
        assert!((scaled.matrix() - p.matrix()).abs().max() < 1e-9);
        let normal = p.detector_axes().normal;
        let depth = (pose.centre - pose.source).dot(&normal);
        assert!((p.project(&pose.centre).depth_mm - depth).abs() < 1e-9);
        assert!(depth > 0.0);
    }

    #[test]
    fn projection_matrix_for_space_projects_the_same_point() {
        let (pose, grid) = awkward_pose();
        let p = ProjectionMatrix::from_pose(&pose, &grid).unwrap();
        let world_from_a = Isometry3::new(Vector3::new(5.0, -8.0, 2.0), Vector3::new(0.1, 0.5, -0.2));
        let point_a = Point3::new(10.0, 20.0, -30.0);
        let (direct, through) =
            (p.project(&(world_from_a * point_a)), p.for_space(&world_from_a).project(&point_a));
        assert!((direct.u - through.u).abs() < 1e-9 && (direct.v - through.v).abs() < 1e-9);
        let moved = p.for_space(&world_from_a);
        assert!((moved.m() * moved.m_inverse() - Matrix3::identity()).abs().max() < 1e-9);
    }

    #[test]
    fn scan_geometry_names_the_view_with_the_other_handedness() {
        let (pose, grid) = awkward_pose();
        let p = ProjectionMatrix::from_pose(&pose, &grid).unwrap();
        let flipped = ProjectionMatrix::from_pose(&DetectorPose { e_u: -pose.e_u, ..pose }, &grid).unwrap();
        let error = ScanGeometry::new(grid, vec![p, p, flipped]).unwrap_err();
        assert!(matches!(error, GeometryError::MixedHandedness { view: 2, .. }), "{error}");
    }

    #[test]
    fn scan_geometry_names_the_view_with_nan_and_the_singular_one() {
        let (pose, grid) = awkward_pose();
        let good = *ProjectionMatrix::from_pose(&pose, &grid).unwrap().matrix();
        let mut nan = good;
        nan[(1, 2)] = f64::NAN;
        let text = ScanGeometry::from_matrices(grid, [good, nan]).unwrap_err().to_string();
        assert!(text.contains("view 1") && text.contains("NaN"), "{text}");
        let text = ScanGeometry::from_matrices(grid, [Matrix3x4::zeros()]).unwrap_err().to_string();
        assert!(text.contains("view 0") && text.contains("determinant"), "{text}");
    }
}
