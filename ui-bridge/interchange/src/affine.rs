//! Affines of outside files and the [`VolumeGrid`]: a grid holds unit axes at right angles, nothing else.

use crate::error::InterchangeError;
use carm::VolumeGrid;
use nalgebra::{Matrix3, Matrix4, Point3, Vector3};
use std::path::Path;

/// Exchanges RAS and LPS coordinates: x and y change sign (its own inverse).
pub(crate) fn flip_x_and_y(affine: &Matrix4<f64>) -> Matrix4<f64> {
    Matrix4::from_diagonal(&nalgebra::Vector4::new(-1.0, -1.0, 1.0, 1.0)) * affine
}

/// Splits an affine from voxel index to LPS millimetres into spacing, direction and origin.
///
/// Axes may be flipped or permuted in any way; left-handed ones stay left-handed.
///
/// # Errors
/// Entries that are not finite, an axis of length zero, and axes that are not at right angles (sheared), with
/// the largest cosine between two of them.
pub(crate) fn grid_from_affine(
    path: &Path,
    shape: [usize; 3],
    lps_from_voxel: &Matrix4<f64>,
) -> Result<VolumeGrid, InterchangeError> {
    let linear: Matrix3<f64> = lps_from_voxel.fixed_view::<3, 3>(0, 0).into_owned();
    let origin: Vector3<f64> = lps_from_voxel.fixed_view::<3, 1>(0, 3).into_owned();
    let spacing_mm = [0, 1, 2].map(|axis| linear.column(axis).norm());
    if let Some(axis) = spacing_mm.iter().position(|&spacing| !(spacing > 0.0 && spacing.is_finite())) {
        let found = format!("{} mm", spacing_mm[axis]);
        return Err(InterchangeError::content(
            path,
            format!("length of voxel axis {axis}"),
            "a positive number of mm",
            found,
        ));
    }
    let direction = linear * Matrix3::from_diagonal(&Vector3::from(spacing_mm.map(f64::recip)));
    let cosine = largest_cosine(&direction);
    if cosine > VolumeGrid::ORTHONORMAL_TOLERANCE {
        return Err(InterchangeError::content(
            path,
            "voxel axes",
            "right angles (a sheared grid cannot be kept without resampling)",
            format!("a cosine of {cosine:.6} between two axes"),
        ));
    }
    VolumeGrid::new(shape, spacing_mm, direction, Point3::from(origin))
        .map_err(InterchangeError::geometry(path))
}

/// Largest absolute cosine between two different columns.
pub(crate) fn largest_cosine(direction: &Matrix3<f64>) -> f64 {
    [(0, 1), (0, 2), (1, 2)]
        .into_iter()
        .map(|(a, b)| direction.column(a).dot(&direction.column(b)).abs())
        .fold(0.0, f64::max)
}

/// Turns three sizes from a file into a shape and its voxel count.
///
/// # Errors
/// A size of zero, or a product that does not fit the address space.
pub(crate) fn checked_shape(path: &Path, sizes: [i64; 3]) -> Result<([usize; 3], usize), InterchangeError> {
    let told = || format!("{} x {} x {}", sizes[0], sizes[1], sizes[2]);
    let mut count = 1_usize;
    let mut shape = [0_usize; 3];
    for (axis, &size) in sizes.iter().enumerate() {
        let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or_else(|| {
            InterchangeError::content(path, "volume sizes", "three positive numbers", told())
        })?;
        shape[axis] = size;
        count =
            count.checked_mul(size).filter(|&count| count < isize::MAX as usize / 8).ok_or_else(|| {
                InterchangeError::content(path, "volume sizes", "a volume that fits in memory", told())
            })?;
    }
    Ok((shape, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affine_of_a_left_handed_grid_comes_back() {
        let turn = nalgebra::Rotation3::from_euler_angles(0.3, 0.1, -0.8);
        let mut direction = *turn.matrix();
        direction.set_column(1, &-direction.column(1).into_owned());
        let grid =
            VolumeGrid::new([3, 4, 5], [0.5, 0.75, 2.0], direction, Point3::new(1.0, -2.0, 3.0)).unwrap();
        let back = grid_from_affine(Path::new("a"), grid.shape, &grid.space_from_voxel()).unwrap();
        assert!((back.direction - grid.direction).abs().max() < 1e-12);
        assert!((back.origin - grid.origin).norm() < 1e-12);
        for axis in 0..3 {
            assert!((back.spacing_mm[axis] - grid.spacing_mm[axis]).abs() < 1e-12);
        }
    }

    #[test]
    fn affine_with_shear_is_refused_with_its_cosine() {
        let mut affine = Matrix4::identity();
        affine[(1, 2)] = 0.33;
        let text = grid_from_affine(Path::new("a.nii"), [2, 2, 2], &affine).unwrap_err().to_string();
        assert!(text.contains("a.nii") && text.contains("0.313"), "{text}");
        affine[(1, 2)] = f64::NAN;
        assert!(grid_from_affine(Path::new("a.nii"), [2, 2, 2], &affine).is_err());
    }

    #[test]
    fn affine_shape_refuses_zero_negative_and_overflowing_sizes() {
        let path = Path::new("a");
        assert_eq!(checked_shape(path, [2, 3, 4]).unwrap(), ([2, 3, 4], 24));
        for sizes in [[0, 1, 1], [4, -1, 2], [i64::MAX, 2, 2], [1 << 30, 1 << 30, 1]] {
            assert!(checked_shape(path, sizes).is_err(), "{sizes:?}");
        }
    }
}
