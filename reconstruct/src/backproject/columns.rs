//! The fast path: detector columns parallel to voxel columns.
//!
//! Bands of voxel columns go to threads; within a band, tiles of 8 x 8 columns take all views of a block, so
//! that the detector columns they share stay in the cache.

use super::integers::{IntegerView, Sample};
use super::{Backprojector, ColumnLayout, FilteredView, Isa, PADDING};
use super::{columns_avx2, columns_avx512, touched_zeros};
use multiversion::multiversion;
use rayon::prelude::*;

/// Side of a tile, in columns.
const TILE: usize = 8;

/// Binary places of rows in fixed point: exact sums along a column, whatever its blocks, and bits to take a fraction from.
pub(super) const ROW_BITS: u32 = 24;
/// No detector has so many rows; farther ones count as this one, so that sums of them fit.
const FARTHEST_ROW: f64 = 1e6;

/// One voxel column in one view: two detector columns, their weights, and rows along the voxel column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnInView {
    /// Padded row of the first voxel, with [`ROW_BITS`] binary places.
    pub(super) row: i64,
    /// Rows per voxel, likewise; positive where the column is seen.
    pub(super) step: i64,
    /// The first of the two detector columns, counted from the copied border.
    pub(super) column: u32,
    /// Weight of both together: scale over depth squared.
    pub(super) weight: f32,
    /// The second column's share in it.
    pub(super) share: f32,
}

impl ColumnInView {
    /// Rows per voxel, and the padded row of the first voxel.
    pub(super) fn rows(&self) -> [f32; 2] {
        [self.step, self.row].map(|fixed| (fixed as f64 / f64::from(1 << ROW_BITS)) as f32)
    }

    /// Weights of the two columns.
    pub(super) fn weights(&self) -> [f32; 2] {
        [self.weight * (1.0 - self.share), self.weight * self.share]
    }

    /// Samples of the two columns.
    pub(super) fn columns<'a>(&self, view: &'a FilteredView) -> [&'a [f32]; 2] {
        let first = self.column as usize;
        [first, first + 1].map(|column| &view.columns[column * view.stride..][..view.stride])
    }
}

/// The CPU backend for parallel columns.
pub(super) struct Columns {
    layout: ColumnLayout,
    isa: Isa,
    sum: Vec<f32>,
    integers: Integers,
}

impl Columns {
    pub(super) fn new(layout: ColumnLayout, isa: Isa) -> Self {
        assert!(isa.is_available(), "{isa:?} asked for on a CPU without it");
        Self { sum: touched_zeros(layout.len()), layout, isa, integers: Integers::default() }
    }
}

impl Backprojector for Columns {
    fn name(&self) -> String {
        format!("cpu-{}", format!("{:?}", self.isa).to_lowercase())
    }

    fn add(&mut self, views: &[FilteredView]) {
        let (layout, isa) = (&self.layout, self.isa);
        self.integers.fill(isa, views);
        let integers = &self.integers;
        let band = TILE * layout.fast_count() * layout.stride;
        self.sum.par_chunks_mut(band).enumerate().for_each_init(
            || Scratch::new(views),
            |scratch, (index, band)| add_band(layout, isa, (views, integers), index * TILE, band, scratch),
        );
    }

    fn write_sum(&self, values: &mut [f32]) {
        self.layout.write_volume(&self.sum, values);
    }
}

/// The views that are being added, as the vector kernels read them; none for the portable one.
#[derive(Default)]
struct Integers {
    /// For AVX-512.
    words: Vec<IntegerView<i16>>,
    /// For AVX2.
    pairs: Vec<IntegerView<[i16; 2]>>,
}

impl Integers {
    fn fill(&mut self, isa: Isa, views: &[FilteredView]) {
        fn fill<S: Sample>(integers: &mut Vec<IntegerView<S>>, views: &[FilteredView]) {
            integers.resize_with(views.len(), IntegerView::default);
            integers.iter_mut().zip(views).for_each(|(integers, view)| integers.fill(view));
        }
        match isa {
            Isa::Portable => {}
            Isa::Avx2 => fill(&mut self.pairs, views),
            Isa::Avx512 => fill(&mut self.words, views),
        }
    }
}

