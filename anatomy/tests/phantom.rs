//! Drawn bodies, whose truth is known: what stays open, what is filled, what is refused.

use anatomy::{AnatomyError, Lattice, Options, Progress, Scribble, Segmentation, Target, segment};
use carm::{Quantity, Volume, VolumeGrid};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;

const HU: Quantity = Quantity::Hu { mu_water_per_mm: None };
const SHAPE: [usize; 3] = [110, 100, 40];
const SPACING_MM: [f64; 3] = [1.2, 1.2, 2.0];

fn grid() -> VolumeGrid {
    VolumeGrid::centred(SHAPE, SPACING_MM, Matrix3::identity(), Point3::new(4.0, -7.0, 30.0)).unwrap()
}

/// Deterministic noise, standard deviation about 15 HU.
fn noise(index: usize) -> f32 {
    let mut state = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5bd1_e995;
    state ^= state >> 29;
    state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state ^= state >> 32;
    ((state & 0xffff) as f32 / 65535.0 - 0.5) * 52.0
}

/// A trunk: muscle, a vertebra with cortex, spongy bone, a canal behind it, an artery with contrast medium that touches
/// it, and a table. `shading` is what a cone-beam scan adds from left to right, HU.
fn trunk(shading: f32, blood: f32) -> Volume {
    let grid = grid();
    let lattice = Lattice::of(&grid);
    let values = Array3::from_shape_fn([SHAPE[2], SHAPE[1], SHAPE[0]], |(z, y, x)| {
        let away = grid.point(x as f64, y as f64, z as f64) - grid.centre();
        let (left, back) = (away.x, away.y);
        let trunk = (left / 60.0).hypot(back / 45.0);
        let body = left.hypot(back - 5.0);
        let ring = left.hypot(back - 27.0);
        let artery = (left - 14.0).hypot(back + 20.5);
        let hu = if trunk > 1.0 {
            if (back - 56.0).abs() < 1.2 { 150.0 } else { -1000.0 }
        } else if artery < 8.0 {
            blood
        } else if body < 17.0 {
            if body > 15.0 { 600.0 } else { 170.0 }
        } else if (8.0..11.0).contains(&ring) && back > 15.0 {
            650.0
        } else if ring < 8.0 {
            20.0
        } else {
            50.0
        };
        let is_body = trunk <= 1.0;
        let shade = if is_body { shading * (left / 60.0) as f32 } else { 0.0 };
        hu + shade + noise(lattice.index([z, y, x]))
    });
    Volume::new(grid, values, HU)
}

/// Share of the voxels, of those whose centres satisfy `is_asked`, that carry a label.
fn share(labels: &Array3<u16>, is_asked: impl Fn(f64, f64) -> bool) -> f64 {
    let grid = grid();
    let mut all = 0.0;
    let mut set = 0.0;
    for ((z, y, x), label) in labels.indexed_iter() {
        let away = grid.point(x as f64, y as f64, z as f64) - grid.centre();
        if is_asked(away.x, away.y) {
            all += 1.0;
            set += f64::from(u16::from(*label > 0));
        }
    }
    assert!(all > 100.0);
    set / all
}

#[test]
fn bone_fills_marrow_keeps_the_canal_open_and_leaves_artery_and_table() {
    for shading in [0.0, 60.0] {
        let volume = trunk(shading, 380.0);
        let found = segment(&volume, Target::Bone, &Options::default(), &Progress::silent()).unwrap();
        let marrow = share(&found.labels, |x, y| x.hypot(y - 5.0) < 14.0 && y < 14.0);
        let cortex = share(&found.labels, |x, y| (15.6..16.4).contains(&x.hypot(y - 5.0)) && y < 10.0);
        let canal = share(&found.labels, |x, y| x.hypot(y - 27.0) < 6.5 && y > 23.0);
        let artery = share(&found.labels, |x, y| (x - 14.0).hypot(y + 20.5) < 7.0);
        let table = share(&found.labels, |_, y| y > 50.0);
        assert!(marrow > 0.995 && cortex > 0.97, "shading {shading}: marrow {marrow}, cortex {cortex}");
        assert!(canal < 0.01, "shading {shading}: canal {canal}");
        assert!(artery < 0.01 && table == 0.0, "shading {shading}: artery {artery}, table {table}");
        assert!(found.structures[0].is_truncated);
    }
}

/// How far from the middle of a wing beside the canal, mm: to the left or right, to the back, up.
fn in_wing([left, back, up]: [f64; 3]) -> [f64; 3] {
    [left.abs() - 32.0, back - 18.0, up]
}

