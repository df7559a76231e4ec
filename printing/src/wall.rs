//! No wall thinner than the printer can print.

use crate::error::PrintingError;
use crate::field::Field;
use crate::geometry::nearest_on_triangle;
use crate::hausdorff::NearestSurface;
use crate::medial::{MedialBall, medial_balls};
use crate::progress::{Progress, advance};
use crate::surface::surface;
use carm::VolumeGrid;
use nalgebra::{Point3, Vector3};
use ndarray::Axis;
use rayon::prelude::*;
use std::ops::Range;

/// A place where a wall was thickened.
#[derive(Clone, Debug, PartialEq)]
pub struct ThinPlace {
    /// Where it was thinnest, mm.
    pub place_mm: [f64; 3],
    /// Thickness there before, mm.
    pub thickness_mm: f64,
    /// Area of the surface that belongs to this place, mm², about.
    pub area_mm2: f64,
}

/// A field whose walls can be printed, and where they could not before.
#[derive(Clone, Debug, PartialEq)]
pub struct Thickened {
    /// The field.
    pub field: Field,
    /// Part of the surface that was thinner than the wall.
    pub thin_part: f64,
    /// Places in need, those with the largest area first.
    pub places: Vec<ThinPlace>,
}

/// Added to the wall's half for vertices that keep away from the ends of the grid's edges, in voxels.
const SLACK: f64 = 0.06;
/// Largest ball that is looked for, radius in walls: a little more than what is thin.
const LOOKED_AT: f64 = 0.6;
/// Least separation of what a ball touches in a wall: at edges that open by more than 65 degrees it is less.
const SEPARATION_LEAST_RAD: f64 = 2.0;
/// Thin places nearer to each other than this are one, mm.
const PLACE_MM: f64 = 10.0;

impl Field {
    /// Thickens every wall to at least `wall_mm`, by union with everything within half of that around the middle of
    /// the thin parts. Tips of wedges that open by more than about 60 degrees are edges and stay.
    ///
    /// The grid must resolve the wall: its spacing should be at most half of it, a third is better.
    ///
    /// # Errors
    /// `Parameter`; `WallLargerThanPart` when nothing of the part is as thick as a third of the wall; those of
    /// [`surface`].
    ///
    /// # Method
    /// Thickness is the diameter of the largest inscribed ball that touches the surface (after Hildebrand and
    /// Rüegsegger, J. Microscopy 185, 1997). Middles of such balls lie on the medial surface from both sides.
    pub fn with_minimum_wall(
        mut self,
        wall_mm: f64,
        progress: &mut dyn Progress,
    ) -> Result<Thickened, PrintingError> {
        let coarsest = self.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        if !(wall_mm >= coarsest && wall_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "minimum wall in mm",
                expected: "at least the voxel spacing",
                found: wall_mm,
            });
        }
        let mesh = surface(&self, progress)?;
        advance(progress, "thickness", 0, 2)?;
        let near = NearestSurface::new(&mesh)?;
        let balls = medial_balls(&mesh, &near, LOOKED_AT * wall_mm);
        let thickest = balls.iter().map(|ball| 2.0 * ball.radius_mm).fold(0.0, f64::max);
        if thickest < wall_mm / 3.0 {
            return Err(PrintingError::WallLargerThanPart { wall_mm, found_mm: thickest });
        }
        let is_thin: Vec<bool> =
            balls.iter().map(|ball| 2.0 * ball.radius_mm < wall_mm && self.is_wall(ball)).collect();
        advance(progress, "thickness", 1, 2)?;
        // Interpolation between voxels cuts the crowns of curves: by h²/8r on the grid, again on its triangles.
        let half = 0.5 * wall_mm;
        let radius = half + SLACK * coarsest + coarsest * coarsest / (4.0 * half);
        self.unite_around(&medial_sheets(&mesh, &balls, &is_thin, 2.0 * wall_mm), radius);
        let thin: Vec<MedialBall> =
            balls.iter().zip(&is_thin).filter_map(|(ball, &is_thin)| is_thin.then_some(*ball)).collect();
        let area_mm2 = area(&mesh) / balls.len().max(1) as f64;
        let thin_part = thin.len() as f64 / balls.len().max(1) as f64;
        Ok(Thickened { field: self, thin_part, places: places(&thin, area_mm2) })
    }

    /// Whether the shape ends about where the ball does on its far side, too: so in plates and rods and in wedges that
    /// open by less than about 60 degrees, where the far side lies half a radius deep; not at other edges.
    fn is_wall(&self, ball: &MedialBall) -> bool {
        ball.separation_rad > SEPARATION_LEAST_RAD
            && self.at(&Point3::from(ball.opposite)) < 0.5 * ball.radius_mm
    }

    /// Adds everything within a radius of triangles, mm.
    fn unite_around(&mut self, triangles: &[[Vector3<f64>; 3]], radius: f64) {
        let grid = self.grid;
        let reaches: Vec<[Range<usize>; 3]> =
            triangles.par_iter().map(|triangle| reach(&grid, triangle, radius)).collect();
        let mut of_plane: Vec<Vec<u32>> = vec![Vec::new(); grid.shape[2]];
        for (number, [_, _, planes]) in reaches.iter().enumerate() {
            planes.clone().for_each(|z| of_plane[z].push(number as u32));
        }
        let planes: Vec<_> = self.values.axis_iter_mut(Axis(0)).collect();
        planes.into_par_iter().zip(&of_plane).enumerate().for_each(|(z, (mut plane, numbers))| {
            for &number in numbers {
                let triangle = &triangles[number as usize];
                let [columns, rows, _] = &reaches[number as usize];
                for y in rows.clone() {
                    for x in columns.clone() {
                        let point = grid.point(x as f64, y as f64, z as f64).coords;
                        let distance = (nearest_on_triangle(&point, triangle) - point).norm();
                        let value = &mut plane[[y, x]];
                        *value = value.max((radius - distance) as f32);
                    }
                }
            }
        });
    }
}

