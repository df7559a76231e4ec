//! The skin: everything of the patient, to the voxel.

use crate::body::Body;
use crate::components::{components, holes_of_slice};
use crate::error::AnatomyError;
use crate::segment::Found;
use crate::segmentation::Target;

/// Half-way from air to skin, HU.
const SKIN_HU: f32 = -500.0;

/// Everything inside the skin, lungs and bowel gas included.
pub(crate) fn find(body: &Body) -> Result<Found<'_>, AnatomyError> {
    let lattice = &body.lattice;
    let dense: Vec<bool> =
        body.inside.iter().zip(&body.hu).map(|(inside, hu)| *inside && *hu > SKIN_HU).collect();
    let pieces = components(&dense, lattice);
    let Some(largest) = pieces.iter().max_by_key(|piece| piece.voxels.len()) else {
        return Err(AnatomyError::TargetAbsent {
            target: "skin",
            reason: format!("expected a body above {SKIN_HU} HU, found none"),
        });
    };
    let mut labels = vec![0_u16; lattice.len()];
    largest.voxels.iter().for_each(|index| labels[*index] = 1);
    let [nz, ny, nx] = lattice.shape;
    for z in 0..nz {
        let start = z * lattice.slice_len();
        for (y, x) in holes_of_slice(ny, nx, |y, x| labels[start + y * nx + x] > 0).into_iter().flatten() {
            labels[start + y * nx + x] = 1;
        }
    }
    Ok(Found {
        target: Target::Skin,
        labels,
        names: vec![(1, "body".into())],
        threshold: Box::new(|_| SKIN_HU),
        dense: vec![false; lattice.len()],
        drawn: Vec::new(),
        notes: Vec::new(),
    })
}
