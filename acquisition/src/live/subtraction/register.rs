//! How a mask lies on a fill: a global shift by Gauss and Newton's method from coarse to fine, then shifts of blocks.
//!
//! Contrast medium only ever darkens the fill, so a residual on that side is trusted less than one on the other
//! (asymmetric robust weights): vessels do not drag the mask along. Blocks without structure have nothing to say and keep
//! the global shift; in between, a block's shift is weighed against the global one by how much structure it has.

use super::field::ShiftField;
use nalgebra::{Matrix3, Vector3};

/// Side of a block, pixels of the whole image.
const BLOCK_PX: usize = 64;
/// Coarsest images have sides of at least so many pixels.
const SMALLEST_SIDE: usize = 24;
/// Steps on each level, and for blocks.
const STEPS: usize = 8;
const BLOCK_STEPS: usize = 4;
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
    mask: Vec<Level>,
    global: Vector3<f64>,
    field: ShiftField,
}

impl Registration {
    /// For images of a size; without `moves` only the exposure is followed.
    pub(super) fn new(size: [usize; 2], moves: bool) -> Self {
        let field = ShiftField::still(size, BLOCK_PX);
        Self { size, moves, mask: Vec::new(), global: Vector3::zeros(), field }
    }

    pub(super) fn forget(&mut self) {
        self.global = Vector3::zeros();
        self.field = ShiftField::still(self.size, BLOCK_PX);
    }

    pub(super) fn set_mask(&mut self, mask: &[f32]) {
        self.mask = pyramid(mask, self.size);
    }

    pub(super) fn field(&self) -> &ShiftField {
        &self.field
    }

    /// The field that lays the mask onto a fill.
    pub(super) fn register(&mut self, mask: &[f32], fill: &[f32]) -> &ShiftField {
        let fill_levels = pyramid(fill, self.size);
        if !self.moves {
            self.field.offset = median_offset(mask, fill);
            return &self.field;
        }
        let coarsest = fill_levels.len() - 1;
        let scale = |level: usize| f64::from(1_u32 << (level as u32 + 1));
        let mut at = Vector3::new(self.global.x, self.global.y, f64::from(median_offset(mask, fill)));
        for level in (0..=coarsest).rev() {
            let unit = scale(level);
            let (mask, fill) = (&self.mask[level], &fill_levels[level]);
            let whole = Window { first: [0, 0], last: [fill.nu, fill.nv] };
            let mut local = Vector3::new(at.x / unit, at.y / unit, at.z);
            for _ in 0..STEPS {
                let step = whole.step(mask, fill, local, None);
                local += step;
                if step.x.abs() < 1e-3 && step.y.abs() < 1e-3 {
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
        self.field.offset = at.z as f32;
        self.register_blocks(&fill_levels[0], at);
        &self.field
    }

    /// Blocks on images of half the size: noise falls to a half, and so does the work.
    fn register_blocks(&mut self, fill: &Level, global: Vector3<f64>) {
        let mask = &self.mask[0];
        let side = BLOCK_PX / 2;
        let [columns, rows] = self.field.blocks;
        let start = Vector3::new(0.5 * global.x, 0.5 * global.y, global.z);
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
                    local += window.step(mask, fill, local, Some(start));
                }
                let is_near = (local - start).xy().norm() <= BLOCK_REACH_PX;
                let found = if is_near { local } else { start };
                self.field.shifts_px[row * columns + column] = [2.0 * found.x as f32, 2.0 * found.y as f32];
            }
        }
    }
}

/// A part of a level.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: [usize; 2],
    last: [usize; 2],
}

