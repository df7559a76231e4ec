//! A device with maps from a file in the place of its own; its counts pass as they are.

use crate::maps;
use anyhow::{Context, Result};
use capture::RunReader;
use carm::{DeviceError, FrameSource, LinkCounts, RunDescription, SourceEvent};
use service::Driver;
use std::path::PathBuf;

/// The driver of such a device.
pub struct MappedDriver {
    inner: Box<dyn Driver>,
    maps: PathBuf,
}

impl MappedDriver {
    /// With the maps of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn new(inner: Box<dyn Driver>, maps: PathBuf) -> Result<Self> {
        RunReader::open(&maps).with_context(|| format!("device {}: maps", inner.name()))?;
        Ok(Self { inner, maps })
    }

    fn with_maps(&self, source: Box<dyn FrameSource>) -> Result<Box<dyn FrameSource>, DeviceError> {
        let mut description = source.description().clone();
        maps::put_in_force(&self.maps, &mut description).map_err(|error| DeviceError::Failed {
            device: self.name().into(),
            reason: format!("{error:#}"),
            source: None,
        })?;
        Ok(Box::new(Mapped { source, description }))
    }
}

impl Driver for MappedDriver {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        self.with_maps(self.inner.open()?)
    }

    fn returns_after_end(&self) -> bool {
        self.inner.returns_after_end()
    }

    fn can_spin(&self) -> bool {
        self.inner.can_spin()
    }

    fn open_spin(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        self.with_maps(self.inner.open_spin()?)
    }
}

struct Mapped {
    source: Box<dyn FrameSource>,
    description: RunDescription,
}

impl FrameSource for Mapped {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        self.source.next_frame(slot)
    }

    fn link_counts(&self) -> LinkCounts {
        self.source.link_counts()
    }
}
