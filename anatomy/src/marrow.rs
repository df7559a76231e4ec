//! Marrow and pores: what belongs to bone although it is no brighter than soft tissue.

use crate::body::Body;
use crate::canal::CanalSlice;
use crate::components::{components, holes_of_slice};
use crate::fill::enclosing_planes;
use crate::filter::gaussian;
use crate::lattice::Lattice;
use crate::levels::Levels;
use crate::morphology::{closed, opened};
use crate::surrounded::Surrounded;
use crate::vertebrae::Axis;
use rayon::prelude::*;

/// Gaps in thin cortex are closed with a ball of this radius, mm, but no less than this share of a voxel's diagonal.
const CLOSING_MM: f64 = 1.6;
const CLOSING_DIAGONALS: f64 = 0.6;
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
/// Marrow of the sacrum's wings lies from here to here in front of the canal's middle, and so far to either side, mm.
const WING_FRONT_MM: [f64; 2] = [-30.0, 45.0];
const WING_BESIDE_MM: [f64; 2] = [8.0, 60.0];
/// It has bone about it in so many of 26 directions.
const WING_DIRECTIONS: u8 = 21;
/// And is brighter than this against soft tissue, HU, after smoothing by this, mm: foramina hold more fat.
const WING_HU: f32 = -70.0;
const WING_SMOOTHING_MM: f64 = 1.2;
/// Thinner than twice this it is a joint, mm.
const WING_RADIUS_MM: f64 = 3.0;

/// What bone encloses in any plane, and is denser on average than the canal, is spongy bone.
pub(crate) fn fill_spongiosa(body: &Body, levels: &Levels, bone: &mut [bool], contrast: &[bool]) {
    let shell = closed(bone, &body.lattice, closing_mm(&body.lattice));
    let planes = enclosing_planes(body, levels, &shell, |hole| hole.above_soft_hu > SPONGIOSA_HU);
    bone.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, bone)| {
        let is_gap = shell[i] && body.hu[i] > levels.soft(body.lattice.position(i)) + SPONGIOSA_HU;
        *bone |= (is_gap || planes[i] > 0) && !contrast[i];
    });
}

/// Closes gaps in cortex and fills what it encloses, but neither the canal nor contrast medium.
pub(crate) fn with_marrow(
    body: &Body,
    levels: &Levels,
    mut bone: Vec<bool>,
    contrast: &[bool],
    canal: &[CanalSlice],
    axis: Option<&Axis>,
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
    if let Some(axis) = axis {
        fill_wings(body, levels, &mut bone, &open, axis);
    }
    bone
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

/// Fills the marrow of a sacrum's wings. It is fatty, and opens onto the foramina, so that no plane shows it enclosed, but
/// unlike what lies in them it has bone in nearly every direction.
fn fill_wings(body: &Body, levels: &Levels, bone: &mut [bool], open: &[bool], axis: &Axis) {
    let lattice = &body.lattice;
    let around = Surrounded::by(bone, lattice);
    let smooth = gaussian(&body.hu, lattice, WING_SMOOTHING_MM);
    let is_beside = |[place, front, left]: [f64; 3]| {
        axis.holds(place)
            && (WING_FRONT_MM[0]..WING_FRONT_MM[1]).contains(&front)
            && (WING_BESIDE_MM[0]..WING_BESIDE_MM[1]).contains(&left.abs())
    };
    let marrow: Vec<bool> = (0..lattice.len())
        .into_par_iter()
        .with_min_len(4096)
        .map(|i| {
            let at = lattice.position(i);
            !bone[i]
                && !open[i]
                && around.directions(at) >= WING_DIRECTIONS
                && smooth[i] > levels.soft(at) + WING_HU
                && axis.coordinates(at).is_some_and(is_beside)
        })
        .collect();
    let marrow = opened(&marrow, lattice, WING_RADIUS_MM);
    bone.par_iter_mut().zip(&marrow).for_each(|(bone, marrow)| *bone |= *marrow);
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
