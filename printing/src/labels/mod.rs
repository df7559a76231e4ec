//! A continuous field from a grey image and a mask: where exactly is the border that the mask only hints at?
//!
//! A mask's border is a staircase. The grey image knows better: a border between two materials, blurred by the scanner,
//! crosses the middle between both materials' values at the border itself. Both values are estimated *locally*, so
//! that cupping, shading and neighbouring organs do not move the level. Where the blur is known, the shape is chosen
//! such that its own blurred image agrees with the grey one; this undoes what blur does to curved and thin parts: a
//! ball of radius r shrinks by about σ²/r at the middle level, a thin plate fades.

use crate::distance::mask_distance;
use crate::error::PrintingError;
use crate::field::{Field, filled, require_finite, require_shape, trilinear};
use crate::progress::{Progress, advance};
use crate::smooth::{gaussian, reach};
use carm::{Volume, VolumeGrid};
use ndarray::{Array3, ArrayView3, s};
use rayon::prelude::*;
use std::ops::Range;

/// How a field is made from an image and a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelOptions {
    /// Standard deviation of the scanner's blur, mm, where it is known, without the voxel's own width, which is known
    /// anyway; the effect of both is then undone.
    pub blur_sigma_mm: Option<f64>,
    /// Voxels wider than this are divided, mm.
    pub spacing_most_mm: Option<f64>,
    /// How far the surface may lie from the mask's border, mm; one and a half voxels where not given.
    pub trust_mm: Option<f64>,
}

/// A field from labels, and what its level rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelField {
    /// The field, on the part of the grid around the mask.
    pub field: Field,
    /// Median value inside at the border, in the image's unit.
    pub inside_level: f32,
    /// Median value outside at the border, in the image's unit.
    pub outside_level: f32,
    /// Part of the border where the image gave no contrast of its own and a wider neighbourhood's was taken.
    pub without_contrast: f64,
    /// Part of the border where the image's edge lies farther from the mask's than was allowed.
    pub at_limit: f64,
}

/// Width over which values are compared: blocks of this size, mm.
const BLOCK_MM: f64 = 3.0;
/// Neighbourhood of the comparison, standard deviation in blocks.
const BLOCKS_AROUND: f64 = 1.2;
/// Rounds of making the shape's blurred image agree.
const ROUNDS: usize = 9;
/// Longer steps than the flat edge's: spreading takes more than half of each.
const HASTE: f32 = 1.7;
/// Planes that are blurred at a time.
const PLANES_TOGETHER: usize = 32;
/// Blur assumed for an unknown scanner, voxels: what the pixel alone makes, and a little.
const SIGMA_VOXELS: f64 = 0.6;

impl Field {
    /// A field whose surface lies where the image has its edge near the mask's border; elsewhere inside is where the
    /// mask is. Cropped to the mask with a margin.
    ///
    /// `mask`: `[z, y, x]` on the volume's grid.
    ///
    /// # Errors
    /// `Shape`, `NotFinite`, `Parameter`; `Empty` for an empty mask; `Cancelled`.
    ///
    /// # Method
    /// Within blocks of 3 mm, smoothed over their neighbours, the image near the border is fitted as
    /// `outside + (inside - outside) · occupancy`, with the occupancy of the current shape blurred like the image.
    /// The shape moves by what is left, `σ √(2π)` for the whole contrast, as the flat blurred edge does.
    pub fn from_labels(
        volume: &Volume,
        mask: &Array3<bool>,
        options: &LabelOptions,
        progress: &mut dyn Progress,
    ) -> Result<LabelField, PrintingError> {
        require_shape("mask", &volume.grid, mask.dim())?;
        require_options(options)?;
        let (grey, mask, grid) = crop(volume, mask, options)?;
        require_finite("image near the mask", grey)?;
        let border = mask_distance(&grid, mask);
        let (border, grid, parts) = divided(border, grid, options.spacing_most_mm);
        let image = Image { grey, voxel_mm: volume.grid.spacing_mm, parts };
        Shape::new(grid, &image, border, options).settle(progress)
    }
}

fn require_options(options: &LabelOptions) -> Result<(), PrintingError> {
    for (what, value) in [
        ("blur in mm", options.blur_sigma_mm),
        ("largest spacing in mm", options.spacing_most_mm),
        ("distance from the mask in mm", options.trust_mm),
    ] {
        if let Some(found) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
            return Err(PrintingError::Parameter { what, expected: "more than zero", found });
        }
    }
    Ok(())
}

