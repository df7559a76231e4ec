//! Bodies drawn with formulas: their line integrals are exact, so everything downstream can be held against them.
//!
//! Shapes add up where they overlap (as in the Shepp-Logan phantom), so a hole is a shape of negative density.

use crate::error::{SimulationError, require};
use crate::materials::{Material, water_bone_equivalent};
use nalgebra::{Isometry3, Point3, Vector3};

/// The surface of a shape, around its own origin, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// Semi-axes.
    Ellipsoid {
        /// Along x, y, z.
        semi_axes_mm: [f64; 3],
    },
    /// A box by its half sides.
    Box {
        /// Along x, y, z.
        half_sides_mm: [f64; 3],
    },
    /// An elliptic cylinder along z with flat ends.
    Cylinder {
        /// Semi-axes along x and y.
        semi_axes_mm: [f64; 2],
        /// Half its length along z.
        half_length_mm: f64,
    },
}

/// How a shape attenuates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attenuation {
    /// As water does, scaled to this attenuation at the protocol's effective energy, 1/mm; may be negative.
    MuPerMm(f64),
    /// As a light material of this density, g/cm³; may be negative.
    Density(Material, f64),
}

/// One shape in LPS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its surface.
    pub form: Form,
    /// Its place.
    pub lps_from_shape: Isometry3<f64>,
    /// How it attenuates.
    pub attenuation: Attenuation,
}

impl Shape {
    /// A ball.
    pub fn ball(centre_lps: Point3<f64>, diameter_mm: f64, attenuation: Attenuation) -> Self {
        Self {
            form: Form::Ellipsoid { semi_axes_mm: [0.5 * diameter_mm; 3] },
            lps_from_shape: Isometry3::translation(centre_lps.x, centre_lps.y, centre_lps.z),
            attenuation,
        }
    }

    /// A straight wire between two points, with flat ends.
    pub fn wire(ends_lps: [Point3<f64>; 2], diameter_mm: f64, attenuation: Attenuation) -> Self {
        let along = ends_lps[1] - ends_lps[0];
        let turn = nalgebra::UnitQuaternion::rotation_between(&Vector3::z(), &along).unwrap_or_else(|| {
            nalgebra::UnitQuaternion::from_axis_angle(&Vector3::x_axis(), std::f64::consts::PI)
        });
        let middle = nalgebra::center(&ends_lps[0], &ends_lps[1]);
        Self {
            form: Form::Cylinder { semi_axes_mm: [0.5 * diameter_mm; 2], half_length_mm: 0.5 * along.norm() },
            lps_from_shape: Isometry3::from_parts(middle.coords.into(), turn),
            attenuation,
        }
    }

    /// True inside the surface, for a point in the shape's own space.
    fn contains(&self, point: &Point3<f64>) -> bool {
        match self.form {
            Form::Ellipsoid { semi_axes_mm: s } => {
                (0..3).map(|i| (point[i] / s[i]).powi(2)).sum::<f64>() <= 1.0
            }
            Form::Box { half_sides_mm: h } => (0..3).all(|i| point[i].abs() <= h[i]),
            Form::Cylinder { semi_axes_mm: s, half_length_mm } => {
                point.z.abs() <= half_length_mm
                    && (0..2).map(|i| (point[i] / s[i]).powi(2)).sum::<f64>() <= 1.0
            }
        }
    }

    /// Half sides of the box around the surface, in the shape's own space.
    fn half_extent(&self) -> Vector3<f64> {
        match self.form {
            Form::Ellipsoid { semi_axes_mm: s } => s.into(),
            Form::Box { half_sides_mm: h } => h.into(),
            Form::Cylinder { semi_axes_mm: s, half_length_mm } => Vector3::new(s[0], s[1], half_length_mm),
        }
    }

    /// Length of the line inside the surface; `along` has unit length.
    fn chord_mm(&self, start_lps: &Point3<f64>, along_lps: &Vector3<f64>) -> f64 {
        let start = self.lps_from_shape.inverse_transform_point(start_lps).coords;
        let along = self.lps_from_shape.inverse_transform_vector(along_lps);
        let (low, high) = match self.form {
            Form::Ellipsoid { semi_axes_mm: s } => round(&start, &along, &s),
            Form::Box { half_sides_mm: h } => slabs(&start, &along, &[(0, h[0]), (1, h[1]), (2, h[2])]),
            Form::Cylinder { semi_axes_mm: s, half_length_mm } => {
                let side = round(&start, &along, &s);
                let ends = slabs(&start, &along, &[(2, half_length_mm)]);
                (side.0.max(ends.0), side.1.min(ends.1))
            }
        };
        (high - low).max(0.0)
    }
}

