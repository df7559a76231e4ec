//! Drawn bodies, imaged with noise, whose views or geometry are then spoilt in known ways.

use carm::converters::carm_pose;
use carm::{CarmAngles, CarmDistances, DetectorGrid, ProjectionMatrix, ScanGeometry};
use nalgebra::{Isometry3, Matrix3, Rotation3, Vector3};
use ndarray::{Array3, Axis, s};
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};

/// Attenuation of water, 1/mm.
pub const MU_WATER_PER_MM: f64 = 0.02;
/// Views of a scan.
const VIEWS: usize = 120;
/// Quanta per pixel of 2 mm in air, fewest and most: 2,000 to 20,000 per pixel of 0.4 mm, as a spin has them.
const PHOTONS: [f64; 2] = [50_000.0, 500_000.0];

/// What is wrong with a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Neighbouring stretches of 3 to 7 views in each other's place: every view is off by that many positions.
    Shuffled,
    /// Columns in opposite order.
    Mirrored,
    /// The arm was elsewhere by 1 mm RMS, slowly varying; constant part taken off.
    Drift1mm,
    /// Turned about the isocenter by 0.5 degrees RMS, slowly varying.
    Drift05deg,
    /// Elsewhere by 1 mm RMS, each view for itself.
    Jitter1mm,
    /// Turned by 0.5 degrees RMS, each view for itself.
    Jitter05deg,
    /// The body lay 2 mm elsewhere in the middle 60 % of the arc.
    Step2mm,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Shuffled,
        Self::Mirrored,
        Self::Drift1mm,
        Self::Drift05deg,
        Self::Jitter1mm,
        Self::Jitter05deg,
        Self::Step2mm,
    ];
}

/// A scan as it is given to the check.
pub struct Scan {
    /// The matrices that are believed.
    pub geometry: ScanGeometry,
    /// `[view, v, u]`, with noise.
    pub line_integrals: Array3<f32>,
}

/// Images one body with one fault; the same seed gives the same body.
pub fn scan(seed: u64, is_truncated: bool, fault: Fault) -> Scan {
    let mut random = Random(seed * 77 + 5 + u64::from(is_truncated));
    let size = if is_truncated { 1.35 + 0.55 * random.uniform() } else { 0.6 + 0.45 * random.uniform() };
    let body = Body::drawn(&mut random, size);
    let believed = geometry(203.0 + 12.0 * random.uniform());
    let photons = PHOTONS[0] * (PHOTONS[1] / PHOTONS[0]).powf(random.uniform());
    let mut random = Random(seed * 1009 + fault as u64);
    let moved = |shifts: &[Vector3<f64>], turns: &[Vector3<f64>]| {
        let views = believed.views().iter().zip(shifts.iter().zip(turns));
        let views =
            views.map(|(view, (shift, turn))| view.for_space(&Isometry3::new(*shift, *turn))).collect();
        ScanGeometry::new(*believed.detector(), views).unwrap()
    };
    let still = vec![Vector3::zeros(); VIEWS];
    let half_degree = 0.5_f64.to_radians();
    let actual = match fault {
        Fault::None | Fault::Shuffled | Fault::Mirrored => believed.clone(),
        Fault::Drift1mm => moved(&drift(&mut random, 1.0), &still),
        Fault::Drift05deg => moved(&still, &drift(&mut random, half_degree)),
        Fault::Jitter1mm => moved(&jitter(&mut random, 1.0), &still),
        Fault::Jitter05deg => moved(&still, &jitter(&mut random, half_degree)),
        Fault::Step2mm => moved(&step(&mut random, 2.0), &still),
    };
    let mut views = body.imaged(&actual);
    match fault {
        Fault::Shuffled => views = views.select(Axis(0), &shuffled(3 + (random.uniform() * 5.0) as usize)),
        Fault::Mirrored => views = views.slice(s![.., .., ..;-1]).as_standard_layout().into_owned(),
        _ => {}
    }
    let line_integrals = views.mapv(|p| {
        let quanta = photons * (-f64::from(p)).exp();
        (photons / (quanta + quanta.sqrt() * random.normal()).max(1.5)).ln() as f32
    });
    Scan { geometry: believed, line_integrals }
}

