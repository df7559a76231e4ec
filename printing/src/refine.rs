//! The same shape on a finer grid: room for walls and words that the image's voxels are too coarse for.

use crate::error::PrintingError;
use crate::field::{Field, array_shape};
use carm::VolumeGrid;
use ndarray::{Array3, Axis, Zip};
use rayon::prelude::*;

impl Field {
    /// The shape on a grid whose voxels are no wider than `spacing_most_mm` along any axis; voxels are divided into
    /// equal parts, and the samples that were there stay.
    ///
    /// # Errors
    /// `Parameter` for a spacing that is not positive.
    ///
    /// # Method
    /// Cubic interpolation through the samples, axis by axis (Catmull and Rom, Computer Aided Geometric Design, 1974).
    pub fn refined(self, spacing_most_mm: f64) -> Result<Self, PrintingError> {
        if !(spacing_most_mm > 0.0 && spacing_most_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "largest spacing in mm",
                expected: "more than zero",
                found: spacing_most_mm,
            });
        }
        let mut fine = self;
        for axis in 0..3 {
            let parts = (fine.grid.spacing_mm[axis] / spacing_most_mm - 1e-6).ceil().max(1.0) as usize;
            if parts > 1 {
                fine = fine.divided(axis, parts);
            }
        }
        Ok(fine)
    }

    /// Every voxel along an axis in equal parts.
    fn divided(&self, axis: usize, parts: usize) -> Self {
        let mut grid: VolumeGrid = self.grid;
        let count = grid.shape[axis];
        grid.shape[axis] = (count - 1) * parts + 1;
        grid.spacing_mm[axis] /= parts as f64;
        let along = Axis(2 - axis);
        let mut values = Array3::zeros(array_shape(&grid));
        values.axis_iter_mut(along).collect::<Vec<_>>().into_par_iter().enumerate().for_each(
            |(at, mut plane)| {
                let (base, part) = (at / parts, at % parts);
                let sample = |offset: isize| {
                    self.values.index_axis(along, base.saturating_add_signed(offset).min(count - 1))
                };
                if part == 0 {
                    return plane.assign(&sample(0));
                }
                let [a, b, c, d] = weights(part as f32 / parts as f32);
                Zip::from(&mut plane)
                    .and(&sample(-1))
                    .and(&sample(0))
                    .and(&sample(1))
                    .and(&sample(2))
                    .for_each(|to, &p, &q, &r, &s| *to = a * p + b * q + c * r + d * s);
            },
        );
        Self { grid, values }
    }
}

/// Weights of the samples before, at, after and beyond a place `t` of the way from one to the next.
fn weights(t: f32) -> [f32; 4] {
    [
        0.5 * t * (-1.0 + t * (2.0 - t)),
        0.5 * (2.0 + t * t * (-5.0 + 3.0 * t)),
        0.5 * t * (1.0 + t * (4.0 - 3.0 * t)),
        0.5 * t * t * (t - 1.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Matrix3, Point3};

    #[test]
    fn refined_field_keeps_its_samples_and_follows_planes_and_balls() {
        let grid = VolumeGrid::centred(
            [30, 28, 12],
            [0.8, 0.9, 2.5],
            Matrix3::identity(),
            Point3::new(3.0, 1.0, 2.0),
        )
        .unwrap();
        let middle = grid.centre();
        let field = Field::from_fn(grid, |p| 9.0 - (p - middle).norm()).unwrap();
        let fine = field.clone().refined(0.7).unwrap();
        assert_eq!(fine.grid.shape, [59, 55, 45]);
        assert!(fine.grid.spacing_mm.iter().all(|&spacing| spacing <= 0.7));
        for ((z, y, x), &value) in field.values.indexed_iter() {
            assert_eq!(fine.values[[4 * z, 2 * y, 2 * x]], value);
        }
        let mut off = 0.0_f64;
        for ((z, y, x), &value) in fine.values.indexed_iter().filter(|(_, value)| value.abs() < 1.0) {
            let point = fine.grid.point(x as f64, y as f64, z as f64);
            off = off.max((9.0 - (point - middle).norm() - f64::from(value)).abs());
        }
        assert!(off < 0.04, "{off}");
        assert_eq!(field.clone().refined(5.0).unwrap(), field);
        assert!(matches!(field.refined(f64::NAN), Err(PrintingError::Parameter { .. })));
    }
}
