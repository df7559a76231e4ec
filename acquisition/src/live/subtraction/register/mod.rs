//! How a mask lies on a fill: a global shift by Gauss and Newton's method from coarse to fine, then shifts of blocks.
//!
//! Contrast medium only ever darkens the fill, so a residual on that side is trusted less than one on the other
//! (asymmetric robust weights): vessels do not drag the mask along. Blocks without structure have nothing to say and keep
//! the global shift; in between, a block's shift is weighed against the global one by how much structure it has.

mod cpu;
mod reference;

use super::field::ShiftField;
use crate::correct::Backend;
use nalgebra::{Matrix3, Vector3};

/// Side of a block, pixels of the whole image.
const BLOCK_PX: usize = 64;
/// Coarsest images have sides of at least so many pixels.
const SMALLEST_SIDE: usize = 24;
/// Steps on each level, and for blocks.
const STEPS: usize = 8;
const BLOCK_STEPS: usize = 4;
/// A step shorter than this, in pixels of its level, is the last.
const SETTLED_PX: f64 = 5e-3;
/// Residuals beyond so many robust deviations hardly count; on the side of contrast medium so much sooner.
const TUNING: f64 = 2.5;
const CONTRAST_SIDE: f64 = 0.5;
/// How hard blocks are held to the global shift: structure of so many pixels of one robust deviation a pixel.
const HOLD_PIXELS: f64 = 60.0;
/// A block may move so far from the global shift, pixels of the block's level.
const BLOCK_REACH_PX: f64 = 3.0;
/// Farthest global shift, as a share of the image's side.
const REACH_SHARE: f64 = 0.1;

/// One level of a pyramid.
#[derive(Clone, Debug, Default)]
struct Level {
    nu: usize,
    nv: usize,
    pixels: Vec<f32>,
}

/// Registers one stream's mask to its fills, each starting from the one before.
#[derive(Clone, Debug)]
pub struct Registration {
    size: [usize; 2],
    moves: bool,
    backend: Backend,
    mask: Vec<Level>,
    fill: Vec<Level>,
    scratch: Scratch,
    global: Vector3<f64>,
    field: ShiftField,
}

impl Registration {
    /// For images of a size; without `moves` only the exposure is followed.
    pub(super) fn new(size: [usize; 2], moves: bool, backend: Backend) -> Self {
        Self {
            size,
            moves,
            backend,
            mask: Vec::new(),
            fill: Vec::new(),
            scratch: Scratch::default(),
            global: Vector3::zeros(),
            field: ShiftField::still(size, BLOCK_PX),
        }
    }

    pub(super) fn forget(&mut self) {
        self.global = Vector3::zeros();
        self.field = ShiftField::still(self.size, BLOCK_PX);
    }

    pub(super) fn set_mask(&mut self, mask: &[f32]) {
        build_pyramid(&mut self.mask, mask, self.size);
    }

    pub(super) fn field(&self) -> &ShiftField {
        &self.field
    }

    /// The field that lays the mask onto a fill.
    pub(super) fn register(&mut self, mask: &[f32], fill: &[f32]) -> &ShiftField {
        let offset = median_offset(mask, fill, &mut self.scratch.below);
        self.field.offset = offset;
        if self.moves {
            build_pyramid(&mut self.fill, fill, self.size);
            self.register_whole(offset);
            self.field.offset = self.global.z as f32;
            self.register_blocks();
        }
        &self.field
    }

    /// The global shift, from coarse to fine.
    fn register_whole(&mut self, offset: f32) {
        let mut at = Vector3::new(self.global.x, self.global.y, f64::from(offset));
        for level in (0..self.fill.len()).rev() {
            let unit = f64::from(1_u32 << (level as u32 + 1));
            let (mask, fill) = (&self.mask[level], &self.fill[level]);
            let whole = Window { first: [0, 0], last: [fill.nu, fill.nv] };
            let mut local = Vector3::new(at.x / unit, at.y / unit, at.z);
            for _ in 0..STEPS {
                let step = whole.step(self.backend, [mask, fill], local, None, &mut self.scratch);
                local += step;
                if step.x.abs().max(step.y.abs()) < SETTLED_PX {
                    break;
                }
            }
            let reach = REACH_SHARE * fill.nu.min(fill.nv) as f64;
            let is_near =
                local.iter().all(|value| value.is_finite()) && local.x.abs().max(local.y.abs()) <= reach;
            if is_near {
                at = Vector3::new(local.x * unit, local.y * unit, local.z);
            }
        }
        self.global = at;
    }

