//! Sixteen voxels of a column at once: their rows lie in a window of 32 samples, which two registers hold and
//! one permute reads (64 samples, four registers and a choice for coarser voxels). No gathers; four vectors of
//! voxels stay in registers while all views of a block add.
#![cfg(target_arch = "x86_64")]

use super::columns::{self, ColumnInView};
use super::{FilteredView, PADDING};
use std::arch::x86_64::*;

/// Rows per voxel up to which sixteen voxels fit 32 samples: 15 steps, a fraction and a neighbour.
const FINE_STEP: f32 = 1.99;
/// The same for 64 samples.
const COARSE_STEP: f32 = 4.1;
/// Samples of the larger window.
const WIDE_WINDOW: usize = 64;
const _: () = assert!(PADDING >= WIDE_WINDOW + 2, "windows beyond the samples are moved into the zeros");

/// How the sixteen rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Window32,
    Window64,
    /// The portable kernel.
    Any,
}

impl Reach {
    fn of(place: &ColumnInView) -> Self {
        match place.v_step {
            step if step <= FINE_STEP => Self::Window32,
            step if step <= COARSE_STEP => Self::Window64,
            _ => Self::Any,
        }
    }
}

/// Adds every view to one voxel column.
///
/// The window is chosen per column and view, and views stay in order, so the sums do not depend on how views are
/// blocked.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn add_column(
    sum: &mut [f32],
    length: usize,
    mut places: &[ColumnInView],
    mut views: &[FilteredView],
    blend: &mut [f32],
) {
    while let Some(first) = places.first() {
        let reach = Reach::of(first);
        let run = places.iter().take_while(|place| Reach::of(place) == reach).count();
        match reach {
            Reach::Window32 => add_run::<false>(sum, length, &places[..run], &views[..run]),
            Reach::Window64 => add_run::<true>(sum, length, &places[..run], &views[..run]),
            Reach::Any => columns::add_column(sum, length, &places[..run], &views[..run], blend),
        }
        (places, views) = (&places[run..], &views[run..]);
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_run<const WIDE: bool>(
    sum: &mut [f32],
    length: usize,
    places: &[ColumnInView],
    views: &[FilteredView],
) {
    let mut along = 0;
    let mut chunks = sum.chunks_exact_mut(64);
    for chunk in chunks.by_ref() {
        if along < length {
            add_vectors::<4, WIDE>(chunk, along, places, views);
        }
        along += 64;
    }
    for chunk in chunks.into_remainder().chunks_exact_mut(16) {
        if along < length {
            add_vectors::<1, WIDE>(chunk, along, places, views);
        }
        along += 16;
    }
}

/// Adds every view to `16 N` voxels that start at `along`.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_vectors<const N: usize, const WIDE: bool>(
    voxels: &mut [f32],
    along: usize,
    places: &[ColumnInView],
    views: &[FilteredView],
) {
    assert_eq!(voxels.len(), 16 * N);
    let lane = _mm512_set_ps(15., 14., 13., 12., 11., 10., 9., 8., 7., 6., 5., 4., 3., 2., 1., 0.);
    let one = _mm512_set1_epi32(1);
    let beyond_32 = _mm512_set1_epi32(32);
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
        // Vectors whose rows all lie in the zeros are passed over.
        let first_row = PADDING as f32 - 2.0 - 15.0 * place.v_step;
        let last_row = (PADDING + view.nv) as f32 + 1.0;
        // Both detector columns lie inside the samples, whatever the window.
        assert!(place.offset + 2 * view.stride <= view.columns.len());
        let samples = view.columns[place.offset..].as_ptr();
        // SAFETY: rows from `first_row` to `last_row` start windows from `PADDING - 64` to `PADDING + nv + 1`, so
        // 16 floats at up to 48 beyond still lie in the column's `nv + 2 PADDING` samples, and two columns of
        // `stride` samples start at `samples`.
        let blended = |start: usize| unsafe {
            let low = _mm512_loadu_ps(samples.add(start));
            let high = _mm512_loadu_ps(samples.add(view.stride + start));
            _mm512_fmadd_ps(weight_high, high, _mm512_mul_ps(weight_low, low))
        };
        for (vector, sum) in sums.iter_mut().enumerate() {
            let row = place.v_start + place.v_step * (along + 16 * vector) as f32;
            if !(row > first_row && row < last_row) {
                continue;
            }
            let window = _mm_cvttss_si32(_mm_set_ss(row)) as usize;
            let relative = _mm512_add_ps(lane_rows, _mm512_set1_ps(row - window as f32));
            let index = _mm512_cvttps_epi32(relative);
            let next = _mm512_add_epi32(index, one);
            let share = _mm512_sub_ps(relative, _mm512_cvtepi32_ps(index));
            let (a, b) = (blended(window), blended(window + 16));
            let mut near = _mm512_permutex2var_ps(a, index, b);
            let mut far = _mm512_permutex2var_ps(a, next, b);
            if WIDE {
                let (c, d) = (blended(window + 32), blended(window + 48));
                let is_far = |index| _mm512_test_epi32_mask(index, beyond_32);
                near = _mm512_mask_mov_ps(near, is_far(index), _mm512_permutex2var_ps(c, index, d));
                far = _mm512_mask_mov_ps(far, is_far(next), _mm512_permutex2var_ps(c, next, d));
            }
            *sum = _mm512_add_ps(*sum, _mm512_fmadd_ps(share, _mm512_sub_ps(far, near), near));
        }
    }
    for (vector, sum) in sums.iter().enumerate() {
        // SAFETY: as the load.
        unsafe { _mm512_storeu_ps(voxels.as_mut_ptr().add(16 * vector), *sum) };
    }
}
