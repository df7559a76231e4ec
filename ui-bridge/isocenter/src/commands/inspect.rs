//! `isocenter inspect`: what a file is and whether it is sound; repairs a run into a new file.

mod mesh;

use crate::cli::Inspect;
use crate::console::{Outcome, peak_rss_mib};
use anyhow::{Result, bail};
use interchange::MeshFormat;
use serde_json::{Value, json};
use std::path::Path;

pub use mesh::facts as mesh_facts;

/// Runs the command.
pub fn run(options: &Inspect) -> Result<Outcome> {
    let is_run = options.path.extension().is_some_and(|extension| extension == "mcap");
    match &options.recover {
        Some(out) if is_run => recover(&options.path, out),
        Some(_) => bail!("{}: expected a run (.mcap) to recover", options.path.display()),
        None if is_run => Ok(inspect_run(&options.path)),
        None if MeshFormat::of(&options.path).is_some() => Ok(mesh::inspect(&options.path)),
        None => Ok(inspect_other(&options.path)),
    }
}

fn inspect_run(path: &Path) -> Outcome {
    let found = capture::inspect(path);
    let is_sound = found.is_sound();
    let description = found.description.as_ref().map(|d| {
        json!({
            "run_id": d.run_id,
            "protocol": d.protocol,
            "device": d.device,
            "detector": d.detector_size,
            "pixel_pitch_mm": d.pixel_pitch_mm,
            "frame_rate_hz": d.frame_rate_hz,
            "planned_views": d.planned_views,
            "has_calibration": d.has_calibration,
        })
    });
    let damage: Vec<String> = found
        .damage
        .iter()
        .map(|damage| format!("bytes {} to {}: {}", damage.start_byte, damage.end_byte, damage.kind))
        .collect();
    let outcome = found.outcome.as_ref().map(|outcome| format!("{outcome:?}"));
    let gaps: Vec<Value> = found
        .gaps
        .iter()
        .map(|gap| json!({ "first_sequence": gap.first_sequence, "count": gap.count, "reason": gap.reason }))
        .collect();
    let mut text = format!(
        "{}: {} run, {} frames, {} gaps, {}",
        path.display(),
        if is_sound { "sound" } else { "unsound" },
        found.frames,
        found.gaps.len(),
        outcome.as_deref().unwrap_or("never finished"),
    );
    for line in found.unreadable.iter().chain(&damage) {
        text += &format!("\n  {line}");
    }
    let json = json!({
        "kind": "run",
        "is_sound": is_sound,
        "file_bytes": found.file_bytes,
        "unreadable": found.unreadable,
        "damage": damage,
        "frames": found.frames,
        "recorded_frames": found.recorded_frames,
        "sequences": found.sequences,
        "gaps": gaps,
        "unexplained_gaps": found.unexplained_gaps,
        "events": found.events.len(),
        "outcome": outcome,
        "description": description,
        "peak_rss_mib": peak_rss_mib(),
    });
    Outcome { json, text, is_success: is_sound }
}

fn recover(path: &Path, out: &Path) -> Result<Outcome> {
    let recovery = capture::recover(path, out)?;
    let lost: u64 = recovery.lost.iter().map(|(_, count)| count).sum();
    let text = format!(
        "{}: {} frames recovered, {lost} lost, {:?}",
        out.display(),
        recovery.summary.frames,
        recovery.outcome
    );
    let json = json!({
        "out": out,
        "frames": recovery.summary.frames,
        "recorded_frames": recovery.recorded_frames,
        "lost": recovery.lost,
        "outcome": format!("{:?}", recovery.outcome),
        "content_hash": recovery.summary.content_hash,
    });
    Ok(Outcome::success(json, text))
}

fn inspect_other(path: &Path) -> Outcome {
    let found = interchange::inspect_file(path);
    let state = if found.is_sound { "sound" } else { "unsound" };
    let mut text = format!("{}: {state} {}", path.display(), found.kind);
    for (name, value) in &found.facts {
        text += &format!("\n  {name}: {value}");
    }
    for finding in &found.findings {
        text += &format!("\n  ! {finding}");
    }
    let facts: serde_json::Map<String, Value> =
        found.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let json = json!({
        "kind": found.kind,
        "is_sound": found.is_sound,
        "findings": found.findings,
        "facts": facts,
        "peak_rss_mib": peak_rss_mib(),
    });
    Outcome { json, text, is_success: found.is_sound }
}