/// The part of image and mask around what is set.
fn crop<'a>(
    volume: &'a Volume,
    mask: &'a Array3<bool>,
    options: &LabelOptions,
) -> Result<(ArrayView3<'a, f32>, ArrayView3<'a, bool>, VolumeGrid), PrintingError> {
    let mut low = [usize::MAX; 3];
    let mut high = [0; 3];
    for ((z, y, x), _) in mask.indexed_iter().filter(|(_, is_set)| **is_set) {
        for (axis, at) in [x, y, z].into_iter().enumerate() {
            low[axis] = low[axis].min(at);
            high[axis] = high[axis].max(at);
        }
    }
    if low[0] == usize::MAX {
        return Err(PrintingError::Empty { what: "mask", voxels: mask.len() });
    }
    let margin_mm = 3.0 * options.blur_sigma_mm.unwrap_or(0.0) + options.trust_mm.unwrap_or(0.0) + 2.0;
    for axis in 0..3 {
        let margin = 3 + (margin_mm / volume.grid.spacing_mm[axis]).ceil() as usize;
        low[axis] = low[axis].saturating_sub(margin);
        high[axis] = (high[axis] + margin + 1).min(volume.grid.shape[axis]);
    }
    let part = s![low[2]..high[2], low[1]..high[1], low[0]..high[0]];
    let grid = VolumeGrid {
        shape: [0, 1, 2].map(|axis| high[axis] - low[axis]),
        origin: volume.grid.point(low[0] as f64, low[1] as f64, low[2] as f64),
        ..volume.grid
    };
    Ok((volume.values.slice(part), mask.slice(part), grid))
}

/// Signed distance to the mask's border on a grid whose voxels are no wider than asked for, and into how many parts each
/// voxel was divided along x, y, z.
fn divided(
    border: Array3<f32>,
    grid: VolumeGrid,
    spacing_most_mm: Option<f64>,
) -> (Array3<f32>, VolumeGrid, [usize; 3]) {
    let parts = grid
        .spacing_mm
        .map(|spacing| spacing_most_mm.map_or(1, |most| (spacing / most - 1e-6).ceil().max(1.0) as usize));
    if parts == [1; 3] {
        return (border, grid, parts);
    }
    let fine = VolumeGrid {
        shape: [0, 1, 2].map(|axis| (grid.shape[axis] - 1) * parts[axis] + 1),
        spacing_mm: [0, 1, 2].map(|axis| grid.spacing_mm[axis] / parts[axis] as f64),
        ..grid
    };
    let border = filled(&fine, |at| trilinear(&border, coarse(at, parts)) as f32);
    (border, fine, parts)
}

/// Where a voxel lies among those that were divided.
fn coarse(at: [usize; 3], parts: [usize; 3]) -> [f64; 3] {
    [0, 1, 2].map(|axis| at[axis] as f64 / parts[axis] as f64)
}

/// Cubic interpolation that passes through the samples, along each axis that lies between samples (Catmull and Rom 1974).
fn cubic(values: ArrayView3<f32>, voxel: [f64; 3]) -> f32 {
    let (nz, ny, nx) = values.dim();
    let taps = |at: f64, count: usize| {
        let base = at.floor();
        let t = at - base;
        let weights = if t == 0.0 {
            [0.0, 1.0, 0.0, 0.0]
        } else {
            [
                0.5 * t * (-1.0 + t * (2.0 - t)),
                0.5 * (2.0 + t * t * (-5.0 + 3.0 * t)),
                0.5 * t * (1.0 + t * (4.0 - 3.0 * t)),
                0.5 * t * t * (t - 1.0),
            ]
        };
        [0, 1, 2, 3].map(|i| ((base as i64 + i - 1).clamp(0, count as i64 - 1) as usize, weights[i as usize]))
    };
    let (x, y, z) = (taps(voxel[0], nx), taps(voxel[1], ny), taps(voxel[2], nz));
    let mut sum = 0.0;
    for (c, wz) in z.into_iter().filter(|tap| tap.1 != 0.0) {
        for (b, wy) in y.into_iter().filter(|tap| tap.1 != 0.0) {
            for (a, wx) in x.into_iter().filter(|tap| tap.1 != 0.0) {
                sum += wz * wy * wx * f64::from(values[[c, b, a]]);
            }
        }
    }
    sum as f32
}

/// The image, and into how many parts each of its voxels was divided along x, y, z.
struct Image<'a> {
    grey: ArrayView3<'a, f32>,
    voxel_mm: [f64; 3],
    parts: [usize; 3],
}

impl Image<'_> {
    /// Value at a voxel of the divided grid.
    fn at(&self, [x, y, z]: [usize; 3]) -> f32 {
        if self.parts == [1; 3] {
            self.grey[[z, y, x]]
        } else {
            cubic(self.grey, coarse([x, y, z], self.parts))
        }
    }
}

