//! Whether views and geometry agree: one number for the scan, and for every view how far it stands off.
//!
//! Three comparisons, each of which sees what the others do not:
//!
//! * Lines that are measured twice, from opposite ends of an arc longer than half a turn, agree ([`Opposite`]); with the
//!   columns of a mirrored detector they agree only once turned round. What lies outside a truncated field does no harm.
//! * From view to view the body flows smoothly across the detector: not so where it moved at once, where every view stands
//!   off for itself, or where views are out of order. Truncation does no harm here either.
//! * A coarse volume is made from the scan itself, on a grid that holds all of a truncated body. Where the matrices are
//!   right and the body lay still it explains the views; otherwise motions of single views ([`Displacement`]) or slow
//!   motions over the sweep explain what it leaves over. Of truncated bodies it tells little.
//!
//! # What no data can tell
//!
//! A rigid motion of all matrices together only moves the volume. A mirror along the axis (rows in opposite order, on an
//! arm that swings in one plane) gives the mirrored body, consistently. On an ideal circle, views that are all late by the
//! same number of positions turn the body. Of truncated bodies, slow motions within the plane of the swing are nearly
//! consistent but for lines measured from both ends: what each direction saw is seen from no other.
//!
//! # How much it sees
//!
//! Alarms of 100 drawn bodies seen whole and of 100 truncated ones, `consistency_trials -- 7000 100`; none of these had a
//! part in setting the limits:
//!
//! | fault | whole | truncated |
//! |---|---|---|
//! | none | 0 | 0 |
//! | views shuffled by 3 to 7 positions | 100 | 100 |
//! | columns in opposite order | 100 | 100 |
//! | matrices off by 1 mm, slowly varying | 100 | 99 |
//! | matrices off by 0.5 degrees, slowly varying | 99 | 82 |
//! | matrices off by 1 mm, each for itself | 100 | 100 |
//! | matrices off by 0.5 degrees, each for itself | 100 | 100 |
//! | body 2 mm elsewhere in the middle 60 % of the arc | 100 | 98 |
//!
//! Slow rotations that are missed in truncated bodies are those that hardly differ between the ends of the arc: the same
//! ones go unseen however lines are weighted, and what lies outside the field takes up the rest.
//!
//! An arc of half a turn or less measures no line twice: a mirrored truncated scan passes unseen then.

mod binned;
mod coarse_fit;
mod flow;
mod motions;
mod opposite;
mod order;
mod twice;
mod verdict;

use crate::error::ReconstructError;
use crate::orbit::Orbit;
use binned::BinnedScan;
use carm::ScanGeometry;
use coarse_fit::CoarseFit;
use flow::Flow;
use motions::ViewEquations;
use ndarray::ArrayView3;
use rayon::prelude::*;

pub use motions::Displacement;
pub use opposite::Opposite;
pub use verdict::{Limits, Measures};

/// Views that the coarse volume is made from, at most; they lie evenly over the sweep.
const VIEWS_ASKED: usize = 64;
/// Detector columns that are kept at most: where views are compared with each other, and for the coarse volume.
const FINE_COLUMNS: usize = 96;
const COARSE_COLUMNS: usize = 32;

/// One view against all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewConsistency {
    /// Position in the sweep.
    pub view: usize,
    /// How far it stands off.
    pub displacement: Displacement,
}

/// What the views say of their geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Consistency {
    /// The views that were asked, in the order of the sweep.
    pub views: Vec<ViewConsistency>,
    /// Whether the body reaches beyond the sides of any view.
    pub is_truncated: bool,
    /// Opposite views against each other, where the arc has some.
    pub opposite: Option<Opposite>,
    /// What was found.
    pub measures: Measures,
    /// What may be found in a consistent scan.
    pub limits: Limits,
}

impl Consistency {
    /// The largest measure over its limit: above one, views and geometry do not agree.
    pub fn number(&self) -> f64 {
        self.measures.over(&self.limits)
    }

    /// Whether views and geometry disagree; a number that is none is no consent.
    pub fn is_alarm(&self) -> bool {
        let number = self.number();
        number.is_nan() || number > 1.0
    }
}

/// Holds line integrals `[view, v, u]` against the matrices of `scan`.
///
/// `mu_water_per_mm` tells whether views are truncated. `progress` hears how many steps of how many are done, and stops
/// the work by `false`. Runs on the current rayon pool; the result does not depend on its size.
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
    check_stack(scan, line_integrals)?;
    let orbit = Orbit::fit(scan.views())?;
    let fine = BinnedScan::new(scan, line_integrals, FINE_COLUMNS)?;
    let is_truncated = verdict::is_truncated(&fine.line_integrals, mu_water_per_mm);
    let order = order::largest_break(&fine.line_integrals, &orbit.angles_rad, orbit.median_step_rad());
    let pixel_mm = fine.pixel_mm(&orbit);
    let flow = Flow::of(&fine, &orbit, pixel_mm);
    let opposite = Opposite::of(&fine, &orbit, pixel_mm);

    let stride = scan.views().len().div_ceil(VIEWS_ASKED);
    let coarse =
        BinnedScan::new(&fine.geometry, fine.line_integrals.view(), COARSE_COLUMNS)?.every(stride)?;
    let fit = CoarseFit::new(&coarse, &orbit, is_truncated, progress)?;
    let equations: Vec<ViewEquations> = (0..coarse.geometry.views().len())
        .into_par_iter()
        .map(|view| ViewEquations::of(&fit.view(&orbit, view)))
        .collect();
    let displaced = |(index, view): (usize, &ViewEquations)| ViewConsistency {
        view: index * stride,
        displacement: view.displacement(),
    };
    Ok(Consistency {
        views: equations.iter().enumerate().map(displaced).collect(),
        is_truncated,
        measures: Measures::of(&equations, &flow, order, opposite.as_ref()),
        opposite,
        limits: Measures::limits(pixel_mm[0], is_truncated),
    })
}

/// # Errors
/// A stack that is not the scan's, or samples that are not numbers.
fn check_stack(scan: &ScanGeometry, line_integrals: ArrayView3<'_, f32>) -> Result<(), ReconstructError> {
    let expected = [scan.views().len(), scan.detector().nv, scan.detector().nu];
    let found = [line_integrals.shape()[0], line_integrals.shape()[1], line_integrals.shape()[2]];
    if found != expected {
        return Err(ReconstructError::StackShape { expected, found });
    }
    match line_integrals.indexed_iter().find(|(_, sample)| !sample.is_finite()) {
        Some(((view, v, u), sample)) => Err(ReconstructError::NotFinite { view, found: *sample, u, v }),
        None => Ok(()),
    }
}
