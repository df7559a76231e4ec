//! A coarse field around the volume, for what truncated views see outside it.

use crate::error::ReconstructError;
use crate::project::{ColumnVolume, Projector};
use carm::VolumeGrid;
use nalgebra::Vector3;

/// A field of coarse voxels around the volume. It takes up what the views see there; it is not part of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OuterField {
    /// Size of its voxels, in voxels of the volume.
    pub coarseness: usize,
    /// Its extent along x, y and z, in extents of the volume.
    pub extent: [f64; 3],
}

impl OuterField {
    /// Voxels four times as large over twice the volume's extent.
    pub const USUAL: Self = Self { coarseness: 4, extent: [2.0; 3] };

    /// The grid: the volume's centre and axes.
    pub(super) fn grid(&self, inner: &VolumeGrid) -> Result<VolumeGrid, ReconstructError> {
        let bad = |option, expected: &str, found: String| ReconstructError::BadOption {
            option,
            expected: expected.into(),
            found,
        };
        if self.coarseness == 0 {
            return Err(bad("coarseness of the outer field", "at least 1", "0".into()));
        }
        if !self.extent.iter().all(|extent| (1.0..=16.0).contains(extent)) {
            let found = format!("{:?}", self.extent);
            return Err(bad("extent of the outer field", "1 to 16 times the volume's", found));
        }
        let shape = std::array::from_fn(|axis| {
            (inner.shape[axis] as f64 * self.extent[axis] / self.coarseness as f64).ceil() as usize
        });
        let spacing = inner.spacing_mm.map(|spacing| spacing * self.coarseness as f64);
        Ok(VolumeGrid::centred(shape, spacing, inner.direction, inner.centre())?)
    }

    /// Ones where the outer field may have values: voxels whose centres lie outside the volume.
    pub(super) fn mask(&self, inner: &VolumeGrid, outer: &Projector) -> ColumnVolume {
        let grid = outer.column_grid().grid;
        let [nx, ny, nz] = grid.shape;
        let values = ndarray::Array3::from_shape_fn((nz, ny, nx), |(z, y, x)| {
            let voxel = inner.voxel(&grid.point(x as f64, y as f64, z as f64));
            let is_inside =
                (0..3).all(|axis| voxel[axis] > -0.5 && voxel[axis] < inner.shape[axis] as f64 - 0.5);
            if is_inside { 0.0 } else { 1.0 }
        });
        outer.store(values.view()).expect("zeros and ones of the grid's shape")
    }

    pub(super) fn projector(
        &self,
        inner: &VolumeGrid,
        column_axis: &Vector3<f64>,
        isa: crate::Isa,
    ) -> Result<Projector, ReconstructError> {
        Ok(Projector::new(self.grid(inner)?, column_axis, isa))
    }
}
