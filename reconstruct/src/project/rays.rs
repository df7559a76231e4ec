//! The rays of a view in the index space of a column grid, eight neighbours at a time.

use super::columns::{ColumnGrid, PADDING};
use super::{DetectorRegion, LANES};
use carm::ProjectionMatrix;
use nalgebra::Matrix3;
use std::ops::Range;

/// How far samples may reach beyond a column before they are read one by one.
pub(super) const REACH: f64 = 20.0;
/// Rows that one window of eight samples holds with the next row of each: one register reads both.
const TIGHT_SPAN: f64 = 5.98;
/// Rows that one window of eight samples holds.
const NARROW_SPAN: f64 = 6.98;
/// Rows that a window of sixteen samples holds.
pub(super) const WIDE_SPAN: f64 = 14.98;
/// Columns that neighbouring rays may spread over before they are read one by one.
const MAX_ACROSS_SPAN: f64 = 5.0;
/// Spread, in voxels, below which rays count as running through the same columns: the rounding of `f32`.
pub(super) const ALIGNED_SPAN: f64 = 3e-5;
const _: () = assert!(PADDING as f64 >= REACH + 1.0, "windows start inside the border");

/// Detector direction in which neighbouring rays are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    AlongU,
    AlongV,
}

/// A view in index space: `ray(u, v) = from_pixel (u, v, 1)`, one unit of depth along the detector normal.
#[derive(Clone, Debug)]
pub(super) struct ViewRays {
    pub(super) source: [f64; 3],
    pub(super) from_pixel: Matrix3<f64>,
    /// The same in mm.
    pub(super) mm_from_pixel: Matrix3<f64>,
    pub(super) lanes: Lanes,
}

impl ViewRays {
    pub(super) fn new(grid: &ColumnGrid, view: &ProjectionMatrix) -> Self {
        let p = view.matrix() * grid.space_from_index();
        let scale = grid.space_from_index().fixed_view::<3, 3>(0, 0).into_owned();
        let index_from_space = scale.try_inverse().expect("a grid has positive spacing and independent axes");
        let from_pixel = index_from_space * view.m_inverse();
        let source = -from_pixel * p.column(3);
        let steepness = |column: usize| {
            let step = from_pixel.column(column);
            step[2].abs() / step.norm()
        };
        let lanes = if steepness(1) >= steepness(0) { Lanes::AlongV } else { Lanes::AlongU };
        Self { source: source.into(), from_pixel, mm_from_pixel: *view.m_inverse(), lanes }
    }

    /// Lines of neighbouring rays of a region, and rays of a line.
    pub(super) fn shape(&self, region: DetectorRegion) -> [usize; 2] {
        match self.lanes {
            Lanes::AlongU => [region.nv, region.nu],
            Lanes::AlongV => [region.nu, region.nv],
        }
    }

    /// Pixel `[u, v]` of ray `lane` of line `line`.
    pub(super) fn pixel(&self, region: DetectorRegion, line: usize, lane: usize) -> [f64; 2] {
        match self.lanes {
            Lanes::AlongU => region.pixel(lane, line),
            Lanes::AlongV => region.pixel(line, lane),
        }
    }
}

/// Axis along which a ray is sampled: the one in which it is steepest in voxels, and its sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Main {
    pub(super) axis: usize,
    pub(super) is_negative: bool,
}

impl Main {
    fn of(ray: &[f64; 3]) -> Self {
        let size = ray.map(f64::abs);
        let axis = if size[2] > size[0].max(size[1]) { 2 } else { usize::from(size[1] > size[0]) };
        Self { axis, is_negative: ray[axis] < 0.0 }
    }

    /// The other two axes: across the columns and along them (slow and fast when columns are the main axis).
    pub(super) fn others(self) -> [usize; 2] {
        match self.axis {
            0 => [1, 2],
            1 => [0, 2],
            _ => [0, 1],
        }
    }
}

/// How many samples of a column hold the rows of eight rays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Eight, the next row of each ray among them.
    Tight,
    /// Eight; the next rows begin one sample later.
    Narrow,
    /// Sixteen.
    Wide,
}

impl Window {
    /// For rays that lie up to `span` rows apart.
    pub(super) fn of(span: f64) -> Self {
        match span {
            span if span <= TIGHT_SPAN => Self::Tight,
            span if span <= NARROW_SPAN => Self::Narrow,
            _ => Self::Wide,
        }
    }
}

/// How a group's samples are read where all its rays are inside the volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    /// One sample after the other.
    Single,
    /// Windows of the two columns that all rays lie between.
    Aligned { window: Window },
    /// Windows of each column that some ray is next to: those from ray 0 (or the last), the lowest across, to `span`
    /// beyond it.
    Spread { is_wide: bool, first_is_lowest: bool, span: f32 },
}

