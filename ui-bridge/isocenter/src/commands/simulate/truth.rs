//! What is true of a simulated run, as files: the volume, and stacks and matrices view by view.

use super::{matrix_rows, partial_name};
use crate::cancel;
use crate::volumes;
use anyhow::{Context, Result};
use carm::{FrameSource, Quantity, Volume, VolumeGrid};
use indicatif::ProgressBar;
use interchange::write_matrices;
use ndarray::{Array2, Array3, Axis};
use serde_json::{Value, json};
use simulated::{FrameTruth, SimulatedCarm};
use std::path::Path;

/// One image of every view.
type Pick = fn(&FrameTruth) -> Option<&Array2<f32>>;

/// The stacks that are written, by file name.
const STACKS: [(&str, Pick); 8] = [
    ("line_integrals", |truth| Some(&truth.line_integrals)),
    ("water_g_cm2", |truth| Some(&truth.water_g_cm2)),
    ("bone_g_cm2", |truth| Some(&truth.bone_g_cm2)),
    ("iodine_g_cm2", |truth| Some(&truth.iodine_g_cm2)),
    ("metal_g_cm2", |truth| Some(&truth.metal_g_cm2)),
    ("transmission", |truth| Some(&truth.transmission)),
    ("scatter", |truth| truth.scatter.as_ref()),
    ("photons", |truth| Some(&truth.photons)),
];

/// Writes everything into `folder`: `volume.mha` (1/mm at the effective energy, LPS), one `.mha` stack per
/// quantity `[view, v, u]`, `matrices_true.txt` and `matrices_calibrated.txt` (world mm to pixel), `truth.json`.
///
/// The files come into the folder together, when all of them are written.
pub fn write(carm: &SimulatedCarm, folder: &Path, bar: &ProgressBar) -> Result<()> {
    let partial = partial_name(folder);
    std::fs::create_dir_all(&partial).with_context(|| format!("{}: cannot be made", partial.display()))?;
    let written = write_files(carm, &partial, bar).and_then(|()| move_files(&partial, folder));
    // Empty by now, or not wanted: the error itself is what the user needs to hear.
    let _ = std::fs::remove_dir_all(&partial);
    written
}

fn move_files(from: &Path, folder: &Path) -> Result<()> {
    let in_place = || format!("{}: cannot be put in place", folder.display());
    std::fs::create_dir_all(folder).with_context(in_place)?;
    for entry in std::fs::read_dir(from).with_context(in_place)? {
        let entry = entry.with_context(in_place)?;
        std::fs::rename(entry.path(), folder.join(entry.file_name())).with_context(in_place)?;
    }
    Ok(())
}

fn write_files(carm: &SimulatedCarm, folder: &Path, bar: &ProgressBar) -> Result<()> {
    let description = carm.description();
    if let Some(grid) = &description.volume_grid {
        volumes::write(&carm.truth(grid), &folder.join("volume.mha"))?;
    }
    let mut stacks: Vec<Vec<Array2<f32>>> = vec![Vec::new(); STACKS.len()];
    let (mut true_matrices, mut calibrated, mut motion) = (Vec::new(), Vec::new(), Vec::<Value>::new());
    for view in 0..carm.views() {
        cancel::check()?;
        let truth = carm.truth_frame(view)?;
        for (stack, (_, pick)) in stacks.iter_mut().zip(STACKS) {
            stack.extend(pick(&truth).cloned());
        }
        motion.push(json!(truth.motion.to_homogeneous().transpose().as_slice()));
        true_matrices.push(truth.true_matrix);
        calibrated.push(truth.calibrated_matrix);
        bar.inc(1);
    }
    for ((name, _), views) in STACKS.iter().zip(stacks) {
        if !views.is_empty() {
            write_stack(&views, &folder.join(format!("{name}.mha")), description)?;
        }
    }
    write_matrices(&raw(&true_matrices), &folder.join("matrices_true.txt"))?;
    write_matrices(&raw(&calibrated), &folder.join("matrices_calibrated.txt"))?;
    let inserts: Vec<Value> = carm
        .inserts()
        .iter()
        .map(|insert| {
            json!({
                "name": insert.name,
                "lps_from_insert": insert.lps_from_insert.to_homogeneous().transpose().as_slice(),
            })
        })
        .collect();
    let report = json!({
        "seed": description.seed,
        "protocol": description.protocol,
        "effective_energy_kev": description.beam.effective_energy_kev,
        "mu_water_per_mm": description.beam.mu_water_per_mm,
        "lps_from_world": description.patient.lps_from_world().to_homogeneous().transpose().as_slice(),
        "moved_world_from_world": motion,
        "inserts": inserts,
        "first_true_matrix": true_matrices.first().map(matrix_rows),
        "remarks": description.remarks,
    });
    let path = folder.join("truth.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("{}", path.display()))
}

/// A stack as RTK reads it: detector millimetres around the detector's centre, views along z.
fn write_stack(views: &[Array2<f32>], path: &Path, description: &carm::RunDescription) -> Result<()> {
    let detector = &description.detector;
    let images: Vec<_> = views.iter().map(|view| view.view().insert_axis(Axis(0))).collect();
    let values: Array3<f32> = ndarray::concatenate(Axis(0), &images)?;
    let [centre_u, centre_v] = detector.centre();
    let grid = VolumeGrid::new(
        [detector.nu, detector.nv, views.len()],
        [detector.pixel_pitch_u_mm, detector.pixel_pitch_v_mm, 1.0],
        nalgebra::Matrix3::identity(),
        nalgebra::Point3::new(
            -centre_u * detector.pixel_pitch_u_mm,
            -centre_v * detector.pixel_pitch_v_mm,
            0.0,
        ),
    )?;
    volumes::write(&Volume::new(grid, values, Quantity::Unknown), path)
}

fn raw(matrices: &[carm::ProjectionMatrix]) -> Vec<nalgebra::Matrix3x4<f64>> {
    matrices.iter().map(|p| *p.matrix()).collect()
}
