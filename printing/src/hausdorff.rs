//! How far two surfaces are from each other, to both sides, with a proved bound.

use crate::bvh::{Bounds, Bvh, Nearest};
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
/// Every vertex is looked at, and every triangle's centre unless the triangles nearest to its corners show that it is
/// no farther away than those; both count with their share of the area. The distance to *one* triangle is convex, so
/// over a piece of the surface it is greatest at the piece's corners. The least such value over the triangles that are
/// nearest to its corners and centre bounds a piece; so does the greatest over the piece's four parts, those about each
/// corner and what is cut between them, each with the triangle that suits it best. Pieces whose bound exceeds the
/// largest sampled distance by more than 0.05 mm are split at their sides' middles.
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
    /// Corners of the triangles in the tree's order: those that are looked at together lie together.
    corners: Vec<[[f32; 3]; 3]>,
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
        let tree = Bvh::new(&boxes);
        let corners = tree.order().par_iter().map(|&t| corners(mesh, &mesh.triangles[t as usize])).collect();
        Ok(Self { mesh, tree, corners })
    }

    /// The nearest triangle and its distance, mm.
    pub fn nearest(&self, point: &Vector3<f64>) -> (u32, f64) {
        self.nearest_within(point, f64::INFINITY).expect("a surface with a triangle")
    }

    /// The nearest triangle no farther away than a distance, mm.
    pub(crate) fn nearest_within(&self, point: &Vector3<f64>, most_mm: f64) -> Option<(u32, f64)> {
        let (place, squared) = self.search(point, most_mm, 0.0)?;
        Some((self.tree.order()[place as usize], squared.sqrt()))
    }

    /// Whether anything of the surface is no farther away than a distance, mm: much less work than what is nearest.
    pub(crate) fn is_within(&self, point: &Vector3<f64>, most_mm: f64) -> bool {
        self.search(point, most_mm, most_mm).is_some()
    }

    /// The nearest point of the surface no farther away than a distance, and its distance, mm.
    pub(crate) fn nearest_point(&self, point: &Vector3<f64>, most_mm: f64) -> Option<(Vector3<f64>, f64)> {
        let (place, squared) = self.search(point, most_mm, 0.0)?;
        Some((nearest_on_triangle(point, &self.corners[place as usize].map(vector)), squared.sqrt()))
    }

    fn search(&self, point: &Vector3<f64>, most_mm: f64, enough_mm: f64) -> Nearest {
        self.tree.nearest((*point).into(), most_mm * most_mm, enough_mm * enough_mm, |place| {
            (nearest_on_triangle(point, &self.corners[place as usize].map(vector)) - point).norm_squared()
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
    let max = vertices.iter().flatten().map(|look| look.distance).fold(0.0, f64::max);
    let pieces: Vec<Piece> = from
        .triangles
        .par_iter()
        .map(|t| {
            let corners = of(t);
            let middle = centre(to, &corners);
            Piece::bounded(to, &corners, &middle, (max + gap_mm, gap_mm), 0)
        })
        .collect();
    let (mean_mm, p95_mm) = over_area(from, of, &pieces);
    let max_mm = pieces.iter().map(|piece| piece.max_mm).fold(max, f64::max);
    SurfaceDistance {
        mean_mm,
        p95_mm,
        max_mm,
        bound_mm: pieces.iter().map(|piece| piece.bound_mm).fold(max_mm, f64::max),
        samples: vertices.iter().flatten().count() + pieces.iter().map(|piece| piece.looks).sum::<usize>(),
    }
}

/// The centre of a triangle, with the nearest of the triangles nearest to its corners where that is no farther away
/// than the corners are from theirs, and with what is nearest otherwise; the number of looks that took.
fn centre(to: &NearestSurface, corners: &[Look; 3]) -> (Look, usize) {
    let point = (corners[0].point + corners[1].point + corners[2].point) / 3.0;
    let best = corners
        .iter()
        .map(|corner| (to.distance_squared(&point, corner.nearest), corner.nearest))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let (squared, nearest) = best.expect("three corners");
    let farthest = corners.iter().map(|corner| corner.distance).fold(0.0, f64::max);
    if squared <= farthest * farthest {
        return (Look { point, nearest, distance: squared.sqrt() }, 0);
    }
    (look_beside(to, point, &corners.each_ref()), 1)
}

/// What is known of a piece of a surface.
#[derive(Clone, Copy)]
struct Piece {
    /// At its centre, or a little more.
    centre_mm: f64,
    /// The largest distance looked at.
    max_mm: f64,
    /// No point of it is farther away than this.
    bound_mm: f64,
    looks: usize,
}

impl Piece {
    /// Bounds a triangle, split until its bound is below `enough`, which grows with what is found so that it stays a
    /// gap above.
    fn bounded(
        to: &NearestSurface,
        corners: &[Look; 3],
        &(middle, looks): &(Look, usize),
        (enough, gap_mm): (f64, f64),
        depth: u32,
    ) -> Self {
        let max_mm = if looks > 0 { middle.distance } else { 0.0 };
        let mut piece =
            Self { centre_mm: middle.distance, max_mm, bound_mm: whole_bound(to, corners, &middle), looks };
        if piece.bound_mm <= enough {
            return piece;
        }
        piece.bound_mm = piece.bound_mm.min(bound_in_parts(to, corners, &middle));
        if piece.bound_mm <= enough || depth == SPLITS_MOST {
            return piece;
        }
        let sides = [0, 1, 2].map(|i| {
            let (p, q) = (&corners[i], &corners[(i + 1) % 3]);
            look_beside(to, 0.5 * (p.point + q.point), &[p, q, &middle])
        });
        let [ab, bc, ca] = sides;
        piece.max_mm = sides.iter().map(|side| side.distance).fold(piece.max_mm, f64::max);
        (piece.bound_mm, piece.looks) = (0.0, looks + 3);
        for part in [[corners[0], ab, ca], [ab, corners[1], bc], [ca, bc, corners[2]], [ab, bc, ca]] {
            let enough = (enough.max(piece.max_mm + gap_mm), gap_mm);
            let inner = Self::bounded(to, &part, &centre(to, &part), enough, depth + 1);
            piece.max_mm = piece.max_mm.max(inner.max_mm);
            piece.bound_mm = piece.bound_mm.max(inner.bound_mm);
            piece.looks += inner.looks;
        }
        piece
    }
}

/// The least over the nearest triangles of the greatest distance of a corner.
fn whole_bound(to: &NearestSurface, corners: &[Look; 3], middle: &Look) -> f64 {
    let greatest = |look: &Look| {
        corners.iter().map(|corner| to.distance_squared(&corner.point, look.nearest)).fold(0.0, f64::max)
    };
    corners.iter().chain([middle]).map(greatest).fold(f64::INFINITY, f64::min).sqrt()
}

/// The greatest over the four parts that the sides' middles cut of the least such bound.
fn bound_in_parts(to: &NearestSurface, corners: &[Look; 3], middle: &Look) -> f64 {
    let [a, b, c] = corners.map(|corner| corner.point);
    let places = [a, b, c, 0.5 * (a + b), 0.5 * (b + c), 0.5 * (c + a)];
    let mut bounds = [f64::INFINITY; 4];
    for nearest in [corners[0], corners[1], corners[2], *middle].map(|look| look.nearest) {
        let far = places.map(|place| to.distance_squared(&place, nearest));
        for (bound, part) in bounds.iter_mut().zip([[0, 3, 5], [1, 4, 3], [2, 5, 4], [3, 4, 5]]) {
            *bound = bound.min(part.iter().map(|&place| far[place]).fold(0.0, f64::max));
        }
    }
    bounds.into_iter().fold(0.0, f64::max).sqrt()
}

/// Bins of the percentile, which is told as a bin's upper end.
const BINS: usize = 4096;

/// Mean and 95th percentile with each look's share of the area: three quarters at the centre, the rest at the corners.
fn over_area(mesh: &TriangleMesh, of: impl Fn(&[u32; 3]) -> [Look; 3], pieces: &[Piece]) -> (f64, f64) {
    let distances = |t: &[u32; 3]| of(t).map(|look| look.distance);
    let most = mesh
        .triangles
        .iter()
        .flat_map(distances)
        .chain(pieces.iter().map(|p| p.centre_mm))
        .fold(0.0, f64::max);
    let (mut areas, mut sum) = ([0.0; BINS], 0.0);
    let mut add = |distance: f64, area: f64| {
        sum += distance * area;
        areas[((distance / most * BINS as f64) as usize).min(BINS - 1)] += area;
    };
    for (t, piece) in mesh.triangles.iter().zip(pieces) {
        let looks = of(t);
        let area = doubled_normal(&looks.map(|look| look.point)).norm() / 2.0;
        add(piece.centre_mm, 0.75 * area);
        looks.iter().for_each(|look| add(look.distance, area / 12.0));
    }
    let whole: f64 = areas.iter().sum();
    if whole <= 0.0 {
        return (0.0, 0.0);
    }
    let mut below = 0.0;
    let p95 = areas.iter().position(|area| {
        below += area;
        below >= 0.95 * whole
    });
    (sum / whole, p95.map_or(most, |bin| most * (bin + 1) as f64 / BINS as f64))
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
