//! Booleans in the field, and the simple bodies that models need: planes, pegs, holes, bases.
//!
//! Union is the greater of two signed distances, intersection the lesser; both keep the surface exact and the mesh
//! sound, whatever touches whatever.

use crate::error::PrintingError;
use crate::field::Field;
use carm::VolumeGrid;
use nalgebra::{Point3, Unit, Vector3};
use ndarray::{Array3, Axis, Zip};
use rayon::prelude::*;
use std::ops::Range;

/// A simple body: signed distances are positive inside, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Solid {
    /// Everything behind a plane.
    HalfSpace {
        /// A point on the plane, mm.
        point_mm: Point3<f64>,
        /// Outward normal.
        normal: Unit<Vector3<f64>>,
    },
    /// A round bar with flat ends: a peg, a hole, a connector, a strut.
    Cylinder {
        /// Middle of one end, mm.
        from_mm: Point3<f64>,
        /// Middle of the other end, mm.
        to_mm: Point3<f64>,
        /// mm.
        radius_mm: f64,
    },
    /// A box along the coordinate axes: a base.
    Cuboid {
        /// Least coordinates, mm.
        low_mm: Point3<f64>,
        /// Greatest coordinates, mm.
        high_mm: Point3<f64>,
    },
    /// A ball.
    Ball {
        /// Middle, mm.
        centre_mm: Point3<f64>,
        /// mm.
        radius_mm: f64,
    },
}

/// Around a solid, values hold its distance so far, in the widest voxels.
const NEAR_VOXELS: f64 = 4.0;

impl Solid {
    /// Signed distance, mm, positive inside.
    pub fn distance_mm(&self, point: &Point3<f64>) -> f64 {
        match self {
            Self::HalfSpace { point_mm, normal } => -(point - point_mm).dot(normal),
            Self::Ball { centre_mm, radius_mm } => radius_mm - (point - centre_mm).norm(),
            Self::Cuboid { low_mm, high_mm } => {
                let beyond = (low_mm - point).sup(&(point - high_mm));
                -corner_distance(beyond.as_slice())
            }
            Self::Cylinder { from_mm, to_mm, radius_mm } => {
                let along = to_mm - from_mm;
                let length = along.norm();
                let Some(axis) = along.try_normalize(0.0) else { return -(point - from_mm).norm() };
                let height = (point - from_mm).dot(&axis);
                let away = (point - from_mm - axis * height).norm();
                -corner_distance(&[away - radius_mm, -height, height - length])
            }
        }
    }

    /// Columns, rows and planes of a grid that hold the solid and [`NEAR_VOXELS`] around it.
    fn reach(&self, grid: &VolumeGrid) -> [Range<usize>; 3] {
        let around = |radius_mm: f64| Vector3::from_element(radius_mm);
        let (low, high) = match self {
            Self::HalfSpace { .. } => return grid.shape.map(|count| 0..count),
            Self::Ball { centre_mm, radius_mm } => {
                (centre_mm - around(*radius_mm), centre_mm + around(*radius_mm))
            }
            Self::Cuboid { low_mm, high_mm } => (*low_mm, *high_mm),
            Self::Cylinder { from_mm, to_mm, radius_mm } => {
                (from_mm.inf(to_mm) - around(*radius_mm), from_mm.sup(to_mm) + around(*radius_mm))
            }
        };
        let corners = (0..8).map(|corner| {
            let pick = |axis: usize| if corner >> axis & 1 == 0 { low[axis] } else { high[axis] };
            grid.voxel(&Point3::new(pick(0), pick(1), pick(2)))
        });
        let (mut least, mut greatest) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for voxel in corners {
            least = [0, 1, 2].map(|axis| least[axis].min(voxel[axis]));
            greatest = [0, 1, 2].map(|axis| greatest[axis].max(voxel[axis]));
        }
        let coarsest = grid.spacing_mm.into_iter().fold(0.0, f64::max);
        [0, 1, 2].map(|axis| {
            let (near, count) = (NEAR_VOXELS * coarsest / grid.spacing_mm[axis], grid.shape[axis] as f64);
            let at = |voxel: f64| voxel.clamp(0.0, count) as usize;
            at((least[axis] - near).floor())..at((greatest[axis] + near).ceil() + 1.0)
        })
    }
}

