//! Casts the rays of a view: blocks of detector lines go to threads, and within a block slices are taken in runs, so
//! that the columns that neighbouring lines share stay in the cache.

use super::aligned::AlignedLine;
use super::columns::{ColumnGrid, ColumnVolume, PADDING};
use super::rays::{Group, Main, Reading, ViewRays, push_groups};
use super::{DetectorRegion, LANES, forward_avx2, forward_avx512};
use crate::backproject::Isa;
use rayon::prelude::*;
use std::ops::Range;

/// Detector lines that one thread casts together.
const LINES: usize = 8;
/// Slices in a run.
pub(super) const RUN: u32 = 32;

/// Rows that a window of sixteen samples holds with the next row of each of sixteen rays.
const PAIR_SPAN: f32 = 13.97;
/// The same for a window of 32.
const PAIR_WIDE_SPAN: f32 = 29.97;

/// Where the two columns that rays lie between start, and the share of the second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Offset of voxel 0 of the first column.
    pub(super) offset: usize,
    pub(super) share: f32,
}

/// Fills `image`, `[line][lane]`, with line integrals.
pub(super) fn project(
    grid: &ColumnGrid,
    volume: &ColumnVolume,
    view: &ViewRays,
    region: DetectorRegion,
    isa: Isa,
    image: &mut [f32],
) {
    let [_, length] = view.shape(region);
    image.par_chunks_mut(length * LINES).enumerate().for_each_init(Vec::new, |groups, (block, image)| {
        groups.clear();
        let line_ends: Vec<usize> = (0..image.len() / length)
            .map(|line| {
                push_line(grid, view, region, block * LINES + line, groups);
                groups.len()
            })
            .collect();
        let mut sums = vec![[0.0_f32; LANES]; groups.len()];
        cast(grid, volume, groups, &line_ends, isa, &mut sums);
        image.fill(0.0);
        let mut start = 0;
        for (line, end) in image.chunks_exact_mut(length).zip(line_ends) {
            for (group, sum) in groups[start..end].iter().zip(&sums[start..end]) {
                for ((ray, sum), step_mm) in group.rays.iter().zip(sum).zip(&group.step_mm) {
                    if let Some(ray) = ray {
                        line[*ray as usize] = sum * step_mm;
                    }
                }
            }
            start = end;
        }
    });
}

/// Appends all groups of a line.
pub(super) fn push_line(
    grid: &ColumnGrid,
    view: &ViewRays,
    region: DetectorRegion,
    line: usize,
    groups: &mut Vec<Group>,
) {
    if let Some(aligned) = AlignedLine::new(grid, view, region, line) {
        return aligned.push_groups(grid, view, region, line, groups);
    }
    let start = groups.len();
    for first in (0..view.shape(region)[1]).step_by(LANES) {
        push_groups(grid, view, region, line, first, groups);
    }
    for index in start + 1..groups.len() {
        let (before, rest) = groups.split_at_mut(index);
        rest[0].share_columns_of(&before[index - 1]);
    }
}

/// Slices are taken in runs; within a run, groups at the same place of neighbouring lines follow each other, because they
/// read the same voxels.
fn cast(
    grid: &ColumnGrid,
    volume: &ColumnVolume,
    groups: &[Group],
    line_ends: &[usize],
    isa: Isa,
    sums: &mut [[f32; LANES]],
) {
    let last = groups.iter().map(|group| group.any.end).max().unwrap_or(0);
    let caster = Caster { grid, volume, isa };
    let mut tables: Vec<PlaceTable> = line_ends.iter().map(|_| PlaceTable::default()).collect();
    let order = order(groups, line_ends, isa);
    for start in (0..last).step_by(RUN as usize) {
        let run = start..start + RUN;
        for piece in &order {
            let table = &mut tables[piece.line];
            let first = piece.first;
            match &piece.pair {
                Some(pair) => {
                    let (sum_a, sum_b) = sums[first..first + 2].split_at_mut(1);
                    let both = [&groups[first], &groups[first + 1]];
                    caster.add_pair(pair, both, &run, table, [&mut sum_a[0], &mut sum_b[0]]);
                }
                None => caster.add(&groups[first], &run, &run, table, &mut sums[first]),
            }
        }
    }
}

/// What is cast at once: a group of a line, or two.
struct Piece {
    /// Index of the group; that of a pair's other follows.
    first: usize,
    line: usize,
    pair: Option<Pair>,
}

