//! The transpose of the projection: every ray gives its value to the voxels that it samples, with the same weights.
//!
//! Slices of the main axis go to threads, so that each voxel has one writer; it adds its views in the order given, and
//! its lines in theirs, whatever the number of threads. Where a line of rays runs through the same two columns, it is
//! first brought onto voxels along the columns and then shared between the two; other rays give to four voxels at a
//! time.

use super::aligned::AlignedLine;
use super::columns::{ColumnGrid, ColumnVolume, PADDING};
use super::forward::{Corners, column_offset, push_line};
use super::rays::{Group, ViewRays};
use super::{DetectorRegion, LANES, adjoint_avx2, adjoint_avx512};
use crate::backproject::Isa;
use rayon::prelude::*;

/// Slices that one thread takes together: a line's values stay in the cache meanwhile.
const SLICES: usize = 8;
/// Views that are prepared together.
const VIEWS: usize = 8;
/// Zeros before and after a line's values.
pub(super) const MARGIN: usize = 24;

/// An image to be given back to the volume: values `[line][lane]` of a view's region.
pub(super) struct Lines<'a> {
    pub(super) rays: ViewRays,
    pub(super) region: DetectorRegion,
    pub(super) values: std::borrow::Cow<'a, [f32]>,
}

/// Adds the transposed projection of all images to `volume`.
pub(super) fn add(grid: &ColumnGrid, volume: &mut ColumnVolume, images: &[Lines<'_>], isa: Isa) {
    for images in images.chunks(VIEWS) {
        let views: Vec<Prepared> = images.iter().map(|image| Prepared::new(grid, image)).collect();
        let sink = Sink { values: volume.values.as_mut_ptr(), len: volume.values.len() };
        for main in 0..3 {
            if views.iter().all(|view| !view.has_main(main)) {
                continue;
            }
            (0..grid.counts[main].div_ceil(SLICES)).into_par_iter().for_each_init(
                || vec![0.0; grid.counts[2] + 2 * MARGIN],
                |column, block| {
                    let slices = block * SLICES..((block + 1) * SLICES).min(grid.counts[main]);
                    for view in &views {
                        view.add_lines(grid, main, slices.clone(), isa, column, &sink);
                        view.add_groups(grid, main, slices.clone(), &sink);
                    }
                },
            );
        }
    }
}

/// The volume, written by several threads in different slices.
struct Sink {
    values: *mut f32,
    len: usize,
}

// SAFETY: `add` gives every thread slices of its own along one main axis, and `Sink` is written only in these.
unsafe impl Sync for Sink {}

impl Sink {
    /// # Safety
    /// No other thread may hold a part of this range: it belongs to slices of the calling thread.
    #[allow(clippy::mut_from_ref, reason = "threads write disjoint slices of the volume behind the pointer")]
    unsafe fn slice(&self, offset: usize, count: usize) -> &mut [f32] {
        assert!(offset + count <= self.len);
        // SAFETY: inside the volume, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(offset), count) }
    }
}

/// Rays and their values, scaled by the path between slices.
type ScaledGroup = (Group, [f32; LANES]);

/// A view whose values are scaled by each ray's path between slices.
struct Prepared {
    /// Lines through the same columns, with their values in `values` at `index * stride + MARGIN`.
    aligned: Vec<(usize, AlignedLine)>,
    values: Vec<f32>,
    stride: usize,
    /// Everything else.
    groups: Vec<ScaledGroup>,
}

impl Prepared {
    fn new(grid: &ColumnGrid, image: &Lines<'_>) -> Self {
        let [count, length] = image.rays.shape(image.region);
        let stride = length + 2 * MARGIN;
        let mut values = vec![0.0; count * stride];
        let lines: Vec<(Option<AlignedLine>, Vec<ScaledGroup>)> = values
            .par_chunks_mut(stride)
            .enumerate()
            .map(|(index, scaled)| {
                let line = &image.values[index * length..][..length];
                match AlignedLine::new(grid, &image.rays, image.region, index) {
                    Some(aligned) => {
                        aligned.scale(
                            &image.rays,
                            image.region,
                            index,
                            line,
                            &mut scaled[MARGIN..][..length],
                        );
                        (Some(aligned), Vec::new())
                    }
                    None => (None, scaled_groups(grid, image, index, line)),
                }
            })
            .collect();
        let mut prepared = Self { aligned: Vec::new(), values, stride, groups: Vec::new() };
        for (index, (aligned, groups)) in lines.into_iter().enumerate() {
            prepared.aligned.extend(aligned.map(|line| (index, line)));
            prepared.groups.extend(groups);
        }
        prepared
    }

    fn has_main(&self, axis: usize) -> bool {
        self.aligned.iter().any(|(_, line)| line.main.axis == axis)
            || self.groups.iter().any(|(group, _)| group.main.axis == axis)
    }

    fn add_lines(
        &self,
        grid: &ColumnGrid,
        main: usize,
        slices: std::ops::Range<usize>,
        isa: Isa,
        column: &mut [f32],
        sink: &Sink,
    ) {
        let length = self.stride - 2 * MARGIN;
        for (index, line) in self.aligned.iter().filter(|(_, line)| line.main.axis == main) {
            let values = &self.values[index * self.stride..][..self.stride];
            for slice in slices.clone() {
                let Some(cut) = line.cut(grid, slice, length) else { continue };
                let sides = [cut.column, cut.column + 1];
                if isa == Isa::Avx512 {
                    let columns = sides.map(|across| {
                        if !(0..grid.counts[line.main.others()[0]] as isize).contains(&across) {
                            return &mut [][..];
                        }
                        let start = column_offset(grid, main, slice as u32, across) + cut.voxels.start;
                        // SAFETY: a column of a slice of this thread; the two are different columns.
                        unsafe { sink.slice(start, cut.voxels.len()) }
                    });
                    if adjoint_avx512::give(values, &cut, columns) {
                        continue;
                    }
                }
                // Values on voxels `cut.voxels` of the two columns together.
                if isa == Isa::Portable || !adjoint_avx2::gather(values, &cut, column) {
                    scatter(&values[MARGIN..][..length], &cut, column);
                }
                for (across, share) in sides.into_iter().zip([1.0 - cut.share, cut.share]) {
                    if !(0..grid.counts[line.main.others()[0]] as isize).contains(&across) {
                        continue;
                    }
                    let start = column_offset(grid, main, slice as u32, across) + cut.voxels.start;
                    // SAFETY: a column of a slice of this thread.
                    let voxels = unsafe { sink.slice(start, cut.voxels.len()) };
                    for (voxel, value) in voxels.iter_mut().zip(&column[MARGIN + cut.voxels.start..]) {
                        *voxel += share * value;
                    }
                }
            }
        }
    }

    fn add_groups(&self, grid: &ColumnGrid, main: usize, slices: std::ops::Range<usize>, sink: &Sink) {
        for (group, values) in self.groups.iter().filter(|(group, _)| group.main.axis == main) {
            let start = slices.start.max(group.any.start as usize);
            for slice in start..slices.end.min(group.any.end as usize) {
                for (lane, value) in values.iter().enumerate() {
                    if group.rays[lane].is_some()
                        && let Some(corners) = Corners::of(grid, group, slice as u32, lane)
                    {
                        corners.give(*value, sink);
                    }
                }
            }
        }
    }
}

fn scaled_groups(grid: &ColumnGrid, image: &Lines<'_>, index: usize, line: &[f32]) -> Vec<ScaledGroup> {
    let mut groups = Vec::new();
    push_line(grid, &image.rays, image.region, index, &mut groups);
    let scaled = |group: Group| {
        let values = std::array::from_fn(|lane| {
            group.rays[lane].map_or(0.0, |ray| line[ray as usize] * group.step_mm[lane])
        });
        (group, values)
    };
    groups.into_iter().map(scaled).collect()
}

/// A line of rays in one slice: value `i` lies at voxel `start + i * step` (positive) of the columns `column` and the
/// next, which it gives to by `1 - share` and `share`.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) start: f64,
    pub(super) step: f64,
    pub(super) column: isize,
    pub(super) share: f32,
    /// Voxels that some value gives to.
    pub(super) voxels: std::ops::Range<usize>,
}

