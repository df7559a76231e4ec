//! When each view is taken, where the arm and the patient are then, and what the encoders and clocks say.

use crate::error::SimulationError;
use crate::gantry::{Gantry, GantryEffects, spin_progress};
use crate::options::{Effects, Options};
use crate::protocol::{Protocol, RunKind};
use crate::random::{Purpose, Stream};
use carm::{ClockStamps, DeviceTime, HostTime, PatientSetup, PlannedView, ProjectionMatrix, WallTime};
use nalgebra::Isometry3;

/// Jitter of the trigger (standard deviation) and noise of the angle encoder.
const TRIGGER_JITTER_S: f64 = 0.5e-3;
const ENCODER_NOISE_RAD: f64 = 0.005 * std::f64::consts::PI / 180.0;
/// The device's clock when the run begins, and the wall clock then (2026-01-01 00:00 UTC).
const DEVICE_START_NS: u64 = 1_000_000_000;
const WALL_START_NS: u64 = 1_767_225_600_000_000_000;
/// Time from the start of the exposure until the last byte has arrived, beyond the pulse itself.
const READ_OUT_NS: u64 = 18_000_000;

/// Everything about the views but what they show.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    gantry: Gantry,
    first_rad: f64,
    arc_rad: f64,
    ramp_s: f64,
    views: usize,
    frame_rate_hz: f64,
    pulse_s: f64,
    jitter: bool,
    seed: u64,
    options: Options,
    world_from_lps: Isometry3<f64>,
}

impl Schedule {
    pub fn new(
        protocol: &Protocol,
        setup: &PatientSetup,
        options: &Options,
        effects: &Effects,
    ) -> Result<Self, SimulationError> {
        let gantry_effects = GantryEffects {
            wobble: effects.wobble,
            drift: effects.calibration_drift,
            vibration: effects.calibration_drift,
        };
        let gantry = Gantry::new(protocol, gantry_effects, options.machine_seed, options.seed)?;
        Ok(Self {
            gantry,
            first_rad: protocol.gantry.first_angle_deg.to_radians(),
            arc_rad: protocol.gantry.arc_deg.to_radians(),
            ramp_s: if effects.speed_profile { protocol.gantry.ramp_s } else { 0.0 },
            views: protocol.views,
            frame_rate_hz: protocol.frame_rate_hz,
            pulse_s: protocol.beam.pulse_width_ms * 1e-3,
            jitter: effects.jitter,
            seed: options.seed,
            options: options.clone(),
            world_from_lps: setup.world_from_lps(),
        })
    }

    /// The plan of a spin; nothing for other runs.
    pub fn planned(&self, kind: RunKind) -> Result<Vec<PlannedView>, SimulationError> {
        if kind != RunKind::Spin {
            return Ok(Vec::new());
        }
        let plan = |view: usize| {
            let primary_angle_rad = self.angle_rad(self.planned_s(view));
            let projection_matrix = self.gantry.calibrated(primary_angle_rad)?;
            Ok(PlannedView { primary_angle_rad, projection_matrix })
        };
        (0..self.views).map(plan).collect()
    }

    /// Middle of the exposure as planned, seconds since the run began.
    fn planned_s(&self, view: usize) -> f64 {
        (view as f64 + 0.5) / self.frame_rate_hz
    }

    /// Middle of the exposure as it happens.
    pub fn mid_exposure_s(&self, view: usize) -> f64 {
        let jitter_s = if self.jitter {
            // Three standard deviations at most, so that no frame overtakes another.
            TRIGGER_JITTER_S * self.stream(view, Purpose::Clock).normal().clamp(-3.0, 3.0)
        } else {
            0.0
        };
        self.planned_s(view) + jitter_s
    }

