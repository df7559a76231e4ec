//! Sixteen voxels of a column at once: their rows lie in a window of 32 samples, which two registers hold and
//! one permute reads. No gathers; four vectors of voxels stay in registers while all views of a block add.
#![cfg(target_arch = "x86_64")]

use super::columns::{self, ColumnInView};
use super::{FilteredView, PADDING};
use std::arch::x86_64::*;

/// Rows per voxel up to which sixteen voxels fit the 32-sample window: 15 steps, a fraction and a neighbour.
const MAX_STEP: f32 = 1.99;
/// Samples of the window.
const WINDOW: usize = 32;
const _: () = assert!(PADDING >= 2 * WINDOW + 2, "a window that touches the edge must not be clamped");

/// Adds every view to one voxel column.
///
/// Voxels coarser than the window go through the portable kernel. The choice is made per column and view, and
/// views stay in order, so it does not depend on how views are blocked.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn add_column(
    sum: &mut [f32],
    length: usize,
    mut places: &[ColumnInView],
    mut views: &[FilteredView],
    blend: &mut [f32],
) {
    while let Some(first) = places.first() {
        let is_coarse = first.v_step > MAX_STEP;
        let run = places.iter().take_while(|place| (place.v_step > MAX_STEP) == is_coarse).count();
        if is_coarse {
            columns::add_column(sum, length, &places[..run], &views[..run], blend);
        } else {
            add_fine(sum, length, &places[..run], &views[..run]);
        }
        (places, views) = (&places[run..], &views[run..]);
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_fine(sum: &mut [f32], length: usize, places: &[ColumnInView], views: &[FilteredView]) {
    let mut along = 0;
    let mut chunks = sum.chunks_exact_mut(64);
    for chunk in chunks.by_ref() {
        if along < length {
            add_vectors::<4>(chunk, along, places, views);
        }
        along += 64;
    }
    for chunk in chunks.into_remainder().chunks_exact_mut(16) {
        if along < length {
            add_vectors::<1>(chunk, along, places, views);
        }
        along += 16;
    }
}

/// Adds every view to `16 N` voxels that start at `along`.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_vectors<const N: usize>(
    voxels: &mut [f32],
    along: usize,
    places: &[ColumnInView],
    views: &[FilteredView],
) {
    assert_eq!(voxels.len(), 16 * N);
    let lane = _mm512_set_ps(15., 14., 13., 12., 11., 10., 9., 8., 7., 6., 5., 4., 3., 2., 1., 0.);
    let one = _mm512_set1_epi32(1);
    let mut sums = [_mm512_setzero_ps(); N];
    for (vector, sum) in sums.iter_mut().enumerate() {
        // SAFETY: `voxels` holds 16 N floats.
        *sum = unsafe { _mm512_loadu_ps(voxels.as_ptr().add(16 * vector)) };
    }
    for (place, view) in places.iter().zip(views) {
        if place.v_step <= 0.0 {
            continue;
        }
        let weight_low = _mm512_set1_ps(place.weight_low);
        let weight_high = _mm512_set1_ps(place.weight_high);
        let lane_rows = _mm512_mul_ps(lane, _mm512_set1_ps(place.v_step));
        let last_window = (view.stride - WINDOW) as f32;
        // Both detector columns lie inside the samples, whatever the window.
        assert!(place.offset + 2 * view.stride <= view.columns.len());
        let low = view.columns[place.offset..].as_ptr();
        for (vector, sum) in sums.iter_mut().enumerate() {
            let row = place.v_start + place.v_step * (along + 16 * vector) as f32;
            // A window beyond the samples is moved to the zeros at either end.
            let first = row.max(0.0).min(last_window).floor();
            let window = first as usize;
            let relative = _mm512_add_ps(lane_rows, _mm512_set1_ps(row - first));
            let index = _mm512_cvttps_epi32(relative);
            let share = _mm512_sub_ps(relative, _mm512_cvtepi32_ps(index));
            // SAFETY: window + 32 <= stride, and two columns of `stride` samples start at `low`.
            let [low_a, low_b, high_a, high_b] = unsafe {
                let (low, high) = (low.add(window), low.add(view.stride + window));
                [
                    _mm512_loadu_ps(low),
                    _mm512_loadu_ps(low.add(16)),
                    _mm512_loadu_ps(high),
                    _mm512_loadu_ps(high.add(16)),
                ]
            };
            let blend_a = _mm512_fmadd_ps(weight_high, high_a, _mm512_mul_ps(weight_low, low_a));
            let blend_b = _mm512_fmadd_ps(weight_high, high_b, _mm512_mul_ps(weight_low, low_b));
            let near = _mm512_permutex2var_ps(blend_a, index, blend_b);
            let far = _mm512_permutex2var_ps(blend_a, _mm512_add_epi32(index, one), blend_b);
            *sum = _mm512_add_ps(*sum, _mm512_fmadd_ps(share, _mm512_sub_ps(far, near), near));
        }
    }
    for (vector, sum) in sums.iter().enumerate() {
        // SAFETY: as the load.
        unsafe { _mm512_storeu_ps(voxels.as_mut_ptr().add(16 * vector), *sum) };
    }
}
