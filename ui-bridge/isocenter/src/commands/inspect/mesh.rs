//! Surfaces: every kind of defect named and counted.

use crate::console::{Outcome, peak_rss_mib};
use interchange::{MeshFile, read_mesh};
use printing::{MeshReport, check};
use serde_json::{Value, json};
use std::path::Path;

/// Inspects a file of surfaces; its objects are examined one by one, for they may overlap.
pub fn inspect(path: &Path) -> Outcome {
    let file = match read_mesh(path) {
        Ok(file) => file,
        Err(error) => {
            let json = json!({ "kind": "mesh", "is_sound": false, "findings": [error.to_string()] });
            return Outcome { json, text: format!("unsound mesh: {error}"), is_success: false };
        }
    };
    let reports: Vec<MeshReport> = file.parts.iter().map(|part| check(&part.mesh)).collect();
    let is_sound = !reports.is_empty() && reports.iter().all(MeshReport::is_sound);
    Outcome {
        json: told(&file, &reports, is_sound),
        text: text(path, &file, &reports, is_sound),
        is_success: is_sound,
    }
}

/// One object's report.
pub fn facts(report: &MeshReport) -> Value {
    let defects: serde_json::Map<String, Value> = report
        .defects
        .iter()
        .map(|defects| {
            let told = json!({ "count": defects.count, "first_places_mm": defects.places_mm });
            (defects.kind.to_string(), told)
        })
        .collect();
    json!({
        "is_sound": report.is_sound(),
        "faces": report.faces,
        "vertices": report.vertices,
        "components": report.components,
        "genus": report.genus,
        "volume_mm3": report.volume_mm3,
        "area_mm2": report.area_mm2,
        "bounds_mm": report.bounds_mm,
        "defects": defects,
        "is_search_complete": report.is_search_complete,
    })
}

fn told(file: &MeshFile, reports: &[MeshReport], is_sound: bool) -> Value {
    let parts: Vec<Value> = file
        .parts
        .iter()
        .zip(reports)
        .map(|(part, report)| {
            let mut told = facts(report);
            told["name"] = json!(part.name);
            told["colour"] = json!(part.colour);
            told
        })
        .collect();
    json!({
        "kind": "mesh",
        "is_sound": is_sound,
        "findings": reports.iter().filter(|report| !report.is_sound()).map(ToString::to_string).collect::<Vec<_>>(),
        "parts": parts,
        "metadata": file.metadata,
        "warnings": file.warnings,
        "peak_rss_mib": peak_rss_mib(),
    })
}

fn text(path: &Path, file: &MeshFile, reports: &[MeshReport], is_sound: bool) -> String {
    let state = if is_sound { "sound" } else { "unsound" };
    let mut text = format!("{}: {state} mesh, {} objects", path.display(), file.parts.len());
    for (part, report) in file.parts.iter().zip(reports) {
        let name = if part.name.is_empty() { "(no name)" } else { &part.name };
        let mark = if report.is_sound() { ' ' } else { '!' };
        text += &format!(
            "\n  {mark} {name}: {report}; {} parts, {:.3} ml",
            report.components,
            report.volume_mm3 / 1e3
        );
    }
    for warning in &file.warnings {
        text += &format!("\n  {warning}");
    }
    text
}
