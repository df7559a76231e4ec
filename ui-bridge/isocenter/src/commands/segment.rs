//! `isocenter segment`: bone, vessels and more as labels with confidence.

use crate::cancel;
use crate::cli::Segment;
use crate::console::{Console, Outcome, peak_rss_mib};
use crate::volumes::{check_format, read_with_mask, thread_pool};
use anatomy::{DoubtfulRegion, Options, Progress, Segmentation, Structure, Target, segment};
use anyhow::{Context, Result};
use carm::{Quantity, Volume};
use interchange::{SegmentProperty, WriteOptions, write_segmentation, write_volume};
use nalgebra::Point3;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Doubtful regions that people are told; all are in the JSON.
const TOLD: usize = 5;

/// Runs the command.
pub fn run(options: &Segment, console: &Console) -> Result<Outcome> {
    check_format(&options.out)?;
    if let Some(path) = &options.confidence {
        check_format(path)?;
    }
    let volume = read_with_mask(&options.volume, options.mask.as_deref())?;
    let pool = thread_pool(options.threads)?;
    let bar = console.progress(100, "segmenting");
    let tell = |share: f64, _: &'static str| {
        bar.set_position((100.0 * share) as u64);
        !cancel::is_requested()
    };
    let search = Options {
        seeds: options.seed.iter().map(|seed| Point3::from(seed.0)).collect(),
        scribbles: options.scribble.clone(),
    };
    let started = Instant::now();
    let found = pool.install(|| segment(&volume, options.target.into(), &search, &Progress::new(&tell)));
    bar.finish_and_clear();
    cancel::check()?;
    let found = found.with_context(|| options.volume.display().to_string())?;
    let seconds = started.elapsed().as_secs_f64();
    write_labels(&volume, &found, &options.out)?;
    if let Some(path) = &options.confidence {
        write(&volume, found.confidence.mapv(f32::from), path)?;
    }
    let report = json!({
        "in": options.volume,
        "out": options.out,
        "confidence": options.confidence,
        "target": options.target.to_string(),
        "volume_hash": session::volume_hash(&volume),
        "segment_s": seconds,
        "peak_rss_mib": peak_rss_mib(),
        "threads": pool.current_num_threads(),
        "structures": found.structures.iter().map(structure).collect::<Vec<_>>(),
        "doubtful": found.doubtful.iter().map(doubtful).collect::<Vec<_>>(),
        "notes": found.notes,
        "warnings": volume.provenance.warnings,
    });
    Ok(Outcome::success(report, text(&found, &options.out)))
}

/// Labels with their names where the format has a place for them: DICOM Segmentation for `.dcm`.
fn write_labels(like: &Volume, found: &Segmentation, path: &Path) -> Result<()> {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dcm")) {
        return write(like, found.labels.mapv(f32::from), path);
    }
    let segment = |structure: &Structure| interchange::Segment {
        label: structure.label,
        name: structure.name.clone(),
        property: property(structure),
    };
    let segments: Vec<_> = found.structures.iter().map(segment).collect();
    Ok(write_segmentation(path, &whole_numbers(like, found.labels.mapv(f32::from)), &segments)?)
}

/// What a structure is in DICOM's words.
fn property(structure: &Structure) -> SegmentProperty {
    match structure.target {
        Target::Bone => SegmentProperty::Bone,
        Target::Vessel if structure.name == "aorta" => SegmentProperty::Aorta,
        Target::Vessel => SegmentProperty::BloodVessel,
        Target::Metal => SegmentProperty::Metal,
        Target::Calcification => SegmentProperty::Calcification,
        Target::Skin => SegmentProperty::Body,
        Target::Vertebrae => SegmentProperty::Vertebra,
    }
}

fn write(like: &Volume, values: ndarray::Array3<f32>, path: &Path) -> Result<()> {
    write_volume(&whole_numbers(like, values), path, &WriteOptions::default())?;
    Ok(())
}

/// Whole numbers on the grid of the volume that they belong to.
fn whole_numbers(like: &Volume, values: ndarray::Array3<f32>) -> Volume {
    let mut labels = Volume::new(like.grid, values, Quantity::Unknown);
    labels.space = like.space;
    labels.frame_of_reference_uid.clone_from(&like.frame_of_reference_uid);
    labels
}

fn point(point: &Point3<f64>) -> [f64; 3] {
    [point.x, point.y, point.z].map(|mm| (mm * 10.0).round() / 10.0)
}

/// One thing that was found, as JSON.
pub fn structure(structure: &Structure) -> Value {
    json!({
        "label": structure.label,
        "name": structure.name,
        "target": structure.target.name(),
        "volume_ml": structure.volume_ml,
        "bounds_voxels": structure.bounds,
        "centre_mm": point(&structure.centre),
        "mean_confidence_percent": structure.mean_confidence,
        "truncated": structure.is_truncated,
    })
}

/// One place of low confidence, as JSON.
pub fn doubtful(region: &DoubtfulRegion) -> Value {
    let evidence: Vec<Value> = region
        .evidence
        .iter()
        .map(|(evidence, share)| json!({ "kind": evidence.name(), "share": share }))
        .collect();
    json!({
        "label": region.label,
        "position_mm": point(&region.position),
        "volume_ml": region.volume_ml,
        "mean_confidence_percent": region.mean_confidence,
        "expected_wrong_ml": region.expected_wrong_ml,
        "evidence": evidence,
    })
}

fn text(found: &Segmentation, out: &Path) -> String {
    let mut text = out.display().to_string();
    for structure in &found.structures {
        text += &format!(
            "\n{:>4}  {:20} {:8.1} ml, {:.0} % sure{}",
            structure.label,
            structure.name,
            structure.volume_ml,
            structure.mean_confidence,
            if structure.is_truncated { ", cut off by the end of the volume" } else { "" }
        );
    }
    if !found.doubtful.is_empty() {
        text += &format!(
            "\n{} regions under {} %, the worst at (LPS mm):",
            found.doubtful.len(),
            Segmentation::REVIEW_PERCENT
        );
    }
    for region in found.doubtful.iter().take(TOLD) {
        let [x, y, z] = point(&region.position);
        let evidence = region.evidence.first().map_or("", |(evidence, _)| evidence.name());
        text += &format!("\n      {x}, {y}, {z}: {:.1} ml, {evidence}", region.volume_ml);
    }
    for note in &found.notes {
        text += &format!("\nnote: {note}");
    }
    text
}

impl From<crate::cli::TargetChoice> for Target {
    fn from(choice: crate::cli::TargetChoice) -> Self {
        use crate::cli::TargetChoice;
        match choice {
            TargetChoice::Bone => Self::Bone,
            TargetChoice::Vessel => Self::Vessel,
            TargetChoice::Metal => Self::Metal,
            TargetChoice::Vertebrae => Self::Vertebrae,
            TargetChoice::Calcification => Self::Calcification,
            TargetChoice::Skin => Self::Skin,
        }
    }
}
