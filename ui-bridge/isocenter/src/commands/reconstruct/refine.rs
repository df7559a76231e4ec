//! Iterating from the filtered back-projection: the next version of the same volume.

use crate::cancel;
use crate::cli::{AlgorithmChoice, IterativeOptions, StartChoice};
use crate::console::Console;
use anyhow::{Context, Result, bail};
use capture::RunReader;
use carm::{ProjectionMatrix, Quantity, ScanGeometry, Stage, Volume, VolumeGrid};
use indicatif::ProgressBar;
use interchange::read_volume;
use ndarray::Array3;
use reconstruct::iterative::{
    Algorithm, AlignedScan, Cgls, Estimate, FistaTv, FistaTvOptions, IterationReport, OsSart, OsSartOptions,
    OuterField, Progress, ScanData, StopRule, Strength, System, SystemOptions, Watcher, apparent_photons,
    iterate, smooth_start, statistical_weights,
};
use reconstruct::project::ColumnGrid;
use reconstruct::{Observer, Orbit, Rows, WaterPrecorrection, line_integrals};
use serde_json::{Value, json};
use session::{StageTimes, ViewMaker};
use std::collections::BTreeMap;
use std::path::Path;

/// Detector rows below which resampling across them would leave nothing measured.
const FEW_ROWS: usize = 8;

/// Smoothing of views without noise: few views still have more than one solution.
const LEAST_SMOOTHING_HU: f64 = 0.1;

/// Corrections by a subset after which total variation has usually settled, and the change of a pass that says so.
const TV_CORRECTIONS: usize = 240;
const TV_STOP_CHANGE: f64 = 0.003;

/// Where two grids count as the same, in voxels.
const GRID_TOLERANCE_VOXELS: f64 = 1e-3;

/// Views and their line integrals, `[view, v, u]`.
pub struct Scan {
    /// Detector and matrices in the volume's space.
    pub geometry: ScanGeometry,
    /// Dimensionless.
    pub line_integrals: Array3<f32>,
}

/// What iterating came to.
pub struct Refined {
    reports: Vec<IterationReport>,
}

