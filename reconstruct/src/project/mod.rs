//! Line integrals through a volume, and the matched adjoint: Joseph's method for any grid, any projection matrix and any
//! region of the detector.
//!
//! [`Projector`] holds the volume's layout and the choice of instructions, [`ColumnVolume`] the values it casts rays
//! through, [`DetectorRegion`] the pixels. [`mod@reference`] defines the operator in `f64`, [`siddon`] gives the exact
//! integral through boxes of constant value.
//!
//! The volume is held as columns along the index axis nearest to the rotation axis, and rays that are neighbours along
//! the detector direction nearest to it are cast eight or sixteen at a time: at any depth they lie in a short window of one to a
//! few columns. Where a row of detector pixels shares its path across the columns (a detector aligned with them), the
//! two columns are blended before they are read. Every ray is summed by one thread in a fixed order.

mod adjoint;
mod adjoint_avx2;
mod adjoint_avx512;
mod aligned;
mod columns;
mod forward;
mod forward_avx2;
mod forward_avx512;
pub mod pose;
mod rays;
pub mod reference;
pub mod siddon;
#[cfg(test)]
mod tests;

use crate::backproject::Isa;
use crate::error::ReconstructError;
use carm::{DetectorGrid, ProjectionMatrix, VolumeGrid};
use nalgebra::Vector3;
use ndarray::{Array2, Array3, ArrayView3};
use rays::{Lanes, ViewRays};

pub use columns::{ColumnGrid, ColumnVolume};

/// Neighbouring rays that are cast together.
const LANES: usize = 8;

/// A rectangle of detector pixels, `u_start..u_start + nu` by `v_start..v_start + nv`, every `step`-th in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectorRegion {
    /// First column.
    pub u_start: usize,
    /// First row.
    pub v_start: usize,
    /// Columns of the image.
    pub nu: usize,
    /// Rows of the image.
    pub nv: usize,
    /// Detector pixels from one column or row of the image to the next.
    pub step: usize,
}

impl DetectorRegion {
    /// Every pixel.
    pub fn whole(detector: &DetectorGrid) -> Self {
        Self { u_start: 0, v_start: 0, nu: detector.nu, nv: detector.nv, step: 1 }
    }

    /// Every `step`-th pixel in each direction, from the first on.
    ///
    /// # Panics
    /// When `step` is zero.
    pub fn every(detector: &DetectorGrid, step: usize) -> Self {
        Self { nu: detector.nu.div_ceil(step), nv: detector.nv.div_ceil(step), step, ..Self::whole(detector) }
    }

    /// Pixels of the image.
    pub fn pixel_count(&self) -> usize {
        self.nu * self.nv
    }

    /// Detector coordinates `[u, v]` of a pixel of the image.
    pub(crate) fn pixel(&self, column: usize, row: usize) -> [f64; 2] {
        [(self.u_start + column * self.step) as f64, (self.v_start + row * self.step) as f64]
    }
}

/// Values of rays, to be given back to the volume.
#[derive(Clone, Copy, Debug)]
pub struct ViewImage<'a> {
    /// Where the rays run.
    pub view: &'a ProjectionMatrix,
    /// Which of them.
    pub region: DetectorRegion,
    /// One value a ray, `[v, u]`.
    pub values: &'a [f32],
}

/// Casts rays through volumes of one grid.
#[derive(Clone, Debug)]
pub struct Projector {
    grid: ColumnGrid,
    isa: Isa,
}

impl Projector {
    /// For volumes on `grid`. `column_axis` is the direction that detector rows or columns are nearest to, for a scan
    /// its rotation axis: any direction gives the same integrals, this one the fastest.
    ///
    /// # Panics
    /// When the CPU lacks the instructions of `isa`.
    pub fn new(grid: VolumeGrid, column_axis: &Vector3<f64>, isa: Isa) -> Self {
        assert!(isa.is_available(), "{isa:?} asked for on a CPU without it");
        Self { grid: ColumnGrid::nearest_to(grid, column_axis), isa }
    }

    /// The layout of volumes.
    pub fn column_grid(&self) -> &ColumnGrid {
        &self.grid
    }

    /// The instructions that are used.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Stores `values[z, y, x]` for casting.
    ///
    /// # Errors
    /// An array that is not the grid's, or a voxel that is not a number.
    pub fn store(&self, values: ArrayView3<'_, f32>) -> Result<ColumnVolume, ReconstructError> {
        self.grid.store(values)
    }

