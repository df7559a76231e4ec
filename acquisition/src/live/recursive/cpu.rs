//! The filter in `f32`, in one pass over bands of rows: energies go one row ahead of their sums down and across.

use super::{MOVED_ABOVE, ROUNDING_VARIANCE, STILL, STILL_BELOW};
use crate::bands::{BAND_PIXELS, share};
use crate::correct::{CorrectedFrame, VarianceModel};
use multiversion::multiversion;

/// What the pass needs beside the images.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    nu: usize,
    band_rows: usize,
    /// Energies of the rows before and behind each border between bands, those of the image repeated.
    borders: Vec<f32>,
    /// Of each band: energies of three rows, then vertical sums of one.
    scratch: Vec<f32>,
}

impl Rows {
    pub(super) fn new(nu: usize, nv: usize) -> Self {
        let band_rows = (BAND_PIXELS / nu).clamp(1, nv);
        let bands = nv.div_ceil(band_rows);
        Self {
            nu,
            band_rows,
            borders: vec![0.0; (bands + 1) * 2 * nu],
            scratch: vec![0.0; bands * scratch_of(nu)],
        }
    }
}

fn scratch_of(nu: usize) -> usize {
    4 * nu + 2
}

/// What the rows of a frame have in common.
#[derive(Clone, Copy)]
struct Frame {
    /// To multiply the memory by.
    scale: f32,
    variance: VarianceModel,
}

/// Filters into the memory, multiplied by `scale`, and the frame.
pub(super) fn filter(rows: &mut Rows, memory: &mut [f32], scale: f32, frame: &mut CorrectedFrame) {
    let (nu, common) = (rows.nu, Frame { scale, variance: frame.variance });
    let band = rows.band_rows * nu;
    let last = memory.len() - nu;
    // Before any band changes the memory.
    for (border, energies) in rows.borders.chunks_exact_mut(2 * nu).enumerate() {
        let behind = (border * band).min(last);
        let before = (border * band).saturating_sub(nu).min(last);
        for (row, energy) in [before, behind].into_iter().zip(energies.chunks_exact_mut(nu)) {
            energies_of(&frame.intensity[row..row + nu], &memory[row..row + nu], common, energy);
        }
    }
    let borders = rows.borders[nu..].chunks_exact(nu).step_by(2);
    let borders = rows.borders.chunks_exact(nu).step_by(2).zip(borders.skip(1));
    let images = memory.chunks_mut(band).zip(frame.intensity.chunks_mut(band));
    let parts = images.zip(borders).zip(rows.scratch.chunks_exact_mut(scratch_of(nu)));
    share(parts, |(((memory, intensity), (above, below)), scratch)| {
        filter_band(memory, intensity, [above, below], scratch, common);
    });
}

/// `outside`: energies of the rows above and below the band.
#[multiversion(targets("x86_64+avx2"))]
fn filter_band(
    mut memory: &mut [f32],
    mut intensity: &mut [f32],
    outside: [&[f32]; 2],
    scratch: &mut [f32],
    common: Frame,
) {
    let nu = outside[0].len();
    let (energies, sums) = scratch.split_at_mut(3 * nu);
    let (mut above, energies) = energies.split_at_mut(nu);
    let (mut here, mut below) = energies.split_at_mut(nu);
    above.copy_from_slice(outside[0]);
    energies_of(&intensity[..nu], &memory[..nu], common, here);
    while !memory.is_empty() {
        let (x_row, y_row);
        (x_row, intensity) = intensity.split_at_mut(nu);
        (y_row, memory) = memory.split_at_mut(nu);
        match memory.get(..nu) {
            Some(next) => energies_of(&intensity[..nu], next, common, below),
            None => below.copy_from_slice(outside[1]),
        }
        let rows = above.iter().zip(here.iter()).zip(below.iter());
        for (sum, ((above, here), below)) in sums[1..=nu].iter_mut().zip(rows) {
            *sum = 0.25 * (above + below) + 0.5 * here;
        }
        sums[0] = sums[1];
        sums[nu + 1] = sums[nu];
        let sums = sums.iter().zip(&sums[1..]).zip(&sums[2..]);
        for ((y, x), ((left, here), right)) in y_row.iter_mut().zip(x_row).zip(sums) {
            let mean = 0.25 * (left + right) + 0.5 * here;
            let opened = ((mean - STILL_BELOW) * (1.0 / (MOVED_ABOVE - STILL_BELOW))).clamp(0.0, 1.0);
            let before = common.scale * *y;
            *y = before + (STILL + (1.0 - STILL) * opened) * (*x - before);
            *x = *y;
        }
        (above, here, below) = (here, below, above);
    }
}

/// `d² / σ²` of a row.
#[inline]
fn energies_of(intensity: &[f32], memory: &[f32], common: Frame, row: &mut [f32]) {
    let Frame { scale, variance } = common;
    let (electronic, per_count) = (variance.electronic + ROUNDING_VARIANCE, variance.per_count);
    for (energy, (x, y)) in row.iter_mut().zip(intensity.iter().zip(memory)) {
        let y = scale * y;
        let difference = x - y;
        *energy = difference * difference / (electronic + per_count * y.max(0.0));
    }
}
