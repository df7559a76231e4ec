//! Bone by hysteresis with a local threshold, parted from contrast medium by flooding, with its marrow filled and its
//! discs taken out.

use crate::body::Body;
use crate::border::{borders, fill_voids, peel};
use crate::canal::{self, CanalSlice};
use crate::components::{Component, components, holes_of_slice, mask_of};
use crate::contrast::Contrast;
use crate::error::AnatomyError;
use crate::fill::enclosing_planes;
use crate::filter::{gaussian, gradient_magnitude};
use crate::lattice::Lattice;
use crate::levels::Levels;
use crate::morphology::{closed, squared_distance_within};
use crate::progress::Progress;
use crate::vertebrae::Spine;
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
/// Gaps in thin cortex are closed with a ball of this radius, mm, but no less than this share of a voxel's diagonal.
const CLOSING_MM: f64 = 1.6;
const CLOSING_DIAGONALS: f64 = 0.6;
/// Gaps in the ring around the canal, mm.
const RING_CLOSING_MM: f64 = 4.0;
/// Largest section of a marrow cavity that the end of the volume cuts, mm².
const CUT_SHAFT_MAX_MM2: f64 = 2500.0;
/// Darkest marrow (fat), and darkest bone in a closed gap or in pores, against soft tissue, HU.
const MARROW_HU: f32 = -220.0;
const GAP_HU: f32 = 5.0;
/// Spongy bone is so much denser than soft tissue, HU: more than the content of the canal.
const SPONGIOSA_HU: f32 = 60.0;
/// Pores smaller than this are filled where one plane shows them as holes, mm².
const PORE_MM2: f64 = 120.0;
/// So much of what passed for contrast medium, enclosed by bone in two planes, is marrow, ml.
const ENCLOSED_MARROW_ML: f64 = 0.3;

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
        let mut mask = with_marrow(body, &levels, pieces, &contrast, &canal);
        drop((contrast, cores.pools));
        progress.step(0.8, "discs")?;
        let spine = Spine::find(body, &canal, &mask, levels.soft_hu);
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

/// What bone encloses in any plane, and is denser on average than the canal, is spongy bone.
fn fill_spongiosa(body: &Body, levels: &Levels, bone: &mut [bool], contrast: &[bool]) {
    let shell = closed(bone, &body.lattice, closing_mm(&body.lattice));
    let planes = enclosing_planes(body, levels, &shell, |hole| hole.above_soft_hu > SPONGIOSA_HU);
    bone.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, bone)| {
        let is_gap = shell[i] && body.hu[i] > levels.soft(body.lattice.position(i)) + SPONGIOSA_HU;
        *bone |= (is_gap || planes[i] > 0) && !contrast[i];
    });
}

/// Contrast medium that stays open: not what bone encloses, which is marrow, even and without a bright shell of its own.
///
/// Small enclosed parts are contrast medium: vessels lead through foramina.
fn open_contrast(contrast: &[bool], planes: &[u8], lattice: &Lattice) -> Vec<bool> {
    let enclosed: Vec<bool> =
        contrast.iter().zip(planes).map(|(contrast, planes)| *contrast && *planes >= 2).collect();
    let mut open = contrast.to_vec();
    let marrow_min = ENCLOSED_MARROW_ML * 1000.0 / lattice.voxel_mm3();
    for marrow in components(&enclosed, lattice).iter().filter(|part| part.voxels.len() as f64 >= marrow_min)
    {
        marrow.voxels.iter().for_each(|i| open[*i] = false);
    }
    open
}

fn closing_mm(lattice: &Lattice) -> f64 {
    CLOSING_MM.max(CLOSING_DIAGONALS * lattice.voxel_diagonal_mm())
}

/// Closes bones that the first and last slice cut through: what a cut shaft encloses there counts as its shell.
fn close_ends(body: &Body, shell: &mut [bool], open: &[bool]) {
    let [nz, ny, nx] = body.lattice.shape;
    let slice_len = body.lattice.slice_len();
    let pixel_mm2 = body.lattice.spacing_mm[1] * body.lattice.spacing_mm[2];
    for start in [0, (nz - 1) * slice_len] {
        for hole in holes_of_slice(ny, nx, |y, x| shell[start + y * nx + x]) {
            let is_open = hole.iter().any(|(y, x)| open[start + y * nx + x]);
            if !is_open && hole.len() as f64 * pixel_mm2 < CUT_SHAFT_MAX_MM2 {
                hole.iter().for_each(|(y, x)| shell[start + y * nx + x] = true);
            }
        }
    }
}

/// Closes gaps in cortex and fills what it encloses, but neither the canal nor contrast medium.
fn with_marrow(
    body: &Body,
    levels: &Levels,
    mut bone: Vec<bool>,
    contrast: &[bool],
    canal: &[CanalSlice],
) -> Vec<bool> {
    let lattice = &body.lattice;
    let mut open = vec![false; lattice.len()];
    for slice in canal {
        for (y, x) in &slice.voxels {
            open[lattice.index([slice.z, *y, *x])] = true;
        }
    }
    let mut shell = closed(&bone, lattice, closing_mm(lattice));
    close_ends(body, &mut shell, &open);
    let planes = enclosing_planes(body, levels, &shell, |_| true);
    open.iter_mut().zip(open_contrast(contrast, &planes, lattice)).for_each(|(open, medium)| *open |= medium);
    let pores = enclosing_planes(body, levels, &shell, |hole| hole.area_mm2 < PORE_MM2);
    let above = |i: usize| body.hu[i] - levels.soft(lattice.position(i));
    bone.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, bone)| {
        let is_marrow = planes[i] >= 2 && above(i) > MARROW_HU;
        let is_pore = (shell[i] || pores[i] > 0) && above(i) > GAP_HU;
        *bone |= (is_marrow || is_pore) && !open[i];
    });
    // What was filled closes planes that were open before.
    let planes = enclosing_planes(body, levels, &bone, |_| true);
    bone.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, bone)| {
        *bone |= planes[i] >= 2 && above(i) > MARROW_HU && !open[i];
    });
    bone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enclosed_pools_are_marrow_and_vessels_in_foramina_are_not() {
        let lattice = Lattice { shape: [10, 10, 30], spacing_mm: [1.0; 3] };
        let column = |i: usize| lattice.position(i)[2];
        // A vessel that touches a bone, a pool of half a millilitre in that bone, and a foramen.
        let contrast: Vec<bool> = (0..lattice.len()).map(|i| column(i) < 12 || column(i) == 20).collect();
        let planes: Vec<u8> = (0..lattice.len())
            .map(|i| {
                let [z, y, _] = lattice.position(i);
                match column(i) {
                    7..12 => 3,
                    20 if z == 5 && y < 9 => 2,
                    _ => 1,
                }
            })
            .collect();
        let open = open_contrast(&contrast, &planes, &lattice);
        assert!((0..lattice.len()).all(|i| open[i] == (column(i) < 7 || column(i) == 20)));
    }
}