/// Columns, rows and planes of the voxels that may lie within a radius of a triangle, and one more.
fn reach(grid: &VolumeGrid, triangle: &[Vector3<f64>; 3], radius: f64) -> [Range<usize>; 3] {
    let corners = triangle.map(|corner| grid.voxel(&Point3::from(corner)));
    [0, 1, 2].map(|axis| {
        let reach = radius / grid.spacing_mm[axis] + 1.5;
        let least = corners.iter().map(|corner| corner[axis]).fold(f64::INFINITY, f64::min);
        let greatest = corners.iter().map(|corner| corner[axis]).fold(f64::NEG_INFINITY, f64::max);
        let end = (greatest + reach).floor() + 1.0;
        ((least - reach).ceil().max(0.0) as usize)..(end.clamp(0.0, grid.shape[axis] as f64) as usize)
    })
}

/// The middles of thin walls as triangles: those of three neighbouring vertices, or of one alone.
fn medial_sheets(
    mesh: &carm::TriangleMesh,
    balls: &[MedialBall],
    is_thin: &[bool],
    jump_mm: f64,
) -> Vec<[Vector3<f64>; 3]> {
    let mut is_covered = vec![false; balls.len()];
    let mut sheets = Vec::new();
    for triangle in &mesh.triangles {
        let centres = triangle.map(|v| balls[v as usize].centre);
        let is_near = (0..3).all(|i| (centres[i] - centres[(i + 1) % 3]).norm() < jump_mm);
        if is_near && triangle.iter().all(|&v| is_thin[v as usize]) {
            sheets.push(centres);
            triangle.iter().for_each(|&v| is_covered[v as usize] = true);
        }
    }
    let alone = (0..balls.len()).filter(|&v| is_thin[v] && !is_covered[v]);
    sheets.extend(alone.map(|v| [balls[v].centre; 3]));
    sheets
}

fn area(mesh: &carm::TriangleMesh) -> f64 {
    let corners = |t: &[u32; 3]| t.map(|v| crate::geometry::vector(mesh.vertices_mm[v as usize]));
    mesh.triangles.iter().map(|t| crate::geometry::doubled_normal(&corners(t)).norm() / 2.0).sum()
}

