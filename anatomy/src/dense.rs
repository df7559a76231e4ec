//! Metal, and calcification outside bone and contrast medium.

use crate::body::Body;
use crate::bone::Bone;
use crate::components::{Component, components};
use crate::error::AnatomyError;
use crate::lattice::Lattice;
use crate::morphology::{dilated, squared_distance_within};
use crate::segment::Found;
use crate::segmentation::Target;

/// Metal saturates a scanner's range or comes near; bone, teeth apart, does not, HU.
const METAL_CORE_HU: f32 = 2500.0;
/// Its border: half-way from there to bone and soft tissue around, HU.
const METAL_HU: f32 = 1500.0;
/// How far blurred metal reaches from its core, mm.
const METAL_REACH_MM: f64 = 4.0;
/// Smaller pieces are noise, mm³.
const METAL_MIN_MM3: f64 = 10.0;
/// Calcification reaches from the density of a faint plaque to that of a stone, HU; with contrast-filled blood about, it
/// is so much brighter than blood.
const CALCIFIED_HU: [f32; 2] = [100.0, 3000.0];
const CALCIFIED_ABOVE_SOFT_HU: f32 = 110.0;
const CALCIFIED_ABOVE_BLOOD_HU: f32 = 110.0;
/// Nearer to bone, metal or undiluted medium, mm, density is theirs.
const BONE_MARGIN_MM: f64 = 3.0;
const STREAK_MM: f64 = 20.0;
/// Nearer to the outside of the body lie skin folds, leads and lines, mm.
const SKIN_MM: f64 = 8.0;
/// Sizes of plaques and stones, mm³.
const CALCIFIED_MM3: [f64; 2] = [5.0, 5000.0];

/// Metal: pieces with a core that no tissue is as dense as.
pub(crate) fn metal<'a>(body: &'a Body) -> Result<Found<'a>, AnatomyError> {
    let lattice = &body.lattice;
    let core: Vec<bool> = body.hu.iter().map(|hu| *hu > METAL_CORE_HU).collect();
    let near_core = dilated(&core, lattice, METAL_REACH_MM);
    let bright: Vec<bool> =
        near_core.iter().zip(&body.hu).map(|(near, hu)| *near && *hu > METAL_HU).collect();
    let pieces: Vec<Component> = components(&bright, lattice)
        .into_iter()
        .filter(|piece| piece.voxels.len() as f64 * lattice.voxel_mm3() >= METAL_MIN_MM3)
        .filter(|piece| piece.voxels.iter().any(|index| core[*index]))
        .collect();
    if pieces.is_empty() {
        let highest = body.hu.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        return Err(AnatomyError::TargetAbsent {
            target: "metal",
            reason: format!(
                "expected at least {METAL_MIN_MM3} mm³ around a core above {METAL_CORE_HU} HU, found at most \
                 {highest:.0} HU"
            ),
        });
    }
    Ok(Found {
        target: Target::Metal,
        labels: labelled(&pieces, lattice),
        names: vec![(1, "metal".into())],
        threshold: Box::new(|_| METAL_HU),
        dense: vec![false; lattice.len()],
        drawn: Vec::new(),
        notes: vec!["undiluted contrast medium is as dense as metal and cannot be told from it".into()],
    })
}

/// Calcification: small dense pieces outside bone, denser than the blood about.
pub(crate) fn calcification<'a>(body: &'a Body, bone: &'a Bone) -> Result<Found<'a>, AnatomyError> {
    let lattice = &body.lattice;
    let near_bone = dilated(&bone.mask, lattice, BONE_MARGIN_MM);
    let near_dense = dilated(&bone.dense, lattice, STREAK_MM);
    let outside: Vec<bool> = body.inside.iter().map(|inside| !inside).collect();
    let to_outside = squared_distance_within(&outside, lattice, SKIN_MM);
    let threshold = |index: usize| {
        let soft = bone.levels.soft(lattice.position(index)) + CALCIFIED_ABOVE_SOFT_HU;
        let level = bone.blood_hu.map_or(soft, |blood| soft.max(blood + CALCIFIED_ABOVE_BLOOD_HU));
        level.max(CALCIFIED_HU[0])
    };
    let bright: Vec<bool> = (0..lattice.len())
        .map(|i| {
            let is_elsewhere = near_bone[i] || near_dense[i] || to_outside[i].is_finite();
            !is_elsewhere && body.hu[i] > threshold(i) && body.hu[i] < CALCIFIED_HU[1]
        })
        .collect();
    let size = CALCIFIED_MM3[0]..CALCIFIED_MM3[1];
    let pieces: Vec<Component> = components(&bright, lattice)
        .into_iter()
        .filter(|piece| size.contains(&(piece.voxels.len() as f64 * lattice.voxel_mm3())))
        .collect();
    if pieces.is_empty() {
        return Err(AnatomyError::TargetAbsent {
            target: "calcification",
            reason: format!(
                "expected pieces of {} to {} mm³ of {} to {} HU outside bone and contrast medium, found none",
                CALCIFIED_MM3[0], CALCIFIED_MM3[1], CALCIFIED_HU[0], CALCIFIED_HU[1]
            ),
        });
    }
    Ok(Found {
        target: Target::Calcification,
        labels: labelled(&pieces, lattice),
        names: vec![(1, "calcification".into())],
        threshold: Box::new(threshold),
        dense: bone.dense.clone(),
        drawn: Vec::new(),
        notes: Vec::new(),
    })
}

fn labelled(pieces: &[Component], lattice: &Lattice) -> Vec<u16> {
    let mut labels = vec![0; lattice.len()];
    pieces.iter().flat_map(|piece| &piece.voxels).for_each(|index| labels[*index] = 1);
    labels
}
