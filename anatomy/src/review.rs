//! The places worth a look: connected regions of low confidence, worst first.

use crate::components::components;
use crate::lattice::Lattice;
use crate::segmentation::{DoubtfulRegion, Evidence, Segmentation};
use carm::VolumeGrid;
use nalgebra::Point3;
use std::collections::BTreeMap;

/// A connected region is told in parts no larger than this, mm, so that each has a place to look at.
const PART_MM: f64 = 25.0;
/// Smaller parts are the ordinary uncertainty of a border, ml.
const PART_MIN_ML: f64 = 0.05;
/// Most regions that are listed.
const LISTED_MAX: usize = 100;

/// A voxel that is in doubt.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    /// Place in the whole volume's flat array.
    pub index: usize,
    /// The label that is in doubt there.
    pub label: u16,
    /// How strongly each kind of evidence speaks against it, in the order of [`Evidence::ALL`].
    pub against: [f64; Evidence::ALL.len()],
}

/// Lists the regions of low confidence, those with most expected wrong first.
pub fn doubtful_regions(grid: &VolumeGrid, confidence: &[u8], doubts: &[Doubt]) -> Vec<DoubtfulRegion> {
    let lattice = Lattice::of(grid);
    let mut mask = vec![false; lattice.len()];
    doubts.iter().for_each(|doubt| mask[doubt.index] = true);
    let by_index: BTreeMap<usize, &Doubt> = doubts.iter().map(|doubt| (doubt.index, doubt)).collect();
    let mut regions = Vec::new();
    for component in components(&mask, &lattice) {
        for part in parts(&component.voxels, &lattice) {
            if part.len() as f64 * lattice.voxel_mm3() >= PART_MIN_ML * 1000.0 {
                regions.push(region(grid, &lattice, confidence, &by_index, &part));
            }
        }
    }
    regions.sort_by(|a, b| b.expected_wrong_ml.total_cmp(&a.expected_wrong_ml));
    regions.truncate(LISTED_MAX);
    regions
}

/// A region cut along a coarse raster.
fn parts(voxels: &[usize], lattice: &Lattice) -> Vec<Vec<usize>> {
    let mut cells: BTreeMap<[usize; 3], Vec<usize>> = BTreeMap::new();
    for &index in voxels {
        let at = lattice.position(index);
        let cell = std::array::from_fn(|a| (at[a] as f64 * lattice.spacing_mm[a] / PART_MM) as usize);
        cells.entry(cell).or_default().push(index);
    }
    cells.into_values().collect()
}

fn region(
    grid: &VolumeGrid,
    lattice: &Lattice,
    confidence: &[u8],
    doubts: &BTreeMap<usize, &Doubt>,
    part: &[usize],
) -> DoubtfulRegion {
    let count = part.len() as f64;
    let voxel_ml = lattice.voxel_mm3() / 1000.0;
    let place = |index: usize| {
        let [z, y, x] = lattice.position(index);
        grid.point(x as f64, y as f64, z as f64)
    };
    let centre = part.iter().map(|i| place(*i).coords).sum::<nalgebra::Vector3<f64>>() / count;
    let position = part
        .iter()
        .map(|i| place(*i))
        .min_by(|a, b| (a.coords - centre).norm().total_cmp(&(b.coords - centre).norm()))
        .unwrap_or_else(Point3::origin);
    let mut against: BTreeMap<Evidence, f64> = BTreeMap::new();
    let mut labels: BTreeMap<u16, usize> = BTreeMap::new();
    for index in part {
        let doubt = doubts[index];
        *labels.entry(doubt.label).or_default() += 1;
        for (kind, strength) in Evidence::ALL.into_iter().zip(doubt.against) {
            *against.entry(kind).or_default() += strength;
        }
    }
    let sum: f64 = against.values().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut evidence: Vec<(Evidence, f64)> = against
        .into_iter()
        .map(|(kind, strength)| (kind, strength / sum))
        .filter(|(_, s)| *s > 0.0)
        .collect();
    evidence.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mean_confidence = part.iter().map(|i| f64::from(confidence[*i])).sum::<f64>() / count;
    DoubtfulRegion {
        label: labels.into_iter().max_by_key(|(_, n)| *n).map_or(0, |(label, _)| label),
        position,
        volume_ml: count * voxel_ml,
        mean_confidence,
        expected_wrong_ml: count * voxel_ml * (1.0 - mean_confidence / 100.0),
        evidence,
    }
}

/// Whether a confidence is listed.
pub fn is_doubtful(percent: u8) -> bool {
    percent < Segmentation::REVIEW_PERCENT
}