/// Reads the views of a run once more, as line integrals in LPS.
pub fn scan_of_run(reader: &mut RunReader) -> Result<Scan> {
    let description = reader.description().clone();
    let detector = description.detector;
    let precorrection = WaterPrecorrection::new(&description.beam.water_precorrection);
    let mut maker = ViewMaker::new(&description)?;
    let mut counts = vec![0; detector.pixel_count()];
    let mut samples = Vec::new();
    let mut matrices: Vec<ProjectionMatrix> = Vec::new();
    for index in 0..reader.frame_count() {
        cancel::check()?;
        let header = match reader.read_frame(index, &mut counts) {
            Ok(header) => header,
            // Said aloud by the reconstruction that came before.
            Err(capture::CaptureError::FrameDamaged { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        if !header.is_xray_on {
            continue;
        }
        maker.correct(&header, &counts)?;
        let view = maker.view()?;
        let start = samples.len();
        samples.resize(start + detector.pixel_count(), 0.0);
        let rows = Rows { nu: detector.nu, averaged: 1 };
        line_integrals(view.samples, rows, &precorrection, &mut samples[start..]);
        matrices.push(view.projection_matrix);
    }
    let shape = (matrices.len(), detector.nv, detector.nu);
    Ok(Scan {
        geometry: ScanGeometry::new(detector, matrices)?,
        line_integrals: Array3::from_shape_vec(shape, samples).context("views of one size")?,
    })
}

/// Hounsfield units back to attenuation, to start from.
pub fn hu_to_mu(volume: &mut Volume, mu_water_per_mm: f64) {
    let scale = (mu_water_per_mm / 1000.0) as f32;
    volume.values.mapv_inplace(|hu| (hu + 1000.0) * scale);
    volume.quantity = Quantity::MuPerMm;
}

/// Refines `volume`, in 1/mm, and adds to its history.
pub fn run(
    options: &IterativeOptions,
    mu_water_per_mm: f64,
    console: &Console,
    scan: &Scan,
    volume: &mut Volume,
    stages: &mut StageTimes,
) -> Result<Refined> {
    let mut found = None;
    stages.stage("iterative", &mut || found = Some(solve(options, mu_water_per_mm, console, scan, volume)));
    let (values, reports, parameters) = found.context("the stage ran")??;
    volume.values = values;
    let name = name_of(options.algorithm).to_string();
    volume.provenance.stages.push(Stage { name, parameters, seconds: 0.0 });
    Ok(Refined { reports })
}

type Solution = (Array3<f32>, Vec<IterationReport>, BTreeMap<String, String>);

fn solve(
    options: &IterativeOptions,
    mu_water_per_mm: f64,
    console: &Console,
    scan: &Scan,
    volume: &Volume,
) -> Result<Solution> {
    let orbit = Orbit::fit(scan.geometry.views())?;
    let column = ColumnGrid::nearest_to(volume.grid, &orbit.axis).column_direction();
    // An oblique volume, and a detector of a few rows, iterate on the views as they are.
    let is_aligned = column.cross(&orbit.axis).norm() < 1e-2 && scan.geometry.detector().nv >= FEW_ROWS;
    let aligned = if is_aligned {
        Some(AlignedScan::new(&scan.geometry, scan.line_integrals.view(), &column)?)
    } else {
        None
    };
    let (geometry, line_integrals, measured) = match &aligned {
        Some(aligned) => (&aligned.geometry, aligned.line_integrals.view(), Some(&aligned.weights)),
        None => (&scan.geometry, scan.line_integrals.view(), None),
    };
    let mut weights = measured.cloned();
    let photons = photons_of(options, scan);
    if let Some((photons, _)) = photons {
        let statistical = statistical_weights(line_integrals, photons, 0.0);
        weights = Some(match weights {
            Some(measured) => measured * statistical,
            None => statistical,
        });
    }
    let data = ScanData { geometry, line_integrals, weights: weights.as_ref().map(|weights| weights.view()) };
    let system_options = SystemOptions {
        non_negative: options.algorithm != AlgorithmChoice::Cgls,
        outer: options.outer_field.then_some(OuterField::USUAL),
        ..SystemOptions::default()
    };
    let system = System::new(data, volume.grid, &system_options)?;
    let start = match &options.start {
        StartChoice::Fdk if options.algorithm == AlgorithmChoice::FistaTv => {
            system.estimate_from(smooth_start(volume.values.view()).view())?
        }
        StartChoice::Fdk => system.estimate_from(volume.values.view())?,
        StartChoice::Zero => system.zero_estimate(),
        StartChoice::Volume(path) => {
            system.estimate_from(earlier(path, &volume.grid, mu_water_per_mm)?.values.view())?
        }
    };
    let air_variance = photons.map(|(photons, _)| 1.0 / photons);
    let (mut algorithm, usual, mut parameters) =
        algorithm_of(options, mu_water_per_mm, air_variance, &system, start)?;
    let rule = StopRule {
        relative_change: options.stop_change.unwrap_or(usual.relative_change),
        iterations: options.iterations.map_or(usual.iterations, usize::from),
        ..usual
    };
    let bar = console.progress((rule.iterations * system.view_count()) as u64, "iterating");
    let reports = iterate(&mut *algorithm, &rule, &mut Bar(&bar))?;
    bar.finish_and_clear();
    let last = reports.last().context("at least one pass")?;
    parameters.extend(
        [
            ("version", (version_of(volume) + 1).to_string()),
            ("start", name_of_start(options).to_string()),
            ("iterations", reports.len().to_string()),
            ("residual_rms", format!("{:.6}", last.residual_rms)),
            ("projector", format!("Joseph and its transpose, {:?}", system_options.isa).to_lowercase()),
            ("virtual_detector", is_aligned.to_string()),
            (
                "photons",
                photons.map_or("all rays alike".into(), |(photons, source)| format!("{photons:.0} {source}")),
            ),
            ("outer_field", options.outer_field.to_string()),
        ]
        .map(|(key, value)| (key.to_string(), value)),
    );
    Ok((system.volume(algorithm.estimate()), reports, parameters))
}

/// Quanta per pixel in air, and where that is known from.
fn photons_of(options: &IterativeOptions, scan: &Scan) -> Option<(f64, &'static str)> {
    let seen = || {
        let is_wanted = options.algorithm == AlgorithmChoice::FistaTv;
        let photons = if is_wanted { apparent_photons(scan.line_integrals.view()) } else { None };
        photons.map(|photons| (photons, "as the views' own noise tells"))
    };
    options.photons.map(|photons| (photons, "as given")).or_else(seen)
}

/// A volume to go on from, in 1/mm.
fn earlier(path: &Path, grid: &VolumeGrid, mu_water_per_mm: f64) -> Result<Volume> {
    let name = || path.display().to_string();
    let mut volume = read_volume(path)?;
    let found = &volume.grid;
    let is_same_place = |voxel: [f64; 3]| {
        let there = found.voxel(&grid.point(voxel[0], voxel[1], voxel[2]));
        there.iter().zip(voxel).all(|(there, here)| (there - here).abs() < GRID_TOLERANCE_VOXELS)
    };
    let far = grid.shape.map(|n| n as f64);
    if found.shape != grid.shape || !is_same_place([0.0; 3]) || !is_same_place(far) {
        bail!(
            "{}: expected the grid of the new volume, {:?} voxels of {:?} mm around {:?}, found {:?} voxels of {:?} mm around {:?}",
            name(),
            grid.shape,
            grid.spacing_mm,
            grid.centre(),
            found.shape,
            found.spacing_mm,
            found.centre()
        );
    }
    match volume.quantity {
        Quantity::MuPerMm => {}
        Quantity::Hu { .. } => hu_to_mu(&mut volume, mu_water_per_mm),
        Quantity::Unknown => {
            bail!("{}: expected a volume that says it is in 1/mm or HU, found neither", name())
        }
    }
    Ok(volume)
}

type Chosen<'s> = (Box<dyn Algorithm + 's>, StopRule, BTreeMap<String, String>);

/// The algorithm, when it usually stops, and its parameters as text.
fn algorithm_of<'s>(
    options: &IterativeOptions,
    mu_water_per_mm: f64,
    air_variance: Option<f64>,
    system: &'s System<'_>,
    start: Estimate,
) -> Result<Chosen<'s>> {
    let subset_views = options.subset_views.map(usize::from);
    let mut parameters = BTreeMap::new();
    let mut note = |key: &str, value: String| parameters.insert(key.to_string(), value);
    let chosen: (Box<dyn Algorithm + 's>, StopRule) = match options.algorithm {
        AlgorithmChoice::Fdk => anyhow::bail!("filtered back-projection does not iterate"),
        AlgorithmChoice::OsSart => {
            let usual = OsSartOptions::default();
            let chosen = OsSartOptions {
                subset_views: subset_views.unwrap_or(usual.subset_views),
                relaxation: options.relaxation.unwrap_or(usual.relaxation),
                ..usual
            };
            note("subset_views", chosen.subset_views.to_string());
            note("relaxation", format!("{} times {} a pass", chosen.relaxation, chosen.relaxation_decay));
            (Box::new(OsSart::new(system, start, chosen)?), StopRule::after(3))
        }
        AlgorithmChoice::Cgls => (Box::new(Cgls::new(system, start)?), StopRule::after(10)),
        AlgorithmChoice::FistaTv => {
            let per_hu = mu_water_per_mm / 1000.0;
            let usual = FistaTvOptions::for_views(system.view_count());
            let chosen = FistaTvOptions {
                subset_views: subset_views.unwrap_or(usual.subset_views),
                smoothing: match (options.smoothing, air_variance) {
                    (Some(hu), _) => Strength::PerMm(per_hu * hu),
                    (None, Some(air_variance)) => {
                        Strength::ForNoise { air_variance, least_per_mm: per_hu * LEAST_SMOOTHING_HU }
                    }
                    (None, None) => Strength::PerMm(per_hu * LEAST_SMOOTHING_HU),
                },
                ..usual
            };
            note("subset_views", chosen.subset_views.to_string());
            let tv = FistaTv::new(system, start, chosen)?;
            note("smoothing_per_mm", tv.smoothing_per_mm().to_string());
            let corrections = system.view_count().div_ceil(chosen.subset_views);
            let passes = (TV_CORRECTIONS / corrections).clamp(10, 60);
            (Box::new(tv), StopRule { relative_change: TV_STOP_CHANGE, ..StopRule::after(passes) })
        }
    };
    Ok((chosen.0, chosen.1, parameters))
}

