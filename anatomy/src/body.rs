//! The body in its volume: what is patient and what is air, table or beyond the field of view.

use crate::components::{bounding_box, components, holes_of_slice, mask_of};
use crate::error::AnatomyError;
use crate::filter::{shrink_factor, shrunk};
use crate::lattice::Lattice;
use crate::morphology::{dilated, eroded, opened};
use carm::{Quantity, Volume, VolumeGrid, mask};
use nalgebra::Point3;
use ndarray::Array3;
use rayon::prelude::*;

/// Denser than this is inside the body: between lung and fat, HU.
const BODY_HU: f32 = -300.0;
/// Air. What is less dense, such as padding outside a scanner's circle, is taken as air.
const AIR_HU: f32 = -1000.0;
/// The body is found on voxels of about this size, mm.
const COARSE_MM: f64 = 3.0;
/// Nothing is sought this near to the border of the field of view: there filtered back-projection rings, and rows that
/// were continued weigh most, mm.
const RIM_MM: f64 = 6.0;
/// A ball of this radius fits into every part of a body, but not into a table's shell, mm.
const OPENING_MM: f64 = 5.0;
/// The skin lies within this distance of what the opening left, mm.
const SKIN_MM: f64 = 4.0;
/// Pieces smaller than this share of the largest are not the body (cushions, cables).
const PIECE_SHARE_MIN: f64 = 0.05;
/// Fewest voxels along each axis that have an inside.
const SIDE_MIN: usize = 4;
/// Least body that anything can be found in, ml.
const BODY_MIN_ML: f64 = 1.0;

/// The grey values of a body, cut out of their volume.
pub struct Body {
    /// HU, z first; air outside the field of view.
    pub hu: Vec<f32>,
    /// Inside the body, lungs and bowel gas included.
    pub inside: Vec<bool>,
    /// Sizes and spacing of the part that was cut out.
    pub lattice: Lattice,
    /// Where the part begins in the volume, `z, y, x`.
    pub start: [usize; 3],
    /// Of the whole volume.
    pub whole: Lattice,
    /// Where the volume has no data although it is inside the body's outline, or none when all is seen.
    pub unseen: Option<Vec<bool>>,
}

impl Body {
    /// Finds the body and cuts it out.
    ///
    /// # Errors
    /// [`AnatomyError`] when the numbers are not Hounsfield units, or nothing is denser than lung.
    pub fn find(volume: Volume) -> Result<Self, AnatomyError> {
        check(&volume)?;
        let whole = Lattice::of(&volume.grid);
        let seen = seen(&volume, &whole);
        let hu = cleaned(volume.values, seen.as_deref());
        let (coarse_hu, coarse) = shrunk(&hu, &whole, shrink_factor(&whole, COARSE_MM));
        let coarse_body = outline(&coarse_hu, &coarse)?;
        let factor = shrink_factor(&whole, COARSE_MM);
        let bounds = bounding_box(&coarse_body, &coarse).expect("an outline is not empty");
        let start: [usize; 3] = std::array::from_fn(|a| bounds[a][0] * factor[a]);
        let end: [usize; 3] = std::array::from_fn(|a| ((bounds[a][1] + 1) * factor[a]).min(whole.shape[a]));
        let lattice =
            Lattice { shape: std::array::from_fn(|a| end[a] - start[a]), spacing_mm: whole.spacing_mm };
        let inside = (0..lattice.len())
            .into_par_iter()
            .with_min_len(4096)
            .map(|index| {
                let at = lattice.position(index);
                coarse_body[coarse.index(std::array::from_fn(|a| (at[a] + start[a]) / factor[a]))]
            })
            .collect();
        let mut body = Self { hu: Vec::new(), inside, lattice, start, whole, unseen: None };
        body.unseen = seen.map(|seen| body.cut(&seen).into_iter().map(|seen| !seen).collect());
        body.hu = body.cut(&hu);
        Ok(body)
    }

    /// The part of an array on the whole volume that belongs to the body.
    pub fn cut<T: Copy>(&self, whole: &[T]) -> Vec<T> {
        let [nz, ny, nx] = self.lattice.shape;
        let mut part = Vec::with_capacity(self.lattice.len());
        for z in 0..nz {
            for y in 0..ny {
                let row = self.whole.index([z + self.start[0], y + self.start[1], self.start[2]]);
                part.extend_from_slice(&whole[row..row + nx]);
            }
        }
        part
    }

    /// Puts a part back into its place; the rest is `elsewhere`.
    pub fn pasted<T: Copy>(&self, part: &[T], elsewhere: T) -> Vec<T> {
        let [_, ny, nx] = self.lattice.shape;
        let mut whole = vec![elsewhere; self.whole.len()];
        for (row, line) in part.chunks(nx).enumerate() {
            let (z, y) = (row / ny, row % ny);
            let to = self.whole.index([z + self.start[0], y + self.start[1], self.start[2]]);
            whole[to..to + nx].copy_from_slice(line);
        }
        whole
    }

