//! What cannot be used is refused: exit 1, and a message that names the file, what was expected and what was found.

use crate::program::{done, isocenter, refused};
use crate::small_spin;
use carm::converters::RtkParameters;
use carm::{Quantity, Volume, VolumeGrid};
use interchange::rtk_geometry::{self, RtkGeometry};
use interchange::{WriteOptions, write_matrices, write_volume};
use nalgebra::{Matrix3, Matrix3x4, Point3};
use ndarray::Array3;
use std::fs;
use std::path::{Path, PathBuf};

const NU: usize = 24;
const NV: usize = 20;
const PITCH_MM: f64 = 16.0;

fn views(count: usize, arc_deg: f64) -> Vec<RtkParameters> {
    let view = |index: usize| RtkParameters {
        source_to_isocenter_mm: 785.0,
        source_to_detector_mm: 1200.0,
        gantry_angle_rad: (arc_deg * index as f64 / count as f64).to_radians(),
        ..RtkParameters::default()
    };
    (0..count).map(view).collect()
}

/// World millimetres to pixel index.
fn matrices(count: usize, arc_deg: f64) -> Vec<Matrix3x4<f64>> {
    let centre = |n: usize| (n as f64 - 1.0) / 2.0;
    let pixel_from_mm =
        Matrix3::new(1.0 / PITCH_MM, 0.0, centre(NU), 0.0, 1.0 / PITCH_MM, centre(NV), 0.0, 0.0, 1.0);
    views(count, arc_deg).iter().map(|view| pixel_from_mm * view.detector_matrix_mm()).collect()
}

/// A stack of so many views, all air.
fn stack(folder: &Path, count: usize) -> PathBuf {
    let path = folder.join(format!("stack{count}.mha"));
    let origin = Point3::new(-(NU as f64 - 1.0) / 2.0 * PITCH_MM, -(NV as f64 - 1.0) / 2.0 * PITCH_MM, 0.0);
    let grid =
        VolumeGrid::new([NU, NV, count], [PITCH_MM, PITCH_MM, 1.0], Matrix3::identity(), origin).unwrap();
    let volume = Volume::new(grid, Array3::zeros((count, NV, NU)), Quantity::Unknown);
    write_volume(&volume, &path, &WriteOptions::default()).unwrap();
    path
}

/// Reconstructs a stack of `count` views with these matrices, which must be refused.
fn refused_geometry(count: usize, matrices: &[Matrix3x4<f64>], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (stack, geometry) = (stack(folder.path(), count), folder.path().join("geometry.txt"));
    write_matrices(matrices, &geometry).unwrap();
    let out = folder.path().join("a.mha");
    refused(&[&"reconstruct", &stack, &"--geometry", &geometry, &"--out", &out, &"--grid", &"8"], parts);
    assert!(!out.exists());
}

#[test]
fn refusal_of_geometry_follows_a_stack_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let (stack, geometry) = (stack(folder.path(), 60), folder.path().join("geometry.txt"));
    write_matrices(&matrices(60, 240.0), &geometry).unwrap();
    let out = folder.path().join("a.mha");
    let told =
        done(&[&"reconstruct", &stack, &"--geometry", &geometry, &"--out", &out, &"--grid", &"8,9,10"]);
    assert_eq!(told["volume"]["shape"], serde_json::json!([8, 9, 10]));
    assert_eq!(told["volume"]["unit"], "1/mm");

    let xml = folder.path().join("geometry.xml");
    rtk_geometry::write(&RtkGeometry { views: views(60, 240.0), ..RtkGeometry::default() }, &xml).unwrap();
    done(&[&"reconstruct", &stack, &"--geometry", &xml, &"--out", &out, &"--grid", &"8"]);
    let text = fs::read_to_string(&xml).unwrap();
    let broken = text.replacen("1200", "nan", 1);
    assert_ne!(broken, text);
    fs::write(&xml, broken).unwrap();
    refused(
        &[&"reconstruct", &stack, &"--geometry", &xml, &"--out", &out],
        &["geometry.xml", "expected", "found"],
    );
}

#[test]
fn refusal_of_mixed_determinants() {
    let mut mixed = matrices(60, 240.0);
    let flipped = -mixed[7].row(0);
    mixed[7].set_row(0, &flipped);
    refused_geometry(60, &mixed, &["geometry.txt", "one sign of det(M)", "in view 7"]);
}

#[test]
fn refusal_of_numbers_that_are_none() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut broken = matrices(60, 240.0);
        broken[11][(1, 3)] = bad;
        refused_geometry(60, &broken, &["geometry.txt", "view 11", "expected finite numbers"]);
    }
}

