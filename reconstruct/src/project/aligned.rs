//! Lines of rays that all run through the same columns of voxels, as on a detector aligned with them: what they share is
//! found once.

use super::adjoint::Cut;
use super::columns::ColumnGrid;
use super::rays::{ALIGNED_SPAN, Group, JosephRay, Main, REACH, Reading, ViewRays, WIDE_SPAN, Window};
use super::{DetectorRegion, LANES};
use nalgebra::Vector3;

/// Relative difference below which rays advance equally along the main axis.
const EQUAL_DEPTH: f64 = 1e-9;

/// A line of rays that all run through the same columns: at slice `k` and `depth = (k - source) / ray` along the main
/// axis, ray `l` is at `source + depth (first + l step)` along the columns.
#[derive(Clone, Debug)]
pub(super) struct AlignedLine {
    pub(super) main: Main,
    /// Source along main, across and columns.
    source: [f64; 3],
    /// The same components of the line's first ray; `step` is never negative.
    ray: [f64; 3],
    step: f64,
    /// Rays are in the opposite order.
    is_reversed: bool,
}

impl AlignedLine {
    /// None when the rays of the line spread over columns, or are steepest along them.
    pub(super) fn new(
        grid: &ColumnGrid,
        view: &ViewRays,
        region: DetectorRegion,
        line: usize,
    ) -> Option<Self> {
        let [_, length] = view.shape(region);
        let ends = [0, length - 1].map(|lane| {
            let [u, v] = view.pixel(region, line, lane);
            let ray: [f64; 3] = (view.from_pixel * Vector3::new(u, v, 1.0)).into();
            (ray, JosephRay::new(&view.source, &ray, 1.0))
        });
        let main = ends[0].1.main;
        let slices = [0.0, grid.counts[main.axis] as f64];
        let spread = slices.map(|slice| (ends[0].1.at(slice)[0] - ends[1].1.at(slice)[0]).abs());
        if ends[1].1.main != main || main.axis == 2 || spread[0].max(spread[1]) > ALIGNED_SPAN {
            return None;
        }
        // All rays must reach a slice at one depth, too.
        let advance = ends.each_ref().map(|(ray, _)| ray[main.axis]);
        if (advance[0] - advance[1]).abs() > EQUAL_DEPTH * advance[0].abs() {
            return None;
        }
        let order = [main.axis, main.others()[0], 2];
        let is_reversed = ends[1].0[2] < ends[0].0[2];
        let ray = ends[usize::from(is_reversed)].0;
        let step = (ends[1].0[2] - ends[0].0[2]).abs() / (length as f64 - 1.0).max(1.0);
        let pick = |vector: &[f64; 3]| order.map(|axis| vector[axis]);
        Some(Self { main, source: pick(&view.source), ray: pick(&ray), step, is_reversed })
    }

    /// Copies a line's values, in the order of this line and times each ray's path between slices, mm.
    pub(super) fn scale(
        &self,
        view: &ViewRays,
        region: DetectorRegion,
        line: usize,
        values: &[f32],
        scaled: &mut [f32],
    ) {
        let path = PathBetweenSlices::new(self, view, region, line);
        for (lane, value) in values.iter().enumerate() {
            let to = if self.is_reversed { values.len() - 1 - lane } else { lane };
            scaled[to] = path.of(lane) * value;
        }
    }

    /// Where `length` rays of the line meet a slice; none where they miss the volume or lie behind the source.
    pub(super) fn cut(&self, grid: &ColumnGrid, slice: usize, length: usize) -> Option<Cut> {
        let depth = (slice as f64 - self.source[0]) / self.ray[0];
        let across = self.source[1] + depth * self.ray[1];
        let count = grid.counts[self.main.others()[0]] as f64;
        if depth < 0.0 || !(across > -1.0 && across < count) {
            return None;
        }
        let start = self.source[2] + depth * self.ray[2];
        // A slice through the source, or a single ray, has all values in one place.
        let step = (depth * self.step).max(1e-9);
        let column_count = grid.counts[2] as f64;
        let low = (start.floor()).clamp(0.0, column_count);
        let high = ((start + step * (length as f64 - 1.0)).floor() + 2.0).clamp(0.0, column_count);
        if low >= high {
            return None;
        }
        let column = across.floor();
        Some(Cut {
            start,
            step,
            column: column as isize,
            share: (across - column) as f32,
            voxels: low as usize..high as usize,
        })
    }

