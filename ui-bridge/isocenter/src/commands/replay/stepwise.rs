//! One frame at a time.

use anyhow::Context;
use carm::{DeviceError, FrameSource, RunDescription, SourceEvent};
use replay::ReplayDevice;

/// Hands out one frame for each line on standard input; ends with it.
pub struct Stepwise {
    device: ReplayDevice,
}

impl Stepwise {
    /// Of a device that does not wait by itself.
    pub fn new(device: ReplayDevice) -> Self {
        Self { device }
    }
}

impl FrameSource for Stepwise {
    fn description(&self) -> &RunDescription {
        self.device.description()
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).context("standard input");
        match read {
            Ok(0) => return Ok(SourceEvent::End),
            Ok(_) => {}
            Err(error) => {
                return Err(DeviceError::Failed {
                    device: "replay".into(),
                    reason: error.to_string(),
                    source: None,
                });
            }
        }
        let event = self.device.next_frame(slot)?;
        if let SourceEvent::Frame(header) = &event {
            eprintln!(
                "frame {} at {:.2} degrees",
                header.sequence,
                header.gantry.primary_angle_rad.to_degrees()
            );
        }
        Ok(event)
    }
}
