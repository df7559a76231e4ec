//! Eight neighbouring rays at once: their samples lie in a short window of one or two registers per column, which a
//! permute reads. No gathers.

use super::LANES;
use super::columns::{ColumnGrid, ColumnVolume};
use super::forward::{Place, PlaceTable};
use super::rays::Group;
use std::ops::Range;

/// Adds the samples of slices in which all rays are inside the volume. The CPU must have AVX2 and FMA.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn add_windows(
    _: &ColumnGrid,
    _: &ColumnVolume,
    _: &Group,
    _: &PlaceTable,
    _: Range<u32>,
    _: &mut [f32; LANES],
) {
    unreachable!("only x86-64 reads windows");
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::add_windows;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::super::forward::column_offset;
    use super::super::rays::{Reading, Window};
    use super::*;
    use std::arch::x86_64::*;

    /// Adds the samples of slices in which all rays are inside the volume. The CPU must have AVX2 and FMA.
    pub(in super::super) fn add_windows(
        grid: &ColumnGrid,
        volume: &ColumnVolume,
        group: &Group,
        table: &PlaceTable,
        slices: Range<u32>,
        sum: &mut [f32; LANES],
    ) {
        let values = &volume.values;
        // SAFETY: whoever chose these instructions checked that the CPU has them (`Projector::new`).
        unsafe {
            match group.reading {
                Reading::Single => unreachable!("such groups have no slices for windows"),
                Reading::Aligned { window } => {
                    let places = table.of_slices(&slices);
                    let column = grid.strides[usize::from(group.main.axis == 0)];
                    let add = match window {
                        Window::Tight => add_aligned::<TIGHT>,
                        Window::Narrow => add_aligned::<NARROW>,
                        Window::Wide => add_aligned::<WIDE>,
                    };
                    add(values, column, group, places, slices.start, sum);
                }
                Reading::Spread { is_wide: true, .. } => add_spread::<true>(grid, values, group, slices, sum),
                Reading::Spread { is_wide: false, .. } => {
                    add_spread::<false>(grid, values, group, slices, sum)
                }
            }
        }
    }

    /// The windows of [`Window`] as constants, each with code of its own.
    const TIGHT: u8 = 0;
    const NARROW: u8 = 1;
    const WIDE: u8 = 2;

    /// All rays lie between the two columns of a place; these are blended before they are read.
    #[target_feature(enable = "avx2,fma")]
    fn add_aligned<const WINDOW: u8>(
        values: &[f32],
        next_column: usize,
        group: &Group,
        places: &[Place],
        first_slice: u32,
        sum: &mut [f32; LANES],
    ) {
        let (along, along_step) = (load(&group.along), load(&group.along_step));
        let mut total = load(sum);
        let one = _mm256_set1_ps(1.0);
        let next = _mm256_set1_epi32(1);
        let mut slice = _mm256_set1_ps(first_slice as f32);
        for place in places {
            let row = _mm256_fmadd_ps(slice, along_step, along);
            slice = _mm256_add_ps(slice, one);
            let whole = _mm256_floor_ps(row);
            let share = _mm256_sub_ps(row, whole);
            let whole = _mm256_cvttps_epi32(whole);
            let base = _mm256_cvtsi256_si32(whole);
            let index = _mm256_sub_epi32(whole, _mm256_broadcastd_epi32(_mm256_castsi256_si128(whole)));
            let start = place.offset.wrapping_add_signed(base as isize);
            debug_assert!(start + next_column + 17 <= values.len());
            // SAFETY: rays stay within `REACH` voxels of the columns (`rays::reading`), which a border of `PADDING`
            // zeros surrounds, and places are within the border of columns.
            let samples = unsafe { values.as_ptr().add(start) };
            let second = _mm256_set1_ps(place.share);
            let first = _mm256_sub_ps(one, second);
            let blend = |ahead: usize| {
                // SAFETY: as above; at most 17 samples from `start` on.
                let (a, b) = unsafe {
                    (_mm256_loadu_ps(samples.add(ahead)), _mm256_loadu_ps(samples.add(ahead + next_column)))
                };
                _mm256_fmadd_ps(second, b, _mm256_mul_ps(first, a))
            };
            let window = blend(0);
            let mut near = _mm256_permutevar8x32_ps(window, index);
            let mut far = if WINDOW == TIGHT {
                _mm256_permutevar8x32_ps(window, _mm256_add_epi32(index, next))
            } else {
                _mm256_permutevar8x32_ps(blend(1), index)
            };
            if WINDOW == WIDE {
                let is_far = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
                near = _mm256_blendv_ps(near, _mm256_permutevar8x32_ps(blend(8), index), is_far);
                far = _mm256_blendv_ps(far, _mm256_permutevar8x32_ps(blend(9), index), is_far);
            }
            total = _mm256_add_ps(total, _mm256_fmadd_ps(share, _mm256_sub_ps(far, near), near));
        }
        store(sum, total);
    }

    /// Rays lie between several columns: each column is read with the weight that every ray gives it.
    #[target_feature(enable = "avx2,fma")]
    fn add_spread<const WIDE: bool>(
        grid: &ColumnGrid,
        values: &[f32],
        group: &Group,
        slices: Range<u32>,
        sum: &mut [f32; LANES],
    ) {
        let Reading::Spread { first_is_lowest, span, .. } = group.reading else {
            unreachable!("the caller chose by the reading");
        };
        let lowest = if first_is_lowest { 0 } else { LANES - 1 };
        let count = grid.counts[group.main.others()[0]] as isize;
        let next_column = grid.strides[usize::from(group.main.axis == 0)];
        let (along, along_step) = (load(&group.along), load(&group.along_step));
        let (across, across_step) = (load(&group.across), load(&group.across_step));
        let one = _mm256_set1_ps(1.0);
        let sign = _mm256_set1_ps(-0.0);
        let mut total = load(sum);
        for slice in slices {
            let place = _mm256_set1_ps(slice as f32);
            let row = _mm256_fmadd_ps(place, along_step, along);
            let whole = _mm256_floor_ps(row);
            let share = _mm256_sub_ps(row, whole);
            let whole = _mm256_cvttps_epi32(whole);
            let base = _mm256_cvtsi256_si32(whole);
            let index = _mm256_sub_epi32(whole, _mm256_broadcastd_epi32(_mm256_castsi256_si128(whole)));
            let is_far = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));

            let low = (slice as f32).mul_add(group.across_step[lowest], group.across[lowest]);
            let first = (low.floor() as isize).clamp(-1, count - 1);
            let last = ((low + span).floor() as isize + 1).clamp(first + 1, count);
            let offset = column_offset(grid, group.main.axis, slice, first);
            let start = offset.wrapping_add_signed(base as isize);
            debug_assert!(start + (last - first) as usize * next_column + 17 <= values.len());
            // SAFETY: rays stay within `REACH` voxels of the columns (`rays::reading`), which a border of `PADDING`
            // zeros surrounds, and `first..=last` are columns of the border or the volume.
            let mut samples = unsafe { values.as_ptr().add(start) };
            let mut distance =
                _mm256_sub_ps(_mm256_fmadd_ps(place, across_step, across), _mm256_set1_ps(first as f32));
            for column in first..=last {
                if column > first {
                    // SAFETY: the next column up to `last`.
                    samples = unsafe { samples.add(next_column) };
                    distance = _mm256_sub_ps(distance, one);
                }
                // SAFETY: at most 17 samples of a column.
                let window = |ahead: usize| unsafe { _mm256_loadu_ps(samples.add(ahead)) };
                let mut near = _mm256_permutevar8x32_ps(window(0), index);
                let mut far = _mm256_permutevar8x32_ps(window(1), index);
                if WIDE {
                    near = _mm256_blendv_ps(near, _mm256_permutevar8x32_ps(window(8), index), is_far);
                    far = _mm256_blendv_ps(far, _mm256_permutevar8x32_ps(window(9), index), is_far);
                }
                let value = _mm256_fmadd_ps(share, _mm256_sub_ps(far, near), near);
                let weight = _mm256_sub_ps(one, _mm256_andnot_ps(sign, distance));
                total = _mm256_fmadd_ps(_mm256_max_ps(weight, _mm256_setzero_ps()), value, total);
            }
        }
        store(sum, total);
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(lanes: &[f32; LANES]) -> __m256 {
        // SAFETY: eight floats.
        unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store(lanes: &mut [f32; LANES], values: __m256) {
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), values) };
    }
}
