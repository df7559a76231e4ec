//! `isocenter model`: one request, a mesh that is sound when read back, and a report of how far to trust it.

mod render;
mod report;

use super::inspect::mesh_facts;
use crate::cancel;
use crate::cli::Model;
use crate::console::{Console, Outcome, peak_rss_mib};
use crate::volumes::thread_pool;
use anatomy::{Segmentation, Target};
use anyhow::{Context, Result, ensure};
use carm::{TriangleMesh, Volume};
use indicatif::ProgressBar;
use interchange::{Colour, MeshFile, MeshFormat, read_mesh, read_volume, write_mesh};
use nalgebra::Point3;
use printing::{
    Decimated, Field, Hausdorff, Island, IslandRule, LabelField, LabelOptions, calipers, check, decimate,
    hausdorff, surface,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// What stands in every file and report.
const NOTICE: &str = "For research use. Not a medical device. Lengths in mm, patient axes LPS";
/// What stands until somebody has looked at it.
const NOT_REVIEWED: &str = "Not reviewed";
/// Distances measured for the report.
const CALIPERS: usize = 12;

/// Turns a bar, and stops the work when the user asks to.
struct Watch(ProgressBar);

impl printing::Progress for Watch {
    fn step(&mut self, stage: &'static str, done: u64, all: u64) -> bool {
        self.0.set_message(stage);
        self.0.set_length(all.max(1));
        self.0.set_position(done);
        !cancel::is_requested()
    }
}

/// Runs the command.
pub fn run(options: &Model, console: &Console) -> Result<Outcome> {
    MeshFormat::to_write(&options.out)?;
    let pool = thread_pool(options.threads)?;
    let started = Instant::now();
    let volume = read_volume(&options.volume)?;
    let mut watch = Watch(console.progress(100, "segmenting"));
    let made = pool.install(|| make(options, &volume, &mut watch));
    watch.0.finish_and_clear();
    cancel::check()?;
    let made = made.with_context(|| options.volume.display().to_string())?;
    let mut told = made.report(options, &volume);
    told["seconds"] = json!(started.elapsed().as_secs_f64());
    told["peak_rss_mib"] = json!(peak_rss_mib());
    told["threads"] = json!(pool.current_num_threads());
    let faces = made.decimated.mesh.triangles.len();
    let distance = made.distance.bound_mm();
    let written = write(options, made.decimated.mesh, &mut told)?;
    let text = format!(
        "{}: {faces} faces, sound when read back; within {distance:.3} mm of the full surface\n{}\n{NOT_REVIEWED}. {NOTICE}.",
        options.out.display(),
        written,
    );
    Ok(Outcome::success(told, text))
}

/// A model and all that led to it.
struct Made {
    found: Segmentation,
    /// The field from labels, its values taken out.
    levels: LabelField,
    islands: Vec<Island>,
    /// What the surface was taken from.
    field: Field,
    decimated: Decimated,
    distance: Hausdorff,
}

fn make(options: &Model, volume: &Volume, watch: &mut Watch) -> Result<Made> {
    let bar = watch.0.clone();
    let tell = move |share: f64, _: &'static str| {
        bar.set_position((100.0 * share) as u64);
        !cancel::is_requested()
    };
    let search = anatomy::Options { seeds: options.seed.iter().map(|seed| Point3::from(seed.0)).collect() };
    let target: Target = options.target.into();
    let found = anatomy::segment(volume, target, &search, &anatomy::Progress::new(&tell))?;
    let mask = found.labels.mapv(|label| label != 0);
    let label_options = LabelOptions { spacing_most_mm: options.spacing_mm, ..LabelOptions::default() };
    let levels = Field::from_labels(volume, &mask, &label_options, watch)?;
    let (joined, islands) = levels.field.joined(&rule(options))?;
    let field = joined.smoothed(options.smooth)?;
    let full = surface(&field, watch)?;
    let decimated = decimate(&full, options.faces, options.error_mm, watch)?;
    check(&decimated.mesh).require_sound()?;
    let distance = hausdorff(&full, &decimated.mesh)?;
    Ok(Made { found, levels, islands, field, decimated, distance })
}

/// Which parts stay that hang on nothing.
fn rule(options: &Model) -> IslandRule {
    IslandRule {
        drop_below_mm3: options.drop_below_mm3,
        join_within_mm: options.join_mm,
        strut_radius_mm: options.strut_mm / 2.0,
    }
}