/// The trunk with the wings of a sacrum: walls about marrow as fatty as it is in old age, and a slit in front and
/// above that is full of fat.
fn winged_trunk() -> Volume {
    let mut volume = trunk(0.0, 380.0);
    let grid = grid();
    let lattice = Lattice::of(&grid);
    for ((z, y, x), hu) in volume.values.indexed_iter_mut() {
        let away = grid.point(x as f64, y as f64, z as f64) - grid.centre();
        let [left, back, up] = in_wing([away.x, away.y, away.z]);
        let (half_left, half_back, half_up) = (left.abs(), back.abs(), up.abs());
        if half_left < 11.0 && half_back < 12.0 && half_up < 24.0 {
            let is_wall = half_left > 8.5 || half_back > 9.5 || half_up > 20.0;
            let is_slit = is_wall && half_left < 2.5 && up > -20.0 && back < 9.5;
            let inside = if is_wall { 600.0 } else { 15.0 };
            *hu = if is_slit { -100.0 } else { inside } + noise(lattice.index([z, y, x]));
        }
    }
    volume
}

#[test]
fn marrow_of_wings_is_filled_though_it_opens_onto_foramina() {
    let found = segment(&winged_trunk(), Target::Bone, &Options::default(), &Progress::silent()).unwrap();
    let grid = grid();
    let (mut marrow, mut slit) = ([0.0; 2], [0.0; 2]);
    for ((z, y, x), label) in found.labels.indexed_iter() {
        let away = grid.point(x as f64, y as f64, z as f64) - grid.centre();
        let [left, back, up] = in_wing([away.x, away.y, away.z]);
        let is_low = up.abs() < 16.0;
        let set = f64::from(u16::from(*label > 0));
        if left.abs() < 7.0 && back.abs() < 5.0 && is_low {
            marrow = [marrow[0] + set, marrow[1] + 1.0];
        } else if left.abs() < 1.3 && (-11.5..-10.0).contains(&back) && is_low {
            slit = [slit[0] + set, slit[1] + 1.0];
        }
    }
    assert!(marrow[1] > 1000.0 && marrow[0] > 0.75 * marrow[1], "{marrow:?}");
    assert!(slit[1] > 50.0 && slit[0] < 0.05 * slit[1], "{slit:?}");
}

#[test]
fn vessel_keeps_its_calibre_beside_bone() {
    let volume = trunk(0.0, 380.0);
    let seed = volume.grid.centre() + nalgebra::Vector3::new(14.0, -20.5, 0.0);
    let options = Options { seeds: vec![seed], ..Options::default() };
    let found = segment(&volume, Target::Vessel, &options, &Progress::silent()).unwrap();
    // From the found area of every slice.
    let section_mm2 = found.structures[0].volume_ml * 1000.0 / (SHAPE[2] as f64 * SPACING_MM[2]);
    let radius_mm = (section_mm2 / std::f64::consts::PI).sqrt();
    assert!((radius_mm - 8.0).abs() < 0.25, "{radius_mm}");
    assert!(share(&found.labels, |x, y| x.hypot(y - 5.0) < 15.0) < 0.01);
    let outside =
        Options { seeds: vec![seed + nalgebra::Vector3::new(1000.0, 0.0, 0.0)], ..Options::default() };
    let refused = segment(&volume, Target::Vessel, &outside, &Progress::silent());
    assert!(matches!(refused, Err(AnatomyError::Seed { .. })));
}

#[test]
fn scribbles_give_and_take_what_they_lie_on_and_stop_at_its_edge() {
    let volume = trunk(0.0, 380.0);
    let at = |z: f64| volume.grid.centre() + nalgebra::Vector3::new(14.0, -20.5, z);
    let stroke = |is_inside| Scribble { is_inside, points: vec![at(-36.0), at(0.0), at(36.0)] };
    let drawn = |scribbles: Vec<Scribble>| {
        let options = Options { scribbles, ..Options::default() };
        segment(&volume, Target::Bone, &options, &Progress::silent()).unwrap()
    };
    let artery = |found: &Segmentation| share(&found.labels, |x, y| (x - 14.0).hypot(y + 20.5) < 7.0);
    let given = drawn(vec![stroke(true)]);
    assert!(artery(&given) > 0.9, "{}", artery(&given));
    let around = share(&given.labels, |x, y| {
        (9.5..13.0).contains(&(x - 14.0).hypot(y + 20.5)) && x.hypot(y - 5.0) > 18.5
    });
    assert!(around < 0.05, "{around}");
    let [x, y, z] = volume.grid.voxel(&at(0.0)).map(|index| index.round() as usize);
    assert_eq!((given.labels[[z, y, x]], given.confidence[[z, y, x]]), (1, 99));
    assert!(given.notes.iter().any(|note| note.contains("scribbles")));
    // A stroke that takes undoes one that gave, and leaves the bone beside it.
    let taken = drawn(vec![stroke(true), stroke(false)]);
    assert!(artery(&taken) < 0.05, "{}", artery(&taken));
    assert!(share(&taken.labels, |x, y| x.hypot(y - 5.0) < 14.0 && y < 14.0) > 0.99);
    let far = Scribble { is_inside: true, points: vec![at(4000.0)] };
    let options = Options { scribbles: vec![far], ..Options::default() };
    let refused = segment(&volume, Target::Bone, &options, &Progress::silent());
    assert!(matches!(refused, Err(AnatomyError::Seed { .. })));
}

