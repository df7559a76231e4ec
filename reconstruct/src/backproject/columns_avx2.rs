//! Eight voxels of a column at once: their rows lie in a window of 8, 16 or 32 samples, which one, two or four
//! registers hold and permutes read. No gathers.
#![cfg(target_arch = "x86_64")]

use super::columns::{self, ColumnInView};
use super::{FilteredView, PADDING};
use std::arch::x86_64::*;

/// Rows per voxel up to which eight voxels fit a window: 7 steps and a fraction, and for the two larger windows a
/// neighbour. (The smallest window is read twice instead, one sample apart.)
const WINDOW_8_STEP: f32 = 0.99;
const WINDOW_16_STEP: f32 = 1.99;
const WINDOW_32_STEP: f32 = 4.2;
/// Vectors whose places are found together.
const GROUP: usize = 4;

/// Adds every view to one voxel column.
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_column(
    sum: &mut [f32],
    length: usize,
    places: &[ColumnInView],
    views: &[FilteredView],
    blend: &mut [f32],
) {
    for (place, view) in places.iter().zip(views) {
        let [step, _] = place.rows();
        match step {
            step if step <= 0.0 => {}
            step if step <= WINDOW_8_STEP => add_view::<8>(sum, length, place, view),
            step if step <= WINDOW_16_STEP => add_view::<16>(sum, length, place, view),
            step if step <= WINDOW_32_STEP => add_view::<32>(sum, length, place, view),
            _ => columns::add_column(
                sum,
                length,
                std::slice::from_ref(place),
                std::slice::from_ref(view),
                blend,
            ),
        }
    }
}

/// Vectors of eight voxels that may see samples other than zeros; those beside them do no harm.
fn vectors_in_view(place: &ColumnInView, nv: usize, length: usize) -> (usize, usize) {
    let [step, start] = place.rows();
    let vector_rows = 8.0 * step;
    let low = (PADDING as f32 - 2.0 - start) / vector_rows - 1.0;
    let high = ((PADDING + nv) as f32 + 1.0 - start) / vector_rows + 1.0;
    // Conversion saturates: NaN and what is below become zero.
    (low as usize, (high as usize).min(length.div_ceil(8)))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn add_view<const WINDOW: usize>(sum: &mut [f32], length: usize, place: &ColumnInView, view: &FilteredView) {
    let (first, end) = vectors_in_view(place, view.nv, length);
    if first >= end {
        return;
    }
    let [step, start] = place.rows();
    let row_of = |vector: usize| start + step * (8 * vector) as f32;
    let [low, high] = place.columns(view);
    // Rounding moves a row by far less than the sample spared at either end.
    assert!(
        row_of(first) >= 1.0 && row_of(end - 1) as usize + WINDOW + 1 < view.stride && end * 8 <= sum.len()
    );

    let [weight_low, weight_high] = place.weights().map(|weight| _mm256_set1_ps(weight));
    let lane = _mm256_set_ps(7., 6., 5., 4., 3., 2., 1., 0.);
    let lane_rows = _mm256_mul_ps(lane, _mm256_set1_ps(step));
    let group_rows = _mm_mul_ps(_mm_set_ps(24., 16., 8., 0.), _mm_set1_ps(step));
    for group in (first..end).step_by(GROUP) {
        // Where the window of each vector starts, and how far into its first sample.
        let rows = _mm_add_ps(_mm_set1_ps(row_of(group)), group_rows);
        let whole_rows = _mm_cvttps_epi32(rows);
        let starts = integers(whole_rows);
        let shares = floats(_mm_sub_ps(rows, _mm_cvtepi32_ps(whole_rows)));
        for k in 0..GROUP.min(end - group) {
            let start = starts[k] as usize;
            // SAFETY: the assertion above for the first and the last vector; rows grow in between.
            let blended = |beyond: usize| unsafe {
                let low = _mm256_loadu_ps(low.as_ptr().add(start + beyond));
                let high = _mm256_loadu_ps(high.as_ptr().add(start + beyond));
                _mm256_fmadd_ps(weight_high, high, _mm256_mul_ps(weight_low, low))
            };
            let relative = _mm256_add_ps(lane_rows, _mm256_set1_ps(shares[k]));
            let index = _mm256_cvttps_epi32(relative);
            let share = _mm256_sub_ps(relative, _mm256_cvtepi32_ps(index));
            let (near, far) = if WINDOW == 8 {
                (_mm256_permutevar8x32_ps(blended(0), index), _mm256_permutevar8x32_ps(blended(1), index))
            } else {
                let next = _mm256_add_epi32(index, _mm256_set1_epi32(1));
                let (a, b) = (blended(0), blended(8));
                let (mut near, mut far) = (permute_16(a, b, index), permute_16(a, b, next));
                if WINDOW == 32 {
                    let (c, d) = (blended(16), blended(24));
                    near = choose::<4>(near, permute_16(c, d, index), index);
                    far = choose::<4>(far, permute_16(c, d, next), next);
                }
                (near, far)
            };
            let value = _mm256_fmadd_ps(share, _mm256_sub_ps(far, near), near);
            // SAFETY: `end * 8` voxels lie inside, as asserted.
            unsafe {
                let voxels = sum.as_mut_ptr().add(8 * (group + k));
                _mm256_storeu_ps(voxels, _mm256_add_ps(_mm256_loadu_ps(voxels), value));
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn floats(vector: __m128) -> [f32; GROUP] {
    let mut lanes = [0.0; GROUP];
    // SAFETY: four floats.
    unsafe { _mm_storeu_ps(lanes.as_mut_ptr(), vector) };
    lanes
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn integers(vector: __m128i) -> [i32; GROUP] {
    let mut lanes = [0; GROUP];
    // SAFETY: four integers.
    unsafe { _mm_storeu_si128(lanes.as_mut_ptr().cast(), vector) };
    lanes
}

/// The samples at `index` (its lowest four bits) of the sixteen in `a` and `b`.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn permute_16(a: __m256, b: __m256, index: __m256i) -> __m256 {
    choose::<3>(_mm256_permutevar8x32_ps(a, index), _mm256_permutevar8x32_ps(b, index), index)
}

/// Lanes of `b` where bit `BIT` of `index` is set, of `a` elsewhere.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn choose<const BIT: i32>(a: __m256, b: __m256, index: __m256i) -> __m256 {
    let sign = match BIT {
        3 => _mm256_slli_epi32::<28>(index),
        _ => _mm256_slli_epi32::<27>(index),
    };
    _mm256_blendv_ps(a, b, _mm256_castsi256_ps(sign))
}
