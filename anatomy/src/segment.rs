//! From a volume to a segmentation: the body, the target, then confidence, structures and places to look at.

use crate::body::Body;
use crate::bone::Bone;
use crate::components::piece_at;
use crate::confidence::{BAND_STEPS, Features, SURE_PERCENT, Surroundings, Weights};
use crate::dense;
use crate::error::AnatomyError;
use crate::lattice::Lattice;
use crate::orient::Orientation;
use crate::progress::Progress;
use crate::review::{Doubt, doubtful_regions, is_doubtful};
use crate::scribble::{self, Scribble};
use crate::segmentation::{Segmentation, Structure, Target};
use crate::{skin, vertebrae, vessel};
use carm::{Volume, VolumeGrid};
use nalgebra::{Point3, Vector3};
use ndarray::Array3;

/// Soft tissue where no bone was looked for, HU.
const SOFT_HU: f32 = 40.0;
/// A seed lies on the target, or this near to it, mm.
const SEED_REACH_MM: f64 = 3.0;

/// What else can be said about a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Points, mm in the volume's space: in the vessels to be found, or on the pieces of any other target that are to
    /// be kept. Without any, the aorta is sought, and every piece is kept.
    pub seeds: Vec<Point3<f64>>,
    /// Strokes that correct what was found.
    pub scribbles: Vec<Scribble>,
}

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
    /// Metal and undiluted contrast medium.
    pub dense: Vec<bool>,
    /// Voxels that somebody drew on: they are right.
    pub drawn: Vec<usize>,
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
    options: &Options,
    progress: &Progress<'_>,
) -> Result<Segmentation, AnatomyError> {
    progress.step(0.0, "body")?;
    let orientation = Orientation::of(&volume.grid);
    let lps = orientation.applied(volume);
    let grid = lps.grid;
    let body = Body::find(lps)?;
    let mut found = searched(&grid, &body, target, options, progress)?;
    found.grid = volume.grid;
    found.labels = orientation.back(&found.labels);
    found.confidence = orientation.back(&found.confidence);
    for structure in &mut found.structures {
        structure.bounds = orientation.bounds_back(structure.bounds);
    }
    Ok(found)
}

/// The search on a grid whose axes are those of the patient.
fn searched(
    lps: &VolumeGrid,
    body: &Body,
    target: Target,
    options: &Options,
    progress: &Progress<'_>,
) -> Result<Segmentation, AnatomyError> {
    with_found(lps, body, target, options, progress, |found| finished(lps, body, found))
}

/// Searches, and hands what was found to `then`.
fn with_found<T>(
    lps: &VolumeGrid,
    body: &Body,
    target: Target,
    options: &Options,
    progress: &Progress<'_>,
    then: impl FnOnce(&Found<'_>) -> T,
) -> Result<T, AnatomyError> {
    let mut bone = match target {
        Target::Metal | Target::Skin => None,
        _ => Some(Bone::find(body, progress)?),
    };
    let soft_hu = bone.as_ref().map_or(SOFT_HU, |bone| bone.levels.soft_hu);
    let mut found = match (target, &mut bone) {
        (Target::Metal, _) => dense::metal(body)?,
        (Target::Vessel, Some(bone)) => vessel::find(body, bone, &seeds(lps, body, options)?, progress)?,
        (Target::Calcification, Some(bone)) => dense::calcification(body, bone)?,
        (Target::Bone, Some(bone)) => bone_found(bone),
        (Target::Vertebrae, Some(bone)) => vertebrae::find(body, bone, progress)?,
        _ => skin::find(body)?,
    };
    if target != Target::Vessel {
        keep_seeded(lps, body, options, &mut found.labels)?;
    }
    scribbled(lps, body, soft_hu, &mut found, &options.scribbles)?;
    progress.step(0.9, "confidence")?;
    Ok(then(&found))
}

/// Applies strokes and tells what they changed.
fn scribbled(
    lps: &VolumeGrid,
    body: &Body,
    soft_hu: f32,
    found: &mut Found<'_>,
    scribbles: &[Scribble],
) -> Result<(), AnatomyError> {
    if scribbles.is_empty() {
        return Ok(());
    }
    let corrected = scribble::correct(body, lps, found.target, soft_hu, &mut found.labels, scribbles)?;
    let [given, taken] = corrected.changed.map(|n| n as f64 * body.lattice.voxel_mm3() / 1000.0);
    found.notes.push(format!("scribbles gave {given:.2} ml to the target and took {taken:.2} ml from it"));
    found.drawn = corrected.drawn;
    Ok(())
}

/// A voxel near the border of a target, with what speaks for and against its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandVoxel {
    /// Where it is, mm in the volume's space.
    pub position: Point3<f64>,
    /// Whether it was given to the target.
    pub is_inside: bool,
    /// What its confidence is made of.
    pub features: Features,
}