/// A shape that settles where its blurred image agrees with the grey one.
struct Shape {
    grid: VolumeGrid,
    field: Array3<f32>,
    /// Flat indices of the voxels near the border, in order.
    band: Vec<u32>,
    /// The image at each of them.
    grey: Vec<f32>,
    /// Signed distance of each of them to the mask's border, mm.
    border: Vec<f32>,
    /// Blur of the image along x, y, z, mm, the voxel's own width included.
    sigma_mm: [f64; 3],
    trust_mm: f32,
    is_blur_known: bool,
}

/// The two values at the border in one place.
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    outside: f32,
    contrast: f32,
}

impl Shape {
    fn new(grid: VolumeGrid, image: &Image, border: Array3<f32>, options: &LabelOptions) -> Self {
        let widest = grid.spacing_mm.into_iter().fold(0.0, f64::max);
        // A mean over a width has its variance, a twelfth of its square.
        let sigma_mm = image.voxel_mm.map(|voxel| match options.blur_sigma_mm {
            Some(blur) => (blur * blur + voxel * voxel / 12.0).sqrt(),
            None => SIGMA_VOXELS * voxel,
        });
        let most_blurred = sigma_mm.into_iter().fold(0.0, f64::max);
        let trust_mm = options.trust_mm.unwrap_or(1.5 * widest) as f32;
        let reach = (trust_mm + widest as f32).max(2.5 * most_blurred as f32);
        let flat = border.as_slice().expect("standard layout");
        let band: Vec<u32> = flat
            .par_iter()
            .enumerate()
            .filter_map(|(i, distance)| (distance.abs() <= reach).then_some(i as u32))
            .collect();
        let [nx, ny, _] = grid.shape;
        let place = |at: usize| [at % nx, at / nx % ny, at / (nx * ny)];
        Self {
            grey: band.par_iter().map(|&at| image.at(place(at as usize))).collect(),
            border: band.par_iter().map(|&at| flat[at as usize]).collect(),
            is_blur_known: options.blur_sigma_mm.is_some(),
            field: border,
            grid,
            band,
            sigma_mm,
            trust_mm,
        }
    }

    fn settle(mut self, progress: &mut dyn Progress) -> Result<LabelField, PrintingError> {
        let rounds = if self.is_blur_known { ROUNDS } else { 2 };
        let mut contrast = Contrast::default();
        for round in 0..rounds {
            advance(progress, "place the surface", round, rounds)?;
            let blurred = self.blurred();
            contrast = self.contrast(&blurred);
            if round == 0 || !self.is_blur_known {
                self.place(&contrast);
            } else {
                self.correct(&blurred, &contrast);
            }
        }
        Ok(self.finish(&contrast))
    }

    /// Occupancy of the current shape at the voxels near the border, blurred like the image. Some planes at a time.
    fn blurred(&self) -> Vec<f32> {
        let [nx, ny, nz] = self.grid.shape;
        // The ramp of one voxel is a blur of its own.
        let sigma = self.sigma_voxels(f64::from(self.width()).powi(2) / 12.0);
        let beyond = reach(sigma[2]);
        let mut blurred = Vec::with_capacity(self.band.len());
        for start in (0..nz).step_by(PLANES_TOGETHER) {
            let end = nz.min(start + PLANES_TOGETHER);
            let [first, last] =
                [start, end].map(|z| self.band.partition_point(|&at| (at as usize) < z * nx * ny));
            if first == last {
                continue;
            }
            let low = start.saturating_sub(beyond);
            let mut planes = self.occupancy(low..nz.min(end + beyond));
            gaussian(&mut planes, sigma);
            let flat = planes.as_slice().expect("standard layout");
            blurred.extend(self.band[first..last].iter().map(|&at| flat[at as usize - low * nx * ny]));
        }
        blurred
    }

    /// Edge of a cube as large as a voxel, mm.
    fn width(&self) -> f32 {
        self.grid.spacing_mm.into_iter().product::<f64>().cbrt() as f32
    }

