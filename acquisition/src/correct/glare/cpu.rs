//! Glare estimated on a reduced image and taken off the whole one, in `f32`.
//!
//! Means of square blocks, the filter `L` by Fourier transforms, and straight lines between the blocks' middles on the way
//! back. What the means and the lines take from coarse structure is known and given back within the filter.

use super::{GlareModel, MARGIN_RANGES, continued, transform_size};
use crate::bands::share;
use carm::DetectorGrid;
use multiversion::multiversion;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner, num_complex::Complex32};
use std::f64::consts::PI;
use std::sync::Arc;

/// Blocks are at most so large, in ranges of the kernel: of what they cannot show `L` passes less than a hundredth of the
/// share.
const BLOCK_RANGES: f64 = 0.5;
/// And at most so many pixels.
const MOST_PIXELS: usize = 32;

#[derive(Clone)]
pub(super) struct Reduced {
    size: [usize; 2],
    block: usize,
    /// Blocks along u and v, and with the continuation.
    blocks: [usize; 2],
    padded: [usize; 2],
    /// `L` with the inverse's scale, frequencies of u outer, of v inner.
    transfer: Vec<f32>,
    per_rest: f32,
    forth: Arc<dyn RealToComplex<f32>>,
    back: Arc<dyn ComplexToReal<f32>>,
    columns_forth: Arc<dyn Fft<f32>>,
    columns_back: Arc<dyn Fft<f32>>,
    /// The reduced image; then the glare on it.
    image: Vec<f32>,
    line: Vec<f32>,
    spectrum: Vec<Complex32>,
    turned: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// For each row of blocks: a row of sums or of coarse glare, and a row as wide as whole blocks.
    rows: Vec<f32>,
}

impl Reduced {
    pub(super) fn new(model: GlareModel, grid: &DetectorGrid) -> Self {
        let pitch = [grid.pixel_pitch_u_mm, grid.pixel_pitch_v_mm];
        let largest = BLOCK_RANGES * model.range_mm / pitch[0].max(pitch[1]);
        let block = (largest as usize).clamp(1, MOST_PIXELS);
        let size = [grid.nu, grid.nv];
        let blocks = size.map(|count| count.div_ceil(block));
        let side_mm = pitch.map(|pitch| pitch * block as f64);
        let [pu, pv] = std::array::from_fn(|axis| {
            let margin = (2.0 * MARGIN_RANGES * model.range_mm / side_mm[axis]).ceil() as usize;
            transform_size(blocks[axis] + margin.max(2))
        });
        let (mut real, mut complex) = (RealFftPlanner::<f32>::new(), FftPlanner::<f32>::new());
        let half = pu / 2 + 1;
        let (columns_forth, columns_back) = (complex.plan_fft_forward(pv), complex.plan_fft_inverse(pv));
        let scratch = columns_forth.get_inplace_scratch_len().max(columns_back.get_inplace_scratch_len());
        let (forth, back) = (real.plan_fft_forward(pu), real.plan_fft_inverse(pu));
        let scratch = scratch.max(forth.get_scratch_len()).max(back.get_scratch_len());
        Self {
            size,
            block,
            blocks,
            padded: [pu, pv],
            transfer: transfer(&model, side_mm, [pu, pv], pitch),
            per_rest: (1.0 / (1.0 - model.share)) as f32,
            forth,
            back,
            columns_forth,
            columns_back,
            image: vec![0.0; pu * blocks[1].max(pv)],
            line: vec![0.0; pu],
            spectrum: vec![Complex32::default(); half * pv],
            turned: vec![Complex32::default(); half * pv],
            scratch: vec![Complex32::default(); scratch],
            rows: vec![0.0; blocks[1] * (size[0].max(pu) + (blocks[0] + 2) * block)],
        }
    }

    pub(super) fn remove(&mut self, intensity: &mut [f32]) {
        self.reduce(intensity);
        self.filter();
        self.take_off(intensity);
    }

    /// Means of blocks; one that juts out beyond the border repeats the border's pixels.
    fn reduce(&mut self, intensity: &[f32]) {
        let ([nu, nv], block, [pu, _]) = (self.size, self.block, self.padded);
        let share_of = 1.0 / (block * block) as f32;
        let per_row = self.rows.len() / self.blocks[1];
        let parts = self.image.chunks_exact_mut(pu).zip(self.rows.chunks_exact_mut(per_row)).enumerate();
        share(parts, |(at, (out, rows))| {
            let sums = &mut rows[..nu];
            sums.fill(0.0);
            for v in at * block..(at + 1) * block {
                add(sums, &intensity[v.min(nv - 1) * nu..][..nu]);
            }
            for (out, sums) in out.iter_mut().zip(sums.chunks(block)) {
                let missing = (block - sums.len()) as f32;
                *out = share_of * (sums.iter().sum::<f32>() + missing * sums[sums.len() - 1]);
            }
        });
    }

