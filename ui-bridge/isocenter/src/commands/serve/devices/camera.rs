//! A launch line, or a GenICam panel.

use crate::commands::serve::config::{CameraPart, NumbersChoice};
use anyhow::{Context, Result, bail};
use camera::{CameraSettings, CameraSource, FrameNumbers};
use capture::RunReader;
use carm::{DeviceError, DeviceIdentity, FrameSource};
use service::Driver;

pub struct CameraDriver {
    settings: CameraSettings,
}

impl CameraDriver {
    pub fn new(name: &str, part: &CameraPart) -> Result<Self> {
        let source = match (&part.launch, &part.genicam) {
            (Some(launch), None) => CameraSource::Launch(launch.clone()),
            (None, Some(panel)) => {
                CameraSource::GenICam { camera: panel.camera.clone(), features: panel.features.clone() }
            }
            (launch, _) => {
                let found = if launch.is_some() { "both" } else { "neither" };
                bail!("device {name}: camera: expected launch or genicam, found {found}");
            }
        };
        let mut settings = CameraSettings {
            identity: DeviceIdentity {
                manufacturer: part.manufacturer.clone(),
                model: part.model.clone(),
                serial_number: part.serial_number.clone(),
            },
            frame_rate_hz: part.frame_rate_hz,
            numbers: match part.frame_numbers {
                NumbersChoice::TimeStamps => FrameNumbers::TimeStamps,
                NumbersChoice::Offset => FrameNumbers::Offset,
                NumbersChoice::Arrival => FrameNumbers::Arrival,
            },
            pixel_pitch_mm: part.pixel_pitch_mm,
            bits_stored: part.bits_stored,
            exposure: part.exposure.map(Into::into).unwrap_or_default(),
            ..CameraSettings::from(name, source)
        };
        if let Some(path) = &part.calibration_run {
            let run = RunReader::open(path).with_context(|| format!("device {name}: calibration-run"))?;
            let description = run.description();
            settings.calibration = description.detector_calibration.clone();
            settings.beam = description.beam.clone();
            settings.patient = description.patient;
        }
        Ok(Self { settings })
    }
}

impl Driver for CameraDriver {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        camera::open(&self.settings).map_err(|error| DeviceError::Failed {
            device: self.settings.name.clone(),
            reason: error.to_string(),
            source: Some(Box::new(error)),
        })
    }
}