    /// A stored volume as `[z, y, x]`.
    pub fn to_array(&self, volume: &ColumnVolume) -> Array3<f32> {
        self.grid.to_array(volume)
    }

    /// Line integrals `[v, u]` over a region of the detector: 1/mm in the volume gives dimensionless integrals.
    ///
    /// Runs on the current rayon pool; the result does not depend on its size.
    ///
    /// # Panics
    /// When `volume` is not of this projector's grid.
    pub fn project(
        &self,
        volume: &ColumnVolume,
        view: &ProjectionMatrix,
        region: DetectorRegion,
    ) -> Array2<f32> {
        let mut image = Array2::zeros((region.nv, region.nu));
        self.project_into(volume, view, region, image.as_slice_mut().expect("a new array"));
        image
    }

    /// The same into `image`, row by row.
    ///
    /// # Panics
    /// When `image` is not of the region's size or `volume` not of this projector's grid.
    pub fn project_into(
        &self,
        volume: &ColumnVolume,
        view: &ProjectionMatrix,
        region: DetectorRegion,
        image: &mut [f32],
    ) {
        assert_eq!(image.len(), region.pixel_count(), "pixels of the image against the region");
        assert_eq!(volume.values.len(), self.grid.len(), "floats of the stored volume against the grid");
        let rays = ViewRays::new(&self.grid, view);
        match rays.lanes {
            Lanes::AlongU => forward::project(&self.grid, volume, &rays, region, self.isa, image),
            Lanes::AlongV => {
                let mut lines = vec![0.0; image.len()];
                forward::project(&self.grid, volume, &rays, region, self.isa, &mut lines);
                transpose(&lines, region.nv, image);
            }
        }
    }
}

impl Projector {
    /// The transpose of [`Projector::project`] for several views: each ray gives its value to the voxels that it
    /// samples, with the weights in mm that the projection gives them.
    ///
    /// # Errors
    /// [`ReconstructError::ViewSize`] and [`ReconstructError::NotFinite`] with the position of the image.
    pub fn back(&self, images: &[ViewImage<'_>]) -> Result<ColumnVolume, ReconstructError> {
        for (view, image) in images.iter().enumerate() {
            let (expected, found) = (image.region.pixel_count(), image.values.len());
            if found != expected {
                return Err(ReconstructError::ViewSize { view, expected, found });
            }
            if let Some(pixel) = image.values.iter().position(|value| !value.is_finite()) {
                let (u, v) = (pixel % image.region.nu, pixel / image.region.nu);
                return Err(ReconstructError::NotFinite { view, found: image.values[pixel], u, v });
            }
        }
        let mut volume = self.grid.zeros();
        self.add_back(images, &mut volume);
        Ok(volume)
    }

    /// The same added to a volume, for values known to be numbers.
    ///
    /// Runs on the current rayon pool; the result does not depend on its size.
    ///
    /// # Panics
    /// When an image is not of its region's size, or `volume` not of this projector's grid.
    pub fn add_back(&self, images: &[ViewImage<'_>], volume: &mut ColumnVolume) {
        assert_eq!(volume.values.len(), self.grid.len(), "floats of the stored volume against the grid");
        let lines: Vec<_> = images
            .iter()
            .map(|image| {
                let region = image.region;
                assert_eq!(
                    image.values.len(),
                    region.pixel_count(),
                    "pixels of the image against the region"
                );
                let rays = ViewRays::new(&self.grid, image.view);
                let values = match rays.lanes {
                    Lanes::AlongU => image.values.into(),
                    Lanes::AlongV => {
                        let mut lines = vec![0.0; image.values.len()];
                        transpose(image.values, region.nu, &mut lines);
                        lines.into()
                    }
                };
                adjoint::Lines { rays, region, values }
            })
            .collect();
        adjoint::add(&self.grid, volume, &lines, self.isa);
    }
}

/// `from[i][j]` with `length` entries a row into `to[j][i]`.
fn transpose(from: &[f32], length: usize, to: &mut [f32]) {
    use rayon::prelude::*;
    const BLOCK: usize = 16;
    let rows = from.len() / length;
    to.par_chunks_mut(rows * BLOCK).enumerate().for_each(|(block, to)| {
        let first = block * BLOCK;
        for i0 in (0..rows).step_by(BLOCK) {
            for (j, line) in to.chunks_exact_mut(rows).enumerate() {
                for i in i0..(i0 + BLOCK).min(rows) {
                    line[i] = from[i * length + first + j];
                }
            }
        }
    });
}
