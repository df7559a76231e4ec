//! Devices in the patient, drawn with formulas: pedicle screw, rod, K-wire, catheter.
//!
//! Where a device is, the tissue's path is taken out. Devices that overlap each other count twice there.

use crate::error::{SimulationError, require};
use crate::materials::Material;
use crate::shapes::{round, slabs};
use nalgebra::{Isometry3, Point3, Vector3};

/// A solid part around its own z axis, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// A cylinder from z = `from` to `to`, hollow up to the inner radius.
    Tube {
        /// Outer radius.
        radius: f64,
        /// Radius of the hollow; zero for none.
        inner_radius: f64,
        /// Start along z.
        from: f64,
        /// End along z.
        to: f64,
    },
    /// A ball on the axis.
    Ball {
        /// Radius.
        radius: f64,
        /// Its centre along z.
        at: f64,
    },
    /// A right-handed helical ridge of triangular section around a core: the thread alone, without its core.
    Thread {
        /// Radius of the core it sits on.
        core_radius: f64,
        /// Height above the core.
        depth: f64,
        /// Distance between turns.
        pitch: f64,
        /// Start along z.
        from: f64,
        /// End along z.
        to: f64,
    },
}

/// A device of one material: parts with their poses, and where the whole lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// What it is, such as `pedicle screw 6.5 x 45`.
    pub name: String,
    /// Its material.
    pub material: Material,
    /// Parts, each in the device's own space.
    pub parts: Vec<(Isometry3<f64>, Part)>,
    /// Where the device lies.
    pub lps_from_insert: Isometry3<f64>,
}

impl Insert {
    /// A pedicle screw of Ti-6Al-4V with its tip at z = 0 and its head towards +z: threaded shaft (thread 1 mm deep,
    /// 2.75 mm pitch) and a tulip of 13 mm.
    pub fn pedicle_screw(diameter_mm: f64, length_mm: f64, lps_from_insert: Isometry3<f64>) -> Self {
        let core_radius = 0.5 * diameter_mm - 1.0;
        let parts = vec![
            Part::Tube { radius: core_radius, inner_radius: 0.0, from: 0.0, to: length_mm },
            Part::Thread { core_radius, depth: 1.0, pitch: 2.75, from: 1.0, to: length_mm - 2.0 },
            Part::Tube { radius: 6.5, inner_radius: 2.75, from: length_mm, to: length_mm + 14.0 },
        ];
        Self::of(
            format!("pedicle screw {diameter_mm} x {length_mm}"),
            Material::TitaniumAlloy,
            parts,
            lps_from_insert,
        )
    }

    /// A spinal rod of cobalt-chromium along z, centred.
    pub fn rod(diameter_mm: f64, length_mm: f64, lps_from_insert: Isometry3<f64>) -> Self {
        let half = 0.5 * length_mm;
        let part = Part::Tube { radius: 0.5 * diameter_mm, inner_radius: 0.0, from: -half, to: half };
        Self::of(
            format!("rod {diameter_mm} x {length_mm}"),
            Material::CobaltChrome,
            vec![part],
            lps_from_insert,
        )
    }

    /// A K-wire of steel with its tip at z = 0.
    pub fn k_wire(diameter_mm: f64, length_mm: f64, lps_from_insert: Isometry3<f64>) -> Self {
        let part = Part::Tube { radius: 0.5 * diameter_mm, inner_radius: 0.0, from: 0.0, to: length_mm };
        Self::of(
            format!("K-wire {diameter_mm} x {length_mm}"),
            Material::Steel316L,
            vec![part],
            lps_from_insert,
        )
    }

    /// A catheter of barium-filled polymer along points of LPS (1 F is a third of a millimetre), wall a quarter of its
    /// diameter.
    pub fn catheter(french: f64, course_lps: &[Point3<f64>]) -> Self {
        let radius = french / 6.0;
        let segments = course_lps.windows(2).filter(|pair| (pair[1] - pair[0]).norm() > 1e-9).map(|pair| {
            let along = pair[1] - pair[0];
            let turn =
                nalgebra::UnitQuaternion::rotation_between(&Vector3::z(), &along).unwrap_or_else(|| {
                    nalgebra::UnitQuaternion::from_axis_angle(&Vector3::x_axis(), std::f64::consts::PI)
                });
            let pose = Isometry3::from_parts(pair[0].coords.into(), turn);
            (pose, Part::Tube { radius, inner_radius: 0.5 * radius, from: 0.0, to: along.norm() })
        });
        Self {
            name: format!("catheter {french} F"),
            material: Material::BariumPolymer,
            parts: segments.collect(),
            lps_from_insert: Isometry3::identity(),
        }
    }