impl Window {
    /// One step for shift and offset: `r = mask(x + s) + b - fill(x)`.
    fn step(&self, mask: &Level, fill: &Level, at: Vector3<f64>, hold: Option<Vector3<f64>>) -> Vector3<f64> {
        let spread = self.spread(mask, fill, at);
        let mut normal = Matrix3::zeros();
        let mut right = Vector3::zeros();
        self.each(mask, fill, at, |residual, gradient| {
            let limit = if residual > 0.0 { TUNING * CONTRAST_SIDE } else { TUNING } * spread;
            let weight = 1.0 / (1.0 + (residual / limit).powi(2)).powi(2);
            let row = Vector3::new(gradient[0], gradient[1], 1.0);
            normal += weight * row * row.transpose();
            right -= weight * residual * row;
        });
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

    /// Robust deviation of the residuals, from the side that contrast medium does not reach: the median of the negative ones.
    fn spread(&self, mask: &Level, fill: &Level, at: Vector3<f64>) -> f64 {
        let mut below: Vec<f64> = Vec::new();
        let mut count = 0_u32;
        self.each(mask, fill, at, |residual, _| {
            count += 1;
            // A quarter is enough for a median.
            if residual < 0.0 && count.is_multiple_of(4) {
                below.push(-residual);
            }
        });
        if below.is_empty() {
            return 1e-3;
        }
        let middle = below.len() / 2;
        let median = *below.select_nth_unstable_by(middle, f64::total_cmp).1;
        (1.4826 * median).max(1e-4)
    }

    /// Calls for every second pixel whose place in the mask is inside: residual and gradient of the mask there.
    fn each(&self, mask: &Level, fill: &Level, at: Vector3<f64>, mut take: impl FnMut(f64, [f64; 2])) {
        let (whole_u, whole_v) = (at.x.floor(), at.y.floor());
        let (x, y) = ((at.x - whole_u) as f32, (at.y - whole_v) as f32);
        let offset = at.z as f32;
        let inside = |position: usize, whole: f64, count: usize| {
            let place = position as f64 + whole;
            (place >= 1.0 && place < count as f64 - 2.0).then_some(place as usize)
        };
        for v in self.first[1]..self.last[1] {
            let Some(mv) = inside(v, whole_v, mask.nv) else { continue };
            for u in (self.first[0] + v % 2..self.last[0]).step_by(2) {
                let Some(mu) = inside(u, whole_u, mask.nu) else { continue };
                let row = |dv: isize| mv.wrapping_add_signed(dv) * mask.nu + mu;
                let p = &mask.pixels;
                let bilinear = |at: usize, below: usize| {
                    (1.0 - y) * ((1.0 - x) * p[at] + x * p[at + 1])
                        + y * ((1.0 - x) * p[below] + x * p[below + 1])
                };
                let (here, next) = (row(0), row(1));
                let value = bilinear(here, next);
                let du = 0.5 * (bilinear(here + 1, next + 1) - bilinear(here - 1, next - 1));
                let dv = 0.5 * (bilinear(next, row(2)) - bilinear(row(-1), here));
                let residual = value + offset - fill.pixels[v * fill.nu + u];
                take(f64::from(residual), [f64::from(du), f64::from(dv)]);
            }
        }
    }
}

/// Images of half the side, a quarter, and so on.
fn pyramid(image: &[f32], [nu, nv]: [usize; 2]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let (nu_above, nv_above, above) =
            levels.last().map_or((nu, nv, image), |level| (level.nu, level.nv, &level.pixels[..]));
        let (half_nu, half_nv) = (nu_above / 2, nv_above / 2);
        if !levels.is_empty() && half_nu.min(half_nv) < SMALLEST_SIDE {
            return levels;
        }
        let mut pixels = Vec::with_capacity(half_nu * half_nv);
        for v in 0..half_nv {
            let rows = [&above[2 * v * nu_above..], &above[(2 * v + 1) * nu_above..]];
            pixels.extend((0..half_nu).map(|u| {
                0.25 * ((rows[0][2 * u] + rows[0][2 * u + 1]) + (rows[1][2 * u] + rows[1][2 * u + 1]))
            }));
        }
        levels.push(Level { nu: half_nu, nv: half_nv, pixels });
    }
}

/// How much brighter the fill is, by the median of every eighth pixel's difference.
fn median_offset(mask: &[f32], fill: &[f32]) -> f32 {
    let mut off: Vec<f32> = fill.iter().zip(mask).step_by(8).map(|(fill, mask)| fill - mask).collect();
    let middle = off.len() / 2;
    *off.select_nth_unstable_by(middle, f32::total_cmp).1
}
