//! Gaussian smoothing of arrays, and smoothing of a shape that keeps its volume.

use crate::error::PrintingError;
use crate::field::Field;
use ndarray::{Array3, Axis, Zip};
use rayon::prelude::*;

/// How many standard deviations a kernel reaches.
const REACH: f64 = 3.5;

/// Convolves in place with a Gaussian of a standard deviation in voxels along x, y, z; the outermost values go on
/// beyond the border.
pub(crate) fn gaussian(values: &mut Array3<f32>, sigma_voxels: [f64; 3]) {
    let kernels = sigma_voxels.map(kernel);
    values.axis_iter_mut(Axis(0)).collect::<Vec<_>>().into_par_iter().for_each(|mut plane| {
        let mut line = Vec::new();
        if kernels[0].len() > 1 {
            for mut row in plane.rows_mut() {
                along_row(row.as_slice_mut().expect("standard layout"), &kernels[0], &mut line);
            }
        }
        if kernels[1].len() > 1 {
            let before = plane.to_owned();
            across(before.len_of(Axis(0)), &kernels[1], |y, from, weight, is_first| {
                add(
                    plane.row_mut(y).into_slice().expect("rows"),
                    before.row(from).to_slice().expect("rows"),
                    weight,
                    is_first,
                );
            });
        }
    });
    if kernels[2].len() > 1 {
        let before = values.clone();
        let count = before.len_of(Axis(0));
        values.axis_iter_mut(Axis(0)).collect::<Vec<_>>().into_par_iter().enumerate().for_each(
            |(z, mut plane)| {
                let plane = plane.as_slice_mut().expect("standard layout");
                for (from, weight, is_first) in taps(z, count, &kernels[2]) {
                    let source = before.index_axis(Axis(0), from);
                    add(plane, source.to_slice().expect("standard layout"), weight, is_first);
                }
            },
        );
    }
}

