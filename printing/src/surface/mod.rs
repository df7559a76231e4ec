//! The surface of a field: closed, manifold, oriented outward and free of self-intersections by construction.
//!
//! Cells of the grid are cut by the pattern of their corners ([`table`]), after a layer of outside samples was laid
//! around the grid, so that a shape that touches the border is capped flat half a voxel beyond its last samples.
//!
//! *Manifold*: a cut edge of the grid carries one vertex, a face of a cell the same segments for both of its cells,
//! a cell's loops pass each of its cut edges once. So every segment joins two triangles, in opposite directions,
//! and the triangles about a vertex close one ring through the four cells of its edge.
//! *Free of intersections*: cells meet in faces only, no triangle lies in a face, and within a cell the table's
//! triangles are separated by planes wherever their vertices lie, at least [`MARGIN`] of an edge from its ends.
//! *After rounding*: an arrangement with that much room stays free of intersections when its vertices move little.
//! Coordinates are rounded to the mesh's 32 bits at once, and grids whose voxels are too small for that at their
//! distance from the origin are refused.

#[cfg(test)]
mod nasty;
mod table;
#[cfg(test)]
mod tests;

use crate::error::PrintingError;
use crate::field::{Field, require_finite, require_shape};
use crate::progress::{Progress, advance};
use carm::TriangleMesh;
use nalgebra::Point3;
use rayon::prelude::*;
use table::{MARGIN, TABLE, lower_corner};

/// Largest rounding error of a coordinate, relative to the smallest voxel spacing.
const ROUNDING_MOST: f64 = 1e-3;

/// Planes between two reports of progress.
const PLANES_A_STEP: usize = 32;

/// The surface where the field is zero, in the grid's space.
///
/// Inside is where values are above zero. Vertices are placed by linear interpolation along the grid's edges, at
/// least a twentieth of an edge from its ends. Triangles are counter-clockwise from outside for left-handed grids,
/// too. Opposite corners inside are joined through a cell's face.
///
/// # Errors
/// `NotFinite`, `Shape`; `Empty` when nothing is inside; `TooFine` for grids that 32-bit coordinates cannot hold;
/// `TooLarge`; `Cancelled`.
pub fn surface(field: &Field, progress: &mut dyn Progress) -> Result<TriangleMesh, PrintingError> {
    require_shape("field", &field.grid, field.values.dim())?;
    require_finite("field", field.values.view())?;
    require_room(field)?;
    let lattice = Lattice::new(field);
    let planes = lattice.size[2];
    let mut vertices_mm = Vec::new();
    let mut first_vertex = Vec::with_capacity(planes + 1);
    for start in (0..planes).step_by(PLANES_A_STEP) {
        advance(progress, "surface", start, 2 * planes)?;
        let chunk = start..planes.min(start + PLANES_A_STEP);
        let found: Vec<Vec<[f32; 3]>> = chunk.into_par_iter().map(|z| lattice.vertices(z)).collect();
        for plane in found {
            first_vertex.push(vertices_mm.len() as u64);
            vertices_mm.extend(plane);
        }
    }
    let found = vertices_mm.len() as u64;
    if found == 0 {
        return Err(PrintingError::Empty { what: "surface", voxels: field.values.len() });
    }
    if found > u64::from(u32::MAX) {
        return Err(PrintingError::TooLarge { most: u64::from(u32::MAX), found });
    }
    let mut triangles = Vec::new();
    for start in (0..planes - 1).step_by(PLANES_A_STEP) {
        advance(progress, "surface", planes + start, 2 * planes)?;
        let chunk = start..(planes - 1).min(start + PLANES_A_STEP);
        let found: Vec<Vec<[u32; 3]>> = chunk
            .into_par_iter()
            .map(|z| lattice.triangles(z, [first_vertex[z], first_vertex[z + 1]]))
            .collect();
        triangles.extend(found.into_iter().flatten());
    }
    Ok(TriangleMesh { vertices_mm, triangles })
}

