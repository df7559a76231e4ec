//! Larger real CT against label maps that a network made: run by `make test-data`, which sets `ISOCENTER_DATA`.

use anatomy::confidence::{Features, Score, Weights, fit, score};
use anatomy::morphology::squared_distance_within;
use anatomy::{Lattice, Options, Progress, Target, band, segment};
use carm::{Quantity, Volume};
use interchange::read_volume;
use nalgebra::Point3;
use std::path::{Path, PathBuf};

/// A patient: CT, label map, and the label of costal cartilage, which the two maps number differently.
struct Patient {
    ct: &'static str,
    labels: &'static str,
    cartilage: u16,
}

const THORAX: Patient = Patient {
    ct: "ct/thorax_contrast_lidc0001_ct.nii.gz",
    labels: "ct/thorax_contrast_lidc0001_labels.nii.gz",
    cartilage: 118,
};
const ABDOMEN: Patient = Patient {
    ct: "ct/abdomen_pelvis_3mm_ct.nii.gz",
    labels: "ct/abdomen_pelvis_3mm_labels.nii.gz",
    cartilage: 117,
};
const AORTA: u16 = 52;
/// Calcified cartilage is as dense as bone, and the map does not hold all of it: nothing is scored this near to it.
const CARTILAGE_MM: f64 = 5.0;
/// Denser is metal or undiluted contrast medium, HU.
const METAL_HU: f32 = 2000.0;
/// Surfaces are compared up to this distance, mm.
const FAR_MM: f64 = 15.0;

