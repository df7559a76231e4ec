//! A rotation of the virtual C-arm as an X-Ray Angiographic object, judged by dciodvfy and pydicom, and read back.

use crate::program::{done, isocenter, refused};
use crate::small_spin;
use interchange::read_volume;
use isocenter_tests::run_oracle;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Attenuation of water at the protocol's effective energy, which the object has no place for, 1/mm.
fn mu_water(run: &Path) -> String {
    capture::RunReader::open(run).unwrap().description().beam.mu_water_per_mm.to_string()
}

/// Half a step of the density scale is 1.2e-4 of a line integral; what a volume makes of such noise in 90 views of 4.3 mm
/// pixels, at its worst voxel.
const WORST_HU: f64 = 2.0;

#[test]
fn angiogram_of_a_spin_is_valid_and_gives_the_same_volume() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    let object = at("run.dcm");
    let told = done(&[&"convert", &run, &object]);
    assert_eq!((&told["frames"], &told["left_out"]), (&json!(small_spin::VIEWS), &json!([])), "{told}");

    let verdict = Command::new("dciodvfy").arg(&object).output().expect("dciodvfy (dicom3tools)");
    let verdict = String::from_utf8_lossy(&verdict.stderr).to_string();
    assert!(verdict.contains("XAImage"), "{verdict}");
    assert!(!verdict.contains("Error"), "{verdict}");

    let seen = run_oracle("angiogram.py", &["read", object.to_str().unwrap()]);
    let reader = capture::RunReader::open(&run).unwrap();
    let angles = seen["primary_deg"].as_array().unwrap();
    assert_eq!(angles.len(), small_spin::VIEWS);
    for (header, angle) in reader.headers().iter().zip(angles) {
        let expected = header.gantry.primary_angle_rad.to_degrees();
        assert!((angle.as_f64().unwrap() - expected).abs() < 1e-9, "{angle} against {expected}");
    }
    assert_eq!((&seen["distances_mm"], &seen["pitch_mm"]), (&json!([785.0, 1200.0]), &json!([4.3, 4.3])));

    let (back, own, again) = (at("back.mcap"), at("own.nii"), at("again.nii"));
    let told = done(&[&"convert", &object, &back]);
    assert_eq!(told["missing"], json!([]));
    // pydicom's pixels are ours.
    let mut counts = vec![0; 88 * 72];
    let mut back = capture::RunReader::open(&back).unwrap();
    let sums: Vec<Value> = (0..back.frame_count())
        .map(|index| {
            back.read_frame(index, &mut counts).unwrap();
            json!(counts.iter().map(|&count| u64::from(count)).sum::<u64>())
        })
        .collect();
    assert_eq!(seen["sums"], Value::Array(sums));

    done(&[&"reconstruct", &run, &"--out", &own]);
    let mu = mu_water(&run);
    let told = done(&[
        &"reconstruct",
        &object,
        &"--out",
        &again,
        &"--mu-water",
        &mu,
        &"--grid",
        &"48",
        &"--voxel-mm",
        &"5",
    ]);
    assert!(told["warnings"].to_string().contains("nominal geometry"), "{told}");
    let (own, again) = (read_volume(&own).unwrap(), read_volume(&again).unwrap());
    let off = own.values.iter().zip(&again.values).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    println!("worst voxel is off by {off:.3} HU");
    assert!(off < WORST_HU, "{off} HU");
}

#[test]
fn angiogram_of_a_real_gantry_says_what_it_loses() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_spin::image(folder.path(), "run.mcap", &small_spin::NOISY);
    let object = folder.path().join("run.dcm");
    let told = done(&[&"convert", &run, &object]);
    assert!(told["left_out"].to_string().contains("calibrated matrices"), "{told}");
    assert!(told["off_ideal_px"].as_f64().unwrap() > 0.05);
    refused(&[&"convert", &run, &folder.path().join("run.nii")], &["expected a name that ends in .dcm"]);
}

/// Objects that pydicom wrote: Enhanced XA with a position in each frame's group, and fluoroscopy for looking only.
#[test]
fn angiogram_of_another_writer_is_replayed_and_reconstructed() {
    let folder = tempfile::tempdir().unwrap();
    let told = run_oracle("angiogram.py", &["write", folder.path().to_str().unwrap()]);
    let [enhanced, display] =
        ["enhanced", "display"].map(|name| folder.path().join(told[name].as_str().unwrap()));
    let played = done(&[&"replay", &enhanced, &"--speed", &"max", &"--hashes"]);
    let told = json!(["unattenuated intensity: 60000 taken, which 0.1 % of the values exceed"]);
    assert_eq!((&played["frames"], &played["missing"]), (&json!(80), &told));
    let out = folder.path().join("a.nii");
    let made = done(&[
        &"reconstruct",
        &enhanced,
        &"--out",
        &out,
        &"--grid",
        &"40",
        &"--voxel-mm",
        &"5",
        &"--mu-water",
        &"0.02",
    ]);
    assert!(made["warnings"].to_string().contains("nominal geometry"), "{made}");
    // A ball of water, 30 mm off the axis towards the patient's left and head.
    let volume = read_volume(&out).unwrap();
    let (mut sum, mut weight) = ([0.0; 3], 0.0);
    for ((z, y, x), &value) in volume.values.indexed_iter() {
        let value = f64::from(value) + 1000.0;
        if value > 500.0 {
            let place = volume.grid.point(x as f64, y as f64, z as f64);
            sum = [sum[0] + value * place.x, sum[1] + value * place.y, sum[2] + value * place.z];
            weight += value;
        }
    }
    let centre = sum.map(|sum| sum / weight);
    for (found, expected) in centre.iter().zip([30.0, -10.0, 20.0]) {
        assert!((found - expected).abs() < 1.0, "{centre:?}");
    }
    let middle =
        volume.grid.voxel(&nalgebra::Point3::new(30.0, -10.0, 20.0)).map(|index| index.round() as usize);
    let hu = volume.values[[middle[2], middle[1], middle[0]]];
    assert!(hu.abs() < 40.0, "{hu} HU in water");

    let played = done(&[&"replay", &display, &"--speed", &"max", &"--loop", &"2"]);
    assert_eq!(played["frames"], 10);
    assert!(played["missing"].to_string().contains("found DISP"), "{played}");
    let ran = isocenter(&[&"reconstruct", &display, &"--out", &out]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("makes no volume") && ran.stderr.contains("DISP"), "{ran:?}");
}