    /// Index in the whole volume of a voxel of the part.
    pub fn index_in_whole(&self, index: usize) -> usize {
        let at = self.lattice.position(index);
        self.whole.index(std::array::from_fn(|a| at[a] + self.start[a]))
    }

    /// Index in the part of the voxel at a point, mm in the space of the grid that the body was found on.
    ///
    /// # Errors
    /// [`AnatomyError::Seed`] for a point outside the part.
    pub fn index_of_point(&self, lps: &VolumeGrid, point: &Point3<f64>) -> Result<usize, AnatomyError> {
        self.index_of_voxel(lps.voxel(point)).ok_or_else(|| AnatomyError::Seed {
            x: point.x,
            y: point.y,
            z: point.z,
            reason: "expected a point inside the body, found one outside".into(),
        })
    }

    /// Index in the part of a voxel `x, y, z` of the volume, where it is in the part.
    fn index_of_voxel(&self, [x, y, z]: [f64; 3]) -> Option<usize> {
        let mut at = [0; 3];
        for (axis, place) in [z, y, x].into_iter().enumerate() {
            let local = place.round() - self.start[axis] as f64;
            if !(local >= 0.0 && local < self.lattice.shape[axis] as f64) {
                return None;
            }
            at[axis] = local as usize;
        }
        Some(self.lattice.index(at))
    }
}

fn check(volume: &Volume) -> Result<(), AnatomyError> {
    match volume.quantity {
        Quantity::Hu { .. } | Quantity::Unknown => {}
        Quantity::MuPerMm => {
            return Err(AnatomyError::NotHounsfield { found: "attenuation in 1/mm".into() });
        }
    }
    if volume.grid.shape.iter().any(|n| *n < SIDE_MIN) {
        return Err(AnatomyError::TooSmall { expected: SIDE_MIN, found: volume.grid.shape });
    }
    if let Some(seen) = &volume.mask
        && seen.shape() != volume.values.shape()
    {
        return Err(AnatomyError::ShapeMismatch {
            what: "mask",
            expected: Lattice::of(&volume.grid).shape,
            found: [seen.shape()[0], seen.shape()[1], seen.shape()[2]],
        });
    }
    Ok(())
}

/// The field of view without its rim, in flat order; none where the volume does not tell.
fn seen(volume: &Volume, lattice: &Lattice) -> Option<Vec<bool>> {
    let mask = volume.mask.as_ref()?;
    let seen: Vec<bool> = mask.iter().map(|bits| bits & mask::FIELD_OF_VIEW != 0).collect();
    Some(eroded(&seen, lattice, RIM_MM))
}

/// HU in flat order; what is no number, padding, or not seen becomes air.
fn cleaned(values: Array3<f32>, seen: Option<&[bool]>) -> Vec<f32> {
    assert!(values.is_standard_layout(), "reordered volumes lie z first");
    let (mut hu, _) = values.into_raw_vec_and_offset();
    hu.par_iter_mut().for_each(|hu| *hu = if hu.is_finite() { hu.max(AIR_HU) } else { AIR_HU });
    for (hu, seen) in hu.iter_mut().zip(seen.unwrap_or_default()) {
        if !seen {
            *hu = AIR_HU;
        }
    }
    hu
}

/// The body's outline on coarse voxels.
fn outline(hu: &[f32], lattice: &Lattice) -> Result<Vec<bool>, AnatomyError> {
    let dense: Vec<bool> = hu.iter().map(|hu| *hu > BODY_HU).collect();
    let core = opened(&dense, lattice, OPENING_MM);
    let pieces = components(&core, lattice);
    let largest = pieces.iter().map(|piece| piece.voxels.len()).max().unwrap_or(0);
    let found_ml = largest as f64 * lattice.voxel_mm3() / 1000.0;
    if found_ml < BODY_MIN_ML {
        return Err(AnatomyError::NoBody { threshold_hu: BODY_HU, expected_ml: BODY_MIN_ML, found_ml });
    }
    let kept = pieces.iter().filter(|piece| piece.voxels.len() as f64 >= PIECE_SHARE_MIN * largest as f64);
    let mut body = dilated(&mask_of(kept, lattice), lattice, SKIN_MM);
    let [nz, ny, nx] = lattice.shape;
    for z in 0..nz {
        let slice = z * lattice.slice_len();
        for hole in holes_of_slice(ny, nx, |y, x| body[slice + y * nx + x]) {
            for (y, x) in hole {
                body[slice + y * nx + x] = true;
            }
        }
    }
    Ok(body)
}
