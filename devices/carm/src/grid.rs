//! Where samples lie: detector pixels and volume voxels.

use crate::error::{GeometryError, require_positive};
use nalgebra::{Matrix3, Matrix4, Point3, Vector3};

/// The pixel grid of a flat detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorGrid {
    /// Columns.
    pub nu: usize,
    /// Rows.
    pub nv: usize,
    /// Distance between neighbouring columns, mm.
    pub pixel_pitch_u_mm: f64,
    /// Distance between neighbouring rows, mm.
    pub pixel_pitch_v_mm: f64,
}

impl DetectorGrid {
    /// A grid of `[nu, nv]` pixels at `[u, v]` pitch in mm.
    ///
    /// # Errors
    /// [`GeometryError::NotPositive`] for an empty grid or a pitch that is not positive.
    pub fn new(size: [usize; 2], pitch_mm: [f64; 2]) -> Result<Self, GeometryError> {
        require_positive("detector columns", size[0] as f64)?;
        require_positive("detector rows", size[1] as f64)?;
        require_positive("pixel pitch u in mm", pitch_mm[0])?;
        require_positive("pixel pitch v in mm", pitch_mm[1])?;
        Ok(Self { nu: size[0], nv: size[1], pixel_pitch_u_mm: pitch_mm[0], pixel_pitch_v_mm: pitch_mm[1] })
    }

    /// Number of pixels.
    pub fn pixel_count(&self) -> usize {
        self.nu * self.nv
    }

    /// The grid after every rectangle of `[columns, rows]` pixels has become one; what is left over at the ends is dropped.
    ///
    /// # Panics
    /// When a side is zero or more than there are: a bug of the caller.
    pub fn with_pixels_averaged(&self, [columns, rows]: [usize; 2]) -> Self {
        assert!(columns >= 1 && columns <= self.nu, "{columns} columns averaged of {}", self.nu);
        assert!(rows >= 1 && rows <= self.nv, "{rows} rows averaged of {}", self.nv);
        Self {
            nu: self.nu / columns,
            nv: self.nv / rows,
            pixel_pitch_u_mm: self.pixel_pitch_u_mm * columns as f64,
            pixel_pitch_v_mm: self.pixel_pitch_v_mm * rows as f64,
        }
    }

    /// Pixel coordinates of the centre of the image.
    pub fn centre(&self) -> [f64; 2] {
        [(self.nu as f64 - 1.0) / 2.0, (self.nv as f64 - 1.0) / 2.0]
    }
}

/// The voxel grid of a volume: sizes, spacing, and its place in a space (world or LPS).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolumeGrid {
    /// `nx, ny, nz`.
    pub shape: [usize; 3],
    /// Distance between voxel centres along each index axis, mm.
    pub spacing_mm: [f64; 3],
    /// Columns are the unit vectors of the index axes i, j, k in the space.
    pub direction: Matrix3<f64>,
    /// Centre of voxel (0, 0, 0), mm.
    pub origin: Point3<f64>,
}

impl VolumeGrid {
    /// How far `DᵀD` may stray from the identity: DICOM writes direction cosines with about six digits.
    pub const ORTHONORMAL_TOLERANCE: f64 = 1e-4;

    /// A grid with every part given.
    ///
    /// # Errors
    /// [`GeometryError`] for empty sizes, spacing that is not positive, or axes that are not orthonormal.
    pub fn new(
        shape: [usize; 3],
        spacing_mm: [f64; 3],
        direction: Matrix3<f64>,
        origin: Point3<f64>,
    ) -> Result<Self, GeometryError> {
        for axis in 0..3 {
            require_positive("volume size in voxels", shape[axis] as f64)?;
            require_positive("voxel spacing in mm", spacing_mm[axis])?;
            if !origin[axis].is_finite() {
                return Err(GeometryError::NotFinite {
                    what: "volume origin".into(),
                    found: origin[axis].to_string(),
                });
            }
        }
        let deviation = (direction.transpose() * direction - Matrix3::identity()).abs().max();
        if deviation.is_nan() || deviation > Self::ORTHONORMAL_TOLERANCE {
            return Err(GeometryError::NotOrthonormal { what: "volume direction".into(), deviation });
        }
        Ok(Self { shape, spacing_mm, direction, origin })
    }