    /// Times of the poses within the pulse of one view.
    pub fn sub_frames_s(&self, view: usize) -> impl Iterator<Item = f64> + '_ {
        let count = self.options.sub_frames;
        let middle = self.mid_exposure_s(view);
        (0..count).map(move |n| middle + self.pulse_s * ((n as f64 + 0.5) / count as f64 - 0.5))
    }

    fn angle_rad(&self, time_s: f64) -> f64 {
        let duration_s = self.views as f64 / self.frame_rate_hz;
        self.first_rad + self.arc_rad * spin_progress(time_s, duration_s, self.ramp_s)
    }

    /// What the encoder says of one view.
    pub fn measured_angle_rad(&self, view: usize) -> f64 {
        let angle = self.angle_rad(self.mid_exposure_s(view));
        if self.jitter {
            angle + ENCODER_NOISE_RAD * self.stream(view, Purpose::Encoder).normal()
        } else {
            angle
        }
    }

    /// The matrix that calibration gives for a view's measured angle.
    pub fn calibrated(&self, view: usize) -> Result<ProjectionMatrix, SimulationError> {
        Ok(self.gantry.calibrated(self.measured_angle_rad(view))?)
    }

    /// The true matrix in the world at a time.
    pub fn true_matrix(&self, time_s: f64) -> Result<ProjectionMatrix, SimulationError> {
        Ok(self.gantry.at(self.angle_rad(time_s), time_s)?)
    }

    /// Where the patient's points are in the world at a time.
    pub fn world_from_lps(&self, time_s: f64) -> Isometry3<f64> {
        self.patient_motion(time_s) * self.world_from_lps
    }

    /// Moved world from reference world at a time.
    pub fn patient_motion(&self, time_s: f64) -> Isometry3<f64> {
        self.options.motion.at(time_s, self.seed)
    }

    /// Clock stamps of one view and its middle of exposure.
    pub fn stamps(&self, view: usize) -> (ClockStamps, DeviceTime) {
        let ns = |seconds: f64| (seconds * 1e9).round().max(0.0) as u64;
        let middle = self.mid_exposure_s(view);
        let start = DEVICE_START_NS + ns(middle - 0.5 * self.pulse_s);
        let arrived = start + ns(self.pulse_s) + READ_OUT_NS;
        let stamps = ClockStamps {
            device: DeviceTime(start),
            host: HostTime(arrived),
            wall: WallTime(WALL_START_NS + arrived - DEVICE_START_NS),
        };
        (stamps, DeviceTime(DEVICE_START_NS + ns(middle)))
    }

    fn stream(&self, view: usize, purpose: Purpose) -> Stream {
        Stream::new(self.seed, view as u32, 0, purpose)
    }
}

/// When the maps were measured: an hour before the run.
pub(crate) fn calibration_time() -> WallTime {
    WallTime(WALL_START_NS - 3_600_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(name: &str, options: &Options) -> (Protocol, Schedule) {
        let protocol = Protocol::named(name).unwrap();
        let schedule =
            Schedule::new(&protocol, &PatientSetup::default(), options, &options.effective()).unwrap();
        (protocol, schedule)
    }

    #[test]
    fn schedule_ideal_spin_covers_its_arc_in_even_steps() {
        let (protocol, schedule) = schedule("spine-spin", &Options { ideal: true, ..Options::default() });
        let planned = schedule.planned(protocol.kind).unwrap();
        let step = 220.0_f64.to_radians() / 248.0;
        assert!((planned[0].primary_angle_rad - (-110.0_f64.to_radians() + 0.5 * step)).abs() < 1e-12);
        for pair in planned.windows(2) {
            assert!((pair[1].primary_angle_rad - pair[0].primary_angle_rad - step).abs() < 1e-12);
        }
        assert_eq!(schedule.measured_angle_rad(17), planned[17].primary_angle_rad);
    }

    #[test]
    fn schedule_jitters_but_never_runs_backwards() {
        let (_, schedule) = schedule("spine-spin", &Options::default());
        let stamps: Vec<u64> = (0..248).map(|view| schedule.stamps(view).1.0).collect();
        assert!(stamps.windows(2).all(|pair| pair[1] > pair[0]));
        let steps: std::collections::BTreeSet<u64> =
            stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.len() > 200);
        let off = schedule.measured_angle_rad(100) - schedule.angle_rad(schedule.planned_s(100));
        assert!(off != 0.0 && off.abs() < 0.1_f64.to_radians());
    }
}
