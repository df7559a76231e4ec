//! The devices of a configuration as drivers: the only place that knows what kinds there are.

mod camera;
mod mapped;
mod recording;
mod virtual_carm;

use super::config::{Config, DevicePart};
use crate::console::Console;
use anyhow::{Context, Result};
use service::{Driver, ProcessDriver, StreamSettings};
use std::path::Path;
use std::time::Duration;

/// A driver for each device, with how its stream runs.
///
/// A device that is to have a process of its own gets one of this same program, with the configuration at `path`.
pub fn drivers(
    config: &Config,
    path: &Path,
    console: &Console,
) -> Result<Vec<(Box<dyn Driver>, StreamSettings)>> {
    let with_settings = |part: &DevicePart| -> Result<_> {
        let settings = StreamSettings {
            ring_slots: part.ring_frames,
            record: part.record.into(),
            dose: part.dose.map(Into::into),
            stages: part.live.stages(),
            live: part.live.settings(),
            file_lasts: Duration::from_secs_f64(part.file_lasts_s),
            real_time: part.real_time,
            ..StreamSettings::default()
        };
        let driver = if part.process { in_process(part, path)? } else { driver(part, console)? };
        Ok((driver, settings))
    };
    config.devices.iter().map(with_settings).collect()
}

fn in_process(part: &DevicePart, path: &Path) -> Result<Box<dyn Driver>> {
    let program = std::env::current_exe().context("the path of this program, which is also its drivers'")?;
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    Ok(Box::new(ProcessDriver {
        name: part.name.clone(),
        command: vec![
            program.into(),
            "driver".into(),
            "--config".into(),
            path.into(),
            "--device".into(),
            part.name.clone().into(),
        ],
        returns_after_end: part.camera.is_some(),
    }))
}

/// The driver of a device, in this process.
pub fn driver(part: &DevicePart, console: &Console) -> Result<Box<dyn Driver>> {
    let driver = own_driver(part, console)?;
    Ok(match &part.maps {
        Some(maps) => Box::new(mapped::MappedDriver::new(driver, maps.clone())?),
        None => driver,
    })
}

/// The same with the maps that the device brings.
fn own_driver(part: &DevicePart, console: &Console) -> Result<Box<dyn Driver>> {
    if let Some(camera) = &part.camera {
        return Ok(Box::new(camera::CameraDriver::new(&part.name, camera)?));
    }
    if let Some(recording) = &part.recording {
        return recording::driver(&part.name, recording);
    }
    let virtual_carm = part.virtual_carm.as_ref().expect("the configuration was checked: one of three");
    Ok(Box::new(virtual_carm::VirtualDriver::new(&part.name, virtual_carm, console)?))
}
