//! A run by its name: a run file as it is, or a DICOM object as the run that its attributes tell.

use crate::cancel;
use anyhow::{Context, Result};
use capture::{RunOutcome, RunReader, RunSummary, RunWriter, WriterOptions};
use carm::{Quantity, RunDescription, Volume};
use interchange::{ARBITRARY_GREY, Angiogram, NOMINAL_GEOMETRY, is_angiogram};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Attenuation of water where neither run nor options tell it, 1/mm.
pub const MU_WATER_PER_MM: f64 = 0.02059;

/// How a run's remark begins that names what a DICOM object did not tell.
const NOT_TOLD: &str = "not told by the DICOM object: ";

/// A run file, which is gone with this when it had to be made.
pub struct NamedRun {
    path: PathBuf,
    /// What a DICOM object did not tell, and what was taken in its place.
    pub missing: Vec<String>,
    _folder: Option<TempDir>,
}

impl NamedRun {
    /// Finds the run of a name, which for a DICOM object is made beside the system's temporary files.
    pub fn find(path: &Path, mu_water_per_mm: f64) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "mcap") || !is_angiogram(path) {
            return Ok(Self { path: path.into(), missing: Vec::new(), _folder: None });
        }
        let folder = tempfile::tempdir().context("a folder for the run of a DICOM object")?;
        let run = folder.path().join("run.mcap");
        let missing = from_angiogram(path, &run, mu_water_per_mm)?.0.missing;
        Ok(Self { path: run, missing, _folder: Some(folder) })
    }

    /// The run file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it.
    pub fn open(&self) -> Result<RunReader> {
        Ok(RunReader::open(&self.path)?)
    }
}

/// Marks a volume with all that the DICOM object of its run did not tell: nominal geometry, a grey scale without Hounsfield
/// units.
pub fn mark(volume: &mut Volume, run: &RunDescription) {
    let marks = [NOMINAL_GEOMETRY, ARBITRARY_GREY, NOT_TOLD];
    let marked = run.remarks.iter().filter(|remark| marks.iter().any(|mark| remark.starts_with(mark)));
    volume.provenance.warnings.extend(marked.cloned());
    if run.remarks.iter().any(|remark| remark.starts_with(ARBITRARY_GREY)) {
        volume.quantity = Quantity::Unknown;
    }
}

/// Makes a run file of a DICOM object; gives the object for what it tells, and the file.
pub fn from_angiogram(path: &Path, out: &Path, mu_water_per_mm: f64) -> Result<(Angiogram, RunSummary)> {
    let mut angiogram = Angiogram::open(path, mu_water_per_mm)?;
    let not_told = angiogram.missing.iter().map(|missing| format!("{NOT_TOLD}{missing}"));
    angiogram.description.remarks.extend(not_told);
    let options = WriterOptions { overwrite: true, ..WriterOptions::default() };
    let mut writer = RunWriter::create(out, &angiogram.description, options)?;
    let mut counts = vec![0; angiogram.description.detector.pixel_count()];
    let mut frames = angiogram.frames()?;
    for (index, header) in angiogram.headers.iter().enumerate() {
        cancel::check()?;
        frames.read(index, &mut counts)?;
        writer.write_frame(header, &counts)?;
    }
    let summary = writer.finish(RunOutcome::Complete)?;
    drop(frames);
    Ok((angiogram, summary))
}
