//! Sixteen voxels of a column at once gather the values of a line that give to them: up to seven each, which lie in a window of
//! 32 or 64 values that two or four registers hold. Both columns that the line lies between get their share at once.

use super::adjoint::Cut;

/// Gives a line's values (with margins) to the voxels `cut.voxels` of its two columns, of which either may be empty for one
/// outside the volume; false, and nothing done, for lines so fine that the window does not hold them. The CPU must have
/// AVX-512F.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn give(_: &[f32], _: &Cut, _: [&mut [f32]; 2]) -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::give;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::super::adjoint::MARGIN;
    use super::*;
    use std::arch::x86_64::*;

    /// Voxels of a block.
    const BLOCK: usize = 16;
    /// Values of the larger window.
    const WINDOW: usize = 64;

    /// Gives a line's values (with margins) to the voxels `cut.voxels` of its two columns, of which either may be empty for
    /// one outside the volume; false, and nothing done, for lines so fine that the window does not hold them. The CPU must
    /// have AVX-512F.
    pub(in super::super) fn give(values: &[f32], cut: &Cut, columns: [&mut [f32]; 2]) -> bool {
        for column in &columns {
            assert!(
                column.is_empty() || column.len() == cut.voxels.len(),
                "voxels of a column against the cut"
            );
        }
        // SAFETY: whoever chose these instructions checked that the CPU has them (`Projector::new`).
        unsafe {
            // Up to `2 x` values reach a voxel; those of a block take 15 steps, a fraction and the reach of the last.
            match 1.0 / cut.step {
                x if x <= 0.997 => give_taps::<2, false>(values, cut, columns),
                x if x <= 1.5 => give_taps::<3, false>(values, cut, columns),
                x if x <= 1.75 => give_taps::<4, false>(values, cut, columns),
                x if x <= 2.0 => give_taps::<4, true>(values, cut, columns),
                x if x <= 2.5 => give_taps::<5, true>(values, cut, columns),
                x if x <= 3.0 => give_taps::<6, true>(values, cut, columns),
                x if x <= 3.5 => give_taps::<7, true>(values, cut, columns),
                _ => return false,
            }
        }
        true
    }

    /// Voxel `j` has the value index `c = (j - start) / step`; values less than `1 / step` from it give to it by
    /// `1 - |c - i| step`. Windows are of 32 values, or `WIDE` of 64.
    #[target_feature(enable = "avx512f")]
    fn give_taps<const TAPS: usize, const WIDE: bool>(values: &[f32], cut: &Cut, columns: [&mut [f32]; 2]) {
        let per_voxel = 1.0 / cut.step;
        let lane = _mm512_set_ps(15., 14., 13., 12., 11., 10., 9., 8., 7., 6., 5., 4., 3., 2., 1., 0.);
        let lane_index = _mm512_mul_ps(lane, _mm512_set1_ps(per_voxel as f32));
        let step = _mm512_set1_ps(cut.step as f32);
        let one = _mm512_set1_ps(1.0);
        let next = _mm512_set1_epi32(1);
        // From the first value that gives to a voxel to the voxel, one less than reach.
        let before = _mm512_set1_ps(per_voxel as f32 - 1.0);
        let shares = [_mm512_set1_ps(1.0 - cut.share), _mm512_set1_ps(cut.share)];
        let length = values.len() - 2 * MARGIN;
        let (first_voxel, count) = (cut.voxels.start as f64, cut.voxels.len());
        let [near, far] = columns;
        for block in 0..count.div_ceil(BLOCK) {
            // The index of the block's first voxel in double, so that single precision holds the rest.
            let first = (first_voxel + (BLOCK * block) as f64 - cut.start) * per_voxel;
            let whole = (first - per_voxel).floor() + 1.0;
            let index = _mm512_add_ps(lane_index, _mm512_set1_ps((first - whole) as f32));
            let tap = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(_mm512_sub_ps(
                index, before,
            ));
            let mut distance = _mm512_sub_ps(index, tap);
            let mut tap = _mm512_cvttps_epi32(tap);
            let start = (whole + MARGIN as f64).clamp(0.0, (length + MARGIN) as f64) as usize;
            let padded: [f32; WINDOW];
            let window = if WIDE { WINDOW } else { WINDOW / 2 };
            let held = if start + window <= values.len() {
                &values[start..start + window]
            } else {
                // Zeros beyond the margin.
                padded = std::array::from_fn(|ahead| values.get(start + ahead).copied().unwrap_or(0.0));
                &padded[..]
            };
            let at = |from: usize| {
                // SAFETY: a quarter or half of the window.
                unsafe { _mm512_loadu_ps(held.as_ptr().add(from)) }
            };
            let (low, high) = (at(0), at(16));
            let (third, fourth) = if WIDE { (at(32), at(48)) } else { (low, high) };
            let mut sum = _mm512_setzero_ps();
            for _ in 0..TAPS {
                let mut value = _mm512_permutex2var_ps(low, tap, high);
                if WIDE {
                    let is_far = _mm512_test_epi32_mask(tap, _mm512_set1_epi32(32));
                    let far = _mm512_permutex2var_ps(third, tap, fourth);
                    value = _mm512_mask_mov_ps(value, is_far, far);
                }
                let weight = _mm512_fnmadd_ps(_mm512_abs_ps(distance), step, one);
                sum = _mm512_fmadd_ps(_mm512_max_ps(weight, _mm512_setzero_ps()), value, sum);
                distance = _mm512_sub_ps(distance, one);
                tap = _mm512_add_epi32(tap, next);
            }
            let rest = count - BLOCK * block;
            let mask = if rest >= BLOCK { !0 } else { (1_u16 << rest) - 1 };
            for (column, share) in [(&mut *near, shares[0]), (&mut *far, shares[1])] {
                if column.is_empty() {
                    continue;
                }
                // SAFETY: the block starts within the column, and the mask ends it there.
                unsafe {
                    let voxels = column.as_mut_ptr().add(BLOCK * block);
                    let sums = _mm512_fmadd_ps(share, sum, _mm512_maskz_loadu_ps(mask, voxels));
                    _mm512_mask_storeu_ps(voxels, mask, sums);
                }
            }
        }
    }
}