    /// Blocks on images of half the size: noise falls to a half, and so does the work.
    fn register_blocks(&mut self) {
        let (mask, fill) = (&self.mask[0], &self.fill[0]);
        let side = BLOCK_PX / 2;
        let [columns, rows] = self.field.blocks;
        let start = Vector3::new(0.5 * self.global.x, 0.5 * self.global.y, self.global.z);
        for row in 0..rows {
            for column in 0..columns {
                // Blocks overlap by half, so that neighbours agree.
                let around = |at: usize, count: usize| {
                    [(at * side).saturating_sub(side / 2).min(count), ((at + 1) * side + side / 2).min(count)]
                };
                let ([u0, u1], [v0, v1]) = (around(column, fill.nu), around(row, fill.nv));
                let window = Window { first: [u0, v0], last: [u1, v1] };
                let mut local = start;
                for _ in 0..BLOCK_STEPS {
                    let step = window.step(self.backend, [mask, fill], local, Some(start), &mut self.scratch);
                    local += step;
                    if step.x.abs().max(step.y.abs()) < SETTLED_PX {
                        break;
                    }
                }
                let is_near = (local - start).xy().norm() <= BLOCK_REACH_PX;
                let found = if is_near { local } else { start };
                self.field.shifts_px[row * columns + column] = [2.0 * found.x as f32, 2.0 * found.y as f32];
            }
        }
    }
}

/// A part of a level. Of its rows every second one speaks.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: [usize; 2],
    last: [usize; 2],
}

/// Where a mask is laid, what counts as noise there, and what pixels make of it.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Shift and offset: `r = mask(x + s) + b - fill(x)`.
    at: Vector3<f64>,
    /// Residuals hardly count beyond this, below zero and above.
    limits: [f64; 2],
}

/// Sums of a step: `normal step = right`.
#[derive(Clone, Copy, Debug, Default)]
struct Equations {
    normal: Matrix3<f64>,
    right: Vector3<f64>,
}

impl Window {
    /// One step for shift and offset.
    fn step(
        &self,
        backend: Backend,
        [mask, fill]: [&Level; 2],
        at: Vector3<f64>,
        hold: Option<Vector3<f64>>,
        scratch: &mut Scratch,
    ) -> Vector3<f64> {
        let spread = self.spread(mask, fill, at, scratch);
        let place = Place { at, limits: [TUNING * spread, TUNING * CONTRAST_SIDE * spread] };
        let Equations { mut normal, mut right } = match backend {
            Backend::Reference => reference::equations(self, mask, fill, &place),
            Backend::Cpu => cpu::equations(self, mask, fill, &place, scratch),
        };
        if let Some(start) = hold {
            let strength = HOLD_PIXELS * spread * spread;
            // Shifts against one pixel; the offset against the global one, hard.
            for (axis, weight) in [(0, strength), (1, strength), (2, 1e3)] {
                normal[(axis, axis)] += weight;
                right[axis] += weight * (start[axis] - at[axis]);
            }
        } else {
            normal += Matrix3::identity() * 1e-9;
        }
        normal.cholesky().map_or(Vector3::zeros(), |factor| factor.solve(&right))
    }

    /// Robust deviation of the residuals, from the side that contrast medium does not reach: the median of the negative
    /// ones, among at most so many as tell it well.
    fn spread(&self, mask: &Level, fill: &Level, at: Vector3<f64>, scratch: &mut Scratch) -> f64 {
        const SAMPLES: usize = 4096;
        let (shift_u, shift_v) = (at.x.round() as isize, at.y.round() as isize);
        let [nu, nv] = [self.last[0] - self.first[0], self.last[1] - self.first[1]];
        let step = ((nu * nv).div_ceil(SAMPLES) | 1).max(3);
        let below = &mut scratch.below;
        below.clear();
        for i in (0..nu * nv).step_by(step) {
            let (u, v) = (self.first[0] + i % nu, self.first[1] + i / nu);
            // The whole pixel nearest: where it is wrong by half a pixel, the spread is too wide by a slope, no more.
            let (Some(mu), Some(mv)) = (u.checked_add_signed(shift_u), v.checked_add_signed(shift_v)) else {
                continue;
            };
            if mu < mask.nu && mv < mask.nv {
                let residual = mask.pixels[mv * mask.nu + mu] + at.z as f32 - fill.pixels[v * fill.nu + u];
                if residual < 0.0 {
                    below.push(-residual);
                }
            }
        }
        if below.is_empty() {
            return 1e-3;
        }
        let middle = below.len() / 2;
        let median = *below.select_nth_unstable_by(middle, f32::total_cmp).1;
        (1.4826 * f64::from(median)).max(1e-4)
    }

