//! The cone-beam artefact of a circular sweep, estimated by a second pass and taken away.
//!
//! A circle does not see every plane: under a diaphragm, or between the plates of vertebrae, FDK leaves bright and
//! dark zones some tens of millimetres long. They depend on the large, strong edges of the body alone, so a coarse
//! model of the body shows them, too: the volume is sorted into air, lung, soft tissue and what is denser, projected
//! with the scan's own matrices and reconstructed again. What the second volume has beside the model is the artefact;
//! smoothed, it is subtracted from the first.
//!
//! Hsieh, "Two-pass algorithm for cone-beam reconstruction", Proc. SPIE 3979, 2000, who models bone alone; sorting
//! into classes also models the lung's border, which is the stronger edge in the chest.

use super::body_model::{coarse_grid, coarsened, extended_along, sorted_into_classes};
use crate::backproject::Isa;
use crate::error::ReconstructError;
use crate::fdk::reconstruct_stack;
use crate::observer::Silent;
use crate::plan::{FdkOptions, FdkPlan};
use crate::project::{DetectorRegion, Projector};
use carm::{DetectorGrid, ProjectionMatrix, ScanGeometry, Volume, VolumeGrid, mask};
use nalgebra::{Matrix3x4, Vector3};
use ndarray::{Array3, Axis};
use rayon::prelude::*;
use std::sync::Arc;

/// Voxels of the volume that become one of the model, along each axis.
const COARSENESS: usize = 2;
/// Views of the second pass, at least, where the scan has as many.
const VIEWS: usize = 120;
/// Width (standard deviation) of the smoothing, model voxels: edges differ between model and volume, zones do not.
const SMOOTHING: f64 = 2.0;
/// What the second pass found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConeBeamArtefact {
    /// Root mean square inside the field of view, in units of the volume.
    pub rms: f64,
    /// Largest magnitude.
    pub max: f64,
}

