//! Grids from options, and writing volumes with what was degraded said aloud.

use crate::cli::{Direction, Triple, VolumeOptions};
use crate::console::peak_rss_mib;
use anyhow::{Context, Result, ensure};
use carm::{PatientSetup, Provenance, Quantity, Volume, VolumeGrid, mask};
use interchange::{VolumeFormat, WriteOptions, read_volume, write_labels, write_volume};
use nalgebra::{Matrix3, Point3};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde_json::{Value, json};
use session::StageTimes;
use std::path::Path;

/// The grids of a volume and its mask differ by less than this: what a file's numbers lose, mm.
const MASK_WITHIN_MM: f64 = 0.01;

/// A pool of the asked number of threads; by default one a core.
pub fn thread_pool(threads: Option<usize>) -> Result<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build().context("worker threads")
}

/// The grid of the options; what they leave open comes from `default`.
pub fn grid_of(options: &VolumeOptions, default: &VolumeGrid) -> Result<VolumeGrid> {
    if options.grid.is_none()
        && options.voxel_mm.is_none()
        && options.center.is_none()
        && options.direction.is_none()
    {
        return Ok(*default);
    }
    let shape = options.grid.map_or(default.shape, |sizes| sizes.0);
    let spacing = options.voxel_mm.map_or(default.spacing_mm, |Triple(spacing)| spacing);
    let centre = options.center.map_or(default.centre(), |Triple(centre)| Point3::from(centre));
    let direction =
        options.direction.map_or(default.direction, |Direction(rows)| Matrix3::from_row_slice(&rows));
    Ok(VolumeGrid::centred(shape, spacing, direction, centre)?)
}

/// Refuses work that would need more memory than allowed.
pub fn check_memory(options: &VolumeOptions, grid: &VolumeGrid, views_bytes: u64) -> Result<()> {
    let Some(allowed) = options.memory else { return Ok(()) };
    // The accumulator, the ordered volume and its mask.
    let needed = grid.voxel_count() as u64 * 9 + views_bytes;
    anyhow::ensure!(
        needed <= allowed,
        "memory: expected at most {} MiB as allowed, found a need of {} MiB for {} voxels and their views",
        allowed >> 20,
        needed >> 20,
        grid.voxel_count()
    );
    Ok(())
}

/// Writes a volume by its name's format.
pub fn write(volume: &Volume, path: &Path) -> Result<()> {
    write_volume(volume, path, &WriteOptions::default())?;
    Ok(())
}

/// Writes the volume of a run, with how the patient lay where the format has a place for it.
pub fn write_of_run(volume: &Volume, path: &Path, patient: &PatientSetup) -> Result<()> {
    let options = WriteOptions { patient_position: Some(patient.position), ..WriteOptions::default() };
    write_volume(volume, path, &options)?;
    Ok(())
}

/// Refuses a name that tells no format that can be written, before any work is done.
pub fn check_format(path: &Path) -> Result<()> {
    VolumeFormat::required(path)?;
    Ok(())
}

/// Writes the bits that a volume knows of its voxels; nothing without a path.
pub fn write_mask(volume: &Volume, path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let bits = volume.mask.as_ref().context("--mask: expected a volume with a mask")?;
    let meaning: Vec<String> = mask::NAMES.iter().map(|(bit, name)| format!("{bit} {name}")).collect();
    write_labels(&volume.grid, bits, &format!("bits: {}", meaning.join(", ")), path)?;
    Ok(())
}

/// Reads a volume and, where a path is given, the bits that [`write_mask`] wrote of its voxels.
pub fn read_with_mask(path: &Path, mask: Option<&Path>) -> Result<Volume> {
    let mut volume = read_volume(path)?;
    if let Some(mask_path) = mask {
        let mask = read_volume(mask_path)?;
        let (expected, found) = (volume.grid.shape, mask.grid.shape);
        let first = |of: &Volume| of.grid.point(0.0, 0.0, 0.0);
        let apart_mm = (first(&volume) - first(&mask)).norm();
        ensure!(
            expected == found && apart_mm < MASK_WITHIN_MM,
            "{}: expected a mask on the grid of {}, {expected:?} voxels, found {found:?}, {apart_mm:.3} mm away",
            mask_path.display(),
            path.display()
        );
        volume.mask = Some(mask.values.mapv(|bits| bits as u8));
    }
    Ok(volume)
}

/// What every reconstruction reports.
pub fn facts(volume: &Volume, seconds: f64, threads: usize, stages: &StageTimes) -> Value {
    let hash = session::volume_hash(volume);
    let described =
        Described { grid: &volume.grid, quantity: volume.quantity, provenance: &volume.provenance, hash };
    described.facts(seconds, threads, stages)
}

/// A volume that may never have been in memory as a whole.
pub struct Described<'a> {
    /// Where its voxels lie.
    pub grid: &'a VolumeGrid,
    /// What they mean.
    pub quantity: Quantity,
    /// How they came to be.
    pub provenance: &'a Provenance,
    /// As [`session::volume_hash`] gives it.
    pub hash: String,
}

impl Described<'_> {
    /// As [`facts`].
    pub fn facts(self, seconds: f64, threads: usize, stages: &StageTimes) -> Value {
        let Self { grid, quantity, provenance, hash } = self;
        let unit = match quantity {
            Quantity::MuPerMm => "1/mm",
            Quantity::Hu { .. } => "HU",
            Quantity::Unknown => "unknown",
        };
        let stage_seconds: serde_json::Map<String, Value> = stages
            .stages()
            .iter()
            .map(|(name, spent)| ((*name).to_string(), json!(spent.as_secs_f64())))
            .collect();
        let history: Vec<Value> = provenance
            .stages
            .iter()
            .map(|stage| json!({ "name": stage.name, "seconds": stage.seconds, "parameters": stage.parameters }))
            .collect();
        json!({
            "reconstruct_s": seconds,
            "peak_rss_mib": peak_rss_mib(),
            "backend": provenance.backend,
            "threads": threads,
            "volume_hash": hash,
            "volume": {
                "shape": grid.shape,
                "spacing_mm": grid.spacing_mm,
                "origin_mm": [grid.origin.x, grid.origin.y, grid.origin.z],
                "direction": grid.direction.transpose().as_slice(),
                "unit": unit,
            },
            "stage_seconds": stage_seconds,
            "stages": history,
            "warnings": provenance.warnings,
        })
    }
}