/// Where a line is inside Σ (x_i / s_i)² <= 1 over the axes given (two: a cylinder, three: an ellipsoid).
pub(crate) fn round(start: &Vector3<f64>, along: &Vector3<f64>, semi_axes: &[f64]) -> (f64, f64) {
    let (mut a, mut b, mut c) = (0.0, 0.0, -1.0);
    for (axis, s) in semi_axes.iter().enumerate() {
        let (x, d) = (start[axis] / s, along[axis] / s);
        a += d * d;
        b += x * d;
        c += x * x;
    }
    if a < 1e-24 {
        return if c <= 0.0 { (f64::NEG_INFINITY, f64::INFINITY) } else { (0.0, 0.0) };
    }
    // Distance from the line's nearest point avoids the cancellation of b² - ac far from the shape.
    let middle = -b / a;
    let nearest: f64 = semi_axes
        .iter()
        .enumerate()
        .map(|(axis, s)| ((start[axis] + middle * along[axis]) / s).powi(2))
        .sum();
    if nearest >= 1.0 {
        return (0.0, 0.0);
    }
    let half = ((1.0 - nearest) / a).sqrt();
    (middle - half, middle + half)
}

/// Where a line is between the planes ±half of each axis given.
pub(crate) fn slabs(start: &Vector3<f64>, along: &Vector3<f64>, halves: &[(usize, f64)]) -> (f64, f64) {
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    for (axis, half) in halves {
        if along[*axis].abs() < 1e-12 {
            if start[*axis].abs() > *half {
                return (0.0, 0.0);
            }
            continue;
        }
        let (a, b) = ((-half - start[*axis]) / along[*axis], (half - start[*axis]) / along[*axis]);
        low = low.max(a.min(b));
        high = high.min(a.max(b));
    }
    (low, high)
}

/// Shapes with their densities worked out for one effective energy.
#[derive(Clone, Debug)]
pub(crate) struct ShapeBody {
    /// Each with its water, bone and iodine density, g/cm³.
    shapes: Vec<(Shape, [f64; 3])>,
}

impl ShapeBody {
    pub fn new(shapes: &[Shape], effective_energy_kev: f64) -> Result<Self, SimulationError> {
        let mut with_densities = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let smallest = shape.half_extent().min();
            require("size of a body shape in mm", "a positive number", smallest > 0.0, smallest)?;
            with_densities.push((*shape, densities(shape.attenuation, effective_energy_kev)?));
        }
        Ok(Self { shapes: with_densities })
    }

    /// Line integrals of the densities along the whole line, mm g/cm³: water, bone, iodine, zero.
    pub fn line_integrals(&self, source_lps: &Point3<f64>, direction_lps: &Vector3<f64>) -> [f32; 4] {
        let along = direction_lps / direction_lps.norm();
        let mut sum = [0.0; 3];
        for (shape, densities) in &self.shapes {
            let chord = shape.chord_mm(source_lps, &along);
            for (sum, density) in sum.iter_mut().zip(densities) {
                *sum += chord * density;
            }
        }
        [sum[0] as f32, sum[1] as f32, sum[2] as f32, 0.0]
    }

    /// Densities at a point, g/cm³.
    pub fn densities(&self, point_lps: &Point3<f64>) -> [f64; 4] {
        let mut sum = [0.0; 4];
        for (shape, densities) in &self.shapes {
            if shape.contains(&shape.lps_from_shape.inverse_transform_point(point_lps)) {
                for (sum, density) in sum.iter_mut().zip(densities) {
                    *sum += density;
                }
            }
        }
        sum
    }

    /// The shapes as things that fill voxels: densities, box in LPS (centre, half sides), membership.
    pub fn solids(&self) -> impl Iterator<Item = ([f64; 3], Solid<'_>)> {
        self.shapes.iter().map(|(shape, densities)| (*densities, Solid(shape)))
    }
}

/// A shape seen as a set of points of LPS.
pub(crate) struct Solid<'a>(&'a Shape);

