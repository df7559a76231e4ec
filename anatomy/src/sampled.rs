//! Places between voxels.

use crate::body::Body;
use crate::lattice::Lattice;
use nalgebra::Vector3;

/// The centre of a voxel, mm.
pub(crate) fn place(lattice: &Lattice, at: [usize; 3]) -> Vector3<f64> {
    Vector3::from_fn(|axis, _| at[axis] as f64 * lattice.spacing_mm[axis])
}

/// The grey value at a place between voxels; none outside.
pub(crate) fn sampled(body: &Body, at_mm: Vector3<f64>) -> Option<f32> {
    let lattice = &body.lattice;
    let mut low = [0; 3];
    let mut share = [0.0; 3];
    for axis in 0..3 {
        let index = at_mm[axis] / lattice.spacing_mm[axis];
        if !(index >= 0.0 && index <= (lattice.shape[axis] - 1) as f64) {
            return None;
        }
        low[axis] = (index as usize).min(lattice.shape[axis] - 2);
        share[axis] = (index - low[axis] as f64) as f32;
    }
    let strides = lattice.strides();
    let first = lattice.index(low);
    let mut sum = 0.0;
    for corner in 0..8_usize {
        let mut weight = 1.0;
        let mut index = first;
        for axis in 0..3 {
            let is_high = corner >> axis & 1;
            weight *= if is_high == 1 { share[axis] } else { 1.0 - share[axis] };
            index += is_high * strides[axis];
        }
        sum += weight * body.hu[index];
    }
    Some(sum)
}
