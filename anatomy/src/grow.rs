//! Region growing from seeds between two levels, and the same with a guard that stops at leaks.

use crate::error::AnatomyError;
use crate::lattice::Lattice;
use std::collections::VecDeque;

/// Growth of one layer over the mean of the last ones that counts as a leak, and the layers that are remembered.
const LEAK_FACTOR: f64 = 2.0;
const LAYERS: usize = 6;
/// Smaller layers may grow as they like: that is how a seed fills its vessel's section, voxels.
const LAYER_MIN: usize = 60;

/// Every voxel between `low` and `high` (both included) that hangs together with a seed by faces.
///
/// `values` is `[z, y, x]` flat, `seeds` are places in it.
///
/// # Errors
/// [`AnatomyError::Parameter`] for levels out of order or a seed outside the lattice.
pub fn region_growing(
    values: &[f32],
    lattice: &Lattice,
    seeds: &[usize],
    [low, high]: [f32; 2],
) -> Result<Vec<bool>, AnatomyError> {
    Ok(layers(values, lattice, seeds, [low, high], |_, _| true)?.0)
}

/// As [`region_growing`], layer by layer, but stops when a layer is suddenly much larger than those before it: the flood
/// has broken through a thin place. The layers that led there are taken back. Tells whether it stopped.
///
/// # Errors
/// As [`region_growing`].
pub fn flood_with_leak_stop(
    values: &[f32],
    lattice: &Lattice,
    seeds: &[usize],
    levels: [f32; 2],
) -> Result<(Vec<bool>, bool), AnatomyError> {
    layers(values, lattice, seeds, levels, |sizes, next| {
        let last = &sizes[sizes.len().saturating_sub(LAYERS)..];
        let mean = last.iter().sum::<usize>() as f64 / last.len().max(1) as f64;
        next < LAYER_MIN || last.len() < LAYERS || (next as f64) < LEAK_FACTOR * mean
    })
}

/// Grows in layers while `may_grow(sizes so far, size of the next)`.
fn layers(
    values: &[f32],
    lattice: &Lattice,
    seeds: &[usize],
    [low, high]: [f32; 2],
    may_grow: impl Fn(&[usize], usize) -> bool,
) -> Result<(Vec<bool>, bool), AnatomyError> {
    if low.partial_cmp(&high).is_none_or(std::cmp::Ordering::is_gt) {
        return Err(AnatomyError::Parameter {
            what: "levels of region growing, HU",
            expected: "the lower one first",
            found: format!("{low} and {high}"),
        });
    }
    let is_wanted = |index: usize| values[index] >= low && values[index] <= high;
    let mut grown = vec![false; lattice.len()];
    let mut front = Vec::new();
    for &seed in seeds {
        if seed >= lattice.len() {
            return Err(AnatomyError::Parameter {
                what: "seed of region growing",
                expected: "a voxel of the volume",
                found: format!("place {seed} of {}", lattice.len()),
            });
        }
        if is_wanted(seed) && !grown[seed] {
            grown[seed] = true;
            front.push(seed);
        }
    }
    let mut sizes = vec![front.len()];
    let mut recent: VecDeque<Vec<usize>> = VecDeque::new();
    while !front.is_empty() {
        let mut next = Vec::new();
        for &index in &front {
            lattice.for_neighbours(index, |near, _| {
                if !grown[near] && is_wanted(near) {
                    grown[near] = true;
                    next.push(near);
                }
            });
        }
        if !may_grow(&sizes, next.len()) {
            let taken_back = next.iter().chain(recent.iter().flatten());
            taken_back.for_each(|index| grown[*index] = false);
            return Ok((grown, true));
        }
        sizes.push(next.len());
        recent.push_back(std::mem::replace(&mut front, next));
        if recent.len() > LAYERS {
            recent.pop_front();
        }
    }
    Ok((grown, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tube along x that opens into a large room through a small hole.
    fn tube_and_room() -> (Vec<f32>, Lattice) {
        let lattice = Lattice { shape: [41, 41, 80], spacing_mm: [1.0; 3] };
        let values = (0..lattice.len())
            .map(|i| {
                let [z, y, x] = lattice.position(i);
                let from_axis = (z as f32 - 20.0).hypot(y as f32 - 20.0);
                if x >= 50 || from_axis < 3.5 { 100.0 } else { 0.0 }
            })
            .collect();
        (values, lattice)
    }

    #[test]
    fn region_growing_takes_what_hangs_together() {
        let (values, lattice) = tube_and_room();
        let seed = lattice.index([20, 20, 5]);
        let grown = region_growing(&values, &lattice, &[seed], [50.0, 150.0]).unwrap();
        assert!(grown.iter().zip(&values).all(|(grown, value)| *grown == (*value > 50.0)));
        let none = region_growing(&values, &lattice, &[seed], [150.0, 200.0]).unwrap();
        assert!(none.iter().all(|grown| !grown));
    }

    #[test]
    fn flood_stops_where_a_tube_leaks_into_a_room() {
        let (values, lattice) = tube_and_room();
        let seed = lattice.index([20, 20, 2]);
        let (grown, has_leaked) = flood_with_leak_stop(&values, &lattice, &[seed], [50.0, 150.0]).unwrap();
        assert!(has_leaked);
        let beyond = (0..lattice.len()).filter(|i| grown[*i] && lattice.position(*i)[2] >= 55).count();
        let within = (0..lattice.len()).filter(|i| grown[*i] && lattice.position(*i)[2] < 45).count();
        // The room holds fifty thousand voxels.
        assert!(beyond < 10, "{beyond}");
        assert!(within > 1500, "{within}");
    }

    #[test]
    fn region_growing_refuses_levels_out_of_order() {
        let (values, lattice) = tube_and_room();
        let refused = region_growing(&values, &lattice, &[0], [f32::NAN, 1.0]);
        assert!(matches!(refused, Err(AnatomyError::Parameter { .. })));
        assert!(region_growing(&values, &lattice, &[usize::MAX], [0.0, 1.0]).is_err());
    }
}