/// Up to eight neighbouring rays with one main axis.
///
/// At slice `k` of the main axis ray `l` is at `across[l] + k across_step[l]`, `along[l] + k along_step[l]`. Rays are in
/// the order of increasing `along` for the windowed readings. Lanes without a ray repeat a neighbour.
#[derive(Clone, Debug)]
#[repr(align(32))]
pub(super) struct Group {
    pub(super) along: [f32; LANES],
    pub(super) along_step: [f32; LANES],
    pub(super) across: [f32; LANES],
    pub(super) across_step: [f32; LANES],
    /// Path between slices, mm.
    pub(super) step_mm: [f32; LANES],
    /// Ray of the line for each lane; none for a repeated lane.
    pub(super) rays: [Option<u32>; LANES],
    pub(super) main: Main,
    /// Slices at which at least one ray may be in the volume.
    pub(super) any: Range<u32>,
    /// Slices at which windows may be read.
    pub(super) all: Range<u32>,
    pub(super) reading: Reading,
}

/// One ray's Joseph samples: place at slice 0 and change a slice, across and along.
#[derive(Clone, Copy, Debug)]
pub(super) struct JosephRay {
    pub(super) main: Main,
    pub(super) start: [f64; 2],
    pub(super) step: [f64; 2],
    pub(super) step_mm: f64,
}

impl JosephRay {
    pub(super) fn new(source: &[f64; 3], ray: &[f64; 3], length_mm: f64) -> Self {
        let main = Main::of(ray);
        let inverse = 1.0 / ray[main.axis];
        let step = main.others().map(|axis| ray[axis] * inverse);
        let [a, b] = main.others();
        let start = [source[a] - source[main.axis] * step[0], source[b] - source[main.axis] * step[1]];
        Self { main, start, step, step_mm: length_mm * inverse.abs() }
    }

    /// Slices at which the ray is in the volume or less than a voxel beyond.
    pub(super) fn slices(&self, counts: &[usize; 3], source: &[f64; 3]) -> [f64; 2] {
        let others = self.main.others();
        // In front of the source.
        let start = source[self.main.axis];
        let mut range =
            if self.main.is_negative { [f64::NEG_INFINITY, start] } else { [start, f64::INFINITY] };
        for axis in 0..2 {
            let inverse = 1.0 / if self.step[axis].abs() < 1e-12 { 1e-12 } else { self.step[axis] };
            let a = (-1.0 - self.start[axis]) * inverse;
            let b = (counts[others[axis]] as f64 - self.start[axis]) * inverse;
            range = [range[0].max(a.min(b)), range[1].min(a.max(b))];
        }
        range
    }

    pub(super) fn at(&self, slice: f64) -> [f64; 2] {
        [self.start[0] + slice * self.step[0], self.start[1] + slice * self.step[1]]
    }
}

/// Appends the groups of rays `first..first + LANES` of a line (fewer at its end).
pub(super) fn push_groups(
    grid: &ColumnGrid,
    view: &ViewRays,
    region: DetectorRegion,
    line: usize,
    first: usize,
    groups: &mut Vec<Group>,
) {
    let [_, length] = view.shape(region);
    let count = LANES.min(length - first);
    let (from, mm_from) = (&view.from_pixel, &view.mm_from_pixel);
    let rays: [JosephRay; LANES] = std::array::from_fn(|lane| {
        let [u, v] = view.pixel(region, line, first + lane.min(count - 1));
        let ray: [f64; 3] =
            std::array::from_fn(|axis| from[(axis, 0)] * u + from[(axis, 1)] * v + from[(axis, 2)]);
        let mm: [f64; 3] =
            std::array::from_fn(|axis| mm_from[(axis, 0)] * u + mm_from[(axis, 1)] * v + mm_from[(axis, 2)]);
        JosephRay::new(&view.source, &ray, (mm[0] * mm[0] + mm[1] * mm[1] + mm[2] * mm[2]).sqrt())
    });
    let mut open = (1_u32 << count) - 1;
    while open != 0 {
        let main = rays[open.trailing_zeros() as usize].main;
        let members =
            (0..count).filter(|lane| rays[*lane].main == main).fold(0, |bits, lane| bits | 1 << lane);
        open &= !members;
        if let Some(group) = Group::new(grid, view, &rays, members, first) {
            groups.push(group);
        }
    }
}

