//! Bone all about: marrow that opens onto foramina, so that no plane shows it enclosed.

use crate::filter::{shrink_factor, shrunk};
use crate::lattice::Lattice;
use rayon::prelude::*;

/// Looked at on voxels of about this size, mm.
const COARSE_MM: f64 = 2.0;
/// Bone counts as far away as this, mm: no more than across the wing of a sacrum.
const REACH_MM: f64 = 30.0;

/// In how many of the 26 directions to its neighbours and on from there each voxel has bone, on coarser voxels that are
/// bone where any of theirs is.
pub struct Surrounded {
    coarse: Lattice,
    factor: [usize; 3],
    directions: Vec<u8>,
}

impl Surrounded {
    /// Looks around every voxel of a mask.
    pub fn by(bone: &[bool], lattice: &Lattice) -> Self {
        let factor = shrink_factor(lattice, COARSE_MM);
        let share: Vec<f32> = bone.iter().map(|bone| f32::from(u8::from(*bone))).collect();
        let (share, coarse) = shrunk(&share, lattice, factor);
        let bone: Vec<bool> = share.into_iter().map(|share| share > 0.0).collect();
        let directions = (0..27_isize)
            .into_par_iter()
            .filter(|direction| *direction != 13)
            .map(|direction| {
                seen(&bone, &coarse, [direction / 9 - 1, direction / 3 % 3 - 1, direction % 3 - 1])
            })
            .fold(|| vec![0; coarse.len()], added)
            .reduce(|| vec![0; coarse.len()], added);
        Self { coarse, factor, directions }
    }

    /// The number of directions, 0 to 26, at a voxel of the mask's lattice.
    pub fn directions(&self, at: [usize; 3]) -> u8 {
        self.directions[self.coarse.index(std::array::from_fn(|axis| at[axis] / self.factor[axis]))]
    }
}

fn added(mut sums: Vec<u8>, more: Vec<u8>) -> Vec<u8> {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    sums
}

/// One where bone lies within reach in a direction, else none.
fn seen(bone: &[bool], lattice: &Lattice, direction: [isize; 3]) -> Vec<u8> {
    let length =
        (0..3).map(|axis| (direction[axis] as f64 * lattice.spacing_mm[axis]).powi(2)).sum::<f64>().sqrt();
    let reach = ((REACH_MM / length) as u8).max(1);
    // Steps to the nearest bone; each voxel follows the next one in the direction.
    let mut steps = vec![u8::MAX; bone.len()];
    let along = |axis: usize, n: usize| {
        let forwards = direction[axis] < 0;
        (0..lattice.shape[axis]).map(move |i| if forwards { i } else { n - 1 - i })
    };
    let [nz, ny, nx] = lattice.shape;
    for z in along(0, nz) {
        for y in along(1, ny) {
            for x in along(2, nx) {
                if let Some(next) = lattice.offset([z, y, x], direction) {
                    steps[lattice.index([z, y, x])] =
                        if bone[next] { 1 } else { steps[next].saturating_add(1) };
                }
            }
        }
    }
    steps.iter().map(|steps| u8::from(*steps <= reach)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cavity_with_holes_has_bone_about_it_and_the_outside_of_a_wall_has_not() {
        let lattice = Lattice { shape: [40, 40, 40], spacing_mm: [1.0; 3] };
        // A box of walls around 20 mm, with a hole of 6 mm in front and one behind.
        let bone: Vec<bool> = (0..lattice.len())
            .map(|i| {
                let [z, y, x] = lattice.position(i).map(|at| (at as f64 - 19.5).abs());
                z.max(y).max(x) < 12.0 && z.max(y).max(x) > 10.0 && !(z < 3.0 && x < 3.0)
            })
            .collect();
        let around = Surrounded::by(&bone, &lattice);
        assert_eq!(around.directions([20, 20, 20]), 24);
        assert!(around.directions([14, 14, 26]) >= 25);
        assert!(around.directions([20, 20, 35]) <= 13, "{}", around.directions([20, 20, 35]));
        assert_eq!(around.directions([0, 0, 0]), 1);
    }

    #[test]
    fn bone_beyond_reach_does_not_count() {
        let lattice = Lattice { shape: [1, 1, 90], spacing_mm: [2.0; 3] };
        let bone: Vec<bool> = (0..lattice.len()).map(|i| i == 0).collect();
        let around = Surrounded::by(&bone, &lattice);
        assert_eq!([14, 15, 16].map(|x| around.directions([0, 0, x])), [1, 1, 0]);
    }
}
