//! Corrections by hand: strokes that say what belongs to the target and what does not.
//!
//! A stroke only gives or only takes. Within [`REACH_MM`] of it a random walker decides which voxels of the other kind
//! follow it, held by the labels around, which stay as they are; so one stroke along a wrong piece turns the piece and
//! stops at its edge.

use crate::body::Body;
use crate::error::AnatomyError;
use crate::lattice::Lattice;
use crate::morphology::squared_distance_within;
use crate::random_walker::{Mark, random_walker};
use crate::segmentation::Target;
use carm::VolumeGrid;
use nalgebra::Point3;

/// How far from a stroke labels may change, mm.
const REACH_MM: f64 = 10.0;
/// A stroke is this wide to either side, mm, and a voxel at least.
const PEN_MM: f64 = 0.8;
/// Grey values are held between these about soft tissue, HU: the walker's edges are those between tissues.
const WINDOW_HU: [f32; 2] = [-200.0, 500.0];

/// A stroke: a line through points, or one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Scribble {
    /// Whether what it lies on belongs to the target.
    pub is_inside: bool,
    /// Its corners, mm in the volume's space.
    pub points: Vec<Point3<f64>>,
}

/// What strokes changed.
pub(crate) struct Corrected {
    /// Voxels that were drawn on, in order.
    pub drawn: Vec<usize>,
    /// Voxels that were given to the target, and taken from it.
    pub changed: [usize; 2],
}

/// Corrects labels on the body's lattice by strokes, one after the other.
///
/// # Errors
/// [`AnatomyError::Seed`] for a point outside the body.
pub(crate) fn correct(
    body: &Body,
    lps: &VolumeGrid,
    target: Target,
    soft_hu: f32,
    labels: &mut [u16],
    scribbles: &[Scribble],
) -> Result<Corrected, AnatomyError> {
    let mut corrected = Corrected { drawn: Vec::new(), changed: [0, 0] };
    if !scribbles.is_empty() && target == Target::Vertebrae {
        return Err(AnatomyError::Parameter {
            what: "scribbles",
            expected: "a target of one label",
            found: target.name().into(),
        });
    }
    for scribble in scribbles {
        let drawn = drawn(body, lps, scribble)?;
        let changed = follow(body, soft_hu, labels, &drawn, scribble.is_inside)?;
        corrected.changed[usize::from(!scribble.is_inside)] += changed;
        corrected.drawn.extend(drawn);
    }
    corrected.drawn.sort_unstable();
    Ok(corrected)
}

/// The voxels that a stroke passes through.
fn drawn(body: &Body, lps: &VolumeGrid, scribble: &Scribble) -> Result<Vec<usize>, AnatomyError> {
    let mut drawn = Vec::new();
    let finest = body.lattice.spacing_mm.iter().copied().fold(f64::INFINITY, f64::min);
    let ends = scribble.points.iter().skip(1).chain(scribble.points.last());
    for (from, to) in scribble.points.iter().zip(ends) {
        let steps = ((to - from).norm() / (0.5 * finest)).ceil().max(1.0) as usize;
        for step in 0..=steps {
            let point = from + (to - from) * (step as f64 / steps as f64);
            drawn.push(body.index_of_point(lps, &point)?);
        }
    }
    drawn.sort_unstable();
    drawn.dedup();
    Ok(drawn)
}

/// Gives or takes what follows a stroke, and tells how many voxels changed.
fn follow(
    body: &Body,
    soft_hu: f32,
    labels: &mut [u16],
    drawn: &[usize],
    is_inside: bool,
) -> Result<usize, AnatomyError> {
    let (start, lattice) = brick(&body.lattice, drawn);
    let whole = |index: usize| {
        let at = lattice.position(index);
        body.lattice.index(std::array::from_fn(|a| at[a] + start[a]))
    };
    let mut stroke = vec![false; lattice.len()];
    for index in drawn {
        let at = body.lattice.position(*index);
        stroke[lattice.index(std::array::from_fn(|a| at[a] - start[a]))] = true;
    }
    let away = squared_distance_within(&stroke, &lattice, REACH_MM);
    let mark = |index: usize| {
        let was_inside = labels[whole(index)] > 0;
        if stroke[index] || away[index] <= (PEN_MM * PEN_MM) as f32 {
            [Mark::Outside, Mark::Inside][usize::from(is_inside)]
        } else if was_inside != is_inside && away[index] < (REACH_MM * REACH_MM) as f32 {
            Mark::Unknown
        } else {
            [Mark::Outside, Mark::Inside][usize::from(was_inside)]
        }
    };
    let marks: Vec<Mark> = (0..lattice.len()).map(mark).collect();
    let held = WINDOW_HU.map(|by| soft_hu + by);
    let values: Vec<f32> =
        (0..lattice.len()).map(|index| body.hu[whole(index)].clamp(held[0], held[1])).collect();
    let is_decided = !marks.contains(&Mark::Inside) || !marks.contains(&Mark::Outside);
    let inside: Vec<bool> = if is_decided {
        marks
            .iter()
            .map(|mark| if *mark == Mark::Unknown { is_inside } else { *mark == Mark::Inside })
            .collect()
    } else {
        random_walker(&values, &lattice, &marks, None)?.into_iter().map(|p| p > 0.5).collect()
    };
    let mut changed = 0;
    for (index, inside) in inside.into_iter().enumerate() {
        let label = &mut labels[whole(index)];
        if inside != (*label > 0) {
            *label = u16::from(inside);
            changed += 1;
        }
    }
    Ok(changed)
}

/// The part of a lattice that a stroke reaches, with one voxel more to hold it.
fn brick(lattice: &Lattice, drawn: &[usize]) -> ([usize; 3], Lattice) {
    let mut bounds = [[usize::MAX, 0]; 3];
    for index in drawn {
        for (bound, at) in bounds.iter_mut().zip(lattice.position(*index)) {
            *bound = [bound[0].min(at), bound[1].max(at)];
        }
    }
    let margin = lattice.spacing_mm.map(|spacing| (REACH_MM / spacing).ceil() as usize + 1);
    let start: [usize; 3] = std::array::from_fn(|a| bounds[a][0].saturating_sub(margin[a]));
    let shape = std::array::from_fn(|a| (bounds[a][1] + margin[a] + 1).min(lattice.shape[a]) - start[a]);
    (start, Lattice { shape, spacing_mm: lattice.spacing_mm })
}
