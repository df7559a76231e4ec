//! Vessels that a bolus runs through, and the organs that breathing moves with them.
//!
//! A vessel is a tube along a centreline in LPS. Contrast medium enters at the tree's inlet and travels along the arc
//! length `s`; what passes there is a gamma variate (Thompson et al., Circ. Res. 14(6), 1964) that is late by `s / v` and
//! grows broader with `s` while its area stays:
//!
//! ```text
//! C(s, t) = C0 (b0 / b) (x e^(1 - x))^a,   x = (t - t0 - s / v) / (a b),   b = b0 (1 + s / 400 mm)
//! ```
//!
//! Vessels displace nothing: empty, they are what surrounds them, and the medium adds iodine. Pulsation and the profile
//! across a vessel are not modelled.

use crate::error::{SimulationError, require};
use crate::shapes::{Shape, ShapeBody, round, slabs};
use nalgebra::{Isometry3, Point3, Unit, UnitQuaternion, Vector3};
use serde::Deserialize;

/// Exponent of the gamma variate.
const RISE: f64 = 3.0;
/// Way after which a bolus is twice as broad, mm.
const BROADENS_MM: f64 = 400.0;
/// Longest piece of a vessel that holds one concentration, mm.
const PIECE_MM: f64 = 8.0;

/// An injection, as a protocol states it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BolusPlan {
    /// When the medium reaches the tree's inlet, seconds since the run began.
    pub arrives_s: f64,
    /// Iodine at the inlet at the bolus's peak, mg/ml.
    pub iodine_mg_ml: f64,
    /// Speed of the blood, mm/s.
    pub speed_mm_s: f64,
    /// Time scale of the bolus at the inlet, s: it peaks after three of these.
    pub scale_s: f64,
}

impl BolusPlan {
    /// Iodine at an arc length and time, g/cm³.
    pub fn iodine_g_cm3(&self, along_mm: f64, time_s: f64) -> f64 {
        let scale_s = self.scale_s * (1.0 + along_mm / BROADENS_MM);
        let x = (time_s - self.arrives_s - along_mm / self.speed_mm_s) / (RISE * scale_s);
        if x <= 0.0 {
            return 0.0;
        }
        1e-3 * self.iodine_mg_ml * self.scale_s / scale_s * (x * (1.0 - x).exp()).powf(RISE)
    }

    pub(crate) fn check(&self) -> Result<(), SimulationError> {
        let positive =
            |what, found: f64| require(what, "a positive number", found > 0.0 && found < 1e6, found);
        require("arrival of the bolus in s", "a finite number", self.arrives_s.is_finite(), self.arrives_s)?;
        positive("iodine of the bolus in mg/ml", self.iodine_mg_ml)?;
        positive("speed of the bolus in mm/s", self.speed_mm_s)?;
        positive("time scale of the bolus in s", self.scale_s)
    }
}

/// A tube through points in LPS.
#[derive(Clone, Debug, PartialEq)]
pub struct Vessel {
    /// Its middle, at least two points.
    pub centreline_lps: Vec<Point3<f64>>,
    /// Diameter at its first point and its last, mm.
    pub diameters_mm: [f64; 2],
    /// Way of the blood from the tree's inlet to its first point, mm.
    pub from_inlet_mm: f64,
}

/// How breathing moves organs and vessels along the body's axis: `-b cos^(2n)(π t / τ)`, `n = 2`: longest at its rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breathing {
    /// One breath, s.
    pub period_s: f64,
    /// How far organs move, mm.
    pub amplitude_mm: f64,
}

impl Breathing {
    /// Shift towards the head, mm.
    fn shift_mm(&self, time_s: f64) -> f64 {
        -self.amplitude_mm * (std::f64::consts::PI * time_s / self.period_s).cos().powi(4)
    }
}

/// What moves within a body: organs drawn with formulas, and vessels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Organs {
    /// They add to the body.
    pub shapes: Vec<Shape>,
    /// One tree.
    pub vessels: Vec<Vessel>,
    /// How they move; they do not where there is none.
    pub breathing: Option<Breathing>,
}

/// A straight piece of a vessel.
#[derive(Clone, Copy, Debug)]
struct Piece {
    piece_from_lps: Isometry3<f64>,
    half_length_mm: f64,
    radius_mm: f64,
    along_mm: f64,
}

