//! The virtual C-arm beside the daemon: its live frames and its spin are computed before the daemon starts, because two
//! cores cannot compute them at their pace.

use crate::cancel;
use crate::commands::serve::config::VirtualPart;
use crate::commands::simulate;
use crate::console::Console;
use anyhow::{Context, Result};
use carm::{DeviceError, FrameSource, SourceEvent};
use service::{Driver, PreRendered, wall_now};
use simulated::{Options, Patient, SimulatedCarm};

pub struct VirtualDriver {
    name: String,
    live: PreRendered,
    spin: Option<PreRendered>,
}

impl VirtualDriver {
    pub fn new(name: &str, part: &VirtualPart, console: &Console) -> Result<Self> {
        let about = || format!("device {name}: virtual-carm");
        let patient = simulate::patient_by_name(&part.patient).with_context(about)?;
        let live = render(part, &part.protocol, Some(part.frames), &patient, console).with_context(about)?;
        let spin = part.spin.as_deref();
        let spin = spin.map(|protocol| render(part, protocol, part.spin_views, &patient, console));
        Ok(Self { name: name.into(), live, spin: spin.transpose().with_context(about)? })
    }
}

fn render(
    part: &VirtualPart,
    protocol: &str,
    views: Option<usize>,
    patient: &Patient,
    console: &Console,
) -> Result<PreRendered> {
    let options = Options { ideal: part.ideal, seed: part.seed, views, ..Options::default() };
    let mut carm = SimulatedCarm::new(simulate::protocol(protocol)?, patient.clone(), options)?;
    let bar = console.progress(carm.views() as u64, "imaging");
    let mut frames = Vec::new();
    let mut counts = vec![0; carm.description().detector.pixel_count()];
    while let SourceEvent::Frame(header) = carm.next_frame(&mut counts)? {
        cancel::check()?;
        frames.push((header, counts.clone()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut description = carm.description().clone();
    if let Some(maps) = &mut description.detector_calibration {
        // Its clock begins with the run; beside the daemon it is calibrated as the daemon starts.
        maps.acquired = wall_now();
    }
    Ok(PreRendered::new(description, frames))
}

impl Driver for VirtualDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        Ok(Box::new(self.live.clone().again_and_again()))
    }

    fn can_spin(&self) -> bool {
        self.spin.is_some()
    }

    fn open_spin(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let spin = self.spin.clone().ok_or_else(|| DeviceError::Failed {
            device: self.name.clone(),
            reason: "expected a protocol for the spin in the configuration, found none".into(),
            source: None,
        })?;
        Ok(Box::new(spin))
    }
}
