//! A volume to start from without the noise of filtered back-projection.
//!
//! Total variation takes noise away by no more than about its strength a step, while edges come back from the views by
//! themselves: from a smooth volume a fraction of the passes suffices that a noisy one takes.

use ndarray::{Array3, ArrayView3, Axis, Zip};

/// Binomial weights: a standard deviation of one voxel.
const WEIGHTS: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];

/// Means of `values`, `[z, y, x]`, over a few voxels along each axis; the border counts on beyond the volume.
pub fn smooth_start(values: ArrayView3<'_, f32>) -> Array3<f32> {
    let mut volume = values.to_owned();
    for axis in [Axis(0), Axis(1), Axis(2)] {
        Zip::from(volume.lanes_mut(axis)).par_for_each(|mut lane| {
            let before = lane.to_vec();
            let reach = WEIGHTS.len() / 2;
            for (at, value) in lane.iter_mut().enumerate() {
                let place = |tap: usize| (at + tap).saturating_sub(reach).min(before.len() - 1);
                *value = WEIGHTS.iter().enumerate().map(|(tap, weight)| weight * before[place(tap)]).sum();
            }
        });
    }
    volume
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_start_keeps_what_is_even_and_spreads_a_point() {
        let even = Array3::from_elem((1, 4, 7), 0.5_f32);
        assert_eq!(smooth_start(even.view()), even);
        let mut point = Array3::zeros((9, 9, 9));
        point[[4, 4, 4]] = 1.0_f32;
        let found = smooth_start(point.view());
        assert!((found.sum() - 1.0).abs() < 1e-6);
        assert_eq!(found[[4, 4, 4]], 0.375_f32.powi(3));
        assert_eq!(found[[2, 4, 5]], 0.0625 * 0.375 * 0.25);
    }
}
