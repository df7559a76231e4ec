//! Sixteen voxels of a column at once: their rows lie in a window of 32 samples, which two registers hold and
//! one permute reads (48 or 64 samples, further registers and a choice for coarser voxels). No gathers; four vectors
//! of voxels stay in registers while a few views add. A tile of columns takes these few views before the next few, so
//! that the samples that its columns share come from the first cache.
#![cfg(target_arch = "x86_64")]

use super::columns::{self, ColumnInView, Tile};
use super::{FilteredView, PADDING};
use std::arch::x86_64::*;

/// Rows per voxel up to which sixteen voxels fit 32 samples: 15 steps, a fraction and a neighbour.
const FINE_STEP: f32 = 1.99;
/// The same for 48 samples.
const MIDDLE_STEP: f32 = 3.05;
/// The same for 64 samples.
const COARSE_STEP: f32 = 4.1;
/// Samples of the largest window.
const WIDEST_WINDOW: usize = 64;
const _: () = assert!(PADDING >= WIDEST_WINDOW + 2, "windows beyond the samples are moved into the zeros");
/// Vectors of voxels in registers at once.
const VECTORS: usize = 8;
/// Voxels of these.
const VOXELS: usize = 16 * VECTORS;
/// Views that a tile takes at once: what it reads of them, some 10 KB of each, nearly stays in a first cache of 48 KB.
const VIEWS_AT_ONCE: usize = 4;

/// How the sixteen rows are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Window32,
    Window48,
    Window64,
    /// The portable kernel.
    Any,
}

impl Reach {
    fn of(place: &ColumnInView) -> Self {
        match place.v_step {
            step if step <= FINE_STEP => Self::Window32,
            step if step <= MIDDLE_STEP => Self::Window48,
            step if step <= COARSE_STEP => Self::Window64,
            // Steps that are no number included.
            _ => Self::Any,
        }
    }
}

/// Adds every view to a tile of voxel columns; `places` is `[column][view]`.
///
/// The window is chosen per column and view, and views stay in order, so the sums do not depend on how views are
/// blocked.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn add_tile(
    band: &mut [f32],
    tile: &Tile,
    places: &[ColumnInView],
    views: &[FilteredView],
    blend: &mut [f32],
) {
    let is_coarse = |column: usize| {
        places[column * views.len()..][..views.len()].iter().any(|place| Reach::of(place) == Reach::Any)
    };
    let (coarse, fine): (Vec<usize>, Vec<usize>) = (0..tile.columns).partition(|&column| is_coarse(column));
    for column in coarse {
        let voxels = &mut band[tile.start(column)..][..tile.stride];
        add_coarse_column(voxels, tile.length, &places[column * views.len()..][..views.len()], views, blend);
    }
    for along in (0..tile.stride).step_by(VOXELS) {
        let count = VOXELS.min(tile.stride - along);
        for (group, views_at_once) in views.chunks(VIEWS_AT_ONCE).enumerate() {
            for &column in &fine {
                let places = &places[column * views.len() + group * VIEWS_AT_ONCE..][..views_at_once.len()];
                let voxels = &mut band[tile.start(column) + along..][..count];
                add_views(voxels, along, places, views_at_once);
            }
        }
    }
}

/// Adds every view to one column of which some view asks for the portable kernel, which takes a whole column.
#[target_feature(enable = "avx512f,avx2,fma")]
fn add_coarse_column(
    sum: &mut [f32],
    length: usize,
    places: &[ColumnInView],
    views: &[FilteredView],
    blend: &mut [f32],
) {
    for (place, view) in places.iter().zip(views) {
        let (place, view) = (std::slice::from_ref(place), std::slice::from_ref(view));
        if Reach::of(&place[0]) == Reach::Any {
            columns::add_column(sum, length, place, view, blend);
        } else {
            for (index, voxels) in sum.chunks_mut(VOXELS).enumerate() {
                add_views(voxels, index * VOXELS, place, view);
            }
        }
    }
}

