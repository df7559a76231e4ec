//! What the configuration says of a camera.

use crate::error::CameraError;
use crate::numbers::FrameNumbers;
use carm::{BeamModel, DetectorCalibration, DeviceIdentity, Exposure, PatientSetup};
use std::time::Duration;

/// A camera as configured. What the source itself tells (size, format, usually the rate) is not asked for.
#[derive(Clone, Debug)]
pub struct CameraSettings {
    /// Name in messages and descriptions.
    pub name: String,
    /// GStreamer launch line with one `appsink` at its end.
    pub launch: String,
    /// Who makes the frames.
    pub identity: DeviceIdentity,
    /// Frames per second; needed where the source does not tell, and wins where it does.
    pub frame_rate_hz: Option<f64>,
    /// How frames are numbered.
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
        Self {
            name: name.into(),
            launch: launch.into(),
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
}
