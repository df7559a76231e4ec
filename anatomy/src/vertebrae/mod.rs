//! Vertebrae, one by one: parted at the discs, counted from ribs and sacrum.
//!
//! The canal's middle is the axis. In front of it discs lie dark between bright endplates, and beside it a pedicle
//! stands and a foramen opens once a vertebra; the chain of discs that fits both and whose distances change least wins.
//! Bodies are parted at the discs, and what is behind goes with the pedicles that it hangs on. Names come from what is
//! seen in the field, never from where vertebrae usually are.

mod axis;
mod count;
mod discs;
mod open;
mod parts;
mod profile;
mod ribs;

use crate::body::Body;
use crate::bone::Bone;
use crate::error::AnatomyError;
use crate::progress::Progress;
use crate::segment::Found;
use crate::segmentation::Target;
pub(crate) use axis::Axis;
use discs::Disc;
use profile::Profiles;

/// Fewest discs from which vertebrae are parted.
const DISCS_MIN: usize = 2;
/// A vertebra at the end of the field that is smaller than this is not told of, ml.
const VERTEBRA_MIN_ML: f64 = 1.5;

/// The line through the spinal canal, with what lies along it.
pub struct Spine {
    axis: Axis,
    profiles: Profiles,
    discs: Vec<Disc>,
}

impl Spine {
    /// Finds the discs along a canal. `bone` has its discs filled still.
    pub(crate) fn find(body: &Body, axis: Axis, bone: &[bool], soft_hu: f32) -> Self {
        let profiles = Profiles::along(&axis, body, bone, soft_hu);
        let discs = discs::find(&profiles);
        Self { axis, profiles, discs }
    }

    /// Takes the discs out of bone.
    pub(crate) fn open_discs(&self, bone: &mut [bool], body: &Body) {
        if self.discs.len() >= DISCS_MIN {
            open::open(bone, body, &self.discs, &self.axis.places);
        }
    }
}

/// Finds vertebrae.
pub(crate) fn find<'a>(
    body: &'a Body,
    bone: &'a Bone,
    progress: &Progress<'_>,
) -> Result<Found<'a>, AnatomyError> {
    let absent = |reason: String| AnatomyError::TargetAbsent { target: "vertebrae", reason };
    let Spine { axis, profiles, discs } = bone
        .spine
        .as_ref()
        .ok_or_else(|| absent("expected a spinal canal through several slices, found none".into()))?;
    if discs.len() < DISCS_MIN {
        return Err(absent(format!("expected at least {DISCS_MIN} discs, found {}", discs.len())));
    }
    progress.step(0.84, "ribs")?;
    let bounds = with_ends(discs, axis.places.len());
    let voxels = parts::near(axis, body, bone);
    let ribs = ribs::find(body, &voxels);
    let counted = count::count(&bounds, &ribs, profiles);
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

/// Labels and names: what lies below the lowest vertebra above a sacrum is one sacrum, and splinters at the ends go.
fn told<'a>(body: &'a Body, bone: &'a Bone, mut labels: Vec<u16>, counted: count::Count) -> Found<'a> {
    let sacral = counted.above_sacrum.unwrap_or(0) as u16;
    let mut voxels = vec![0_usize; counted.names.len() + 1];
    for label in labels.iter_mut().filter(|label| **label > 0) {
        *label = if *label <= sacral { 1 } else { *label };
        voxels[usize::from(*label)] += 1;
    }
    let is_told = |label: u16| {
        let ml = voxels[usize::from(label)] as f64 * body.lattice.voxel_mm3() / 1000.0;
        ml >= VERTEBRA_MIN_ML
    };
    labels.iter_mut().filter(|label| !is_told(**label)).for_each(|label| *label = 0);
    let name = |label: u16| match counted.names[usize::from(label) - 1] {
        _ if label <= sacral => "sacrum".into(),
        Some(name) => name.into(),
        None => format!("vertebra {label} from the feet, not sure which"),
    };
    Found {
        target: Target::Vertebrae,
        labels,
        names: (1..=counted.names.len() as u16).map(|label| (label, name(label))).collect(),
        threshold: Box::new(|index| bone.border[index]),
        dense: bone.dense.clone(),
        drawn: Vec::new(),
        notes: counted.notes.clone(),
    }
}
