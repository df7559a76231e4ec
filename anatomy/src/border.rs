//! Where bone ends: a share of the way from soft tissue up to the brightest bone near by, so that blur does not thicken
//! dense cortex.
//!
//! A border at one level for a whole region suits spongy bone and thin cortex, which hardly rise above it, but lies
//! outside dense cortex by as much as the image is blurred. What is too much is peeled from the outside and uphill, so
//! that marrow stays, however dark, where cortex is thin.

use crate::body::Body;
use crate::filter::highest_within;
use crate::lattice::Lattice;
use crate::levels::Levels;
use crate::morphology::{inverted, within};
use rayon::prelude::*;

/// How far the brightest bone is sought, mm.
const REACH_MM: f64 = 2.5;
/// The border lies at this share of the way up, but no higher than this above soft tissue, HU. Half the way is the edge of
/// a plate thicker than the blur, less that of a thinner one. Chosen on the two CTs of `tests/data.rs` and on the
/// cone-beam volumes of `tests/accuracy/segmentation.py` together: within 4 mm of the maps' bone, Dice of what is above the
/// border changes by less than 0.01 from 0.3 to 0.4.
const SHARE: f32 = 0.35;
const ABOVE_SOFT_MAX_HU: f32 = 200.0;
/// No more than this is peeled, mm.
const PEEL_MM: f64 = 2.5;

/// The level at which bone begins, voxel by voxel, HU, from smooth grey values: noise must not pass for bone.
pub(crate) fn borders(smooth: &[f32], body: &Body, levels: &Levels) -> Vec<f32> {
    let lattice = &body.lattice;
    let mut border = highest_within(smooth.to_vec(), lattice, REACH_MM);
    border.par_iter_mut().enumerate().with_min_len(4096).for_each(|(index, border)| {
        let at = lattice.position(index);
        let soft = levels.soft(at);
        let above = (SHARE * (*border - soft)).min(ABOVE_SOFT_MAX_HU);
        *border = levels.border(at).max(soft + above);
    });
    border
}

/// Fills what a mask encloses on all sides.
pub(crate) fn fill_voids(mask: &mut [bool], lattice: &Lattice) {
    let outside = outside(mask, lattice);
    mask.par_iter_mut().zip(&outside).for_each(|(mask, outside)| *mask = !outside);
}

/// Takes from a mask what is darker than its border and is reached from the outside without a step down in grey values.
pub(crate) fn peel(mask: &mut [bool], smooth: &[f32], border: &[f32], lattice: &Lattice) {
    let is_shallow = within(&inverted(mask), lattice, PEEL_MM, (PEEL_MM * PEEL_MM) as f32);
    let is_loose = |index: usize| smooth[index] < border[index] && is_shallow[index];
    let begins = |index: usize| {
        let mut begins = false;
        lattice.for_neighbours(index, |near, _| begins |= !mask[near] && smooth[index] >= smooth[near]);
        begins
    };
    let mut front: Vec<usize> = (0..mask.len())
        .into_par_iter()
        .with_min_len(4096)
        .filter(|index| mask[*index] && is_loose(*index) && begins(*index))
        .collect();
    front.iter().for_each(|index| mask[*index] = false);
    while let Some(index) = front.pop() {
        lattice.for_neighbours(index, |near, _| {
            if mask[near] && smooth[near] >= smooth[index] && is_loose(near) {
                mask[near] = false;
                front.push(near);
            }
        });
    }
}

/// The background that reaches a face of the lattice.
fn outside(mask: &[bool], lattice: &Lattice) -> Vec<bool> {
    let mut outside = vec![false; mask.len()];
    let mut front: Vec<usize> = (0..mask.len())
        .filter(|index| !mask[*index] && lattice.is_on_face(lattice.position(*index)))
        .collect();
    front.iter().for_each(|index| outside[*index] = true);
    while let Some(index) = front.pop() {
        lattice.for_neighbours(index, |near, _| {
            if !mask[near] && !outside[near] {
                outside[near] = true;
                front.push(near);
            }
        });
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thickness at the middle of a plate with soft tissue on both sides after `change`, voxels.
    fn thickness(change: impl Fn(&mut Vec<bool>, &Lattice)) -> usize {
        let lattice = Lattice { shape: [9, 9, 31], spacing_mm: [0.5; 3] };
        let mut mask: Vec<bool> =
            (0..lattice.len()).map(|i| lattice.position(i)[2].abs_diff(15) <= 7).collect();
        change(&mut mask, &lattice);
        (0..31).filter(|x| mask[lattice.index([4, 4, *x])]).count()
    }

    #[test]
    fn peeling_takes_dark_rims_and_leaves_dark_insides() {
        let peeled = thickness(|mask, lattice| {
            // Dark rims of two voxels, bright shells of two, a dark inside of seven.
            let hu: Vec<f32> = (0..lattice.len())
                .map(|i| if [4, 5].contains(&lattice.position(i)[2].abs_diff(15)) { 800.0 } else { 100.0 })
                .collect();
            peel(mask, &hu, &vec![300.0; lattice.len()], lattice);
        });
        assert_eq!(peeled, 11);
    }

    #[test]
    fn peeling_does_not_go_down_into_marrow() {
        let peeled = thickness(|mask, lattice| {
            // Thin cortex of one voxel, too dark to stop at, and darker marrow.
            let hu: Vec<f32> = (0..lattice.len())
                .map(|i| match lattice.position(i)[2].abs_diff(15) {
                    7 => 250.0,
                    0..7 => 150.0,
                    _ => 50.0,
                })
                .collect();
            peel(mask, &hu, &vec![300.0; lattice.len()], lattice);
        });
        assert_eq!(peeled, 13);
    }

    #[test]
    fn peeling_goes_no_deeper_than_its_reach() {
        let peeled = thickness(|mask, lattice| {
            peel(mask, &vec![100.0; lattice.len()], &vec![300.0; lattice.len()], lattice);
        });
        // Five voxels of half a millimetre from either side.
        assert_eq!(peeled, 5);
    }

    #[test]
    fn voids_are_filled_and_bays_are_not() {
        let lattice = Lattice { shape: [7, 7, 7], spacing_mm: [1.0; 3] };
        let ball = |i: usize| lattice.position(i).iter().all(|at| (1..=5).contains(at));
        let mut mask: Vec<bool> = (0..lattice.len()).map(ball).collect();
        let (void, bay) = (lattice.index([3, 3, 3]), lattice.index([3, 1, 3]));
        mask[void] = false;
        mask[bay] = false;
        fill_voids(&mut mask, &lattice);
        assert!(mask[void] && !mask[bay]);
    }
}