#[test]
fn refusal_of_fewer_views_than_an_arc_needs() {
    refused_geometry(
        60,
        &matrices(60, 150.0),
        &["arc: expected at least", "degrees", "found 150.0 in 60 views"],
    );
    refused_geometry(2, &matrices(2, 240.0), &["expected at least", "views, found 2"]);
    refused_geometry(1, &matrices(1, 240.0), &["expected at least", "views, found 1"]);
    refused_geometry(12, &vec![matrices(12, 240.0)[0]; 12], &["expected an arc"]);
}

#[test]
fn refusal_of_a_stack_whose_size_disagrees_with_its_geometry() {
    refused_geometry(
        60,
        &matrices(59, 236.0),
        &["stack60.mha", "60 views in the stack and 59 matrices", "geometry.txt"],
    );
    let folder = tempfile::tempdir().unwrap();
    let (stack, geometry) = (stack(folder.path(), 60), folder.path().join("geometry.txt"));
    write_matrices(&matrices(60, 240.0), &geometry).unwrap();
    let bytes = fs::read(&stack).unwrap();
    fs::write(&stack, &bytes[..bytes.len() - 400]).unwrap();
    let (expected, found) = (NU * NV * 60 * 4, NU * NV * 60 * 4 - 400);
    refused(
        &[&"reconstruct", &stack, &"--geometry", &geometry, &"--out", &folder.path().join("a.mha")],
        &["stack60.mha", &format!("expected {expected} bytes"), &format!("found {found}")],
    );
}

#[test]
fn refusal_of_a_ct_with_uneven_slices() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let grid =
        VolumeGrid::centred([16, 16, 12], [2.0, 2.0, 3.0], Matrix3::identity(), Point3::origin()).unwrap();
    let values = Array3::from_shape_fn((12, 16, 16), |(z, y, x)| (x + 2 * y + 40 * z) as f32 - 500.0);
    let ct = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
    write_volume(&ct, &at("ct"), &WriteOptions::default()).unwrap();
    done(&[&"convert", &at("ct"), &at("even.nii")]);
    let mut slices: Vec<PathBuf> =
        fs::read_dir(at("ct")).unwrap().map(|entry| entry.unwrap().path()).collect();
    slices.sort();
    assert_eq!(slices.len(), 12);
    fs::remove_file(&slices[5]).unwrap();
    let parts = ["ct: expected evenly spaced slices", "3.0000 to 6.0000 mm", "11 slices", "follows slice"];
    refused(&[&"convert", &at("ct"), &at("uneven.nii")], &parts);
    let protocol = small_spin::protocol(folder.path());
    refused(&[&"simulate", &at("ct"), &"--protocol", &protocol, &"--out", &at("a.mcap")], &parts);
    let ran = isocenter(&[&"inspect", &at("ct"), &"--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("evenly spaced"), "{ran:?}");
    assert!(!at("uneven.nii").exists() && !at("a.mcap").exists());
}

const EXTENSIONS: [&str; 14] =
    ["mcap", "nii", "nii.gz", "mha", "mhd", "nrrd", "nhdr", "dcm", "ima", "xml", "txt", "json", "raw", "stl"];

#[test]
fn refusal_of_empty_and_of_missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let stack = stack(folder.path(), 60);
    for extension in EXTENSIONS {
        let name = format!("empty.{extension}");
        let path = folder.path().join(&name);
        let out = folder.path().join("out.mha");
        for exists in [true, false] {
            if exists {
                fs::write(&path, b"").unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            // The report is printed all the same.
            let ran = isocenter(&[&"inspect", &path, &"--json"]);
            assert_eq!(ran.code, Some(1), "{name} ({exists}): {ran:?}");
            assert_eq!(ran.json()["is_sound"], false, "{name} ({exists})");
            refused(&[&"convert", &path, &out], &[&name]);
            // Raw samples are told by the file beside them.
            let told = if extension == "raw" { "meta.json" } else { &name };
            refused(&[&"reconstruct", &path, &"--out", &out, &"--grid", &"8"], &[told]);
            refused(
                &[&"reconstruct", &stack, &"--geometry", &path, &"--out", &out, &"--grid", &"8"],
                &[&name],
            );
            assert!(!out.exists(), "{name} ({exists})");
        }
    }
    let empty = folder.path().join("empty.mcap");
    fs::write(&empty, b"").unwrap();
    refused(&[&"replay", &empty, &"--speed", &"max"], &["empty.mcap", "expected a run file"]);
    refused(&[&"inspect", &empty, &"--recover", &folder.path().join("repaired.mcap")], &["empty.mcap"]);
    let empty = folder.path().join("empty.toml");
    fs::write(&empty, b"").unwrap();
    refused(
        &[&"simulate", &"water-cylinder:99", &"--protocol", &empty, &"--out", &folder.path().join("a.mcap")],
        &["empty.toml"],
    );
    assert!(!folder.path().join("repaired.mcap").exists() && !folder.path().join("a.mcap").exists());
}
