//! `--mask`: what each voxel rests on, as a volume of bytes.

use crate::incomplete_runs::aborted_after;
use crate::program::{Argument, done, refused};
use crate::small_spin;
use carm::{Quantity, Volume, VolumeGrid, mask};
use interchange::{WriteOptions, read_volume, write_volume};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Offset of the data type in a NIfTI header, and the codes of unsigned bytes and their bits.
const DATA_TYPE: std::ops::Range<usize> = 70..74;
const UNSIGNED_BYTE: [u8; 4] = [2, 0, 8, 0];

/// How many voxels of a mask file have all of `bits`.
fn count(path: &Path, bits: u8) -> usize {
    let volume = read_volume(path).unwrap();
    volume.values.iter().filter(|value| **value as u8 & bits == bits).count()
}

fn told_count(told: &Value, name: &str) -> usize {
    let stages = told["stages"].as_array().unwrap();
    let masks = stages.iter().find(|stage| stage["name"] == "masks").expect("a stage with the counts");
    masks["parameters"][name].as_str().unwrap().parse().unwrap()
}

fn reconstruct(run: &Path, mask: &Path, options: &[Argument<'_>]) -> Value {
    let out = mask.with_extension("volume.nii");
    let common: [Argument<'_>; 6] = [&"reconstruct", &run, &"--out", &out, &"--mask", &mask];
    let told = done(&[&common, options].concat());
    assert_eq!(told["mask"], serde_json::json!(mask));
    for (bit, name) in mask::NAMES {
        assert_eq!(told_count(&told, &name.replace(' ', "_")), count(mask, bit), "{name}");
    }
    told
}

#[test]
fn mask_of_a_short_scan_names_the_field_of_view_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    reconstruct(&run, &at("mask.nii"), &[]);
    assert_eq!(fs::read(at("mask.nii")).unwrap()[DATA_TYPE], UNSIGNED_BYTE);
    assert!(count(&at("mask.nii"), mask::FIELD_OF_VIEW) > 48 * 48 * 48 / 2);
    assert_eq!(count(&at("mask.nii"), mask::EXTRAPOLATED), 0);
    assert_eq!(count(&at("mask.nii"), mask::FIELD_OF_VIEW | mask::LIMITED_ANGLE), 0);
    done(&[&"replay", &run, &"--speed", &"max", &"--out", &at("live.nii"), &"--mask", &at("live-mask.nii")]);
    assert_eq!(fs::read(at("mask.nii")).unwrap(), fs::read(at("live-mask.nii")).unwrap());
}

#[test]
fn mask_tells_continued_rows_and_a_limited_angle() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // The field of view is 243 mm wide.
    let protocol = small_spin::protocol(folder.path());
    let run = at("wide.mcap");
    done(&[&"simulate", &"water-cylinder:330", &"--protocol", &protocol, &"--out", &run, &"--ideal"]);
    reconstruct(&run, &at("wide.nii.gz"), &[]);
    let seen = count(&at("wide.nii.gz"), mask::FIELD_OF_VIEW);
    assert_eq!(count(&at("wide.nii.gz"), mask::FIELD_OF_VIEW | mask::EXTRAPOLATED), seen);
    reconstruct(&run, &at("cut.mha"), &[&"--truncation", &"off"]);
    assert_eq!(count(&at("cut.mha"), mask::EXTRAPOLATED), 0);

    aborted_after(&run, 60, &at("short.mcap"));
    let told = reconstruct(&at("short.mcap"), &at("short.nrrd"), &[&"--limited-angle"]);
    let seen = count(&at("short.nrrd"), mask::FIELD_OF_VIEW);
    let limited = count(&at("short.nrrd"), mask::FIELD_OF_VIEW | mask::LIMITED_ANGLE);
    assert!(limited as f64 > 0.9 * seen as f64, "{limited} of {seen}");
    assert!(told["warnings"].to_string().contains("less than half a turn"), "{told}");
}

/// A cylinder of water along z about `middle`, as a CT that reads 3 % too much sees it.
fn ct_of_a_cylinder(path: &Path, middle: Point3<f64>, diameter_mm: f64) {
    let grid = VolumeGrid::centred([96, 96, 100], [4.0; 3], Matrix3::identity(), middle).unwrap();
    let values = Array3::from_shape_fn((100, 96, 96), |(z, y, x)| {
        let from_middle = grid.point(x as f64, y as f64, z as f64) - middle;
        let is_inside = from_middle.x.hypot(from_middle.y) < diameter_mm / 2.0;
        if is_inside { 30.0 } else { -1000.0 }
    });
    let volume = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
    write_volume(&volume, path, &WriteOptions::default()).unwrap();
}

#[test]
fn truncation_ct_tells_how_views_go_on_and_is_refused_where_they_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let protocol = small_spin::protocol(folder.path());
    let run = at("wide.mcap");
    done(&[&"simulate", &"water-cylinder:330", &"--protocol", &protocol, &"--out", &run, &"--ideal"]);
    reconstruct(&run, &at("water.mha"), &[]);
    let with_water = read_volume(&at("water.volume.nii")).unwrap();
    ct_of_a_cylinder(&at("ct.nii.gz"), with_water.grid.centre(), 330.0);
    let told = reconstruct(&run, &at("ct-mask.mha"), &[&"--truncation-ct", &at("ct.nii.gz")]);
    assert!(told["warnings"].to_string().contains("continued with the known body"), "{told}");
    let with_ct = read_volume(&at("ct-mask.volume.nii")).unwrap();
    assert!(with_ct.values != with_water.values);
    let [nx, ny, nz] = with_ct.grid.shape;
    let middle = ndarray::s![nz / 2 - 3..nz / 2 + 3, ny / 2 - 8..ny / 2 + 8, nx / 2 - 8..nx / 2 + 8];
    let mean = with_ct.values.slice(middle).mean().unwrap();
    assert!(mean.abs() < 15.0, "{mean} HU in water");

    let off: [Argument<'_>; 8] = [
        &"reconstruct",
        &run,
        &"--out",
        &at("no.nii"),
        &"--truncation-ct",
        &at("ct.nii.gz"),
        &"--truncation",
        &"off",
    ];
    refused(&off, &["--truncation-ct", "found --truncation off"]);
    let missing: [Argument<'_>; 6] =
        [&"reconstruct", &run, &"--out", &at("no.nii"), &"--truncation-ct", &at("none.nii.gz")];
    refused(&missing, &["none.nii.gz"]);
    assert!(!at("no.nii").exists());
}

#[test]
fn mask_in_a_format_that_holds_no_bytes_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.nii");
    let mask = folder.path().join("a.dcm");
    let parts = ["a.dcm", ".nii.gz", "found .dcm"];
    refused(&[&"reconstruct", &"none.mcap", &"--out", &out, &"--mask", &mask], &parts);
    refused(&[&"replay", &"none.mcap", &"--out", &out, &"--mask", &mask], &parts);
}
