//! The chest CT of `tests/data`: bone, contrast-filled aorta and skin of a patient.

use anatomy::{Options, Progress, Segmentation, Target, segment};
use carm::{Quantity, Volume};
use interchange::read_volume;
use ndarray::Array3;
use std::path::Path;

const SOFT: f32 = 2.0;
const BLOOD: f32 = 3.0;
const BONE: f32 = 4.0;

fn chest(name: &str) -> Volume {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name);
    read_volume(&path).unwrap()
}

fn found(target: Target, threads: usize) -> (Segmentation, Array3<f32>) {
    let mut ct = chest("lidc_idri_0001_thorax.nii.gz");
    ct.quantity = Quantity::Hu { mu_water_per_mm: None };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let found = pool.install(|| segment(&ct, target, &Options::default(), &Progress::silent())).unwrap();
    (found, chest("lidc_idri_0001_thorax_labels.nii.gz").values)
}

/// Share of a class of the label map that the mask holds.
fn share_of(class: f32, found: &Segmentation, classes: &Array3<f32>) -> f64 {
    let of_class = classes.iter().filter(|found| **found == class).count();
    let both = found.labels.iter().zip(classes).filter(|(label, found)| **label > 0 && **found == class);
    both.count() as f64 / of_class as f64
}

#[test]
fn chest_bone_is_found_and_contrast_medium_is_not() {
    let (bone, classes) = found(Target::Bone, 2);
    let recall = share_of(BONE, &bone, &classes);
    let blood = share_of(BLOOD, &bone, &classes);
    println!("bone found {recall:.3}, of contrast medium {blood:.4}");
    // The class holds what is over 150 HU next to a bone's label, so neither marrow nor calcified cartilage, but bright
    // places between vertebrae, where discs are taken out.
    assert!(recall > 0.92, "{recall}");
    assert!(blood < 0.03, "{blood}");
    let volume_ml = bone.structures[0].volume_ml;
    assert!((1000.0..1700.0).contains(&volume_ml), "{volume_ml}");
    // Regions are listed worst first, within the grid, with evidence whose shares add up.
    assert!(!bone.doubtful.is_empty());
    assert!(bone.doubtful.windows(2).all(|pair| pair[0].expected_wrong_ml >= pair[1].expected_wrong_ml));
    for region in &bone.doubtful {
        assert!(region.mean_confidence < f64::from(Segmentation::REVIEW_PERCENT));
        let shares: f64 = region.evidence.iter().map(|(_, share)| share).sum();
        assert!((shares - 1.0).abs() < 1e-6, "{region:?}");
        let at = bone.grid.voxel(&region.position);
        assert!((0..3).all(|a| at[a] > -0.5 && at[a] < bone.grid.shape[a] as f64 - 0.5));
    }
}

#[test]
fn chest_aorta_is_followed_over_the_arch_with_any_number_of_threads() {
    let (aorta, classes) = found(Target::Vessel, 1);
    let outside = aorta
        .labels
        .iter()
        .zip(&classes)
        .filter(|(label, class)| **label > 0 && ![SOFT, BLOOD].contains(class))
        .count();
    let [.., [low, high]] = aorta.structures[0].bounds;
    // From the lowest slice over the arch, which lies 262 mm above it.
    assert!(low == 0 && (100..=109).contains(&high), "slices {low} to {high}");
    let volume_ml = aorta.structures[0].volume_ml;
    println!("aorta {volume_ml:.0} ml, {outside} voxels in lung or bone");
    assert!((150.0..215.0).contains(&volume_ml), "{volume_ml}");
    let count = aorta.labels.iter().filter(|label| **label > 0).count();
    assert!(outside * 50 < count, "{outside} of {count}");
    let (again, _) = found(Target::Vessel, 3);
    assert_eq!(again, aorta);
}

#[test]
fn chest_skin_holds_the_body() {
    let (skin, classes) = found(Target::Skin, 2);
    // The class of the lungs also holds the skin's own thin voxels, of which half lie outside.
    for (class, share_min) in [(1.0, 0.94), (SOFT, 0.985), (BLOOD, 0.985), (BONE, 0.985)] {
        let share = share_of(class, &skin, &classes);
        assert!(share > share_min, "class {class}: {share}");
    }
    assert!(share_of(0.0, &skin, &classes) < 0.01);
}

/// Centres of mass of the vertebrae in the label map that the classes of `tests/data` were made from, LPS, mm.
const VERTEBRAE: [(&str, [f64; 3]); 15] = [
    ("L3", [21.0, 28.0, -333.0]),
    ("L2", [23.0, 40.0, -313.0]),
    ("L1", [22.0, 51.0, -285.0]),
    ("T12", [17.0, 62.0, -259.0]),
    ("T11", [12.0, 72.0, -232.0]),
    ("T10", [7.0, 80.0, -209.0]),
    ("T9", [3.0, 86.0, -187.0]),
    ("T8", [0.0, 90.0, -164.0]),
    ("T7", [0.0, 91.0, -140.0]),
    ("T6", [-1.0, 87.0, -117.0]),
    ("T5", [0.0, 80.0, -96.0]),
    ("T4", [0.0, 70.0, -77.0]),
    ("T3", [-1.0, 58.0, -59.0]),
    ("T2", [-3.0, 44.0, -44.0]),
    ("T1", [-4.0, 30.0, -30.0]),
];

#[test]
fn chest_vertebrae_are_named_from_the_last_rib() {
    let (spine, _) = found(Target::Vertebrae, 2);
    for (name, centre) in VERTEBRAE {
        let structure = spine.structures.iter().find(|structure| structure.name == name);
        let away = structure.map(|structure| (structure.centre - nalgebra::Point3::from(centre)).norm());
        assert!(away.is_some_and(|mm| mm < 8.0), "{name}: {away:?} mm");
    }
    assert!(spine.notes.iter().any(|note| note.contains("lowest rib")), "{:?}", spine.notes);
}