/// The pieces of all lines: the first of each line, the second of each, and so on.
fn order(groups: &[Group], line_ends: &[usize], isa: Isa) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(groups.len());
    let mut line_start = 0;
    for (line, end) in line_ends.iter().enumerate() {
        let (mut first, mut place) = (line_start, 0);
        while first < *end {
            let has_next = isa == Isa::Avx512 && first + 1 < *end;
            let pair = if has_next { Pair::new(&groups[first], &groups[first + 1]) } else { None };
            let taken = if pair.is_some() { 2 } else { 1 };
            pieces.push((place, Piece { first, line, pair }));
            (first, place) = (first + taken, place + 1);
        }
        line_start = *end;
    }
    pieces.sort_by_key(|(place, _)| *place);
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

/// Two groups of a line whose sixteen rays are read together.
struct Pair {
    /// Slices in which both may be read.
    slices: Range<u32>,
    /// Sixteen samples do not hold all rows.
    is_wide: bool,
}

impl Pair {
    fn new(low: &Group, high: &Group) -> Option<Self> {
        let is_aligned = |group: &Group| matches!(group.reading, Reading::Aligned { .. });
        let slices = meet(&low.all, &high.all);
        let has_same_columns = low.main == high.main
            && low.across[0] == high.across[0]
            && low.across_step[0] == high.across_step[0];
        if !(is_aligned(low) && is_aligned(high) && has_same_columns) || slices.is_empty() {
            return None;
        }
        let mut span = 0.0_f32;
        for slice in [slices.start, slices.end - 1].map(|slice| slice as f32) {
            let row = |group: &Group, lane: usize| slice.mul_add(group.along_step[lane], group.along[lane]);
            let rows = [row(low, 0), row(low, LANES - 1), row(high, 0), row(high, LANES - 1)];
            if rows[0] > rows[2] || rows[1] > rows[3] {
                return None;
            }
            span = span.max(rows[3] - rows[0]);
        }
        (span <= PAIR_WIDE_SPAN).then_some(Self { slices, is_wide: span > PAIR_SPAN })
    }
}

/// Casts groups through one volume.
struct Caster<'a> {
    grid: &'a ColumnGrid,
    volume: &'a ColumnVolume,
    isa: Isa,
}

impl Caster<'_> {
    /// Adds the samples of a group in `slices` of a run.
    fn add(
        &self,
        group: &Group,
        run: &Range<u32>,
        slices: &Range<u32>,
        table: &mut PlaceTable,
        sum: &mut [f32; LANES],
    ) {
        let Self { grid, volume, isa } = *self;
        let any = meet(&group.any, slices);
        if any.is_empty() {
            return;
        }
        let all = if isa == Isa::Portable { any.start..any.start } else { meet(&group.all, &any) };
        if all.is_empty() {
            return add_single(grid, volume, group, any, sum);
        }
        add_single(grid, volume, group, any.start..all.start, sum);
        table.fill(grid, group, run);
        forward_avx2::add_windows(grid, volume, group, table, all.clone(), sum);
        add_single(grid, volume, group, all.end..any.end, sum);
    }

    /// Adds the samples of two groups in a run, together where both allow it.
    fn add_pair(
        &self,
        pair: &Pair,
        groups: [&Group; 2],
        run: &Range<u32>,
        table: &mut PlaceTable,
        sums: [&mut [f32; LANES]; 2],
    ) {
        let both = meet(&pair.slices, run);
        let [sum_a, sum_b] = sums;
        let alone = if both.is_empty() {
            [run.clone(), run.end..run.end]
        } else {
            [run.start..both.start, both.end..run.end]
        };
        let [before, after] = &alone;
        self.add(groups[0], run, before, table, sum_a);
        self.add(groups[1], run, before, table, sum_b);
        if !both.is_empty() {
            table.fill(self.grid, groups[0], run);
            let column = self.grid.strides[usize::from(groups[0].main.axis == 0)];
            let places = table.of_slices(&both);
            let sums = [&mut *sum_a, &mut *sum_b];
            let values = &self.volume.values;
            forward_avx512::add_pair(values, column, groups, pair.is_wide, places, both.start, sums);
        }
        self.add(groups[0], run, after, table, sum_a);
        self.add(groups[1], run, after, table, sum_b);
    }
}

fn meet(a: &Range<u32>, b: &Range<u32>) -> Range<u32> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// Places of aligned rays in each slice of a run; neighbouring groups share them.
#[derive(Default)]
pub(super) struct PlaceTable {
    of: Option<(usize, f32, f32, u32)>,
    first: u32,
    places: Vec<Place>,
}

