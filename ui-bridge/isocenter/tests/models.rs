//! A volume becomes a mesh that is sound on disk, in every format; what cannot be modelled leaves no file.

use crate::program::{done, refused};
use carm::{Quantity, Volume, VolumeGrid};
use interchange::{WriteOptions, write_volume};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;
use std::path::{Path, PathBuf};

/// A hollow bone in muscle: a shell of 600 HU and 5 mm around marrow, off centre and with unlike half axes.
fn bone(folder: &Path, shell_hu: f32) -> PathBuf {
    const SPACING_MM: f64 = 1.5;
    let shape = [60, 56, 48];
    let grid = VolumeGrid::centred(shape, [SPACING_MM; 3], Matrix3::identity(), Point3::origin()).unwrap();
    let values = Array3::from_shape_fn((shape[2], shape[1], shape[0]), |(z, y, x)| {
        let point = grid.point(x as f64, y as f64, z as f64);
        let size = |a: f64, b: f64, c: f64| {
            ((point.x - 4.0) / a).hypot((point.y + 3.0) / b).hypot((point.z - 2.0) / c)
        };
        match (size(22.0, 16.0, 24.0), size(17.0, 11.0, 19.0), size(40.0, 38.0, 60.0)) {
            (outer, inner, _) if outer < 1.0 && inner >= 1.0 => shell_hu,
            (_, inner, _) if inner < 1.0 => 60.0,
            (_, _, body) if body < 1.0 => 45.0,
            _ => -1000.0,
        }
    });
    let path = folder.join(format!("bone{shell_hu}.nii.gz"));
    let volume = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
    write_volume(&volume, &path, &WriteOptions::default()).unwrap();
    path
}

#[test]
fn model_of_a_bone_is_sound_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let volume = bone(folder.path(), 600.0);
    for extension in ["3mf", "stl", "obj", "ply"] {
        let model = folder.path().join(format!("model.{extension}"));
        let told = done(&[&"model", &volume, &"--target", &"bone", &"--out", &model, &"--faces", &"20000"]);
        assert_eq!(told["review"], "Not reviewed", "{told}");
        let inspected = done(&[&"inspect", &model]);
        assert_eq!(inspected["is_sound"], true, "{inspected}");
        for report in ["model.report.html", "model.report.json"] {
            assert!(folder.path().join(report).is_file(), "{report}");
        }
    }
}

#[test]
fn model_of_what_is_not_there_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let volume = bone(folder.path(), 50.0);
    let model = folder.path().join("model.3mf");
    refused(&[&"model", &volume, &"--target", &"bone", &"--out", &model], &["bone"]);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
