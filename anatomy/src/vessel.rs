//! Contrast-filled vessels: a centreline walked section by section, then the lumen grown around it to half height.
//!
//! The walk starts where optimally oriented flux sees a tube, at a seed or, for the aorta, in front of the spine. Each
//! section is measured by rays across the vessel, each ending where the grey value has fallen half-way from blood to
//! what is around. A radius that jumps is a leak (a heart chamber, a vessel side by side) and ends the walk.

mod section;
mod start;
mod walk;

use crate::body::Body;
use crate::bone::Bone;
use crate::components::{components, mask_of};
use crate::error::AnatomyError;
use crate::progress::Progress;
use crate::sampled::place;
use crate::segment::Found;
use crate::segmentation::Target;
use section::{Outline, Section};
use std::collections::VecDeque;
use walk::Walked;

/// Lumen may lie this much farther from the centreline than the section's radius: sections are not quite round.
const REACH_SHARE: f64 = 1.2;
/// And this much more, in voxel diagonals.
const REACH_DIAGONALS: f64 = 0.5;
/// A section stands for a slab of this share of its radius to either side, and so many voxel diagonals.
const SLAB_SHARE: f64 = 0.4;
const SLAB_DIAGONALS: f64 = 0.3;
/// A larger piece that is brighter than a vessel's blood is another vessel, a smaller one is calcified wall, ml.
const CALCIFIED_MAX_ML: f64 = 0.5;
/// The aorta of a body in the field of view holds at least this, ml.
const AORTA_MIN_ML: f64 = 3.0;

/// Finds the vessels at `seeds` (indices of the body's lattice), or the aorta when there are none.
pub(crate) fn find<'a>(
    body: &'a Body,
    bone: &'a Bone,
    seeds: &[usize],
    progress: &Progress<'_>,
) -> Result<Found<'a>, AnatomyError> {
    progress.step(0.8, "vessel")?;
    let walked = if seeds.is_empty() {
        vec![aorta(body, bone)?]
    } else {
        let walk = |seed: &usize| Ok(walk::both_ways(body, &start::at_seed(body, bone, *seed)?));
        seeds.iter().map(walk).collect::<Result<Vec<_>, AnatomyError>>()?
    };
    let notes: Vec<String> = walked.iter().flat_map(|walked| walked.notes.clone()).collect();
    let sections: Vec<Section> = walked.into_iter().flat_map(|walked| walked.sections).collect();
    progress.step(0.88, "lumen")?;
    let labels = lumen(body, bone, &sections);
    if labels.iter().all(|label| *label == 0) {
        let reason = "expected blood along the vessel, found only what was taken for bone".into();
        return Err(AnatomyError::TargetAbsent { target: "vessel", reason });
    }
    let name = if seeds.is_empty() { "aorta" } else { "vessel" };
    let middle = sections.iter().map(|s| s.levels.half).sum::<f32>() / sections.len().max(1) as f32;
    Ok(Found {
        target: Target::Vessel,
        labels,
        names: vec![(1, name.into())],
        threshold: Box::new(move |_| middle),
        dense: bone.dense.clone(),
        drawn: Vec::new(),
        notes,
    })
}

/// Of the tubes in front of the spine the one that can be followed through most blood.
fn aorta(body: &Body, bone: &Bone) -> Result<Walked, AnatomyError> {
    let walks = start::of_aorta(body, bone)?.into_iter().map(|start| walk::both_ways(body, &start));
    let longest = walks.max_by(|a, b| a.volume_mm3().total_cmp(&b.volume_mm3()));
    longest.filter(|walked| walked.volume_mm3() >= AORTA_MIN_ML * 1000.0).ok_or_else(|| {
        AnatomyError::TargetAbsent {
            target: "vessel",
            reason: format!(
                "expected to follow a tube through at least {AORTA_MIN_ML} ml of blood, found less"
            ),
        }
    })
}

/// Everything brighter than half height that hangs together with the centreline within its radius.
fn lumen(body: &Body, bone: &Bone, sections: &[Section]) -> Vec<u16> {
    let lattice = &body.lattice;
    let owner = nearest_sections(body, sections);
    let is_other = other_vessels(body, bone, sections, &owner);
    let mut labels = vec![0_u16; lattice.len()];
    let mut queue = VecDeque::new();
    for section in sections {
        if let Some(index) = section.index(lattice)
            && labels[index] == 0
            && !bone.mask[index]
        {
            labels[index] = 1;
            queue.push_back(index);
        }
    }
    while let Some(index) = queue.pop_front() {
        lattice.for_neighbours(index, |near, _| {
            let Some(section) = owner[near].checked_sub(1).map(|i| &sections[i as usize]) else { return };
            let is_lumen = body.hu[near] > section.levels.half && !is_other[near];
            if labels[near] == 0 && !bone.mask[near] && is_lumen {
                labels[near] = 1;
                queue.push_back(near);
            }
        });
    }
    labels
}

/// Pieces within reach of the centreline that are brighter than its blood, but for the small ones.
fn other_vessels(body: &Body, bone: &Bone, sections: &[Section], owner: &[u32]) -> Vec<bool> {
    let is_bright = |i: usize| {
        let section = owner[i].checked_sub(1).map(|section| &sections[section as usize]);
        section.is_some_and(|section| body.hu[i] > section.levels.bright) && !bone.mask[i]
    };
    let bright: Vec<bool> = (0..body.lattice.len()).map(is_bright).collect();
    let large = CALCIFIED_MAX_ML * 1000.0 / body.lattice.voxel_mm3();
    let pieces = components(&bright, &body.lattice);
    mask_of(pieces.iter().filter(|piece| piece.voxels.len() as f64 > large), &body.lattice)
}

/// For each voxel within reach of the centreline and the walls one more than the number of its nearest section; 0
/// elsewhere.
fn nearest_sections(body: &Body, sections: &[Section]) -> Vec<u32> {
    let lattice = &body.lattice;
    let mut owner = vec![0_u32; lattice.len()];
    let mut nearest = vec![f32::INFINITY; lattice.len()];
    for (number, section) in sections.iter().enumerate() {
        let reach = REACH_SHARE * section.radius_mm + REACH_DIAGONALS * lattice.voxel_diagonal_mm();
        let Some(outline) = Outline::of(body, section) else { continue };
        let slab = SLAB_SHARE * section.radius_mm + SLAB_DIAGONALS * lattice.voxel_diagonal_mm();
        let spans: [std::ops::Range<usize>; 3] = std::array::from_fn(|axis| {
            let low = (section.centre_mm[axis] - reach) / lattice.spacing_mm[axis];
            let high = (section.centre_mm[axis] + reach) / lattice.spacing_mm[axis];
            (low.ceil().max(0.0) as usize)..((high.floor() + 1.0).max(0.0) as usize).min(lattice.shape[axis])
        });
        for z in spans[0].clone() {
            for y in spans[1].clone() {
                for x in spans[2].clone() {
                    let index = lattice.index([z, y, x]);
                    let from_centre = place(lattice, [z, y, x]) - section.centre_mm;
                    let away = from_centre.norm();
                    // A slab, so that the lumen ends where the walk ended.
                    let along = from_centre.dot(&section.direction);
                    let is_in_slab = along >= -slab && along <= slab.min(section.ends_ahead_mm);
                    let is_near = away <= reach && is_in_slab && (away as f32) < nearest[index];
                    if is_near && outline.holds(&from_centre) {
                        nearest[index] = away as f32;
                        owner[index] = number as u32 + 1;
                    }
                }
            }
        }
    }
    owner
}
