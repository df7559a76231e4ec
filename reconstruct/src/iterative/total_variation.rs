//! The volume nearest to another that has little total variation: the sum over voxels of the length of the difference to
//! the next voxel along each axis.
//!
//! Solved on the dual by projected gradients (Chambolle, J. Math. Imaging Vis. 20, 2004; Beck and Teboulle, IEEE Trans.
//! Image Process. 18(11), 2009, for bounds on the values). The dual is kept from call to call: when the volume changes
//! little in between, a few steps a call suffice.

use crate::project::{ColumnGrid, ColumnVolume};
use rayon::prelude::*;

/// Bound of the squared norm of the difference operator in three dimensions.
const DIFFERENCE_NORM_SQUARED: f32 = 12.0;

/// Makes volumes smoother and keeps the dual of the last call.
pub(crate) struct TotalVariation {
    grid: ColumnGrid,
    /// Dual along slow, fast and columns; at each voxel at most as long as its variation weighs.
    dual: [ColumnVolume; 3],
}

/// What is asked of the nearest volume.
pub(crate) struct Smoothing<'a> {
    /// Strength per voxel: `strength × metric`; zero leaves a voxel as it is.
    pub(crate) strength: f32,
    /// Not negative.
    pub(crate) metric: &'a ColumnVolume,
    /// Largest value of `metric`.
    pub(crate) metric_max: f32,
    /// Smallest value allowed.
    pub(crate) lowest: f32,
    /// Dual steps.
    pub(crate) steps: usize,
    /// What a voxel's own variation weighs; one everywhere where absent.
    pub(crate) weights: Option<&'a ColumnVolume>,
}

impl TotalVariation {
    pub(crate) fn new(grid: &ColumnGrid) -> Self {
        Self { grid: grid.clone(), dual: [grid.zeros(), grid.zeros(), grid.zeros()] }
    }

    /// Minimises `Σ (x - u)² / (2 metric) + strength TV(x)`, each voxel's variation by its weight, over `x ≥ lowest` into `x`, starting from the last dual.
    pub(crate) fn smooth(&mut self, u: &ColumnVolume, smoothing: &Smoothing<'_>, x: &mut ColumnVolume) {
        let scale = smoothing.strength * smoothing.metric_max;
        if scale > 0.0 {
            for _ in 0..smoothing.steps {
                self.primal(u, smoothing, x);
                self.step_dual(x, 1.0 / (DIFFERENCE_NORM_SQUARED * scale), smoothing.weights);
            }
        }
        self.primal(u, smoothing, x);
    }

    /// Weights that spare what is an edge already: `edge / (edge + |difference|)` (Candès, Wakin and Boyd, J. Fourier Anal.
    /// Appl. 14, 2008, for norms weighted anew by their last solution).
    pub(crate) fn weights_sparing_edges(&self, x: &ColumnVolume, edge: f32) -> ColumnVolume {
        let grid = &self.grid;
        let [slow_stride, fast_stride] = grid.strides;
        let [slow_count, fast_count, count] = grid.counts;
        let mut weights = grid.zeros();
        weights.values.par_chunks_mut(slow_stride).enumerate().for_each(|(line, slab)| {
            if line == 0 || line > slow_count {
                return;
            }
            for fast in 0..fast_count {
                let start = grid.offset(line as isize - 1, fast as isize, 0);
                let own = &x.values[start..][..count];
                // Beyond the volume's far faces there is no difference.
                let slow_next =
                    if line < slow_count { &x.values[start + slow_stride..][..count] } else { own };
                let fast_next =
                    if fast + 1 < fast_count { &x.values[start + fast_stride..][..count] } else { own };
                let out = &mut slab[start - line * slow_stride..][..count];
                for i in 0..count {
                    let along_next = own[(i + 1).min(count - 1)];
                    let [a, b, c] = [slow_next[i], fast_next[i], along_next].map(|next| next - own[i]);
                    out[i] = edge / (edge + (a * a + b * b + c * c).sqrt());
                }
            }
        });
        weights
    }

    /// `x = max(u - strength metric Dᵀ dual, lowest)`.
    fn primal(&self, u: &ColumnVolume, smoothing: &Smoothing<'_>, x: &mut ColumnVolume) {
        let grid = &self.grid;
        let [slow_stride, fast_stride] = grid.strides;
        let dual = self.dual.each_ref().map(|dual| &dual.values[..]);
        x.values.par_chunks_mut(slow_stride).enumerate().for_each(|(line, slab)| {
            if line == 0 || line > grid.counts[0] {
                return;
            }
            for fast in 0..grid.counts[1] {
                let start = grid.offset(line as isize - 1, fast as isize, 0);
                let count = grid.counts[2];
                let own = &dual[0][start..][..count];
                let slow_before = &dual[0][start - slow_stride..][..count];
                let fast_own = &dual[1][start..][..count];
                let fast_before = &dual[1][start - fast_stride..][..count];
                let along = &dual[2][start - 1..][..count + 1];
                let u = &u.values[start..][..count];
                let metric = &smoothing.metric.values[start..][..count];
                let x = &mut slab[start - line * slow_stride..][..count];
                for i in 0..count {
                    let against = (slow_before[i] - own[i])
                        + (fast_before[i] - fast_own[i])
                        + (along[i] - along[i + 1]);
                    x[i] = (u[i] - smoothing.strength * metric[i] * against).max(smoothing.lowest);
                }
            }
        });
    }