impl Group {
    /// The rays of `members`; none when they miss the volume.
    fn new(
        grid: &ColumnGrid,
        view: &ViewRays,
        rays: &[JosephRay; LANES],
        members: u32,
        first: usize,
    ) -> Option<Self> {
        let is_member = |lane: usize| members >> lane & 1 == 1;
        // A lane without a ray of its own repeats the last one before it, or the first.
        let mut source_lane = [members.trailing_zeros() as usize; LANES];
        for lane in 1..LANES {
            source_lane[lane] =
                if is_member(lane) { lane } else { source_lane[lane - 1].max(source_lane[lane]) };
        }
        let main = rays[source_lane[0]].main;
        let mut hull = [f64::INFINITY, f64::NEG_INFINITY];
        for lane in 0..LANES {
            let [low, high] = rays[source_lane[lane]].slices(&grid.counts, &view.source);
            if low <= high {
                hull = [hull[0].min(low), hull[1].max(high)];
            }
        }
        let count = grid.counts[main.axis] as f64;
        let any = hull[0].ceil().clamp(0.0, count) as u32..(hull[1].floor() + 1.0).clamp(0.0, count) as u32;
        if any.is_empty() {
            return None;
        }
        let mut order = source_lane;
        let middle = f64::from(any.start.midpoint(any.end));
        if rays[order[0]].at(middle)[1] > rays[order[LANES - 1]].at(middle)[1] {
            order.reverse();
        }
        let ordered: [&JosephRay; LANES] = order.map(|lane| &rays[lane]);
        let (all, reading) = reading(grid, main, &ordered, &any);
        let mut taken = 0_u32;
        let ray_of = order.map(|lane| {
            let is_new = taken >> lane & 1 == 0;
            taken |= 1 << lane;
            is_new.then_some((first + lane) as u32)
        });
        Some(Self {
            along: ordered.map(|ray| ray.start[1] as f32),
            along_step: ordered.map(|ray| ray.step[1] as f32),
            across: ordered.map(|ray| ray.start[0] as f32),
            across_step: ordered.map(|ray| ray.step[0] as f32),
            step_mm: ordered.map(|ray| ray.step_mm as f32),
            rays: ray_of,
            main,
            any,
            all,
            reading,
        })
    }

    /// Gives an aligned group the exact columns of its neighbour on the same line, so that both share one table.
    pub(super) fn share_columns_of(&mut self, neighbour: &Self) {
        let is_aligned = |group: &Self| matches!(group.reading, Reading::Aligned { .. });
        let last = self.any.end as f32;
        let start = (self.across[0] - neighbour.across[0]).abs();
        let step = (self.across_step[0] - neighbour.across_step[0]).abs();
        if is_aligned(self)
            && is_aligned(neighbour)
            && self.main == neighbour.main
            && f64::from(start + step * last) < 2.0 * ALIGNED_SPAN
        {
            (self.across, self.across_step) = (neighbour.across, neighbour.across_step);
        }
    }
}

/// The slices at which windows hold all rays, and which windows.
///
/// Places are linear in the slice, so what holds at both ends of a range holds between.
fn reading(
    grid: &ColumnGrid,
    main: Main,
    rays: &[&JosephRay; LANES],
    any: &Range<u32>,
) -> (Range<u32>, Reading) {
    let none = (any.start..any.start, Reading::Single);
    if main.axis == 2 {
        return none;
    }
    let across_count = grid.counts[main.others()[0]] as f64;
    let bounds = [[-0.9999, across_count - 1e-4], [-REACH, grid.counts[2] as f64 + 4.0]];
    let mut range = [f64::from(any.start), f64::from(any.end) - 1.0];
    for ray in rays {
        for (bounds, (start, step)) in bounds.iter().zip(ray.start.into_iter().zip(ray.step)) {
            if step.abs() < 1e-9 {
                if !(start >= bounds[0] && start <= bounds[1]) {
                    return none;
                }
                continue;
            }
            let ends = bounds.map(|bound| (bound - start) / step);
            range = [range[0].max(ends[0].min(ends[1])), range[1].min(ends[0].max(ends[1]))];
        }
    }
    if range[0].ceil() > range[1].floor() {
        return none;
    }
    let ends = [range[0].ceil(), range[1].floor()];
    let mut along_span = [f64::INFINITY, f64::NEG_INFINITY];
    let (mut from_first, mut from_last) = (along_span, along_span);
    for end in ends {
        let (first, last) = (rays[0].at(end), rays[LANES - 1].at(end));
        for ray in rays {
            let widen = |span: [f64; 2], value: f64| [span[0].min(value), span[1].max(value)];
            let [across, along] = ray.at(end);
            along_span = widen(along_span, along - first[1]);
            from_first = widen(from_first, across - first[0]);
            from_last = widen(from_last, across - last[0]);
        }
    }
    // Rounding may take a repeated lane a hair below the first.
    if along_span[0] < -1e-9 || along_span[1] > WIDE_SPAN {
        return none;
    }
    let is_wide = along_span[1] > NARROW_SPAN;
    let reading = if from_first[1] - from_first[0] <= ALIGNED_SPAN {
        Reading::Aligned { window: Window::of(along_span[1]) }
    } else if from_first[0] > -ALIGNED_SPAN && from_first[1] <= MAX_ACROSS_SPAN {
        Reading::Spread { is_wide, first_is_lowest: true, span: from_first[1] as f32 }
    } else if from_last[0] > -ALIGNED_SPAN && from_last[1] <= MAX_ACROSS_SPAN {
        Reading::Spread { is_wide, first_is_lowest: false, span: from_last[1] as f32 }
    } else {
        return none;
    };
    (ends[0] as u32..ends[1] as u32 + 1, reading)
}
