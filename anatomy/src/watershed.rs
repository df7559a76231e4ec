//! Flooding from markers: each voxel goes to the marker that reaches it over the lowest pass.

use crate::lattice::Lattice;
use std::collections::VecDeque;

/// Heights are told apart in so many steps.
const STEPS: usize = 1024;

/// Floods `basin` from the markers in `labels` (anything but zero) over the landscape `height`.
///
/// `labels` is changed in place; voxels of the basin that no marker reaches stay zero. Where two floods meet, neither
/// goes on: there is no dividing line. `height_max` is where all that is higher counts as equal.
///
/// # Method
/// Meyer's flooding: a queue with one first-in-first-out level for each height, so that plateaus are shared by
/// distance. Meyer, *Color image segmentation*, IEE Int. Conf. Image Processing 1992.
pub fn watershed(height: &[f32], height_max: f32, basin: &[bool], lattice: &Lattice, labels: &mut [u16]) {
    assert!(height.len() == lattice.len() && labels.len() == lattice.len() && basin.len() == lattice.len());
    let level_of = |index: usize| {
        let share = (height[index] / height_max).clamp(0.0, 1.0);
        (share * (STEPS - 1) as f32) as usize
    };
    let mut queues: Vec<VecDeque<usize>> = vec![VecDeque::new(); STEPS];
    for index in 0..labels.len() {
        if labels[index] == 0 {
            continue;
        }
        let mut is_rim = false;
        lattice.for_neighbours(index, |near, _| is_rim |= labels[near] == 0 && basin[near]);
        if is_rim {
            queues[level_of(index)].push_back(index);
        }
    }
    let mut level = 0;
    while level < STEPS {
        let Some(index) = queues[level].pop_front() else {
            level += 1;
            continue;
        };
        let label = labels[index];
        lattice.for_neighbours(index, |near, _| {
            if basin[near] && labels[near] == 0 {
                labels[near] = label;
                // Water that has passed a ridge stands at the ridge's height.
                queues[level_of(near).max(level)].push_back(near);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watershed_meets_at_the_ridge() {
        let lattice = Lattice { shape: [1, 1, 11], spacing_mm: [1.0; 3] };
        let height: Vec<f32> = [0.0, 1.0, 2.0, 3.0, 4.0, 9.0, 6.0, 2.0, 1.0, 0.5, 0.0].to_vec();
        let mut labels = vec![0; 11];
        (labels[1], labels[10]) = (1, 2);
        watershed(&height, 10.0, &[true; 11], &lattice, &mut labels);
        assert_eq!(labels[..5], [1; 5]);
        assert_eq!(labels[6..], [2; 5]);
    }

    #[test]
    fn watershed_stays_in_its_basin() {
        let lattice = Lattice { shape: [1, 1, 5], spacing_mm: [1.0; 3] };
        let mut labels = vec![3, 0, 0, 0, 0];
        watershed(&[0.0; 5], 1.0, &[true, true, false, true, true], &lattice, &mut labels);
        assert_eq!(labels, [3, 3, 0, 0, 0]);
    }
}
