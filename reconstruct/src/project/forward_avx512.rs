//! Sixteen neighbouring rays at once, two groups of eight: their samples and the next row of each lie in a window of one
//! register, or of two for coarser rows. No gathers.

use super::LANES;
use super::forward::Place;
use super::rays::Group;

/// Adds the samples of two groups in slices in which all their rays are inside the volume, between the two columns of
/// each place. The CPU must have AVX-512F.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn add_pair(
    _: &[f32],
    _: usize,
    _: [&Group; 2],
    _: bool,
    _: &[Place],
    _: u32,
    _: [&mut [f32; LANES]; 2],
) {
    unreachable!("only x86-64 reads windows");
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::add_pair;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::*;
    use std::arch::x86_64::*;

    /// Samples from a window to what the following groups will read of the same columns.
    const AHEAD: usize = 40;

    /// Adds the samples of two groups in slices in which all their rays are inside the volume, between the two columns
    /// of each place, `next_column` apart; rows increase through the first group, then the second. The CPU must have
    /// AVX-512F.
    pub(in super::super) fn add_pair(
        values: &[f32],
        next_column: usize,
        groups: [&Group; 2],
        is_wide: bool,
        places: &[Place],
        first_slice: u32,
        sums: [&mut [f32; LANES]; 2],
    ) {
        // SAFETY: whoever chose these instructions checked that the CPU has them (`Projector::new`).
        unsafe {
            if is_wide {
                add::<true>(values, next_column, groups, places, first_slice, sums);
            } else {
                add::<false>(values, next_column, groups, places, first_slice, sums);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn add<const WIDE: bool>(
        values: &[f32],
        next_column: usize,
        groups: [&Group; 2],
        places: &[Place],
        first_slice: u32,
        sums: [&mut [f32; LANES]; 2],
    ) {
        let [low, high] = groups;
        let along = load(&low.along, &high.along);
        let along_step = load(&low.along_step, &high.along_step);
        let [sum_low, sum_high] = sums;
        let mut total = load(sum_low, sum_high);
        let one = _mm512_set1_ps(1.0);
        let next = _mm512_set1_epi32(1);
        let mut slice = _mm512_set1_ps(first_slice as f32);
        for place in places {
            let row = _mm512_fmadd_ps(slice, along_step, along);
            slice = _mm512_add_ps(slice, one);
            let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(row);
            let share = _mm512_sub_ps(row, whole);
            let whole = _mm512_cvttps_epi32(whole);
            let base = _mm512_cvtsi512_si32(whole);
            let index = _mm512_sub_epi32(whole, _mm512_broadcastd_epi32(_mm512_castsi512_si128(whole)));
            let index_of_next = _mm512_add_epi32(index, next);
            let start = place.offset.wrapping_add_signed(base as isize);
            debug_assert!(start + next_column + if WIDE { 32 } else { 16 } <= values.len());
            // SAFETY: rays stay within `REACH` voxels of the columns (`rays::reading`), which a border of `PADDING`
            // zeros and columns of zeros surround, and places are within the border of columns.
            let samples = unsafe { values.as_ptr().add(start) };
            let second = _mm512_set1_ps(place.share);
            let first = _mm512_sub_ps(one, second);
            // SAFETY: as above; at most 32 samples from `start` on. What is only prefetched may lie anywhere.
            let window = unsafe {
                _mm_prefetch::<_MM_HINT_T0>(samples.wrapping_add(AHEAD).cast());
                _mm_prefetch::<_MM_HINT_T0>(samples.wrapping_add(AHEAD + next_column).cast());
                let a = _mm512_mul_ps(first, _mm512_loadu_ps(samples));
                _mm512_fmadd_ps(second, _mm512_loadu_ps(samples.add(next_column)), a)
            };
            let (near, far) = if WIDE {
                // SAFETY: as above.
                let after = unsafe {
                    let a = _mm512_mul_ps(first, _mm512_loadu_ps(samples.add(16)));
                    _mm512_fmadd_ps(second, _mm512_loadu_ps(samples.add(16 + next_column)), a)
                };
                (
                    _mm512_permutex2var_ps(window, index, after),
                    _mm512_permutex2var_ps(window, index_of_next, after),
                )
            } else {
                (_mm512_permutexvar_ps(index, window), _mm512_permutexvar_ps(index_of_next, window))
            };
            total = _mm512_add_ps(total, _mm512_fmadd_ps(share, _mm512_sub_ps(far, near), near));
        }
        let mut lanes = [0.0; 2 * LANES];
        // SAFETY: sixteen floats.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), total) };
        sum_low.copy_from_slice(&lanes[..LANES]);
        sum_high.copy_from_slice(&lanes[LANES..]);
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(low: &[f32; LANES], high: &[f32; LANES]) -> __m512 {
        // SAFETY: eight floats each.
        let [low, high] = unsafe { [_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())] };
        let both = _mm512_castpd256_pd512(_mm256_castps_pd(low));
        _mm512_castpd_ps(_mm512_insertf64x4::<1>(both, _mm256_castps_pd(high)))
    }
}
