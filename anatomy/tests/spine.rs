//! A drawn spine whose vertebrae are known: parted at its discs, named by its ribs, not named without them.

use anatomy::{Options, Progress, Segmentation, Target, segment};
use carm::{Quantity, Volume, VolumeGrid};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;

const SHAPE: [usize; 3] = [136, 90, 96];
const SPACING_MM: [f64; 3] = [1.2, 1.2, 2.0];
/// From disc to disc, and a disc's height, mm.
const LEVEL_MM: f64 = 30.0;
const DISC_MM: f64 = 6.0;
/// As bright as poor spongy bone.
const DISC_HU: f32 = 150.0;
/// Middle of the lowest disc above the lowest slice, mm.
const FIRST_MM: f64 = 20.0;

fn noise(index: usize) -> f32 {
    let mut state = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5bd1_e995;
    state = (state ^ (state >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((state >> 40 & 0xffff) as f32 / 65535.0 - 0.5) * 40.0
}

/// Number of the vertebra at a height, counted from the cut one at the feet, and mm from its lower disc's middle.
fn level(up: f64) -> (usize, f64) {
    let above = up - FIRST_MM + LEVEL_MM;
    ((above / LEVEL_MM) as usize, above.rem_euclid(LEVEL_MM))
}

/// HU at a place: mm to the left of and behind the middle of the trunk, and up from the lowest slice.
fn hu_at([left, back, up]: [f64; 3], lowest_rib: usize) -> f32 {
    let (number, above) = level(up);
    let body = left.hypot(back - 5.0);
    let ring = left.hypot(back - 27.0);
    let is_disc = !(DISC_MM / 2.0..=LEVEL_MM - DISC_MM / 2.0).contains(&above);
    let is_plate = !(DISC_MM / 2.0 + 2.0..=LEVEL_MM - DISC_MM / 2.0 - 2.0).contains(&above);
    let is_pedicle = (8.0..24.0).contains(&above);
    let rib = (back - 22.0 + 0.1 * left.abs()).hypot(above - 19.0);
    if (left / 76.0).hypot(back / 50.0) > 1.0 {
        -1000.0
    } else if body < 17.0 {
        if is_disc {
            DISC_HU
        } else if is_plate || body > 15.0 {
            600.0
        } else {
            200.0
        }
    } else if (8.0..11.0).contains(&ring) && back > 15.0 && (is_pedicle || back > 30.0) && !is_disc {
        650.0
    } else if number >= lowest_rib && rib < 5.0 && (12.0..62.0).contains(&left.abs()) {
        550.0
    } else if ring < 8.0 {
        20.0
    } else {
        50.0
    }
}

fn found(target: Target, lowest_rib: usize) -> Segmentation {
    let grid =
        VolumeGrid::centred(SHAPE, SPACING_MM, Matrix3::identity(), Point3::new(4.0, -7.0, 30.0)).unwrap();
    let mut index = 0;
    let values = Array3::from_shape_fn([SHAPE[2], SHAPE[1], SHAPE[0]], |(z, y, x)| {
        let away = grid.point(x as f64, y as f64, z as f64) - grid.centre();
        index += 1;
        hu_at([away.x, away.y, z as f64 * SPACING_MM[2]], lowest_rib) + noise(index)
    });
    let volume = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
    segment(&volume, target, &Options::default(), &Progress::silent()).unwrap()
}

/// The label at the middle of the vertebra of a number.
fn name_at(found: &Segmentation, number: usize) -> Option<&str> {
    let up = FIRST_MM + (number as f64 - 0.5) * LEVEL_MM;
    let at = found.grid.centre() + nalgebra::Vector3::new(0.0, 5.0, 0.0);
    let [x, y, _] = found.grid.voxel(&at).map(|index| index.round() as usize);
    let label = found.labels[[(up / SPACING_MM[2]) as usize, y, x]];
    found
        .structures
        .iter()
        .find(|structure| structure.label == label)
        .map(|structure| structure.name.as_str())
}

#[test]
fn vertebrae_are_parted_at_discs_and_counted_from_the_lowest_rib() {
    let spine = found(Target::Vertebrae, 3);
    let names: Vec<_> = (1..=5).map(|number| name_at(&spine, number)).collect();
    assert_eq!(names, ["L2", "L1", "T12", "T11", "T10"].map(Some), "{:?}", spine.notes);
    for structure in
        spine.structures.iter().filter(|structure| ["L1", "T12", "T11"].contains(&structure.name.as_str()))
    {
        let [.., [low, high]] = structure.bounds;
        let height = (high - low + 1) as f64 * SPACING_MM[2];
        assert!((height - (LEVEL_MM - DISC_MM)).abs() <= 2.0 * SPACING_MM[2], "{structure:?}");
    }
}

#[test]
fn vertebrae_without_ribs_or_sacrum_are_not_named() {
    let spine = found(Target::Vertebrae, usize::MAX);
    assert!(spine.structures.len() >= 5, "{:?}", spine.structures);
    assert!(spine.structures.iter().all(|structure| structure.name.contains("not sure")));
    assert!(spine.notes.iter().any(|note| note.contains("not sure which vertebrae")), "{:?}", spine.notes);
}

#[test]
fn bone_leaves_discs_open_however_bright_and_keeps_the_bodies() {
    let bone = found(Target::Bone, 3);
    let (mut discs, mut bodies) = ([0.0; 2], [0.0; 2]);
    for ((z, y, x), label) in bone.labels.indexed_iter() {
        let away = bone.grid.point(x as f64, y as f64, z as f64) - bone.grid.centre();
        let (number, above) = level(z as f64 * SPACING_MM[2]);
        let from_disc = above.min(LEVEL_MM - above);
        // The field cuts the first and last vertebra.
        if away.x.hypot(away.y - 5.0) > 14.0 || !(1..=5).contains(&number) {
            continue;
        }
        let of = if from_disc < DISC_MM / 2.0 - 1.0 {
            &mut discs
        } else if from_disc > DISC_MM / 2.0 + 1.0 {
            &mut bodies
        } else {
            continue;
        };
        of[0] += f64::from(u16::from(*label > 0));
        of[1] += 1.0;
    }
    let [discs, bodies] = [discs, bodies].map(|[set, all]: [f64; 2]| set / all);
    assert!(discs < 0.05 && bodies > 0.98, "discs {discs}, bodies {bodies}");
}