fn read(name: &str) -> Volume {
    let folder =
        std::env::var_os("ISOCENTER_DATA").expect("ISOCENTER_DATA must name the folder of real data");
    let path = PathBuf::from(folder).join(name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut volume = read_volume(&if path.is_absolute() { path } else { root.join(path) }).unwrap();
    volume.quantity = Quantity::Hu { mu_water_per_mm: None };
    volume
}

fn is_bone(patient: &Patient, label: u16) -> bool {
    let kinds = [25..=50, 69..=78, 91..=116];
    label != patient.cartilage && kinds.iter().any(|kind| kind.contains(&label))
}

/// Dice and the 95th percentile of the surfaces' distances, both ways.
fn agreement(found: &[bool], truth: &[bool], care: &[bool], lattice: &Lattice) -> (f64, f64) {
    let count = |is_counted: &dyn Fn(usize) -> bool| {
        (0..care.len()).filter(|i| care[*i] && is_counted(*i)).count() as f64
    };
    let dice = 2.0 * count(&|i| found[i] && truth[i]) / (count(&|i| found[i]) + count(&|i| truth[i]));
    let mut distances: Vec<f32> = Vec::new();
    for (one, other) in [(found, truth), (truth, found)] {
        let away = squared_distance_within(other, lattice, FAR_MM);
        for i in (0..care.len()).filter(|i| care[*i] && one[*i]) {
            let mut is_surface = false;
            lattice.for_neighbours(i, |near, _| is_surface |= !one[near]);
            if is_surface {
                distances.push(away[i].sqrt().min(FAR_MM as f32));
            }
        }
    }
    distances.sort_by(f32::total_cmp);
    (dice, f64::from(distances[distances.len() * 95 / 100]))
}

fn scored(patient: &Patient, target: Target) -> (f64, f64, f64) {
    let (ct, map) = (read(patient.ct), read(patient.labels));
    let lattice = Lattice::of(&ct.grid);
    let found = segment(&ct, target, &Options::default(), &Progress::silent()).unwrap();
    let found: Vec<bool> = found.labels.iter().map(|label| *label > 0).collect();
    let wanted = |label: u16| if target == Target::Vessel { label == AORTA } else { is_bone(patient, label) };
    let truth: Vec<bool> = map.values.iter().map(|label| wanted(*label as u16)).collect();
    let cartilage: Vec<bool> = map.values.iter().map(|label| *label as u16 == patient.cartilage).collect();
    let near = squared_distance_within(&cartilage, &lattice, CARTILAGE_MM);
    let care: Vec<bool> = ct
        .values
        .iter()
        .zip(&near)
        .map(|(hu, near)| {
            target == Target::Vessel || (*hu < METAL_HU && *near > (CARTILAGE_MM * CARTILAGE_MM) as f32)
        })
        .collect();
    let (dice, surface_mm) = agreement(&found, &truth, &care, &lattice);
    println!("{} {}: Dice {dice:.3}, 95 % {surface_mm:.2} mm", patient.ct, target.name());
    (dice, surface_mm, lattice.voxel_diagonal_mm())
}

// The aim is Dice 0.93. What is wrong, in percent of the map's bone (chest; abdomen):
//   given or missed within 1.5 mm of the map's surface     6.5 and 8.6; one voxel of 3 mm: 4.9 and 3.0
//   bone of processes that the CT shows and the map lacks  2.6; 0.2
//   between vertebrae: faint or bridged discs, endplates   3.0; 2.1
//   streaks of metal and undiluted contrast medium         1.8; 1.1
//   marrow as dark as soft tissue, missed                  2.4; 1.9 (most of it in the sacrum, whose foramina must stay open)
// Without the last three the chest's Dice would be 0.90. With all right but what lies within 1.5 mm of the map's surface it
// would be 0.91: its map was made on voxels of 1.5 mm. Thresholds inside the map's own neighbourhood reach 0.88 there.

#[test]
fn data_bone_agrees_with_the_label_maps() {
    for (patient, dice_min) in [(&ABDOMEN, 0.93), (&THORAX, 0.857)] {
        let (dice, surface_mm, diagonal_mm) = scored(patient, Target::Bone);
        assert!(dice > dice_min, "{}: {dice}", patient.ct);
        assert!(surface_mm <= f64::max(1.5, diagonal_mm), "{}: {surface_mm} mm", patient.ct);
    }
}

// The aim is Dice 0.90. The map holds the wall, the target is the lumen: most of what is missing lies within 1.5 mm of the
// lumen's border and is darker than half the way up to blood.

#[test]
fn data_aorta_agrees_with_the_label_map() {
    let (dice, ..) = scored(&THORAX, Target::Vessel);
    assert!(dice > 0.92, "{dice}");
}

#[test]
fn data_aorta_without_contrast_is_refused() {
    let ct = read(ABDOMEN.ct);
    let refused = segment(&ct, Target::Vessel, &Options::default(), &Progress::silent());
    assert!(refused.is_err_and(|error| error.to_string().contains("contrast")));
}

/// What the maps call a vertebra: numbers fall from C1 to S1.
fn vertebra(label: u16) -> Option<String> {
    match label {
        25 | 26 => Some("sacrum".into()),
        27..=31 => Some(format!("L{}", 32 - label)),
        32..=43 => Some(format!("T{}", 44 - label)),
        44..=50 => Some(format!("C{}", 51 - label)),
        _ => None,
    }
}

#[test]
fn data_vertebrae_are_named_as_the_label_maps_have_them() {
    // The last rib tells of the chest, the sacrum of the abdomen. Vertebrae that the field cuts are named, too.
    for (patient, whole) in [(&THORAX, 14), (&ABDOMEN, 5)] {
        let (ct, map) = (read(patient.ct), read(patient.labels));
        let found = segment(&ct, Target::Vertebrae, &Options::default(), &Progress::silent()).unwrap();
        let mut good = 0;
        for structure in &found.structures {
            let mut votes = [0_usize; 51];
            let own = found.labels.iter().zip(&map.values).filter(|(label, _)| **label == structure.label);
            own.filter(|(_, known)| (25.0..51.0).contains(*known))
                .for_each(|(_, known)| votes[*known as usize] += 1);
            let most = (0..votes.len()).max_by_key(|label| votes[*label]).unwrap();
            let share = votes[most] as f64 / votes.iter().sum::<usize>() as f64;
            println!("{}: {} is {share:.2} {:?}", patient.ct, structure.name, vertebra(most as u16));
            assert_eq!(vertebra(most as u16).as_ref(), Some(&structure.name), "{}", patient.ct);
            good += usize::from(share > 0.7);
        }
        assert!(good >= whole, "{}: {good}", patient.ct);
    }
}

/// The aim is 0.05; the patients left out have 0.026 and 0.031 when fitted to the other's CT alone.
const CALIBRATION_MAX: f64 = 0.04;
/// A bound against getting worse, of the chest and of the abdomen left out. The aim is 0.9. What bounds it is how few patients
/// there are to learn from: boosted trees on 72 features of grey values and shape have 0.92 and 0.96 on slices of the same
/// patient that they were not fitted to, but 0.83 and 0.84 on the other patient.
const AUC_MIN: [f64; 2] = [0.805, 0.855];

type Sample = (Features, bool, f64);

/// Where a cone beam sees all of what it images: within this distance of the axis and of the middle plane, mm.
const CONE_RADIUS_MM: f64 = 110.0;
const CONE_HALF_HEIGHT_MM: f64 = 60.0;

/// Share of bone at a place between a map's voxels; none outside.
fn bone_share(patient: &Patient, map: &Volume, place: [f64; 3]) -> Option<f64> {
    let mut share = 0.0;
    for corner in 0..8_usize {
        let far = [corner & 1, corner >> 1 & 1, corner >> 2].map(|far| far as f64);
        let weight: f64 = (0..3).map(|a| 1.0 - (place[a].floor() + far[a] - place[a]).abs()).product();
        if weight > 1e-6 {
            let [x, y, z] = std::array::from_fn(|a| (place[a].floor() + far[a]) as usize);
            share += weight * f64::from(u8::from(is_bone(patient, *map.values.get([z, y, x])? as u16)));
        }
    }
    Some(share)
}

/// Each voxel of the band with whether its label is that of the patient's map.
fn samples(patient: &Patient, volume: &Volume, is_counted: impl Fn(&Point3<f64>) -> bool) -> Vec<Sample> {
    let map = read(patient.labels);
    let band = band(volume, Target::Bone, &Options::default(), &Progress::silent()).unwrap();
    let judged: Vec<(Features, bool)> = band
        .iter()
        .filter(|voxel| is_counted(&voxel.position))
        .filter_map(|voxel| {
            let place = map.grid.voxel(&voxel.position);
            if place.iter().any(|index| *index < -0.5) {
                return None;
            }
            let [x, y, z] = place.map(|index| index.round() as usize);
            let is_cartilage = *map.values.get([z, y, x])? as u16 == patient.cartilage;
            let is_right = (bone_share(patient, &map, place)? > 0.5) == voxel.is_inside;
            (!is_cartilage).then_some((voxel.features, is_right))
        })
        .collect();
    // Volumes weigh the same, whatever their voxels.
    let weight = 1.0 / judged.len() as f64;
    judged.into_iter().map(|(features, is_right)| (features, is_right, weight)).collect()
}

fn ct_samples(patient: &Patient) -> Vec<Sample> {
    samples(patient, &read(patient.ct), |_| true)
}

/// Of a cone-beam volume in the folder that `ISOCENTER_CONE` names with its whole path.
fn cone_samples(patient: &Patient, name: &str) -> Vec<Sample> {
    let folder =
        std::env::var("ISOCENTER_CONE").expect("ISOCENTER_CONE must name the folder of cone-beam volumes");
    let cone = read(&format!("{folder}/{name}"));
    let [nx, ny, nz] = cone.grid.shape.map(|n| (n - 1) as f64 / 2.0);
    let centre = cone.grid.point(nx, ny, nz);
    samples(patient, &cone, |position| {
        let from = position - centre;
        from.x.hypot(from.y) < CONE_RADIUS_MM && from.z.abs() < CONE_HALF_HEIGHT_MM
    })
}

fn judged(weights: &Weights, samples: &[Sample]) -> Score {
    let stated: Vec<(f64, bool)> =
        samples.iter().map(|(features, is_right, _)| (weights.probability(features), *is_right)).collect();
    score(&stated)
}

#[test]
fn data_confidence_is_calibrated_on_the_patient_left_out() {
    let patients = [ct_samples(&THORAX), ct_samples(&ABDOMEN)];
    let both: Vec<Sample> = patients.concat();
    println!("fitted to both: {:?}", fit(&both).0);
    for left_out in 0..2 {
        let told = judged(&fit(&patients[1 - left_out]), &patients[left_out]);
        println!("patient {left_out} left out: {told:?}");
        assert!(told.calibration_error < CALIBRATION_MAX, "{told:?}");
        assert!(told.auc > AUC_MIN[left_out], "{told:?}");
        let shipped = judged(&Weights::fitted(), &patients[left_out]);
        println!("with the weights in use: {shipped:?}");
        assert!(shipped.calibration_error < CALIBRATION_MAX, "{shipped:?}");
    }
}

/// The aim.
const CONE_CALIBRATION_MAX: f64 = 0.05;

/// Fits [`Weights::fitted`].
#[test]
#[ignore = "needs cone-beam volumes in the folder that ISOCENTER_CONE names: make segmentation"]
fn data_confidence_is_calibrated_on_ct_and_cone_beam_of_the_patient_left_out() {
    let patients = [
        [ct_samples(&THORAX), cone_samples(&THORAX, "cone_thorax.nii.gz")],
        [ct_samples(&ABDOMEN), cone_samples(&ABDOMEN, "cone_abdomen.nii.gz")],
    ];
    println!("fitted to all: {:?}", fit(&patients.each_ref().map(|volumes| volumes.concat()).concat()).0);
    for left_out in 0..2 {
        let learnt = fit(&patients[1 - left_out].concat());
        for (kind, volume) in ["CT", "cone beam"].iter().zip(&patients[left_out]) {
            let told = judged(&learnt, volume);
            let shipped = judged(&Weights::fitted(), volume);
            println!("patient {left_out} left out, {kind}: {told:?}; with the weights in use: {shipped:?}");
            assert!(told.calibration_error < CONE_CALIBRATION_MAX, "{told:?}");
            assert!(shipped.calibration_error < CONE_CALIBRATION_MAX, "{shipped:?}");
        }
    }
}
