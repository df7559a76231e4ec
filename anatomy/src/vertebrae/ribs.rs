//! Ribs: bones that lead from beside the spine outwards, told from processes by their reach and from a pelvis by their
//! size.

use super::parts::SpineVoxel;
use crate::body::Body;
use crate::components::components;

/// A rib is looked for between these distances from the canal's middle, to either side, mm.
pub(super) const BESIDE_MM: [f64; 2] = [26.0, 52.0];
/// It is met at its inner end within so much of the nearer one, and reaches so near to the farther one, mm.
const ENDS_MM: f64 = 4.0;
/// And as far to the front and the back, mm.
const FRONT_MM: [f64; 2] = [-50.0, 45.0];
/// Its outer end is no higher than this along the spine, mm; a pelvis or a shoulder blade is.
const OUTER_HEIGHT_MAX_MM: f64 = 30.0;
/// The piece between these distances is no larger than this, ml.
const PIECE_MAX_ML: f64 = 14.0;

/// A rib beside the spine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rib {
    /// 0 to the left, 1 to the right.
    pub side: usize,
    /// Place along the canal where it meets the spine.
    pub place: f64,
}

/// The ribs of both sides, from the feet to the head.
pub(super) fn find(body: &Body, voxels: &[SpineVoxel]) -> Vec<Rib> {
    let mut ribs: Vec<Rib> = [0, 1].into_iter().flat_map(|side| of_side(body, voxels, side)).collect();
    ribs.sort_by(|a, b| a.place.total_cmp(&b.place));
    ribs
}

fn of_side(body: &Body, voxels: &[SpineVoxel], side: usize) -> Vec<Rib> {
    let sign = [1.0, -1.0][side];
    let mut slot = vec![u32::MAX; body.lattice.len()];
    let mut mask = vec![false; body.lattice.len()];
    for (number, voxel) in voxels.iter().enumerate() {
        let beside = sign * voxel.left;
        if beside >= BESIDE_MM[0]
            && beside <= BESIDE_MM[1]
            && voxel.front > FRONT_MM[0]
            && voxel.front < FRONT_MM[1]
        {
            mask[voxel.index] = true;
            slot[voxel.index] = number as u32;
        }
    }
    let mut ribs = Vec::new();
    for piece in components(&mask, &body.lattice) {
        let of = |index: &usize| &voxels[slot[*index] as usize];
        let beside = |index: &usize| sign * of(index).left;
        let inner: Vec<f64> =
            piece.voxels.iter().filter(|i| beside(i) < BESIDE_MM[0] + ENDS_MM).map(|i| of(i).place).collect();
        let outer: Vec<f64> =
            piece.voxels.iter().filter(|i| beside(i) > BESIDE_MM[1] - ENDS_MM).map(|i| of(i).place).collect();
        let ml = piece.voxels.len() as f64 * body.lattice.voxel_mm3() / 1000.0;
        if inner.is_empty() || outer.is_empty() {
            continue;
        }
        let height = outer.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b))
            - outer.iter().fold(f64::INFINITY, |a, b| a.min(*b));
        let place = inner.iter().sum::<f64>() / inner.len() as f64;
        if height <= OUTER_HEIGHT_MAX_MM && ml <= PIECE_MAX_ML {
            ribs.push(Rib { side, place });
        }
    }
    ribs
}
