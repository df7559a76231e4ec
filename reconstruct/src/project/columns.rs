//! A volume stored for ray casting: columns of voxels, one after the other, in a border of zeros.

use crate::error::ReconstructError;
use carm::VolumeGrid;
use nalgebra::{Matrix4, Vector3};
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

/// Zeros before and after each column, so that whole windows of samples stay inside.
pub(super) const PADDING: usize = 24;
/// Floats of a cache line.
const LINE: usize = 16;

/// How voxels lie: `[slow][fast][along]`, one column of zeros on every side.
///
/// Strides are odd numbers of cache lines: equal places of neighbouring columns then fall into different cache sets.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnGrid {
    /// The grid that the columns belong to.
    pub grid: VolumeGrid,
    /// Index axis of the grid for slow, fast and along.
    pub(crate) axes: [usize; 3],
    /// Voxels along slow, fast and along.
    pub(crate) counts: [usize; 3],
    /// Floats from one column to the next along slow and along fast.
    pub(crate) strides: [usize; 2],
}

impl ColumnGrid {
    /// Columns along the index axis nearest to `axis`, which for a scan is best the rotation axis.
    pub fn nearest_to(grid: VolumeGrid, axis: &Vector3<f64>) -> Self {
        let cosine = |index: usize| grid.direction.column(index).dot(axis).abs();
        let along = (0..3).max_by(|&a, &b| cosine(a).total_cmp(&cosine(b))).expect("three axes");
        let [near, far] = match along {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        };
        // Planes of the longer axis go to threads, so that a volume of one slice is shared out, too.
        let axes = if grid.shape[near] > grid.shape[far] { [near, far, along] } else { [far, near, along] };
        let counts = axes.map(|axis| grid.shape[axis]);
        let odd_lines = |floats: usize| (floats.div_ceil(LINE) | 1) * LINE;
        let column = odd_lines(counts[2] + 2 * PADDING);
        Self { grid, axes, counts, strides: [odd_lines((counts[1] + 2) * column), column] }
    }

    /// Floats of a stored volume.
    pub(super) fn len(&self) -> usize {
        (self.counts[0] + 2) * self.strides[0]
    }

    /// Where voxel `along` of a column lies; any of the three may be one beyond the volume, `along` up to
    /// [`PADDING`].
    #[inline(always)]
    pub(crate) fn offset(&self, slow: isize, fast: isize, along: isize) -> usize {
        ((slow + 1) * self.strides[0] as isize
            + (fast + 1) * self.strides[1] as isize
            + along
            + PADDING as isize) as usize
    }

    /// Homogeneous transform from `(slow, fast, along)` to the space, mm.
    pub(super) fn space_from_index(&self) -> Matrix4<f64> {
        let from_voxel = self.grid.space_from_voxel();
        let mut permuted = from_voxel;
        for (to, from) in self.axes.into_iter().enumerate() {
            permuted.set_column(to, &from_voxel.column(from));
        }
        permuted
    }

    /// Unit vector along the columns.
    pub fn column_direction(&self) -> Vector3<f64> {
        self.grid.direction.column(self.axes[2]).into_owned()
    }

    /// A volume of zeros.
    pub fn zeros(&self) -> ColumnVolume {
        ColumnVolume { values: vec![0.0; self.len()] }
    }

    /// Stores `values[z, y, x]`.
    ///
    /// # Errors
    /// [`ReconstructError::VolumeShape`] when the array is not the grid's, [`ReconstructError::VoxelNotFinite`].
    pub fn store(&self, values: ArrayView3<'_, f32>) -> Result<ColumnVolume, ReconstructError> {
        let [nx, ny, nz] = self.grid.shape;
        let found = [values.shape()[2], values.shape()[1], values.shape()[0]];
        if found != self.grid.shape {
            return Err(ReconstructError::VolumeShape { expected: [nx, ny, nz], found });
        }
        let ordered = self.ordered(values);
        let mut volume = self.zeros();
        let [fast_count, column] = [self.counts[1], self.strides[1]];
        volume.values.par_chunks_mut(self.strides[0]).enumerate().for_each(|(line, slab)| {
            if line == 0 || line > self.counts[0] {
                return;
            }
            let plane = ordered.index_axis(ndarray::Axis(0), line - 1);
            // Blocks of columns, so that lines of the plane are read whole whichever axis is contiguous.
            for first in (0..fast_count).step_by(LINE) {
                for along in 0..self.counts[2] {
                    for fast in first..(first + LINE).min(fast_count) {
                        slab[(fast + 1) * column + PADDING + along] = plane[[fast, along]];
                    }
                }
            }
        });
        volume.check_finite(self)?;
        Ok(volume)
    }

    /// `values[z, y, x]` seen as `[slow, fast, along]`.
    fn ordered<'a>(&self, values: ArrayView3<'a, f32>) -> ArrayView3<'a, f32> {
        // Array axis of index axis x, y, z is 2, 1, 0.
        values.permuted_axes(self.axes.map(|axis| 2 - axis))
    }

    /// Puts a stored volume back into `[z, y, x]`.
    pub fn to_array(&self, volume: &ColumnVolume) -> Array3<f32> {
        let [nx, ny, nz] = self.grid.shape;
        let mut values = vec![0.0_f32; nx * ny * nz];
        let column = self.strides[1];
        values.par_chunks_mut(nx * ny).enumerate().for_each(|(z, slice)| {
            for (y, row) in slice.chunks_exact_mut(nx).enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    let index = self.axes.map(|axis| [x, y, z][axis]);
                    *value = volume.values
                        [(index[0] + 1) * self.strides[0] + (index[1] + 1) * column + PADDING + index[2]];
                }
            }
        });
        Array3::from_shape_vec((nz, ny, nx), values).expect("sizes of the grid")
    }
}

/// Voxel values in the order of a [`ColumnGrid`]; the border stays zero.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnVolume {
    pub(crate) values: Vec<f32>,
}

impl ColumnVolume {
    fn check_finite(&self, grid: &ColumnGrid) -> Result<(), ReconstructError> {
        // A sum of products with zero is finite only when every part is.
        let is_finite = |chunk: &[f32]| chunk.iter().map(|value| value * 0.0).sum::<f32>() == 0.0;
        if self.values.par_chunks(1 << 16).all(is_finite) {
            return Ok(());
        }
        let at = self.values.iter().position(|value| !value.is_finite()).expect("one was found");
        let index = [
            at / grid.strides[0] - 1,
            at % grid.strides[0] / grid.strides[1] - 1,
            at % grid.strides[1] - PADDING,
        ];
        let mut voxel = [0; 3];
        for (axis, place) in grid.axes.into_iter().zip(index) {
            voxel[axis] = place;
        }
        Err(ReconstructError::VoxelNotFinite { found: self.values[at], voxel })
    }
}

#[cfg(test)]
impl ColumnVolume {
    /// Whether every float outside the volume is zero.
    pub(super) fn border_is_zero(&self, grid: &ColumnGrid) -> bool {
        let mut inside = self.clone();
        for slow in 0..grid.counts[0] as isize {
            for fast in 0..grid.counts[1] as isize {
                let start = grid.offset(slow, fast, 0);
                inside.values[start..start + grid.counts[2]].fill(0.0);
            }
        }
        inside.values.iter().all(|value| *value == 0.0)
    }
}
