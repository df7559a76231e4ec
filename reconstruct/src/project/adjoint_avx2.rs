//! Eight voxels of a column at once gather the values of a line that give to them: up to four each, which lie in a
//! window of sixteen values.

use super::adjoint::Cut;

/// Brings a line's values (with margins) onto the voxels of `column`; false, and nothing done, for lines so fine that
/// a voxel has more than four values. The CPU must have AVX2 and FMA.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn gather(_: &[f32], _: &Cut, _: &mut [f32]) -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::gather;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::super::adjoint::MARGIN;
    use super::*;
    use std::arch::x86_64::*;

    /// Brings a line's values (with margins) onto the voxels of `column`; false, and nothing done, for lines so fine
    /// that a voxel has more than four values. The CPU must have AVX2 and FMA.
    pub(in super::super) fn gather(values: &[f32], cut: &Cut, column: &mut [f32]) -> bool {
        let per_voxel = 1.0 / cut.step;
        // SAFETY: whoever chose these instructions checked that the CPU has them (`Projector::new`).
        unsafe {
            match per_voxel {
                x if x <= 0.997 => gather_taps::<2, false>(values, cut, column),
                x if x <= 1.5 => gather_taps::<3, true>(values, cut, column),
                x if x <= 2.0 => gather_taps::<4, true>(values, cut, column),
                _ => return false,
            }
        }
        true
    }

    /// Voxel `j` has the value index `c = (j - start) / step`; values less than `1 / step` from it give to it by
    /// `1 - |c - i| step`.
    #[target_feature(enable = "avx2,fma")]
    fn gather_taps<const TAPS: usize, const WIDE: bool>(values: &[f32], cut: &Cut, column: &mut [f32]) {
        let per_voxel = 1.0 / cut.step;
        let lane = _mm256_set_ps(7., 6., 5., 4., 3., 2., 1., 0.);
        let lane_index = _mm256_mul_ps(lane, _mm256_set1_ps(per_voxel as f32));
        let step = _mm256_set1_ps(cut.step as f32);
        let one = _mm256_set1_ps(1.0);
        let sign = _mm256_set1_ps(-0.0);
        let reach = _mm256_set1_ps(per_voxel as f32);
        let length = values.len() - 2 * MARGIN;
        let column = &mut column[MARGIN + cut.voxels.start..];
        let (first_voxel, count) = (cut.voxels.start as f64, cut.voxels.len());
        for (block, out) in column.chunks_exact_mut(8).enumerate().take(count.div_ceil(8)) {
            // The index of the block's first voxel in double, so that single precision holds the rest.
            let first = (first_voxel + (8 * block) as f64 - cut.start) * per_voxel;
            let whole = (first - per_voxel).floor() + 1.0;
            let index = _mm256_add_ps(lane_index, _mm256_set1_ps((first - whole) as f32));
            // First value that gives to each voxel, counted from the first voxel's.
            let tap = _mm256_floor_ps(_mm256_add_ps(_mm256_sub_ps(index, reach), one));
            let mut distance = _mm256_sub_ps(index, tap);
            let tap = _mm256_cvttps_epi32(tap);
            let is_far = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(tap));
            let start = (whole + MARGIN as f64).clamp(0.0, (length + MARGIN) as f64) as usize;
            debug_assert!(start + 8 + TAPS + 8 <= values.len() + 8);
            let mut sum = _mm256_setzero_ps();
            for ahead in 0..TAPS {
                // SAFETY: the last window starts at most `MARGIN` before the end of the line's margin, see `start`.
                let window =
                    |offset: usize| unsafe { _mm256_loadu_ps(values.as_ptr().add(start + ahead + offset)) };
                let mut value = _mm256_permutevar8x32_ps(window(0), tap);
                if WIDE {
                    value = _mm256_blendv_ps(value, _mm256_permutevar8x32_ps(window(8), tap), is_far);
                }
                let weight = _mm256_fnmadd_ps(_mm256_andnot_ps(sign, distance), step, one);
                sum = _mm256_fmadd_ps(_mm256_max_ps(weight, _mm256_setzero_ps()), value, sum);
                distance = _mm256_sub_ps(distance, one);
            }
            // SAFETY: `out` holds eight floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
        }
    }
}
