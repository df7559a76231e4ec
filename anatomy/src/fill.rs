//! Holes of axial, sagittal and coronal slices: what bone encloses there.

use crate::body::Body;
use crate::components::holes_of_slice;
use crate::levels::Levels;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU8, Ordering};

/// Larger holes of one slice are cavities of the body, not of a bone, mm².
const HOLE_MAX_MM2: f64 = 4000.0;

/// A hole of one slice.
pub struct Hole {
    /// Its area, mm².
    pub area_mm2: f64,
    /// Mean grey value above soft tissue there, HU.
    pub above_soft_hu: f32,
}

/// In how many of the three planes each voxel lies in a hole of `shell` that is `wanted`, 0 to 3.
pub fn enclosing_planes(
    body: &Body,
    levels: &Levels,
    shell: &[bool],
    wanted: impl Fn(&Hole) -> bool + Sync,
) -> Vec<u8> {
    let votes: Vec<AtomicU8> = (0..body.lattice.len()).map(|_| AtomicU8::new(0)).collect();
    for (axis, [rows, columns]) in [(0, [1, 2]), (1, [0, 2]), (2, [0, 1])] {
        let (n_rows, n_columns) = (body.lattice.shape[rows], body.lattice.shape[columns]);
        let pixel_mm2 = body.lattice.spacing_mm[rows] * body.lattice.spacing_mm[columns];
        (0..body.lattice.shape[axis]).into_par_iter().for_each(|k| {
            let index = |row: usize, column: usize| {
                let mut at = [0; 3];
                (at[axis], at[rows], at[columns]) = (k, row, column);
                body.lattice.index(at)
            };
            for voxels in holes_of_slice(n_rows, n_columns, |row, column| shell[index(row, column)]) {
                let area_mm2 = voxels.len() as f64 * pixel_mm2;
                if area_mm2 > HOLE_MAX_MM2 {
                    continue;
                }
                let sum: f32 = voxels.iter().map(|(row, column)| body.hu[index(*row, *column)]).sum();
                let (row, column) = voxels[voxels.len() / 2];
                let soft = levels.soft(body.lattice.position(index(row, column)));
                let hole = Hole { area_mm2, above_soft_hu: sum / voxels.len() as f32 - soft };
                if wanted(&hole) {
                    for (row, column) in voxels {
                        // Each voxel is met once a plane: votes come out the same in any order.
                        votes[index(row, column)].fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    votes.into_iter().map(AtomicU8::into_inner).collect()
}
