//! Detector maps from a file: put in force in a run, and doubted aloud.
//!
//! A file of maps is a run without frames whose description carries them: it has the checksums, the version and the readers
//! of every run, and a recorded run can lend its maps as well.

use acquisition::calibrate::{MapsDoubt, doubts, install};
use anyhow::{Context, Result};
use capture::RunReader;
use carm::{FrameHeader, RunDescription};
use std::path::Path;

/// Puts the maps of a file, where one is given, in force in a run; gives all that speaks against a run's maps at the time of
/// its first frame. That there are none shows elsewhere.
pub fn in_force(
    file: Option<&Path>,
    run: &mut RunDescription,
    headers: &[FrameHeader],
) -> Result<Vec<String>> {
    if let Some(path) = file {
        put_in_force(path, run)?;
    }
    let Some(maps) = &run.detector_calibration else { return Ok(Vec::new()) };
    // A run without a wall clock says nothing of their age.
    let taken = headers.first().map(|header| header.stamps.wall).filter(|wall| wall.0 > 0);
    let found = doubts(run, taken.unwrap_or(maps.acquired));
    Ok(found
        .into_iter()
        .filter(|doubt| *doubt != MapsDoubt::Missing)
        .map(|doubt| doubt.to_string())
        .collect())
}

/// Puts the maps of a file in force in a run.
pub fn put_in_force(path: &Path, run: &mut RunDescription) -> Result<()> {
    let about = || format!("{}: its detector maps", path.display());
    let measured = RunReader::open(path).with_context(about)?;
    install(measured.description(), run).with_context(about)
}