    /// The reduced image through `L`, in place.
    fn filter(&mut self) {
        let ([pu, pv], [bu, bv]) = (self.padded, self.blocks);
        let half = pu / 2 + 1;
        for (v, out) in self.spectrum.chunks_exact_mut(half).enumerate() {
            let row = &self.image[continued(v, bv, pv) * pu..][..bu];
            for (u, value) in self.line.iter_mut().enumerate() {
                *value = row[continued(u, bu, pu)];
            }
            self.forth.process_with_scratch(&mut self.line, out, &mut self.scratch).expect("planned sizes");
        }
        turn(&self.spectrum, half, &mut self.turned);
        for (column, transfer) in self.turned.chunks_exact_mut(pv).zip(self.transfer.chunks_exact(pv)) {
            self.columns_forth.process_with_scratch(column, &mut self.scratch);
            column.iter_mut().zip(transfer).for_each(|(value, factor)| *value *= factor);
            self.columns_back.process_with_scratch(column, &mut self.scratch);
        }
        turn(&self.turned, pv, &mut self.spectrum);
        for (line, out) in self.spectrum.chunks_exact_mut(half).zip(self.image.chunks_exact_mut(pu)) {
            // Of a real signal by construction; rounding leaves dust that the inverse would refuse.
            line[0].im = 0.0;
            if pu.is_multiple_of(2) {
                line[half - 1].im = 0.0;
            }
            self.back.process_with_scratch(line, out, &mut self.scratch).expect("planned sizes");
        }
    }

    /// Takes the glare off, between the blocks' middles along straight lines.
    fn take_off(&mut self, intensity: &mut [f32]) {
        let ([nu, _], block, [pu, pv], bu) = (self.size, self.block, self.padded, self.blocks[0]);
        let middle = block / 2;
        let phase = |n: usize| (n as f32 + if block.is_multiple_of(2) { 0.5 } else { 0.0 }) / block as f32;
        let phases: [f32; MOST_PIXELS] = std::array::from_fn(phase);
        let per_row = self.rows.len() / self.blocks[1];
        let (image, per_rest) = (&self.image, self.per_rest);
        let parts = intensity.chunks_mut(nu * block).zip(self.rows.chunks_exact_mut(per_row)).enumerate();
        share(parts, |(band, (intensity, rows))| {
            let (coarse, wide) = rows.split_at_mut(nu.max(pu));
            for (row, v) in intensity.chunks_exact_mut(nu).zip(band * block..) {
                let from = v + block - middle;
                let share = phases[from % block];
                let line = |at: usize| &image[((at + pv - 1) % pv) * pu..][..pu];
                let (above, below) = (line(from / block), line(from / block + 1));
                mix(coarse, above, below, share);
                widen(&mut wide[..(bu + 1) * block], &coarse[..pu], &phases[..block]);
                take(row, &wide[block - middle..], per_rest);
            }
        });
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn add(sums: &mut [f32], row: &[f32]) {
    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
}

/// `share` of the way from one row to the other.
#[multiversion(targets("x86_64+avx2"))]
fn mix(out: &mut [f32], above: &[f32], below: &[f32], share: f32) {
    for (out, (a, b)) in out.iter_mut().zip(above.iter().zip(below)) {
        *out = a + share * (b - a);
    }
}

/// Straight lines between the values of a periodic row, the first from its last to its first.
#[multiversion(targets("x86_64+avx2"))]
fn widen(wide: &mut [f32], coarse: &[f32], phases: &[f32]) {
    let mut left = coarse[coarse.len() - 1];
    for (wide, &right) in wide.chunks_exact_mut(phases.len()).zip(coarse.iter().cycle()) {
        wide.iter_mut().zip(phases).for_each(|(out, share)| *out = left + share * (right - left));
        left = right;
    }
}

/// Takes the glare off a row.
#[multiversion(targets("x86_64+avx2"))]
fn take(row: &mut [f32], glare: &[f32], per_rest: f32) {
    row.iter_mut().zip(glare).for_each(|(x, glare)| *x = (*x - glare) * per_rest);
}

/// `L` at the reduced image's frequencies, with the inverse's scale and what reduction and return take away.
fn transfer(model: &GlareModel, side_mm: [f64; 2], [pu, pv]: [usize; 2], pitch: [f64; 2]) -> Vec<f32> {
    let half = pu / 2 + 1;
    // Means over a block of pixels, and the triangle of a straight line, which is two such means.
    let loss = |f: f64, axis: usize| {
        let sinc = |x: f64| if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) };
        (sinc(f * side_mm[axis]) / sinc(f * pitch[axis])).powi(3)
    };
    let one = |i: usize| {
        let (ku, kv) = (i / pv, i % pv);
        let signed = if 2 * kv > pv { kv as f64 - pv as f64 } else { kv as f64 };
        let (fu, fv) = (ku as f64 / (pu as f64 * side_mm[0]), signed / (pv as f64 * side_mm[1]));
        let spread = model.share * model.spread(fu.hypot(fv));
        let l = spread / (1.0 - model.share + spread);
        (l / (loss(fu, 0) * loss(fv, 1)) / (pu * pv) as f64) as f32
    };
    (0..half * pv).map(one).collect()
}

/// Rows of so many values become columns.
fn turn(from: &[Complex32], width: usize, to: &mut [Complex32]) {
    let height = from.len() / width;
    for (row, values) in from.chunks_exact(width).enumerate() {
        for (column, value) in values.iter().enumerate() {
            to[column * height + row] = *value;
        }
    }
}
