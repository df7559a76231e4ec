//! What lies around the canal, millimetre by millimetre along it.

use super::axis::Axis;
use crate::body::Body;
use crate::sampled::sampled;
use nalgebra::Vector3;
use rayon::prelude::*;

/// Vertebral bodies and discs are looked at from here to here in front of the canal's middle, and so far to either
/// side, mm; in steps of so much.
pub(super) const BODY_FRONT_MM: [f64; 2] = [12.0, 30.0];
const BODY_BESIDE_MM: f64 = 8.0;
pub(super) const BODY_STEP_MM: f64 = 2.0;
/// Rows of a profile from the canal to the front.
pub(super) const ROWS: usize = 10;
/// Grey values are held between these about soft tissue, HU: disc, spongy bone and endplate differ within.
const WINDOW_HU: [f32; 2] = [-100.0, 400.0];
/// Pedicles stand here beside the canal, foramina open between them: to the front and to the side, mm.
const PEDICLE_FRONT_MM: [f64; 2] = [0.0, 8.0];
const PEDICLE_BESIDE_MM: [f64; 2] = [10.0, 17.0];
/// The wings of the sacrum lie here, and nothing of bone beside a lumbar body, mm.
const WING_FRONT_MM: [f64; 2] = [2.0, 22.0];
const WING_BESIDE_MM: [f64; 2] = [30.0, 42.0];

/// Profiles along the canal, one value a place.
pub(super) struct Profiles {
    /// Grey values in front of the canal, row by row, HU above soft tissue.
    pub body: Vec<[f32; ROWS]>,
    /// Share of bone where pedicles are.
    pub pedicle: Vec<f32>,
    /// Share of bone where the wings of a sacrum would be, the lesser of both sides.
    pub wing: Vec<f32>,
}

impl Profiles {
    pub(super) fn along(axis: &Axis, body: &Body, bone: &[bool], soft_hu: f32) -> Self {
        let boxes = |place: usize, front: [f64; 2], beside: [f64; 2]| {
            bone_share(axis, body, bone, place, front, beside)
        };
        let all: Vec<([f32; ROWS], f32, f32)> = (0..axis.places.len())
            .into_par_iter()
            .map(|i| {
                let [left, right] = boxes(i, PEDICLE_FRONT_MM, PEDICLE_BESIDE_MM);
                let wings = boxes(i, WING_FRONT_MM, WING_BESIDE_MM);
                (rows(axis, body, soft_hu, i), 0.5 * (left + right), wings[0].min(wings[1]))
            })
            .collect();
        Self {
            body: all.iter().map(|(rows, ..)| *rows).collect(),
            pedicle: all.iter().map(|(_, pedicle, _)| *pedicle).collect(),
            wing: all.iter().map(|(.., wing)| *wing).collect(),
        }
    }
}

/// Numbers from `low` to `high` in steps near to `step`.
fn steps([low, high]: [f64; 2], step: f64) -> impl Iterator<Item = f64> + Clone {
    let count = ((high - low) / step).round().max(1.0) as usize;
    (0..=count).map(move |i| low + (high - low) * i as f64 / count as f64)
}

fn point(axis: &Axis, place: usize, front: f64, left: f64) -> Vector3<f64> {
    let place = &axis.places[place];
    place.centre + place.front * front + place.left * left
}

fn rows(axis: &Axis, body: &Body, soft_hu: f32, place: usize) -> [f32; ROWS] {
    std::array::from_fn(|row| {
        let front = BODY_FRONT_MM[0] + BODY_STEP_MM * row as f64;
        let (mut sum, mut count) = (0.0, 0.0_f32);
        for left in steps([-BODY_BESIDE_MM, BODY_BESIDE_MM], 2.0) {
            if let Some(hu) = sampled(body, point(axis, place, front, left)) {
                sum += (hu - soft_hu).clamp(WINDOW_HU[0], WINDOW_HU[1]);
                count += 1.0;
            }
        }
        if count > 0.0 { sum / count } else { WINDOW_HU[0] }
    })
}

/// Share of bone in a box to the left of the canal and in its mirror image to the right.
fn bone_share(
    axis: &Axis,
    body: &Body,
    bone: &[bool],
    place: usize,
    front: [f64; 2],
    beside: [f64; 2],
) -> [f32; 2] {
    [1.0, -1.0].map(|side| {
        let (mut set, mut count) = (0.0, 0.0_f32);
        for front in steps(front, 2.0) {
            for left in steps(beside, 2.0) {
                count += 1.0;
                let at = point(axis, place, front, side * left);
                if body.lattice.voxel_at(at.into()).is_some_and(|index| bone[index]) {
                    set += 1.0;
                }
            }
        }
        set / count
    })
}
