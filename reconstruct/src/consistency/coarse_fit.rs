//! A coarse volume that explains the views as well as any, and what the views leave unexplained.
//!
//! Views are brought onto detectors aligned with the rotation axis, and an algebraic reconstruction runs on a grid that
//! holds all of a truncated body: what consistent views leave over then is small, whatever lies outside the field.

use super::binned::BinnedScan;
use crate::backproject::Isa;
use crate::error::ReconstructError;
use crate::iterative::{Algorithm, AlignedScan, OsSart, OsSartOptions, ScanData, System, SystemOptions};
use crate::orbit::Orbit;
use crate::project::pose::{Linearised, volume_motions};
use crate::project::{ColumnVolume, DetectorRegion, Projector};
use carm::ProjectionMatrix;
use nalgebra::Matrix3x4;
use ndarray::{ArrayView2, Axis};

/// Passes over the views. With half of them, what has not converged yet hides slow motions of truncated bodies.
const PASSES: usize = 24;
/// Subsets of few views and large steps: few passes.
const OPTIONS: OsSartOptions = OsSartOptions { subset_views: 3, relaxation: 1.6, relaxation_decay: 0.985 };

/// The volume with the views that it explains.
pub(super) struct CoarseFit {
    scan: AlignedScan,
    projector: Projector,
    volume: ColumnVolume,
}

/// One view, what the volume makes of it, and how that changes with the six rigid motions.
pub(super) struct ViewDerivatives<'a> {
    pub(super) measured: ArrayView2<'a, f32>,
    /// Zero where nothing was measured.
    pub(super) weights: ArrayView2<'a, f32>,
    pub(super) projected: Linearised,
}

impl CoarseFit {
    /// `progress` hears views done and to do, those of [`CoarseFit::view`] included.
    pub(super) fn new(
        scan: &BinnedScan,
        orbit: &Orbit,
        is_truncated: bool,
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Self, ReconstructError> {
        let grid = scan.grid(orbit, is_truncated)?;
        let aligned = AlignedScan::new(&scan.geometry, scan.line_integrals.view(), &orbit.axis)?;
        let data = ScanData {
            geometry: &aligned.geometry,
            line_integrals: aligned.line_integrals.view(),
            weights: Some(aligned.weights.view()),
        };
        let system = System::new(data, grid, &SystemOptions::default())?;
        let mut sart = OsSart::new(&system, system.zero_estimate(), OPTIONS)?;
        for pass in 0..PASSES {
            sart.pass(&mut |at| progress(pass * at.views + at.views_done, PASSES * at.views))?;
        }
        let projector = Projector::new(grid, &orbit.axis, Isa::detect());
        let volume = projector.store(system.volume(sart.estimate()).view())?;
        Ok(Self { scan: aligned, projector, volume })
    }

    /// What the volume makes of a view.
    pub(super) fn view(&self, orbit: &Orbit, view: usize) -> ViewDerivatives<'_> {
        let matrix = &self.scan.geometry.views()[view];
        let region = DetectorRegion::whole(self.scan.geometry.detector());
        let motions = motions_of_view(orbit, matrix);
        ViewDerivatives {
            measured: self.scan.line_integrals.index_axis(Axis(0), view),
            weights: self.scan.weights.index_axis(Axis(0), view),
            projected: self.projector.linearise(&self.volume, matrix, &motions, region),
        }
    }
}

/// Translations along rows, columns and the line of sight, then rotations about them through the orbit's centre.
fn motions_of_view(orbit: &Orbit, matrix: &ProjectionMatrix) -> [Matrix3x4<f64>; 6] {
    let along_v = orbit.axis.into_inner();
    let along_sight = orbit.inward(&matrix.source_position(), &along_v);
    let axes = [along_v.cross(&along_sight), along_v, along_sight];
    let world = volume_motions(matrix, &orbit.centre);
    std::array::from_fn(|index| {
        let (axis, first) = (axes[index % 3], index / 3 * 3);
        world[first] * axis.x + world[first + 1] * axis.y + world[first + 2] * axis.z
    })
}
