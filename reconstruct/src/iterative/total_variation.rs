//! The volume nearest to another that has little total variation: the sum over voxels of the length of the difference to
//! the next voxel along each axis.
//!
//! Solved on the dual by projected gradients (Chambolle, J. Math. Imaging Vis. 20, 2004; Beck and Teboulle, IEEE Trans.
//! Image Process. 18(11), 2009, for bounds on the values). The dual is kept from call to call: when the volume changes
//! little in between, a few steps a call suffice.

use crate::project::{ColumnGrid, ColumnVolume};
use multiversion::multiversion;
use rayon::prelude::*;

/// Bound of the squared norm of the difference operator in three dimensions.
const DIFFERENCE_NORM_SQUARED: f32 = 12.0;
/// Dual steps that go through the volume together, or the next multiple that gives each thread one: the planes that they
/// work on (three of the dual and what belongs to them) stay in the last cache.
const STEPS_TOGETHER: usize = 4;

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

    /// Minimises `Σ (x - u)² / (2 metric) + strength TV(x)`, each voxel's variation by its weight, over `x ≥ lowest` into
    /// `x`, starting from the last dual.
    pub(crate) fn smooth(&mut self, u: &ColumnVolume, smoothing: &Smoothing<'_>, x: &mut ColumnVolume) {
        let problem = Problem { grid: &self.grid, u, smoothing };
        let mut steps = if smoothing.strength * smoothing.metric_max > 0.0 { smoothing.steps } else { 0 };
        while steps > 0 {
            let together = steps.min(rayon::current_num_threads().next_multiple_of(STEPS_TOGETHER));
            problem.step_dual(&mut self.dual, together);
            steps -= together;
        }
        problem.primal(&self.dual, x);
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
}

/// A nearest volume to be found.
struct Problem<'a> {
    grid: &'a ColumnGrid,
    u: &'a ColumnVolume,
    smoothing: &'a Smoothing<'a>,
}

/// Plane `line` of the dual along each axis, and the one before of the dual along slow.
struct DualPlanes<'a> {
    line: usize,
    slow_before: &'a [f32],
    own: [&'a [f32]; 3],
}

impl Problem<'_> {
    /// `x = max(u - strength metric Dᵀ dual, lowest)`.
    fn primal(&self, dual: &[ColumnVolume; 3], x: &mut ColumnVolume) {
        let stride = self.grid.strides[0];
        x.values.par_chunks_mut(stride).enumerate().for_each(|(line, x)| {
            if line == 0 || line > self.grid.counts[0] {
                return;
            }
            let plane = |axis: usize, line: usize| &dual[axis].values[line * stride..][..stride];
            let own = [plane(0, line), plane(1, line), plane(2, line)];
            primal_plane(self, &DualPlanes { line, slow_before: plane(0, line - 1), own }, x);
        });
    }

    /// Gradient steps of the dual, each brought back to at most its weight's length. Differences across the volume's far
    /// faces, and so their duals, stay zero.
    ///
    /// All steps go through the volume at once, each two planes behind the one before it, so that they touch no plane in
    /// common; the result is that of one step after the other.
    fn step_dual(&self, dual: &mut [ColumnVolume; 3], steps: usize) {
        let (stride, count) = (self.grid.strides[0], self.grid.counts[0]);
        // Of each step, `x` at the plane where it is and at the next.
        let mut x_planes = vec![[vec![0.0; stride], vec![0.0; stride]]; steps];
        let border = vec![0.0; stride];
        for foremost in 1..=count + 2 * (steps - 1) {
            // Step `k` is at plane `foremost - 2 k` if that is one of the volume's.
            let first = foremost.saturating_sub(count).div_ceil(2);
            let end = steps.min(foremost.div_ceil(2));
            let hindmost = foremost - 2 * (end - 1);
            let planes = hindmost * stride..(foremost - 2 * first + 2) * stride;
            let [slow, fast, along] =
                dual.each_mut().map(|dual| dual.values[planes.clone()].par_chunks_mut(2 * stride));
            slow.zip(fast).zip(along).zip(x_planes[first..end].par_iter_mut().rev()).enumerate().for_each(
                |(at, (((slow, fast), along), x))| {
                    let line = hindmost + 2 * at;
                    let [(slow, slow_next), (fast, fast_next), (along, along_next)] =
                        [slow, fast, along].map(|planes| planes.split_at_mut(stride));
                    if line == 1 {
                        let own = [&*slow, &*fast, &*along];
                        primal_plane(self, &DualPlanes { line, slow_before: &border, own }, &mut x[0]);
                    }
                    if line < count {
                        let own = [&*slow_next, &*fast_next, &*along_next];
                        primal_plane(self, &DualPlanes { line: line + 1, slow_before: slow, own }, &mut x[1]);
                    }
                    dual_plane(self, line, x, [slow, fast, along]);
                    x.swap(0, 1);
                },
            );
        }
    }
}