    /// One gradient step of the dual, brought back to at most its weight's length. Differences across the volume's far faces,
    /// and so their duals, stay zero.
    fn step_dual(&mut self, x: &ColumnVolume, step: f32, weights: Option<&ColumnVolume>) {
        let grid = &self.grid;
        let [slow_stride, fast_stride] = grid.strides;
        let [slow_count, fast_count, count] = grid.counts;
        let [slow_dual, fast_dual, along_dual] = &mut self.dual;
        slow_dual
            .values
            .par_chunks_mut(slow_stride)
            .zip(fast_dual.values.par_chunks_mut(slow_stride))
            .zip(along_dual.values.par_chunks_mut(slow_stride))
            .enumerate()
            .for_each(|(line, ((slow_dual, fast_dual), along_dual))| {
                if line == 0 || line > slow_count {
                    return;
                }
                let has_slow = if line < slow_count { step } else { 0.0 };
                for fast in 0..fast_count {
                    let has_fast = if fast + 1 < fast_count { step } else { 0.0 };
                    let start = grid.offset(line as isize - 1, fast as isize, 0);
                    let within = start - line * slow_stride;
                    let own = &x.values[start..][..count];
                    let slow_next = &x.values[start + slow_stride..][..count];
                    let fast_next = &x.values[start + fast_stride..][..count];
                    let along_next = &x.values[start + 1..][..count];
                    let p = &mut slow_dual[within..][..count];
                    let q = &mut fast_dual[within..][..count];
                    let r = &mut along_dual[within..][..count];
                    let weights = weights.map(|weights| &weights.values[start..][..count]);
                    for i in 0..count {
                        let is_last = i + 1 == count;
                        let a = p[i] + has_slow * (slow_next[i] - own[i]);
                        let b = q[i] + has_fast * (fast_next[i] - own[i]);
                        let c = r[i] + if is_last { 0.0 } else { step * (along_next[i] - own[i]) };
                        let most = weights.map_or(1.0, |weights| weights[i]);
                        let shrink = most / (a * a + b * b + c * c).sqrt().max(most).max(f32::MIN_POSITIVE);
                        (p[i], q[i], r[i]) = (a * shrink, b * shrink, c * shrink);
                    }
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::VolumeGrid;
    use nalgebra::{Matrix3, Point3, Vector3};
    use ndarray::Array3;

    fn smoothed(values: &Array3<f32>, strength: f32, steps: usize) -> Array3<f32> {
        let shape = [values.shape()[2], values.shape()[1], values.shape()[0]];
        let grid = VolumeGrid::centred(shape, [1.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let columns = ColumnGrid::nearest_to(grid, &Vector3::z());
        let u = columns.store(values.view()).unwrap();
        let metric = columns.store(Array3::ones(values.raw_dim()).view()).unwrap();
        let smoothing = Smoothing {
            strength,
            metric: &metric,
            metric_max: 1.0,
            lowest: f32::NEG_INFINITY,
            steps,
            weights: None,
        };
        let mut x = columns.zeros();
        TotalVariation::new(&columns).smooth(&u, &smoothing, &mut x);
        columns.to_array(&x)
    }

    #[test]
    fn total_variation_lowers_a_step_by_its_closed_form() {
        // A step between two halves of n voxels along an axis: each side moves by strength / n towards the other.
        for axis in 0..3 {
            let mut shape = [3, 4, 5];
            shape[axis] = 12;
            let values = Array3::from_shape_fn((shape[0], shape[1], shape[2]), |(z, y, x)| {
                if [z, y, x][axis] < 6 { 1.0_f32 } else { 3.0 }
            });
            let found = smoothed(&values, 0.9, 4000);
            for ((z, y, x), value) in found.indexed_iter() {
                let expected = if [z, y, x][axis] < 6 { 1.0 + 0.9 / 6.0 } else { 3.0 - 0.9 / 6.0 };
                assert!((value - expected).abs() < 2e-3, "axis {axis} {:?}: {value}", [z, y, x]);
            }
        }
    }

    #[test]
    fn total_variation_of_a_spared_edge_moves_by_its_weight() {
        // As above; where the step was seen already its variation weighs edge / (edge + 2) = 1 / 3.
        let values = Array3::from_shape_fn((3, 4, 12), |(_, _, x)| if x < 6 { 1.0_f32 } else { 3.0 });
        let grid = VolumeGrid::centred([12, 4, 3], [1.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let columns = ColumnGrid::nearest_to(grid, &Vector3::z());
        let u = columns.store(values.view()).unwrap();
        let mut total_variation = TotalVariation::new(&columns);
        let weights = total_variation.weights_sparing_edges(&u, 1.0);
        let metric = columns.store(Array3::ones(values.raw_dim()).view()).unwrap();
        let smoothing = Smoothing {
            strength: 0.9,
            metric: &metric,
            metric_max: 1.0,
            lowest: f32::NEG_INFINITY,
            steps: 4000,
            weights: Some(&weights),
        };
        let mut x = columns.zeros();
        total_variation.smooth(&u, &smoothing, &mut x);
        for ((_, _, at), value) in columns.to_array(&x).indexed_iter() {
            let expected = if at < 6 { 1.0 + 0.3 / 6.0 } else { 3.0 - 0.3 / 6.0 };
            assert!((value - expected).abs() < 2e-3, "{at}: {value}");
        }
    }

    #[test]
    fn total_variation_keeps_the_mean_and_flattens_noise() {
        let mut state = 7_u32;
        let values = Array3::from_shape_fn((9, 10, 11), |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        });
        let found = smoothed(&values, 50.0, 3000);
        let mean = values.mean().unwrap();
        assert!(found.iter().all(|value| (value - mean).abs() < 0.01), "a strong penalty leaves the mean");
        assert_eq!(smoothed(&values, 0.0, 10), values);
    }
}