    fn of(name: String, material: Material, parts: Vec<Part>, lps_from_insert: Isometry3<f64>) -> Self {
        let parts = parts.into_iter().map(|part| (Isometry3::identity(), part)).collect();
        Self { name, material, parts, lps_from_insert }
    }

    pub(crate) fn check(&self) -> Result<(), SimulationError> {
        for (_, part) in &self.parts {
            let (radius, length) = part.size();
            require("radius of an insert in mm", "a positive number", radius > 0.0, radius)?;
            require("length of an insert in mm", "a positive number", length > 0.0, length)?;
        }
        Ok(())
    }

    /// True where the device has material.
    pub(crate) fn contains(&self, point_lps: &Point3<f64>) -> bool {
        let point = self.lps_from_insert.inverse_transform_point(point_lps);
        self.parts.iter().any(|(pose, part)| part.contains(&pose.inverse_transform_point(&point)))
    }

    /// Stretches of a line inside the device, as distances from `start_lps` along the unit vector, in order.
    pub(crate) fn stretches(
        &self,
        start_lps: &Point3<f64>,
        along_lps: &Vector3<f64>,
        out: &mut Vec<(f64, f64)>,
    ) {
        out.clear();
        let start = self.lps_from_insert.inverse_transform_point(start_lps);
        let along = self.lps_from_insert.inverse_transform_vector(along_lps);
        for (pose, part) in &self.parts {
            let start = pose.inverse_transform_point(&start).coords;
            part.stretches(&start, &pose.inverse_transform_vector(&along), out);
        }
        merge(out);
    }

    /// Centre and radius of a ball around the device, LPS mm.
    pub(crate) fn bounds(&self) -> (Point3<f64>, f64) {
        let ends: Vec<(Point3<f64>, f64)> = self
            .parts
            .iter()
            .map(|(pose, part)| {
                let (radius, from, to) = part.extent();
                let middle = pose * Point3::new(0.0, 0.0, 0.5 * (from + to));
                (self.lps_from_insert * middle, radius.hypot(0.5 * (to - from)))
            })
            .collect();
        let n = ends.len().max(1) as f64;
        let centre = Point3::from(ends.iter().map(|(middle, _)| middle.coords).sum::<Vector3<f64>>() / n);
        let radius = ends.iter().map(|(middle, r)| (middle - centre).norm() + r).fold(0.0, f64::max);
        (centre, radius)
    }
}

/// Step at which a thread is sampled along a ray, mm.
const THREAD_STEP_MM: f64 = 0.05;

impl Part {
    /// Outer radius and length.
    fn size(&self) -> (f64, f64) {
        let (radius, from, to) = self.extent();
        (radius, to - from)
    }

    /// Outer radius and ends along z.
    fn extent(&self) -> (f64, f64, f64) {
        match *self {
            Self::Tube { radius, from, to, .. } => (radius, from, to),
            Self::Ball { radius, at } => (radius, at - radius, at + radius),
            Self::Thread { core_radius, depth, from, to, .. } => (core_radius + depth, from, to),
        }
    }

    fn contains(&self, point: &Point3<f64>) -> bool {
        let r = point.x.hypot(point.y);
        match *self {
            Self::Tube { radius, inner_radius, from, to } => {
                r <= radius && r >= inner_radius && (from..=to).contains(&point.z)
            }
            Self::Ball { radius, at } => r.hypot(point.z - at) <= radius,
            Self::Thread { core_radius, depth, pitch, from, to } => {
                if r > core_radius + depth || r < core_radius || !(from..=to).contains(&point.z) {
                    return false;
                }
                let turn = point.z / pitch - point.y.atan2(point.x) / std::f64::consts::TAU;
                // The ridge is half a pitch wide at its foot and sharp at its crest.
                let from_crest = (turn - turn.round()).abs() * 4.0;
                r <= core_radius + depth * (1.0 - from_crest).max(0.0) && from_crest < 1.0
            }
        }
    }