/// Thin balls gathered in cells, each told by its thinnest.
fn places(thin: &[MedialBall], area_mm2: f64) -> Vec<ThinPlace> {
    let mut cells: std::collections::BTreeMap<[i64; 3], ThinPlace> = std::collections::BTreeMap::new();
    for ball in thin {
        let key = [0, 1, 2].map(|i| (ball.centre[i] / PLACE_MM).floor() as i64);
        let here =
            ThinPlace { place_mm: ball.centre.into(), thickness_mm: 2.0 * ball.radius_mm, area_mm2: 0.0 };
        let place = cells.entry(key).or_insert_with(|| here.clone());
        if here.thickness_mm < place.thickness_mm {
            *place = ThinPlace { area_mm2: place.area_mm2, ..here };
        }
        place.area_mm2 += area_mm2;
    }
    let mut places: Vec<ThinPlace> = cells.into_values().collect();
    places.sort_by(|a, b| b.area_mm2.total_cmp(&a.area_mm2));
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use nalgebra::Matrix3;

    /// Facets stand out of curves and leave creases by a tenth of a voxel of 0.3 mm: points nearer to the surface do not
    /// count.
    const SKIN_MM: f64 = 0.03;

    /// Part of the volume that an opening with a ball removes, from 4000 points inside: those that no such ball inside
    /// the shape covers, as far as a search for its middle around the point finds.
    fn removed_by_opening(field: &Field, diameter_mm: f64) -> f64 {
        let mesh = surface(field, &mut Silent).unwrap();
        let near = NearestSurface::new(&mesh).unwrap();
        let inside: Vec<_> = field.values.indexed_iter().filter(|(_, value)| **value > 0.0).collect();
        let radius = diameter_mm / 2.0;
        let is_lost = |point: &Vector3<f64>| {
            if near.nearest(point).1 < SKIN_MM {
                return false;
            }
            let depth = |c: &Vector3<f64>| {
                if field.at(&Point3::from(*c)) > 0.0 { near.nearest(c).1 } else { 0.0 }
            };
            let (surface_point, _) = near.nearest_point(point, f64::INFINITY).unwrap();
            let inward = (point - surface_point).try_normalize(0.0).unwrap_or_else(Vector3::zeros);
            let start = [*point, surface_point + inward * radius];
            let mut best =
                start.map(|c| (depth(&c), c)).into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            for step in [0.3, 0.15, 0.07, 0.03, 0.015] {
                loop {
                    let before = best.0;
                    let from = best.1;
                    for i in (0..27).filter(|&i| i != 13) {
                        let turn = Vector3::new(
                            (i % 3) as f64 - 1.0,
                            (i / 3 % 3) as f64 - 1.0,
                            (i / 9) as f64 - 1.0,
                        );
                        let centre = from + step * turn;
                        if (centre - point).norm() <= radius {
                            let found = depth(&centre);
                            if found > best.0 {
                                best = (found, centre);
                            }
                        }
                    }
                    if best.0 >= radius - 0.005 {
                        return false;
                    }
                    if best.0 <= before {
                        break;
                    }
                }
            }
            true
        };
        let step = (inside.len() / 4000).max(1);
        let points: Vec<Vector3<f64>> = inside
            .iter()
            .step_by(step)
            .map(|((z, y, x), _)| field.grid.point(*x as f64, *y as f64, *z as f64).coords)
            .collect();
        points.par_iter().filter(|point| is_lost(point)).count() as f64 / points.len() as f64
    }

    /// A ball with fins of 0.4 to 1.2 mm, a rod of 0.8 mm, and a curved sheet.
    fn finned(spacing: f64) -> Field {
        let count = (30.0 / spacing) as usize;
        let grid =
            VolumeGrid::centred([count; 3], [spacing; 3], Matrix3::identity(), Point3::origin()).unwrap();
        Field::from_fn(grid, |p| {
            let ball = 5.0 - p.coords.norm();
            let round = 10.0 - p.coords.norm();
            let fin = |thickness: f64, value: f64| (0.5 * thickness - value.abs()).min(round);
            let sheet = (0.4 - (p.coords.norm() - 9.0).abs()).min(p.z - 0.5 * p.x);
            let rod = (0.4 - (p.x - 3.0).hypot(p.y + 2.0)).min(round);
            [ball, fin(0.6, p.x + 0.2 * p.y), fin(1.2, p.y - 0.3 * p.z), sheet, rod]
                .into_iter()
                .fold(f64::MIN, f64::max)
        })
        .unwrap()
    }

    #[test]
    fn minimum_wall_leaves_nothing_that_an_opening_removes() {
        let field = finned(0.3);
        let before = removed_by_opening(&field, 1.45);
        let made = field.clone().with_minimum_wall(1.5, &mut Silent).unwrap();
        let after = removed_by_opening(&made.field, 1.45);
        println!("before {before:.4} after {after:.5} thin {:.3}", made.thin_part);
        assert!(before > 0.05 && after < 0.001, "{before} {after}");
        assert!(made.thin_part > 0.2 && !made.places.is_empty());
        assert!(crate::check(&surface(&made.field, &mut Silent).unwrap()).is_sound());
    }

    #[test]
    fn minimum_wall_leaves_thick_parts_and_edges_alone() {
        let grid = VolumeGrid::centred([40; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let cube = Field::from_fn(grid, |p| 6.0 - p.coords.amax()).unwrap();
        let made = cube.clone().with_minimum_wall(1.5, &mut Silent).unwrap();
        assert_eq!((made.thin_part, made.field.values), (0.0, cube.values));
    }

    #[test]
    fn minimum_wall_refuses_a_part_that_is_smaller() {
        let grid = VolumeGrid::centred([20; 3], [0.2; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let grain = Field::from_fn(grid, |p| 0.4 - p.coords.norm()).unwrap();
        let refused = grain.clone().with_minimum_wall(3.0, &mut Silent);
        assert!(matches!(refused, Err(PrintingError::WallLargerThanPart { .. })), "{refused:?}");
        assert!(matches!(grain.with_minimum_wall(0.1, &mut Silent), Err(PrintingError::Parameter { .. })));
    }
}