/// Refuses voxels too small for 32-bit coordinates.
fn require_room(field: &Field) -> Result<(), PrintingError> {
    let grid = &field.grid;
    let [nx, ny, nz] = grid.shape.map(|n| n as f64);
    let reach_mm = (0..8)
        .map(|corner| {
            let pick = |bit: i32, n: f64| if corner >> bit & 1 == 0 { -1.0 } else { n };
            grid.point(pick(0, nx), pick(1, ny), pick(2, nz)).coords.amax()
        })
        .fold(0.0, f64::max);
    let found_mm = grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
    // Half a unit in the last place of 24 binary digits.
    let needed_mm = reach_mm * 2.0_f64.powi(-24) / ROUNDING_MOST;
    if found_mm >= needed_mm { Ok(()) } else { Err(PrintingError::TooFine { needed_mm, reach_mm, found_mm }) }
}

/// The field's samples with a layer of outside around them.
struct Lattice<'a> {
    field: &'a Field,
    /// Points along x, y, z, the layer included.
    size: [usize; 3],
    is_left_handed: bool,
    /// How far caps stray from their plane, in voxels to either side.
    cap_roughness: f64,
}

/// On grids turned against the coordinate axes no rounded cap is plane, but some of its triangles are parallel to the
/// last digit, where checkers that compute in floating point see intersections that are not there. A thousandth of
/// a voxel keeps such triangles apart.
const CAP_ROUGHNESS: f64 = 1e-3;