/// A bar that Ctrl-C can stop.
struct Bar<'a>(&'a ProgressBar);

impl Watcher for Bar<'_> {
    fn progress(&mut self, progress: Progress) -> bool {
        self.0.set_position((progress.iteration * progress.views + progress.views_done) as u64);
        !cancel::is_requested()
    }
}

fn name_of(algorithm: AlgorithmChoice) -> &'static str {
    match algorithm {
        AlgorithmChoice::Fdk => "fdk",
        AlgorithmChoice::OsSart => "os-sart",
        AlgorithmChoice::Cgls => "cgls",
        AlgorithmChoice::FistaTv => "fista-tv",
    }
}

fn name_of_start(options: &IterativeOptions) -> &'static str {
    match &options.start {
        StartChoice::Fdk if options.algorithm == AlgorithmChoice::FistaTv => "fdk, smoothed",
        StartChoice::Fdk => "fdk",
        StartChoice::Zero => "zero",
        StartChoice::Volume(_) => "an earlier volume",
    }
}

/// Which version of its volume this is: one more for the second pass of filtered back-projection, one for iterating.
fn version_of(volume: &Volume) -> usize {
    let has = |names: &[&str]| volume.provenance.stages.iter().any(|stage| names.contains(&&*stage.name));
    1 + usize::from(has(&["missing-views", "cone-beam-artefact"]))
        + usize::from(has(&["os-sart", "cgls", "fista-tv"]))
}

/// Adds the version and what each pass came to.
pub fn tell(report: &mut Value, volume: &Volume, refined: Option<Refined>) {
    report["version"] = json!(version_of(volume));
    if let Some(refined) = refined {
        report["iterations"] = refined
            .reports
            .iter()
            .map(|pass| json!({ "residual_rms": pass.residual_rms, "relative_change": pass.relative_change }))
            .collect();
    }
}