/// Distance to a convex corner from the signed distances beyond its faces; faces against each other count once.
fn corner_distance(beyond: &[f64]) -> f64 {
    let greatest = beyond.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if greatest <= 0.0 { greatest } else { beyond.iter().map(|b| b.max(0.0).powi(2)).sum::<f64>().sqrt() }
}

impl Field {
    /// What is in this shape or in the solid.
    #[must_use]
    pub fn with(self, solid: &Solid) -> Self {
        let near = solid.reach(&self.grid);
        self.combined_in(near, solid, f32::max)
    }

    /// What is in this shape and not in the solid: a cut, a hole.
    #[must_use]
    pub fn without(self, solid: &Solid) -> Self {
        let near = solid.reach(&self.grid);
        self.combined_in(near, solid, |shape, solid| shape.min(-solid))
    }

    /// What is in this shape and in the solid: what a cut plane leaves.
    #[must_use]
    pub fn within(self, solid: &Solid) -> Self {
        let everywhere = self.grid.shape.map(|count| 0..count);
        self.combined_in(everywhere, solid, f32::min)
    }

    /// Union with another field on the same grid.
    ///
    /// # Errors
    /// `Parameter` when the grids differ.
    pub fn union(self, other: &Self) -> Result<Self, PrintingError> {
        self.require_grid_of(other)?;
        Ok(self.combined(&other.values, f32::max))
    }

    /// Intersection with another field on the same grid.
    ///
    /// # Errors
    /// As [`Field::union`].
    pub fn intersection(self, other: &Self) -> Result<Self, PrintingError> {
        self.require_grid_of(other)?;
        Ok(self.combined(&other.values, f32::min))
    }

    /// This shape without another on the same grid.
    ///
    /// # Errors
    /// As [`Field::union`].
    pub fn difference(self, other: &Self) -> Result<Self, PrintingError> {
        self.require_grid_of(other)?;
        Ok(self.combined(&other.values, |shape, other| shape.min(-other)))
    }

    /// The same shape on a grid with `margin_mm` more on every side, and outside there: room for what is to be added.
    pub fn padded(&self, margin_mm: f64) -> Self {
        let more = self.grid.spacing_mm.map(|spacing| (margin_mm / spacing).ceil().max(0.0) as usize);
        let grid = VolumeGrid {
            shape: [0, 1, 2].map(|axis| self.grid.shape[axis] + 2 * more[axis]),
            origin: self.grid.point(-(more[0] as f64), -(more[1] as f64), -(more[2] as f64)),
            ..self.grid
        };
        self.moved_to(grid, more)
    }

    /// The same samples on a larger grid, `first` voxels after its beginning, and outside around them.
    pub(crate) fn moved_to(&self, grid: VolumeGrid, first: [usize; 3]) -> Self {
        let spacing = self.grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
        // Where the shape is cut off by its grid the surface stays half-way to the next voxel, flat.
        let outside = -self.values.iter().fold(spacing as f32, |most, value| most.max(value.abs()));
        let mut values = Array3::from_elem(crate::field::array_shape(&grid), outside);
        let range = |axis: usize| first[axis]..first[axis] + self.grid.shape[axis];
        values.slice_mut(ndarray::s![range(2), range(1), range(0)]).assign(&self.values);
        Self { grid, values }
    }