    fn stretches(&self, start: &Vector3<f64>, along: &Vector3<f64>, out: &mut Vec<(f64, f64)>) {
        match *self {
            Self::Ball { radius, at } => push(out, round(&(start - Vector3::z() * at), along, &[radius; 3])),
            Self::Tube { radius, inner_radius, from, to } => {
                let (low, high) = cylinder(start, along, radius, from, to);
                if low >= high {
                    return;
                }
                let hollow =
                    if inner_radius > 0.0 { round(start, along, &[inner_radius; 2]) } else { (0.0, 0.0) };
                let (enter, leave) = (hollow.0.max(low), hollow.1.min(high));
                if enter < leave {
                    push(out, (low, enter));
                    push(out, (leave, high));
                } else {
                    push(out, (low, high));
                }
            }
            Self::Thread { core_radius, depth, from, to, .. } => {
                let (low, high) = cylinder(start, along, core_radius + depth, from, to);
                let steps = ((high - low) / THREAD_STEP_MM).ceil().max(0.0);
                for n in 0..steps as usize {
                    let (a, b) = (
                        low + n as f64 * THREAD_STEP_MM,
                        (low + (n as f64 + 1.0) * THREAD_STEP_MM).min(high),
                    );
                    if self.contains(&Point3::from(start + along * (0.5 * (a + b)))) {
                        push(out, (a, b));
                    }
                }
            }
        }
    }
}

fn cylinder(start: &Vector3<f64>, along: &Vector3<f64>, radius: f64, from: f64, to: f64) -> (f64, f64) {
    let side = round(start, along, &[radius; 2]);
    let middle = start - Vector3::z() * (0.5 * (from + to));
    let ends = slabs(&middle, along, &[(2, 0.5 * (to - from))]);
    (side.0.max(ends.0), side.1.min(ends.1))
}

fn push(out: &mut Vec<(f64, f64)>, stretch: (f64, f64)) {
    if stretch.0 < stretch.1 {
        out.push(stretch);
    }
}

/// Joins stretches that touch or overlap.
fn merge(stretches: &mut Vec<(f64, f64)>) {
    stretches.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut kept = 0;
    for n in 1..stretches.len() {
        if stretches[n].0 <= stretches[kept].1 + 1e-9 {
            stretches[kept].1 = stretches[kept].1.max(stretches[n].1);
        } else {
            kept += 1;
            stretches[kept] = stretches[n];
        }
    }
    stretches.truncate(stretches.len().min(kept + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(insert: &Insert, start: [f64; 3], along: Vector3<f64>) -> f64 {
        let mut stretches = Vec::new();
        insert.stretches(&start.into(), &along, &mut stretches);
        stretches.iter().map(|(a, b)| b - a).sum()
    }

    #[test]
    fn insert_rod_and_wire_have_cylinder_chords() {
        let rod = Insert::rod(5.5, 100.0, Isometry3::translation(10.0, 0.0, 0.0));
        assert!((length(&rod, [10.0, -500.0, 20.0], Vector3::y()) - 5.5).abs() < 1e-9);
        assert!((length(&rod, [10.0, 0.0, -500.0], Vector3::z()) - 100.0).abs() < 1e-9);
        assert_eq!(length(&rod, [10.0, -500.0, 51.0], Vector3::y()), 0.0);
        let wire = Insert::k_wire(1.5, 150.0, Isometry3::identity());
        assert!((length(&wire, [-80.0, 0.0, 70.0], Vector3::x()) - 1.5).abs() < 1e-9);
    }

    #[test]
    fn insert_catheter_is_hollow() {
        let catheter = Insert::catheter(6.0, &[Point3::new(0.0, 0.0, 0.0), Point3::new(0.0, 0.0, 40.0)]);
        assert!((length(&catheter, [-50.0, 0.0, 20.0], Vector3::x()) - 1.0).abs() < 1e-9);
        assert!(!catheter.contains(&Point3::new(0.0, 0.2, 20.0)));
        assert!(catheter.contains(&Point3::new(0.0, 0.8, 20.0)));
    }

    /// Core radius r and thread of depth h with triangular ridges of half a pitch: along the pitch the mean chord lies
    /// between the core's and the full diameter, and the volume is that of Pappus' rule.
    #[test]
    fn insert_screw_thread_fills_its_share() {
        let screw = Insert::pedicle_screw(6.5, 45.0, Isometry3::identity());
        let chords: Vec<f64> = (0..110)
            .map(|n| length(&screw, [-60.0, 0.0, 20.0 + 0.025 * f64::from(n)], Vector3::x()))
            .collect();
        let (least, most) = chords.iter().fold((f64::MAX, 0.0_f64), |(a, b), c| (a.min(*c), b.max(*c)));
        assert!((least - 4.5).abs() < 0.11 && most > 5.3 && most <= 6.5, "{least} {most}");
        let mean = chords.iter().sum::<f64>() / 110.0;
        // Each side adds the triangle's mean height h/4.
        assert!((mean - (4.5 + 2.0 * 0.25)).abs() < 0.06, "{mean}");
    }
}
