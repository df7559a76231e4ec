//! `isocenter model`: one request, a mesh that is sound when read back, and a report of how far to trust it.

mod advice;
mod facts;
mod page;
mod painted;
mod presets;
mod render;
mod shape;
mod slicer;
mod stages;
mod write;

use crate::cancel;
use crate::cli::Model;
use crate::console::{Console, Outcome, peak_rss_mib};
use crate::volumes::{read_with_mask, thread_pool};
use advice::Printer;
use anatomy::{DoubtfulRegion, Segmentation, Structure, Target};
use anyhow::{Context, Result};
use carm::{TriangleMesh, Volume, VolumeGrid};
use indicatif::ProgressBar;
use nalgebra::Point3;
use ndarray::Array3;
use presets::Presets;
use printing::{Decimated, Hausdorff, decimate, hausdorff_bounded, surface};
use serde_json::json;
use shape::Shape;
use stages::Stages;

/// What stands in every file and report.
const NOTICE: &str = "For research use. Not a medical device. Lengths in mm, patient axes LPS";
/// What stands until somebody has looked at it.
const NOT_REVIEWED: &str = "Not reviewed";

/// How near the proved bound of the distance to the full surface is sought to the largest that was measured, mm.
const BOUND_GAP_MM: f64 = 0.2;

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
    write::Format::of(&options.out)?;
    let (printer, presets) =
        (Printer::chosen(&options.printer)?, Presets::chosen(options.presets.as_deref())?);
    let pool = thread_pool(options.threads)?;
    let mut stages = Stages::start();
    let volume = read_with_mask(&options.volume, options.mask.as_deref())?;
    let input = Input::of(&volume);
    stages.ended("read");
    let mut watch = Watch(console.progress(100, "segmenting"));
    let made = pool.install(|| Made::new(options, volume, &mut watch, &mut stages));
    watch.0.finish_and_clear();
    cancel::check()?;
    let made = made.with_context(|| options.volume.display().to_string())?;
    let (mut told, painted) =
        pool.install(|| facts::facts(&made, options, &input, &printer, &presets, &mut stages))?;
    told["threads"] = json!(pool.current_num_threads());
    let file = write::File { options, input: &input, presets: &presets };
    let staged = pool.install(|| file.stage(&made.decimated.mesh, &mut told, &mut stages))?;
    told["stages_s"] = stages.told();
    told["seconds"] = json!(stages.sum());
    told["peak_rss_mib"] = json!(peak_rss_mib());
    let report = staged.publish(&page::html(&told, &made.decimated.mesh, &painted)?, &mut told)?;
    let text = format!(
        "{}: {} faces, sound when read back; within {:.3} mm of the full surface\nreport: {}\n{}. {NOTICE}.",
        options.out.display(),
        made.decimated.mesh.triangles.len(),
        made.distance.bound_mm(),
        report.display(),
        review(options),
    );
    Ok(Outcome::success(told, text))
}

/// A picture of a surface from the front, in one colour.
pub fn plain_picture(mesh: &TriangleMesh) -> Result<String> {
    render::render(mesh, &vec![page::PLAIN; mesh.vertices_mm.len()], render::View::Front)
}

/// Who has looked at the model.
fn review(options: &Model) -> String {
    match &options.accept_by {
        Some(name) => format!("Accepted by {name}"),
        None => NOT_REVIEWED.into(),
    }
}

/// What is told of a volume, which takes too much memory to stay for that.
struct Input {
    grid: VolumeGrid,
    hash: String,
    frame_of_reference_uid: Option<String>,
    warnings: Vec<String>,
}

impl Input {
    fn of(volume: &Volume) -> Self {
        Self {
            grid: volume.grid,
            hash: session::volume_hash(volume),
            frame_of_reference_uid: volume.frame_of_reference_uid.clone(),
            warnings: volume.provenance.warnings.clone(),
        }
    }
}

/// What was found, but for the labels, which have become the shape.
struct Found {
    grid: VolumeGrid,
    /// `[z, y, x]`, percent.
    confidence: Array3<u8>,
    structures: Vec<Structure>,
    doubtful: Vec<DoubtfulRegion>,
    notes: Vec<String>,
}

/// A model and all that led to it.
struct Made {
    found: Found,
    shape: Shape,
    decimated: Decimated,
    distance: Hausdorff,
}

impl Made {
    fn new(options: &Model, volume: Volume, watch: &mut Watch, stages: &mut Stages) -> Result<Self> {
        let bar = watch.0.clone();
        let tell = move |share: f64, _: &'static str| {
            bar.set_position((100.0 * share) as u64);
            !cancel::is_requested()
        };
        let seeds = options.seed.iter().map(|seed| Point3::from(seed.0)).collect();
        let target: Target = options.target.into();
        let search = anatomy::Options { seeds, ..anatomy::Options::default() };
        let Segmentation { grid, labels, confidence, structures, doubtful, notes } =
            anatomy::segment(&volume, target, &search, &anatomy::Progress::new(&tell))?;
        let mask = labels.mapv(|label| label != 0);
        drop(labels);
        let found = Found { grid, confidence, structures, doubtful, notes };
        stages.ended("segment");
        let (field, shape) = shape::shape(options, volume, mask, watch, stages)?;
        let full = surface(&field, watch)?;
        drop(field);
        stages.ended("surface");
        let decimated = decimate(&full, options.faces, options.error_mm, watch)?;
        stages.ended("decimate");
        let distance = hausdorff_bounded(&full, &decimated.mesh, BOUND_GAP_MM)?;
        stages.ended("hausdorff");
        Ok(Self { found, shape, decimated, distance })
    }
}
