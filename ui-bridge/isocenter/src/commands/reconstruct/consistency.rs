//! `--consistency`: whether views and geometry agree, told in the report and, where they do not, in the volume.

use super::refine;
use crate::cancel;
use crate::cli::Reconstruct;
use crate::console::Console;
use anyhow::Result;
use capture::RunReader;
use carm::{ScanGeometry, Volume};
use interchange::ProjectionStack;
use ndarray::ArrayView3;
use reconstruct::consistency::{Consistency, check_consistency};
use serde_json::{Value, json};

/// What no check of this kind can tell.
const INVISIBLE: [&str; 3] = [
    "a rigid motion of all matrices together",
    "a mirror along the rotation axis",
    "all views late by the same number of positions on an ideal circle",
];

/// What a quiet number is worth where views are truncated.
const TRUNCATED_REMARK: &str = "views are truncated: errors of the matrices that vary slowly pass unseen in one of ten scans when of 1 mm, in half of them \
     when of half a degree; where no line is measured twice (an arc of half a turn or less) a mirror passes unseen, too";

/// Checks a projection stack; an alarm joins the warnings of its source, which the volume takes over.
pub fn of_stack(
    options: &Reconstruct,
    console: &Console,
    stack: &mut ProjectionStack,
) -> Result<Option<Value>> {
    if !options.consistency {
        return Ok(None);
    }
    let found = check(console, &stack.geometry, stack.line_integrals.view(), options.mu_water)?;
    stack.source.warnings.extend(warning(&found));
    Ok(Some(facts(&found)))
}

/// Checks a run; an alarm joins the warnings of its volume.
pub fn of_run(
    options: &Reconstruct,
    console: &Console,
    reader: &mut RunReader,
    volume: &mut Volume,
) -> Result<Option<Value>> {
    if !options.consistency {
        return Ok(None);
    }
    let mu_water_per_mm = reader.description().beam.mu_water_per_mm;
    let scan = refine::scan_of_run(reader)?;
    let found = check(console, &scan.geometry, scan.line_integrals.view(), mu_water_per_mm)?;
    volume.provenance.warnings.extend(warning(&found));
    Ok(Some(facts(&found)))
}

/// Adds what a check found to a report.
pub fn told_with(found: Option<Value>, mut report: Value) -> Value {
    if let Some(found) = found {
        report["consistency"] = found;
    }
    report
}

fn check(
    console: &Console,
    geometry: &ScanGeometry,
    line_integrals: ArrayView3<'_, f32>,
    mu_water_per_mm: f64,
) -> Result<Consistency> {
    let bar = console.progress(geometry.views().len() as u64, "data consistency");
    let found = check_consistency(geometry, line_integrals, mu_water_per_mm, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        !cancel::is_requested()
    })?;
    bar.finish_and_clear();
    Ok(found)
}

fn warning(found: &Consistency) -> Option<String> {
    found.is_alarm().then(|| {
        let [worst, ..] = by_excess(found);
        format!(
            "data consistency: expected a number of at most 1, found {:.2}: views and geometry do not agree ({} {:.3}, at \
             most {:.3}); wrong matrices, views out of order, a mirrored detector or motion",
            found.number(),
            worst.0,
            worst.1,
            worst.2
        )
    })
}

/// Measures with their limits, the worst first.
fn by_excess(found: &Consistency) -> [(&'static str, f64, f64); 9] {
    let limits = found.limits.parts();
    let mut parts = std::array::from_fn(|index| {
        let (name, measure) = found.measures.parts()[index];
        (name, measure, limits[index].1)
    });
    parts.sort_by(|a: &(&str, f64, f64), b| (b.1 / b.2).total_cmp(&(a.1 / a.2)));
    parts
}

fn facts(found: &Consistency) -> Value {
    let views: Vec<Value> = found
        .views
        .iter()
        .map(|view| {
            json!({
                "view": view.view,
                "shift_u_mm": view.displacement.shift_mm[0],
                "shift_v_mm": view.displacement.shift_mm[1],
                "rotation_mm_at_50mm": view.displacement.rotation_mm,
            })
        })
        .collect();
    let measures: serde_json::Map<String, Value> = by_excess(found)
        .into_iter()
        .map(|(name, measure, limit)| (name.to_string(), json!({ "found": measure, "limit": limit })))
        .collect();
    json!({
        "verdict": if found.is_alarm() { "inconsistent" } else { "consistent" },
        "number": found.number(),
        "is_truncated": found.is_truncated,
        "measures": measures,
        "lines_measured_twice": found.opposite.map(|opposite| opposite.lines),
        "invisible_in_principle": INVISIBLE,
        "remark": found.is_truncated.then_some(TRUNCATED_REMARK),
        "views": views,
    })
}
