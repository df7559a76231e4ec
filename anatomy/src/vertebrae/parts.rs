//! Which voxel of bone belongs to which vertebra.

use super::axis::Axis;
use super::discs::Disc;
use super::profile::BODY_FRONT_MM;
use crate::body::Body;
use crate::bone::Bone;
use crate::nearest::shared;
use rayon::prelude::*;

/// A spine lies within these distances of the canal's middle to the front, and to either side, mm.
const FRONT_MM: [f64; 2] = [-75.0, 60.0];
const BESIDE_MM: f64 = 56.0;
/// In front of this, discs part the vertebrae; behind, each goes with the pedicles it hangs on, mm.
const BODIES_MM: f64 = 4.0;
/// Bodies and transverse processes reach so far to the side, where there are ribs and where there are none, mm.
const RIBBED_MM: [f64; 2] = [21.0, 36.0];
const PLAIN_MM: [f64; 2] = [32.0, 50.0];
/// Bodies reach so far to the front, mm.
const BODY_DEPTH_MM: f64 = 48.0;
/// Nearer to the plane of a disc, mm, bone belongs to the nearest.
const DISC_MM: f64 = 2.5;
/// Where no other vertebra's parts are, as far as the label maps of the chest CT LIDC-IDRI-0001 and of an abdomen show.
const OWN: [Own; 2] = [
    // Pedicles.
    Own { share: [0.55, 0.9], front_mm: [-3.0, BODIES_MM], beside_mm: [8.0, 17.0] },
    // Laminae, before they slope down over the next ones.
    Own { share: [0.2, 0.5], front_mm: [-17.0, -9.0], beside_mm: [0.0, 10.0] },
];
/// A way through bone as dark as soft tissue is so much longer than through bone brighter than this, HU: joints are dark.
const DARK_TOLL: f32 = 6.0;
const BRIGHT_HU: f32 = 600.0;

/// A voxel of bone near the spine, with its place along the canal and its distances to the front and the left, mm.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpineVoxel {
    pub index: usize,
    pub place: f64,
    pub front: f64,
    pub left: f64,
}

/// A place behind the bodies: the share of the way from the lower disc to the upper one, and distances from the canal's
/// middle to the front and to either side, mm.
struct Own {
    share: [f64; 2],
    front_mm: [f64; 2],
    beside_mm: [f64; 2],
}

impl Own {
    fn holds(&self, bounds: &[Disc], number: usize, voxel: &SpineVoxel) -> bool {
        let [low, high] = [bounds[number].place as f64, bounds[number + 1].place as f64];
        let is_within = |value: f64, [low, high]: [f64; 2]| (low..high).contains(&value);
        is_within((voxel.place - low) / (high - low), self.share)
            && is_within(voxel.front, self.front_mm)
            && is_within(voxel.left.abs(), self.beside_mm)
    }
}

/// The bone near the spine.
pub(super) fn near(axis: &Axis, body: &Body, bone: &Bone) -> Vec<SpineVoxel> {
    (0..body.lattice.len())
        .into_par_iter()
        .with_min_len(4096)
        .filter(|index| bone.mask[*index])
        .filter_map(|index| {
            let [place, front, left] = axis.coordinates(body.lattice.position(index))?;
            let is_near = front > FRONT_MM[0] && front < FRONT_MM[1] && left.abs() < BESIDE_MM;
            (is_near && axis.holds(place)).then_some(SpineVoxel { index, place, front, left })
        })
        .collect()
}

/// Labels of the lattice: one more than the number of the vertebra between two discs, from the feet to the head.
///
/// `is_ribbed` tells of each vertebra whether ribs hang on it.
pub(super) fn separated(body: &Body, voxels: &[SpineVoxel], bounds: &[Disc], is_ribbed: &[bool]) -> Vec<u16> {
    let mut labels = vec![0_u16; body.lattice.len()];
    let mut basin = vec![false; body.lattice.len()];
    for voxel in voxels {
        let Some((number, away)) = between(bounds, voxel) else { continue };
        let [body_mm, process_mm] = if is_ribbed[number] { RIBBED_MM } else { PLAIN_MM };
        let is_body = voxel.front > BODIES_MM;
        let reach = if is_body { body_mm } else { process_mm };
        if voxel.left.abs() > reach || voxel.front > BODY_DEPTH_MM {
            continue;
        }
        basin[voxel.index] = true;
        if (is_body && away > DISC_MM) || OWN.iter().any(|own| own.holds(bounds, number, voxel)) {
            labels[voxel.index] = number as u16 + 1;
        }
    }
    let toll = |i: usize| 1.0 + (DARK_TOLL - 1.0) * (1.0 - body.hu[i] / BRIGHT_HU).clamp(0.0, 1.0);
    shared(toll, &basin, &body.lattice, &mut labels);
    labels
}

/// The vertebra whose discs a voxel lies between, and how far from the nearer one, mm.
fn between(bounds: &[Disc], voxel: &SpineVoxel) -> Option<(usize, f64)> {
    let middle = 0.5 * (BODY_FRONT_MM[0] + BODY_FRONT_MM[1]);
    // Behind the bodies a disc's slope says nothing.
    let front = voxel.front.clamp(0.0, BODY_DEPTH_MM) - middle;
    let above = |disc: &Disc| voxel.place - disc.place as f64 - disc.slope * front;
    let number = bounds.iter().rposition(|disc| above(disc) >= 0.0)?;
    let next = bounds.get(number + 1)?;
    Some((number, above(&bounds[number]).min(-above(next))))
}