    /// Part of each voxel that lies inside the current shape, in some planes.
    fn occupancy(&self, planes: Range<usize>) -> Array3<f32> {
        let count = self.grid.shape;
        let [nx, ny, _] = count;
        let width = self.width();
        let flat = self.field.as_slice().expect("standard layout");
        let stride = [1, nx, nx * ny];
        let part = VolumeGrid { shape: [nx, ny, planes.len()], ..self.grid };
        filled(&part, |[x, y, z]| {
            let z = planes.start + z;
            let at = x + nx * (y + ny * z);
            let value = flat[at];
            // Far inside or outside whatever the slope.
            if value.abs() > 4.0 * width {
                return if value > 0.0 { 1.0 } else { 0.0 };
            }
            let mut slope_squared = 0.0_f32;
            for (axis, place) in [x, y, z].into_iter().enumerate() {
                let low = if place > 0 { at - stride[axis] } else { at };
                let high = if place + 1 < count[axis] { at + stride[axis] } else { at };
                let steps = (high - low) / stride[axis];
                let run = steps.max(1) as f32 * self.grid.spacing_mm[axis] as f32;
                slope_squared += ((flat[high] - flat[low]) / run).powi(2);
            }
            let distance = value / slope_squared.sqrt().max(0.2);
            (0.5 + distance / width).clamp(0.0, 1.0)
        })
    }

    /// Fits `grey = outside + contrast · occupancy` around every block.
    fn contrast(&self, occupancy: &[f32]) -> Contrast {
        let parts = self.grid.spacing_mm.map(|spacing| (BLOCK_MM / spacing).round().max(1.0) as usize);
        let shape = [0, 1, 2].map(|axis| self.grid.shape[axis].div_ceil(parts[axis]));
        let mut sums: [Array3<f32>; 5] =
            std::array::from_fn(|_| Array3::zeros([shape[2], shape[1], shape[0]]));
        let [nx, ny, _] = self.grid.shape;
        // Sums of values about their middle keep their digits in 32 bits.
        let middle = self.middle_grey();
        for (&at, (grey, occupancy)) in self.band.iter().zip(self.grey.iter().zip(occupancy)) {
            let at = at as usize;
            let (x, y, z) = (at % nx, at / nx % ny, at / (nx * ny));
            let block = [z / parts[2], y / parts[1], x / parts[0]];
            let (o, g) = (occupancy - 0.5, grey - middle);
            for (sum, value) in sums.iter_mut().zip([1.0, o, g, o * o, o * g]) {
                sum[block] += value;
            }
        }
        let whole = fit(sums.each_ref().map(|sum| sum.iter().map(|&x| f64::from(x)).sum()), middle);
        let whole = whole.unwrap_or(Levels { outside: middle, contrast: 1.0 });
        for sum in &mut sums {
            gaussian(sum, [BLOCKS_AROUND; 3]);
        }
        let mut outside = Array3::zeros(sums[0].dim());
        let mut contrast = Array3::zeros(sums[0].dim());
        let mut is_own = Array3::from_elem(sums[0].dim(), 0.0);
        for (block, levels) in outside.indexed_iter_mut() {
            let found = fit(sums.each_ref().map(|sum| f64::from(sum[block])), middle);
            // A contrast of the wrong sign, or faint beside the whole border's, is no contrast.
            let own = found.filter(|found| found.contrast / whole.contrast > 0.15);
            let Levels { outside: low, contrast: high } = own.unwrap_or(whole);
            *levels = low;
            contrast[block] = high;
            is_own[block] = if own.is_some() { 1.0 } else { 0.0 };
        }
        Contrast { parts, outside, contrast, is_own }
    }

    fn middle_grey(&self) -> f32 {
        let sum: f64 = self.grey.iter().map(|&grey| f64::from(grey)).sum();
        (sum / self.band.len().max(1) as f64) as f32
    }

    /// Where the image is half-way between its levels.
    fn place(&mut self, contrast: &Contrast) {
        let gain = self.gain_mm();
        let moved = self.over_band(|_, part| gain * (part - 0.5), contrast);
        self.accept(moved);
    }

    /// Moves the surface by what the blurred shape leaves unexplained, spread by the blur itself: the step of
    /// Landweber, which follows the image's noise least.
    fn correct(&mut self, blurred: &[f32], contrast: &Contrast) {
        let unexplained = self.over_band(|place, part| part - blurred[place], contrast);
        let mut spread = Array3::zeros(self.field.dim());
        let flat = spread.as_slice_mut().expect("standard layout");
        for (&at, value) in self.band.iter().zip(unexplained) {
            flat[at as usize] = value;
        }
        gaussian(&mut spread, self.sigma_voxels(0.0));
        let (flat, field) =
            (spread.as_slice().expect("standard layout"), self.field.as_slice().expect("standard layout"));
        let gain = HASTE * self.gain_mm();
        let moved = self.band.iter().map(|&at| field[at as usize] + gain * flat[at as usize]).collect();
        self.accept(moved);
    }

    /// How far a flat blurred edge lies away for the whole contrast, mm.
    fn gain_mm(&self) -> f32 {
        let sigma = self.sigma_mm.iter().product::<f64>().cbrt();
        (sigma * std::f64::consts::TAU.sqrt()) as f32
    }

