//! What is painted on a model's surface: how thick it is, how sure, and how far it lies from the image.

use super::{Found, Made};
use anyhow::Result;
use carm::TriangleMesh;
use ndarray::Array3;
use printing::{Field, thickness};
use rayon::prelude::*;

/// Thickness is told up to this, mm.
pub const THICKNESS_MOST_MM: f64 = 6.0;
/// Farther from the image's surface than this, a place was made so: a base, a thicker wall, a strut, mm.
pub const DELIBERATE_MM: f64 = 1.0;

/// Values at each vertex of the model.
pub struct Painted {
    /// Local thickness, mm, no more than [`THICKNESS_MOST_MM`].
    pub thickness_mm: Vec<f32>,
    /// How sure the label is there, percent.
    pub confidence_percent: Vec<f32>,
    /// Signed distance to the surface that the image shows: positive where the model stands out, mm.
    pub off_mm: Vec<f32>,
}

impl Painted {
    /// Measures them all.
    pub fn new(made: &Made, scale: f64) -> Result<Self> {
        let mesh = &made.decimated.mesh;
        Ok(Self {
            thickness_mm: thickness(mesh, THICKNESS_MOST_MM)?,
            confidence_percent: confidence(&made.found, mesh, scale),
            off_mm: off(&made.shape.anatomy, mesh),
        })
    }
}

/// Confidence of the voxel that each vertex lies in.
fn confidence(found: &Found, mesh: &TriangleMesh, scale: f64) -> Vec<f32> {
    let values: &Array3<u8> = &found.confidence;
    let at = |vertex: &[f32; 3]| {
        let point = nalgebra::Point3::from(vertex.map(|x| f64::from(x) / scale));
        let voxel = found.grid.voxel(&point);
        let [x, y, z] = [0, 1, 2].map(|axis| {
            let last = (found.grid.shape[axis] - 1) as f64;
            voxel[axis].round().clamp(0.0, last) as usize
        });
        f32::from(values[[z, y, x]])
    };
    mesh.vertices_mm.par_iter().map(at).collect()
}

/// Distance of each vertex to the field's zero, to the first order.
fn off(field: &Field, mesh: &TriangleMesh) -> Vec<f32> {
    let at = |vertex: &[f32; 3]| {
        let point = nalgebra::Point3::from(vertex.map(f64::from));
        (-field.at(&point) / field.gradient(&point).norm().max(0.3)) as f32
    };
    mesh.vertices_mm.par_iter().map(at).collect()
}

/// Share of the surface's area about each vertex, mm².
pub fn areas(mesh: &TriangleMesh) -> Vec<f64> {
    let mut areas = vec![0.0; mesh.vertices_mm.len()];
    for triangle in &mesh.triangles {
        let [a, b, c] =
            triangle.map(|v| nalgebra::Vector3::from(mesh.vertices_mm[v as usize].map(f64::from)));
        let third = (b - a).cross(&(c - a)).norm() / 6.0;
        triangle.iter().for_each(|&v| areas[v as usize] += third);
    }
    areas
}

/// Mean and 95th percentile of values by their weights.
pub fn mean_and_p95(values: &mut [(f64, f64)]) -> (f64, f64) {
    let whole: f64 = values.iter().map(|(_, weight)| weight).sum();
    if whole <= 0.0 {
        return (0.0, 0.0);
    }
    let mean = values.iter().map(|(value, weight)| value * weight).sum::<f64>() / whole;
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = 0.0;
    let p95 = values.iter().find(|(_, weight)| {
        below += weight;
        below >= 0.95 * whole
    });
    (mean, p95.map_or(0.0, |found| found.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_p95_weigh_by_area() {
        let mut values = vec![(1.0, 3.0), (5.0, 1.0)];
        assert_eq!(mean_and_p95(&mut values), (2.0, 5.0));
        let mut many: Vec<(f64, f64)> = (1..=100).map(|i| (f64::from(i), 1.0)).collect();
        assert_eq!(mean_and_p95(&mut many), (50.5, 95.0));
        assert_eq!(mean_and_p95(&mut []), (0.0, 0.0));
    }
}
