//! Balls on anisotropic voxels: dilation, erosion, opening and closing through exact distances.

use crate::lattice::Lattice;
use rayon::prelude::*;

/// Slack on radii, so that a neighbour at exactly the radius counts.
const SLACK: f32 = 1.0 + 1e-5;

/// Squared distance from every voxel's centre to the centre of the nearest voxel of `mask`, mm²; infinite beyond
/// `radius_mm` along any axis. `mask` counts nothing beyond the border.
///
/// # Method
/// Exact: the minimum over all voxels separates into one along each axis; within a bounded radius each is a minimum
/// over a window.
pub fn squared_distance_within(mask: &[bool], lattice: &Lattice, radius_mm: f64) -> Vec<f32> {
    assert_eq!(mask.len(), lattice.len(), "mask against lattice");
    let mut squared = distance_along_rows(mask, lattice, radius_mm);
    windowed_minimum(&mut squared, lattice, 1, radius_mm);
    windowed_minimum(&mut squared, lattice, 0, radius_mm);
    squared
}

/// The first pass: squared distance within each row.
fn distance_along_rows(mask: &[bool], lattice: &Lattice, radius_mm: f64) -> Vec<f32> {
    let nx = lattice.shape[2];
    let spacing = lattice.spacing_mm[2];
    let reach = (radius_mm / spacing + 1e-6) as usize;
    let mut out = vec![f32::INFINITY; mask.len()];
    out.par_chunks_mut(nx).zip(mask.par_chunks(nx)).for_each(|(out, mask)| {
        let squared = |steps: usize| ((steps as f64 * spacing).powi(2)) as f32;
        let mut last = None;
        for x in 0..nx {
            if mask[x] {
                last = Some(x);
            }
            if let Some(steps) = last.map(|last| x - last).filter(|steps| *steps <= reach) {
                out[x] = squared(steps);
            }
        }
        let mut next = None;
        for x in (0..nx).rev() {
            if mask[x] {
                next = Some(x);
            }
            if let Some(steps) = next.map(|next| next - x).filter(|steps| *steps <= reach) {
                out[x] = out[x].min(squared(steps));
            }
        }
    });
    out
}

/// A further pass along y (axis 1) or z (axis 0).
fn windowed_minimum(values: &mut [f32], lattice: &Lattice, axis: usize, radius_mm: f64) {
    let nx = lattice.shape[2];
    let reach = (radius_mm / lattice.spacing_mm[axis] + 1e-6) as usize;
    lattice.for_planes(values, axis, |mut plane| {
        // Rows that nothing of the mask is near to are far from it for all others, too.
        let is_near: Vec<bool> =
            plane.rows().into_iter().map(|row| row.iter().any(|d| d.is_finite())).collect();
        if !is_near.contains(&true) {
            return;
        }
        let before: Vec<f32> = plane.iter().copied().collect();
        for (here, row) in plane.rows_mut().into_iter().enumerate() {
            let row = row.into_slice().expect("rows");
            for other in here.saturating_sub(reach)..(here + reach + 1).min(is_near.len()) {
                if other == here || !is_near[other] {
                    continue;
                }
                let away = ((here.abs_diff(other) as f64 * lattice.spacing_mm[axis]).powi(2)) as f32;
                for (out, value) in row.iter_mut().zip(&before[other * nx..(other + 1) * nx]) {
                    *out = out.min(value + away);
                }
            }
        }
    });
}

/// Slices whose distances are held at a time.
const SLICES_TOGETHER: usize = 32;

/// Every voxel whose squared distance as by [`squared_distance_within`] is no more than a limit, mm².
pub(crate) fn within(mask: &[bool], lattice: &Lattice, radius_mm: f64, limit: f32) -> Vec<bool> {
    assert_eq!(mask.len(), lattice.len(), "mask against lattice");
    let slice_len = lattice.slice_len();
    let reach = (radius_mm / lattice.spacing_mm[0] + 1e-6) as usize;
    let mut within = vec![false; mask.len()];
    for (number, part) in within.chunks_mut(SLICES_TOGETHER * slice_len).enumerate() {
        let start = number * SLICES_TOGETHER;
        let (range, around) = lattice.around(&(start..start + part.len() / slice_len), reach);
        let squared = squared_distance_within(&mask[range.clone()], &around, radius_mm);
        let here = &squared[start * slice_len - range.start..];
        part.par_iter_mut().zip(here).for_each(|(within, squared)| *within = *squared <= limit);
    }
    within
}

