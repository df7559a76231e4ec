//! `--noise-map`: the standard deviation of every voxel of the filtered back-projection, as a volume of its own.

use super::refine;
use crate::cancel;
use crate::cli::{Reconstruct, TruncationChoice};
use crate::console::Console;
use crate::volumes::{write, write_of_run};
use acquisition::PanelModel;
use anyhow::{Context, Result, bail};
use capture::RunReader;
use carm::{DetectorGrid, RunDescription, Volume, VolumeGrid};
use ndarray::ArrayView3;
use reconstruct::noise::{
    DetectorNoise, NoiseBackend, NoiseCorrelation, noise_standard_deviation, noise_to_hu,
};
use reconstruct::{FdkOptions, FdkPlan};
use serde_json::{Value, json};
use session::{RunSettings, plan_run};
use std::path::Path;

/// What a map leaves open where nobody says how far light spreads.
const WHITE_WARNING: &str = "noise map: neighbouring pixels are taken as independent, because no --mtf-half was given; \
    behind a scintillator the map is too high";

/// Writes the map of a projection stack and gives back what to report; nothing without `--noise-map`.
pub fn of_stack(
    options: &Reconstruct,
    console: &Console,
    plan: &FdkPlan,
    detector: &DetectorGrid,
    line_integrals: ArrayView3<'_, f32>,
) -> Result<Option<Value>> {
    let Some(path) = &options.noise.noise_map else { return Ok(None) };
    let Some(photons) = options.iterative.photons else {
        bail!(
            "--noise-map: expected --photons, the quanta per pixel in air; a projection stack does not tell"
        );
    };
    let noise = DetectorNoise {
        electronic_photons: options.noise.electronic_noise.unwrap_or(0.0),
        correlation: correlation(options, detector)?,
        ..DetectorNoise::white(photons)
    };
    let mut map = make(options, console, plan, line_integrals, &noise)?;
    if options.volume.hu {
        noise_to_hu(&mut map, options.mu_water);
    }
    write(&map, path)?;
    Ok(Some(facts(&map, path)))
}

/// The same for a run, whose calibration knows the detector's noise.
pub fn of_run(
    options: &Reconstruct,
    console: &Console,
    reader: &mut RunReader,
    grid: &VolumeGrid,
) -> Result<Option<Value>> {
    let Some(path) = &options.noise.noise_map else { return Ok(None) };
    let description = reader.description().clone();
    let noise = noise_of_run(options, reader, &description)?;
    let scan = refine::scan_of_run(reader)?;
    let settings = RunSettings {
        apodisation: options.volume.filter,
        grid: Some(*grid),
        continues_truncation: options.volume.truncation != Some(TruncationChoice::Off),
        limited_angle: options.volume.limited_angle,
        ..RunSettings::default()
    };
    let planned = plan_run(&description, &settings)?;
    let fdk_options = FdkOptions { limited_angle: true, ..planned.options().clone() };
    let plan = FdkPlan::new(scan.geometry, *grid, fdk_options)?;
    let mut map = make(options, console, &plan, scan.line_integrals.view(), &noise)?;
    noise_to_hu(&mut map, description.beam.mu_water_per_mm);
    write_of_run(&map, path, &description.patient)?;
    Ok(Some(facts(&map, path)))
}

fn noise_of_run(
    options: &Reconstruct,
    reader: &RunReader,
    description: &RunDescription,
) -> Result<DetectorNoise> {
    let maps = description
        .detector_calibration
        .as_ref()
        .context("--noise-map: expected a run with detector calibration maps, found none")?;
    if maps.variance_per_count <= 0.0 {
        bail!(
            "--noise-map: expected the calibration's variance per count above zero, found {}: the run does not tell \
             its photon noise",
            maps.variance_per_count
        );
    }
    let charges: Vec<f64> = reader
        .headers()
        .iter()
        .filter(|header| header.is_xray_on)
        .map(|header| header.exposure.tube_charge_mas())
        .collect();
    let mean_mas = charges.iter().sum::<f64>() / charges.len().max(1) as f64;
    let air_counts = maps.air_intensity_per_mas * mean_mas;
    let correlation = correlation(options, &description.detector)?;
    // The calibration's variance is that of pixels after the light has spread.
    let grown = PanelModel::of(description)?.glare.map_or(1.0, |glare| glare.noise_gain());
    let photons = air_counts * correlation.variance_gain() / (maps.variance_per_count * grown.powi(2));
    Ok(DetectorNoise {
        photons,
        electronic_photons: maps.electronic_variance.sqrt() * photons / air_counts,
        correlation,
        water_precorrection: description.beam.water_precorrection.clone(),
    })
}

fn correlation(options: &Reconstruct, detector: &DetectorGrid) -> Result<NoiseCorrelation> {
    let pitch_mm = [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm];
    Ok(match options.noise.mtf_half {
        Some(half_per_mm) => NoiseCorrelation::scintillator(pitch_mm, half_per_mm)?,
        None => NoiseCorrelation::white(),
    })
}

fn make(
    options: &Reconstruct,
    console: &Console,
    plan: &FdkPlan,
    line_integrals: ArrayView3<'_, f32>,
    noise: &DetectorNoise,
) -> Result<Volume> {
    let bar = console.progress(line_integrals.shape()[0] as u64, "noise map");
    let mut map =
        noise_standard_deviation(plan, line_integrals, noise, NoiseBackend::Columns, &mut |done, _all| {
            bar.set_position(done as u64);
            !cancel::is_requested()
        })?;
    bar.finish_and_clear();
    if options.noise.mtf_half.is_none() {
        map.provenance.warnings.push(WHITE_WARNING.into());
    }
    map.provenance.warnings.push(
        "noise map: of the first version of filtered back-projection, without its second pass or iteration"
            .into(),
    );
    Ok(map)
}

fn facts(map: &Volume, path: &Path) -> Value {
    let mut known: Vec<f32> = map.values.iter().copied().filter(|sd| *sd > 0.0).collect();
    known.sort_by(f32::total_cmp);
    let median = known.get(known.len() / 2).copied();
    let unit = if matches!(map.quantity, carm::Quantity::MuPerMm) { "1/mm" } else { "HU" };
    json!({
        "out": path,
        "unit": unit,
        "median_sd": median,
        "parameters": map.provenance.stages.last().map(|stage| &stage.parameters),
        "warnings": map.provenance.warnings,
    })
}

/// Adds what a map came to.
pub fn tell(report: &mut Value, noise: Option<Value>) {
    if let Some(noise) = noise {
        report["noise_map"] = noise;
    }
}

/// Refuses a volume that is made in parts.
pub fn refuse_parts(options: &Reconstruct) -> Result<()> {
    if options.noise.noise_map.is_some() {
        bail!("--noise-map: expected memory for the whole volume, found that --memory asks for parts");
    }
    Ok(())
}

/// Refuses a name that cannot be written before any work is done.
pub fn check(options: &Reconstruct) -> Result<()> {
    options.noise.noise_map.as_deref().map_or(Ok(()), crate::volumes::check_format)
}