/// Organs with their densities and pieces worked out.
#[derive(Clone, Debug)]
pub(crate) struct OrganBody {
    pub shapes: ShapeBody,
    pieces: Vec<Piece>,
    breathing: Option<Breathing>,
}

/// Organs at a moment: where they are, and what each piece of a vessel holds, g/cm³.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    shift: Vector3<f64>,
    iodine: Vec<f64>,
}

impl OrganBody {
    pub fn new(organs: &Organs, effective_energy_kev: f64) -> Result<Self, SimulationError> {
        let mut pieces = Vec::new();
        for vessel in &organs.vessels {
            for diameter in vessel.diameters_mm {
                require("diameter of a vessel in mm", "a positive number", diameter > 0.0, diameter)?;
            }
            cut(vessel, &mut pieces);
        }
        let shapes = ShapeBody::new(&organs.shapes, effective_energy_kev)?;
        if let Some(breathing) = &organs.breathing {
            let period = breathing.period_s;
            require("period of breathing in s", "a positive number", period > 0.0, period)?;
        }
        Ok(Self { shapes, pieces, breathing: organs.breathing })
    }

    /// How they are at a time since the start; the truth volume has them at rest.
    pub fn at(&self, bolus: Option<&BolusPlan>, time_s: f64) -> Moment {
        let shift_mm = self.breathing.map_or(0.0, |breathing| breathing.shift_mm(time_s));
        let iodine = |piece: &Piece| bolus.map_or(0.0, |bolus| bolus.iodine_g_cm3(piece.along_mm, time_s));
        Moment { shift: Vector3::new(0.0, 0.0, shift_mm), iodine: self.pieces.iter().map(iodine).collect() }
    }

    /// Line integrals of water, bone and iodine, mm g/cm³, and the length within vessels, mm.
    pub fn line_integrals(
        &self,
        moment: &Moment,
        source_lps: &Point3<f64>,
        direction_lps: &Vector3<f64>,
    ) -> [f32; 4] {
        let start = source_lps - moment.shift;
        let mut sum = self.shapes.line_integrals(&start, direction_lps);
        let along = direction_lps / direction_lps.norm();
        let mut stretches: Vec<(f64, f64, f64)> = Vec::new();
        for (piece, iodine) in self.pieces.iter().zip(&moment.iodine) {
            if let Some((enter, leave)) = piece.stretch(&start, &along) {
                stretches.push((enter, leave, *iodine));
            }
        }
        // Pieces overlap where a vessel bends or branches: each point counts once.
        stretches.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut until, mut iodine, mut length) = (f64::NEG_INFINITY, 0.0, 0.0);
        for (enter, leave, density) in stretches {
            let inside = (leave - enter.max(until)).max(0.0);
            until = until.max(leave);
            iodine += inside * density;
            length += inside;
        }
        sum[2] += iodine as f32;
        sum[3] = length as f32;
        sum
    }
}

/// Cuts a vessel into pieces no longer than [`PIECE_MM`].
fn cut(vessel: &Vessel, pieces: &mut Vec<Piece>) {
    let length = |pair: &[Point3<f64>]| (pair[1] - pair[0]).norm();
    let whole: f64 = vessel.centreline_lps.windows(2).map(length).sum();
    let [first, last] = vessel.diameters_mm;
    let mut passed = 0.0;
    for pair in vessel.centreline_lps.windows(2) {
        let Some(direction) = Unit::try_new(pair[1] - pair[0], 1e-9) else { continue };
        let count = (length(pair) / PIECE_MM).ceil().max(1.0);
        let half = 0.5 * length(pair) / count;
        let turn = UnitQuaternion::rotation_between_axis(&Vector3::z_axis(), &direction)
            .unwrap_or_else(|| UnitQuaternion::from_axis_angle(&Vector3::x_axis(), std::f64::consts::PI));
        for n in 0..count as usize {
            let middle_mm = (2.0 * n as f64 + 1.0) * half;
            let middle = pair[0] + direction.into_inner() * middle_mm;
            let share = (passed + middle_mm) / whole;
            pieces.push(Piece {
                piece_from_lps: Isometry3::from_parts(middle.coords.into(), turn).inverse(),
                half_length_mm: half,
                radius_mm: 0.5 * (first + share * (last - first)),
                along_mm: vessel.from_inlet_mm + passed + middle_mm,
            });
        }
        passed += length(pair);
    }
}

