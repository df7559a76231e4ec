//! Which good pixels fill a defect, and with what weight: worked out once per calibration.

use crate::error::AcquisitionError;
use carm::{DetectorGrid, PixelDefect};
use nalgebra::{Matrix3, Vector3};

/// How far good pixels are looked for.
const MAX_RADIUS_PX: usize = 24;
/// Good pixels wanted for a plane: twice its three parameters.
const MIN_SOURCES: usize = 6;
/// A weight beyond this means that the plane is extrapolated; noise would be amplified.
const MAX_WEIGHT: f64 = 1.0;

/// A good pixel's part in a defect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) pixel: u32,
    pub(super) weight: f32,
}

/// Sources of every defect; weights of one defect add up to 1.
#[derive(Clone, Debug, Default)]
pub(super) struct DefectFill {
    defects: Vec<(usize, std::ops::Range<usize>)>,
    sources: Vec<Source>,
}

impl DefectFill {
    pub(super) fn new(is_good: &[bool], grid: &DetectorGrid) -> Result<Self, AcquisitionError> {
        let mut fill = Self::default();
        for pixel in (0..is_good.len()).filter(|&pixel| !is_good[pixel]) {
            let (u, v) = (pixel % grid.nu, pixel / grid.nu);
            let offsets = nearest_good(is_good, grid, u, v);
            if offsets.is_empty() {
                let defect = PixelDefect { u: u as u32, v: v as u32 };
                return Err(AcquisitionError::DefectAlone { defect, radius_px: MAX_RADIUS_PX });
            }
            let start = fill.sources.len();
            for ([du, dv], weight) in offsets.iter().zip(weights(&offsets)) {
                let source = (v as i64 + dv) as usize * grid.nu + (u as i64 + du) as usize;
                fill.sources.push(Source { pixel: source as u32, weight: weight as f32 });
            }
            fill.defects.push((pixel, start..fill.sources.len()));
        }
        Ok(fill)
    }

    pub(super) fn len(&self) -> usize {
        self.defects.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[Source])> {
        self.defects.iter().map(|(pixel, range)| (*pixel, &self.sources[range.clone()]))
    }
}

/// Good pixels of the smallest square around `(u, v)` that holds enough of them, as offsets.
fn nearest_good(is_good: &[bool], grid: &DetectorGrid, u: usize, v: usize) -> Vec<[i64; 2]> {
    let mut found = Vec::new();
    for radius in 1..=MAX_RADIUS_PX {
        found.clear();
        for row in v.saturating_sub(radius)..=(v + radius).min(grid.nv - 1) {
            for column in u.saturating_sub(radius)..=(u + radius).min(grid.nu - 1) {
                if is_good[row * grid.nu + column] {
                    found.push([column as i64 - u as i64, row as i64 - v as i64]);
                }
            }
        }
        if found.len() >= MIN_SOURCES {
            break;
        }
    }
    found
}

/// Weights of a plane through the sources, read at the origin; of the mean where there is no good plane.
fn weights(offsets: &[[i64; 2]]) -> Vec<f64> {
    let near = |[du, dv]: &[i64; 2]| 1.0 / (du * du + dv * dv) as f64;
    let basis = |[du, dv]: &[i64; 2]| Vector3::new(1.0, *du as f64, *dv as f64);
    let normal: Matrix3<f64> = offsets.iter().map(|at| near(at) * basis(at) * basis(at).transpose()).sum();
    // The value at the origin is the first parameter: e1' N^-1 A' W.
    let plane = normal.try_inverse().map(|inverse| {
        let row = inverse.row(0).transpose();
        offsets.iter().map(|at| near(at) * row.dot(&basis(at))).collect::<Vec<f64>>()
    });
    let is_usable = |w: &Vec<f64>| {
        w.iter().all(|weight| weight.abs() <= MAX_WEIGHT) && (w.iter().sum::<f64>() - 1.0).abs() < 1e-9
    };
    plane.filter(is_usable).unwrap_or_else(|| {
        let total: f64 = offsets.iter().map(near).sum();
        offsets.iter().map(|at| near(at) / total).collect()
    })
}