    /// An axis-aligned grid centred on `centre`: the first voxel centre is at -(n-1)/2 times the spacing.
    ///
    /// # Errors
    /// As [`VolumeGrid::new`].
    pub fn centred(
        shape: [usize; 3],
        spacing_mm: [f64; 3],
        direction: Matrix3<f64>,
        centre: Point3<f64>,
    ) -> Result<Self, GeometryError> {
        let half = Vector3::from_fn(|axis, _| (shape[axis] as f64 - 1.0) / 2.0 * spacing_mm[axis]);
        Self::new(shape, spacing_mm, direction, centre - direction * half)
    }

    /// Number of voxels.
    pub fn voxel_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Homogeneous transform from voxel index `(i, j, k)` to the space, mm.
    pub fn space_from_voxel(&self) -> Matrix4<f64> {
        let linear = self.direction * Matrix3::from_diagonal(&Vector3::from(self.spacing_mm));
        let mut affine = linear.to_homogeneous();
        affine.fixed_view_mut::<3, 1>(0, 3).copy_from(&self.origin.coords);
        affine
    }

    /// The point of a (fractional) voxel index.
    pub fn point(&self, i: f64, j: f64, k: f64) -> Point3<f64> {
        let [sx, sy, sz] = self.spacing_mm;
        self.origin + self.direction * Vector3::new(i * sx, j * sy, k * sz)
    }

    /// The (fractional) voxel index of a point.
    pub fn voxel(&self, point: &Point3<f64>) -> [f64; 3] {
        // Orthonormal within tolerance, but invert exactly so that point(voxel(x)) == x.
        let inverse = self.direction.try_inverse().expect("checked orthonormal at construction");
        let along = inverse * (point - self.origin);
        [along.x / self.spacing_mm[0], along.y / self.spacing_mm[1], along.z / self.spacing_mm[2]]
    }

    /// Centre of the grid.
    pub fn centre(&self) -> Point3<f64> {
        let [nx, ny, nz] = self.shape.map(|n| (n as f64 - 1.0) / 2.0);
        self.point(nx, ny, nz)
    }

    /// The same voxels seen from another space: `b_from_a` applied to a grid in `a`.
    pub fn transformed(&self, b_from_a: &nalgebra::Isometry3<f64>) -> Self {
        Self {
            direction: b_from_a.rotation.to_rotation_matrix().matrix() * self.direction,
            origin: b_from_a * self.origin,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_grid_voxel_inverts_point() {
        let turn = nalgebra::Rotation3::from_euler_angles(0.2, -0.4, 1.1);
        let grid = VolumeGrid::new([5, 7, 9], [0.5, 1.25, 2.0], *turn.matrix(), Point3::new(3.0, -4.0, 5.0))
            .unwrap();
        let index = grid.voxel(&grid.point(1.5, 2.0, -3.25));
        for (found, expected) in index.iter().zip([1.5, 2.0, -3.25]) {
            assert!((found - expected).abs() < 1e-12);
        }
        let homogeneous = grid.space_from_voxel() * nalgebra::Vector4::new(1.5, 2.0, -3.25, 1.0);
        assert!((homogeneous.xyz() - grid.point(1.5, 2.0, -3.25).coords).norm() < 1e-12);
    }

    #[test]
    fn volume_grid_rejects_sheared_axes_and_nan() {
        let mut sheared = Matrix3::identity();
        sheared[(0, 1)] = 0.3;
        let error = VolumeGrid::new([2, 2, 2], [1.0; 3], sheared, Point3::origin()).unwrap_err();
        assert!(matches!(error, GeometryError::NotOrthonormal { .. }));
        let error = VolumeGrid::new([2, 2, 2], [1.0, f64::NAN, 1.0], Matrix3::identity(), Point3::origin())
            .unwrap_err();
        assert!(matches!(error, GeometryError::NotFinite { .. }));
    }

    #[test]
    fn volume_grid_centred_puts_first_voxel_half_a_grid_away() {
        let grid =
            VolumeGrid::centred([256, 4, 5], [0.8, 1.0, 2.0], Matrix3::identity(), Point3::origin()).unwrap();
        assert_eq!(grid.origin, Point3::new(-102.0, -1.5, -4.0));
        assert!((grid.centre() - Point3::origin()).norm() < 1e-12);
    }
}
