//! Where source and detector stand: the plan, the wobble that calibration knows, and the rest that it does not.
//!
//! ```text
//! ideal circle --wobble(angle)--> calibrated pose --drift(angle), vibration(time)--> true pose
//! ```
//!
//! The wobble repeats with the angle: a Fourier series of harmonics 1 to 3 with the amplitudes that Daly et al.,
//! Med. Phys. 35(5), 2008, measured on a mobile C-arm (source and detector 6-8 mm in the plane of rotation and 1 mm
//! along the axis, detector tilts over 2.9, 1.9 and 0.8 degrees). Since calibration the arm has sagged a little more
//! (their reproducibility: 0.25 mm and 0.02 degrees), and it vibrates at some 4 Hz (an AR(2) process).

use crate::protocol::Protocol;
use crate::random::{Purpose, Stream};
use carm::converters::carm_pose;
use carm::{CarmAngles, CarmDistances, DetectorGrid, DetectorPose, GeometryError, ProjectionMatrix};
use nalgebra::{Rotation3, Vector3};

/// Half of the range that each part of the pose wanders over: radial, tangential, axial of source and detector in mm,
/// then the detector's tilts about its columns, its rows and its normal in radians.
const WOBBLE_HALF_RANGE: [f64; 9] =
    [1.5, 3.5, 0.5, 1.5, 3.5, 0.5, 0.95 * DEGREE, 0.4 * DEGREE, 1.45 * DEGREE];
/// The same for what has changed since calibration.
const DRIFT_HALF_RANGE: [f64; 9] =
    [0.05, 0.1, 0.05, 0.05, 0.1, 0.05, 0.01 * DEGREE, 0.01 * DEGREE, 0.01 * DEGREE];
const DEGREE: f64 = std::f64::consts::PI / 180.0;
/// Vibration: standard deviation of the detector's displacement along each axis, mm, frequency and damping.
const VIBRATION_MM: f64 = 0.07;
const VIBRATION_HZ: f64 = 4.0;
const VIBRATION_DAMPING: f64 = 0.05;
/// Steps of the vibration in one second.
const VIBRATION_RATE_HZ: f64 = 200.0;

/// A Fourier series without a constant part.
#[derive(Clone, Debug)]
struct Series {
    /// Amplitude and phase of harmonics 1, 2, 3.
    terms: [(f64, f64); 3],
}

impl Series {
    fn new(half_range: f64, stream: &mut Stream) -> Self {
        // Sagging under gravity is mostly the first harmonic.
        let shares = [0.7, 0.2, 0.1];
        Self { terms: shares.map(|share| (share * half_range, std::f64::consts::TAU * stream.uniform())) }
    }

    fn at(&self, angle_rad: f64) -> f64 {
        (1..=3)
            .zip(&self.terms)
            .map(|(h, (amplitude, phase))| amplitude * (f64::from(h) * angle_rad + phase).sin())
            .sum()
    }
}

/// The arm of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Gantry {
    distances: CarmDistances,
    secondary_rad: f64,
    offset_mm: [f64; 2],
    grid: DetectorGrid,
    wobble: Option<[Series; 9]>,
    drift: Option<[Series; 9]>,
    /// Displacement of the detector along e_u, e_v and the normal at each vibration step, mm; empty without.
    vibration_mm: Vec<[f64; 3]>,
}

/// Which parts of the arm's behaviour are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GantryEffects {
    pub wobble: bool,
    pub drift: bool,
    pub vibration: bool,
}

impl Gantry {
    pub fn new(
        protocol: &Protocol,
        effects: GantryEffects,
        machine_seed: u64,
        seed: u64,
    ) -> Result<Self, GeometryError> {
        let plan = &protocol.gantry;
        let series = |half_ranges: [f64; 9], frame: u32| {
            let mut stream = Stream::new(machine_seed, frame, 0, Purpose::Gantry);
            half_ranges.map(|half_range| Series::new(half_range, &mut stream))
        };
        let duration_s = protocol.views as f64 / protocol.frame_rate_hz;
        Ok(Self {
            distances: CarmDistances {
                source_to_isocenter_mm: plan.source_to_isocenter_mm,
                source_to_detector_mm: plan.source_to_detector_mm,
            },
            secondary_rad: plan.secondary_angle_deg.to_radians(),
            offset_mm: [protocol.detector.offset_u_mm, protocol.detector.offset_v_mm],
            grid: protocol.detector_grid()?,
            wobble: effects.wobble.then(|| series(WOBBLE_HALF_RANGE, 0)),
            drift: effects.drift.then(|| series(DRIFT_HALF_RANGE, 1)),
            vibration_mm: if effects.vibration { vibration(duration_s, seed) } else { Vec::new() },
        })
    }