/// Estimates the cone-beam artefact of `volume`, in 1/mm on the grid of `plan`, and subtracts it inside the field of
/// view.
///
/// Runs on the current rayon pool; the result does not depend on its size.
///
/// # Errors
/// A plan that cannot be made for the second pass, and [`ReconstructError::Cancelled`] where `goes_on` says no.
///
/// # Panics
/// When the volume has no mask or is not of the plan's grid: a bug of the caller.
pub(super) fn subtract_cone_beam_artefact(
    volume: &mut Volume,
    plan: &FdkPlan,
    mu_water_per_mm: f64,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<ConeBeamArtefact, ReconstructError> {
    assert_eq!(volume.grid, *plan.grid(), "the volume lies on the plan's grid");
    let fine = sorted_into_classes(volume, plan.layout.along, mu_water_per_mm);
    let model = coarsened(&fine, COARSENESS);
    drop(fine);
    let grid = coarse_grid(&volume.grid, COARSENESS);

    let (extended, extended_grid) = extended_along(&model, &grid, plan.layout.along);
    let scan = coarse_scan(plan, &grid)?;
    let projector = Projector::new(extended_grid, &plan.orbit.axis.into_inner(), Isa::detect());
    let stored = projector.store(extended.view())?;
    let detector = *scan.detector();
    let mut stack = Array3::zeros((scan.views().len(), detector.nv, detector.nu));
    for (view, mut image) in scan.views().iter().zip(stack.outer_iter_mut()) {
        if !goes_on() {
            return Err(ReconstructError::Cancelled);
        }
        let image = image.as_slice_mut().expect("standard layout");
        projector.project_into(&stored, view, DetectorRegion::whole(&detector), image);
    }
    let options = FdkOptions {
        backend: plan.options.backend,
        limited_angle: true,
        confidence_weights: plan.options.confidence_weights,
        ..FdkOptions::default()
    };
    let second = reconstruct_stack(Arc::new(FdkPlan::new(scan, grid, options)?), stack.view(), &mut Silent)?;
    let artefact = smoothed_difference(&second, &model);
    Ok(subtract(volume, &artefact))
}

/// The scan with as many views and pixels as the model deserves.
fn coarse_scan(plan: &FdkPlan, grid: &VolumeGrid) -> Result<ScanGeometry, ReconstructError> {
    let views = plan.given_scan.views();
    let detector = plan.given_scan.detector();
    let centre = grid.centre();
    let depth_mm = views[0].project(&centre).depth_mm;
    let axes = views[0].detector_axes();
    let finest_mm = grid.spacing_mm.iter().copied().fold(f64::INFINITY, f64::min);
    // Pixels as wide as a model voxel looks on the detector.
    let wide = |focal_px: f64| ((finest_mm * focal_px / depth_mm) as usize).max(1);
    let [step_u, step_v] = [wide(axes.focal_u_px), wide(axes.focal_v_px)];
    let coarse = DetectorGrid::new(
        [detector.nu.div_ceil(step_u), detector.nv.div_ceil(step_v)],
        [detector.pixel_pitch_u_mm * step_u as f64, detector.pixel_pitch_v_mm * step_v as f64],
    )?;
    let per_pixel = Vector3::new(1.0 / step_u as f64, 1.0 / step_v as f64, 1.0);
    let stride = (views.len() / VIEWS).max(1);
    let views = views
        .iter()
        .step_by(stride)
        .map(|view| {
            let p = view.matrix();
            let scaled = Matrix3x4::from_fn(|row, column| p[(row, column)] * per_pixel[row]);
            ProjectionMatrix::with_reference(scaled, &centre)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(ScanGeometry::new(coarse, views)?)
}

/// `second - model` inside the field of view, smoothed over it; zero outside.
fn smoothed_difference(second: &Volume, model: &Array3<f32>) -> Array3<f32> {
    let bits = second.mask.as_ref().expect("a reconstructed volume has a mask");
    let inside = bits.mapv(|bits| f32::from(u8::from(bits & mask::FIELD_OF_VIEW != 0)));
    let mut weighted = (&second.values - model) * &inside;
    let mut weight = inside.clone();
    for axis in 0..3 {
        smooth_along(&mut weighted, axis);
        smooth_along(&mut weight, axis);
    }
    ndarray::Zip::from(&mut weighted).and(&weight).and(&inside).par_for_each(|value, weight, inside| {
        *value = if *inside > 0.0 { *value / weight } else { 0.0 };
    });
    weighted
}

/// Convolves every line along an axis with a Gaussian; beyond the ends there is nothing.
fn smooth_along(values: &mut Array3<f32>, axis: usize) {
    let reach = (3.0 * SMOOTHING).ceil() as usize;
    let kernel: Vec<f32> = (0..=2 * reach)
        .map(|tap| (-0.5 * ((tap as f64 - reach as f64) / SMOOTHING).powi(2)).exp() as f32)
        .collect();
    let sum: f32 = kernel.iter().sum();
    ndarray::Zip::from(values.lanes_mut(Axis(axis))).par_for_each(|mut line| {
        let padded: Vec<f32> = std::iter::repeat_n(0.0, reach)
            .chain(line.iter().copied())
            .chain(std::iter::repeat_n(0.0, reach))
            .collect();
        for (value, window) in line.iter_mut().zip(padded.windows(kernel.len())) {
            *value = window.iter().zip(&kernel).map(|(a, b)| a * b).sum::<f32>() / sum;
        }
    });
}

/// Subtracts the artefact, interpolated linearly, inside the field of view.
fn subtract(volume: &mut Volume, artefact: &Array3<f32>) -> ConeBeamArtefact {
    let bits = volume.mask.as_ref().expect("checked by the caller");
    let (nz, ny, nx) = volume.values.dim();
    let [tables_z, tables_y, tables_x] = [nz, ny, nx].map(neighbours);
    let found: Vec<(f64, u64, f32)> = volume
        .values
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(bits.axis_iter(Axis(0)))
        .enumerate()
        .map(|(z, (mut slice, bits))| {
            let (z0, z1, tz) = tables_z[z];
            let (low, high) = (artefact.index_axis(Axis(0), z0), artefact.index_axis(Axis(0), z1));
            let plane = &low + &((&high - &low) * tz);
            let (mut squares, mut count, mut max) = (0.0, 0, 0.0_f32);
            for y in 0..ny {
                let (y0, y1, ty) = tables_y[y];
                for x in 0..nx {
                    if bits[(y, x)] & mask::FIELD_OF_VIEW == 0 {
                        continue;
                    }
                    let (x0, x1, tx) = tables_x[x];
                    let row = |y| plane[(y, x0)] + tx * (plane[(y, x1)] - plane[(y, x0)]);
                    let value = row(y0) + ty * (row(y1) - row(y0));
                    slice[(y, x)] -= value;
                    squares += f64::from(value).powi(2);
                    count += 1;
                    max = max.max(value.abs());
                }
            }
            (squares, count, max)
        })
        .collect();
    let (squares, count, max) =
        found.into_iter().fold((0.0, 0, 0.0_f32), |a, b| (a.0 + b.0, a.1 + b.1, a.2.max(b.2)));
    ConeBeamArtefact { rms: (squares / (count.max(1)) as f64).sqrt(), max: f64::from(max) }
}

/// For each fine index the two coarse ones around it and the share of the second.
fn neighbours(fine: usize) -> Vec<(usize, usize, f32)> {
    let last = fine.div_ceil(COARSENESS) - 1;
    (0..fine)
        .map(|index| {
            let place = (index as f64 - (COARSENESS as f64 - 1.0) / 2.0) / COARSENESS as f64;
            let place = place.clamp(0.0, last as f64);
            let low = place as usize;
            (low, (low + 1).min(last), (place - low as f64) as f32)
        })
        .collect()
}