/// Plane of `x` from those of the dual.
#[multiversion(targets("x86_64+avx2"))]
fn primal_plane(problem: &Problem<'_>, dual: &DualPlanes<'_>, x: &mut [f32]) {
    let grid = problem.grid;
    let Smoothing { strength, lowest, .. } = *problem.smoothing;
    let [_, fast_count, count] = grid.counts;
    for fast in 0..fast_count {
        let start = grid.offset(-1, fast as isize, 0);
        let in_volume = dual.line * grid.strides[0] + start;
        let own = &dual.own[0][start..][..count];
        let slow_before = &dual.slow_before[start..][..count];
        let fast_own = &dual.own[1][start..][..count];
        let fast_before = &dual.own[1][start - grid.strides[1]..][..count];
        let along = &dual.own[2][start - 1..][..count + 1];
        let u = &problem.u.values[in_volume..][..count];
        let metric = &problem.smoothing.metric.values[in_volume..][..count];
        let x = &mut x[start..][..count];
        for i in 0..count {
            let against =
                (slow_before[i] - own[i]) + (fast_before[i] - fast_own[i]) + (along[i] - along[i + 1]);
            x[i] = (u[i] - strength * metric[i] * against).max(lowest);
        }
    }
}

/// One step of the dual at plane `line`; `x` at this plane and the next.
#[multiversion(targets("x86_64+avx2"))]
fn dual_plane(
    problem: &Problem<'_>,
    line: usize,
    x: &[Vec<f32>; 2],
    [slow, fast_dual, along]: [&mut [f32]; 3],
) {
    let Problem { grid, smoothing, .. } = *problem;
    let step = 1.0 / (DIFFERENCE_NORM_SQUARED * (smoothing.strength * smoothing.metric_max));
    let [slow_count, fast_count, count] = grid.counts;
    let has_slow = if line < slow_count { step } else { 0.0 };
    for fast in 0..fast_count {
        let has_fast = if fast + 1 < fast_count { step } else { 0.0 };
        let start = grid.offset(-1, fast as isize, 0);
        let own = &x[0][start..][..count];
        let slow_next = &x[1][start..][..count];
        let fast_next = &x[0][start + grid.strides[1]..][..count];
        let along_next = &x[0][start + 1..][..count];
        let p = &mut slow[start..][..count];
        let q = &mut fast_dual[start..][..count];
        let r = &mut along[start..][..count];
        let weights = smoothing.weights;
        let weights = weights.map(|weights| &weights.values[line * grid.strides[0] + start..][..count]);
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

    /// One dual step after the other, voxel by voxel; `order` names the array's axes from slow to columns.
    fn smoothed_plainly(
        order: [usize; 3],
        u: &Array3<f32>,
        metric: &Array3<f32>,
        weights: &Array3<f32>,
        strength: f32,
        steps: usize,
    ) -> Array3<f32> {
        let mut dual = [0; 3].map(|_| Array3::<f32>::zeros(u.raw_dim()));
        let primal = |dual: &[Array3<f32>; 3]| {
            Array3::from_shape_fn(u.raw_dim(), |(z, y, x)| {
                let at = [z, y, x];
                let [a, b, c] = order.map(|axis| {
                    let mut before = at;
                    before[axis] = before[axis].wrapping_sub(1);
                    dual[axis].get(before).copied().unwrap_or(0.0) - dual[axis][at]
                });
                (u[at] - strength * metric[at] * (a + b + c)).max(-0.5)
            })
        };
        let metric_max = metric.iter().copied().fold(0.0, f32::max);
        let step = 1.0 / (DIFFERENCE_NORM_SQUARED * (strength * metric_max));
        for _ in 0..steps {
            let now = primal(&dual);
            for ((z, y, x), &own) in now.indexed_iter() {
                let at = [z, y, x];
                let [a, b, c] = order.map(|axis| {
                    let mut next = at;
                    next[axis] += 1;
                    dual[axis][at] + step * (now.get(next).copied().unwrap_or(own) - own)
                });
                let most = weights[at];
                let shrink = most / (a * a + b * b + c * c).sqrt().max(most);
                order.into_iter().zip([a, b, c]).for_each(|(axis, part)| dual[axis][at] = part * shrink);
            }
        }
        primal(&dual)
    }

    #[test]
    fn steps_together_are_bit_for_bit_those_one_after_the_other() {
        let mut state = 11_u32;
        let mut random = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for shape in [[1, 1, 1], [2, 5, 19], [9, 7, 33]] {
            let grid = VolumeGrid::centred(shape, [1.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
            let columns = ColumnGrid::nearest_to(grid, &Vector3::z());
            let [u, metric, weights] =
                [0; 3].map(|_| Array3::from_shape_fn([shape[2], shape[1], shape[0]], &mut random));
            let [stored_u, stored_metric, stored_weights] =
                [&u, &metric, &weights].map(|values| columns.store(values.view()).unwrap());
            for (steps, threads) in [(1, 1), (2, 3), (5, 2), (13, 9)] {
                let smoothing = Smoothing {
                    strength: 0.4,
                    metric: &stored_metric,
                    metric_max: metric.iter().copied().fold(0.0, f32::max),
                    lowest: -0.5,
                    steps,
                    weights: Some(&stored_weights),
                };
                let mut x = columns.zeros();
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| TotalVariation::new(&columns).smooth(&stored_u, &smoothing, &mut x));
                let expected =
                    smoothed_plainly(columns.axes.map(|axis| 2 - axis), &u, &metric, &weights, 0.4, steps);
                assert_eq!(columns.to_array(&x), expected, "{shape:?}, {steps} steps, {threads} threads");
            }
        }
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