/// One thread's buffers.
struct Scratch {
    /// `[column of the tile][view]`.
    columns: Vec<ColumnInView>,
    blend: Vec<f32>,
}

impl Scratch {
    fn new(views: &[FilteredView]) -> Self {
        Self {
            columns: vec![ColumnInView::default(); TILE * TILE * views.len()],
            blend: vec![0.0; views.iter().map(|view| view.stride).max().unwrap_or(0)],
        }
    }
}

fn add_band(
    layout: &ColumnLayout,
    isa: Isa,
    (views, integers): (&[FilteredView], &Integers),
    first_slow: usize,
    band: &mut [f32],
    scratch: &mut Scratch,
) {
    let fast_count = layout.fast_count();
    let slow_count = band.len() / (fast_count * layout.stride);
    let length = layout.column_length();
    for first_fast in (0..fast_count).step_by(TILE) {
        let tile_fast = TILE.min(fast_count - first_fast);
        place_tile(layout, views, [first_slow, first_fast], [slow_count, tile_fast], &mut scratch.columns);
        let tile = Tile {
            columns: slow_count * tile_fast,
            side: tile_fast,
            first: first_fast * layout.stride,
            next_row: fast_count * layout.stride,
            stride: layout.stride,
            length,
        };
        let (places, blend) = (&scratch.columns, &mut scratch.blend);
        match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Columns::new` checked that the CPU has the instructions.
            Isa::Avx512 => unsafe {
                columns_avx512::add_tile(band, &tile, places, (views, &integers.words), blend)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2 => unsafe {
                columns_avx2::add_tile(band, &tile, places, (views, &integers.pairs), blend)
            },
            _ => {
                let count = views.len();
                for column in 0..tile.columns {
                    let sum = &mut band[tile.start(column)..][..tile.stride];
                    add_column(sum, length, &places[column * count..][..count], views, blend);
                }
            }
        }
    }
}

/// Where the columns of a tile lie in a band.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) columns: usize,
    /// Columns next to each other.
    pub(super) side: usize,
    /// Offset of the first.
    first: usize,
    /// From one row of columns to the next.
    next_row: usize,
    /// Voxels from one column to the next.
    pub(super) stride: usize,
    /// Voxels of a column that count.
    pub(super) length: usize,
}

impl Tile {
    /// Whether columns next to each other lie farther apart on the detector than those above each other.
    pub(super) fn is_wider_along_rows(&self, detector_column: impl Fn(usize) -> u32) -> bool {
        let from_first = |column: usize| detector_column(column).abs_diff(detector_column(0));
        from_first(self.side - 1) > from_first(self.columns - self.side)
    }

    pub(super) fn start(&self, column: usize) -> usize {
        self.first + column / self.side * self.next_row + column % self.side * self.stride
    }
}

/// One number for each column of a tile.
type PerColumn = [f64; TILE * TILE];

/// Where each column of a tile falls in each view. A column outside a view gets weight zero.
fn place_tile(
    layout: &ColumnLayout,
    views: &[FilteredView],
    first: [usize; 2],
    counts: [usize; 2],
    places: &mut [ColumnInView],
) {
    let step = layout.column_step();
    let columns = counts[0] * counts[1];
    let mut starts = [[0.0; TILE * TILE]; 3];
    for column in 0..columns {
        let start = layout.column_start(first[0] + column / counts[1], first[1] + column % counts[1]);
        for (axis, values) in starts.iter_mut().enumerate() {
            values[column] = start[axis];
        }
    }
    for (index, view) in views.iter().enumerate() {
        let rise = view.p.fixed_view::<1, 3>(1, 0).dot(&step.transpose());
        let in_view = place_in_view(view, &starts, rise);
        for (column, place) in in_view.iter().take(columns).enumerate() {
            places[column * views.len() + index] = *place;
        }
    }
}

/// Where columns fall in a view whose rows rise by `rise` a voxel before division by the depth.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"))]
fn place_in_view(view: &FilteredView, starts: &[PerColumn; 3], rise: f64) -> [ColumnInView; TILE * TILE] {
    let [x, y, z] = starts;
    let p = &view.p;
    let last = view.nu as f64 - 0.5;
    let fixed = |rows: f64| {
        let bounded = rows.clamp(-FARTHEST_ROW, FARTHEST_ROW) * f64::from(1 << ROW_BITS);
        // SAFETY: clamped, and what is no number was left out.
        unsafe { bounded.to_int_unchecked::<i64>() }
    };
    let mut places = [ColumnInView::default(); TILE * TILE];
    // In short rows of plain loops, so that they become vectors.
    const LANES: usize = 8;
    for first in (0..TILE * TILE).step_by(LANES) {
        let (mut row, mut step) = ([0_i64; LANES], [0_i64; LANES]);
        let (mut column, mut weight, mut share) = ([0_u32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        for lane in 0..LANES {
            let (x, y, z) = (x[first + lane], y[first + lane], z[first + lane]);
            let row_of_p = |row: usize| p[(row, 0)] * x + p[(row, 1)] * y + p[(row, 2)] * z + p[(row, 3)];
            let inverse_depth = 1.0 / row_of_p(2);
            let (u, v) = (row_of_p(0) * inverse_depth, row_of_p(1) * inverse_depth);
            // A column outside the view gets a step of zero, and with it no part of the view.
            let is_seen = u >= -0.5 && u <= last && v.is_finite();
            let (u, v) = (if is_seen { u + 1.0 } else { 0.0 }, if is_seen { v } else { 0.0 });
            let whole = u.floor();
            row[lane] = fixed(v + PADDING as f64);
            step[lane] = if is_seen { fixed(rise * inverse_depth) } else { 0 };
            // SAFETY: from 0 to the view's width.
            column[lane] = unsafe { whole.to_int_unchecked::<i32>() } as u32;
            weight[lane] = (view.scale * inverse_depth * inverse_depth) as f32;
            share[lane] = (u - whole) as f32;
        }
        for (lane, place) in places[first..][..LANES].iter_mut().enumerate() {
            *place = ColumnInView {
                row: row[lane],
                step: step[lane],
                column: column[lane],
                weight: weight[lane],
                share: share[lane],
            };
        }
    }
    places
}

/// Blends the two detector columns where the voxel column needs them, then reads along.
#[inline(always)]
pub(super) fn add_column(
    sum: &mut [f32],
    length: usize,
    places: &[ColumnInView],
    views: &[FilteredView],
    blend: &mut [f32],
) {
    for (place, view) in places.iter().zip(views) {
        if place.step <= 0 {
            continue;
        }
        let (low, high) = visible(place, view.nv, length);
        if low >= high {
            continue;
        }
        let [step, start] = place.rows();
        let row = |along: usize| step.mul_add_plain(along as f32, start);
        let (first_row, last_row) = (row(low) as usize, row(high - 1) as usize + 1);
        let [a, b] = place.columns(view).map(|column| &column[first_row..=last_row]);
        let [weight_low, weight_high] = place.weights();
        let blended = &mut blend[..=last_row - first_row];
        for ((out, a), b) in blended.iter_mut().zip(a).zip(b) {
            *out = weight_low * a + weight_high * b;
        }
        for (along, voxel) in sum.iter_mut().enumerate().take(high).skip(low) {
            let v = row(along);
            // Rows lie between 0 and a few thousand here, so the cheap conversion is exact.
            let whole = v as i32;
            let share = v - whole as f32;
            let pair = &blended[whole as usize - first_row..][..2];
            *voxel += pair[0] + share * (pair[1] - pair[0]);
        }
    }
}

/// Voxels of a column that fall on rows with samples: from one row beyond the copied border to the other.
pub(super) fn visible(place: &ColumnInView, nv: usize, length: usize) -> (usize, usize) {
    let first = PADDING as f32 - 2.0;
    let last = (PADDING + nv) as f32 + 1.0;
    let [step, start] = place.rows();
    let low = ((first - start) / step).ceil().max(0.0);
    let high = ((last - start) / step).ceil().min(length as f32);
    if high > low { (low as usize, high as usize) } else { (0, 0) }
}

/// Multiplication and addition rounded apart, so that every instruction set computes the same rows.
trait MulAddPlain {
    fn mul_add_plain(self, factor: f32, summand: f32) -> f32;
}

impl MulAddPlain for f32 {
    #[inline(always)]
    fn mul_add_plain(self, factor: f32, summand: f32) -> f32 {
        self * factor + summand
    }
}
