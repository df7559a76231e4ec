//! What the configuration says of a camera.

use crate::error::CameraError;
use crate::numbers::FrameNumbers;
use crate::pixels::Layout;
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, Exposure, PatientSetup, RunDescription,
};
use std::time::Duration;

/// Where a camera's frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraSource {
    /// A GStreamer launch line with one `appsink` at its end: frame grabbers, files, anything that has an element.
    Launch(String),
    /// A GigE Vision or USB3 Vision panel, by the library Aravis: with frame ids, time stamps and packets accounted.
    GenICam {
        /// Address, serial number or name as Aravis knows it; empty is the first one found.
        camera: String,
        /// Features to set, `Name=value` apart by spaces, in this order.
        features: String,
    },
}

/// A camera as configured. What the source itself tells (size, format, usually the rate) is not asked for.
#[derive(Clone, Debug)]
pub struct CameraSettings {
    /// Name in messages and descriptions.
    pub name: String,
    /// Where the frames come from.
    pub source: CameraSource,
    /// Who makes the frames. What is empty is as the panel itself tells.
    pub identity: DeviceIdentity,
    /// Frames per second; needed where the source does not tell, and wins where it does.
    pub frame_rate_hz: Option<f64>,
    /// How frames of a launch line are numbered.
    pub numbers: FrameNumbers,
    /// Pitch of the pixels along columns and rows, mm.
    pub pixel_pitch_mm: [f64; 2],
    /// Bits of a count that are used; by default all of the format's.
    pub bits_stored: Option<u8>,
    /// What the generator is set to, as far as is known: a video source brings no exposure of its own.
    pub exposure: Exposure,
    /// The beam, for the run's description.
    pub beam: BeamModel,
    /// Where the patient lies.
    pub patient: PatientSetup,
    /// Detector maps in force.
    pub calibration: Option<DetectorCalibration>,
    /// Longest wait for the first frame.
    pub start_timeout: Duration,
}

impl CameraSettings {
    /// A camera of which only the launch line is known: pitch 1 mm, no maps, a beam of 70 kV.
    pub fn new(name: &str, launch: &str) -> Self {
        Self::from(name, CameraSource::Launch(launch.into()))
    }

    /// A camera of which only the source is known, otherwise as [`CameraSettings::new`].
    pub fn from(name: &str, source: CameraSource) -> Self {
        Self {
            name: name.into(),
            source,
            identity: DeviceIdentity::default(),
            frame_rate_hz: None,
            numbers: FrameNumbers::default(),
            pixel_pitch_mm: [1.0, 1.0],
            bits_stored: None,
            exposure: Exposure::default(),
            beam: BeamModel {
                tube_voltage_kv: 70.0,
                effective_energy_kev: 53.0,
                // Water at 53 keV, as the virtual C-arm has it.
                mu_water_per_mm: 0.0221,
                water_precorrection: vec![1.0],
            },
            patient: PatientSetup::default(),
            calibration: None,
            start_timeout: Duration::from_secs(5),
        }
    }

    pub(crate) fn check(&self) -> Result<(), CameraError> {
        let refuse = |what, expected, found| {
            Err(CameraError::Setting { camera: self.name.clone(), what, expected, found })
        };
        if let Some(rate) = self.frame_rate_hz.filter(|rate| !(0.01..=10_000.0).contains(rate)) {
            return refuse("frame rate in 1/s", "0.01 to 10000", rate);
        }
        if let Some(bits) = self.bits_stored.filter(|bits| !(1..=16).contains(bits)) {
            return refuse("bits of a count", "1 to 16", bits.into());
        }
        Ok(())
    }

    /// The run that frames of this layout make.
    pub(crate) fn describe(
        &self,
        layout: Layout,
        bits: u8,
        frame_rate_hz: f64,
        device: DeviceIdentity,
    ) -> Result<RunDescription, CameraError> {
        let detector = DetectorGrid::new([layout.columns, layout.rows], self.pixel_pitch_mm)
            .map_err(|source| CameraError::Detector { camera: self.name.clone(), source })?;
        let source = match &self.source {
            CameraSource::Launch(line) => line.clone(),
            CameraSource::GenICam { features, .. } => format!("GenICam, {features}"),
        };
        Ok(RunDescription {
            run_id: self.name.clone(),
            protocol: "camera".into(),
            device,
            seed: None,
            detector,
            bits_stored: self.bits_stored.unwrap_or(bits),
            frame_rate_hz,
            planned_views: Vec::new(),
            detector_calibration: self.calibration.clone(),
            beam: self.beam.clone(),
            patient: self.patient,
            volume_grid: None,
            remarks: vec![
                format!("camera: {source}"),
                "camera: the source tells neither exposure nor gantry angles".into(),
            ],
        })
    }
}