/// Brings a line's values onto the voxels of `column` (voxel 0 at [`MARGIN`]), one value after the other.
fn scatter(values: &[f32], cut: &Cut, column: &mut [f32]) {
    let count = column.len() as f64 - 2.0 * MARGIN as f64;
    column[MARGIN + cut.voxels.start..MARGIN + cut.voxels.end].fill(0.0);
    let first = ((-1.0 - cut.start) / cut.step).ceil().max(0.0);
    let end = ((count - cut.start) / cut.step).ceil().clamp(0.0, values.len() as f64);
    for (index, value) in values.iter().enumerate().take(end as usize).skip(first as usize) {
        let place = cut.start + index as f64 * cut.step;
        let whole = place.floor();
        let share = (place - whole) as f32;
        let at = (whole + MARGIN as f64) as usize;
        column[at] += (1.0 - share) * value;
        column[at + 1] += share * value;
    }
}

impl Corners {
    /// Adds the value to the four voxels, but for those of the border.
    #[inline(always)]
    fn give(&self, value: f32, sink: &Sink) {
        let [a, b] = self.strides;
        let shares = |axis: usize| [1.0 - self.shares[axis], self.shares[axis]];
        for (far_a, share_a) in shares(0).into_iter().enumerate() {
            for (far_b, share_b) in shares(1).into_iter().enumerate() {
                if self.inside[0][far_a] && self.inside[1][far_b] {
                    // SAFETY: a voxel of a slice of this thread.
                    unsafe {
                        sink.slice(self.offset + far_a * a + far_b * b, 1)[0] += share_a * share_b * value
                    };
                }
            }
        }
    }
}

const _: () = assert!(PADDING >= MARGIN, "a column's values fit the same border");
