//! Volumes that break surface extraction, for the tests of this crate and those that ask other programs.

use carm::VolumeGrid;
use nalgebra::{Matrix3, Rotation3};
use ndarray::Array3;

/// Numbers that look random, from a seed (Steele, Lea and Flood 2014).
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, from 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A grid turned, mirrored, stretched and shifted at will.
pub fn awkward_grid(shape: [usize; 3], numbers: &mut Numbers) -> VolumeGrid {
    let turn = Rotation3::from_euler_angles(6.0 * numbers.next(), 3.0 * numbers.next(), 6.0 * numbers.next());
    let mirror = if numbers.next() < 0.5 { -1.0 } else { 1.0 };
    let direction = turn.matrix() * Matrix3::from_diagonal(&[1.0, mirror, 1.0].into());
    let spacing = [0, 1, 2].map(|_| 0.2 + 2.5 * numbers.next());
    let origin = nalgebra::Point3::from([0, 1, 2].map(|_| 600.0 * numbers.next() - 300.0));
    VolumeGrid::new(shape, spacing, direction, origin).unwrap()
}

/// One of ten families of nasty volumes.
pub fn nasty(family: u64, shape: [usize; 3], numbers: &mut Numbers) -> Array3<f32> {
    let mut noise = || numbers.next() as f32 * 2.0 - 1.0;
    let [nx, ny, nz] = shape;
    Array3::from_shape_fn((nz, ny, nx), |(z, y, x)| {
        let (i, j, k) = (x as f32, y as f32, z as f32);
        let from_middle = |p: f32, n: usize| p - (n as f32 - 1.0) / 2.0;
        let (a, b, c) = (from_middle(i, nx), from_middle(j, ny), from_middle(k, nz));
        match family {
            // Noise; noise of whole numbers, with the level itself; noise far beyond and beside the level.
            0 => noise(),
            1 => (3.0 * noise()).round(),
            2 => {
                if noise() > 0.0 {
                    1e30
                } else {
                    -1e-30
                }
            }
            // Checkerboard; touching corners of cubes of two voxels.
            3 => {
                if (x + y + z) % 2 == 0 {
                    1.0
                } else {
                    -1.0
                }
            }
            4 => {
                if (x / 2 + y / 2 + z / 2) % 2 == 0 {
                    noise().abs()
                } else {
                    -noise().abs()
                }
            }
            // Thin oblique sheets; a shell with handles; a gyroid that touches the border.
            5 => 0.6 - (i + 0.7 * j - 0.4 * k + 0.3).rem_euclid(4.0),
            6 => 1.0 - ((a * a + b * b).sqrt() - 4.0).hypot(c) + 0.8 * noise(),
            7 => (i.sin() * j.cos() + j.sin() * k.cos() + k.sin() * i.cos()) * 0.5,
            // Everything inside; sparse single voxels.
            8 => 1.0,
            _ => {
                if noise() > 0.8 {
                    1.0
                } else {
                    -1.0
                }
            }
        }
    })
}

/// The nasty volume of a seed; ten families take turns.
pub fn nasty_field(seed: u64) -> (VolumeGrid, Array3<f32>) {
    let mut numbers = Numbers(seed);
    let shape = [0, 1, 2].map(|_| 3 + (9.0 * numbers.next()) as usize);
    let values = nasty(seed % 10, shape, &mut numbers);
    (awkward_grid(shape, &mut numbers), values)
}
