//! Chosen frames of a run as an uninterrupted replay shows them.

use crate::cancel;
use crate::cli::Replay;
use crate::console::{Console, Outcome};
use crate::maps;
use anyhow::Result;
use capture::RunReader;
use replay::Span;
use serde_json::{Value, json};
use session::Seeker;
use std::path::Path;
use std::time::Instant;

/// Goes through the run once, which leaves states to start from, and then to each position.
pub fn run(path: &Path, options: &Replay, console: &Console) -> Result<Outcome> {
    let start = Instant::now();
    let mut recording = RunReader::open(path)?;
    let mut description = recording.description().clone();
    let warnings = maps::in_force(options.maps.as_deref(), &mut description, recording.headers())?;
    recording.describe_as(description)?;
    let mut seeker = Seeker::new(recording)?;
    let open_s = start.elapsed().as_secs_f64();
    let frames = seeker.recording().frame_count();
    let indices = options.show.iter().map(|at| {
        let span = Span { from: Some(*at), to: None };
        span.indices(seeker.recording().headers()).map(|range| range.start)
    });
    let indices = indices.collect::<Result<Vec<_>, _>>()?;
    let bar = console.progress(frames as u64, "going through");
    let start = Instant::now();
    seeker.go_to(frames, &mut |done, _all| {
        bar.set_position(done);
        !cancel::is_requested()
    })?;
    bar.finish_and_clear();
    let through_s = start.elapsed().as_secs_f64();
    let mut shown = Vec::new();
    let mut text = format!("gone through {frames} frames in {through_s:.2} s");
    for (position, index) in options.show.iter().zip(indices) {
        let start = Instant::now();
        let (header, made) = seeker.show(index, &mut |_, _| !cancel::is_requested())?;
        let seek_ms = start.elapsed().as_secs_f64() * 1e3;
        text += &format!("\n{position}: frame {} in {seek_ms:.1} ms", header.sequence);
        shown.push(json!({
            "position": position.to_string(),
            "index": index,
            "sequence": header.sequence,
            "seek_ms": seek_ms,
            "window": [made.window.low, made.window.high],
            "image_hash": session::image_hash(&made.image),
        }));
    }
    let json = json!({
        "warnings": warnings,
        "frames": frames,
        "open_s": open_s,
        "through_s": through_s,
        "states": seeker.states(),
        "frames_between_states": seeker.spacing(),
        "shown": Value::Array(shown),
    });
    Ok(Outcome::success(json, text))
}
