//! How far two surfaces are from each other, to both sides, with a proved bound.

use crate::bvh::{Bounds, Bvh};
use crate::error::PrintingError;
use crate::geometry::{doubled_normal, nearest_on_triangle, vector};
use carm::TriangleMesh;
use nalgebra::Vector3;
use rayon::prelude::*;

/// Distances from one surface to another, over its whole area.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceDistance {
    /// Mean over the area, mm.
    pub mean_mm: f64,
    /// Not exceeded on 95 % of the area, mm.
    pub p95_mm: f64,
    /// The largest distance of a point that was looked at, mm.
    pub max_mm: f64,
    /// No point of the surface is farther away than this, mm.
    pub bound_mm: f64,
    /// Points looked at.
    pub samples: usize,
}

/// The distances in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hausdorff {
    /// From the first surface to the second.
    pub forward: SurfaceDistance,
    /// From the second surface to the first.
    pub backward: SurfaceDistance,
}

impl Hausdorff {
    /// The Hausdorff distance is at least this: the larger of both sampled maxima, mm.
    pub fn max_mm(&self) -> f64 {
        self.forward.max_mm.max(self.backward.max_mm)
    }

    /// The Hausdorff distance is at most this, mm.
    pub fn bound_mm(&self) -> f64 {
        self.forward.bound_mm.max(self.backward.bound_mm)
    }

    /// Mean of both means, mm.
    pub fn mean_mm(&self) -> f64 {
        0.5 * (self.forward.mean_mm + self.backward.mean_mm)
    }
}

/// Splits stop where the bound is this near to a sampled distance, mm, unless another gap is asked for.
const GAP_MM: f64 = 0.05;
/// Looked no farther than this at first, mm: most surfaces that are compared lie close to each other.
const NEAR_MM: f64 = 0.3;
/// A triangle is halved this often at most.
const SPLITS_MOST: u32 = 6;

/// The two-sided distance of two surfaces.
///
/// # Errors
/// `Empty` when one has no triangles; `Unsound` when one names missing vertices or coordinates that are not finite.
///
/// # Method
/// Every vertex and every triangle's centre is looked at, for the mean and the percentile with its share of the
/// area. The distance to *one* triangle is convex, so over a piece of the surface it is greatest at the piece's
/// corners: the least such value over the triangles that are nearest to its corners and centre bounds the piece.
/// Pieces whose bound exceeds the largest sampled distance by more than 0.05 mm are split at their sides' middles.
pub fn hausdorff(a: &TriangleMesh, b: &TriangleMesh) -> Result<Hausdorff, PrintingError> {
    hausdorff_bounded(a, b, GAP_MM)
}

/// As [`hausdorff`], with a bound that need not be nearer to the largest sampled distance than `gap_mm`: a coarser one
/// is found much faster, mean and sampled distances are the same.
///
/// # Errors
/// As [`hausdorff`], and `Parameter` for a gap that is not positive.
pub fn hausdorff_bounded(
    a: &TriangleMesh,
    b: &TriangleMesh,
    gap_mm: f64,
) -> Result<Hausdorff, PrintingError> {
    if gap_mm.is_nan() || gap_mm <= 0.0 {
        return Err(PrintingError::Parameter {
            what: "gap of the bound in mm",
            expected: "more than zero",
            found: gap_mm,
        });
    }
    let (near_a, near_b) = (NearestSurface::new(a)?, NearestSurface::new(b)?);
    Ok(Hausdorff { forward: distances(a, &near_b, gap_mm), backward: distances(b, &near_a, gap_mm) })
}

/// A surface that tells how far it is.
pub struct NearestSurface<'a> {
    mesh: &'a TriangleMesh,
    tree: Bvh,
}

impl<'a> NearestSurface<'a> {
    /// # Errors
    /// As [`hausdorff`].
    pub fn new(mesh: &'a TriangleMesh) -> Result<Self, PrintingError> {
        if mesh.triangles.is_empty() {
            return Err(PrintingError::Empty { what: "mesh", voxels: 0 });
        }
        let is_finite = |v: u32| mesh.vertices_mm[v as usize].iter().all(|x| x.is_finite());
        if let Some(triangle) = mesh.first_dangling_triangle() {
            return Err(PrintingError::Unsound { found: format!("triangle {triangle} without its vertex") });
        }
        if let Some(triangle) = mesh.triangles.iter().position(|t| !t.iter().all(|&v| is_finite(v))) {
            return Err(PrintingError::Unsound { found: format!("triangle {triangle} that is not finite") });
        }
        let boxes: Vec<Bounds> = mesh.triangles.par_iter().map(|t| Bounds::of(&corners(mesh, t))).collect();
        Ok(Self { mesh, tree: Bvh::new(&boxes) })
    }