impl Made {
    fn report(&self, options: &Model, volume: &Volume) -> Value {
        let calipers = calipers(&self.decimated.mesh, &self.levels.field, CALIPERS).unwrap_or_default();
        let one_way = |distance: &printing::SurfaceDistance| json!({ "mean_mm": distance.mean_mm, "p95_mm": distance.p95_mm, "max_mm": distance.max_mm, "bound_mm": distance.bound_mm });
        json!({
            "target": options.target.to_string(),
            "review": NOT_REVIEWED,
            "notice": NOTICE,
            "program": format!("isocenter {}", env!("CARGO_PKG_VERSION")),
            "input": { "path": options.volume, "volume_hash": session::volume_hash(volume), "shape": volume.grid.shape,
                "spacing_mm": volume.grid.spacing_mm, "warnings": volume.provenance.warnings },
            "parameters": { "faces": options.faces, "error_mm": options.error_mm, "smooth_mm": options.smooth,
                "spacing_mm": options.spacing_mm, "drop_below_mm3": options.drop_below_mm3, "join_mm": options.join_mm,
                "strut_mm": options.strut_mm },
            "level": { "inside": self.levels.inside_level, "outside": self.levels.outside_level,
                "border_without_contrast": self.levels.without_contrast, "border_at_limit": self.levels.at_limit },
            "capped_at_the_volumes_border": self.field.touched_sides().iter().map(|side| format!("{side:?}")).collect::<Vec<_>>(),
            "decimation": { "faces_before": self.decimated.faces_before, "full_to_model": one_way(&self.distance.forward),
                "model_to_full": one_way(&self.distance.backward), "two_sided_bound_mm": self.distance.bound_mm() },
            "calipers_against_the_field": calipers.iter().map(|caliper| json!({ "from_mm": caliper.from_mm, "to_mm": caliper.to_mm,
                "mesh_mm": caliper.mesh_mm, "field_mm": caliper.field_mm, "error_mm": caliper.error_mm() })).collect::<Vec<_>>(),
            "structures": self.found.structures.iter().map(super::segment::structure).collect::<Vec<_>>(),
            "doubtful": self.found.doubtful.iter().map(super::segment::doubtful).collect::<Vec<_>>(),
            "islands": self.islands.iter().map(|island| json!({ "place_mm": island.place_mm, "volume_mm3": island.volume_mm3,
                "gap_mm": island.gap_mm, "fate": format!("{:?}", island.fate) })).collect::<Vec<_>>(),
            "notes": self.found.notes,
            "minimum_wall": "not enforced",
        })
    }
}

/// Colour of each target.
fn colour(target: Target) -> Colour {
    match target {
        Target::Bone => [236, 228, 208],
        Target::Vessel => [40, 80, 220],
        Target::Metal => [150, 155, 165],
        Target::Calcification => [255, 255, 255],
        Target::Skin => [224, 172, 140],
    }
}

/// Writes model and report beside their place, reads the model back, and puts both there when it is sound.
fn write(options: &Model, mesh: TriangleMesh, told: &mut Value) -> Result<String> {
    let folder =
        options.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = options.out.file_name().context("the name of a file as --out")?;
    let stem = Path::new(name).file_stem().unwrap_or(name).to_string_lossy().into_owned();
    let staging = tempfile::Builder::new()
        .prefix(".isocenter-")
        .tempdir_in(folder)
        .with_context(|| folder.display().to_string())?;
    let path = staging.path().join(name);
    let mut file = MeshFile::of(&options.target.to_string(), mesh, Some(colour(options.target.into())));
    file.metadata = vec![
        ("Title".into(), format!("{} model", options.target)),
        ("Description".into(), format!("{NOT_REVIEWED}. {NOTICE}")),
        ("Application".into(), format!("Isocenter {}", env!("CARGO_PKG_VERSION"))),
    ];
    write_mesh(&path, &file)?;
    let back = read_mesh(&path)?.merged();
    let checked = check(&back);
    ensure!(
        checked.is_sound(),
        "{}: expected a sound mesh in the file written, found {checked}",
        options.out.display()
    );
    told["out"] = json!(options.out);
    told["mesh_read_back"] = mesh_facts(&checked);
    let page = format!("{stem}.report.html");
    std::fs::write(staging.path().join(&page), report::html(told, &back)?)?;
    std::fs::write(staging.path().join(format!("{stem}.report.json")), serde_json::to_vec_pretty(told)?)?;
    for entry in std::fs::read_dir(staging.path())? {
        let entry = entry?;
        std::fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    told["report"] = json!(folder.join(&page));
    Ok(format!("report: {}", folder.join(page).display()))
}