impl Solid<'_> {
    pub fn contains(&self, point_lps: &Point3<f64>) -> bool {
        self.0.contains(&self.0.lps_from_shape.inverse_transform_point(point_lps))
    }

    /// Centre and half sides of the box around the shape along the axes of LPS.
    pub fn bounds(&self) -> (Point3<f64>, Vector3<f64>) {
        let turn = self.0.lps_from_shape.rotation.to_rotation_matrix();
        (self.0.lps_from_shape.translation.vector.into(), turn.matrix().abs() * self.0.half_extent())
    }
}

fn densities(attenuation: Attenuation, effective_energy_kev: f64) -> Result<[f64; 3], SimulationError> {
    match attenuation {
        Attenuation::MuPerMm(mu) => {
            require("attenuation in 1/mm", "a finite number", mu.is_finite(), mu)?;
            Ok([10.0 * mu / Material::Water.mass_attenuation_cm2_g(effective_energy_kev), 0.0, 0.0])
        }
        Attenuation::Density(material, density) => {
            require("density in g/cm3", "a finite number", density.is_finite(), density)?;
            match material {
                Material::Iodine => Ok([0.0, 0.0, density]),
                Material::Water
                | Material::Adipose
                | Material::CorticalBone
                | Material::Pmma
                | Material::CarbonFibre => {
                    let [water, bone] = water_bone_equivalent(material);
                    Ok([water * density, bone * density, 0.0])
                }
                other => Err(SimulationError::NotABodyMaterial { found: other.name() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chord(form: Form, start: [f64; 3], towards: [f64; 3]) -> f64 {
        let shape =
            Shape { form, lps_from_shape: Isometry3::identity(), attenuation: Attenuation::MuPerMm(1.0) };
        let along = Point3::from(towards) - Point3::from(start);
        shape.chord_mm(&start.into(), &(along / along.norm()))
    }

    #[test]
    fn shape_chords_have_their_closed_forms() {
        let ball = Form::Ellipsoid { semi_axes_mm: [10.0; 3] };
        assert!((chord(ball, [-785.0, 6.0, 0.0], [400.0, 6.0, 0.0]) - 16.0).abs() < 1e-9);
        let cylinder = Form::Cylinder { semi_axes_mm: [100.0; 2], half_length_mm: 50.0 };
        // Through the axis at 45 degrees the flat ends cut the chord: 2 * 50 * sqrt 2.
        assert!((chord(cylinder, [-500.0, 0.0, -500.0], [0.0; 3]) - 100.0 * 2.0_f64.sqrt()).abs() < 1e-9);
        let cube = Form::Box { half_sides_mm: [1.0, 2.0, 3.0] };
        assert!((chord(cube, [-9.0, 0.5, 0.5], [9.0, 0.5, 0.5]) - 2.0).abs() < 1e-12);
        assert!((chord(cube, [-9.0, -9.0, -9.0], [0.0; 3]) - 2.0 * 3.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(chord(cube, [-9.0, 2.5, 0.0], [9.0, 2.5, 0.0]), 0.0);
        let flat = Form::Ellipsoid { semi_axes_mm: [30.0, 5.0, 8.0] };
        assert!(
            (chord(flat, [7.0, -90.0, 0.0], [7.0, 0.0, 0.0]) - 10.0 * (1.0 - 49.0_f64 / 900.0).sqrt()).abs()
                < 1e-9
        );
    }

    #[test]
    fn shape_wire_runs_between_its_ends() {
        let ends = [Point3::new(3.0, 4.0, 5.0), Point3::new(3.0, -16.0, 5.0)];
        let wire = Shape::wire(ends, 2.0, Attenuation::MuPerMm(1.0));
        assert!((wire.chord_mm(&Point3::new(3.0, 100.0, 5.0), &-Vector3::y()) - 20.0).abs() < 1e-9);
        assert!((wire.chord_mm(&Point3::new(-50.0, 0.0, 5.0), &Vector3::x()) - 2.0).abs() < 1e-9);
        assert_eq!(wire.chord_mm(&Point3::new(-50.0, 5.0, 5.0), &Vector3::x()), 0.0);
    }

    #[test]
    fn shape_of_metal_is_refused_by_name() {
        let ball = Shape::ball(Point3::origin(), 5.0, Attenuation::Density(Material::Steel316L, 8.0));
        let error = ShapeBody::new(&[ball], 63.0).unwrap_err();
        assert!(error.to_string().contains("steel_316l"), "{error}");
        let empty = Shape::ball(Point3::origin(), 0.0, Attenuation::MuPerMm(0.02));
        assert!(matches!(ShapeBody::new(&[empty], 63.0), Err(SimulationError::OutOfRange { .. })));
    }
}
