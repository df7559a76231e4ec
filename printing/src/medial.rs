//! The largest ball inside a shape that touches its surface in a given point.

use crate::geometry::{doubled_normal, vector};
use crate::hausdorff::NearestSurface;
use carm::TriangleMesh;
use nalgebra::Vector3;
use rayon::prelude::*;

/// A ball inside the shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MedialBall {
    /// Middle, mm.
    pub centre: Vector3<f64>,
    /// mm.
    pub radius_mm: f64,
    /// The ball's point farthest from the vertex, mm.
    pub opposite: Vector3<f64>,
    /// How far apart the vertex and the other place that it touches lie, seen from its middle: π between the faces of a
    /// plate, less at an edge the more it opens.
    pub separation_rad: f64,
}

/// Balls that touch at an angle smaller than this touch a bump of the surface, not its other side.
const OPENING_LEAST_RAD: f64 = 1.2;
/// What reaches this part of the radius into a ball does not shrink it further: the surface's facets do.
const INTRUSION: f64 = 0.02;
const STEPS_MOST: usize = 30;

/// Unit normals of vertices, outward: means of their triangles' normals, weighted by area.
pub fn vertex_normals(mesh: &TriangleMesh) -> Vec<Vector3<f64>> {
    let mut sums = vec![Vector3::zeros(); mesh.vertices_mm.len()];
    for triangle in &mesh.triangles {
        let normal = doubled_normal(&triangle.map(|v| vector(mesh.vertices_mm[v as usize])));
        triangle.iter().for_each(|&v| sums[v as usize] += normal);
    }
    sums.into_iter().map(|sum| sum.try_normalize(0.0).unwrap_or_else(Vector3::zeros)).collect()
}

/// Rounds of averaging normals.
const ROUNDS: usize = 4;

/// Normals averaged over neighbouring vertices: facets show less.
fn smooth_normals(mesh: &TriangleMesh) -> Vec<Vector3<f64>> {
    let mut normals = vertex_normals(mesh);
    for _ in 0..ROUNDS {
        let mut sums = normals.clone();
        for triangle in &mesh.triangles {
            let sum: Vector3<f64> = triangle.iter().map(|&v| normals[v as usize]).sum();
            triangle.iter().for_each(|&v| sums[v as usize] += sum);
        }
        normals = sums.into_iter().map(|sum| sum.try_normalize(0.0).unwrap_or_else(Vector3::zeros)).collect();
    }
    normals
}

/// For each vertex the ball that touches it from inside, no larger than `radius_most_mm`.
///
/// # Method
/// Shrinking balls (Ma, Bae and Choi, The Visual Computer 28, 2012): a ball through the vertex whose middle lies on
/// the inward normal is shrunk until no other part of the surface lies in it.
pub fn medial_balls(mesh: &TriangleMesh, near: &NearestSurface, radius_most_mm: f64) -> Vec<MedialBall> {
    let normals = smooth_normals(mesh);
    mesh.vertices_mm
        .par_iter()
        .zip(&normals)
        .map(|(&vertex, normal)| shrink(&vector(vertex), normal, near, radius_most_mm))
        .collect()
}

fn shrink(
    vertex: &Vector3<f64>,
    normal: &Vector3<f64>,
    near: &NearestSurface,
    radius_most_mm: f64,
) -> MedialBall {
    let ball = |radius: f64| MedialBall {
        centre: vertex - normal * radius,
        radius_mm: radius,
        opposite: vertex - normal * (2.0 * radius),
        separation_rad: std::f64::consts::PI,
    };
    let mut found = ball(radius_most_mm);
    for _ in 0..STEPS_MOST {
        let Some((touched, _)) = near.nearest_point(&found.centre, (1.0 - INTRUSION) * found.radius_mm)
        else {
            break;
        };
        let across = vertex - touched;
        let height = across.dot(normal);
        if height <= 0.0 {
            break;
        }
        let mut smaller = ball(across.norm_squared() / (2.0 * height));
        let (a, b) = (vertex - smaller.centre, touched - smaller.centre);
        smaller.separation_rad = a.angle(&b);
        if smaller.separation_rad < OPENING_LEAST_RAD || smaller.radius_mm >= found.radius_mm {
            break;
        }
        found = smaller;
    }
    found
}