    /// The nearest triangle and its distance, mm.
    pub fn nearest(&self, point: &Vector3<f64>) -> (u32, f64) {
        self.nearest_within(point, f64::INFINITY).expect("a surface with a triangle")
    }

    /// The nearest triangle no farther away than a distance, mm.
    pub(crate) fn nearest_within(&self, point: &Vector3<f64>, most_mm: f64) -> Option<(u32, f64)> {
        let found = self
            .tree
            .nearest((*point).into(), most_mm * most_mm, |triangle| self.distance_squared(point, triangle));
        found.map(|(triangle, squared)| (triangle, squared.sqrt()))
    }

    /// The nearest point of the surface no farther away than a distance, and its distance, mm.
    pub(crate) fn nearest_point(&self, point: &Vector3<f64>, most_mm: f64) -> Option<(Vector3<f64>, f64)> {
        self.nearest_within(point, most_mm).map(|(triangle, distance)| {
            let t = corners(self.mesh, &self.mesh.triangles[triangle as usize]).map(vector);
            (nearest_on_triangle(point, &t), distance)
        })
    }

    fn distance_squared(&self, point: &Vector3<f64>, triangle: u32) -> f64 {
        let t = corners(self.mesh, &self.mesh.triangles[triangle as usize]).map(vector);
        (nearest_on_triangle(point, &t) - point).norm_squared()
    }
}

fn corners(mesh: &TriangleMesh, triangle: &[u32; 3]) -> [[f32; 3]; 3] {
    triangle.map(|vertex| mesh.vertices_mm[vertex as usize])
}

/// A point with what is nearest to it.
#[derive(Clone, Copy)]
struct Look {
    point: Vector3<f64>,
    nearest: u32,
    distance: f64,
}

/// Looks within a distance first, and beyond it only where nothing is there.
fn look(to: &NearestSurface, point: Vector3<f64>, guess_mm: f64) -> Look {
    let (nearest, distance) = to.nearest_within(&point, guess_mm).unwrap_or_else(|| to.nearest(&point));
    Look { point, nearest, distance }
}

/// Looks from a point beside others: no farther away than what is nearest to those.
fn look_beside(to: &NearestSurface, point: Vector3<f64>, others: &[&Look]) -> Look {
    let guess =
        others.iter().map(|other| to.distance_squared(&point, other.nearest)).fold(f64::INFINITY, f64::min);
    // A sure upper bound, but for rounding.
    look(to, point, guess.sqrt() * 1.000_001 + 1e-6)
}

fn distances(from: &TriangleMesh, to: &NearestSurface, gap_mm: f64) -> SurfaceDistance {
    let mut is_named = vec![false; from.vertices_mm.len()];
    from.triangles.iter().flatten().for_each(|&v| is_named[v as usize] = true);
    let vertices: Vec<Option<Look>> = (0..is_named.len())
        .into_par_iter()
        .map(|v| is_named[v].then(|| look(to, vector(from.vertices_mm[v]), NEAR_MM)))
        .collect();
    let of = |t: &[u32; 3]| t.map(|v| vertices[v as usize].expect("a named vertex was looked at"));
    let centres: Vec<Look> = from.triangles.par_iter().map(|t| centre(to, &of(t))).collect();
    let max = vertices.iter().flatten().chain(&centres).map(|look| look.distance).fold(0.0, f64::max);
    let (mean_mm, p95_mm) = over_area(from, |t| of(t), &centres);
    let split: Vec<(f64, f64, usize)> = from
        .triangles
        .par_iter()
        .zip(&centres)
        .map(|(t, middle)| bound_piece(to, &of(t), middle, (max + gap_mm, gap_mm), 0))
        .collect();
    let max_mm = split.iter().map(|piece| piece.0).fold(max, f64::max);
    SurfaceDistance {
        mean_mm,
        p95_mm,
        max_mm,
        bound_mm: split.iter().map(|piece| piece.1).fold(max_mm, f64::max),
        samples: vertices.iter().flatten().count() + centres.len() + split.iter().map(|s| s.2).sum::<usize>(),
    }
}

fn centre(to: &NearestSurface, corners: &[Look; 3]) -> Look {
    let point = (corners[0].point + corners[1].point + corners[2].point) / 3.0;
    look_beside(to, point, &corners.each_ref())
}

