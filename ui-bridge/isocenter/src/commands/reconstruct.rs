//! `isocenter reconstruct`: a run or a projection stack becomes a volume.

mod consistency;
mod in_parts;
mod noise;
mod refine;
mod two_sweeps;

use crate::cancel;
use crate::cli::{AlgorithmChoice, Reconstruct, TruncationChoice, VolumeOptions};
use crate::console::{Console, Outcome};
use crate::maps;
use crate::runs::{self, NamedRun};
use crate::volumes::{
    Described, check_format, check_memory, facts, grid_of, thread_pool, write, write_mask, write_of_run,
};
use anyhow::{Context, Result, bail, ensure};
use carm::{Quantity, ScanGeometry, Volume, VolumeGrid};
use in_parts::MadeInParts;
use indicatif::ProgressBar;
use interchange::{ProjectionStack, check_labels_format, is_angiogram, read_projection_stack, read_volume};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;
use reconstruct::{Fdk, FdkOptions, FdkPlan, KnownBody, Orbit, Samples, ViewInput, to_hu};
use serde_json::{Value, json};
use session::{RunSettings, StageTimes, reconstruct_run};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Voxels along each axis where neither options nor protocol say.
const DEFAULT_GRID: usize = 256;

/// Runs the command.
pub fn run(options: &Reconstruct, console: &Console) -> Result<Outcome> {
    let is_run = options.input.extension().is_some_and(|extension| extension == "mcap")
        || is_angiogram(&options.input);
    check_format(&options.out)?;
    options.mask.as_deref().map_or(Ok(()), check_labels_format)?;
    noise::check(options)?;
    let pool = thread_pool(options.volume.threads)?;
    let threads = pool.current_num_threads();
    let mut report = if is_run {
        if options.geometry.is_some() || options.second_sweep.is_some() {
            let name = options.input.display();
            bail!("{name}: a run carries its own geometry; expected no --geometry and no --second-sweep");
        }
        pool.install(|| from_run(options, console, threads))
    } else {
        ensure!(
            !options.correct_rings,
            "{}: --correct-rings: expected a run of raw counts, found a projection stack",
            options.input.display()
        );
        if options.maps.is_some() {
            bail!("{}: a stack of line integrals is corrected; expected no --maps", options.input.display());
        }
        let mut stack = read_projection_stack(&options.input, options.geometry.as_deref())?;
        match &options.second_sweep {
            None => pool.install(|| {
                let told = consistency::of_stack(options, console, &mut stack)?;
                Ok(consistency::told_with(told, from_stack(options, console, stack, threads)?))
            }),
            Some(path) => {
                let second = read_projection_stack(path, options.second_geometry.as_deref())?;
                pool.install(|| from_two_stacks(options, console, &stack, &second, threads))
            }
        }
    }
    .map_err(|error| name_input(error, &options.input))?;
    report["out"] = json!(options.out);
    report["mask"] = json!(options.mask);
    let text = format!(
        "{} from {} views in {:.2} s on {threads} threads ({})",
        options.out.display(),
        report["views"],
        report["reconstruct_s"].as_f64().unwrap_or(f64::NAN),
        report["backend"].as_str().unwrap_or("?"),
    );
    let warnings: String = report["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|warning| format!("\nwarning: {warning}"))
        .collect();
    Ok(Outcome::success(report, text + &warnings))
}

/// What is wrong with an arc or a view does not know the file that it came from.
fn name_input(error: anyhow::Error, input: &Path) -> anyhow::Error {
    let name = input.display().to_string();
    if format!("{error:#}").contains(&name) { error } else { error.context(name) }
}

fn from_run(options: &Reconstruct, console: &Console, threads: usize) -> Result<Value> {
    let run = NamedRun::find(&options.input, options.mu_water)?;
    let mut reader = run.open()?;
    let mut description = reader.description().clone();
    let doubts = maps::in_force(options.maps.as_deref(), &mut description, reader.headers())?;
    reader.describe_as(description.clone())?;
    let grid = match &description.volume_grid {
        Some(default) => grid_of(&options.volume, default)?,
        None => bail!(
            "{}: protocol {} makes no volume; expected a spin{}",
            options.input.display(),
            description.protocol,
            run.missing.iter().map(|missing| format!("; {missing}")).collect::<String>()
        ),
    };
    check_memory(&options.volume, &grid, 0)?;
    let settings = RunSettings {
        apodisation: options.volume.filter,
        backend: options.volume.backend,
        grid: Some(grid),
        continues_truncation: options.volume.truncation != Some(TruncationChoice::Off),
        known_body: known_body(&options.volume, description.beam.mu_water_per_mm)?,
        limited_angle: options.volume.limited_angle,
        corrects_rings: options.correct_rings,
        ..RunSettings::default()
    };
    let bar = console.progress(reader.frame_count() as u64, "reconstructing");
    let made = reconstruct_run(&mut reader, &settings, &mut |done, _all| {
        bar.set_position(done);
        !cancel::is_requested()
    })?;
    bar.finish_and_clear();
    let (mut volume, mut stages) = (made.volume, made.stages);
    volume.provenance.warnings.extend(doubts);
    runs::mark(&mut volume, &description);
    let told = consistency::of_run(options, console, &mut reader, &mut volume)?;
    let noise = noise::of_run(options, console, &mut reader, &volume.grid)?;
    let mut refined = None;
    let mut seconds = made.reconstruct_time.as_secs_f64();
    if options.iterative.algorithm != AlgorithmChoice::Fdk {
        let start = Instant::now();
        let scan = refine::scan_of_run(&mut reader)?;
        let mu_water = description.beam.mu_water_per_mm;
        refine::hu_to_mu(&mut volume, mu_water);
        refined = Some(refine::run(&options.iterative, mu_water, console, &scan, &mut volume, &mut stages)?);
        to_hu(&mut volume, mu_water);
        seconds += start.elapsed().as_secs_f64();
    }
    write_of_run(&volume, &options.out, &description.patient)?;
    write_mask(&volume, options.mask.as_deref())?;
    let mut report = facts(&volume, seconds, threads, &stages);
    refine::tell(&mut report, &volume, refined);
    report["views"] = json!(made.views);
    report["protocol"] = json!(description.protocol);
    let matrices = description.planned_views.iter().map(|view| view.projection_matrix).collect();
    let geometry = ScanGeometry::new(description.detector, matrices)?;
    report["geometry"] = geometry_summary(&geometry, &Orbit::fit(geometry.views())?);
    noise::tell(&mut report, noise);
    Ok(consistency::told_with(told, report))
}

fn from_stack(
    options: &Reconstruct,
    console: &Console,
    stack: ProjectionStack,
    threads: usize,
) -> Result<Value> {
    let ProjectionStack { geometry, line_integrals, source } = stack;
    let scan = geometry.clone();
    let volume_options = &options.volume;
    let start = Instant::now();
    let orbit = Orbit::fit(geometry.views())?;
    let grid = grid_of(volume_options, &default_grid(&geometry, &orbit)?)?;
    let views_bytes = (line_integrals.len() * size_of::<f32>()) as u64;
    let is_iterative = options.iterative.algorithm != AlgorithmChoice::Fdk;
    if is_iterative {
        check_memory(volume_options, &grid, views_bytes)?;
    }
    let summary = geometry_summary(&geometry, &orbit);
    let matrices = geometry.views().to_vec();
    let plan = Arc::new(FdkPlan::new(geometry, grid, fdk_options(options)?)?);
    let mut stages = StageTimes::default();
    if let (Some(allowed), false) = (volume_options.memory, is_iterative) {
        let slabs = plan.slabs(allowed.saturating_sub(views_bytes))?;
        if slabs.len() > 1 {
            noise::refuse_parts(options)?;
            ensure!(
                options.mask.is_none(),
                "--mask: expected memory for the whole volume, found that --memory asks for parts"
            );
            let mu_water = volume_options.hu.then_some(options.mu_water);
            let mut made =
                in_parts::run(slabs, &grid, &line_integrals, mu_water, &options.out, console, &mut stages)?;
            made.provenance.warnings.extend(source.warnings);
            let seconds = start.elapsed().as_secs_f64();
            let MadeInParts { quantity, provenance, hash } = &made;
            let described = Described { grid: &grid, quantity: *quantity, provenance, hash: hash.clone() };
            return Ok(about_stack(described.facts(seconds, threads, &stages), &plan, summary));
        }
    }
    let bar = console.progress(matrices.len() as u64, "reconstructing");
    let mut volume = fill(Arc::clone(&plan), &line_integrals, &bar, &mut stages)?;
    let noise = noise::of_stack(options, console, &plan, scan.detector(), line_integrals.view())?;
    let mut refined = None;
    if is_iterative {
        let scan = refine::Scan { geometry: scan, line_integrals };
        refined = Some(refine::run(
            &options.iterative,
            options.mu_water,
            console,
            &scan,
            &mut volume,
            &mut stages,
        )?);
    }
    if volume_options.hu {
        to_hu(&mut volume, options.mu_water);
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    volume.provenance.warnings.extend(source.warnings);
    write(&volume, &options.out)?;
    write_mask(&volume, options.mask.as_deref())?;
    let mut report = facts(&volume, seconds, threads, &stages);
    refine::tell(&mut report, &volume, refined);
    noise::tell(&mut report, noise);
    Ok(about_stack(report, &plan, summary))
}

/// Both sweeps into one volume.
fn from_two_stacks(
    options: &Reconstruct,
    console: &Console,
    first: &ProjectionStack,
    second: &ProjectionStack,
    threads: usize,
) -> Result<Value> {
    let start = Instant::now();
    let orbit = Orbit::fit(first.geometry.views())?;
    let grid = grid_of(&options.volume, &default_grid(&first.geometry, &orbit)?)?;
    let samples = first.line_integrals.len() + second.line_integrals.len();
    check_memory(&options.volume, &grid, (samples * size_of::<f32>()) as u64)?;
    if options.iterative.algorithm != AlgorithmChoice::Fdk {
        bail!("two sweeps: expected the algorithm fdk, found an iterative one");
    }
    let mut stages = StageTimes::default();
    let (mut volume, plans) =
        two_sweeps::run([first, second], grid, &fdk_options(options)?, console, &mut stages)?;
    if options.volume.hu {
        to_hu(&mut volume, options.mu_water);
    }
    let seconds = start.elapsed().as_secs_f64();
    volume.provenance.warnings.extend(first.source.warnings.iter().chain(&second.source.warnings).cloned());
    write(&volume, &options.out)?;
    write_mask(&volume, options.mask.as_deref())?;
    let report = facts(&volume, seconds, threads, &stages);
    let mut report = about_stack(report, &plans[0], geometry_summary(&first.geometry, &orbit));
    report["views"] = json!(plans.iter().map(|plan| plan.views().len()).sum::<usize>());
    Ok(report)
}

/// One plan's volume from all its views.
fn fill(
    plan: Arc<FdkPlan>,
    line_integrals: &Array3<f32>,
    bar: &ProgressBar,
    stages: &mut StageTimes,
) -> Result<Volume> {
    let matrices = plan.views().to_vec();
    let mut fdk = Fdk::new(plan);
    for (projection_matrix, view) in matrices.into_iter().zip(line_integrals.outer_iter()) {
        let samples = view.to_slice().context("a projection stack in standard layout")?;
        fdk.push(ViewInput { projection_matrix, samples: Samples::LineIntegrals(samples) }, stages)?;
        bar.inc(1);
        cancel::check()?;
    }
    Ok(fdk.finish(stages)?)
}

/// The CT that knows how truncated views go on, as attenuation.
fn known_body(options: &VolumeOptions, mu_water_per_mm: f64) -> Result<Option<Arc<KnownBody>>> {
    let Some(path) = &options.truncation_ct else { return Ok(None) };
    ensure!(
        options.truncation != Some(TruncationChoice::Off),
        "--truncation-ct: expected that truncated views are continued, found --truncation off"
    );
    let mut volume = read_volume(path)?;
    ensure!(
        volume.quantity != Quantity::MuPerMm,
        "{}: expected Hounsfield units, found attenuation",
        path.display()
    );
    refine::hu_to_mu(&mut volume, mu_water_per_mm);
    Ok(Some(Arc::new(KnownBody { grid: volume.grid, attenuation_per_mm: volume.values })))
}

fn fdk_options(options: &Reconstruct) -> Result<FdkOptions> {
    let volume = &options.volume;
    let is_continued = volume.truncation == Some(TruncationChoice::Water) || volume.truncation_ct.is_some();
    Ok(FdkOptions {
        apodisation: volume.filter,
        backend: volume.backend,
        limited_angle: volume.limited_angle,
        truncation_water_per_mm: is_continued.then_some(options.mu_water),
        known_body: known_body(volume, options.mu_water)?,
        ..FdkOptions::default()
    })
}

fn about_stack(mut report: Value, plan: &FdkPlan, geometry: Value) -> Value {
    report["views"] = json!(plan.views().len());
    report["redundancy"] = json!(plan.redundancy().name());
    report["geometry"] = geometry;
    report
}

/// The cube that holds the field of view, centred on the isocenter.
fn default_grid(geometry: &ScanGeometry, orbit: &Orbit) -> Result<VolumeGrid> {
    let axes = geometry.views()[0].detector_axes();
    let half_fan = ((geometry.detector().nu as f64 - 1.0) / 2.0 / axes.focal_u_px).atan();
    let voxel_mm = 2.0 * orbit.radius_mm * half_fan.sin() / DEFAULT_GRID as f64;
    Ok(VolumeGrid::centred([DEFAULT_GRID; 3], [voxel_mm; 3], Matrix3::identity(), Point3::origin())?)
}

fn geometry_summary(geometry: &ScanGeometry, orbit: &Orbit) -> Value {
    let detector = geometry.detector();
    let axes = geometry.views()[0].detector_axes();
    json!({
        "views": geometry.views().len(),
        "detector": [detector.nu, detector.nv],
        "pixel_pitch_mm": [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm],
        "arc_deg": orbit.arc_rad().to_degrees(),
        "orbit_radius_mm": orbit.radius_mm,
        "orbit_centre_mm": [orbit.centre.x, orbit.centre.y, orbit.centre.z],
        "rotation_axis": [orbit.axis.x, orbit.axis.y, orbit.axis.z],
        "source_to_detector_mm": axes.focal_u_px * detector.pixel_pitch_u_mm,
    })
}
