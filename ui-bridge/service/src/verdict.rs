//! Whether a spin is worth a volume, told within two seconds of its end: each finding with its number, its limit, and what
//! to do.
//!
//! The recorder shows every frame to [`SpinWatch`], which keeps a small logarithm of each view. Most findings are there
//! when the last view is; that of motion takes the check of `reconstruct::consistency`, whether views and matrices agree
//! on any body that lies still, and about a second.

use carm::{
    CalibratedTrajectory, DetectorCalibration, DetectorGrid, FrameHeader, ProjectionMatrix, RunDescription,
    ScanGeometry,
};
use ndarray::{Array3, Axis};
use reconstruct::consistency::{Consistency, check_consistency};
use serde::Serialize;
use std::fmt;

/// Columns that are kept of a view at most: squares of pixels become one.
const MOST_COLUMNS: usize = 160;
/// The logarithm at the detector's edges above which the body goes on beyond it.
const EDGE_LOG: f64 = 0.25;
/// Of the check's number. Its own limit is one; of a hundred still bodies with dense balls in them one exceeds the first,
/// and so do all of two hundred that moved by 2 mm (`verdict_trials`).
const MOTION_LIMITS: [f64; 2] = [2.2, 6.0];
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
    /// Line integrals, `[v, u]`, of squares of pixels.
    logs: Vec<f32>,
}

/// Looks at a spin while it is recorded.
pub struct SpinWatch {
    run: RunDescription,
    /// Side of a square, pixels, and squares along u and v.
    side: usize,
    size: [usize; 2],
    /// One over the gain; zero for pixels that are not used.
    inverse_gain: Vec<f32>,
    /// Counts.
    dark: Vec<f32>,
    views: Vec<View>,
}

impl SpinWatch {
    /// Before the first view.
    pub fn new(run: RunDescription) -> Self {
        let DetectorGrid { nu, nv, .. } = run.detector;
        let side = nu.div_ceil(MOST_COLUMNS).min(nv).max(1);
        let (inverse_gain, dark) = match &run.detector_calibration {
            Some(maps) => (inverse_gain(maps, nu), maps.dark_counts.iter().copied().collect()),
            None => (vec![1.0; nu * nv], vec![0.0; nu * nv]),
        };
        Self { run, side, size: [nu / side, nv / side], inverse_gain, dark, views: Vec::new() }
    }

    /// Takes note of a view: raw counts `[v, u]`.
    pub fn take(&mut self, header: &FrameHeader, counts: &[u16]) {
        if header.is_xray_on && counts.len() == self.inverse_gain.len() {
            let view = self.look(header, counts);
            self.views.push(view);
        }
    }

    fn look(&self, header: &FrameHeader, counts: &[u16]) -> View {
        let maps = self.run.detector_calibration.as_ref();
        let top =
            maps.map_or(u16::MAX >> (16 - self.run.bits_stored.clamp(1, 16)), |maps| maps.saturation_counts);
        let saturated = counts.iter().filter(|count| **count >= top).count();
        let intensity = self.means(counts);
        let brightest = brightest(&intensity);
        let expected = maps.map(|maps| maps.air_intensity_per_mas * header.exposure.tube_charge_mas());
        let air = expected.filter(|air| *air > 0.0).unwrap_or(brightest).max(1.0) as f32;
        let logs: Vec<f32> = intensity.iter().map(|value| (air / value.max(1.0)).ln()).collect();
        let [columns, rows] = self.size;
        let edge = |u: usize| {
            logs.iter().skip(u).step_by(columns.max(1)).map(|log| f64::from(*log)).sum::<f64>()
                / rows.max(1) as f64
        };
        View {
            angle_rad: header.gantry.primary_angle_rad,
            secondary_rad: header.gantry.secondary_angle_rad,
            saturated_share: saturated as f64 / counts.len().max(1) as f64,
            edge_log: edge(0).max(edge(columns.saturating_sub(1))),
            air_ratio: expected.map_or(f64::NAN, |air| brightest / air),
            logs,
        }
    }

