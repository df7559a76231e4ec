//! Bone by hysteresis with a local threshold, parted from contrast medium by flooding; then its marrow is filled and its
//! discs are taken out.

use crate::body::Body;
use crate::border::{borders, fill_voids, peel};
use crate::canal::{self, CanalSlice};
use crate::components::{Component, components, mask_of};
use crate::contrast::Contrast;
use crate::error::AnatomyError;
use crate::filter::{gaussian, gradient_magnitude};
use crate::levels::Levels;
use crate::marrow::{fill_spongiosa, with_marrow};
use crate::morphology::{closed, squared_distance_within};
use crate::progress::Progress;
use crate::vertebrae::{Axis, Spine};
use crate::watershed::watershed;
use rayon::prelude::*;

/// Bone for certain is this much above soft tissue, HU; with contrast-filled blood about, this much above blood.
const CERTAIN_ABOVE_SOFT_HU: f32 = 250.0;
const CERTAIN_ABOVE_BLOOD_HU: f32 = 110.0;
/// No voxel within this distance of undiluted contrast medium is bone for certain: it blooms and streaks, mm.
const BLOOMING_MM: f64 = 4.0;
/// Within this distance of it, streaks pass for bone: the border is raised there, by so much where they begin, mm, HU.
const STREAK_MM: f64 = 20.0;
const STREAK_HU: f32 = 250.0;
/// Smoothing of the landscape that is flooded and of the border, mm, and the slope beyond which all is equally steep, HU/mm.
const SMOOTHING_MM: f64 = 0.6;
const SLOPE_MAX_HU_PER_MM: f32 = 600.0;
/// Smaller pieces are calcifications, vessels and noise, ml; and each piece holds so much that is certain, mm³.
const PIECE_MIN_ML: f64 = 0.25;
const CERTAIN_MIN_MM3: f64 = 25.0;
/// A piece with more than this share of its faces on contrast medium, or on lung within so many mm, is not bone.
const CONTRAST_FACES_MAX: f64 = 0.12;
const LUNG_FACES_MAX: f64 = 0.6;
const LUNG_REACH_MM: f64 = 3.0;
const LUNG_HU: f32 = -400.0;
/// Gaps in the ring around the canal, mm.
const RING_CLOSING_MM: f64 = 4.0;

const BONE: u16 = 1;
const CONTRAST: u16 = 2;

/// Bone and what was learnt on the way, on the body's lattice.
pub struct Bone {
    /// Bone with its marrow.
    pub mask: Vec<bool>,
    /// Cores of metal and undiluted contrast medium.
    pub dense: Vec<bool>,
    /// The canal, slice by slice.
    pub canal: Vec<CanalSlice>,
    /// The spine along it.
    pub spine: Option<Spine>,
    /// Levels of soft tissue and bone.
    pub levels: Levels,
    /// Level at which bone begins, voxel by voxel, HU.
    pub border: Vec<f32>,
    /// Level of contrast-filled blood, where there is some, HU.
    pub blood_hu: Option<f32>,
}

impl Bone {
    /// Segments the bone of a body.
    ///
    /// # Errors
    /// [`AnatomyError::TargetAbsent`] when nothing is as dense as bone; [`AnatomyError::Cancelled`].
    pub fn find(body: &Body, progress: &Progress<'_>) -> Result<Self, AnatomyError> {
        progress.step(0.1, "levels")?;
        let rough = Levels::gather(body, |_| false);
        progress.step(0.2, "contrast medium")?;
        let cores = Contrast::find(body, rough.soft_hu);
        let levels = Levels::gather(body, |i| cores.is_core(i));
        progress.step(0.35, "flooding")?;
        let labels = flooded(body, &levels, &cores);
        let contrast: Vec<bool> = labels.iter().map(|label| *label == CONTRAST).collect();
        let mut pieces = kept_pieces(body, &levels, &cores, &labels)?;
        drop(labels);
        fill_spongiosa(body, &levels, &mut pieces, &contrast);
        progress.step(0.6, "canal")?;
        let rings = closed(&pieces, &body.lattice, RING_CLOSING_MM);
        let canal = canal::find(body, &levels, &rings);
        drop(rings);
        progress.step(0.75, "marrow")?;
        let axis = Axis::through(&canal, &body.lattice);
        let mut mask = with_marrow(body, &levels, pieces, &contrast, &canal, axis.as_ref());
        drop((contrast, cores.pools));
        progress.step(0.8, "discs")?;
        let spine = axis.map(|axis| Spine::find(body, axis, &mask, levels.soft_hu));
        if let Some(spine) = &spine {
            spine.open_discs(&mut mask, body);
        }
        fill_voids(&mut mask, &body.lattice);
        let smooth = gaussian(&body.hu, &body.lattice, SMOOTHING_MM);
        let border = borders(&smooth, body, &levels);
        peel(&mut mask, &smooth, &border, &body.lattice);
        Ok(Self { mask, dense: cores.dense, canal, spine, levels, border, blood_hu: cores.blood_hu })
    }
}

