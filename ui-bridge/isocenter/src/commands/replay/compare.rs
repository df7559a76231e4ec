//! Where two recordings part.

use super::run_settings;
use crate::cancel;
use crate::cli::VolumeOptions;
use crate::console::{Console, Outcome};
use crate::runs::{MU_WATER_PER_MM, NamedRun};
use crate::volumes::thread_pool;
use anyhow::Result;
use capture::RunReader;
use serde_json::json;
use session::{Comparison, Difference, compare_runs, compare_volumes};
use std::path::PathBuf;

/// Frame by frame, then, where both are spins and every frame is the same, the volumes.
pub fn run(paths: [&PathBuf; 2], options: &VolumeOptions, console: &Console) -> Result<Outcome> {
    let runs = [NamedRun::find(paths[0], MU_WATER_PER_MM)?, NamedRun::find(paths[1], MU_WATER_PER_MM)?];
    let [mut a, mut b] = [runs[0].open()?, runs[1].open()?];
    let bar = console.progress(a.frame_count() as u64, "comparing");
    let Comparison { same_frames, mut difference } = compare_runs([&mut a, &mut b], &mut |done, _all| {
        bar.set_position(done);
        !cancel::is_requested()
    })?;
    bar.finish_and_clear();
    let is_spin = |run: &RunReader| {
        let description = run.description();
        description.volume_grid.is_some() && description.detector_calibration.is_some()
    };
    let with_volumes = difference.is_none() && is_spin(&a) && is_spin(&b);
    if with_volumes {
        let settings = run_settings(options);
        let pool = thread_pool(options.threads)?;
        difference = pool
            .install(|| compare_volumes([&mut a, &mut b], &settings, &mut |_, _| !cancel::is_requested()))?;
    }
    let json = json!({
        "a": paths[0],
        "b": paths[1],
        "same": difference.is_none(),
        "same_frames": same_frames,
        "volumes_compared": with_volumes,
        "difference": difference.as_ref().map(|Difference { sequence, stage, value, found, count }| json!({
            "sequence": sequence, "stage": stage, "value": value, "a": found[0], "b": found[1], "count": count,
        })),
    });
    let text = match &difference {
        None if with_volumes => format!("the same: {same_frames} frames in every stage, and the volume"),
        None => format!("the same: {same_frames} frames in every stage"),
        Some(Difference { sequence, stage, value, found: [a, b], count }) => {
            let frame = sequence.map_or(String::new(), |sequence| format!("frame {sequence}, "));
            let more = if *count > 1 { format!(" ({} more differ)", count - 1) } else { String::new() };
            format!("{frame}{stage}: {value} is {a} and {b}{more}; {same_frames} frames before are the same")
        }
    };
    Ok(Outcome { json, text, is_success: difference.is_none() })
}
