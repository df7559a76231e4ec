//! `isocenter demo`: a real CT through the virtual C-arm, played as live, recorded, and reconstructed while the arm
//! turns; then held against the truth, and made into models that can be printed.

mod models;

use super::replay::{lag_facts, spin_facts};
use super::simulate::{read_ct, write_run};
use crate::cancel;
use crate::cli::Demo;
use crate::console::{Console, Outcome, peak_rss_mib};
use crate::picture::{Picture, Plane, Window};
use crate::report::{Check, Figure, Report};
use crate::tissue::{ClassError, class_errors};
use crate::volumes::{facts, thread_pool, write, write_mask};
use ::reconstruct::{Apodisation, to_hu};
use anyhow::{Context, Result};
use capture::RunReader;
use carm::{FrameSource, Volume};
use interchange::read_volume;
use models::DemoModel;
use replay::{Pace, ReplayDevice};
use serde_json::{Value, json};
use session::{RunSettings, SpinOptions, SpinReport, reconstruct_run, run_spin, volume_hash};
use simulated::{Effects, Options, Patient, Protocol, SimulatedCarm};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The chest CT that comes with the project, and its labels.
const PATIENT: &str = "tests/data/lidc_idri_0001_thorax.nii.gz";
const LABELS: &str = "tests/data/lidc_idri_0001_thorax_labels.nii.gz";
/// Limit on the time from the last view to the finished volume, ms.
const COMPLETE_WITHIN_MS: f64 = 300.0;
/// Limit on the whole demo, s.
const WHOLE_WITHIN_S: f64 = 300.0;
/// Limits on the mean error of soft tissue and lung, and of bone, HU.
const SOFT_WITHIN_HU: f64 = 20.0;
const BONE_WITHIN_HU: f64 = 40.0;

/// Runs the command.
pub fn run(options: &Demo, console: &Console) -> Result<Outcome> {
    let start = Instant::now();
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("{}: cannot be made", options.out.display()))?;
    let pool = thread_pool(options.threads)?;
    let demo = pool.install(|| Run::new(options, console))?;
    let made = pool.install(|| demo.play(options, console))?;
    let hash_again = pool.install(|| reconstruct_again(&made.recording, console))?;
    let errors = pool.install(|| demo.errors(&made))?;
    let volume = options.out.join("volume.nii.gz");
    write(&made.volume, &volume)?;
    let mask = options.out.join("mask.nii.gz");
    write_mask(&made.volume, Some(&mask))?;
    let models = models::made(&volume, &mask, &options.out, options.threads, console);
    cancel::check()?;
    let total_s = start.elapsed().as_secs_f64();

    let mut checks = checks(&demo, &made, &hash_again, &errors);
    checks.extend(models.iter().map(DemoModel::check));
    checks.push(Check::goal(
        "Everything is there within five minutes",
        total_s <= WHOLE_WITHIN_S,
        format!("{total_s:.0} s; limit {WHOLE_WITHIN_S:.0} s"),
    ));
    let is_success = !checks.iter().any(Check::is_failure);
    let mut json = summary(&demo, &made, &errors, &checks, total_s, pool.current_num_threads());
    json["models"] = models.iter().map(DemoModel::facts).collect();
    let mut page = page(&demo, &made, &errors, &checks, &json)?;
    for model in &models {
        page.rows.extend(model.row());
        page.figures.extend(model.figure()?);
    }
    let html = options.out.join("report.html");
    put(&html, page.html().as_bytes())?;
    put(&options.out.join("report.json"), &serde_json::to_vec_pretty(&json)?)?;
    let text = format!("{}\n{}", page.table(), html.display());
    Ok(Outcome { json, text, is_success })
}

/// The patient imaged.
struct Run {
    carm: SimulatedCarm,
    labels: Option<Volume>,
    simulated: PathBuf,
    simulate_s: f64,
}

/// The spin played.
struct Made {
    spin: SpinReport,
    volume: Volume,
    truth: Volume,
    recording: PathBuf,
    played_hash: String,
}

impl Run {
    fn new(options: &Demo, console: &Console) -> Result<Self> {
        let path =
            options.patient.as_deref().map_or_else(|| data_file(PATIENT), |path| Ok(path.to_path_buf()))?;
        let ct = read_ct(&path)?;
        let labels = match options.patient {
            None => Some(read_volume(&data_file(LABELS)?)?),
            Some(_) => None,
        };
        let patient = match &labels {
            Some(labels) => Patient::from_labelled_hu(&ct, &labels.values.mapv(|label| label as u8))?,
            None => Patient::from_hu(&ct)?,
        };
        let simulation = Options {
            seed: options.seed,
            views: options.views,
            // Their corrections do not exist yet, so what they do to the volume would not tell anything.
            effects: Effects { scatter: false, lag: false, ..Effects::ALL },
            ..Options::default()
        };
        let mut carm = SimulatedCarm::new(Protocol::named(&options.protocol)?, patient, simulation)?;
        let simulated = options.out.join("simulated.mcap");
        let start = Instant::now();
        let bar = console.progress(carm.views() as u64, "imaging");
        write_run(&mut carm, &simulated, &bar)?;
        bar.finish_and_clear();
        Ok(Self { carm, labels, simulated, simulate_s: start.elapsed().as_secs_f64() })
    }

