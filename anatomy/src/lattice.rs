//! Voxels as a flat array with spacing: what every tool here walks over.

use carm::VolumeGrid;
use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis};
use rayon::prelude::*;
use std::ops::Range;

/// Sizes and spacing of an array in its own order, z first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    /// `nz, ny, nx`.
    pub shape: [usize; 3],
    /// Between neighbours along z, y and x, mm.
    pub spacing_mm: [f64; 3],
}

impl Lattice {
    /// The lattice of a grid, whose sizes are given x first.
    pub fn of(grid: &VolumeGrid) -> Self {
        let [nx, ny, nz] = grid.shape;
        let [sx, sy, sz] = grid.spacing_mm;
        Self { shape: [nz, ny, nx], spacing_mm: [sz, sy, sx] }
    }

    /// Number of voxels.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Voxels of one slice.
    pub fn slice_len(&self) -> usize {
        self.shape[1] * self.shape[2]
    }

    /// Volume of one voxel, mm³.
    pub fn voxel_mm3(&self) -> f64 {
        self.spacing_mm.iter().product()
    }

    /// Longest distance between opposite corners of a voxel, mm.
    pub fn voxel_diagonal_mm(&self) -> f64 {
        self.spacing_mm.iter().map(|s| s * s).sum::<f64>().sqrt()
    }

    /// How far apart in the flat array neighbours along z, y and x are.
    pub fn strides(&self) -> [usize; 3] {
        [self.slice_len(), self.shape[2], 1]
    }

    /// Place in the flat array.
    pub fn index(&self, [z, y, x]: [usize; 3]) -> usize {
        (z * self.shape[1] + y) * self.shape[2] + x
    }

    /// `z, y, x` of a place in the flat array.
    pub fn position(&self, index: usize) -> [usize; 3] {
        let row = index / self.shape[2];
        [row / self.shape[1], row % self.shape[1], index % self.shape[2]]
    }

    /// Where some slices and `beyond` more to either side, as far as there are any, lie in the flat array, and their lattice.
    pub(crate) fn around(&self, slices: &Range<usize>, beyond: usize) -> (Range<usize>, Self) {
        let [nz, ny, nx] = self.shape;
        let (low, high) = (slices.start.saturating_sub(beyond), nz.min(slices.end + beyond));
        let part = Self { shape: [high - low, ny, nx], ..*self };
        (low * self.slice_len()..high * self.slice_len(), part)
    }

    /// Changes planes of values in parallel: those with the rows of one z for `axis` 1 (y), with the rows of one y for
    /// `axis` 0 (z), so that what a voxel takes from others along that axis lies in its plane.
    pub(crate) fn for_planes(
        &self,
        values: &mut [f32],
        axis: usize,
        change: impl Fn(ArrayViewMut2<f32>) + Send + Sync,
    ) {
        let mut values = ArrayViewMut3::from_shape(self.shape, values).expect("a value for each voxel");
        values.axis_iter_mut(Axis(1 - axis)).collect::<Vec<_>>().into_par_iter().for_each(change);
    }

    /// The voxel nearest to a place, mm along z, y and x from the first voxel's centre; none outside.
    pub fn voxel_at(&self, place_mm: [f64; 3]) -> Option<usize> {
        let mut at = [0; 3];
        for axis in 0..3 {
            let index = (place_mm[axis] / self.spacing_mm[axis]).round();
            if !(index >= 0.0 && index < self.shape[axis] as f64) {
                return None;
            }
            at[axis] = index as usize;
        }
        Some(self.index(at))
    }

    /// Calls `visit` with each of the up to six neighbours that share a face, and the axis they lie along.
    pub fn for_neighbours(&self, index: usize, mut visit: impl FnMut(usize, usize)) {
        let at = self.position(index);
        for (axis, stride) in self.strides().into_iter().enumerate() {
            if at[axis] > 0 {
                visit(index - stride, axis);
            }
            if at[axis] + 1 < self.shape[axis] {
                visit(index + stride, axis);
            }
        }
    }

    /// The voxel at an offset, where it exists.
    pub fn offset(&self, at: [usize; 3], by: [isize; 3]) -> Option<usize> {
        let mut moved = [0; 3];
        for axis in 0..3 {
            moved[axis] = at[axis].checked_add_signed(by[axis]).filter(|to| *to < self.shape[axis])?;
        }
        Some(self.index(moved))
    }

    /// Whether a voxel lies on a face of the lattice.
    pub fn is_on_face(&self, at: [usize; 3]) -> bool {
        (0..3).any(|axis| at[axis] == 0 || at[axis] + 1 == self.shape[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lattice_position_inverts_index() {
        let lattice = Lattice { shape: [3, 4, 5], spacing_mm: [3.0, 2.0, 1.0] };
        for index in 0..lattice.len() {
            assert_eq!(lattice.index(lattice.position(index)), index);
        }
        let mut neighbours = Vec::new();
        lattice.for_neighbours(0, |neighbour, axis| neighbours.push((neighbour, axis)));
        assert_eq!(neighbours, [(20, 0), (5, 1), (1, 2)]);
        assert_eq!(lattice.offset([1, 1, 1], [0, -2, 0]), None);
        assert!((lattice.voxel_diagonal_mm() - 14.0_f64.sqrt()).abs() < 1e-12);
    }
}
