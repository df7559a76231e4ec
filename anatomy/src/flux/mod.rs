//! Optimally oriented flux: how much the image's gradient points inwards through a sphere, by direction.
//!
//! Inside a bright tube the flux through a sphere of the tube's radius is strong across the tube and absent along it.
//! Unlike second derivatives it does not feel neighbours beyond the sphere, which is what bone beside an artery is.
//!
//! # Method
//! Law and Chung, *Three dimensional curvilinear structure detection using optimally oriented flux*, ECCV 2008: the
//! matrix `q_ij(x; r) = ∮ (v · e_i) (n · e_j) dA / (4 π r²)` over the sphere of radius `r` with `v` the gradient of the
//! image smoothed by `sigma`; its eigenvalues are the flux along its eigenvectors.

mod fourier;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use fourier::Flux;

use nalgebra::{Matrix3, SymmetricEigen, Vector3};

/// A tube as the flux sees it at one voxel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tube {
    /// Mean inward flux across the tube, per mm of the image's unit: the geometric mean of the two strong directions.
    pub strength: f64,
    /// Along the tube, in the axes z, y, x.
    pub direction: Vector3<f64>,
    /// The radius whose sphere gave the strongest flux, mm.
    pub radius_mm: f64,
}

/// The tube that a flux matrix (axes z, y, x) describes; none where flux does not point inwards in two directions.
pub(crate) fn tube_of(matrix: Matrix3<f64>, radius_mm: f64) -> Option<Tube> {
    let eigen = SymmetricEigen::new(matrix);
    let mut order = [0, 1, 2];
    order.sort_by(|a, b| eigen.eigenvalues[*a].total_cmp(&eigen.eigenvalues[*b]));
    let (first, second) = (eigen.eigenvalues[order[0]], eigen.eigenvalues[order[1]]);
    if !(first < 0.0 && second < 0.0) {
        return None;
    }
    let direction = eigen.eigenvectors.column(order[2]).into_owned();
    Some(Tube { strength: (first * second).sqrt(), direction, radius_mm })
}
