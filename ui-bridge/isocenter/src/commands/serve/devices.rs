//! The devices of a configuration as drivers: the only place that knows what kinds there are.

mod camera;
mod recording;
mod virtual_carm;

use super::config::{Config, DevicePart};
use crate::console::Console;
use anyhow::Result;
use service::{Driver, StreamSettings};
use std::time::Duration;

/// A driver for each device, with how its stream runs.
pub fn drivers(config: &Config, console: &Console) -> Result<Vec<(Box<dyn Driver>, StreamSettings)>> {
    let with_settings = |part: &DevicePart| -> Result<_> {
        let settings = StreamSettings {
            ring_slots: part.ring_frames,
            record: part.record.into(),
            file_lasts: Duration::from_secs_f64(part.file_lasts_s),
            real_time: part.real_time,
            ..StreamSettings::default()
        };
        Ok((driver(part, console)?, settings))
    };
    config.devices.iter().map(with_settings).collect()
}

fn driver(part: &DevicePart, console: &Console) -> Result<Box<dyn Driver>> {
    if let Some(camera) = &part.camera {
        return Ok(Box::new(camera::CameraDriver::new(&part.name, camera)?));
    }
    if let Some(recording) = &part.recording {
        return recording::driver(&part.name, recording);
    }
    let virtual_carm = part.virtual_carm.as_ref().expect("the configuration was checked: one of three");
    Ok(Box::new(virtual_carm::VirtualDriver::new(&part.name, virtual_carm, console)?))
}
