//! One half of a shape that is printed in two: cut flat, with pegs that fit into the other half's holes.
//!
//! Where pegs go depends on the shape and the plane alone, not on the half, so both halves are made apart from each
//! other and fit.

use crate::error::PrintingError;
use crate::field::Field;
use crate::shapes::Solid;
use nalgebra::{Point3, Unit, Vector3};

/// A plane that takes away what lies in front of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// A point on the plane, mm.
    pub point_mm: Point3<f64>,
    /// Out of the half that stays.
    pub outward: Unit<Vector3<f64>>,
    /// What holds the halves together.
    pub joint: Option<Joint>,
}

/// Pegs or holes in a cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joint {
    /// Whether this half has the pegs; the other one has the holes.
    pub has_pegs: bool,
    /// Of a peg, mm. It reaches as far into each half.
    pub diameter_mm: f64,
    /// How much wider a hole is to every side, mm.
    pub clearance_mm: f64,
    /// What stays around a hole, mm.
    pub wall_mm: f64,
}

/// Pegs of a cut: three hold a plane.
const PEGS_MOST: usize = 3;
/// Least distance of two pegs' middles, diameters.
const APART: f64 = 3.0;
/// Places for a peg are tried on a lattice of this width, mm.
const TRIED_MM: f64 = 1.0;
/// Points around a peg, and heights along it, at which there must be something of the shape.
const AROUND: usize = 16;
const HEIGHTS: usize = 5;