/// Adds at most `VIEWS_AT_ONCE` views to at most `VOXELS` voxels, from the column's voxel `along`.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_views(mut voxels: &mut [f32], mut along: usize, places: &[ColumnInView], views: &[FilteredView]) {
    let mut windows = [Windows::NONE; VIEWS_AT_ONCE];
    // A wider window than a view needs gives the same sums.
    let reach = places.iter().map(Reach::of).max().unwrap_or(Reach::Window32);
    while !voxels.is_empty() {
        // Fewer than all only at the end of a column that is no multiple of them.
        let count = [VOXELS, 64, 16].into_iter().find(|count| voxels.len() >= *count).unwrap_or(voxels.len());
        let (part, rest) = voxels.split_at_mut(count);
        for ((windows, place), view) in windows.iter_mut().zip(places).zip(views) {
            *windows = Windows::of(place, view.nv, along);
        }
        match count {
            VOXELS => add_vectors::<VECTORS>(part, reach, &windows, places, views),
            64 => add_vectors::<4>(part, reach, &windows, places, views),
            _ => add_vectors::<1>(part, reach, &windows, places, views),
        }
        along += part.len();
        voxels = rest;
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_vectors<const N: usize>(
    voxels: &mut [f32],
    reach: Reach,
    windows: &[Windows; VIEWS_AT_ONCE],
    places: &[ColumnInView],
    views: &[FilteredView],
) {
    match reach {
        Reach::Window32 => add_windows::<N, 2>(voxels, windows, places, views),
        Reach::Window48 => add_windows::<N, 3>(voxels, windows, places, views),
        Reach::Window64 | Reach::Any => add_windows::<N, 4>(voxels, windows, places, views),
    }
}

/// Adds views to `16 N` voxels; each vector reads a window of `WINDOW` registers.
#[target_feature(enable = "avx512f,avx2,fma")]
#[inline]
fn add_windows<const N: usize, const WINDOW: usize>(
    voxels: &mut [f32],
    windows: &[Windows; VIEWS_AT_ONCE],
    places: &[ColumnInView],
    views: &[FilteredView],
) {
    assert!(voxels.len() == 16 * N && N <= VECTORS);
    let lane = _mm512_set_ps(15., 14., 13., 12., 11., 10., 9., 8., 7., 6., 5., 4., 3., 2., 1., 0.);
    let one = _mm512_set1_epi32(1);
    let beyond_32 = _mm512_set1_epi32(32);
    let mut sums = [_mm512_setzero_ps(); N];
    for (vector, sum) in sums.iter_mut().enumerate() {
        // SAFETY: `voxels` holds 16 N floats.
        *sum = unsafe { _mm512_loadu_ps(voxels.as_ptr().add(16 * vector)) };
    }
    for ((windows, place), view) in windows.iter().zip(places).zip(views) {
        if !windows.is_seen {
            continue;
        }
        let weight_low = _mm512_set1_ps(place.weight_low);
        let weight_high = _mm512_set1_ps(place.weight_high);
        let lane_rows = _mm512_mul_ps(lane, _mm512_set1_ps(place.v_step));
        // Both detector columns lie inside the samples, whatever the window.
        assert!(place.offset + 2 * view.stride <= view.columns.len());
        let samples = view.columns[place.offset..].as_ptr();
        // SAFETY: windows start from 0 to `PADDING + nv + 1`, see `Windows`, so 16 floats at up to 48 beyond still lie in
        // the column's `nv + 2 PADDING` samples, and two columns of `stride` samples start at `samples`.
        let blended = |start: usize| unsafe {
            let low = _mm512_loadu_ps(samples.add(start));
            let high = _mm512_loadu_ps(samples.add(view.stride + start));
            _mm512_fmadd_ps(weight_high, high, _mm512_mul_ps(weight_low, low))
        };
        for (vector, sum) in sums.iter_mut().enumerate() {
            let window = windows.starts[vector] as usize;
            let relative = _mm512_add_ps(lane_rows, _mm512_set1_ps(windows.fractions[vector]));
            let index = _mm512_cvttps_epi32(relative);
            let next = _mm512_add_epi32(index, one);
            let share = _mm512_sub_ps(relative, _mm512_cvtepi32_ps(index));
            let (a, b) = (blended(window), blended(window + 16));
            let mut near = _mm512_permutex2var_ps(a, index, b);
            let mut far = _mm512_permutex2var_ps(a, next, b);
            let is_far = |index| _mm512_test_epi32_mask(index, beyond_32);
            if WINDOW == 3 {
                let c = blended(window + 32);
                near = _mm512_mask_permutexvar_ps(near, is_far(index), index, c);
                far = _mm512_mask_permutexvar_ps(far, is_far(next), next, c);
            }
            if WINDOW == 4 {
                let (c, d) = (blended(window + 32), blended(window + 48));
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

/// Where the windows of eight vectors along one column begin in one view: from 0, where samples are zeros, for a vector
/// wholly in the zeros, otherwise at a row from `PADDING - 64` to `PADDING + nv + 1`.
#[derive(Clone, Copy)]
struct Windows {
    /// First sample.
    starts: [i32; VECTORS],
    /// The first voxel's row beyond it.
    fractions: [f32; VECTORS],
    /// Whether any vector has samples.
    is_seen: bool,
}

impl Windows {
    const NONE: Self = Self { starts: [0; VECTORS], fractions: [0.0; VECTORS], is_seen: false };

    /// Of the vectors from voxel `along`: all together, for scalar conversions would take as many of the vector units'
    /// cycles as the sums do.
    #[target_feature(enable = "avx512f,avx2,fma")]
    #[inline]
    fn of(place: &ColumnInView, nv: usize, along: usize) -> Self {
        if place.v_step <= 0.0 {
            return Self::NONE;
        }
        let vectors = _mm256_set_ps(112., 96., 80., 64., 48., 32., 16., 0.);
        let voxels = _mm256_add_ps(_mm256_set1_ps(along as f32), vectors);
        let rows = _mm256_mul_ps(_mm256_set1_ps(place.v_step), voxels);
        let rows = _mm256_add_ps(_mm256_set1_ps(place.v_start), rows);
        let first_row = _mm256_set1_ps(PADDING as f32 - 2.0 - 15.0 * place.v_step);
        let last_row = _mm256_set1_ps((PADDING + nv) as f32 + 1.0);
        let is_seen = _mm256_and_ps(
            _mm256_cmp_ps::<_CMP_GT_OQ>(rows, first_row),
            _mm256_cmp_ps::<_CMP_LT_OQ>(rows, last_row),
        );
        let rows = _mm256_and_ps(rows, is_seen);
        let whole = _mm256_cvttps_epi32(rows);
        let mut windows = Self { is_seen: _mm256_movemask_ps(is_seen) != 0, ..Self::NONE };
        // SAFETY: both arrays hold eight values of four bytes.
        unsafe {
            _mm256_storeu_si256(windows.starts.as_mut_ptr().cast(), whole);
            let fractions = _mm256_sub_ps(rows, _mm256_cvtepi32_ps(whole));
            _mm256_storeu_ps(windows.fractions.as_mut_ptr(), fractions);
        }
        windows
    }
}
