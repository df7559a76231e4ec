//! Eight voxels of a column at once, in integers, as [`super::columns_avx512`] takes sixteen, with the same sums to the
//! last bit: their rows lie in a window of 8, 16, 24 or 32 samples, of which a permute reads eight. No gathers.
//!
//! Permutes move 32 bits here, so that a sample is a row's value beside the next row's.
#![cfg(target_arch = "x86_64")]

use super::columns::{ColumnInView, ROW_BITS, Tile};
use super::columns_in_integers::{self, Reading, between_samples, rows, unroll, window_start};
use super::integers::{IntegerView, UNIT};
use super::{FilteredView, PADDING};
use std::arch::x86_64::*;

/// Rows per voxel up to which eight voxels fit 8 samples: 7 steps and a fraction.
const STEP_8: i64 = rows(0.99);
/// The same for 16 samples. Beyond 24 they fit 32.
const STEP_16: i64 = rows(2.1);
/// The same for 24 samples.
const STEP_24: i64 = rows(3.2);
/// Samples of the largest window.
const WIDEST_WINDOW: usize = 32;
const _: () = assert!(PADDING >= WIDEST_WINDOW + 2, "windows beyond the samples are moved into the zeros");
/// Vectors of voxels in registers at once.
const VECTORS: usize = 4;
/// Voxels of these.
const VOXELS: usize = 8 * VECTORS;

/// Adds every view to a tile of voxel columns; `places` is `[column][view]`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_tile(
    band: &mut [f32],
    tile: &Tile,
    places: &[ColumnInView],
    views: (&[FilteredView], &[IntegerView<[i16; 2]>]),
    blend: &mut [f32],
) {
    columns_in_integers::add_tile(
        band,
        tile,
        places,
        views,
        blend,
        4 * VOXELS,
        |voxels, along, places, views| {
            add_views(voxels, along, places, views);
        },
    );
}

/// Adds a few views to voxels from the column's voxel `along`.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn add_views(voxels: &mut [f32], along: usize, places: &[ColumnInView], views: &[IntegerView<[i16; 2]>]) {
    // A wider window than a view needs gives the same sums.
    let step = places.iter().map(|place| place.step).max().unwrap_or(0);
    for (part, voxels) in voxels.chunks_mut(VOXELS).enumerate() {
        let along = along + part * VOXELS;
        // Fewer than all only at the end of a column, whose voxels are a multiple of sixteen.
        match voxels.len() {
            VOXELS => add_vectors::<VECTORS>(voxels, step, along, places, views),
            _ => add_vectors::<2>(voxels, step, along, places, views),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn add_vectors<const N: usize>(
    voxels: &mut [f32],
    step: i64,
    along: usize,
    places: &[ColumnInView],
    views: &[IntegerView<[i16; 2]>],
) {
    match step {
        step if step <= STEP_8 => add_windows::<N, 1>(voxels, along, places, views),
        step if step <= STEP_16 => add_windows::<N, 2>(voxels, along, places, views),
        step if step <= STEP_24 => add_windows::<N, 3>(voxels, along, places, views),
        _ => add_windows::<N, 4>(voxels, along, places, views),
    }
}

/// Adds views to `8 N` voxels; each vector reads a window of `WINDOW` registers.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn add_windows<const N: usize, const WINDOW: usize>(
    voxels: &mut [f32],
    along: usize,
    places: &[ColumnInView],
    views: &[IntegerView<[i16; 2]>],
) {
    assert!(voxels.len() == 8 * N && N <= VECTORS);
    let lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    // The upper 16 of a row's 24 binary places, for either half of a lane.
    let fraction_of_both =
        _mm256_broadcastsi128_si256(_mm_set_epi8(14, 13, 14, 13, 10, 9, 10, 9, 6, 5, 6, 5, 2, 1, 2, 1));
    let unit_in_lower = _mm256_set1_epi32(i32::from(UNIT));
    let mut sums = [_mm256_setzero_ps(); N];
    for (vector, sum) in sums.iter_mut().enumerate() {
        // SAFETY: `voxels` holds 8 N floats.
        *sum = unsafe { _mm256_loadu_ps(voxels.as_ptr().add(8 * vector)) };
    }
    for (place, view) in places.iter().zip(views) {
        let Some(reading) = Reading::of(place, view, along, 8 * N) else { continue };
        let Reading { first, step, last_start, .. } = reading;
        let scales = reading.scales.map(|scale| _mm256_set1_ps(scale));
        let lane_rows = _mm256_mullo_epi32(lane, _mm256_set1_epi32(step as i32));
        let columns = reading.columns.map(|column| column.as_ptr());
        unroll!(N, vector => {
            let row = first + (8 * vector) as i64 * step;
            let start = window_start(row, last_start);
            let rows = _mm256_add_epi32(lane_rows, _mm256_set1_epi32(between_samples(row)));
            let index = _mm256_srli_epi32::<{ ROW_BITS as i32 }>(rows);
            let fraction = _mm256_srli_epi16::<1>(_mm256_shuffle_epi8(rows, fraction_of_both));
            // What is left to the unit in the lower half: no bit of 15 borrows.
            let weights = _mm256_xor_si256(fraction, unit_in_lower);
            for (column, scale) in columns.into_iter().zip(scales) {
                let permuted = |register: usize| {
                    // SAFETY: windows start from 0 to `PADDING + nv + 1`, so 8 samples at up to 24 beyond still lie in
                    // the column's `nv + 2 PADDING`.
                    let samples = unsafe { _mm256_loadu_si256(column.add(start + 8 * register).cast()) };
                    _mm256_permutevar8x32_epi32(samples, index)
                };
                let neighbours = match WINDOW {
                    1 => permuted(0),
                    2 => choose::<3>(permuted(0), permuted(1), index),
                    3 => choose::<4>(choose::<3>(permuted(0), permuted(1), index), permuted(2), index),
                    _ => {
                        let [low, high] = [0, 2].map(|first| choose::<3>(permuted(first), permuted(first + 1), index));
                        choose::<4>(low, high, index)
                    }
                };
                let blended = _mm256_cvtepi32_ps(_mm256_madd_epi16(neighbours, weights));
                sums[vector] = _mm256_fmadd_ps(scale, blended, sums[vector]);
            }
        });
    }
    for (vector, sum) in sums.iter().enumerate() {
        // SAFETY: as the load.
        unsafe { _mm256_storeu_ps(voxels.as_mut_ptr().add(8 * vector), *sum) };
    }
}

/// Lanes of `b` where bit `BIT` of `index` is set, of `a` elsewhere.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn choose<const BIT: i32>(a: __m256i, b: __m256i, index: __m256i) -> __m256i {
    let sign = match BIT {
        3 => _mm256_slli_epi32::<28>(index),
        _ => _mm256_slli_epi32::<27>(index),
    };
    let [a, b, sign] = [a, b, sign].map(|lanes| _mm256_castsi256_ps(lanes));
    _mm256_castps_si256(_mm256_blendv_ps(a, b, sign))
}
