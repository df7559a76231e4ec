//! Whether a spin is worth a volume, told as it ends: each finding with its number, its limit, and what to do.
//!
//! The recorder shows every frame to [`SpinWatch`], which looks at each fourth pixel of each fourth row and keeps a few
//! numbers a view; the end costs nothing more.
//!
//! Motion is found without a volume. With the beam's logarithm p(u, v): the sum of p over a row hardly changes while the
//! arm turns (the mass of a slice does not), so a row profile that shifts is a body that moves along the axis; and the
//! centre of mass along u runs as a few harmonics of the angle, so what they do not fit is a body that moves across it.
//! A body that leaves the detector sideways breaks both sums: the number is then not given. Motion across the axis shows
//! less than motion along it, and least where it is along the beam.

use carm::{DetectorCalibration, FrameHeader, RunDescription};
use nalgebra::Point3;
use serde::Serialize;
use std::fmt;

/// Each so many-th row and column is looked at.
const STRIDE: usize = 4;
/// Harmonics of the angle that a resting body's centre of mass may have.
const HARMONICS: usize = 3;
/// The logarithm at the detector's edges above which the body goes on beyond it.
const EDGE_LOG: f64 = 0.25;
/// Shifts along the axis that are known no better than this are not told, mm.
const LARGEST_ERROR_MM: f64 = 0.3;
/// Below so many views nothing is said of motion.
const LEAST_VIEWS: usize = 24;

/// What to do with a spin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Advice {
    /// Nothing was found.
    #[default]
    Accept,
    /// Usable; look at what was found.
    Review,
    /// The volume will not be what was asked for.
    Repeat,
}

impl Advice {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Review => "review",
            Self::Repeat => "repeat",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What: `missing views`, `largest gap`, `saturation`, `truncation`, `motion`, `geometry`, `calibration age`,
    /// `calibration drift`.
    pub what: &'static str,
    /// How much; none where it could not be told.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// Beyond these it is for review, and to be repeated.
    pub limits: [f64; 2],
    /// What this alone would advise.
    pub advice: Advice,
}

/// What is said of a spin.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// The worst of the findings'.
    pub advice: Advice,
    /// All that was looked at.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.advice.name())?;
        for Finding { what, value, unit, advice, .. } in &self.findings {
            match value {
                Some(value) => write!(out, "; {what} {value:.2} {unit}: {}", advice.name())?,
                None => write!(out, "; {what}: not told")?,
            }
        }
        Ok(())
    }
}

/// What is kept of a view.
struct View {
    angle_rad: f64,
    secondary_rad: f64,
    saturated_share: f64,
    edge_log: f64,
    air_ratio: f64,
    /// Sum of the logarithm over each row looked at.
    rows: Vec<f64>,
    centre_u: f64,
}

/// Looks at a spin while it is recorded.
pub struct SpinWatch {
    run: RunDescription,
    views: Vec<View>,
    lost: u64,
    last_sequence: Option<u64>,
}

impl SpinWatch {
    /// Before the first view.
    pub fn new(run: RunDescription) -> Self {
        Self { run, views: Vec::new(), lost: 0, last_sequence: None }
    }

    /// Takes note of a view: raw counts `[v, u]`.
    pub fn take(&mut self, header: &FrameHeader, counts: &[u16]) {
        if let Some(last) = self.last_sequence.replace(header.sequence) {
            self.lost += header.sequence.saturating_sub(last + 1);
        }
        if header.is_xray_on && counts.len() == self.run.detector.pixel_count() {
            let view = self.look(header, counts);
            self.views.push(view);
        }
    }

    fn look(&self, header: &FrameHeader, counts: &[u16]) -> View {
        let (nu, nv) = (self.run.detector.nu, self.run.detector.nv);
        let maps = self.run.detector_calibration.as_ref();
        let top =
            maps.map_or(u16::MAX >> (16 - self.run.bits_stored.clamp(1, 16)), |maps| maps.saturation_counts);
        let mut intensity = Vec::with_capacity(counts.len() / (STRIDE * STRIDE) + nu + nv);
        let mut saturated = 0;
        for v in (STRIDE / 2..nv).step_by(STRIDE) {
            for u in (STRIDE / 2..nu).step_by(STRIDE) {
                let raw = counts[v * nu + u];
                saturated += u64::from(raw >= top);
                intensity.push(maps.map_or(f64::from(raw), |maps| corrected(maps, raw, v, u)));
            }
        }
        let columns = (STRIDE / 2..nu).step_by(STRIDE).count().max(1);
        let brightest = brightest(&intensity);
        let expected = maps.map(|maps| maps.air_intensity_per_mas * header.exposure.tube_charge_mas());
        let air = expected.filter(|air| *air > 0.0).unwrap_or(brightest).max(1.0);
        let logs: Vec<f64> = intensity.iter().map(|value| (air / value.max(1.0)).ln().max(0.0)).collect();
        let rows: Vec<f64> = logs.chunks(columns).map(|row| row.iter().sum()).collect();
        let mass: f64 = rows.iter().sum();
        let moment: f64 = logs.iter().enumerate().map(|(i, log)| (i % columns) as f64 * log).sum();
        let edge = |u: usize| logs.iter().skip(u).step_by(columns).sum::<f64>() / rows.len().max(1) as f64;
        View {
            angle_rad: header.gantry.primary_angle_rad,
            secondary_rad: header.gantry.secondary_angle_rad,
            saturated_share: saturated as f64 / intensity.len().max(1) as f64,
            edge_log: edge(0).max(edge(columns.saturating_sub(1))),
            air_ratio: expected.map_or(f64::NAN, |air| brightest / air),
            centre_u: moment / mass.max(1e-9),
            rows,
        }
    }

