//! Distances measured on the mesh and on the field that it came from, on the same lines.

use crate::bvh::{Bounds, Bvh};
use crate::error::PrintingError;
use crate::field::Field;
use crate::geometry::vector;
use carm::TriangleMesh;
use nalgebra::{Point3, Vector3};

/// One outer width along a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caliper {
    /// First crossing of the line with the mesh, mm.
    pub from_mm: [f64; 3],
    /// Last crossing, mm.
    pub to_mm: [f64; 3],
    /// Width of the mesh, mm.
    pub mesh_mm: f64,
    /// Width of the field along the same line, mm.
    pub field_mm: f64,
}

impl Caliper {
    /// Mesh less field, mm.
    pub fn error_mm(&self) -> f64 {
        self.mesh_mm - self.field_mm
    }
}

/// Steps along a line in the search for the field's crossings, in voxels.
const STEP: f64 = 0.25;

/// At least `count` outer widths, where the shape has as many: `count / 3` or more along each of the three
/// coordinate axes, on lines spread over the shape.
///
/// # Errors
/// `Empty` for a mesh without triangles; `Unsound` for one that names missing vertices.
pub fn calipers(mesh: &TriangleMesh, field: &Field, count: usize) -> Result<Vec<Caliper>, PrintingError> {
    if let Some(triangle) = mesh.first_dangling_triangle() {
        return Err(PrintingError::Unsound { found: format!("triangle {triangle} without its vertex") });
    }
    if mesh.triangles.is_empty() {
        return Err(PrintingError::Empty { what: "mesh", voxels: 0 });
    }
    let boxes: Vec<Bounds> =
        mesh.triangles.iter().map(|t| Bounds::of(&t.map(|v| mesh.vertices_mm[v as usize]))).collect();
    let lines = Lines { mesh, tree: Bvh::new(&boxes), field, bounds: Bounds::of(&mesh.vertices_mm) };
    let wanted = count.div_ceil(3);
    let mut found = Vec::new();
    for axis in 0..3 {
        let mut measured: Vec<Caliper> =
            lines.candidates(axis, 6 * wanted).filter_map(|line| lines.measure(axis, line)).collect();
        // The widest of what was tried: chords that graze the shape measure little but their own luck.
        measured.sort_by(|a, b| b.field_mm.total_cmp(&a.field_mm));
        measured.truncate(wanted);
        found.extend(measured);
    }
    Ok(found)
}

struct Lines<'a> {
    mesh: &'a TriangleMesh,
    tree: Bvh,
    field: &'a Field,
    bounds: Bounds,
}

