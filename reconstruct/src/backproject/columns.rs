//! The fast path: detector columns parallel to voxel columns.
//!
//! Bands of voxel columns go to threads; within a band, tiles of 8 x 8 columns take all views of a block, so
//! that the detector columns they share stay in the cache.

use super::{Backprojector, ColumnLayout, FilteredView, Isa, PADDING};
use super::{columns_avx2, columns_avx512, touched_zeros};
use multiversion::multiversion;
use nalgebra::Matrix3x4;
use rayon::prelude::*;

/// Side of a tile, in columns.
const TILE: usize = 8;

/// One voxel column in one view: two detector columns, their weights, and `v` along the voxel column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnInView {
    /// Offset of the first detector column in the view's samples; the second follows at `stride`.
    pub(super) offset: usize,
    /// Weight of the first column: interpolation times scale over depth squared.
    pub(super) weight_low: f32,
    /// Weight of the second column.
    pub(super) weight_high: f32,
    /// Padded row of the first voxel.
    pub(super) v_start: f32,
    /// Rows per voxel, positive.
    pub(super) v_step: f32,
}

/// The CPU backend for parallel columns.
pub(super) struct Columns {
    layout: ColumnLayout,
    isa: Isa,
    sum: Vec<f32>,
}

impl Columns {
    pub(super) fn new(layout: ColumnLayout, isa: Isa) -> Self {
        assert!(isa.is_available(), "{isa:?} asked for on a CPU without it");
        Self { sum: touched_zeros(layout.len()), layout, isa }
    }
}

impl Backprojector for Columns {
    fn name(&self) -> String {
        format!("cpu-{}", format!("{:?}", self.isa).to_lowercase())
    }

    fn add(&mut self, views: &[FilteredView]) {
        let (layout, isa) = (&self.layout, self.isa);
        let band = TILE * layout.fast_count() * layout.stride;
        self.sum.par_chunks_mut(band).enumerate().for_each_init(
            || Scratch::new(views),
            |scratch, (index, band)| add_band(layout, isa, views, index * TILE, band, scratch),
        );
    }

    fn write_sum(&self, values: &mut [f32]) {
        self.layout.write_volume(&self.sum, values);
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
    views: &[FilteredView],
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
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 {
            // SAFETY: `Columns::new` checked that the CPU has the instructions.
            unsafe {
                columns_avx512::add_tile(band, &tile, &scratch.columns, views, &mut scratch.blend);
            }
            continue;
        }
        for column in 0..tile.columns {
            let sum = &mut band[tile.start(column)..][..tile.stride];
            let places = &scratch.columns[column * views.len()..][..views.len()];
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx2 => unsafe {
                    columns_avx2::add_column(sum, length, places, views, &mut scratch.blend)
                },
                _ => add_column(sum, length, places, views, &mut scratch.blend),
            }
        }
    }
}

/// Where the columns of a tile lie in a band.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) columns: usize,
    /// Columns next to each other.
    side: usize,
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
        let image = image_points(&view.p, &starts);
        for column in 0..columns {
            let [u, v, inverse_depth] = [0, 1, 2].map(|value| image[value][column]);
            places[column * views.len() + index] = place_column(view, u, v, inverse_depth, rise);
        }
    }
}

/// Column, row and reciprocal depth of points.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl", "x86_64+avx2"))]
fn image_points(p: &Matrix3x4<f64>, points: &[PerColumn; 3]) -> [PerColumn; 3] {
    let [x, y, z] = points;
    let mut image = [[0.0; TILE * TILE]; 3];
    for column in 0..TILE * TILE {
        let row = |row: usize| {
            p[(row, 0)] * x[column] + p[(row, 1)] * y[column] + p[(row, 2)] * z[column] + p[(row, 3)]
        };
        let inverse_depth = 1.0 / row(2);
        image[0][column] = row(0) * inverse_depth;
        image[1][column] = row(1) * inverse_depth;
        image[2][column] = inverse_depth;
    }
    image
}

#[inline]
fn place_column(view: &FilteredView, u: f64, v: f64, inverse_depth: f64, rise: f64) -> ColumnInView {
    if !(u >= -0.5 && u <= view.nu as f64 - 0.5) {
        return ColumnInView::default();
    }
    // The floor, without the call that it is where the instruction set may lack one.
    let whole = u as i64;
    let first = whole - i64::from(u < whole as f64);
    let share = u - first as f64;
    let weight = view.scale * inverse_depth * inverse_depth;
    ColumnInView {
        offset: (first + 1) as usize * view.stride,
        weight_low: (weight * (1.0 - share)) as f32,
        weight_high: (weight * share) as f32,
        v_start: (v + PADDING as f64) as f32,
        v_step: (rise * inverse_depth) as f32,
    }
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
        if place.v_step <= 0.0 {
            continue;
        }
        let (low, high) = visible(place, view.nv, length);
        if low >= high {
            continue;
        }
        let row = |along: usize| place.v_step.mul_add_plain(along as f32, place.v_start);
        let (first_row, last_row) = (row(low) as usize, row(high - 1) as usize + 1);
        let a = &view.columns[place.offset + first_row..=place.offset + last_row];
        let b = &view.columns[place.offset + view.stride + first_row..=place.offset + view.stride + last_row];
        let blended = &mut blend[..=last_row - first_row];
        for ((out, a), b) in blended.iter_mut().zip(a).zip(b) {
            *out = place.weight_low * a + place.weight_high * b;
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
    let low = ((first - place.v_start) / place.v_step).ceil().max(0.0);
    let high = ((last - place.v_start) / place.v_step).ceil().min(length as f32);
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
