//! `isocenter replay`: a recorded run as a device, through ring, live view, and, when asked, recorder and
//! reconstruction.

use crate::cancel;
use crate::cli::{Replay, Speed, TruncationChoice};
use crate::console::{Console, Outcome};
use crate::volumes::{check_format, check_memory, facts, grid_of, thread_pool, write_mask, write_of_run};
use anyhow::{Context, Result, bail};
use carm::{DeviceError, FrameSource, RunDescription, SourceEvent};
use interchange::check_labels_format;
use replay::{Pace, ReplayDevice};
use serde_json::{Value, json};
use session::{LagLog, RunSettings, SpinOptions, SpinReport, run_spin};
use std::time::Instant;

/// Runs the command.
pub fn run(options: &Replay, console: &Console) -> Result<Outcome> {
    let pace = match (options.step, options.speed) {
        (true, _) | (false, Speed::Max) => Pace::FlatOut,
        (false, Speed::Factor(factor)) => Pace::Factor(factor),
    };
    if let Some(out) = &options.out {
        check_format(out)?;
    }
    options.mask.as_deref().map_or(Ok(()), check_labels_format)?;
    let device = ReplayDevice::open(&options.run, pace)?;
    let recording_hash = device.recording().content_hash();
    let description = device.description().clone();
    let spin = SpinOptions {
        volume: options.out.is_some().then(|| settings(options, &description)).transpose()?,
        record: options.record.clone(),
        device_waits: pace == Pace::FlatOut,
        ..SpinOptions::default()
    };
    let source: Box<dyn FrameSource> =
        if options.step { Box::new(Stepwise { device }) } else { Box::new(device) };
    let pool = thread_pool(options.volume.threads)?;
    let bar = console.progress(description.planned_views.len() as u64, "playing");
    let start = Instant::now();
    let report = pool.install(|| {
        run_spin(source, &spin, &mut |done, _all| {
            bar.set_position(done);
            !cancel::is_requested()
        })
    })?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let mut json = spin_facts(&report);
    json["run"] = json!(options.run);
    json["run_hash"] = json!(recording_hash);
    json["seconds"] = json!(seconds);
    let mut text = format!("{}: {} frames in {seconds:.2} s", options.run.display(), report.frames);
    if let (Some(volume), Some(out)) = (&report.volume, &options.out) {
        write_of_run(volume, out, &description.patient)?;
        write_mask(volume, options.mask.as_deref())?;
        let busy: f64 = report.stages.stages().iter().map(|(_, spent)| spent.as_secs_f64()).sum();
        json["volume"] = facts(volume, busy, pool.current_num_threads(), &report.stages);
        json["out"] = json!(out);
        json["mask"] = json!(options.mask);
        text += &format!(
            ", {} complete {:.0} ms after the last view",
            out.display(),
            json["complete_after_last_view_ms"].as_f64().unwrap_or(f64::NAN)
        );
    }
    Ok(Outcome::success(json, text))
}

fn settings(options: &Replay, description: &RunDescription) -> Result<RunSettings> {
    let Some(default) = &description.volume_grid else {
        bail!(
            "{}: protocol {} makes no volume; expected a spin",
            options.run.display(),
            description.protocol
        );
    };
    let grid = grid_of(&options.volume, default)?;
    check_memory(&options.volume, &grid, 0)?;
    Ok(RunSettings {
        apodisation: options.volume.filter,
        backend: options.volume.backend,
        grid: Some(grid),
        continues_truncation: options.volume.truncation != Some(TruncationChoice::Off),
        limited_angle: options.volume.limited_angle,
        ..RunSettings::default()
    })
}

/// What a spin reports beside its volume.
pub fn spin_facts(report: &SpinReport) -> Value {
    json!({
        "frames": report.frames,
        "lost": report.lost,
        "complete_after_last_view_ms":
            report.complete_after_last_view.map(|after| after.as_secs_f64() * 1e3),
        "refined_after_last_view_ms":
            report.refined_after_last_view.map(|after| after.as_secs_f64() * 1e3),
        "lag_ms": lag_facts(&report.lag),
        "deepest_backlog": report.deepest_backlog,
        "caught_up_from_recording": report.caught_up,
        "missed": report.missed,
        "live": {
            "shown": report.live.shown,
            "skipped": report.live.skipped,
            "correction_ms": lag_facts(&report.live.correction),
        },
        "recording": report.recording.as_ref().map(|recording| json!({
            "path": recording.path,
            "frames": recording.frames,
            "gaps": recording.gaps,
            "file_bytes": recording.file_bytes,
            "content_hash": recording.content_hash,
        })),
    })
}

/// p50, p99 and maximum in milliseconds.
pub fn lag_facts(lag: &LagLog) -> Value {
    let ms = |share| lag.quantile(share).map(|lag| lag.as_secs_f64() * 1e3);
    json!({ "p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0) })
}

/// Hands out one frame for each line on standard input; ends with it.
struct Stepwise {
    device: ReplayDevice,
}

impl FrameSource for Stepwise {
    fn description(&self) -> &RunDescription {
        self.device.description()
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).context("standard input");
        match read {
            Ok(0) => return Ok(SourceEvent::End),
            Ok(_) => {}
            Err(error) => {
                return Err(DeviceError::Failed {
                    device: "replay".into(),
                    reason: error.to_string(),
                    source: None,
                });
            }
        }
        let event = self.device.next_frame(slot)?;
        if let SourceEvent::Frame(header) = &event {
            eprintln!(
                "frame {} at {:.2} degrees",
                header.sequence,
                header.gantry.primary_angle_rad.to_degrees()
            );
        }
        Ok(event)
    }
}