    /// Plays the simulated frames as a device delivers them.
    fn play(&self, options: &Demo, console: &Console) -> Result<Made> {
        let device = ReplayDevice::open(&self.simulated, Pace::Recorded)?;
        let played_hash = device.recording().content_hash();
        let recording = options.out.join("run.mcap");
        let spin = SpinOptions {
            volume: Some(settings()),
            record: Some(recording.clone()),
            ..SpinOptions::default()
        };
        let bar = console.progress(self.carm.views() as u64, "spinning");
        let mut spin = run_spin(Box::new(device), &spin, &mut |done, _all| {
            bar.set_position(done);
            !cancel::is_requested()
        })?;
        bar.finish_and_clear();
        let volume = spin.volume.take().context("a spin with a volume")?;
        let mut truth = self.carm.truth(&volume.grid);
        to_hu(&mut truth, self.carm.description().beam.mu_water_per_mm);
        Ok(Made { spin, volume, truth, recording, played_hash })
    }

    fn errors(&self, made: &Made) -> Result<Vec<ClassError>> {
        Ok(self
            .labels
            .as_ref()
            .map(|labels| class_errors(&made.volume, &made.truth, labels))
            .unwrap_or_default())
    }
}

fn settings() -> RunSettings {
    RunSettings { apodisation: Apodisation::Hann { cut: 1.0 }, ..RunSettings::default() }
}

/// The volume once more, from the recording and all at once.
fn reconstruct_again(recording: &Path, console: &Console) -> Result<String> {
    let mut reader = RunReader::open(recording)?;
    let bar = console.progress(reader.frame_count() as u64, "again, from disk");
    let made = reconstruct_run(&mut reader, &settings(), &mut |done, _all| {
        bar.set_position(done);
        !cancel::is_requested()
    })?;
    bar.finish_and_clear();
    Ok(volume_hash(&made.volume))
}

fn checks(demo: &Run, made: &Made, hash_again: &str, errors: &[ClassError]) -> Vec<Check> {
    let after_ms = made.spin.complete_after_last_view.map_or(f64::NAN, |after| after.as_secs_f64() * 1e3);
    let recording = made.spin.recording.as_ref();
    let recorded_hash = recording.map(|recording| recording.content_hash.as_str()).unwrap_or_default();
    let block = settings().block_views as u64;
    let lost: u64 = made.spin.lost.iter().map(|(_, count)| count).sum();
    let mut checks = vec![
        Check::new(
            "Every frame of the device is accounted for",
            made.spin.frames + lost == demo.carm.views() as u64,
            format!("{} came, {lost} lost, {} expected", made.spin.frames, demo.carm.views()),
        ),
        Check::new(
            "The recording holds the device's frames bit for bit",
            recorded_hash == made.played_hash,
            format!("{:.16}", recorded_hash),
        ),
        Check::goal(
            "The volume is complete soon after the last view",
            after_ms <= COMPLETE_WITHIN_MS,
            format!("{after_ms:.0} ms; limit {COMPLETE_WITHIN_MS:.0} ms"),
        ),
        Check::goal(
            "The backlog never exceeds one block of views",
            made.spin.deepest_backlog <= block,
            format!("deepest {}, block {block}", made.spin.deepest_backlog),
        ),
        Check::new(
            "Streaming and batch give the same bits",
            volume_hash(&made.volume) == hash_again,
            format!("{hash_again:.16}"),
        ),
    ];
    for error in errors {
        let limit = match error.class {
            "soft tissue" | "lung" => SOFT_WITHIN_HU,
            "bone" => BONE_WITHIN_HU,
            _ => continue,
        };
        checks.push(Check::goal(
            match error.class {
                "bone" => "Bone has its Hounsfield number",
                "lung" => "Lung has its Hounsfield number",
                _ => "Soft tissue has its Hounsfield number",
            },
            error.mean_hu.abs() <= limit,
            format!("{:+.1} HU; limit {limit:.0} HU", error.mean_hu),
        ));
    }
    checks
}