/// A number from -1 to 1 that looks random, from a place on the lattice.
fn scatter([x, y]: [usize; 2], z: usize) -> f64 {
    let mixed = (x as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (y as u64 + 1).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ (z as u64 + 1).wrapping_mul(0x1656_67b1_9e37_79f9);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A plane of the lattice.
struct Plane<'a> {
    /// Samples of the field, `None` in the layer around.
    values: Option<ndarray::ArrayView2<'a, f32>>,
    /// Inside flags over the whole plane, layer included, x fastest.
    inside: Vec<bool>,
}

impl<'a> Lattice<'a> {
    fn new(field: &'a Field) -> Self {
        let is_left_handed = field.grid.direction.determinant() < 0.0;
        let is_along_axes = field.grid.direction.iter().all(|&part| part == 0.0 || part.abs() == 1.0);
        let cap_roughness = if is_along_axes { 0.0 } else { CAP_ROUGHNESS };
        Self { field, size: field.grid.shape.map(|n| n + 2), is_left_handed, cap_roughness }
    }

    fn plane(&self, z: usize) -> Plane<'a> {
        let [nx, ny, nz] = self.size;
        let mut inside = vec![false; nx * ny];
        if z == 0 || z + 1 >= nz {
            return Plane { values: None, inside };
        }
        let values = self.field.values.index_axis(ndarray::Axis(0), z - 1);
        for (row, flags) in values.rows().into_iter().zip(inside.chunks_exact_mut(nx).skip(1)) {
            for (value, flag) in row.iter().zip(&mut flags[1..]) {
                *flag = *value > 0.0;
            }
        }
        Plane { values: Some(values), inside }
    }

    /// Every cut edge that starts in a plane: axis and the flat index of its lower end, in the order of the vertices.
    fn for_each_cut(&self, here: &Plane, above: Option<&Plane>, mut visit: impl FnMut(usize, usize)) {
        let [nx, ny, _] = self.size;
        for y in 0..ny {
            for x in 0..nx {
                let at = y * nx + x;
                let inside = here.inside[at];
                if x + 1 < nx && here.inside[at + 1] != inside {
                    visit(0, at);
                }
                if y + 1 < ny && here.inside[at + nx] != inside {
                    visit(1, at);
                }
                if above.is_some_and(|above| above.inside[at] != inside) {
                    visit(2, at);
                }
            }
        }
    }

    fn above(&self, z: usize) -> Option<Plane<'a>> {
        (z + 1 < self.size[2]).then(|| self.plane(z + 1))
    }

    fn vertices(&self, z: usize) -> Vec<[f32; 3]> {
        let (here, above) = (self.plane(z), self.above(z));
        let nx = self.size[0];
        let mut vertices = Vec::new();
        self.for_each_cut(&here, above.as_ref(), |axis, at| {
            let low = [at % nx, at / nx];
            let mut high = low;
            let end = if axis == 2 { above.as_ref().unwrap_or(&here) } else { &here };
            if axis < 2 {
                high[axis] += 1;
            }
            let along = match (self.sample(&here, low), self.sample(end, high)) {
                (Some(a), Some(b)) => (a / (a - b)).clamp(MARGIN, 1.0 - MARGIN),
                // The layer: a cap on the outermost voxels' outer faces.
                _ => 0.5 + self.cap_roughness * scatter(low, z),
            };
            // Lattice indices start one layer before the grid's.
            let mut index = [low[0] as f64 - 1.0, low[1] as f64 - 1.0, z as f64 - 1.0];
            index[axis] += along;
            let point: Point3<f64> = self.field.grid.point(index[0], index[1], index[2]);
            vertices.push([point.x as f32, point.y as f32, point.z as f32]);
        });
        vertices
    }

    fn sample(&self, plane: &Plane, at: [usize; 2]) -> Option<f64> {
        let values = plane.values.as_ref()?;
        values.get((at[1].checked_sub(1)?, at[0].checked_sub(1)?)).copied().map(f64::from)
    }

    /// Vertex index of each cut edge that starts in a plane; three slots a point.
    fn numbers(&self, here: &Plane, above: Option<&Plane>, first: u64) -> Vec<u32> {
        let mut numbers = vec![u32::MAX; 3 * here.inside.len()];
        let mut next = first as u32;
        self.for_each_cut(here, above, |axis, at| {
            numbers[3 * at + axis] = next;
            next += 1;
        });
        numbers
    }

    /// Triangles of the cells between planes `z` and `z + 1`, whose first vertices are numbered `first`.
    fn triangles(&self, z: usize, first: [u64; 2]) -> Vec<[u32; 3]> {
        let (low, high) = (self.plane(z), self.plane(z + 1));
        let mut triangles = Vec::new();
        if !low.inside.iter().chain(&high.inside).any(|&inside| inside) {
            return triangles;
        }
        let top = self.above(z + 1);
        let numbers =
            [self.numbers(&low, Some(&high), first[0]), self.numbers(&high, top.as_ref(), first[1])];
        let [nx, ny, _] = self.size;
        for y in 0..ny - 1 {
            for x in 0..nx - 1 {
                let at = y * nx + x;
                let outside = self.pattern(&low, &high, at);
                if outside == 0 || outside == u8::MAX {
                    continue;
                }
                let number = |edge: u8| {
                    let corner = lower_corner(edge) as usize;
                    let point = at + (corner & 1) + (corner >> 1 & 1) * nx;
                    numbers[corner >> 2][3 * point + edge as usize / 4]
                };
                for triangle in &TABLE[outside as usize] {
                    let [a, b, c] = triangle.map(number);
                    triangles.push(if self.is_left_handed { [a, c, b] } else { [a, b, c] });
                }
            }
        }
        triangles
    }

    /// Bits of the corners of a cell that are outside.
    fn pattern(&self, low: &Plane, high: &Plane, at: usize) -> u8 {
        let nx = self.size[0];
        let mut outside = 0;
        for (bit, flags) in [(0, &low.inside), (4, &high.inside)] {
            for (corner, offset) in [0, 1, nx, nx + 1].into_iter().enumerate() {
                outside |= u8::from(!flags[at + offset]) << (bit + corner);
            }
        }
        outside
    }
}
