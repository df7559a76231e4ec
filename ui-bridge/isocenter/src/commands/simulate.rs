//! `isocenter simulate`: the virtual C-arm images a CT or a phantom into a run file.

use crate::cancel;
use crate::cli::{Simulate, Triple};
use crate::console::{Console, Outcome};
use crate::volumes::{self, thread_pool};
use anyhow::{Context, Result, bail};
use capture::{RunOutcome, RunSummary, RunWriter, WriterOptions};
use carm::{FrameSource, PatientSetup, Quantity, SourceEvent, Volume};
use indicatif::ProgressBar;
use interchange::read_volume;
use nalgebra::Point3;
use serde_json::{Value, json};
use simulated::{Attenuation, Breathing, Effects, Options, Patient, Protocol, SimulatedCarm};
use std::path::{Path, PathBuf};
use std::time::Instant;

mod truth;

/// Runs the command.
pub fn run(options: &Simulate, console: &Console) -> Result<Outcome> {
    let protocol = protocol(&options.protocol)?;
    let patient = patient(options)?;
    let mut carm = SimulatedCarm::new(protocol, patient, simulation_options(options)?)?;
    let bar = console.progress(carm.views() as u64, "imaging");
    let start = Instant::now();
    let pool = thread_pool(options.threads)?;
    let summary = pool.install(|| write_run(&mut carm, &options.out, &bar))?;
    bar.finish_and_clear();
    if let Some(folder) = &options.truth {
        let bar = console.progress(carm.views() as u64, "writing truth");
        pool.install(|| truth::write(&carm, folder, &bar))?;
        bar.finish_and_clear();
    }
    if let Some(path) = &options.truth_volume {
        let grid = carm.description().volume_grid;
        let grid = grid
            .with_context(|| format!("protocol {}: makes no volume, so has no true one", options.protocol))?;
        volumes::write(&pool.install(|| carm.truth(&grid)), path)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let description = carm.description();
    let report = json!({
        "out": options.out,
        "protocol": description.protocol,
        "seed": options.seed,
        "frames": summary.frames,
        "gaps": summary.gaps,
        "file_bytes": summary.file_bytes,
        "content_hash": summary.content_hash,
        "mu_water_per_mm": description.beam.mu_water_per_mm,
        "seconds": seconds,
        "remarks": description.remarks,
        "truth": options.truth,
    });
    let text = format!(
        "{}: {} frames of {} in {seconds:.1} s",
        options.out.display(),
        summary.frames,
        description.protocol
    );
    Ok(Outcome::success(report, text))
}

/// Images every frame into a run that appears under its name only when it is whole.
pub fn write_run(carm: &mut SimulatedCarm, out: &Path, bar: &ProgressBar) -> Result<RunSummary> {
    let partial = partial_name(out);
    let result = write_frames(carm, &partial, bar);
    match result {
        Ok(mut summary) => {
            std::fs::rename(&partial, out)
                .with_context(|| format!("{}: cannot be put in place", out.display()))?;
            summary.path = out.to_path_buf();
            Ok(summary)
        }
        Err(error) => {
            // Best effort: the error itself is what the user needs to hear.
            let _ = std::fs::remove_file(&partial);
            Err(error)
        }
    }
}

fn partial_name(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.partial"))
}

fn write_frames(carm: &mut SimulatedCarm, path: &Path, bar: &ProgressBar) -> Result<RunSummary> {
    let options = WriterOptions { overwrite: true, ..WriterOptions::default() };
    let mut writer = RunWriter::create(path, carm.description(), options)?;
    let mut counts = vec![0; carm.description().detector.pixel_count()];
    let mut next = None;
    while let SourceEvent::Frame(header) = carm.next_frame(&mut counts)? {
        cancel::check()?;
        let expected = next.unwrap_or(header.sequence);
        if header.sequence > expected {
            writer.write_gap(expected, header.sequence - expected, "lost between detector and host")?;
        }
        next = Some(header.sequence + 1);
        writer.write_frame(&header, &counts)?;
        bar.inc(1);
    }
    Ok(writer.finish(RunOutcome::Complete)?)
}

/// A protocol by name, or from a TOML file.
pub fn protocol(name: &str) -> Result<Protocol> {
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        let text = std::fs::read_to_string(name).with_context(|| format!("{name}: cannot be read"))?;
        return Protocol::from_toml(&text).with_context(|| name.to_string());
    }
    Ok(Protocol::named(name)?)
}