    /// The matrix that calibration gives for an angle.
    pub fn calibrated(&self, primary_rad: f64) -> Result<ProjectionMatrix, GeometryError> {
        ProjectionMatrix::from_pose(&self.pose(primary_rad, None)?, &self.grid)
    }

    /// The matrix that the arm really has at an angle and a time since the start of the run.
    pub fn at(&self, primary_rad: f64, time_s: f64) -> Result<ProjectionMatrix, GeometryError> {
        ProjectionMatrix::from_pose(&self.pose(primary_rad, Some(time_s))?, &self.grid)
    }

    fn pose(&self, primary_rad: f64, time_s: Option<f64>) -> Result<DetectorPose, GeometryError> {
        let angles = CarmAngles { primary_rad, secondary_rad: self.secondary_rad };
        let mut pose = carm_pose(angles, self.distances)?;
        let normal = pose.e_u.cross(&pose.e_v);
        let radial = if normal.dot(&(pose.centre - pose.source)) > 0.0 { normal } else { -normal };
        let axes = [radial, pose.e_u, pose.e_v];
        pose.centre += pose.e_u * self.offset_mm[0] + pose.e_v * self.offset_mm[1];
        let known = self.wobble.as_ref();
        let unknown = time_s.and(self.drift.as_ref());
        for series in known.into_iter().chain(unknown) {
            displace(&mut pose, &axes, &series.each_ref().map(|part| part.at(primary_rad)));
        }
        if let Some(step) = time_s.and_then(|time_s| self.vibration_step(time_s)) {
            pose.centre += axes[1] * step[0] + axes[2] * step[1] + axes[0] * step[2];
        }
        Ok(pose)
    }

    fn vibration_step(&self, time_s: f64) -> Option<[f64; 3]> {
        let last = self.vibration_mm.len().checked_sub(1)?;
        let place = (time_s * VIBRATION_RATE_HZ).clamp(0.0, last as f64);
        let (low, share) = (place.floor() as usize, place.fract());
        let (a, b) = (self.vibration_mm[low], self.vibration_mm[(low + 1).min(last)]);
        Some(std::array::from_fn(|axis| a[axis] + share * (b[axis] - a[axis])))
    }
}

/// Moves and tilts by `parts` (order of [`WOBBLE_HALF_RANGE`]); `axes`: radial, e_u, e_v of the ideal pose.
fn displace(pose: &mut DetectorPose, axes: &[Vector3<f64>; 3], parts: &[f64; 9]) {
    for (axis, direction) in axes.iter().enumerate() {
        pose.source += direction * parts[axis];
        pose.centre += direction * parts[3 + axis];
    }
    let tilt = Rotation3::from_scaled_axis(axes[1] * parts[6] + axes[2] * parts[7] + axes[0] * parts[8]);
    pose.e_u = tilt * pose.e_u;
    pose.e_v = tilt * pose.e_v;
}

/// A damped oscillator driven by noise, as the AR(2) process x[n] = 2 r cos(w) x[n-1] - r² x[n-2] + e, scaled to
/// [`VIBRATION_MM`].
fn vibration(duration_s: f64, seed: u64) -> Vec<[f64; 3]> {
    let steps = (duration_s * VIBRATION_RATE_HZ).ceil() as usize + 2;
    let w = std::f64::consts::TAU * VIBRATION_HZ / VIBRATION_RATE_HZ;
    let r = 1.0 - VIBRATION_DAMPING * w;
    let (a1, a2) = (2.0 * r * w.cos(), -r * r);
    // Stationary variance of an AR(2) process driven by unit noise (Box and Jenkins, section 3.2.4).
    let variance = (1.0 - a2) / ((1.0 + a2) * ((1.0 - a2).powi(2) - a1 * a1));
    let drive = VIBRATION_MM / variance.sqrt();
    let mut streams: [Stream; 3] =
        std::array::from_fn(|axis| Stream::new(seed, 0, axis as u32, Purpose::Vibration));
    let (mut x1, mut x2) = ([0.0; 3], [0.0; 3]);
    let mut out = Vec::with_capacity(steps);
    // 400 steps let the oscillator forget that it started at rest.
    for step in 0..steps + 400 {
        let x: [f64; 3] =
            std::array::from_fn(|axis| a1 * x1[axis] + a2 * x2[axis] + drive * streams[axis].normal());
        (x2, x1) = (x1, x);
        if step >= 400 {
            out.push(x);
        }
    }
    out
}