#[test]
fn seeds_keep_the_pieces_they_lie_on_and_are_refused_elsewhere() {
    let volume = trunk(0.0, 380.0);
    let seeded = |x: f64, y: f64| {
        let seeds = vec![volume.grid.centre() + nalgebra::Vector3::new(x, y, 0.0)];
        segment(&volume, Target::Bone, &Options { seeds, ..Options::default() }, &Progress::silent())
    };
    let all = segment(&volume, Target::Bone, &Options::default(), &Progress::silent()).unwrap();
    assert_eq!(seeded(0.0, 5.0).unwrap().labels, all.labels);
    assert!(matches!(seeded(-45.0, 0.0), Err(AnatomyError::Seed { .. })));
}

#[test]
fn labels_do_not_depend_on_the_order_of_axes() {
    let volume = trunk(0.0, 380.0);
    let upright = segment(&volume, Target::Bone, &Options::default(), &Progress::silent()).unwrap();
    // The same voxels with x running to the right and slices from head to foot.
    let [nx, _, nz] = SHAPE;
    let direction = Matrix3::from_diagonal(&nalgebra::Vector3::new(-1.0, 1.0, -1.0));
    let origin = volume.grid.point((nx - 1) as f64, 0.0, (nz - 1) as f64);
    let grid = VolumeGrid::new(SHAPE, SPACING_MM, direction, origin).unwrap();
    let mut values = volume.values.view();
    values.invert_axis(ndarray::Axis(0));
    values.invert_axis(ndarray::Axis(2));
    let turned = Volume::new(grid, values.as_standard_layout().into_owned(), HU);
    let found = segment(&turned, Target::Bone, &Options::default(), &Progress::silent()).unwrap();
    let mut labels = found.labels.view();
    labels.invert_axis(ndarray::Axis(0));
    labels.invert_axis(ndarray::Axis(2));
    assert_eq!(labels, upright.labels);
    assert!((found.structures[0].centre - upright.structures[0].centre).norm() < 1e-6);
}

#[test]
fn what_cannot_be_met_is_refused_with_its_reason() {
    let quiet = Progress::silent();
    let options = Options::default();
    let volume = |hu: f32, quantity| Volume::new(grid(), Array3::from_elem([40, 100, 110], hu), quantity);
    let air = segment(&volume(-1000.0, HU), Target::Skin, &options, &quiet);
    assert!(matches!(air, Err(AnatomyError::NoBody { .. })), "{air:?}");
    let mu = segment(&volume(0.02, Quantity::MuPerMm), Target::Bone, &options, &quiet);
    assert!(matches!(mu, Err(AnatomyError::NotHounsfield { .. })));
    for target in [Target::Bone, Target::Vessel, Target::Metal, Target::Calcification] {
        let water = segment(&volume(0.0, HU), target, &options, &quiet);
        assert!(matches!(water, Err(AnatomyError::TargetAbsent { .. })), "{target:?}");
    }
    let plain = segment(&trunk(0.0, 50.0), Target::Vessel, &options, &quiet);
    assert!(matches!(plain, Err(AnatomyError::TargetAbsent { .. })), "{plain:?}");
    let mut broken = trunk(0.0, 380.0);
    broken.values.iter_mut().step_by(3).for_each(|value| *value = f32::NAN);
    // No promise but an answer.
    let _ = segment(&broken, Target::Bone, &options, &quiet);
    let stop = |_: f64, _: &'static str| false;
    let cancelled = segment(&trunk(0.0, 380.0), Target::Bone, &options, &Progress::new(&stop));
    assert!(matches!(cancelled, Err(AnatomyError::Cancelled { .. })));
}