    /// What is said at the end; `now_ns` is the wall clock, ns since 1970.
    pub fn verdict(&self, now_ns: u64) -> Verdict {
        let planned = self.run.planned_views.len();
        let missing = planned.saturating_sub(self.views.len()) as f64 / planned.max(1) as f64;
        let share = |count: usize| count as f64 / self.views.len().max(1) as f64;
        let saturated = mean(self.views.iter().map(|view| view.saturated_share));
        let truncated = share(self.views.iter().filter(|view| view.edge_log > EDGE_LOG).count());
        let age_days = self.run.detector_calibration.as_ref().filter(|maps| maps.acquired.0 > 0);
        let age_days = age_days.map(|maps| now_ns.saturating_sub(maps.acquired.0) as f64 / 86_400e9);
        let findings = vec![
            finding("missing views", Some(100.0 * missing), "%", [0.5, 5.0]),
            finding("largest gap", self.largest_gap(), "planned steps", [1.7, 6.0]),
            finding("saturation", Some(100.0 * saturated), "% of pixels", [0.2, 2.0]),
            finding("truncation", Some(100.0 * truncated), "% of views", [5.0, f64::INFINITY]),
            finding("motion", self.motion_mm(truncated), "mm at the isocenter", [0.7, 3.0]),
            finding("geometry", self.geometry_deg(), "degrees from the calibrated arc", [0.5, 2.0]),
            finding("calibration age", age_days, "days", [30.0, f64::INFINITY]),
            finding("calibration drift", self.drift_percent(), "% of the open beam", [3.0, 10.0]),
        ];
        Verdict { advice: findings.iter().map(|found| found.advice).max().unwrap_or_default(), findings }
    }

    /// Against the largest step of the plan: an arm that gathers speed steps further in the middle.
    fn largest_gap(&self) -> Option<f64> {
        let largest =
            |angles: Vec<f64>| angles.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
        let planned = largest(self.run.planned_views.iter().map(|view| view.primary_angle_rad).collect());
        let found = largest(self.views.iter().map(|view| view.angle_rad).collect());
        (planned > 0.0).then(|| found / planned)
    }

    /// How far the measured angles leave the calibrated ones: beyond the ends, out of plane.
    fn geometry_deg(&self) -> Option<f64> {
        let angles = self.run.planned_views.iter().map(|view| view.primary_angle_rad);
        let (low, high) = angles.fold(None, |ends: Option<(f64, f64)>, angle| {
            Some(ends.map_or((angle, angle), |(low, high)| (low.min(angle), high.max(angle))))
        })?;
        let tilt = mean(self.views.iter().map(|view| view.secondary_rad));
        let beyond = |view: &View| (low - view.angle_rad).max(view.angle_rad - high).max(0.0);
        let sways = |view: &View| beyond(view).max((view.secondary_rad - tilt).abs());
        Some(self.views.iter().map(sways).fold(0.0, f64::max).to_degrees())
    }

