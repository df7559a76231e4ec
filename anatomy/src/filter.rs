//! Smoothing, shrinking and gradients of the grey values, in millimetres.

use crate::lattice::Lattice;
use rayon::prelude::*;

/// Gaussian kernels reach this many standard deviations.
const REACH_SIGMAS: f64 = 3.0;

/// Gaussian smoothing with a standard deviation in mm; values beyond the border repeat the border's.
///
/// Along an axis whose spacing exceeds four standard deviations, nothing is done: its kernel is one sample.
pub fn gaussian(values: &[f32], lattice: &Lattice, sigma_mm: f64) -> Vec<f32> {
    assert_eq!(values.len(), lattice.len(), "values against lattice");
    let mut smooth = values.to_vec();
    for axis in [2, 1, 0] {
        let kernel = gaussian_kernel(sigma_mm / lattice.spacing_mm[axis]);
        if kernel.len() > 1 {
            convolve(&mut smooth, lattice, axis, &kernel);
        }
    }
    smooth
}

/// How many slices to either side [`gaussian`] takes in.
pub fn gaussian_slices(lattice: &Lattice, sigma_mm: f64) -> usize {
    gaussian_kernel(sigma_mm / lattice.spacing_mm[0]).len() / 2
}

/// A symmetric kernel that sums to one; sigma in samples.
fn gaussian_kernel(sigma: f64) -> Vec<f32> {
    if sigma < 0.25 {
        return vec![1.0];
    }
    let reach = (REACH_SIGMAS * sigma).ceil() as i64;
    let weights: Vec<f64> = (-reach..=reach).map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// One axis of a separable filter; the border is repeated.
fn convolve(values: &mut [f32], lattice: &Lattice, axis: usize, kernel: &[f32]) {
    let nx = lattice.shape[2];
    let reach = kernel.len() / 2;
    if axis == 2 {
        values.par_chunks_mut(nx).for_each_init(Vec::new, |padded, row| {
            padded.clear();
            padded.extend(std::iter::repeat_n(row[0], reach));
            padded.extend_from_slice(row);
            padded.extend(std::iter::repeat_n(row[nx - 1], reach));
            row.fill(0.0);
            for (k, weight) in kernel.iter().enumerate() {
                row.iter_mut().zip(&padded[k..k + nx]).for_each(|(out, value)| *out += weight * value);
            }
        });
        return;
    }
    lattice.for_planes(values, axis, |mut plane| {
        let before: Vec<f32> = plane.iter().copied().collect();
        let last = plane.nrows() - 1;
        for (at, row) in plane.rows_mut().into_iter().enumerate() {
            let row = row.into_slice().expect("rows");
            row.fill(0.0);
            for (k, weight) in kernel.iter().enumerate() {
                let from = (at + k).saturating_sub(reach).min(last) * nx;
                row.iter_mut().zip(&before[from..from + nx]).for_each(|(out, value)| *out += weight * value);
            }
        }
    });
}

/// The highest value in a box that reaches `reach_mm` from each voxel along each axis.
pub fn highest_within(values: Vec<f32>, lattice: &Lattice, reach_mm: f64) -> Vec<f32> {
    assert_eq!(values.len(), lattice.len(), "values against lattice");
    let nx = lattice.shape[2];
    let mut highest = values;
    for axis in [2, 1, 0] {
        let reach = (reach_mm / lattice.spacing_mm[axis] + 1e-6) as usize;
        if reach == 0 {
            continue;
        }
        if axis == 2 {
            highest.par_chunks_mut(nx).for_each_init(Vec::new, |line, row| {
                line.clear();
                line.extend_from_slice(row);
                for (x, out) in row.iter_mut().enumerate() {
                    let near = &line[x.saturating_sub(reach)..(x + reach + 1).min(nx)];
                    *out = near.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                }
            });
            continue;
        }
        lattice.for_planes(&mut highest, axis, |mut plane| {
            let below: Vec<f32> = plane.iter().copied().collect();
            let count = plane.nrows();
            for (at, row) in plane.rows_mut().into_iter().enumerate() {
                let row = row.into_slice().expect("rows");
                for other in at.saturating_sub(reach)..(at + reach + 1).min(count) {
                    let near = &below[other * nx..(other + 1) * nx];
                    row.iter_mut().zip(near).for_each(|(out, value)| *out = out.max(*value));
                }
            }
        });
    }
    highest
}

/// Means of blocks of `factor` voxels along z, y and x; incomplete blocks at the far end take what is there.
pub fn shrunk(values: &[f32], lattice: &Lattice, factor: [usize; 3]) -> (Vec<f32>, Lattice) {
    let shape = std::array::from_fn(|axis| lattice.shape[axis].div_ceil(factor[axis]));
    let coarse = Lattice {
        shape,
        spacing_mm: std::array::from_fn(|axis| lattice.spacing_mm[axis] * factor[axis] as f64),
    };
    let [nz, ny, nx] = lattice.shape;
    let mut out = vec![0.0; coarse.len()];
    out.par_chunks_mut(shape[2]).enumerate().for_each(|(row, out)| {
        let (cz, cy) = (row / shape[1], row % shape[1]);
        let mut count = vec![0_u32; out.len()];
        for z in cz * factor[0]..((cz + 1) * factor[0]).min(nz) {
            for y in cy * factor[1]..((cy + 1) * factor[1]).min(ny) {
                let line = &values[(z * ny + y) * nx..][..nx];
                for (x, value) in line.iter().enumerate() {
                    out[x / factor[2]] += value;
                    count[x / factor[2]] += 1;
                }
            }
        }
        for (sum, count) in out.iter_mut().zip(count) {
            *sum /= count as f32;
        }
    });
    (out, coarse)
}

/// Whole factors that bring each spacing as near to `target_mm` as they can without passing it.
pub fn shrink_factor(lattice: &Lattice, target_mm: f64) -> [usize; 3] {
    lattice.spacing_mm.map(|spacing| ((target_mm / spacing + 1e-9) as usize).max(1))
}

/// Central differences in each axis, one-sided at the border: the gradient at one voxel, per mm, z first.
pub fn gradient_at(values: &[f32], lattice: &Lattice, index: usize) -> [f32; 3] {
    let at = lattice.position(index);
    let strides = lattice.strides();
    std::array::from_fn(|axis| {
        let low = if at[axis] > 0 { index - strides[axis] } else { index };
        let high = if at[axis] + 1 < lattice.shape[axis] { index + strides[axis] } else { index };
        let steps = (high - low) / strides[axis];
        if steps == 0 {
            return 0.0;
        }
        (values[high] - values[low]) / (steps as f64 * lattice.spacing_mm[axis]) as f32
    })
}

/// Magnitude of the gradient everywhere, per mm.
pub fn gradient_magnitude(values: &[f32], lattice: &Lattice) -> Vec<f32> {
    (0..values.len())
        .into_par_iter()
        .with_min_len(4096)
        .map(|index| gradient_at(values, lattice, index).iter().map(|g| g * g).sum::<f32>().sqrt())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATTICE: Lattice = Lattice { shape: [9, 12, 14], spacing_mm: [2.5, 1.0, 0.7] };

    #[test]
    fn gaussian_keeps_a_constant_and_a_ramp_inside() {
        let ramp: Vec<f32> = (0..LATTICE.len()).map(|i| LATTICE.position(i)[2] as f32).collect();
        let smooth = gaussian(&ramp, &LATTICE, 0.7);
        let inside = LATTICE.index([4, 6, 7]);
        assert!((smooth[inside] - 7.0).abs() < 1e-4, "{}", smooth[inside]);
        let flat = gaussian(&vec![3.5; LATTICE.len()], &LATTICE, 2.0);
        assert!(flat.iter().all(|value| (value - 3.5).abs() < 1e-4));
    }

    #[test]
    fn gaussian_spreads_an_impulse_by_its_sigma() {
        let lattice = Lattice { shape: [31, 31, 31], spacing_mm: [0.5; 3] };
        let mut impulse = vec![0.0; lattice.len()];
        impulse[lattice.index([15, 15, 15])] = 1.0;
        let smooth = gaussian(&impulse, &lattice, 1.2);
        let variance: f64 = smooth
            .iter()
            .enumerate()
            .map(|(i, weight)| f64::from(*weight) * ((lattice.position(i)[1] as f64 - 15.0) * 0.5).powi(2))
            .sum();
        // Cut off beyond three standard deviations, a Gaussian loses up to 2.7 % of its variance.
        assert!((variance / (1.2 * 1.2) - 0.985).abs() < 0.015, "{variance}");
    }

    #[test]
    fn highest_within_reaches_as_far_as_it_says() {
        let mut values = vec![0.0; LATTICE.len()];
        values[LATTICE.index([4, 6, 7])] = 5.0;
        let highest = highest_within(values, &LATTICE, 2.0);
        for (index, found) in highest.iter().enumerate() {
            let at = LATTICE.position(index);
            let is_near = at[0] == 4 && at[1].abs_diff(6) <= 2 && at[2].abs_diff(7) <= 2;
            assert_eq!(*found, if is_near { 5.0 } else { 0.0 }, "{at:?}");
        }
    }

    #[test]
    fn shrunk_takes_means_and_keeps_the_rest() {
        let values: Vec<f32> = (0..LATTICE.len()).map(|i| LATTICE.position(i)[1] as f32).collect();
        let (coarse, lattice) = shrunk(&values, &LATTICE, [1, 5, 3]);
        assert_eq!(lattice.shape, [9, 3, 5]);
        assert_eq!(coarse[lattice.index([0, 0, 0])], 2.0);
        assert_eq!(coarse[lattice.index([8, 2, 4])], 10.5);
        assert_eq!(shrink_factor(&LATTICE, 2.1), [1, 2, 3]);
    }

    #[test]
    fn gradient_is_per_millimetre() {
        let values: Vec<f32> = (0..LATTICE.len())
            .map(|i| {
                let [z, y, x] = LATTICE.position(i);
                (3.0 * 2.5 * z as f64 - 2.0 * y as f64 + 5.0 * 0.7 * x as f64) as f32
            })
            .collect();
        for at in [[0, 0, 0], [4, 5, 6], [8, 11, 13]] {
            let gradient = gradient_at(&values, &LATTICE, LATTICE.index(at));
            for (found, expected) in gradient.iter().zip([3.0, -2.0, 5.0]) {
                assert!((found - expected).abs() < 1e-4, "{gradient:?}");
            }
        }
    }
}