/// Weights from the middle outwards to one side and back: odd length, sum one.
fn kernel(sigma: f64) -> Vec<f32> {
    // Narrower than this, all weight lies on the middle.
    if sigma.is_nan() || sigma < 0.15 {
        return vec![1.0];
    }
    let half = (REACH * sigma).ceil() as i64;
    let weights: Vec<f64> = (-half..=half).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

fn taps(at: usize, count: usize, kernel: &[f32]) -> impl Iterator<Item = (usize, f32, bool)> {
    let half = kernel.len() as i64 / 2;
    kernel.iter().enumerate().map(move |(i, &weight)| {
        let from = (at as i64 + i as i64 - half).clamp(0, count as i64 - 1);
        (from as usize, weight, i == 0)
    })
}

fn across(count: usize, kernel: &[f32], mut step: impl FnMut(usize, usize, f32, bool)) {
    for at in 0..count {
        for (from, weight, is_first) in taps(at, count, kernel) {
            step(at, from, weight, is_first);
        }
    }
}

fn add(sum: &mut [f32], source: &[f32], weight: f32, is_first: bool) {
    if is_first {
        sum.iter_mut().zip(source).for_each(|(to, from)| *to = weight * from);
    } else {
        sum.iter_mut().zip(source).for_each(|(to, from)| *to += weight * from);
    }
}

fn along_row(row: &mut [f32], kernel: &[f32], padded: &mut Vec<f32>) {
    let half = kernel.len() / 2;
    padded.clear();
    padded.extend(std::iter::repeat_n(row[0], half));
    padded.extend_from_slice(row);
    padded.extend(std::iter::repeat_n(row[row.len() - 1], half));
    row.fill(0.0);
    for (i, &weight) in kernel.iter().enumerate() {
        let source = &padded[i..i + row.len()];
        row.iter_mut().zip(source).for_each(|(to, from)| *to += weight * from);
    }
}

/// Farthest that smoothing may move the surface, in the smallest voxel spacing.
const MOVE_MOST: f64 = 0.3;

impl Field {
    /// The shape without its finest roughness: the field convolved with a Gaussian, changed nowhere near the surface
    /// by more than 0.3 voxels, then shifted as a whole so that the volume stays what it was.
    ///
    /// `sigma_mm`: standard deviation, mm; half to one voxel takes the grid's steps away.
    ///
    /// # Errors
    /// `Parameter`.
    pub fn smoothed(&self, sigma_mm: f64) -> Result<Self, PrintingError> {
        if !(sigma_mm >= 0.0 && sigma_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "smoothing in mm",
                expected: "zero or more",
                found: sigma_mm,
            });
        }
        let limit = MOVE_MOST * self.grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
        let mut values = self.values.clone();
        gaussian(&mut values, self.grid.spacing_mm.map(|spacing| sigma_mm / spacing));
        let limit = limit as f32;
        Zip::from(&mut values)
            .and(&self.values)
            .for_each(|new, &old| *new = new.clamp(old - limit, old + limit));
        let mut smooth = Self { grid: self.grid, values };
        let target = self.soft_volume_mm3(0.0);
        let (mut low, mut high) = (-f64::from(limit), f64::from(limit));
        for _ in 0..20 {
            let middle = 0.5 * (low + high);
            if smooth.soft_volume_mm3(middle) < target { low = middle } else { high = middle }
        }
        let shift = (0.5 * (low + high)) as f32;
        smooth.values += shift;
        Ok(smooth)
    }

    /// Volume of `field + shift > 0` where voxels at the border count in part, mm³.
    pub(crate) fn soft_volume_mm3(&self, shift: f64) -> f64 {
        let spacing = self.grid.spacing_mm;
        let width = (spacing[0] * spacing[1] * spacing[2]).cbrt() as f32;
        let shift = shift as f32;
        let planes: Vec<f64> = self
            .values
            .axis_iter(Axis(0))
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|plane| {
                plane.iter().map(|&value| f64::from(((value + shift) / width + 0.5).clamp(0.0, 1.0))).sum()
            })
            .collect();
        planes.iter().sum::<f64>() * spacing[0] * spacing[1] * spacing[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use carm::VolumeGrid;
    use nalgebra::{Matrix3, Point3};

    #[test]
    fn gaussian_keeps_the_sum_and_has_the_variance_asked_for() {
        let mut values = Array3::zeros((21, 25, 29));
        values[[10, 12, 14]] = 1.0;
        gaussian(&mut values, [1.0, 1.5, 2.0]);
        assert!((values.sum() - 1.0).abs() < 1e-5);
        for (axis, sigma) in [(0, 2.0_f64), (1, 1.5), (2, 1.0)] {
            let middle = [10.0, 12.0, 14.0][axis];
            let variance: f64 = values
                .indexed_iter()
                .map(|(at, &value)| f64::from(value) * ([at.0, at.1, at.2][axis] as f64 - middle).powi(2))
                .sum();
            // The kernel ends at 3.5 standard deviations.
            assert!((variance - sigma * sigma).abs() < 0.02 * sigma * sigma, "{variance}");
        }
    }

    #[test]
    fn smoothed_shape_keeps_its_volume_and_loses_roughness() {
        let grid = VolumeGrid::centred([50; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let rough = Field::from_fn(grid, |p| {
            8.0 - p.coords.norm() + 0.15 * (5.0 * p.x).sin() * (5.0 * p.y).sin() * (5.0 * p.z).sin()
        })
        .unwrap();
        let [before, after] = [&rough, &rough.smoothed(0.5).unwrap()].map(|field| {
            let mesh = surface(field, &mut Silent).unwrap();
            let off = mesh.vertices_mm.iter().map(|p| (crate::geometry::vector(*p).norm() - 8.0).powi(2));
            ((off.sum::<f64>() / mesh.vertices_mm.len() as f64).sqrt(), check(&mesh).volume_mm3)
        });
        assert!((after.1 / before.1 - 1.0).abs() < 0.001, "{before:?} {after:?}");
        assert!(after.0 < 0.5 * before.0, "{before:?} {after:?}");
    }
}
