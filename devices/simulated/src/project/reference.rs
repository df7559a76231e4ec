//! The definition: the trilinear interpolant summed at fine, even steps in `f64`.

use super::VoxelBody;
use nalgebra::{Point3, Vector3};

/// Line integrals of the trilinear interpolant, midpoint rule at `step_mm`, from the source over `length_mm`.
pub(super) fn line_integrals(
    body: &VoxelBody,
    source_lps: &Point3<f64>,
    direction_lps: &Vector3<f64>,
    length_mm: f64,
    step_mm: f64,
) -> [f64; 4] {
    let along = direction_lps / direction_lps.norm();
    let steps = (length_mm / step_mm) as usize;
    let mut sum = [0.0; 4];
    for n in 0..steps {
        let densities = body.densities(&(source_lps + along * ((n as f64 + 0.5) * step_mm)));
        for (sum, value) in sum.iter_mut().zip(densities) {
            *sum += value * step_mm;
        }
    }
    sum
}
