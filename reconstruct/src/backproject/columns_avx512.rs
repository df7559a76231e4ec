//! Sixteen voxels of a column at once, in integers: their rows lie in a window of 32 samples, which one register holds
//! (64 and two for coarser voxels) and one permute of 16-bit words reads, each voxel's row beside the next. No gathers.
//!
//! A dot product blends the two rows of each detector column, and two multiplications add both columns. Eight vectors of
//! voxels stay in registers while a few views add.
#![cfg(target_arch = "x86_64")]

use super::columns::{ColumnInView, ROW_BITS, Tile};
use super::columns_in_integers::{self, Reading, between_samples, rows, unroll, window_start};
use super::integers::{IntegerView, UNIT};
use super::{FilteredView, PADDING};
use std::arch::x86_64::*;

/// Rows per voxel up to which sixteen voxels fit 32 samples: 15 steps, a fraction and a neighbour. Beyond they fit 64.
const STEP_32: i64 = rows(1.99);
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
    views: (&[FilteredView], &[IntegerView<i16>]),
    blend: &mut [f32],
) {
    columns_in_integers::add_tile(
        band,
        tile,
        places,
        views,
        blend,
        VOXELS,
        |voxels, along, places, views| {
            add_views(voxels, along, places, views);
        },
    );
}

/// Adds a few views to at most `VOXELS` voxels, from the column's voxel `along`.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
#[inline]
fn add_views(mut voxels: &mut [f32], mut along: usize, places: &[ColumnInView], views: &[IntegerView<i16>]) {
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
    views: &[IntegerView<i16>],
) {
    match step {
        step if step <= STEP_32 => add_windows::<N, 1>(voxels, along, places, views),
        _ => add_windows::<N, 2>(voxels, along, places, views),
    }
}

/// Adds views to `16 N` voxels; each vector reads a window of `WINDOW` registers.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
#[inline]
fn add_windows<const N: usize, const WINDOW: usize>(
    voxels: &mut [f32],
    along: usize,
    places: &[ColumnInView],
    views: &[IntegerView<i16>],
) {
    assert!(voxels.len() == 16 * N && N <= VECTORS);
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    // A row's whole samples, its uppermost byte, for either half of a lane; and the upper 16 of its 24 binary places.
    const { assert!(ROW_BITS == 24) };
    let both = |bytes: [i8; 8]| {
        let [a, b, c, d, e, f, g, h] = bytes;
        _mm512_broadcast_i32x4(_mm_set_epi8(h, g, h, g, f, e, f, e, d, c, d, c, b, a, b, a))
    };
    let (whole_of_both, fraction_of_both) =
        (both([3, 3, 7, 7, 11, 11, 15, 15]), both([1, 2, 5, 6, 9, 10, 13, 14]));
    let next_in_upper = _mm512_set1_epi32(1 << 16);
    let unit_in_lower = _mm512_set1_epi32(i32::from(UNIT));
    let mut sums = [_mm512_setzero_ps(); N];
    for (vector, sum) in sums.iter_mut().enumerate() {
        // SAFETY: `voxels` holds 16 N floats.
        *sum = unsafe { _mm512_loadu_ps(voxels.as_ptr().add(16 * vector)) };
    }
    for (place, view) in places.iter().zip(views) {
        let Some(reading) = Reading::of(place, view, along, 16 * N) else { continue };
        let Reading { first, step, last_start, .. } = reading;
        let scales = reading.scales.map(|scale| _mm512_set1_ps(scale));
        let lane_rows = _mm512_mullo_epi32(lane, _mm512_set1_epi32(step as i32));
        let columns = reading.columns.map(|column| column.as_ptr());
        unroll!(N, vector => {
            let row = first + (16 * vector) as i64 * step;
            let start = window_start(row, last_start);
            let rows = _mm512_add_epi32(lane_rows, _mm512_set1_epi32(between_samples(row)));
            // A permute of words takes no notice of what lies above the index.
            let index = _mm512_add_epi32(_mm512_shuffle_epi8(rows, whole_of_both), next_in_upper);
            let fraction = _mm512_srli_epi16::<1>(_mm512_shuffle_epi8(rows, fraction_of_both));
            // What is left to the unit in the lower half: no bit of 15 borrows.
            let weights = _mm512_xor_si512(fraction, unit_in_lower);
            for (column, scale) in columns.into_iter().zip(scales) {
                // SAFETY: windows start from 0 to `PADDING + nv + 1`, so 32 samples at up to 32 beyond still lie in the
                // column's `nv + 2 PADDING`.
                let samples = |beyond: usize| unsafe { _mm512_loadu_si512(column.add(start + beyond).cast()) };
                let neighbours = match WINDOW {
                    1 => _mm512_permutexvar_epi16(index, samples(0)),
                    _ => _mm512_permutex2var_epi16(samples(0), index, samples(32)),
                };
                let blended = _mm512_cvtepi32_ps(_mm512_madd_epi16(neighbours, weights));
                sums[vector] = _mm512_fmadd_ps(scale, blended, sums[vector]);
            }
        });
    }
    for (vector, sum) in sums.iter().enumerate() {
        // SAFETY: as the load.
        unsafe { _mm512_storeu_ps(voxels.as_mut_ptr().add(16 * vector), *sum) };
    }
}