/// A phantom by its name, or a CT.
pub fn patient_by_name(name: &str) -> Result<Patient> {
    match phantom(name)? {
        Some(phantom) => Ok(phantom),
        None => Ok(Patient::from_hu(&read_ct(Path::new(name))?)?),
    }
}

fn patient(options: &Simulate) -> Result<Patient> {
    let mut patient = match phantom(&options.patient)? {
        Some(phantom) => phantom,
        None => {
            let volume = read_ct(Path::new(&options.patient))?;
            match &options.labels {
                Some(path) => {
                    let labels = read_volume(path)?;
                    Patient::from_labelled_hu(&volume, &labels.values.mapv(|label| label as u8))?
                }
                None => Patient::from_hu(&volume)?,
            }
        }
    };
    if let Some(Triple(point)) = options.isocenter {
        patient = patient.with_isocenter(Point3::from(point));
    }
    let setup = PatientSetup { position: options.position, ..*patient.setup() };
    Ok(patient.with_setup(setup))
}

/// A patient's CT. Formats that name no unit (NIfTI from elsewhere) are taken at the caller's word as Hounsfield.
pub fn read_ct(path: &Path) -> Result<Volume> {
    let mut volume = read_volume(path)?;
    if volume.quantity == Quantity::Unknown {
        volume.quantity = Quantity::Hu { mu_water_per_mm: None };
    }
    Ok(volume)
}

/// `water-cylinder:MM`, `ball:X,Y,Z,MM` and `abdomen:MM`; none for the name of a file.
fn phantom(text: &str) -> Result<Option<Patient>> {
    /// Longer than any field of view.
    const CYLINDER_LENGTH_MM: f64 = 400.0;
    /// One quiet breath.
    const BREATH_S: f64 = 4.0;
    let parse = |numbers: &str| -> Option<Vec<f64>> {
        numbers.split(',').map(|part| part.trim().parse().ok().filter(|x: &f64| x.is_finite())).collect()
    };
    let Some((kind, numbers)) = text.split_once(':') else { return Ok(None) };
    match (kind, parse(numbers).as_deref()) {
        ("water-cylinder", Some([diameter_mm])) if *diameter_mm > 0.0 => {
            Ok(Some(Patient::water_cylinder(*diameter_mm, CYLINDER_LENGTH_MM)))
        }
        ("ball", Some([x, y, z, diameter_mm])) if *diameter_mm > 0.0 => {
            let water = Attenuation::Density(simulated::Material::Water, 1.0);
            Ok(Some(Patient::ball(Point3::new(*x, *y, *z), *diameter_mm, water)))
        }
        ("abdomen", Some([amplitude_mm])) if (0.0..=100.0).contains(amplitude_mm) => {
            let breathing = Breathing { period_s: BREATH_S, amplitude_mm: *amplitude_mm };
            Ok(Some(Patient::abdomen((*amplitude_mm > 0.0).then_some(breathing))))
        }
        ("water-cylinder" | "ball" | "abdomen", _) => {
            bail!("patient: expected water-cylinder:MM, ball:X,Y,Z,MM or abdomen:MM, found {text}")
        }
        _ => Ok(None),
    }
}

fn simulation_options(options: &Simulate) -> Result<Options> {
    let mut effects = Effects::ALL;
    for name in &options.without {
        let effect = match name.as_str() {
            "noise" => &mut effects.noise,
            "scatter" => &mut effects.scatter,
            "lag" => &mut effects.lag,
            "blur" => &mut effects.blur,
            "glare" => &mut effects.glare,
            "detector-faults" => &mut effects.detector_faults,
            "wobble" => &mut effects.wobble,
            "drift" => &mut effects.calibration_drift,
            "jitter" => &mut effects.jitter,
            "exposure-error" => &mut effects.exposure_error,
            "speed-profile" => &mut effects.speed_profile,
            other => bail!(
                "--without: expected noise, scatter, lag, blur, glare, detector-faults, wobble, drift, jitter, exposure-error or speed-profile, found {other}"
            ),
        };
        *effect = false;
    }
    Ok(Options {
        seed: options.seed,
        ideal: options.ideal,
        polychromatic_when_ideal: options.polychromatic,
        views: options.views,
        rays_per_pixel_side: usize::from(options.rays),
        sub_frames: usize::from(options.sub_frames),
        effects,
        drop_share: options.drop,
        ..Options::default()
    })
}

/// A matrix as the twelve numbers of its rows.
pub fn matrix_rows(matrix: &carm::ProjectionMatrix) -> Value {
    json!(matrix.matrix().transpose().as_slice())
}