    /// Rows that speak, and of each the columns whose place in the mask is inside: `(row, row of the mask, columns, first
    /// column of the mask)`.
    fn rows<'a>(
        &self,
        mask: &'a Level,
        at: &Vector3<f64>,
    ) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>, usize)> + use<'a> {
        let (whole_u, whole_v) = (at.x.floor() as isize, at.y.floor() as isize);
        let inside = move |place: isize, count: usize| place >= 1 && place + 2 < count as isize;
        let (nu, nv) = (mask.nu, mask.nv);
        let first = (self.first[0] as isize).max(1 - whole_u);
        let last = (self.last[0] as isize).min(nu as isize - 2 - whole_u);
        let columns = first.max(0) as usize..last.max(first).max(0) as usize;
        (self.first[1]..self.last[1]).step_by(2).filter_map(move |v| {
            let mv = v as isize + whole_v;
            let is_inside = inside(mv, nv) && !columns.is_empty();
            is_inside.then(|| (v, mv as usize, columns.clone(), (columns.start as isize + whole_u) as usize))
        })
    }
}

/// Room for rows and residuals.
#[derive(Clone, Debug, Default)]
struct Scratch {
    blended: Vec<f32>,
    slope: Vec<f32>,
    below: Vec<f32>,
}

/// Images of half the side, a quarter, and so on, into what is there already.
fn build_pyramid(levels: &mut Vec<Level>, image: &[f32], [nu, nv]: [usize; 2]) {
    let (mut size, mut count) = ([nu, nv], 0);
    while count == 0 || size[0].min(size[1]) / 2 >= SMALLEST_SIDE {
        if levels.len() == count {
            levels.push(Level::default());
        }
        let (above, below) = levels.split_at_mut(count);
        let above = above.last().map_or(image, |level| &level.pixels[..]);
        halve(above, size, &mut below[0]);
        size = size.map(|side| side / 2);
        count += 1;
    }
}

/// Means of two by two pixels.
fn halve(above: &[f32], [nu, nv]: [usize; 2], level: &mut Level) {
    (level.nu, level.nv) = (nu / 2, nv / 2);
    level.pixels.resize(level.nu * level.nv, 0.0);
    for (out, rows) in level.pixels.chunks_exact_mut(level.nu).zip(above.chunks_exact(2 * nu)) {
        let (upper, lower) = rows.split_at(nu);
        let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
        out.iter_mut().zip(pairs).for_each(|(out, ([a, b], [c, d]))| *out = 0.25 * ((a + b) + (c + d)));
    }
}

/// How much brighter the fill is, by the median of the differences of a few thousand pixels.
fn median_offset(mask: &[f32], fill: &[f32], scratch: &mut Vec<f32>) -> f32 {
    const SAMPLES: usize = 16_384;
    let step = fill.len().div_ceil(SAMPLES) | 1;
    scratch.clear();
    scratch.extend(fill.iter().zip(mask).step_by(step).map(|(fill, mask)| fill - mask));
    let middle = scratch.len() / 2;
    *scratch.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registration_sums_agree_with_their_reference() {
        let (nu, nv) = (61, 53);
        let wave = |u: f64, v: f64| (0.3 * u).sin() + (0.2 * v + 0.1 * u).cos();
        let level = |du: f64, dv: f64| Level {
            nu,
            nv,
            pixels: (0..nu * nv).map(|i| wave((i % nu) as f64 + du, (i / nu) as f64 + dv) as f32).collect(),
        };
        let (mask, fill) = (level(0.0, 0.0), level(1.3, -0.4));
        let mut scratch = Scratch::default();
        for at in [[0.0, 0.0, 0.0], [1.2, -0.7, 0.1], [-7.9, 4.5, -0.2], [300.0, 0.0, 0.0]] {
            for window in [[[0, 0], [nu, nv]], [[32, 0], [61, 20]], [[7, 50], [12, 53]]] {
                let window = Window { first: window[0], last: window[1] };
                let place = Place { at: at.into(), limits: [0.4, 0.2] };
                let fast = cpu::equations(&window, &mask, &fill, &place, &mut scratch);
                let slow = reference::equations(&window, &mask, &fill, &place);
                let apart = (fast.normal - slow.normal).amax().max((fast.right - slow.right).amax());
                // Some thousand products of about one, in f32 along rows.
                assert!(apart < 1e-3, "{at:?} {window:?}: {apart}");
            }
        }
    }
}