    /// The image's blur less a variance in mm², in voxels.
    fn sigma_voxels(&self, less: f64) -> [f64; 3] {
        [0, 1, 2]
            .map(|axis| (self.sigma_mm[axis].powi(2) - less).max(0.0).sqrt() / self.grid.spacing_mm[axis])
    }

    /// `value(number, part)` for each voxel near the border, with its place between the levels.
    fn over_band(&self, value: impl Fn(usize, f32) -> f32 + Sync, contrast: &Contrast) -> Vec<f32> {
        let [nx, ny, _] = self.grid.shape;
        let part = |at: usize, grey: f32| {
            let levels = contrast.at([at % nx, at / nx % ny, at / (nx * ny)]);
            ((grey - levels.outside) / levels.contrast).clamp(-0.5, 1.5)
        };
        let band = self.band.par_iter().zip(&self.grey).enumerate();
        band.map(|(number, (&at, &grey))| value(number, part(at as usize, grey))).collect()
    }

    /// Takes new values near the border as far as the mask is trusted.
    fn accept(&mut self, values: Vec<f32>) {
        let field = self.field.as_slice_mut().expect("standard layout");
        for ((&at, border), new) in self.band.iter().zip(&self.border).zip(values) {
            field[at as usize] = new.clamp(border - self.trust_mm, border + self.trust_mm);
        }
    }

    fn finish(self, contrast: &Contrast) -> LabelField {
        let [nx, ny, _] = self.grid.shape;
        let field = self.field.as_slice().expect("standard layout");
        let close = 0.5 * self.grid.spacing_mm.into_iter().fold(0.0, f64::max) as f32;
        let band = self.band.iter().zip(&self.border);
        let on_border: Vec<(usize, f32)> = band
            .filter(|(_, border)| border.abs() <= close)
            .map(|(&at, &border)| (at as usize, border))
            .collect();
        let count = on_border.len().max(1) as f64;
        let place = |at: usize| [at % nx, at / nx % ny, at / (nx * ny)];
        let limit = self.trust_mm - 1e-3;
        let at_limit = on_border.iter().filter(|(at, border)| (field[*at] - border).abs() >= limit).count();
        let without = on_border.par_iter().filter(|(at, _)| contrast.is_own(place(*at)) < 0.5).count();
        let levels: Vec<Levels> = on_border.par_iter().map(|(at, _)| contrast.at(place(*at))).collect();
        let mut outside: Vec<f32> = levels.iter().map(|levels| levels.outside).collect();
        let mut inside: Vec<f32> = levels.iter().map(|levels| levels.outside + levels.contrast).collect();
        LabelField {
            inside_level: median(&mut inside),
            outside_level: median(&mut outside),
            without_contrast: without as f64 / count,
            at_limit: at_limit as f64 / count,
            field: Field { grid: self.grid, values: self.field },
        }
    }
}

fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// Levels by block.
#[derive(Default)]
struct Contrast {
    parts: [usize; 3],
    outside: Array3<f32>,
    contrast: Array3<f32>,
    is_own: Array3<f32>,
}

impl Contrast {
    /// Levels at a voxel, interpolated between blocks' middles.
    fn at(&self, voxel: [usize; 3]) -> Levels {
        let block = self.block(voxel);
        Levels {
            outside: trilinear(&self.outside, block) as f32,
            contrast: trilinear(&self.contrast, block) as f32,
        }
    }

    fn is_own(&self, voxel: [usize; 3]) -> f64 {
        trilinear(&self.is_own, self.block(voxel))
    }

    fn block(&self, voxel: [usize; 3]) -> [f64; 3] {
        [0, 1, 2].map(|axis| {
            let part = self.parts[axis] as f64;
            (voxel[axis] as f64 - 0.5 * (part - 1.0)) / part
        })
    }
}

/// Least squares of grey over occupancy from sums of 1, o, g, o², og, with o about 0.5 and g about `middle`.
fn fit([n, o, g, oo, og]: [f64; 5], middle: f32) -> Option<Levels> {
    let spread = oo - o * o / n;
    // Voxels on one side of the border alone tell nothing.
    if n.is_nan() || n <= 1e-6 || spread <= 0.01 * n {
        return None;
    }
    let slope = (og - o * g / n) / spread;
    let at_half = (g - slope * o) / n;
    Some(Levels { outside: middle + (at_half - 0.5 * slope) as f32, contrast: slope as f32 })
        .filter(|levels| levels.contrast != 0.0)
}

#[cfg(test)]
mod tests;