fn summary(
    demo: &Run,
    made: &Made,
    errors: &[ClassError],
    checks: &[Check],
    total_s: f64,
    threads: usize,
) -> Value {
    let description = demo.carm.description();
    let busy: f64 = made.spin.stages.stages().iter().map(|(_, spent)| spent.as_secs_f64()).sum();
    let lags: Vec<Value> = made
        .spin
        .lag
        .entries()
        .iter()
        .map(|(sequence, lag)| json!([sequence, (lag.as_secs_f64() * 1e5).round() / 1e2]))
        .collect();
    json!({
        "protocol": description.protocol,
        "seed": description.seed,
        "remarks": description.remarks,
        "threads": threads,
        "total_s": total_s,
        "simulate_s": demo.simulate_s,
        "spin": spin_facts(&made.spin),
        "view_lag_ms": lags,
        "volume": facts(&made.volume, busy, threads, &made.spin.stages),
        "hu_error": errors,
        "checks": checks,
        "passed": !checks.iter().any(Check::is_failure),
        "goals_missed": checks.iter().filter(|check| check.is_goal && !check.is_passed).count(),
        "peak_rss_mib": peak_rss_mib(),
    })
}

fn page(demo: &Run, made: &Made, errors: &[ClassError], checks: &[Check], json: &Value) -> Result<Report> {
    const BODY: Window = Window { low: -400.0, high: 600.0 };
    const DIFFERENCE: Window = Window { low: -150.0, high: 150.0 };
    let mut difference = made.volume.clone();
    difference.values -= &made.truth.values;
    // What the second pass took away: the first version beside the last.
    let taken_away = made.spin.first_version.as_ref().map(|first| {
        let mut artefact = first.clone();
        artefact.values -= &made.volume.values;
        artefact
    });
    let mut figures = Vec::new();
    if let Some(frame) = &made.spin.live.frontal {
        let width = demo.carm.description().detector.nu;
        let logs = frame.intensity.iter().map(|i| -(i.max(1.0) / frame.air_intensity).ln());
        let picture = Picture::windowed(logs, width, Window { low: 7.0, high: 0.0 });
        figures.push(Figure::new("Live frame, frontal (logarithm; bone dark)", picture.data_url()?));
    }
    for plane in Plane::ALL {
        for (name, volume, window) in [
            ("volume", &made.volume, BODY),
            ("truth", &made.truth, BODY),
            ("difference", &difference, DIFFERENCE),
        ] {
            let picture = Picture::slice(volume, plane, window);
            figures.push(Figure::new(&format!("{}, {name}", plane.name()), picture.data_url()?));
        }
    }
    if let Some(artefact) = &taken_away {
        for plane in Plane::ALL {
            let picture = Picture::slice(artefact, plane, DIFFERENCE);
            let caption = format!("{}, cone-beam artefact taken away", plane.name());
            figures.push(Figure::new(&caption, picture.data_url()?));
        }
    }
    let lag = lag_facts(&made.spin.lag);
    let after = json["spin"]["complete_after_last_view_ms"].as_f64().unwrap_or(f64::NAN);
    let refined = json["spin"]["refined_after_last_view_ms"].as_f64().unwrap_or(f64::NAN);
    let ms = |value: &Value| format!("{:.1} ms", value.as_f64().unwrap_or(f64::NAN));
    let mut rows = vec![
        ("Protocol".into(), format!("{}, {} views", demo.carm.description().protocol, made.spin.frames)),
        ("Imaging by the virtual C-arm".into(), format!("{:.1} s", demo.simulate_s)),
        (
            "Lag of a view, p50 / p99 / max".into(),
            format!("{} / {} / {}", ms(&lag["p50"]), ms(&lag["p99"]), ms(&lag["max"])),
        ),
        ("Complete after the last view".into(), format!("{after:.0} ms")),
        (
            "Second version, cone-beam artefact taken away".into(),
            format!("{refined:.0} ms after the last view"),
        ),
        ("Frames lost".into(), made.spin.lost.iter().map(|(_, count)| count).sum::<u64>().to_string()),
        (
            "Live view: shown / skipped".into(),
            format!("{} / {}", made.spin.live.shown, made.spin.live.skipped),
        ),
        ("Backend".into(), made.volume.provenance.backend.clone()),
        ("Whole demo".into(), format!("{:.0} s", json["total_s"].as_f64().unwrap_or(f64::NAN))),
    ];
    for error in errors {
        rows.push((
            format!("Error in {}", error.class),
            format!("{:+.1} HU mean, {:.1} HU SD, {} voxels", error.mean_hu, error.sd_hu, error.voxels),
        ));
    }
    let lags: Vec<(u64, f64)> =
        made.spin.lag.entries().iter().map(|(sequence, lag)| (*sequence, lag.as_secs_f64() * 1e3)).collect();
    let mut remarks = demo.carm.description().remarks.clone();
    remarks.extend(made.volume.provenance.warnings.iter().cloned());
    Ok(Report { rows, checks: checks.to_vec(), figures, lags_ms: lags, remarks })
}

/// A file of the project: from the working folder, or from the folder that the program was built in.
fn data_file(name: &str) -> Result<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    [PathBuf::from(name), built_in.clone()].into_iter().find(|path| path.is_file()).with_context(|| {
        format!("{name}: expected the demo's CT in the working folder, found none; give --patient")
    })
}

/// Writes a file whole or not at all.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("{}", path.display()))
}
