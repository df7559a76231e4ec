//! `isocenter replay`: a recorded run as a device, through ring, live view, and, when asked, recorder and
//! reconstruction; any frame of it; two of them compared.

mod compare;
mod show;
mod stepwise;

use crate::cancel;
use crate::cli::{Replay, Speed, TruncationChoice, VolumeOptions};
use crate::console::{Console, Outcome};
use crate::maps;
use crate::runs::{MU_WATER_PER_MM, NamedRun};
use crate::volumes::{check_format, check_memory, facts, grid_of, thread_pool, write_mask, write_of_run};
use anyhow::{Context, Result, bail, ensure};
use capture::RunReader;
use carm::{FrameSource, RunDescription};
use interchange::check_labels_format;
use replay::{FaultLog, FaultSchedule, Pace, ReplayDevice, ReplayOptions, Span};
use serde_json::{Value, json};
use session::{FrameHashes, LagLog, RunSettings, Seeker, SpinOptions, SpinReport, Stages, Witness, run_spin};
use std::path::Path;
use std::time::Instant;
use stepwise::Stepwise;

/// Runs the command.
pub fn run(options: &Replay, console: &Console) -> Result<Outcome> {
    if let [a, b] = &options.compare[..] {
        return compare::run([a, b], &options.volume, console);
    }
    let run = NamedRun::find(options.run.as_deref().context("the run to play")?, MU_WATER_PER_MM)?;
    let mut outcome = if options.show.is_empty() {
        play(run.path(), options, console)
    } else {
        show::run(run.path(), options, console)
    }?;
    outcome.json["run"] = json!(options.run);
    outcome.json["missing"] = json!(run.missing);
    for missing in &run.missing {
        outcome.text += &format!("\nmissing: {missing}");
    }
    Ok(outcome)
}

fn play(run: &Path, options: &Replay, console: &Console) -> Result<Outcome> {
    if let Some(out) = &options.out {
        check_format(out)?;
        ensure!(
            options.times == 1,
            "--loop: expected 1 with --out, found {}: a volume takes one sweep",
            options.times
        );
    }
    options.mask.as_deref().map_or(Ok(()), check_labels_format)?;
    let replay = replay_options(options)?;
    let pace = replay.pace;
    let mut device = ReplayDevice::open_with(run, replay)?;
    let recording_hash = device.recording().content_hash();
    let mut description = device.description().clone();
    let warnings = maps::in_force(options.maps.as_deref(), &mut description, device.recording().headers())?;
    device.describe_as(description.clone())?;
    let (played, faults) = (device.played(), device.fault_log());
    let pool = thread_pool(options.volume.threads)?;
    let stages = pool.install(|| stages_before(run, &device, console))?;
    let spin = SpinOptions {
        volume: options.out.is_some().then(|| settings(run, options, &description)).transpose()?,
        record: options.record.clone(),
        device_waits: pace == Pace::FlatOut,
        corrector: stages.corrector().cloned(),
        ..SpinOptions::default()
    };
    let mut source: Box<dyn FrameSource> =
        if options.step { Box::new(Stepwise::new(device)) } else { Box::new(device) };
    let mut witness = None;
    if options.hashes {
        let (watched, handle) = Witness::after(stages, source);
        (source, witness) = (Box::new(watched), Some(handle));
    }
    let all = played.len() as u64 * u64::from(options.times);
    let bar = console.progress(all, "playing");
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
    json["run_hash"] = json!(recording_hash);
    json["seconds"] = json!(seconds);
    json["warnings"] = json!(warnings);
    json["faults"] = fault_facts(&faults);
    json["hashes"] = json!(witness.map(|witness| hash_facts(&witness.hashes())));
    let mut text = format!("{} frames in {seconds:.2} s", report.frames);
    for warning in &warnings {
        text += &format!("\nwarning: {warning}");
    }
    for (kind, count) in faults.counts() {
        text += &format!("\nfault: {} {count} times", kind.name());
    }
    if let (Some(volume), Some(out)) = (&report.volume, &options.out) {
        write_of_run(volume, out, &description.patient)?;
        write_mask(volume, options.mask.as_deref())?;
        let busy: f64 = report.stages.stages().iter().map(|(_, spent)| spent.as_secs_f64()).sum();
        json["volume"] = facts(volume, busy, pool.current_num_threads(), &report.stages);
        json["out"] = json!(out);
        json["mask"] = json!(options.mask);
        text += &format!(
            "\n{} complete {:.0} ms after the last view",
            out.display(),
            json["complete_after_last_view_ms"].as_f64().unwrap_or(f64::NAN)
        );
    }
    Ok(Outcome::success(json, text))
}

fn replay_options(options: &Replay) -> Result<ReplayOptions> {
    let pace = match (options.step, options.speed) {
        (true, _) | (false, Speed::Max) => Pace::FlatOut,
        (false, Speed::Factor(factor)) => Pace::Factor(factor),
    };
    let faults = match &options.faults {
        None => FaultSchedule::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            FaultSchedule::from_toml(&text).with_context(|| path.display().to_string())?
        }
    };
    Ok(ReplayOptions {
        pace,
        span: Span { from: options.from, to: options.to },
        times: Some(options.times),
        faults,
    })
}

/// The stages as the frames before the first one played have left them.
fn stages_before(run: &Path, device: &ReplayDevice, console: &Console) -> Result<Stages> {
    let first = device.played().start;
    if first == 0 {
        return Ok(Stages::new(device.description())?);
    }
    let bar = console.progress(first as u64, "catching up");
    let mut recording = RunReader::open(run)?;
    recording.describe_as(device.description().clone())?;
    let mut seeker = Seeker::new(recording)?;
    seeker.go_to(first, &mut |done, _all| {
        bar.set_position(done);
        !cancel::is_requested()
    })?;
    bar.finish_and_clear();
    Ok(seeker.into_stages())
}

fn settings(run: &Path, options: &Replay, description: &RunDescription) -> Result<RunSettings> {
    let Some(default) = &description.volume_grid else {
        bail!("{}: protocol {} makes no volume; expected a spin", run.display(), description.protocol);
    };
    let grid = grid_of(&options.volume, default)?;
    check_memory(&options.volume, &grid, 0)?;
    Ok(RunSettings { grid: Some(grid), ..run_settings(&options.volume) })
}

/// What the options say of any run's volume; its grid they leave to the run.
fn run_settings(options: &VolumeOptions) -> RunSettings {
    RunSettings {
        apodisation: options.filter,
        backend: options.backend,
        continues_truncation: options.truncation != Some(TruncationChoice::Off),
        limited_angle: options.limited_angle,
        ..RunSettings::default()
    }
}

fn fault_facts(log: &FaultLog) -> Value {
    let counts: serde_json::Map<String, Value> =
        log.counts().into_iter().map(|(kind, count)| (kind.name().into(), json!(count))).collect();
    let hits: Vec<Value> =
        log.hits().into_iter().map(|(sequence, kind)| json!([sequence, kind.name()])).collect();
    json!({ "counts": counts, "first_hits": hits })
}

fn hash_facts(hashes: &FrameHashes) -> Value {
    let FrameHashes { frames, raw, corrected, live } = hashes;
    json!({ "frames": frames, "raw": raw, "corrected": corrected, "live": live })
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