impl PlaceTable {
    /// Places of the given slices of the run.
    pub(super) fn of_slices(&self, slices: &Range<u32>) -> &[Place] {
        let first = (slices.start - self.first) as usize;
        &self.places[first..first + slices.len()]
    }

    pub(super) fn fill(&mut self, grid: &ColumnGrid, group: &Group, run: &Range<u32>) {
        let wanted = Some((group.main.axis, group.across[0], group.across_step[0], run.start));
        if !matches!(group.reading, Reading::Aligned { .. }) || self.of == wanted {
            return;
        }
        self.of = wanted;
        self.first = run.start;
        self.places.clear();
        let count = grid.counts[group.main.others()[0]] as isize;
        self.places.extend(run.clone().map(|slice| {
            let across = slice as f32 * group.across_step[0] + group.across[0];
            // Slices in which the rays are outside are never read; their places stay within the border.
            let column = (across.floor() as isize).clamp(-1, count - 1);
            Place {
                offset: column_offset(grid, group.main.axis, slice, column),
                share: across - column as f32,
            }
        }));
    }
}

/// Offset of voxel 0 of column `across` in a slice of main axis 0 or 1.
#[inline(always)]
pub(super) fn column_offset(grid: &ColumnGrid, main: usize, slice: u32, across: isize) -> usize {
    if main == 0 { grid.offset(slice as isize, across, 0) } else { grid.offset(across, slice as isize, 0) }
}

/// Any ray anywhere: one sample after the other, each tested against the volume's bounds.
pub(super) fn add_single(
    grid: &ColumnGrid,
    volume: &ColumnVolume,
    group: &Group,
    slices: Range<u32>,
    sum: &mut [f32; LANES],
) {
    for slice in slices {
        for (lane, sum) in sum.iter_mut().enumerate() {
            if let Some(corners) = Corners::of(grid, group, slice, lane) {
                *sum += corners.sample(&volume.values);
            }
        }
    }
}

/// The four voxels around a sample in its slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Corners {
    pub(super) offset: usize,
    /// From the near to the far voxel along the first and the second of the other axes.
    pub(super) strides: [usize; 2],
    pub(super) shares: [f32; 2],
    /// Whether the near and the far voxel are of the volume, per axis; the others are zeros of the border.
    pub(super) inside: [[bool; 2]; 2],
}

impl Corners {
    /// None for a sample a voxel or more outside.
    #[inline(always)]
    pub(super) fn of(grid: &ColumnGrid, group: &Group, slice: u32, lane: usize) -> Option<Self> {
        let along_main = slice as f32;
        let across = along_main * group.across_step[lane] + group.across[lane];
        let along = along_main * group.along_step[lane] + group.along[lane];
        Self::at(grid, group.main, slice, [f64::from(across), f64::from(along)])
    }

    /// The same for a place along the two axes of the slices.
    #[inline(always)]
    pub(super) fn at(grid: &ColumnGrid, main: Main, slice: u32, place: [f64; 2]) -> Option<Self> {
        let [a, b] = main.others();
        let is_near = |place: f64, axis: usize| place > -1.0 && place < grid.counts[axis] as f64;
        if !(is_near(place[0], a) && is_near(place[1], b)) {
            return None;
        }
        let strides = [grid.strides[0], grid.strides[1], 1];
        let whole = place.map(f64::floor);
        let base = PADDING as isize + (grid.strides[0] + grid.strides[1]) as isize;
        let offset = base
            + slice as isize * strides[main.axis] as isize
            + whole[0] as isize * strides[a] as isize
            + whole[1] as isize * strides[b] as isize;
        let inside = |whole: f64, axis: usize| [whole >= 0.0, whole + 1.0 < grid.counts[axis] as f64];
        Some(Self {
            inside: [inside(whole[0], a), inside(whole[1], b)],
            offset: offset as usize,
            strides: [strides[a], strides[b]],
            shares: [(place[0] - whole[0]) as f32, (place[1] - whole[1]) as f32],
        })
    }

    #[inline(always)]
    pub(super) fn sample(&self, values: &[f32]) -> f32 {
        let [near, far] = self.values(values).map(|[low, high]| low + self.shares[1] * (high - low));
        near + self.shares[0] * (far - near)
    }

    /// Near and far along the first axis, in each near and far along the second.
    #[inline(always)]
    pub(super) fn values(&self, values: &[f32]) -> [[f32; 2]; 2] {
        let Self { offset, strides: [a, b], .. } = *self;
        [[values[offset], values[offset + b]], [values[offset + a], values[offset + a + b]]]
    }
}