/// How far a spin has come at a time, 0 to 1: constant acceleration for `ramp_s`, full speed, constant braking.
pub(crate) fn spin_progress(time_s: f64, duration_s: f64, ramp_s: f64) -> f64 {
    let t = time_s.clamp(0.0, duration_s);
    if ramp_s <= 0.0 {
        return t / duration_s;
    }
    let speed = 1.0 / (duration_s - ramp_s);
    let ramped = |t: f64| 0.5 * speed * t * t / ramp_s;
    match t {
        t if t < ramp_s => ramped(t),
        t if t > duration_s - ramp_s => 1.0 - ramped(duration_s - t),
        t => speed * (t - 0.5 * ramp_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gantry(on: bool) -> Gantry {
        let effects = GantryEffects { wobble: on, drift: on, vibration: on };
        Gantry::new(&Protocol::named("spine-spin").unwrap(), effects, 1, 2).unwrap()
    }

    #[test]
    fn gantry_without_effects_is_the_ideal_circle() {
        let gantry = gantry(false);
        let protocol = Protocol::named("spine-spin").unwrap();
        let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
        let angles = CarmAngles { primary_rad: 0.7, secondary_rad: 0.0 };
        let ideal = carm::converters::projection_from_carm_angles(
            angles,
            distances,
            &protocol.detector_grid().unwrap(),
        );
        assert_eq!(gantry.at(0.7, 1.0).unwrap(), ideal.unwrap());
        assert_eq!(gantry.at(0.7, 1.0).unwrap(), gantry.calibrated(0.7).unwrap());
    }

    #[test]
    fn gantry_wobbles_by_millimetres_and_calibration_misses_tenths() {
        let (gantry, ideal) = (gantry(true), gantry(false));
        let (mut wobble_px, mut miss_px): (f64, f64) = (0.0, 0.0);
        for n in 0..248 {
            let (angle, time) = (-1.9 + 0.0155 * f64::from(n), f64::from(n) / 30.0);
            let origin = nalgebra::Point3::origin();
            let off = |a: &ProjectionMatrix, b: &ProjectionMatrix| {
                let (a, b) = (a.project(&origin), b.project(&origin));
                (a.u - b.u).hypot(a.v - b.v)
            };
            let (truth, known) = (gantry.at(angle, time).unwrap(), gantry.calibrated(angle).unwrap());
            wobble_px = wobble_px.max(off(&known, &ideal.calibrated(angle).unwrap()));
            miss_px = miss_px.max(off(&truth, &known));
        }
        assert!(wobble_px > 3.0 && wobble_px < 30.0, "{wobble_px}");
        assert!(miss_px > 0.05 && miss_px < 1.5, "{miss_px}");
    }

    #[test]
    fn spin_progress_runs_from_start_to_end_and_never_back() {
        let at = |t: f64| spin_progress(t, 8.0, 0.4);
        assert_eq!((at(0.0), at(8.0)), (0.0, 1.0));
        assert!((at(4.0) - 0.5).abs() < 1e-12);
        let times: Vec<f64> = (0..=800).map(|n| at(f64::from(n) * 0.01)).collect();
        assert!(times.windows(2).all(|pair| pair[1] > pair[0]));
        let slope = |t: f64| (at(t + 1e-6) - at(t - 1e-6)) / 2e-6;
        assert!((slope(0.2) - 0.5 * slope(4.0)).abs() < 1e-6, "half speed in the middle of the ramp");
    }
}