    /// Linear intensity of each square, the mean of its usable pixels; of one without any, that beside it.
    fn means(&self, counts: &[u16]) -> Vec<f32> {
        let (nu, side, [columns, rows]) = (self.run.detector.nu, self.side, self.size);
        let mut means = Vec::with_capacity(columns * rows);
        let mut sums = vec![[0.0_f32; 2]; columns];
        for row in 0..rows {
            sums.fill([0.0; 2]);
            for v in row * side..(row + 1) * side {
                let pixels = v * nu..v * nu + columns * side;
                let maps = self.dark[pixels.clone()].iter().zip(&self.inverse_gain[pixels.clone()]);
                for (at, (&raw, (dark, &inverse))) in counts[pixels].iter().zip(maps).enumerate() {
                    let [sum, usable] = &mut sums[at / side];
                    if inverse > 0.0 {
                        *sum += (f32::from(raw) - dark) * inverse;
                        *usable += 1.0;
                    }
                }
            }
            let mut beside = 0.0;
            for [sum, usable] in &sums {
                beside = if *usable > 0.0 { sum / usable } else { beside };
                means.push(beside);
            }
        }
        means
    }

    /// What is said at the end; `now_ns` is the wall clock, ns since 1970. Takes about a second on the current rayon pool.
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
            finding("motion", self.motion(), "times what the consistency check allows", MOTION_LIMITS),
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

    /// How far views and calibrated matrices are from what a body that lies still may show; none where the scan does not
    /// allow to tell.
    fn motion(&self) -> Option<f64> {
        let found = self.consistency()?;
        let number = found.number();
        number.is_finite().then_some(number)
    }

    fn consistency(&self) -> Option<Consistency> {
        let (detector, sides) = (self.run.detector, [self.side; 2]);
        let trajectory = CalibratedTrajectory::new(detector, self.run.planned_views.clone()).ok()?;
        let placed = self.views.iter().filter_map(|view| {
            let matrix = trajectory.matrix_at(view.angle_rad).ok()?;
            Some((view, matrix.with_pixels_averaged(sides)))
        });
        let (views, matrices): (Vec<&View>, Vec<ProjectionMatrix>) = placed.unzip();
        if views.len() < LEAST_VIEWS {
            return None;
        }
        let [columns, rows] = self.size;
        let mut stack = Array3::zeros((views.len(), rows, columns));
        for (mut image, view) in stack.axis_iter_mut(Axis(0)).zip(&views) {
            image.iter_mut().zip(&view.logs).for_each(|(place, log)| *place = *log);
        }
        let scan = ScanGeometry::new(detector.with_pixels_averaged(sides), matrices).ok()?;
        let mu_water_per_mm = self.run.beam.mu_water_per_mm;
        let found = check_consistency(&scan, stack.view(), mu_water_per_mm, &mut |_, _| true);
        found.inspect_err(|error| tracing::debug!(%error, "nothing is said of a spin's motion")).ok()
    }
}

/// Zero for what the maps call a defect, or do not give a gain for.
fn inverse_gain(maps: &DetectorCalibration, nu: usize) -> Vec<f32> {
    let usable = maps.gain.iter().zip(&maps.dark_counts);
    let mut inverse: Vec<f32> = usable
        .map(
            |(gain, dark)| if *gain > 0.0 && gain.is_finite() && dark.is_finite() { 1.0 / gain } else { 0.0 },
        )
        .collect();
    for defect in &maps.defects {
        if let Some(pixel) = inverse.get_mut(defect.v as usize * nu + defect.u as usize) {
            *pixel = 0.0;
        }
    }
    inverse
}

/// The brightest part that is not a few hot pixels.
fn brightest(intensity: &[f32]) -> f64 {
    let mut sorted = intensity.to_vec();
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = last - sorted.len() / 100;
    f64::from(*sorted.select_nth_unstable_by(at, f32::total_cmp).1)
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