    /// How far the brightest part of the views is from what the maps say of the open beam. A body that covers the whole
    /// detector shows no open beam: then it is not told.
    fn drift_percent(&self) -> Option<f64> {
        let mut ratios: Vec<f64> =
            self.views.iter().map(|view| view.air_ratio).filter(|r| r.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        let median = *ratios.get(ratios.len() / 2)?;
        (median > 0.7).then(|| 100.0 * (median - 1.0).abs())
    }

    fn motion_mm(&self, truncated: f64) -> Option<f64> {
        if self.views.len() < LEAST_VIEWS || truncated > 0.05 {
            return None;
        }
        let first = &self.run.planned_views.first()?.projection_matrix;
        // A millimetre along the axis, as the detector sees it.
        let rows = |z: f64| first.project(&Point3::new(0.0, 0.0, z)).v;
        let magnification = (rows(0.5) - rows(-0.5)).abs() * self.run.detector.pixel_pitch_v_mm;
        let pitch_u = self.run.detector.pixel_pitch_u_mm * STRIDE as f64 / magnification;
        let pitch_v = self.run.detector.pixel_pitch_v_mm * STRIDE as f64 / magnification;
        let across: Vec<f64> = self.views.iter().map(|view| view.centre_u * pitch_u).collect();
        let across = self.unexplained(&across);
        let (shifts, error) = self.axial_shifts();
        if error * pitch_v > LARGEST_ERROR_MM {
            // Much the same in every slice: nothing shifts that could be seen to.
            return Some(across);
        }
        let along: Vec<f64> = shifts.into_iter().map(|shift| shift * pitch_v).collect();
        Some(across.max(self.unexplained(&along)))
    }

    /// Shift of each view's row profile against the mean one, rows looked at, by least squares on its slope; and the
    /// standard error of one.
    fn axial_shifts(&self) -> (Vec<f64>, f64) {
        let rows = self.views[0].rows.len();
        let mean: Vec<f64> = (0..rows).map(|v| mean(self.views.iter().map(|view| view.rows[v]))).collect();
        let slope: Vec<f64> = (0..rows)
            .map(|v| if v == 0 || v + 1 == rows { 0.0 } else { 0.5 * (mean[v + 1] - mean[v - 1]) })
            .collect();
        let power: f64 = slope.iter().map(|slope| slope * slope).sum::<f64>().max(1e-12);
        let shift =
            |view: &View| (0..rows).map(|v| -slope[v] * (view.rows[v] - mean[v])).sum::<f64>() / power;
        let shifts: Vec<f64> = self.views.iter().map(shift).collect();
        // The noise of a row: what differs from one view to the next hardly does but by noise.
        let pairs = || self.views.windows(2).flat_map(|pair| pair[0].rows.iter().zip(&pair[1].rows));
        let variance = 0.5 * self::mean(pairs().map(|(before, after)| (after - before).powi(2)));
        (shifts, (variance / power).sqrt())
    }

    /// Peak to peak of what a few harmonics of the angle leave, without the noisiest view at either end.
    fn unexplained(&self, values: &[f64]) -> f64 {
        let angles: Vec<f64> = self.views.iter().map(|view| view.angle_rad).collect();
        let mut left = residuals(&angles, values);
        left.sort_by(f64::total_cmp);
        let trim = left.len() / 50 + 1;
        left[left.len() - 1 - trim] - left[trim]
    }
}

/// Linear intensity; what the maps do not tell of stays a raw count.
fn corrected(maps: &DetectorCalibration, raw: u16, v: usize, u: usize) -> f64 {
    match (maps.dark_counts.get([v, u]), maps.gain.get([v, u])) {
        (Some(&dark), Some(&gain)) if gain > 0.0 => (f64::from(raw) - f64::from(dark)) / f64::from(gain),
        _ => f64::from(raw),
    }
}

/// The brightest part that is not a few hot pixels.
fn brightest(intensity: &[f64]) -> f64 {
    let mut sorted = intensity.to_vec();
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = last - sorted.len() / 100;
    *sorted.select_nth_unstable_by(at, f64::total_cmp).1
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

fn finding(what: &'static str, value: Option<f64>, unit: &'static str, limits: [f64; 2]) -> Finding {
    let advice = match value {
        Some(value) if value > limits[1] => Advice::Repeat,
        Some(value) if value > limits[0] => Advice::Review,
        _ => Advice::Accept,
    };
    Finding { what, value, unit, limits, advice }
}

/// What is left of values when a constant and the first harmonics of the angle are fitted, by the normal equations.
fn residuals(angles: &[f64], values: &[f64]) -> Vec<f64> {
    const TERMS: usize = 1 + 2 * HARMONICS;
    let basis = |angle: f64| {
        let mut terms = [1.0; TERMS];
        for k in 1..=HARMONICS {
            (terms[2 * k], terms[2 * k - 1]) = (k as f64 * angle).sin_cos();
        }
        terms
    };
    let (mut matrix, mut right) = ([[0.0; TERMS]; TERMS], [0.0; TERMS]);
    for (&angle, &value) in angles.iter().zip(values) {
        let terms = basis(angle);
        for row in 0..TERMS {
            right[row] += terms[row] * value;
            for column in 0..TERMS {
                matrix[row][column] += terms[row] * terms[column];
            }
        }
    }
    for (row, line) in matrix.iter_mut().enumerate() {
        // Half a turn and more leaves the terms apart; this keeps shorter arcs from dividing by nothing.
        line[row] += 1e-9 * angles.len() as f64;
    }
    let found = solved(matrix, right);
    let fitted =
        |angle: f64| basis(angle).iter().zip(&found).map(|(term, factor)| term * factor).sum::<f64>();
    angles.iter().zip(values).map(|(&angle, &value)| value - fitted(angle)).collect()
}

/// Gauss's elimination; the matrix is symmetric and positive.
fn solved<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> [f64; N] {
    for pivot in 0..N {
        for row in pivot + 1..N {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let (above, below) = matrix.split_at_mut(row);
            for (value, upper) in below[0][pivot..].iter_mut().zip(&above[pivot][pivot..]) {
                *value -= factor * upper;
            }
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}
