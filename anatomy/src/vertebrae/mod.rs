//! Vertebrae, one by one: parted at the discs, counted from ribs and sacrum.
//!
//! The canal's middle is the axis. In front of it discs lie dark between bright endplates, and beside it a pedicle
//! stands and a foramen opens once a vertebra; the chain of discs that fits both and whose distances change least wins.
//! Bodies are parted at the discs, and what is behind goes with the pedicles that it hangs on. Names come from what is
//! seen in the field, never from where vertebrae usually are.

mod axis;
mod count;
mod discs;
mod parts;
mod profile;
mod ribs;

use crate::body::Body;
use crate::bone::Bone;
use crate::error::AnatomyError;
use crate::progress::Progress;
use crate::segment::Found;
use crate::segmentation::Target;
use axis::Axis;
use discs::Disc;

/// Fewest discs from which vertebrae are parted.
const DISCS_MIN: usize = 2;
/// A vertebra at the end of the field that is smaller than this is not told of, ml.
const VERTEBRA_MIN_ML: f64 = 1.5;

/// Finds vertebrae.
pub(crate) fn find<'a>(
    body: &'a Body,
    bone: &'a Bone,
    progress: &Progress<'_>,
) -> Result<Found<'a>, AnatomyError> {
    let absent = |reason: String| AnatomyError::TargetAbsent { target: "vertebrae", reason };
    let axis = Axis::through(&bone.canal, &body.lattice)
        .ok_or_else(|| absent("expected a spinal canal through several slices, found none".into()))?;
    progress.step(0.8, "discs")?;
    let profiles = profile::Profiles::along(&axis, body, bone);
    let discs = discs::find(&profiles);
    if discs.len() < DISCS_MIN {
        return Err(absent(format!("expected at least {DISCS_MIN} discs, found {}", discs.len())));
    }
    progress.step(0.84, "ribs")?;
    let bounds = with_ends(&discs, axis.places.len());
    let voxels = parts::near(&axis, body, bone);
    let ribs = ribs::find(body, &voxels);
    let counted = count::count(&bounds, &ribs, &profiles);
    for (i, b) in bounds.iter().enumerate() {
        eprintln!(
            "bound {i} place {} z {:.1} slope {:.2} strength {:.2} ribbed {:?} name {:?}",
            b.place,
            axis.places[b.place.min(axis.places.len() - 1)].centre[0] / body.lattice.spacing_mm[0],
            b.slope,
            b.strength,
            counted.is_ribbed.get(i),
            counted.names.get(i)
        );
    }
    for r in &ribs {
        eprintln!("rib {r:?}");
    }
    progress.step(0.87, "vertebrae")?;
    let labels = parts::separated(body, &voxels, &bounds, &counted.is_ribbed);
    Ok(told(body, bone, labels, counted))
}

/// The discs, with the ends of the field beyond the first and last where a vertebra is cut.
fn with_ends(discs: &[Disc], places: usize) -> Vec<Disc> {
    let span = |a: usize, b: usize| discs[b].place - discs[a].place;
    let last = discs.len() - 1;
    let below = discs[0].place.saturating_sub(span(0, 1));
    let above = (discs[last].place + span(last - 1, last)).min(places - 1);
    let end = |place: usize, like: &Disc| Disc { place, strength: 0.0, ..*like };
    let mut bounds = vec![end(below, &discs[0])];
    bounds.extend_from_slice(discs);
    bounds.push(end(above, &discs[last]));
    bounds
}

fn told<'a>(body: &'a Body, bone: &'a Bone, labels: Vec<u16>, counted: count::Count) -> Found<'a> {
    let n = counted.names.len();
    let names = (0..n)
        .map(|i| {
            let name = counted.names[i]
                .map_or_else(|| format!("vertebra {} from the feet, not sure which", i + 1), String::from);
            (i as u16 + 1, name)
        })
        .collect();
    Found {
        target: Target::Vertebrae,
        labels,
        names,
        threshold: Box::new(|index| bone.levels.border(body.lattice.position(index))),
        dense: bone.dense.clone(),
        drawn: Vec::new(),
        notes: counted.notes,
    }
}
