//! From a volume to a segmentation: the body, the target, then confidence, structures and places to look at.

use crate::body::Body;
use crate::bone::Bone;
use crate::confidence::{BAND_STEPS, SURE_PERCENT, Surroundings, Weights};
use crate::error::AnatomyError;
use crate::lattice::Lattice;
use crate::progress::Progress;
use crate::review::{Doubt, doubtful_regions, is_doubtful};
use crate::segmentation::{Segmentation, Structure, Target};
use carm::{Volume, VolumeGrid};
use nalgebra::{Point3, Vector3};
use ndarray::Array3;

/// What a target's search gave, on the body's lattice.
pub(crate) struct Found<'a> {
    /// What was asked for.
    pub target: Target,
    /// 0 is background.
    pub labels: Vec<u16>,
    /// Name of each label.
    pub names: Vec<(u16, String)>,
    /// Level above which a voxel belongs to the target, HU.
    pub threshold: Box<dyn Fn(usize) -> f32 + Sync + 'a>,
    /// Contrast medium that the target was parted from; empty where there is none.
    pub contrast: Vec<bool>,
    /// Metal and undiluted contrast medium.
    pub dense: Vec<bool>,
    /// What could not be told.
    pub notes: Vec<String>,
}

/// Segments `target` in a volume of Hounsfield units.
///
/// Values of unknown quantity are taken as HU. Labels and confidence are on the volume's grid. The result is the same
/// for any number of threads.
///
/// # Errors
/// [`AnatomyError`]: no HU, no body, nothing of the target's density, or cancelled.
pub fn segment(
    volume: &Volume,
    target: Target,
    progress: &Progress<'_>,
) -> Result<Segmentation, AnatomyError> {
    progress.step(0.0, "body")?;
    let body = Body::find(volume)?;
    let bone = Bone::find(&body, progress)?;
    let found = bone_found(&body, &bone, target);
    progress.step(0.9, "confidence")?;
    Ok(finished(&volume.grid, &body, &found))
}

/// Bone as one label.
pub(crate) fn bone_found<'a>(body: &'a Body, bone: &'a Bone, target: Target) -> Found<'a> {
    Found {
        target,
        labels: bone.mask.iter().map(|is_bone| u16::from(*is_bone)).collect(),
        names: vec![(1, "bone".into())],
        threshold: Box::new(|index| bone.levels.border(body.lattice.position(index))),
        contrast: bone.contrast.clone(),
        dense: bone.dense.clone(),
        notes: Vec::new(),
    }
}

/// Confidence, structures and doubtful regions, on the whole volume.
pub(crate) fn finished(grid: &VolumeGrid, body: &Body, found: &Found<'_>) -> Segmentation {
    let mask: Vec<bool> = found.labels.iter().map(|label| *label > 0).collect();
    let surroundings = Surroundings {
        hu: &body.hu,
        mask: &mask,
        lattice: &body.lattice,
        threshold: &*found.threshold,
        contrast: &found.contrast,
        dense: &found.dense,
        unseen: body.unseen.as_deref(),
    };
    let weights = Weights::fitted();
    let judged = surroundings
        .over_band(|index, features| (index, weights.percent(features), weights.against(features)));
    let mut confidence = vec![SURE_PERCENT; body.lattice.len()];
    let mut doubts = Vec::new();
    for (index, percent, against) in judged {
        confidence[index] = percent;
        if is_doubtful(percent) {
            let label = label_near(&found.labels, &body.lattice, index);
            doubts.push(Doubt { index: body.index_in_whole(index), label, against });
        }
    }
    let confidence = body.pasted(&confidence, SURE_PERCENT);
    let labels = body.pasted(&found.labels, 0);
    let structures = structures(grid, found, &labels, &confidence);
    let doubtful = doubtful_regions(grid, &confidence, &doubts);
    let shape = body.whole.shape;
    Segmentation {
        grid: *grid,
        labels: Array3::from_shape_vec(shape, labels).expect("a label for each voxel"),
        confidence: Array3::from_shape_vec(shape, confidence).expect("a confidence for each voxel"),
        structures,
        doubtful,
        notes: found.notes.clone(),
    }
}

/// The label of a voxel, or of a structure within the band's reach along an axis.
fn label_near(labels: &[u16], lattice: &Lattice, index: usize) -> u16 {
    let at = lattice.position(index);
    for step in 0..=isize::from(BAND_STEPS) {
        for axis in 0..3 {
            for sign in [-step, step] {
                let mut by = [0; 3];
                by[axis] = sign;
                match lattice.offset(at, by).map(|near| labels[near]) {
                    Some(label) if label > 0 => return label,
                    _ => {}
                }
            }
        }
    }
    0
}

/// Sums over the voxels of one label.
#[derive(Clone)]
struct Tally {
    count: usize,
    sum: Vector3<f64>,
    confidence: f64,
    bounds: [[usize; 2]; 3],
    is_truncated: bool,
}

fn structures(grid: &VolumeGrid, found: &Found<'_>, labels: &[u16], confidence: &[u8]) -> Vec<Structure> {
    let lattice = Lattice::of(grid);
    let highest = found.names.iter().map(|(label, _)| usize::from(*label)).max().unwrap_or(0);
    let empty = Tally {
        count: 0,
        sum: Vector3::zeros(),
        confidence: 0.0,
        bounds: [[usize::MAX, 0]; 3],
        is_truncated: false,
    };
    let mut tallies = vec![empty; highest + 1];
    for (index, label) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        let [z, y, x] = lattice.position(index);
        let tally = &mut tallies[usize::from(*label)];
        tally.count += 1;
        tally.sum += Vector3::new(x as f64, y as f64, z as f64);
        tally.confidence += f64::from(confidence[index]);
        tally.is_truncated |= lattice.is_on_face([z, y, x]);
        for (bound, at) in tally.bounds.iter_mut().zip([x, y, z]) {
            *bound = [bound[0].min(at), bound[1].max(at)];
        }
    }
    found
        .names
        .iter()
        .map(|(label, name)| (label, name, &tallies[usize::from(*label)]))
        .filter(|(_, _, tally)| tally.count > 0)
        .map(|(label, name, tally)| {
            let mean = tally.sum / tally.count as f64;
            Structure {
                label: *label,
                name: name.clone(),
                target: found.target,
                volume_ml: tally.count as f64 * lattice.voxel_mm3() / 1000.0,
                bounds: tally.bounds,
                centre: Point3::from(grid.point(mean.x, mean.y, mean.z).coords),
                mean_confidence: tally.confidence / tally.count as f64,
                is_truncated: tally.is_truncated,
            }
        })
        .collect()
}