/// Segments, and tells of each voxel within [`BAND_STEPS`] of the border what its confidence is made of: what
/// [`crate::confidence::fit`] needs.
///
/// # Errors
/// As [`segment`].
pub fn band(
    volume: &Volume,
    target: Target,
    options: &Options,
    progress: &Progress<'_>,
) -> Result<Vec<BandVoxel>, AnatomyError> {
    let lps = Orientation::of(&volume.grid).applied(volume);
    let grid = lps.grid;
    let body = Body::find(lps)?;
    with_found(&grid, &body, target, options, progress, |found| {
        let mask: Vec<bool> = found.labels.iter().map(|label| *label > 0).collect();
        let mut band = Vec::new();
        surroundings(&body, found, &mask).over_band(
            |index, features| {
                let [z, y, x] = body.whole.position(body.index_in_whole(index));
                let position = grid.point(x as f64, y as f64, z as f64);
                BandVoxel { position, is_inside: mask[index], features: *features }
            },
            |voxel| band.push(voxel),
        );
        band
    })
}

/// The voxels of the seeds.
fn seeds(lps: &VolumeGrid, body: &Body, options: &Options) -> Result<Vec<usize>, AnatomyError> {
    options.seeds.iter().map(|seed| body.index_of_point(lps, seed)).collect()
}

/// Keeps the pieces that the seeds lie on; without any, all of them.
fn keep_seeded(
    lps: &VolumeGrid,
    body: &Body,
    options: &Options,
    labels: &mut [u16],
) -> Result<(), AnatomyError> {
    if options.seeds.is_empty() {
        return Ok(());
    }
    let mask: Vec<bool> = labels.iter().map(|label| *label > 0).collect();
    let mut stays = vec![false; labels.len()];
    for (seed, index) in options.seeds.iter().zip(seeds(lps, body, options)?) {
        let on = nearest_set(&mask, &body.lattice, index).ok_or_else(|| AnatomyError::Seed {
            x: seed.x,
            y: seed.y,
            z: seed.z,
            reason: format!("expected the target within {SEED_REACH_MM} mm, found none"),
        })?;
        if !stays[on] {
            piece_at(&mask, &body.lattice, on).into_iter().for_each(|voxel| stays[voxel] = true);
        }
    }
    labels.iter_mut().zip(stays).for_each(|(label, stays)| *label *= u16::from(stays));
    Ok(())
}

/// The voxel of a mask nearest to a place within [`SEED_REACH_MM`]; the first of equals.
fn nearest_set(mask: &[bool], lattice: &Lattice, index: usize) -> Option<usize> {
    let at = lattice.position(index);
    let reach = lattice.spacing_mm.map(|spacing| (SEED_REACH_MM / spacing) as isize);
    let mut best: Option<(f64, usize)> = None;
    for dz in -reach[0]..=reach[0] {
        for dy in -reach[1]..=reach[1] {
            for dx in -reach[2]..=reach[2] {
                let Some(near) = lattice.offset(at, [dz, dy, dx]).filter(|near| mask[*near]) else {
                    continue;
                };
                let away: f64 =
                    [dz, dy, dx].iter().zip(lattice.spacing_mm).map(|(d, s)| (*d as f64 * s).powi(2)).sum();
                if away <= SEED_REACH_MM * SEED_REACH_MM && best.is_none_or(|(least, _)| away < least) {
                    best = Some((away, near));
                }
            }
        }
    }
    best.map(|(_, near)| near)
}

/// Bone as one label, which takes its mask's place.
fn bone_found(bone: &mut Bone) -> Found<'_> {
    let (mask, dense) = (std::mem::take(&mut bone.mask), std::mem::take(&mut bone.dense));
    Found {
        target: Target::Bone,
        labels: mask.into_iter().map(u16::from).collect(),
        names: vec![(1, "bone".into())],
        threshold: Box::new(|index| bone.border[index]),
        dense,
        drawn: Vec::new(),
        notes: Vec::new(),
    }
}

/// What the confidence of a target is taken from.
fn surroundings<'a>(body: &'a Body, found: &'a Found<'a>, mask: &'a [bool]) -> Surroundings<'a> {
    Surroundings {
        hu: &body.hu,
        mask,
        lattice: &body.lattice,
        threshold: &*found.threshold,
        dense: &found.dense,
        unseen: body.unseen.as_deref(),
    }
}

/// Confidence, structures and doubtful regions, on the whole volume.
fn finished(grid: &VolumeGrid, body: &Body, found: &Found<'_>) -> Segmentation {
    let mask: Vec<bool> = found.labels.iter().map(|label| *label > 0).collect();
    let weights = Weights::fitted();
    let mut confidence = vec![SURE_PERCENT; body.lattice.len()];
    let mut doubts = Vec::new();
    surroundings(body, found, &mask).over_band(
        |index, features| {
            let percent = weights.percent(features);
            let is_doubtful = is_doubtful(percent) && found.drawn.binary_search(&index).is_err();
            let doubt = is_doubtful.then(|| Doubt {
                index: body.index_in_whole(index),
                label: label_near(&found.labels, &body.lattice, index),
                against: weights.against(features).map(|(_, strength)| strength),
            });
            (index, percent, doubt)
        },
        |(index, percent, doubt)| {
            confidence[index] = percent;
            doubts.extend(doubt);
        },
    );
    drop(mask);
    found.drawn.iter().for_each(|index| confidence[*index] = SURE_PERCENT);
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
