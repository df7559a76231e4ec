//! A scan on a coarse detector, and the grid of voxels that explains it.

use crate::error::ReconstructError;
use crate::orbit::Orbit;
use carm::{ScanGeometry, VolumeGrid};
use nalgebra::{Matrix3, Rotation3, Vector3};
use ndarray::{Array3, ArrayView3, Axis, s};
use rayon::prelude::*;

/// Width of the volume over that of the field of view. A truncated body is up to twice as wide as the field.
const EXTENT: f64 = 1.0;
const TRUNCATED_EXTENT: f64 = 1.75;
/// Height of the volume over that of the detector at the isocenter: oblique rays leave it beyond the axis.
const HEIGHT: f64 = 1.27;

/// Views as means over squares of pixels.
pub(super) struct BinnedScan {
    pub(super) geometry: ScanGeometry,
    /// `[view, v, u]`.
    pub(super) line_integrals: Array3<f32>,
}

impl BinnedScan {
    /// On at most `columns` columns, in squares of whole pixels.
    pub(super) fn new(
        scan: &ScanGeometry,
        line_integrals: ArrayView3<'_, f32>,
        columns: usize,
    ) -> Result<Self, ReconstructError> {
        let detector = scan.detector();
        let bin = detector.nu.div_ceil(columns);
        let size = [detector.nu / bin, (detector.nv / bin).max(1)];
        let rows = bin.min(detector.nv);
        let mut means = Array3::zeros((scan.views().len(), size[1], size[0]));
        means.outer_iter_mut().into_par_iter().enumerate().for_each(|(view, mut image)| {
            let whole = line_integrals.index_axis(Axis(0), view);
            for ((v, u), mean) in image.indexed_iter_mut() {
                let square = whole.slice(s![v * rows..(v + 1) * rows, u * bin..(u + 1) * bin]);
                *mean = square.sum() / (rows * bin) as f32;
            }
        });
        Ok(Self { geometry: scan.with_pixels_averaged([bin, rows]), line_integrals: means })
    }

    /// Every `stride`-th view.
    pub(super) fn every(&self, stride: usize) -> Result<Self, ReconstructError> {
        let views = self.geometry.views().iter().step_by(stride).copied().collect();
        Ok(Self {
            geometry: ScanGeometry::new(*self.geometry.detector(), views)?,
            line_integrals: self.line_integrals.slice(s![..;stride, .., ..]).to_owned(),
        })
    }

    /// Size of a pixel at the isocenter, mm, `[u, v]`.
    pub(super) fn pixel_mm(&self, orbit: &Orbit) -> [f64; 2] {
        let axes = self.geometry.views()[0].detector_axes();
        [orbit.radius_mm / axes.focal_u_px, orbit.radius_mm / axes.focal_v_px]
    }

    /// A grid of voxels as wide as a binned pixel at the isocenter, with z along the rotation axis.
    pub(super) fn grid(&self, orbit: &Orbit, is_truncated: bool) -> Result<VolumeGrid, ReconstructError> {
        let detector = self.geometry.detector();
        let axes = self.geometry.views()[0].detector_axes();
        let half_u = detector.nu as f64 / 2.0;
        let radius_mm = orbit.radius_mm * (half_u / axes.focal_u_px).atan().sin();
        let extent = if is_truncated { TRUNCATED_EXTENT } else { EXTENT };
        let height_mm = HEIGHT * orbit.radius_mm * detector.nv as f64 / axes.focal_v_px;
        let voxel_mm = (radius_mm / half_u).max(1e-3);
        let across = ((2.0 * radius_mm * extent / voxel_mm).ceil() as usize).max(2);
        let along = ((height_mm / voxel_mm).ceil() as usize).max(2);
        let turn = Rotation3::rotation_between(&Vector3::z(), &orbit.axis)
            .map_or_else(|| Matrix3::from_diagonal(&Vector3::new(1.0, -1.0, -1.0)), |turn| *turn.matrix());
        Ok(VolumeGrid::centred([across, across, along], [voxel_mm; 3], turn, orbit.centre)?)
    }
}