/// Every voxel whose centre is within `radius_mm` of one of the mask.
pub fn dilated(mask: &[bool], lattice: &Lattice, radius_mm: f64) -> Vec<bool> {
    let limit = (radius_mm * radius_mm) as f32 * SLACK;
    within(mask, lattice, radius_mm, limit)
}

/// Every voxel with no voxel outside the mask within `radius_mm`; beyond the border counts as inside.
pub fn eroded(mask: &[bool], lattice: &Lattice, radius_mm: f64) -> Vec<bool> {
    let mut grown = dilated(&inverted(mask), lattice, radius_mm);
    grown.par_iter_mut().for_each(|voxel| *voxel = !*voxel);
    grown
}

/// What a ball of `radius_mm` inside the mask reaches.
pub fn opened(mask: &[bool], lattice: &Lattice, radius_mm: f64) -> Vec<bool> {
    dilated(&eroded(mask, lattice, radius_mm), lattice, radius_mm)
}

/// What no ball of `radius_mm` outside the mask reaches.
pub fn closed(mask: &[bool], lattice: &Lattice, radius_mm: f64) -> Vec<bool> {
    eroded(&dilated(mask, lattice, radius_mm), lattice, radius_mm)
}

/// Everything else.
pub fn inverted(mask: &[bool]) -> Vec<bool> {
    mask.par_iter().map(|voxel| !voxel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATTICE: Lattice = Lattice { shape: [7, 9, 11], spacing_mm: [2.5, 1.1, 0.7] };

    fn scattered(count: usize) -> Vec<bool> {
        let mut mask = vec![false; LATTICE.len()];
        let mut state = 12345_usize;
        for _ in 0..count {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            mask[(state >> 33) % LATTICE.len()] = true;
        }
        mask
    }

    /// All pairs.
    fn distance_reference(mask: &[bool], from: usize) -> f64 {
        let at = LATTICE.position(from);
        let away = |index: usize| {
            let to = LATTICE.position(index);
            (0..3).map(|a| (at[a].abs_diff(to[a]) as f64 * LATTICE.spacing_mm[a]).powi(2)).sum::<f64>()
        };
        (0..mask.len()).filter(|i| mask[*i]).map(away).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn distances_match_all_pairs_within_the_radius() {
        let mask = scattered(9);
        let found = squared_distance_within(&mask, &LATTICE, 5.0);
        for (index, found) in found.iter().enumerate() {
            let expected = distance_reference(&mask, index);
            if expected <= 25.0 {
                assert!((f64::from(*found) - expected).abs() < 1e-3, "{index}: {found} {expected}");
            } else {
                assert!(*found > 25.0);
            }
        }
    }

    #[test]
    fn voxels_within_a_radius_are_the_same_some_slices_at_a_time() {
        let lattice = Lattice { shape: [2 * SLICES_TOGETHER + 7, 5, 6], spacing_mm: [0.5, 1.1, 0.7] };
        let mask: Vec<bool> = (0..lattice.len()).map(|i| i * 7919 % 197 == 3).collect();
        for radius_mm in [0.3, 1.6, 4.0] {
            let limit = (radius_mm * radius_mm) as f32;
            let squared = squared_distance_within(&mask, &lattice, radius_mm);
            let expected: Vec<bool> = squared.into_iter().map(|squared| squared <= limit).collect();
            assert!(expected.contains(&true) && expected.contains(&false));
            assert_eq!(within(&mask, &lattice, radius_mm, limit), expected);
        }
    }

    #[test]
    fn opening_and_closing_bracket_the_mask_and_repeat_without_change() {
        let mask = dilated(&scattered(12), &LATTICE, 1.2);
        let (open, close) = (opened(&mask, &LATTICE, 1.5), closed(&mask, &LATTICE, 1.5));
        assert!(mask.iter().zip(&open).all(|(mask, open)| *mask || !open));
        assert!(mask.iter().zip(&close).all(|(mask, close)| !mask || *close));
        assert_eq!(opened(&open, &LATTICE, 1.5), open);
        assert_eq!(closed(&close, &LATTICE, 1.5), close);
    }
}
