//! How far a volume is from the truth, tissue by tissue.

use carm::{Volume, mask};
use serde::Serialize;

/// Voxels this far inside their class are counted.
const INSIDE_VOXELS: i64 = 2;

/// Labels of the demo's CT, as `tests/data/README.md` gives them.
const CLASSES: [(u8, &str); 4] = [(1, "lung"), (2, "soft tissue"), (3, "contrast-filled blood"), (4, "bone")];

/// Error of one class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassError {
    /// The tissue.
    pub class: &'static str,
    /// Voxels counted.
    pub voxels: usize,
    /// Mean of volume minus truth, HU.
    pub mean_hu: f64,
    /// Standard deviation of volume minus truth, HU.
    pub sd_hu: f64,
    /// Mean of the truth, HU.
    pub truth_hu: f64,
}

/// Compares volume and truth (both HU on one grid) two voxels inside each class of `labels`, in the field of view.
pub fn class_errors(volume: &Volume, truth: &Volume, labels: &Volume) -> Vec<ClassError> {
    let on_grid = labels_on_grid(volume, labels);
    let (nz, ny, nx) = volume.values.dim();
    let field = volume.mask.as_ref();
    let mut sums = vec![(0_usize, 0.0_f64, 0.0_f64, 0.0_f64); CLASSES.len()];
    let inside = INSIDE_VOXELS as usize;
    for z in inside..nz.saturating_sub(inside) {
        for y in inside..ny.saturating_sub(inside) {
            for x in inside..nx.saturating_sub(inside) {
                let label = on_grid[[z, y, x]];
                let Some(class) = CLASSES.iter().position(|(known, _)| *known == label) else { continue };
                let is_seen = field.is_none_or(|bits| bits[[z, y, x]] & mask::FIELD_OF_VIEW != 0);
                if !is_seen || !is_inside(&on_grid, [z, y, x], label) {
                    continue;
                }
                let expected = f64::from(truth.values[[z, y, x]]);
                let error = f64::from(volume.values[[z, y, x]]) - expected;
                let sum = &mut sums[class];
                *sum = (sum.0 + 1, sum.1 + error, sum.2 + error * error, sum.3 + expected);
            }
        }
    }
    CLASSES
        .iter()
        .zip(sums)
        .filter(|(_, sum)| sum.0 > 0)
        .map(|((_, class), (voxels, error, squares, expected))| {
            let count = voxels as f64;
            let mean_hu = error / count;
            let sd_hu = (squares / count - mean_hu * mean_hu).max(0.0).sqrt();
            ClassError { class, voxels, mean_hu, sd_hu, truth_hu: expected / count }
        })
        .collect()
}

fn labels_on_grid(volume: &Volume, labels: &Volume) -> ndarray::Array3<u8> {
    let [nx, ny, nz] = labels.grid.shape;
    ndarray::Array3::from_shape_fn(volume.values.dim(), |(z, y, x)| {
        let [i, j, k] = labels.grid.voxel(&volume.grid.point(x as f64, y as f64, z as f64)).map(f64::round);
        let is_on = |index: f64, count: usize| index >= 0.0 && index < count as f64;
        if is_on(i, nx) && is_on(j, ny) && is_on(k, nz) {
            labels.values[[k as usize, j as usize, i as usize]] as u8
        } else {
            0
        }
    })
}

/// Whether the whole neighbourhood has the same label.
fn is_inside(labels: &ndarray::Array3<u8>, at: [usize; 3], label: u8) -> bool {
    let range = -INSIDE_VOXELS..=INSIDE_VOXELS;
    range.clone().all(|dz| {
        range.clone().all(|dy| {
            range.clone().all(|dx| {
                let shifted = |index: usize, by: i64| (index as i64 + by) as usize;
                labels[[shifted(at[0], dz), shifted(at[1], dy), shifted(at[2], dx)]] == label
            })
        })
    })
}