impl Lines<'_> {
    /// Points that lines go through: middles of triangles spread evenly over the mesh's order.
    fn candidates(&self, axis: usize, count: usize) -> impl Iterator<Item = Vector3<f64>> + '_ {
        let step = (self.mesh.triangles.len() / count).max(1);
        self.mesh.triangles.iter().skip(axis * step / 3).step_by(step).map(|t| {
            let corners = t.map(|v| vector(self.mesh.vertices_mm[v as usize]));
            // Off the middle, so that no line meets a grid's own planes.
            0.41 * corners[0] + 0.33 * corners[1] + 0.26 * corners[2]
        })
    }

    fn measure(&self, axis: usize, through: Vector3<f64>) -> Option<Caliper> {
        let (low, high) = self.mesh_ends(axis, &through)?;
        let (first, last) = self.field_ends(axis, &through)?;
        let at = |along: f64| {
            let mut point = through;
            point[axis] = along;
            point.into()
        };
        Some(Caliper { from_mm: at(low), to_mm: at(high), mesh_mm: high - low, field_mm: last - first })
    }

    fn mesh_ends(&self, axis: usize, through: &Vector3<f64>) -> Option<(f64, f64)> {
        let mut line = self.bounds;
        let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
        for other in [b, c] {
            // The box of a line in 32 bits, not narrower than the line.
            line.low[other] = (through[other] as f32).next_down();
            line.high[other] = (through[other] as f32).next_up();
        }
        let mut ends: Option<(f64, f64)> = None;
        self.tree.for_each_overlap(&line, |triangle| {
            let t = self.mesh.triangles[triangle as usize].map(|v| vector(self.mesh.vertices_mm[v as usize]));
            let part = |p: &Vector3<f64>, q: &Vector3<f64>| {
                (p[b] - through[b]) * (q[c] - through[c]) - (p[c] - through[c]) * (q[b] - through[b])
            };
            let [u, v, w] = [part(&t[1], &t[2]), part(&t[2], &t[0]), part(&t[0], &t[1])];
            let sum = u + v + w;
            let crosses = (u >= 0.0 && v >= 0.0 && w >= 0.0) || (u <= 0.0 && v <= 0.0 && w <= 0.0);
            if crosses && sum != 0.0 {
                let along = (u * t[0][axis] + v * t[1][axis] + w * t[2][axis]) / sum;
                ends = Some(ends.map_or((along, along), |(low, high)| (low.min(along), high.max(along))));
            }
        });
        ends.filter(|(low, high)| high > low)
    }

    /// First and last place inside along the line, between two steps by halving.
    fn field_ends(&self, axis: usize, through: &Vector3<f64>) -> Option<(f64, f64)> {
        let spacing = self.field.grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
        let margin = 2.0 * self.field.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        let (start, end) =
            (f64::from(self.bounds.low[axis]) - margin, f64::from(self.bounds.high[axis]) + margin);
        let is_inside = |along: f64| {
            let mut point = *through;
            point[axis] = along;
            self.is_in_field(&Point3::from(point))
        };
        let steps = ((end - start) / (STEP * spacing)).ceil() as usize;
        let at = |step: usize| start + (end - start) * step as f64 / steps as f64;
        let first = (0..=steps).find(|&step| is_inside(at(step)))?;
        let last = (0..=steps).rev().find(|&step| is_inside(at(step)))?;
        let halved = |mut outside: f64, mut inside: f64| {
            for _ in 0..40 {
                let middle = 0.5 * (outside + inside);
                if is_inside(middle) { inside = middle } else { outside = middle }
            }
            0.5 * (outside + inside)
        };
        Some((halved(at(first.saturating_sub(1)), at(first)), halved(at((last + 1).min(steps)), at(last))))
    }

    /// Inside the field, which ends half a voxel beyond its outermost samples.
    fn is_in_field(&self, point: &Point3<f64>) -> bool {
        let voxel = self.field.grid.voxel(point);
        let is_on_grid =
            (0..3).all(|i| voxel[i] >= -0.5 && voxel[i] <= self.field.grid.shape[i] as f64 - 0.5);
        is_on_grid && self.field.at(point) > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, decimate, surface};
    use carm::VolumeGrid;
    use nalgebra::Matrix3;

    #[test]
    fn calipers_find_a_scaled_mesh_too_wide_and_the_right_one_right() {
        let grid = VolumeGrid::centred(
            [50, 50, 40],
            [0.5, 0.5, 0.7],
            Matrix3::identity(),
            Point3::new(9.0, 5.0, -7.0),
        )
        .unwrap();
        let middle = grid.centre();
        let field = Field::from_fn(grid, |p| 9.0 - (p - middle).norm()).unwrap();
        let mesh = surface(&field, &mut Silent).unwrap();
        let less = decimate(&mesh, mesh.triangles.len() / 4, 0.1, &mut Silent).unwrap().mesh;
        for sound in [&mesh, &less] {
            let found = calipers(sound, &field, 10).unwrap();
            assert!(found.len() >= 10);
            let worst = found.iter().map(|caliper| caliper.error_mm().abs()).fold(0.0, f64::max);
            assert!(worst < 0.1, "{worst}");
        }
        let mut wide = mesh;
        for point in &mut wide.vertices_mm {
            for i in 0..3 {
                point[i] = (f64::from(point[i]) * 1.05 - 0.05 * middle[i]) as f32;
            }
        }
        for caliper in calipers(&wide, &field, 10).unwrap() {
            assert!(caliper.error_mm() > 0.03 * caliper.field_mm, "{caliper:?}");
        }
    }
}