/// A short scan over `arc_deg` on a detector of 192 x 144 pixels of 2 mm, on an arm that sways by a degree.
fn geometry(arc_deg: f64) -> ScanGeometry {
    let detector = DetectorGrid::new([192, 144], [2.0; 2]).unwrap();
    let views = (0..VIEWS).map(|view| {
        let share = view as f64 / (VIEWS - 1) as f64 - 0.5;
        let angles = CarmAngles {
            primary_rad: (arc_deg * share).to_radians(),
            secondary_rad: 0.02 * (5.0 * share).sin(),
        };
        let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
        ProjectionMatrix::from_pose(&carm_pose(angles, distances).unwrap(), &detector).unwrap()
    });
    ScanGeometry::new(detector, views.collect()).unwrap()
}

/// Ellipsoids that add up.
struct Body(Vec<Ellipsoid>);

struct Ellipsoid {
    centre: Vector3<f64>,
    unit_from_mm: Matrix3<f64>,
    mu_per_mm: f64,
}

impl Body {
    /// A trunk or a head of water with a spine or a skull, and 20 to 70 organs, airways and bones of all sizes.
    fn drawn(random: &mut Random, size: f64) -> Self {
        let mut parts = Vec::new();
        let mut add = |centre: Vector3<f64>, half_axes: Vector3<f64>, mu_per_mm: f64, turn_rad: f64| {
            let turn = Rotation3::from_axis_angle(&Vector3::z_axis(), turn_rad);
            let unit_from_mm = Matrix3::from_diagonal(&half_axes.map(|x| 1.0 / x)) * turn.inverse().matrix();
            parts.push(Ellipsoid { centre, unit_from_mm, mu_per_mm });
        };
        let width = (95.0 + 15.0 * random.uniform()) * size;
        let depth = width * (0.65 + 0.35 * random.uniform());
        let length = 100.0 + 200.0 * random.uniform();
        let centre = Vector3::new(4.0 * random.normal(), 4.0 * random.normal(), 10.0 * random.normal());
        let turn_rad = 0.1 * random.normal();
        add(centre, Vector3::new(width, depth, length), MU_WATER_PER_MM, turn_rad);
        let has_skull = random.uniform() < 0.3;
        if has_skull {
            let thickness = 4.0 + 4.0 * random.uniform();
            let bone = 0.008 + 0.012 * random.uniform();
            add(centre, Vector3::new(width, depth, length), bone, turn_rad);
            let inner = Vector3::new(width - thickness, depth - thickness, length - thickness);
            add(centre, inner, -bone, turn_rad);
        }
        let organs = 20 + (50.0 * random.uniform()) as usize;
        for part in 0..organs {
            let (radius, angle) = (0.85 * random.uniform().sqrt(), TAU * random.uniform());
            let mm = if part < organs / 4 { 14.0 } else { 6.0 };
            let half_axes = Vector3::from_fn(|_, _| mm * (0.5 + random.uniform()));
            let mu_per_mm = [0.02, -0.01, 0.006, 0.012][part % 4] * (0.5 + 0.7 * random.uniform());
            let height = 170.0 * (random.uniform() - 0.5);
            let place = Vector3::new(width * radius * angle.cos(), depth * radius * angle.sin(), height);
            add(centre + place, half_axes, mu_per_mm, TAU * random.uniform());
        }
        if !has_skull {
            let (pitch, start) = (26.0 + 8.0 * random.uniform(), 30.0 * random.uniform());
            for vertebra in 0..8 {
                let height = start - 120.0 + pitch * f64::from(vertebra);
                let place = centre + Vector3::new(0.0, depth * 0.45, height);
                add(place, Vector3::new(18.0, 14.0, 0.36 * pitch), 0.012, 0.0);
            }
        }
        Self(parts)
    }

