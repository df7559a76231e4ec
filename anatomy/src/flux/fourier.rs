//! The flux of every voxel at once, in Fourier space.

use super::{Tube, tube_of};
use crate::lattice::Lattice;
use nalgebra::Matrix3;
use rayon::prelude::*;
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftDirection, FftPlanner};
use std::f64::consts::PI;
use std::sync::Arc;

/// The spectrum of an image, from which the flux at any radius follows.
pub(crate) struct Flux {
    lattice: Lattice,
    spectrum: Vec<Complex32>,
    sigma_mm: f64,
}

/// The upper triangle of a symmetric matrix, two entries to each complex inverse transform.
const PAIRS: [[(usize, usize); 2]; 3] = [[(0, 0), (1, 1)], [(2, 2), (0, 1)], [(0, 2), (1, 2)]];

impl Flux {
    /// Transforms an image; `sigma_mm` is its smoothing. The image is taken as periodic: leave a margin.
    pub(crate) fn new(image: &[f32], lattice: Lattice, sigma_mm: f64) -> Self {
        let mut spectrum: Vec<Complex32> = image.iter().map(|value| Complex32::new(*value, 0.0)).collect();
        transform(&mut spectrum, &lattice, FftDirection::Forward);
        Self { lattice, spectrum, sigma_mm }
    }

    /// The upper triangles of the flux matrices of a sphere (axes z, y, x): `zz, yy, xx, zy, zx, yx`.
    pub(crate) fn matrices(&self, radius_mm: f64) -> [Vec<f32>; 6] {
        let mut entries = [const { Vec::new() }; 6];
        for (pair, slots) in PAIRS.iter().zip([0, 2, 4]) {
            let mut field = self.filtered(radius_mm, pair);
            transform(&mut field, &self.lattice, FftDirection::Inverse);
            let scale = 1.0 / self.lattice.len() as f32;
            entries[slots] = field.iter().map(|value| value.re * scale).collect();
            entries[slots + 1] = field.iter().map(|value| value.im * scale).collect();
        }
        entries
    }

    /// Two entries of the matrix, one as the real part and one as the imaginary part.
    fn filtered(&self, radius_mm: f64, [one, other]: &[(usize, usize); 2]) -> Vec<Complex32> {
        let frequency = |axis: usize, index: usize| {
            let n = self.lattice.shape[axis];
            let signed = if 2 * index <= n { index as f64 } else { index as f64 - n as f64 };
            signed / (n as f64 * self.lattice.spacing_mm[axis])
        };
        self.spectrum
            .par_iter()
            .enumerate()
            .with_min_len(1024)
            .map(|(index, value)| {
                let at = self.lattice.position(index);
                let k: [f64; 3] = std::array::from_fn(|axis| frequency(axis, at[axis]));
                let gain = gain(k, radius_mm, self.sigma_mm);
                let first = (gain * k[one.0] * k[one.1]) as f32;
                let second = (gain * k[other.0] * k[other.1]) as f32;
                // The image is real: i times its partner travels in the imaginary part.
                value * Complex32::new(first, second)
            })
            .collect()
    }

    /// The strongest tube of each voxel over some radii.
    pub(crate) fn tubes(&self, radii_mm: &[f64]) -> Vec<Option<Tube>> {
        let mut best: Vec<Option<Tube>> = vec![None; self.lattice.len()];
        for radius_mm in radii_mm {
            let [zz, yy, xx, zy, zx, yx] = self.matrices(*radius_mm);
            best.par_iter_mut().enumerate().with_min_len(256).for_each(|(i, best)| {
                let entry = |values: &[f32]| f64::from(values[i]);
                let matrix = Matrix3::new(
                    entry(&zz),
                    entry(&zy),
                    entry(&zx),
                    entry(&zy),
                    entry(&yy),
                    entry(&yx),
                    entry(&zx),
                    entry(&yx),
                    entry(&xx),
                );
                let found = tube_of(matrix, *radius_mm);
                if found.is_some_and(|found| best.is_none_or(|best| found.strength > best.strength)) {
                    *best = found;
                }
            });
        }
        best
    }
}

/// What multiplies `k_i k_j` in the spectrum of the flux through a sphere, divided by the sphere's area.
///
/// The flux matrix is the Hessian of the smoothed image, integrated over the ball (Gauss): the transform of the Hessian is
/// `-4π² k_i k_j`, that of the ball's indicator `(sin(κ) - κ cos(κ)) / (2π² |k|³)` with `κ = 2π r |k|`.
fn gain([kz, ky, kx]: [f64; 3], radius_mm: f64, sigma_mm: f64) -> f64 {
    let k = (kz * kz + ky * ky + kx * kx).sqrt();
    if k == 0.0 {
        return 0.0;
    }
    let kappa = 2.0 * PI * radius_mm * k;
    let ball = (kappa.sin() - kappa * kappa.cos()) / (2.0 * PI * PI * k.powi(3));
    let smoothing = (-2.0 * (PI * sigma_mm * k).powi(2)).exp();
    -4.0 * PI * PI * smoothing * ball / (4.0 * PI * radius_mm * radius_mm)
}

/// A transform along all three axes, unscaled.
fn transform(field: &mut [Complex32], lattice: &Lattice, direction: FftDirection) {
    let mut planner = FftPlanner::new();
    let [nz, ny, nx] = lattice.shape;
    let slice = ny * nx;
    let along_x = planner.plan_fft(nx, direction);
    let along_y = planner.plan_fft(ny, direction);
    let along_z = planner.plan_fft(nz, direction);
    field.par_chunks_mut(slice).for_each(|field| {
        along_x.process(field);
        for x in 0..nx {
            strided(field, x, nx, ny, &along_y);
        }
    });
    for column in 0..slice {
        strided(field, column, slice, nz, &along_z);
    }
}

/// A transform of `count` samples, `stride` apart.
fn strided(field: &mut [Complex32], start: usize, stride: usize, count: usize, fft: &Arc<dyn Fft<f32>>) {
    let mut line: Vec<Complex32> = (0..count).map(|i| field[start + i * stride]).collect();
    fft.process(&mut line);
    line.iter().enumerate().for_each(|(i, value)| field[start + i * stride] = *value);
}
