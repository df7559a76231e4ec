//! A panel that does what a test tells it.

use crate::{Driver, PreRendered, monotonic_now};
use carm::{
    BeamModel, CarmAngles, CarmDistances, DetectorGrid, DeviceError, DeviceIdentity, Exposure, FrameHeader,
    FrameSource, GantryPose, PatientSetup, Pedal, PlannedView, RunDescription, SourceEvent, VolumeGrid,
    WallTime,
};
use nalgebra::{Matrix3, Point3};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) const NU: usize = 16;
pub(super) const NV: usize = 12;
/// Frames a second: slow enough for a busy machine, fast enough for a test.
pub(super) const RATE_HZ: f64 = 100.0;

pub(super) fn description() -> RunDescription {
    RunDescription {
        run_id: "test".into(),
        protocol: "fluoro".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: DetectorGrid::new([NU, NV], [0.6, 0.6]).unwrap(),
        bits_stored: 16,
        frame_rate_hz: RATE_HZ,
        planned_views: Vec::new(),
        detector_calibration: None,
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.022,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    }
}

/// Counts that tell their frame.
pub(super) fn counts(sequence: u64) -> Vec<u16> {
    (0..NU * NV).map(|i| (sequence as usize * 131 + i * 7) as u16).collect()
}

pub(super) fn header(sequence: u64) -> FrameHeader {
    let exposure = Exposure { tube_voltage_kv: 70.0, tube_current_ma: 50.0, pulse_width_ms: 10.0 };
    FrameHeader { sequence, is_xray_on: true, pedal: Pedal::Fluoroscopy, exposure, ..FrameHeader::default() }
}

/// What a panel does each time it is opened.
#[derive(Clone)]
pub(super) enum Act {
    /// Frames of these numbers; then goes on.
    Frames(Vec<u64>),
    /// So many frames without X-rays.
    Dark(u64),
    /// Round and round.
    Forever,
    /// Fails.
    Fail,
    /// Sets the wall clock so many ns ahead.
    WallClock(u64),
    /// Blocks without a word until the test's clock says so.
    Block(Duration),
}

/// Plays one list of acts an opening; the last list again and again.
pub(super) struct Panel {
    pub(super) openings: Vec<Vec<Act>>,
    pub(super) spin_views: usize,
    /// Whether its spins are to become volumes.
    pub(super) has_volume_grid: bool,
    opened: AtomicU64,
}

impl Panel {
    pub(super) fn new(openings: Vec<Vec<Act>>) -> Self {
        Self { openings, spin_views: 0, has_volume_grid: false, opened: AtomicU64::new(0) }
    }

    pub(super) fn with_spin(views: usize) -> Self {
        Self { spin_views: views, ..Self::new(vec![vec![Act::Forever]]) }
    }
}

impl Driver for Panel {
    fn name(&self) -> &str {
        "panel"
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let opening = self.opened.fetch_add(1, Ordering::Relaxed) as usize;
        let acts = self.openings[opening.min(self.openings.len() - 1)].clone();
        Ok(Box::new(Acting { description: description(), acts, next: 0, wall_ahead_ns: 0 }))
    }

    fn can_spin(&self) -> bool {
        self.spin_views > 0
    }

    fn open_spin(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let angle = |view: usize| 0.02 * view as f64;
        let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
        let mut run = description();
        run.volume_grid = self
            .has_volume_grid
            .then(|| VolumeGrid::centred([4; 3], [1.0; 3], Matrix3::identity(), Point3::origin()).unwrap());
        run.planned_views = (0..self.spin_views)
            .map(|view| {
                let angles = CarmAngles { primary_rad: angle(view), secondary_rad: 0.0 };
                let matrix =
                    carm::converters::projection_from_carm_angles(angles, distances, &run.detector).unwrap();
                PlannedView { primary_angle_rad: angle(view), projection_matrix: matrix }
            })
            .collect();
        let frames = (0..self.spin_views)
            .map(|view| {
                let gantry = GantryPose { primary_angle_rad: angle(view), secondary_angle_rad: 0.0 };
                let header = FrameHeader { pedal: Pedal::Acquisition, gantry, ..header(view as u64) };
                (header, counts(view as u64))
            })
            .collect();
        Ok(Box::new(PreRendered::new(run, frames)))
    }
}

struct Acting {
    description: RunDescription,
    acts: Vec<Act>,
    next: u64,
    wall_ahead_ns: u64,
}

impl FrameSource for Acting {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        std::thread::sleep(Duration::from_secs_f64(1.0 / RATE_HZ));
        let mut is_xray_on = true;
        let sequence = loop {
            match self.acts.first_mut() {
                None => return Ok(SourceEvent::End),
                Some(Act::Fail) => {
                    return Err(DeviceError::Disconnected {
                        device: "panel".into(),
                        last_sequence: self.next,
                    });
                }
                Some(Act::WallClock(ahead_ns)) => {
                    self.wall_ahead_ns = *ahead_ns;
                    self.acts.remove(0);
                }
                Some(Act::Block(long)) => {
                    std::thread::sleep(*long);
                    self.acts.remove(0);
                }
                Some(Act::Forever) => {
                    self.next += 1;
                    break self.next;
                }
                Some(Act::Dark(left)) if *left > 0 => {
                    *left -= 1;
                    self.next += 1;
                    is_xray_on = false;
                    break self.next;
                }
                Some(Act::Frames(numbers)) if !numbers.is_empty() => {
                    self.next = numbers.remove(0);
                    break self.next;
                }
                Some(Act::Dark(_) | Act::Frames(_)) => drop(self.acts.remove(0)),
            }
        };
        slot.copy_from_slice(&counts(sequence));
        let mut header = FrameHeader { is_xray_on, ..header(sequence) };
        header.stamps.host = monotonic_now();
        header.stamps.wall = WallTime(header.stamps.host.0 + self.wall_ahead_ns);
        Ok(SourceEvent::Frame(header))
    }
}
