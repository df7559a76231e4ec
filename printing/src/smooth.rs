//! Gaussian smoothing of arrays, and smoothing of a shape that keeps its volume.

use crate::error::PrintingError;
use crate::field::Field;
use ndarray::{Array3, ArrayViewMut2, Axis};
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
        down_rows(plane, &kernels[1]);
    });
    values
        .axis_iter_mut(Axis(1))
        .collect::<Vec<_>>()
        .into_par_iter()
        .for_each(|plane| down_rows(plane, &kernels[2]));
}

/// How many samples to either side a Gaussian of a standard deviation in voxels takes in.
pub(crate) fn reach(sigma_voxels: f64) -> usize {
    kernel(sigma_voxels).len() / 2
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

/// Convolves a plane from row to row.
fn down_rows(mut plane: ArrayViewMut2<f32>, kernel: &[f32]) {
    if kernel.len() == 1 {
        return;
    }
    let before = plane.to_owned();
    for (at, row) in plane.rows_mut().into_iter().enumerate() {
        let row = row.into_slice().expect("rows");
        for (from, weight, is_first) in taps(at, before.nrows(), kernel) {
            add(row, before.row(from).to_slice().expect("rows"), weight, is_first);
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
    pub fn smoothed(self, sigma_mm: f64) -> Result<Self, PrintingError> {
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
        let (new, old) = (
            values.as_slice_mut().expect("standard layout"),
            self.values.as_slice().expect("standard layout"),
        );
        new.par_iter_mut().zip(old).for_each(|(new, old)| *new = new.clamp(old - limit, old + limit));
        let target = SoftVolume::of(&self, 0.0).voxels(0.0);
        let mut smooth = Self { grid: self.grid, values };
        let soft = SoftVolume::of(&smooth, limit);
        let (mut low, mut high) = (-f64::from(limit), f64::from(limit));
        for _ in 0..20 {
            let middle = 0.5 * (low + high);
            if soft.voxels(middle as f32) < target { low = middle } else { high = middle }
        }
        let shift = (0.5 * (low + high)) as f32;
        let values = smooth.values.as_slice_mut().expect("standard layout");
        values.par_iter_mut().for_each(|value| *value += shift);
        Ok(smooth)
    }
}

/// The volume of a field that is shifted as a whole, where voxels at the border count in part.
struct SoftVolume {
    /// Voxels inside whatever the shift.
    inside: usize,
    /// Values of the voxels that may be at the border.
    border: Vec<f32>,
    width: f32,
}

impl SoftVolume {
    /// `shift_most`: no shift is greater to either side, mm.
    fn of(field: &Field, shift_most: f32) -> Self {
        let width = field.grid.spacing_mm.into_iter().product::<f64>().cbrt() as f32;
        // Half a voxel, and room for rounding.
        let close = 0.51 * width + shift_most;
        let values = field.values.as_slice().expect("standard layout");
        let inside = values.par_iter().filter(|value| **value > close).count();
        let border = values.par_iter().copied().filter(|value| value.abs() <= close).collect();
        Self { inside, border, width }
    }

    /// Of `field + shift > 0`: the parts of the voxels are whole numbers of 2⁻²⁵, so their sum is exact in any order.
    fn voxels(&self, shift: f32) -> f64 {
        let part = |value: &f32| f64::from(((value + shift) / self.width + 0.5).clamp(0.0, 1.0));
        self.inside as f64 + self.border.par_iter().map(part).sum::<f64>()
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
        let [before, after] = [&rough, &rough.clone().smoothed(0.5).unwrap()].map(|field| {
            let mesh = surface(field, &mut Silent).unwrap();
            let off = mesh.vertices_mm.iter().map(|p| (crate::geometry::vector(*p).norm() - 8.0).powi(2));
            ((off.sum::<f64>() / mesh.vertices_mm.len() as f64).sqrt(), check(&mesh).volume_mm3)
        });
        assert!((after.1 / before.1 - 1.0).abs() < 0.001, "{before:?} {after:?}");
        assert!(after.0 < 0.5 * before.0, "{before:?} {after:?}");
    }
}