/// Largest distance looked at, bound and further looks for a triangle, split until its bound is below `enough`, which
/// grows with what is found so that it stays a gap above.
fn bound_piece(
    to: &NearestSurface,
    corners: &[Look; 3],
    middle: &Look,
    (enough, gap_mm): (f64, f64),
    depth: u32,
) -> (f64, f64, usize) {
    let bound = corners
        .iter()
        .chain([middle])
        .map(|look| {
            let greatest =
                corners.iter().map(|c| to.distance_squared(&c.point, look.nearest)).fold(0.0, f64::max);
            greatest.sqrt()
        })
        .fold(f64::INFINITY, f64::min);
    if bound <= enough || depth == SPLITS_MOST {
        return (middle.distance, bound, 0);
    }
    let sides = [0, 1, 2].map(|i| {
        let (p, q) = (&corners[i], &corners[(i + 1) % 3]);
        look_beside(to, 0.5 * (p.point + q.point), &[p, q, middle])
    });
    let [ab, bc, ca] = sides;
    let mut found = (sides.iter().map(|s| s.distance).fold(0.0, f64::max), 0.0, 3);
    for piece in [[corners[0], ab, ca], [ab, corners[1], bc], [ca, bc, corners[2]], [ab, bc, ca]] {
        let enough = (enough.max(found.0 + gap_mm), gap_mm);
        let inner = bound_piece(to, &piece, &centre(to, &piece), enough, depth + 1);
        found = (found.0.max(inner.0), f64::max(found.1, inner.1), found.2 + inner.2 + 1);
    }
    found
}

/// Mean and 95th percentile with each look's share of the area: three quarters at the centre, the rest at the corners.
fn over_area(mesh: &TriangleMesh, of: impl Fn(&[u32; 3]) -> [Look; 3], centres: &[Look]) -> (f64, f64) {
    let mut shares: Vec<(f64, f64)> = Vec::with_capacity(4 * centres.len());
    for (t, middle) in mesh.triangles.iter().zip(centres) {
        let looks = of(t);
        let area = doubled_normal(&[0, 1, 2].map(|i| looks[i].point)).norm() / 2.0;
        shares.push((middle.distance, 0.75 * area));
        shares.extend(looks.iter().map(|look| (look.distance, area / 12.0)));
    }
    let whole: f64 = shares.iter().map(|share| share.1).sum();
    if whole <= 0.0 {
        return (0.0, 0.0);
    }
    let mean = shares.iter().map(|(distance, area)| distance * area).sum::<f64>() / whole;
    shares.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut below = 0.0;
    let p95 = shares.iter().find(|(_, area)| {
        below += area;
        below >= 0.95 * whole
    });
    (mean, p95.map_or(0.0, |share| share.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of side 2 in the plane z, cut into two triangles.
    fn square(z: f32) -> TriangleMesh {
        TriangleMesh {
            vertices_mm: vec![[-1.0, -1.0, z], [1.0, -1.0, z], [1.0, 1.0, z], [-1.0, 1.0, z]],
            triangles: vec![[0, 1, 2], [0, 2, 3]],
        }
    }

    #[test]
    fn hausdorff_of_parallel_squares_is_their_distance() {
        let found = hausdorff(&square(0.0), &square(0.5)).unwrap();
        for side in [found.forward, found.backward] {
            assert_eq!((side.mean_mm, side.p95_mm, side.max_mm, side.bound_mm), (0.5, 0.5, 0.5, 0.5));
        }
    }

    #[test]
    fn hausdorff_finds_a_peak_between_the_samples_of_a_coarse_triangle() {
        // The second surface dips below the first everywhere but at the corners and the centre of its triangles.
        let flat = square(0.0);
        let mut dented = TriangleMesh { vertices_mm: flat.vertices_mm.clone(), triangles: Vec::new() };
        dented.vertices_mm.push([0.0, 0.0, -0.7]);
        dented.triangles = (0..4).map(|i| [i, (i + 1) % 4, 4]).collect();
        let found = hausdorff(&flat, &dented).unwrap();
        // From (0, 0, 0) the nearest point lies on a slope of 0.7 over 1.
        let expected = 0.7 / (1.0 + 0.49_f64).sqrt();
        assert!(found.forward.max_mm <= expected + 1e-6 && found.forward.bound_mm >= expected - 1e-6);
        assert!(found.forward.bound_mm - expected < 0.06, "{found:?}");
        assert!((found.backward.max_mm - 0.7).abs() < 1e-6);
        assert!(found.bound_mm() >= found.max_mm());
    }

    #[test]
    fn hausdorff_refuses_what_is_no_surface() {
        let empty = TriangleMesh::default();
        assert!(matches!(hausdorff(&square(0.0), &empty), Err(PrintingError::Empty { .. })));
        let dangling = TriangleMesh { triangles: vec![[0, 1, 9]], ..square(0.0) };
        assert!(matches!(hausdorff(&dangling, &square(0.0)), Err(PrintingError::Unsound { .. })));
    }
}
