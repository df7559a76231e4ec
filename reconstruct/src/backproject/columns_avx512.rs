//! Sixteen voxels of a column at once, in integers: their rows lie in a window of 32 samples, which two registers hold
//! and one permute reads (48 or 64 samples, further registers and a choice for coarser voxels). No gathers.
//!
//! A sample is a pair of 16-bit neighbours (see [`PairedView`]), so that one load brings both detector columns, and two
//! dot products blend four samples. Eight vectors of voxels stay in registers while a few views add.
#![cfg(target_arch = "x86_64")]

use super::PADDING;
use super::columns::{ColumnInView, ROW_BITS, Tile, Views};
use super::columns_paired::{self, Reading, between_samples, rows, unroll, window_start};
use super::paired::PairedView;
use std::arch::x86_64::*;

/// Rows per voxel up to which sixteen voxels fit 32 samples: 15 steps, a fraction and a neighbour. Beyond 48 they fit 64.
const STEP_32: i64 = rows(1.99);
/// The same for 48 samples.
const STEP_48: i64 = rows(3.05);
/// Samples of the largest window.
const WIDEST_WINDOW: usize = 64;
const _: () = assert!(PADDING >= WIDEST_WINDOW + 2, "windows beyond the samples are moved into the zeros");
/// Vectors of voxels in registers at once.
const VECTORS: usize = 8;
/// Voxels of these.
const VOXELS: usize = 16 * VECTORS;

/// Adds every view to a tile of voxel columns; `places` is `[column][view]`.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
pub(super) fn add_tile(
    band: &mut [f32],
    tile: &Tile,
    places: &[ColumnInView],
    views: Views<'_>,
    blend: &mut [f32],
) {
    columns_paired::add_tile(band, tile, places, views, blend, VOXELS, |voxels, along, places, views| {
        add_views(voxels, along, places, views);
    });
}

/// Adds a few views to at most `VOXELS` voxels, from the column's voxel `along`.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
#[inline]
fn add_views(mut voxels: &mut [f32], mut along: usize, places: &[ColumnInView], views: &[PairedView]) {
    // A wider window than a view needs gives the same sums.
    let step = places.iter().map(|place| place.step).max().unwrap_or(0);
    while !voxels.is_empty() {
        // Fewer than all only at the end of a column that is no multiple of them.
        let count = [VOXELS, 64, 16].into_iter().find(|count| voxels.len() >= *count).unwrap_or(voxels.len());
        let (part, rest) = voxels.split_at_mut(count);
        match count {
            VOXELS => add_vectors::<VECTORS>(part, step, along, places, views),
            64 => add_vectors::<4>(part, step, along, places, views),
            _ => add_vectors::<1>(part, step, along, places, views),
        }
        along += part.len();
        voxels = rest;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
#[inline]
fn add_vectors<const N: usize>(
    voxels: &mut [f32],
    step: i64,
    along: usize,
    places: &[ColumnInView],
    views: &[PairedView],
) {
    match step {
        step if step <= STEP_32 => add_windows::<N, 2>(voxels, along, places, views),
        step if step <= STEP_48 => add_windows::<N, 3>(voxels, along, places, views),
        _ => add_windows::<N, 4>(voxels, along, places, views),
    }
}

/// Adds views to `16 N` voxels; each vector reads a window of `WINDOW` registers.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
#[inline]
fn add_windows<const N: usize, const WINDOW: usize>(
    voxels: &mut [f32],
    along: usize,
    places: &[ColumnInView],
    views: &[PairedView],
) {
    assert!(voxels.len() == 16 * N && N <= VECTORS);
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let one = _mm512_set1_epi32(1);
    let beyond_32 = _mm512_set1_epi32(32);
    // The upper 16 of a row's 24 binary places, for either half of a pair.
    let fraction_of_both =
        _mm512_broadcast_i32x4(_mm_set_epi8(14, 13, 14, 13, 10, 9, 10, 9, 6, 5, 6, 5, 2, 1, 2, 1));
    let mut sums = [_mm512_setzero_ps(); N];
    for (vector, sum) in sums.iter_mut().enumerate() {
        // SAFETY: `voxels` holds 16 N floats.
        *sum = unsafe { _mm512_loadu_ps(voxels.as_ptr().add(16 * vector)) };
    }
    for (place, view) in places.iter().zip(views) {
        let Some(reading) = Reading::of(place, view, along, 16 * N) else { continue };
        let Reading { first, step, last_start, .. } = reading;
        let weights = _mm512_set1_epi32(reading.weights);
        let scale = _mm512_set1_ps(reading.scale);
        let lane_rows = _mm512_mullo_epi32(lane, _mm512_set1_epi32(step as i32));
        let pairs = reading.pairs.as_ptr();
        unroll!(N, vector => {
            let row = first + (16 * vector) as i64 * step;
            let start = window_start(row, last_start);
            // SAFETY: windows start from 0 to `PADDING + nv + 1`, so 16 pairs at up to 48 beyond still lie in the column's
            // `nv + 2 PADDING`.
            let samples = |beyond: usize| unsafe { _mm512_loadu_si512(pairs.add(start + beyond).cast()) };
            let rows = _mm512_add_epi32(lane_rows, _mm512_set1_epi32(between_samples(row)));
            let index = _mm512_srli_epi32::<ROW_BITS>(rows);
            let next = _mm512_add_epi32(index, one);
            let (a, b) = (samples(0), samples(16));
            let mut near = _mm512_permutex2var_epi32(a, index, b);
            let mut far = _mm512_permutex2var_epi32(a, next, b);
            let is_far = |index| _mm512_test_epi32_mask(index, beyond_32);
            if WINDOW == 3 {
                let c = samples(32);
                near = _mm512_mask_permutexvar_epi32(near, is_far(index), index, c);
                far = _mm512_mask_permutexvar_epi32(far, is_far(next), next, c);
            }
            if WINDOW == 4 {
                let (c, d) = (samples(32), samples(48));
                near = _mm512_mask_mov_epi32(near, is_far(index), _mm512_permutex2var_epi32(c, index, d));
                far = _mm512_mask_mov_epi32(far, is_far(next), _mm512_permutex2var_epi32(c, next, d));
            }
            let far_weights = _mm512_mulhi_epu16(_mm512_shuffle_epi8(rows, fraction_of_both), weights);
            let near_weights = _mm512_sub_epi16(weights, far_weights);
            let (far, near) = (_mm512_madd_epi16(far, far_weights), _mm512_madd_epi16(near, near_weights));
            let blended = _mm512_add_epi32(far, near);
            sums[vector] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(blended), sums[vector]);
        });
    }
    for (vector, sum) in sums.iter().enumerate() {
        // SAFETY: as the load.
        unsafe { _mm512_storeu_ps(voxels.as_mut_ptr().add(16 * vector), *sum) };
    }
}