    /// Changes some columns, rows and planes. Of a solid these are those in it or near it: a few voxels away from its
    /// surface nothing depends on the rest.
    fn combined_in(
        mut self,
        [columns, rows, planes]: [Range<usize>; 3],
        solid: &Solid,
        combine: impl Fn(f32, f32) -> f32 + Sync,
    ) -> Self {
        let grid = self.grid;
        let mut part = self.values.slice_mut(ndarray::s![planes.clone(), rows.clone(), columns.clone()]);
        part.axis_iter_mut(Axis(0)).collect::<Vec<_>>().into_par_iter().zip(planes).for_each(
            |(mut plane, z)| {
                for ((y, x), value) in plane.indexed_iter_mut() {
                    let point = grid.point((columns.start + x) as f64, (rows.start + y) as f64, z as f64);
                    *value = combine(*value, solid.distance_mm(&point) as f32);
                }
            },
        );
        self
    }

    fn combined(mut self, other: &Array3<f32>, combine: impl Fn(f32, f32) -> f32) -> Self {
        Zip::from(&mut self.values).and(other).for_each(|value, &other| *value = combine(*value, other));
        self
    }

    fn require_grid_of(&self, other: &Self) -> Result<(), PrintingError> {
        if self.grid == other.grid {
            return Ok(());
        }
        Err(PrintingError::Parameter {
            what: "voxels of the other field",
            expected: "the same grid",
            found: other.grid.voxel_count() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use nalgebra::Matrix3;

    fn cube(n: usize) -> Field {
        let grid = VolumeGrid::centred([n; 3], [0.4; 3], Matrix3::identity(), Point3::origin()).unwrap();
        Field::from_fn(grid, |p| 5.0 - p.coords.amax()).unwrap()
    }

    fn volume(field: &Field) -> f64 {
        let report = check(&surface(field, &mut Silent).unwrap());
        assert!(report.is_sound(), "{report}");
        report.volume_mm3
    }

    #[test]
    fn booleans_add_up_to_the_volumes_of_their_parts() {
        let field = cube(50);
        let ball = Solid::Ball { centre_mm: Point3::new(4.0, 3.0, 5.0), radius_mm: 3.0 };
        let (a, both) = (volume(&field), volume(&field.clone().within(&ball)));
        let b = 4.0 / 3.0 * std::f64::consts::PI * 27.0;
        assert!((volume(&field.clone().with(&ball)) - (a + b - both)).abs() < 0.01 * a);
        assert!((volume(&field.without(&ball)) - (a - both)).abs() < 0.01 * a);
    }

    #[test]
    fn holes_pegs_and_cut_planes_have_their_size() {
        let field = cube(50);
        let hole = Solid::Cylinder {
            from_mm: Point3::new(0.0, 1.0, -9.0),
            to_mm: Point3::new(0.0, 1.0, 9.0),
            radius_mm: 1.5,
        };
        let drilled = field.clone().without(&hole);
        let expected = std::f64::consts::PI * 1.5 * 1.5 * 10.0;
        assert!((volume(&field) - volume(&drilled) - expected).abs() < 0.03 * expected);
        assert_eq!(check(&surface(&drilled, &mut Silent).unwrap()).genus, Some(1));
        let plane = Solid::HalfSpace { point_mm: Point3::new(0.0, 0.0, 1.0), normal: Vector3::z_axis() };
        // Faces on the grid's own planes lie a twentieth of a voxel inside, and edges are cut across their last cell.
        let cut = volume(&field.clone().within(&plane));
        assert!((cut - 600.0).abs() < 20.0, "{cut}");
        let base =
            Solid::Cuboid { low_mm: Point3::new(-6.0, -6.0, -7.0), high_mm: Point3::new(6.0, 6.0, -5.0) };
        let built = volume(&field.with(&base));
        assert!((built / 1288.0 - 1.0).abs() < 0.03, "{built}");
    }

    #[test]
    fn padding_keeps_the_shape_and_its_caps() {
        let field = cube(20);
        let wide = field.padded(3.0);
        assert!(!field.touched_sides().is_empty() && wide.touched_sides().is_empty());
        assert!((volume(&wide) / volume(&field) - 1.0).abs() < 0.13, "{} {}", volume(&wide), volume(&field));
        let other = cube(50);
        assert!(matches!(field.union(&other), Err(PrintingError::Parameter { .. })));
    }
}