    /// Appends the line's groups.
    pub(super) fn push_groups(
        &self,
        grid: &ColumnGrid,
        view: &ViewRays,
        region: DetectorRegion,
        line: usize,
        groups: &mut Vec<Group>,
    ) {
        let [_, length] = view.shape(region);
        let across_step = self.ray[1] / self.ray[0];
        let across = self.source[1] - self.source[0] * across_step;
        let counts = [grid.counts[self.main.axis] as f64, grid.counts[self.main.others()[0]] as f64];
        let mut seen = Slices::ahead_of(self.source[0], self.main.is_negative);
        seen.above(across, across_step, -1.0);
        seen.below(across, across_step, counts[1]);
        let mut within = seen;
        within.above(across, across_step, -0.9999);
        within.below(across, across_step, counts[1] - 1e-4);
        let path = PathBetweenSlices::new(self, view, region, line);
        for first in (0..length).step_by(LANES) {
            let count = LANES.min(length - first);
            let index: [usize; LANES] = std::array::from_fn(|lane| first + lane.min(count - 1));
            let slope = index.map(|index| (self.ray[2] + index as f64 * self.step) / self.ray[0]);
            let start = slope.map(|slope| self.source[2] - self.source[0] * slope);
            // In front of the source the last ray is the highest.
            let (low, high) = ((start[0], slope[0]), (start[LANES - 1], slope[LANES - 1]));
            let mut any = seen;
            any.above(high.0, high.1, -1.0);
            any.below(low.0, low.1, grid.counts[2] as f64);
            let any = any.whole(counts[0]);
            if any.is_empty() {
                continue;
            }
            let mut all = within;
            all.above(low.0, low.1, -REACH);
            all.below(high.0, high.1, grid.counts[2] as f64 + 4.0);
            let all = all.whole(counts[0]);
            let all = all.start.clamp(any.start, any.end)..all.end.clamp(any.start, any.end);
            let span_at = |slice: u32| high.0 - low.0 + f64::from(slice) * (high.1 - low.1);
            let span = span_at(all.start).max(span_at(all.end));
            let has_windows = span <= WIDE_SPAN && !all.is_empty();
            let ray_of = |index: usize| if self.is_reversed { length - 1 - index } else { index };
            groups.push(Group {
                along: start.map(|start| start as f32),
                along_step: slope.map(|slope| slope as f32),
                across: [across as f32; LANES],
                across_step: [across_step as f32; LANES],
                step_mm: index.map(|index| path.of(ray_of(index))),
                rays: std::array::from_fn(|lane| (lane < count).then(|| ray_of(first + lane) as u32)),
                main: self.main,
                all: if has_windows { all } else { any.start..any.start },
                any,
                reading: if has_windows {
                    Reading::Aligned { window: Window::of(span) }
                } else {
                    Reading::Single
                },
            });
        }
    }
}

/// Path between slices along a line of rays: the length of a vector that is linear in the ray.
struct PathBetweenSlices {
    squares: [f64; 3],
    per_advance: f64,
}

impl PathBetweenSlices {
    fn new(aligned: &AlignedLine, view: &ViewRays, region: DetectorRegion, line: usize) -> Self {
        let mm = [0, 1].map(|lane| {
            let [u, v] = view.pixel(region, line, lane);
            view.mm_from_pixel * Vector3::new(u, v, 1.0)
        });
        let step = mm[1] - mm[0];
        Self {
            squares: [mm[0].norm_squared(), 2.0 * mm[0].dot(&step), step.norm_squared()],
            per_advance: 1.0 / aligned.ray[0].abs(),
        }
    }

    #[inline(always)]
    fn of(&self, lane: usize) -> f32 {
        let [constant, linear, square] = self.squares;
        let lane = lane as f64;
        ((constant + lane * (linear + lane * square)).sqrt() * self.per_advance) as f32
    }
}

/// A range of places along the main axis.
#[derive(Clone, Copy, Debug)]
struct Slices {
    low: f64,
    high: f64,
}

impl Slices {
    /// In front of the source.
    fn ahead_of(source: f64, is_negative: bool) -> Self {
        if is_negative {
            Self { low: f64::NEG_INFINITY, high: source }
        } else {
            Self { low: source, high: f64::INFINITY }
        }
    }

    /// Keeps where `start + slice step` is above a bound.
    fn above(&mut self, start: f64, step: f64, bound: f64) {
        if step == 0.0 {
            if start <= bound {
                self.high = f64::NEG_INFINITY;
            }
        } else if step > 0.0 {
            self.low = self.low.max((bound - start) / step);
        } else {
            self.high = self.high.min((bound - start) / step);
        }
    }

    /// Keeps where it is below.
    fn below(&mut self, start: f64, step: f64, bound: f64) {
        self.above(-start, -step, -bound);
    }

    /// The whole slices of `count`.
    fn whole(self, count: f64) -> std::ops::Range<u32> {
        let start = self.low.ceil().clamp(0.0, count) as u32;
        start..((self.high.floor() + 1.0).clamp(0.0, count) as u32).max(start)
    }
}
