//! The order in which the kernels on 16-bit integers add views to a tile, and what they share.
//!
//! Their sums are the same to the last bit: rows and what is read of a detector column are integers, and each voxel adds
//! its views in order, of each view the lower column first.
#![cfg(target_arch = "x86_64")]

use super::columns::{self, ColumnInView, ROW_BITS, Tile};
use super::integers::{IntegerView, Sample};
use super::{FilteredView, PADDING};

/// Views that a tile takes at once: what neighbouring columns read of them, some 5 KB of each, stays in a first cache.
const VIEWS_AT_ONCE: usize = 4;
/// Rows per voxel beyond which the portable kernel takes over.
pub(super) const COARSE_STEP: i64 = rows(4.1);

/// Rows in fixed point.
pub(super) const fn rows(count: f64) -> i64 {
    (count * (1 << ROW_BITS) as f64) as i64
}

/// What some voxels of a column read of a view.
pub(super) struct Reading<'a, S> {
    /// Row of the first of them, and rows per voxel, in fixed point.
    pub(super) first: i64,
    pub(super) step: i64,
    /// The two detector columns.
    pub(super) columns: [&'a [S]; 2],
    /// What a blend of two rows counts in either: 15 bits of a sample by 15 of a weight.
    pub(super) scales: [f32; 2],
    /// The last sample that a window may begin at.
    pub(super) last_start: i64,
}

impl<'a, S: Sample> Reading<'a, S> {
    /// Of `voxels` voxels from `along`; none where they see only zeros.
    #[inline(always)]
    pub(super) fn of(
        place: &ColumnInView,
        view: &'a IntegerView<S>,
        along: usize,
        voxels: usize,
    ) -> Option<Self> {
        let step = place.step;
        let first = place.row + along as i64 * step;
        let last_start = (PADDING + view.nv + 1) as i64;
        let end = first + voxels as i64 * step;
        if end < (PADDING as i64 - 2) << ROW_BITS || first > last_start << ROW_BITS || step <= 0 {
            return None;
        }
        let low = place.column as usize;
        let [weight_low, weight_high] = place.weights();
        Some(Self {
            first,
            step,
            columns: [view.column(low), view.column(low + 1)],
            scales: [weight_low * view.unit[low], weight_high * view.unit[low + 1]],
            last_start,
        })
    }
}

/// Where the window of a vector whose first voxel lies at `row` begins: from 0, where samples are zeros, to
/// `PADDING + nv + 1`, from where on they are again, so that `PADDING - 1` more lie in [`Reading::columns`].
#[inline(always)]
pub(super) fn window_start(row: i64, last_start: i64) -> usize {
    (row >> ROW_BITS).clamp(0, last_start) as usize
}

/// The part of a row between samples, in fixed point.
#[inline(always)]
pub(super) fn between_samples(row: i64) -> i32 {
    row as i32 & ((1 << ROW_BITS) - 1)
}

/// Repeats a block for each vector: a loop that the compiler leaves as one would keep the sums in memory.
macro_rules! unroll {
    ($n:ident, $vector:ident => $body:block) => {
        unroll!(@ $n, $vector, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $n:ident, $vector:ident, $body:block, $($index:literal)*) => {
        $( if $index < $n { let $vector: usize = $index; $body } )*
    };
}
pub(super) use unroll;

/// Adds every view to a tile of voxel columns; `places` is `[column][view]`.
///
/// `add_views` adds a few views to at most `voxels_at_once` voxels from the column's voxel `along`, given as `voxels`,
/// `along`, places and views. The tile takes these few views before the next few, and columns one after the other that
/// share samples, so that these come from the first cache.
#[inline(always)]
pub(super) fn add_tile<S: Sample>(
    band: &mut [f32],
    tile: &Tile,
    places: &[ColumnInView],
    views: (&[FilteredView], &[IntegerView<S>]),
    blend: &mut [f32],
    voxels_at_once: usize,
    add_views: impl Fn(&mut [f32], usize, &[ColumnInView], &[IntegerView<S>]),
) {
    let (filtered, integers) = views;
    let count = integers.len();
    let is_coarse =
        |column: usize| places[column * count..][..count].iter().any(|place| place.step > COARSE_STEP);
    let (coarse, fine): (Vec<usize>, Vec<usize>) = (0..tile.columns).partition(|&column| is_coarse(column));
    let above_each_other = (0..tile.side).flat_map(|first| (first..tile.columns).step_by(tile.side));
    let across: Vec<usize> = above_each_other.filter(|column| !coarse.contains(column)).collect();
    for column in coarse {
        let sum = &mut band[tile.start(column)..][..tile.stride];
        for (index, place) in places[column * count..][..count].iter().enumerate() {
            let place = std::slice::from_ref(place);
            if place[0].step > COARSE_STEP {
                columns::add_column(sum, tile.length, place, &filtered[index..=index], blend);
            } else {
                for (part, voxels) in sum.chunks_mut(voxels_at_once).enumerate() {
                    add_views(voxels, part * voxels_at_once, place, &integers[index..=index]);
                }
            }
        }
    }
    for along in (0..tile.stride).step_by(voxels_at_once) {
        let voxels_here = voxels_at_once.min(tile.stride - along);
        for (group, views_at_once) in integers.chunks(VIEWS_AT_ONCE).enumerate() {
            let first_view = group * VIEWS_AT_ONCE;
            let detector_column = |column: usize| places[column * count + first_view].column;
            for &column in if tile.is_wider_along_rows(detector_column) { &across } else { &fine } {
                let places = &places[column * count + first_view..][..views_at_once.len()];
                let voxels = &mut band[tile.start(column) + along..][..voxels_here];
                add_views(voxels, along, places, views_at_once);
            }
        }
    }
}