impl Piece {
    /// Where a line is inside the tube with its rounded ends.
    fn stretch(&self, start_lps: &Point3<f64>, along_lps: &Vector3<f64>) -> Option<(f64, f64)> {
        let start = self.piece_from_lps * start_lps;
        let along = self.piece_from_lps * along_lps;
        let reach = self.half_length_mm + self.radius_mm;
        // Most lines pass by.
        if start.coords.cross(&along).norm_squared() > reach * reach {
            return None;
        }
        let (radius, half) = (self.radius_mm, self.half_length_mm);
        let side = round(&start.coords, &along, &[radius; 2]);
        let ends = slabs(&start.coords, &along, &[(2, half)]);
        let mut found = (side.0.max(ends.0), side.1.min(ends.1));
        for end in [-half, half] {
            let ball = round(&(start.coords - Vector3::z() * end), &along, &[radius; 3]);
            if ball.0 < ball.1 {
                found = if found.0 < found.1 { (found.0.min(ball.0), found.1.max(ball.1)) } else { ball };
            }
        }
        (found.0 < found.1).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bolus() -> BolusPlan {
        BolusPlan { arrives_s: 1.0, iodine_mg_ml: 150.0, speed_mm_s: 200.0, scale_s: 0.3 }
    }

    fn straight() -> OrganBody {
        let vessel = Vessel {
            centreline_lps: vec![Point3::new(0.0, 0.0, -60.0), Point3::new(0.0, 0.0, 60.0)],
            diameters_mm: [8.0, 8.0],
            from_inlet_mm: 40.0,
        };
        let organs = Organs { vessels: vec![vessel], ..Organs::default() };
        OrganBody::new(&organs, 53.0).unwrap()
    }

    #[test]
    fn bolus_peaks_where_and_when_its_formula_says_and_keeps_its_area() {
        let bolus = bolus();
        assert_eq!(bolus.iodine_g_cm3(0.0, 0.99), 0.0);
        assert!((bolus.iodine_g_cm3(0.0, 1.9) - 0.150).abs() < 1e-12);
        // Half as high and 0.9 s broader after 400 mm, which take 2 s.
        assert!((bolus.iodine_g_cm3(400.0, 4.8) - 0.075).abs() < 1e-12);
        let area =
            |along: f64| (0..4000).map(|n| bolus.iodine_g_cm3(along, 0.005 * f64::from(n))).sum::<f64>();
        assert!((area(0.0) / area(400.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn vessel_is_crossed_by_its_chord_and_holds_the_bolus() {
        let (body, bolus) = (straight(), bolus());
        let across = |moment: &Moment, z: f64, off: f64| {
            body.line_integrals(moment, &Point3::new(off, -700.0, z), &Vector3::new(0.0, 2.0, 0.0))
        };
        let before = body.at(Some(&bolus), 0.5);
        assert_eq!(across(&before, 10.0, 0.0), [0.0, 0.0, 0.0, 8.0]);
        let filled = body.at(Some(&bolus), 2.5);
        for (z, off, chord) in [(10.0, 0.0, 8.0), (-33.0, 2.0, 2.0 * 12.0_f64.sqrt()), (0.0, 4.5, 0.0)] {
            let [_, _, iodine, length] = across(&filled, z, off).map(f64::from);
            assert!((length - chord).abs() < 1e-4, "{z} {off}: {length}");
            // One concentration a piece of 8 mm.
            let expected = chord * bolus.iodine_g_cm3(100.0 + z, 2.5);
            assert!((iodine - expected).abs() < 0.02 * expected + 1e-9, "{z} {off}: {iodine} {expected}");
        }
        // Along the vessel and its round ends, pieces that overlap count once.
        let [.., length] = body.line_integrals(&filled, &Point3::new(0.0, 0.0, -500.0), &Vector3::z());
        assert!((length - 128.0).abs() < 1e-3, "{length}");
    }

    #[test]
    fn breathing_shifts_organs_along_the_body() {
        let mut body = straight();
        body.breathing = Some(Breathing { period_s: 4.0, amplitude_mm: 10.0 });
        let moment = body.at(None, 4.0);
        let beyond = Point3::new(0.0, -700.0, 60.0);
        assert_eq!(body.line_integrals(&moment, &beyond, &Vector3::y())[3], 0.0, "10 mm further down");
        assert!(body.line_integrals(&body.at(None, 2.0), &beyond, &Vector3::y())[3] > 7.9, "at rest");
    }
}
