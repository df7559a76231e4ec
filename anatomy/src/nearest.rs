//! Sharing a mask among markers: each voxel goes to the marker with the cheapest way to it through the mask.

use crate::lattice::Lattice;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Shares `basin` among the markers in `labels` (anything but zero): a step costs its length times the mean `toll` of the
/// voxels it joins, which is positive.
///
/// `labels` is changed in place; voxels of the basin that no marker reaches stay zero. Of equal ways, that of the voxel
/// that comes first wins.
///
/// # Method
/// Dijkstra, *A note on two problems in connexion with graphs*, Numerische Mathematik 1, 1959, over faces.
pub fn shared(toll: impl Fn(usize) -> f32, basin: &[bool], lattice: &Lattice, labels: &mut [u16]) {
    assert!(labels.len() == lattice.len() && basin.len() == lattice.len());
    let mut cost = vec![f32::INFINITY; labels.len()];
    let mut heap = BinaryHeap::new();
    for index in (0..labels.len()).filter(|index| labels[*index] > 0) {
        cost[index] = 0.0;
        heap.push(Reverse((0_u32, index)));
    }
    while let Some(Reverse((bits, index))) = heap.pop() {
        // Positive floats are ordered as their bits are.
        if bits > cost[index].to_bits() {
            continue;
        }
        lattice.for_neighbours(index, |near, axis| {
            let step = 0.5 * (toll(index) + toll(near)) * lattice.spacing_mm[axis] as f32;
            let way = cost[index] + step;
            if basin[near] && way < cost[near] {
                (cost[near], labels[near]) = (way, labels[index]);
                heap.push(Reverse((way.to_bits(), near)));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_marker_wins_along_the_mask_and_tolls_count() {
        // A row, its way back below, and one voxel that joins their ends.
        let lattice = Lattice { shape: [1, 3, 7], spacing_mm: [1.0; 3] };
        let basin: Vec<bool> = (0..21).map(|i| !(7..13).contains(&i)).collect();
        let shares = |toll: &dyn Fn(usize) -> f32| {
            let mut labels = vec![0; 21];
            (labels[0], labels[17]) = (1, 2);
            shared(toll, &basin, &lattice, &mut labels);
            labels
        };
        let even = shares(&|_| 1.0);
        assert_eq!(even[..7], [1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(even[7..], [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2]);
        let with_toll = shares(&|i| if i == 18 { 9.0 } else { 1.0 });
        assert_eq!(with_toll[..7], [1; 7]);
        assert_eq!(with_toll[13..], [1, 2, 2, 2, 2, 2, 1, 1]);
    }
}
