//! Views brought onto detectors aligned with the rotation axis, once, before iterating: rays of a detector column then
//! run through the same columns of voxels, which projects and gives back several times as fast.
//!
//! The map is the exact homography of [`crate::virtual_detector`]; only the sampling is interpolated.

use crate::error::ReconstructError;
use crate::orbit::Orbit;
use crate::virtual_detector::{VirtualGrid, VirtualView, resample_row};
use carm::{DetectorGrid, ProjectionMatrix, ScanGeometry};
use nalgebra::Vector3;
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

/// A scan on virtual detectors.
#[derive(Clone, Debug)]
pub struct AlignedScan {
    /// Virtual detector and matrices.
    pub geometry: ScanGeometry,
    /// Line integrals, `[view, v, u]`.
    pub line_integrals: Array3<f32>,
    /// One where a pixel was measured, zero elsewhere.
    pub weights: Array3<f32>,
}

impl AlignedScan {
    /// Resamples line integrals `[view, v, u]` so that columns run along `column`, the direction of the volume's columns
    /// (its axis nearest to the rotation axis).
    ///
    /// # Errors
    /// A scan without an arc, or an array that is not the scan's.
    pub fn new(
        scan: &ScanGeometry,
        line_integrals: ArrayView3<'_, f32>,
        column: &Vector3<f64>,
    ) -> Result<Self, ReconstructError> {
        let detector = scan.detector();
        let expected = [scan.views().len(), detector.nv, detector.nu];
        let found = [line_integrals.shape()[0], line_integrals.shape()[1], line_integrals.shape()[2]];
        let Some(samples) = line_integrals.as_slice().filter(|_| found == expected) else {
            return Err(ReconstructError::StackShape { expected, found });
        };
        let orbit = Orbit::fit(scan.views())?;
        let grid = VirtualGrid::covering(scan, &orbit, column);
        let size = [grid.nu, grid.nv];
        let aligned = DetectorGrid::new(size, [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm])?;
        let shape = (scan.views().len(), grid.nv, grid.nu);
        let (mut resampled, mut weights) = (Array3::zeros(shape), Array3::zeros(shape));
        let mut matrices = Vec::with_capacity(scan.views().len());
        let count = aligned.pixel_count();
        let all = resampled.as_slice_mut().expect("a new array").chunks_exact_mut(count);
        let all = all.zip(weights.as_slice_mut().expect("a new array").chunks_exact_mut(count));
        for ((real, image), (out, weight)) in
            scan.views().iter().zip(samples.chunks_exact(detector.pixel_count())).zip(all)
        {
            let view = VirtualView::new(real, detector, grid, &orbit, column);
            out.par_chunks_mut(grid.nu).zip(weight.par_chunks_mut(grid.nu)).enumerate().for_each(
                |(v, (row, weight))| {
                    let span = resample_row(&view, detector, image, v, row);
                    weight[span.start..span.end].fill(1.0);
                },
            );
            matrices.push(ProjectionMatrix::with_reference(view.p, &orbit.centre)?);
        }
        Ok(Self { geometry: ScanGeometry::new(aligned, matrices)?, line_integrals: resampled, weights })
    }
}