    /// Line integrals, `[view, v, u]`.
    fn imaged(&self, scan: &ScanGeometry) -> Array3<f32> {
        let detector = scan.detector();
        let mut views = Array3::zeros((scan.views().len(), detector.nv, detector.nu));
        views.outer_iter_mut().into_par_iter().zip(scan.views()).for_each(|(mut image, view)| {
            let source = view.source_position().coords;
            let parts: Vec<_> = self.0.iter().map(|part| part.seen_from(&source)).collect();
            for ((v, u), p) in image.indexed_iter_mut() {
                let ray = view.ray(u as f64, v as f64);
                let ray = ray / ray.norm();
                *p = parts.iter().map(|part| part.line_integral(&ray)).sum::<f64>() as f32;
            }
        });
        views
    }
}

impl Ellipsoid {
    fn seen_from(&self, source: &Vector3<f64>) -> SeenEllipsoid {
        let start = self.unit_from_mm * (source - self.centre);
        let turned = self.unit_from_mm.transpose();
        SeenEllipsoid {
            metric: turned * self.unit_from_mm,
            to_source: turned * start,
            beyond: start.norm_squared() - 1.0,
            mu_per_mm: self.mu_per_mm,
        }
    }
}

/// An ellipsoid by what all rays of one source share.
struct SeenEllipsoid {
    metric: Matrix3<f64>,
    to_source: Vector3<f64>,
    /// Squared distance of the source from the middle, in half axes, less one.
    beyond: f64,
    mu_per_mm: f64,
}

impl SeenEllipsoid {
    /// Along a ray of unit length.
    fn line_integral(&self, ray: &Vector3<f64>) -> f64 {
        let (a, b) = (ray.dot(&(self.metric * ray)), self.to_source.dot(ray));
        let inside = b * b - a * self.beyond;
        if inside > 0.0 { 2.0 * self.mu_per_mm * inside.sqrt() / a } else { 0.0 }
    }
}

/// Which view lies where when neighbouring stretches of `length` change places.
fn shuffled(length: usize) -> Vec<usize> {
    let swapped = |view: usize| {
        let start = view / (2 * length) * 2 * length;
        if start + 2 * length > VIEWS { view } else { start + (view - start + length) % (2 * length) }
    };
    (0..VIEWS).map(swapped).collect()
}

fn drift(random: &mut Random, rms: f64) -> Vec<Vector3<f64>> {
    let waves: Vec<_> = (1..=4)
        .map(|wave| (random.vector() / f64::from(wave), f64::from(wave), TAU * random.uniform()))
        .collect();
    let at = |view: usize| {
        let along = PI * view as f64 / VIEWS as f64;
        waves.iter().map(|(size, wave, phase)| size * (wave * along + phase).sin()).sum()
    };
    scaled((0..VIEWS).map(at).collect(), rms)
}

fn jitter(random: &mut Random, rms: f64) -> Vec<Vector3<f64>> {
    scaled((0..VIEWS).map(|_| random.vector()).collect(), rms)
}

/// Takes the constant part off, which no data can tell, and gives the rest a root mean square length.
fn scaled(mut values: Vec<Vector3<f64>>, rms: f64) -> Vec<Vector3<f64>> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<Vector3<f64>>() / count;
    values.iter_mut().for_each(|value| *value -= mean);
    let found = (values.iter().map(Vector3::norm_squared).sum::<f64>() / count).sqrt();
    values.iter_mut().for_each(|value| *value *= rms / found);
    values
}

fn step(random: &mut Random, length_mm: f64) -> Vec<Vector3<f64>> {
    let direction = random.vector();
    let shift = direction * (length_mm / direction.norm());
    (0..VIEWS)
        .map(|view| if (VIEWS / 5..VIEWS - VIEWS / 5).contains(&view) { shift } else { Vector3::zeros() })
        .collect()
}

/// Seeded numbers (Steele, Lea and Flood, OOPSLA 2014: SplitMix).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (TAU * self.uniform()).cos()
    }

    fn vector(&mut self) -> Vector3<f64> {
        Vector3::from_fn(|_, _| self.normal())
    }
}
