//! Whether views and geometry agree: one number for the scan, and for every view how far it stands off.
//!
//! A coarse volume of the whole field of view is made from the scan itself and projected back into its views. Where the
//! matrices are right and the body lay still, measured and projected views lie on each other; a wrong matrix, a view out
//! of order, a mirrored detector or a body that moved leave each view displaced against the consensus of all. The
//! displacement is found in the view's own plane by least squares: shift, rotation, magnification ([`Displacement`]), once
//! from edges alone, and, where no view is truncated, once from the whole image, whose outline and mass an inconsistent
//! volume cannot keep.
//!
//! # What no data can tell
//!
//! A rigid motion of all matrices together only moves the volume. A mirror along the axis (rows in opposite order, on an
//! arm that swings in one plane) gives the mirrored body, consistently. On an ideal circle, views that are all late by the
//! same number of positions turn the body. A step within the plane of the swing is nearly consistent as well when views
//! are truncated: what each direction saw is seen from no other direction, but for the overlap at the ends of the arc.
//!
//! # How much it sees
//!
//! Of bodies seen whole, shuffled and mirrored views and matrices off by 1 mm stand at two to fifteen times the limit, slow
//! rotations by half a degree at one to three times. Of truncated bodies, whose outside disturbs every comparison, about
//! half of the same faults pass unseen: a quiet number says little there. The example `consistency_trials` counts.

mod band;
mod binned;
mod verdict;
mod view_fit;

use crate::backproject::Isa;
use crate::error::ReconstructError;
use crate::fdk::reconstruct_stack;
use crate::observer::Silent;
use crate::orbit::Orbit;
use crate::plan::{FdkOptions, FdkPlan};
use crate::project::{DetectorRegion, Projector};
use band::Band;
use binned::BinnedScan;
use carm::ScanGeometry;
use ndarray::{ArrayView3, Axis};
use std::sync::Arc;

pub use verdict::{Limits, Spreads};
pub use view_fit::Displacement;

/// Views that are looked at, at most; they lie evenly over the sweep.
const VIEWS_ASKED: usize = 96;

/// One view against all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewConsistency {
    /// Position in the sweep.
    pub view: usize,
    /// From what is finer than organs.
    pub edges: Displacement,
    /// From the whole image; only where no view is truncated.
    pub whole: Option<Displacement>,
}

/// What the views say of their geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Consistency {
    /// The views that were asked, in the order of the sweep.
    pub views: Vec<ViewConsistency>,
    /// Whether the body reaches beyond the sides of any view.
    pub is_truncated: bool,
    /// How far displacements spread over the views.
    pub spreads: Spreads,
    /// What they may spread by in a consistent scan.
    pub limits: Limits,
}

impl Consistency {
    /// The largest spread over its limit: above one, views and geometry do not agree.
    pub fn number(&self) -> f64 {
        self.spreads.over(&self.limits)
    }

    /// Whether views and geometry disagree; a number that is none is no consent.
    pub fn is_alarm(&self) -> bool {
        let number = self.number();
        number.is_nan() || number > 1.0
    }
}

/// Holds line integrals `[view, v, u]` against the matrices of `scan`.
///
/// `mu_water_per_mm` continues truncated rows. `progress` hears how many views of how many are done, and stops the work by
/// `false`. Runs on the current rayon pool; the result does not depend on its size.
///
/// # Errors
/// A scan without an arc, a stack that is not the scan's, samples that are not numbers, and
/// [`ReconstructError::Cancelled`].
pub fn check_consistency(
    scan: &ScanGeometry,
    line_integrals: ArrayView3<'_, f32>,
    mu_water_per_mm: f64,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Consistency, ReconstructError> {
    let expected = [scan.views().len(), scan.detector().nv, scan.detector().nu];
    let found = [line_integrals.shape()[0], line_integrals.shape()[1], line_integrals.shape()[2]];
    if found != expected {
        return Err(ReconstructError::StackShape { expected, found });
    }
    if let Some(((view, v, u), sample)) =
        line_integrals.indexed_iter().find(|(_, sample)| !sample.is_finite())
    {
        return Err(ReconstructError::NotFinite { view, found: *sample, u, v });
    }
    let orbit = Orbit::fit(scan.views())?;
    let binned = BinnedScan::new(scan, line_integrals)?;
    let is_truncated = verdict::is_truncated(&binned.line_integrals, mu_water_per_mm);
    let grid = binned.grid(&orbit, is_truncated)?;
    let options = FdkOptions {
        limited_angle: true,
        truncation_water_per_mm: is_truncated.then_some(mu_water_per_mm),
        ..FdkOptions::default()
    };
    let plan = Arc::new(FdkPlan::new(binned.geometry.clone(), grid, options)?);
    let volume = reconstruct_stack(plan, binned.line_integrals.view(), &mut Silent)?;
    let projector = Projector::new(grid, &orbit.axis, Isa::detect());
    let volume = projector.store(volume.values.view())?;
    let detector = binned.geometry.detector();
    let stride = scan.views().len().div_ceil(VIEWS_ASKED);
    let asked: Vec<usize> = (0..scan.views().len()).step_by(stride).collect();
    let mut views = Vec::with_capacity(asked.len());
    let mut pixel_mm = [0.0; 2];
    for (done, view) in asked.iter().enumerate() {
        let matrix = &binned.geometry.views()[*view];
        let axes = matrix.detector_axes();
        pixel_mm = [orbit.radius_mm / axes.focal_u_px, orbit.radius_mm / axes.focal_v_px];
        let projected = projector.project(&volume, matrix, DetectorRegion::whole(detector));
        let measured = binned.line_integrals.index_axis(Axis(0), *view);
        let of = |band| view_fit::displacement(measured, projected.view(), pixel_mm, band);
        let whole = (!is_truncated).then(|| of(Band::Whole));
        views.push(ViewConsistency { view: *view, edges: of(Band::Edges), whole });
        if !progress(done + 1, asked.len()) {
            return Err(ReconstructError::Cancelled);
        }
    }
    let spreads = Spreads::of(&views);
    Ok(Consistency {
        views,
        is_truncated,
        spreads,
        limits: Limits::of_pixel(pixel_mm[0].max(pixel_mm[1]), is_truncated),
    })
}