/// Level from which bone is certain.
fn certain_hu(levels: &Levels, blood_hu: Option<f32>, at: [usize; 3]) -> f32 {
    let above_soft = levels.soft(at) + CERTAIN_ABOVE_SOFT_HU;
    blood_hu.map_or(above_soft, |blood| above_soft.max(blood + CERTAIN_ABOVE_BLOOD_HU))
}

/// Everything brighter than the local border, given to bone or to contrast medium, whichever floods it first.
fn flooded(body: &Body, levels: &Levels, cores: &Contrast) -> Vec<u16> {
    let (basin, mut labels) = marked(body, levels, cores);
    let slope = gradient_magnitude(&gaussian(&body.hu, &body.lattice, SMOOTHING_MM), &body.lattice);
    watershed(&slope, SLOPE_MAX_HU_PER_MM, &basin, &body.lattice, &mut labels);
    labels
}

/// What is to be flooded, and from where.
fn marked(body: &Body, levels: &Levels, cores: &Contrast) -> (Vec<bool>, Vec<u16>) {
    let to_dense = squared_distance_within(&cores.dense, &body.lattice, STREAK_MM);
    let raised = |i: usize| STREAK_HU * (1.0 - to_dense[i].sqrt() / STREAK_MM as f32).max(0.0);
    let near_dense = |i: usize| to_dense[i] <= (BLOOMING_MM * BLOOMING_MM) as f32;
    let basin: Vec<bool> = (0..body.lattice.len())
        .into_par_iter()
        .with_min_len(4096)
        .map(|i| body.inside[i] && body.hu[i] > levels.border(body.lattice.position(i)) + raised(i))
        .collect();
    let labels = (0..body.lattice.len())
        .into_par_iter()
        .with_min_len(4096)
        .map(|i| {
            if cores.is_core(i) && basin[i] {
                CONTRAST
            } else if basin[i]
                && !near_dense(i)
                && body.hu[i] > certain_hu(levels, cores.blood_hu, body.lattice.position(i)) + raised(i)
            {
                BONE
            } else {
                0
            }
        })
        .collect();
    (basin, labels)
}

/// The pieces of bone that are large and certain enough.
fn kept_pieces(
    body: &Body,
    levels: &Levels,
    cores: &Contrast,
    labels: &[u16],
) -> Result<Vec<bool>, AnatomyError> {
    let bone: Vec<bool> = labels.iter().map(|label| *label == BONE).collect();
    let voxel_mm3 = body.lattice.voxel_mm3();
    let certain = |i: &&usize| body.hu[**i] > certain_hu(levels, cores.blood_hu, body.lattice.position(**i));
    let pieces = components(&bone, &body.lattice);
    let kept: Vec<_> = pieces
        .iter()
        .filter(|piece| piece.voxels.len() as f64 * voxel_mm3 >= PIECE_MIN_ML * 1000.0)
        .filter(|piece| piece.voxels.iter().filter(certain).count() as f64 * voxel_mm3 >= CERTAIN_MIN_MM3)
        .filter(|piece| is_among_soft_tissue(piece, body, labels))
        .collect();
    if kept.is_empty() {
        return Err(AnatomyError::TargetAbsent {
            target: "bone",
            reason: format!(
                "expected a piece of at least {PIECE_MIN_ML} ml that rises more than {CERTAIN_ABOVE_SOFT_HU} HU above \
                 soft tissue at {:.0} HU, found {} smaller or fainter pieces",
                levels.soft_hu,
                pieces.len()
            ),
        });
    }
    Ok(mask_of(kept, &body.lattice))
}

/// Whether a piece borders mainly on soft tissue: not on contrast medium, of which it would be a streak or a calcified
/// wall, and not on lung, whose vessels shine.
fn is_among_soft_tissue(piece: &Component, body: &Body, labels: &[u16]) -> bool {
    let lattice = &body.lattice;
    let steps = lattice.spacing_mm.map(|spacing| (LUNG_REACH_MM / spacing).ceil() as isize);
    let (mut faces, mut contrast, mut lung) = (0_usize, 0_usize, 0_usize);
    for &index in &piece.voxels {
        let at = lattice.position(index);
        for axis in 0..3 {
            for sign in [-1_isize, 1] {
                let mut by = [0; 3];
                by[axis] = sign;
                let Some(next) = lattice.offset(at, by) else { continue };
                if labels[next] == BONE {
                    continue;
                }
                faces += 1;
                contrast += usize::from(labels[next] == CONTRAST);
                by[axis] = sign * steps[axis];
                lung += usize::from(lattice.offset(at, by).is_some_and(|far| body.hu[far] < LUNG_HU));
            }
        }
    }
    let faces = faces.max(1) as f64;
    (contrast as f64) < CONTRAST_FACES_MAX * faces && (lung as f64) < LUNG_FACES_MAX * faces
}