impl Field {
    /// What lies behind the plane, and the middles of its pegs or holes.
    ///
    /// # Errors
    /// `Parameter` when a joint's size is not positive, less than two voxels wide, or when the cut has no room for it.
    pub fn cut(self, cut: &Cut) -> Result<(Self, Vec<Point3<f64>>), PrintingError> {
        let behind = Solid::HalfSpace { point_mm: cut.point_mm, normal: cut.outward };
        let Some(joint) = &cut.joint else { return Ok((self.within(&behind), Vec::new())) };
        let coarsest = self.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        if !(joint.diameter_mm >= 2.0 * coarsest && joint.diameter_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "diameter of a peg in mm",
                expected: "at least two voxels",
                found: joint.diameter_mm,
            });
        }
        let places = self.peg_places(cut, joint);
        if places.is_empty() {
            return Err(PrintingError::Parameter {
                what: "diameter of a peg in mm",
                expected: "what the cut has room for, with a wall around",
                found: joint.diameter_mm,
            });
        }
        let bar = |place: &Point3<f64>, reach: f64, radius_mm: f64| Solid::Cylinder {
            from_mm: place - cut.outward.into_inner() * reach,
            to_mm: place + cut.outward.into_inner() * reach,
            radius_mm,
        };
        let (reach, radius) = (joint.diameter_mm, 0.5 * joint.diameter_mm);
        let joined = places.iter().fold(self.within(&behind), |half, place| {
            if joint.has_pegs {
                half.with(&bar(place, reach, radius))
            } else {
                half.without(&bar(place, reach + joint.clearance_mm, radius + joint.clearance_mm))
            }
        });
        Ok((joined, places))
    }

    /// Up to three places far from each other, where a peg and a wall around it lie wholly within the shape.
    fn peg_places(&self, cut: &Cut, joint: &Joint) -> Vec<Point3<f64>> {
        let fitting = self.fitting_places(cut, joint);
        let middle =
            fitting.iter().map(|place| place.coords).sum::<Vector3<f64>>() / fitting.len().max(1) as f64;
        let mut places: Vec<Point3<f64>> = Vec::new();
        while places.len() < PEGS_MOST {
            let apart = |place: &Point3<f64>| match places.as_slice() {
                [] => (place.coords - middle).norm(),
                some => some.iter().map(|other| (place - other).norm()).fold(f64::INFINITY, f64::min),
            };
            // Of places as far apart, the first: the order is that of the lattice.
            let best = fitting.iter().map(|place| (apart(place), place)).fold(
                None,
                |best: Option<(f64, _)>, one| {
                    if best.is_some_and(|best| best.0 >= one.0) { best } else { Some(one) }
                },
            );
            match best {
                Some((distance, &place)) if places.is_empty() || distance >= APART * joint.diameter_mm => {
                    places.push(place);
                }
                _ => break,
            }
        }
        places
    }

    fn fitting_places(&self, cut: &Cut, joint: &Joint) -> Vec<Point3<f64>> {
        // The same axes for both halves: their normals differ in sign.
        let sign = if cut.outward[cut.outward.iamax()] < 0.0 { -1.0 } else { 1.0 };
        let normal = cut.outward.into_inner() * sign;
        let other = if normal.x.abs() < 0.9 { Vector3::x() } else { Vector3::y() };
        let u = normal.cross(&other).try_normalize(0.0).unwrap_or(other);
        let v = normal.cross(&u);
        let reach_mm = (0..8)
            .map(|corner| {
                let pick =
                    |axis: usize| if corner >> axis & 1 == 0 { 0.0 } else { self.grid.shape[axis] as f64 };
                (self.grid.point(pick(0), pick(1), pick(2)) - cut.point_mm).norm()
            })
            .fold(0.0, f64::max);
        let steps = (reach_mm / TRIED_MM).ceil() as i64;
        let radius = 0.5 * joint.diameter_mm + joint.clearance_mm + joint.wall_mm;
        let reach = joint.diameter_mm + joint.clearance_mm + joint.wall_mm;
        let ring: Vec<Vector3<f64>> = (0..AROUND)
            .map(|i| std::f64::consts::TAU * i as f64 / AROUND as f64)
            .map(|angle| radius * (angle.cos() * u + angle.sin() * v))
            .chain([Vector3::zeros()])
            .collect();
        let along = |height: usize| reach * (2.0 * height as f64 / (HEIGHTS - 1) as f64 - 1.0) * normal;
        let fits = |place: &Point3<f64>| {
            self.holds(place)
                && (0..HEIGHTS)
                    .all(|height| ring.iter().all(|around| self.holds(&(place + along(height) + around))))
        };
        (-steps..=steps)
            .flat_map(|j| (-steps..=steps).map(move |i| (i as f64, j as f64)))
            .map(|(i, j)| cut.point_mm + TRIED_MM * (i * u + j * v))
            .filter(fits)
            .collect()
    }

    /// Whether a point lies within the shape and the grid.
    fn holds(&self, point: &Point3<f64>) -> bool {
        let voxel = self.grid.voxel(point);
        (0..3).all(|i| voxel[i] >= 0.0 && voxel[i] <= (self.grid.shape[i] - 1) as f64) && self.at(point) > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use carm::VolumeGrid;
    use nalgebra::Matrix3;

    fn bar() -> Field {
        let grid =
            VolumeGrid::centred([70, 40, 50], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let low = Point3::new(-15.0, -8.0, -10.0);
        let body = Solid::Cuboid { low_mm: low, high_mm: Point3::new(15.0, 8.0, 10.0) };
        Field::from_fn(grid, |p| body.distance_mm(p)).unwrap()
    }

    fn joint(has_pegs: bool) -> Option<Joint> {
        Some(Joint { has_pegs, diameter_mm: 3.0, clearance_mm: 0.2, wall_mm: 1.5 })
    }

    fn halves(normal: Vector3<f64>, at: Point3<f64>) -> [(Field, Vec<Point3<f64>>); 2] {
        let outward = Unit::new_normalize(normal);
        [(outward, true), (-outward, false)]
            .map(|(outward, pegs)| bar().cut(&Cut { point_mm: at, outward, joint: joint(pegs) }).unwrap())
    }

    #[test]
    fn cut_halves_have_pegs_and_holes_in_the_same_places() {
        for normal in [Vector3::new(0.0, 0.0, 1.0), Vector3::new(0.3, -0.2, -1.0)] {
            let [pegs, holes] = halves(normal, Point3::new(0.0, 0.0, 1.0));
            assert_eq!(pegs.1, holes.1);
            assert_eq!(pegs.1.len(), 3);
            let axis = Unit::new_normalize(normal).into_inner();
            for place in &pegs.1 {
                let beyond = place + 2.5 * axis;
                assert!(pegs.0.at(&beyond) > 0.0 && holes.0.at(&beyond) < 0.0, "a peg in its hole");
            }
            let [a, b] = [&pegs.0, &holes.0].map(|half| check(&surface(half, &mut Silent).unwrap()));
            assert!(a.is_sound() && b.is_sound() && a.components == 1 && b.components == 1, "{a} {b}");
            // Both halves and the pegs' clearance make the whole.
            let clearance = 3.0 * std::f64::consts::PI * (1.7 * 1.7 * 3.2 - 1.5 * 1.5 * 3.0);
            let whole = check(&surface(&bar(), &mut Silent).unwrap()).volume_mm3;
            assert!((whole - a.volume_mm3 - b.volume_mm3 - clearance).abs() < 0.01 * whole);
        }
    }

    #[test]
    fn cut_without_room_for_a_peg_is_refused() {
        let cut =
            Cut { point_mm: Point3::new(0.0, 0.0, 9.0), outward: Vector3::z_axis(), joint: joint(true) };
        assert!(matches!(bar().cut(&cut), Err(PrintingError::Parameter { .. })));
        let plain = bar().cut(&Cut { joint: None, ..cut }).unwrap();
        let report = check(&surface(&plain.0, &mut Silent).unwrap());
        assert!((report.volume_mm3 - 30.0 * 16.0 * 19.0).abs() < 200.0 && plain.1.is_empty(), "{report}");
    }
}
