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

/// A bar of bone from the feet's end of the volume to the head's, with a spur to the patient's left.
fn bar_with_spur(folder: &Path) -> PathBuf {
    const SPACING_MM: f64 = 1.0;
    let shape = [64, 56, 40];
    let grid = VolumeGrid::centred(shape, [SPACING_MM; 3], Matrix3::identity(), Point3::origin()).unwrap();
    let values = Array3::from_shape_fn((shape[2], shape[1], shape[0]), |(z, y, x)| {
        let point = grid.point(x as f64, y as f64, z as f64);
        let is_bar = point.x.hypot(point.y) < 8.0;
        let is_spur = point.x > 0.0 && point.x < 18.0 && point.y.hypot(point.z - 6.0) < 4.0;
        match (is_bar || is_spur, point.x.hypot(point.y) < 25.0) {
            // Bone is uneven; what is as bright and even is contrast medium.
            (true, _) => 550.0 + 30.0 * ((7 * x + 13 * y + 29 * z) % 11) as f32,
            (false, true) => 40.0,
            _ => -1000.0,
        }
    });
    let path = folder.join("bar.nii.gz");
    let volume = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
    write_volume(&volume, &path, &WriteOptions::default()).unwrap();
    path
}

/// Whether a point lies within a closed mesh: an odd number of faces above it.
fn is_within(mesh: &carm::TriangleMesh, point: [f64; 3]) -> bool {
    let above = mesh.triangles.iter().filter(|triangle| {
        let [a, b, c] = triangle.map(|v| mesh.vertices_mm[v as usize].map(f64::from));
        let part = |p: [f64; 3], q: [f64; 3]| {
            (p[0] - point[0]) * (q[1] - point[1]) - (p[1] - point[1]) * (q[0] - point[0])
        };
        let parts = [part(b, c), part(c, a), part(a, b)];
        let sum: f64 = parts.iter().sum();
        let is_hit = parts.iter().all(|&part| part > 0.0) || parts.iter().all(|&part| part < 0.0);
        is_hit && (parts[0] * a[2] + parts[1] * b[2] + parts[2] * c[2]) / sum > point[2]
    });
    above.count() % 2 == 1
}

#[test]
fn model_on_a_base_keeps_left_on_the_left_and_its_words_readable() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, model) = (bar_with_spur(folder.path()), folder.path().join("model.3mf"));
    let told = done(&[
        &"model",
        &volume,
        &"--target",
        &"bone",
        &"--out",
        &model,
        &"--text",
        &"T4",
        &"--scale",
        &"0.8",
        &"--accept-by",
        &"A. Reader",
        &"--within",
        &"60min",
    ]);
    assert_eq!(told["review"], "Accepted by A. Reader", "{told}");
    let base = &told["changed"]["base"];
    assert_eq!(base["words"], serde_json::json!(["R", "T4 80 %", "L"]), "{told}");
    let corner = |end: &str| [0, 1, 2].map(|axis| base[end][axis].as_f64().unwrap());
    let (low, high) = (corner("low_mm"), corner("high_mm"));
    let mesh = interchange::read_mesh(&model).unwrap().merged();
    // The spur, at four fifths of its size, and nothing where its mirror image would be.
    assert!(is_within(&mesh, [12.03, 0.02, 4.83]) && !is_within(&mesh, [-12.03, 0.02, 4.83]));
    // Letters of 8.75 mm at least: L at the patient's left, its upright on the reader's left, R on the other side.
    let letter_mm = (corner_letter(&told) * 100.0).round() / 100.0;
    let square = letter_mm / 7.0;
    let is_cut =
        |x: f64, row: f64| !is_within(&mesh, [x, low[1] + 2.0 + (row + 0.5) * square, high[2] - 0.4]);
    let left = |column: f64| high[0] - 2.0 - (4.5 - column) * square;
    assert!(is_cut(left(0.0), 5.0) && is_cut(left(4.0), 0.0) && !is_cut(left(4.0), 5.0));
    let right = |column: f64| low[0] + 2.0 + (column + 0.5) * square;
    assert!(is_cut(right(0.0), 1.0) && is_cut(right(3.0), 6.0) && !is_cut(right(2.0), 0.0));
    let page = std::fs::read_to_string(folder.path().join("model.report.html")).unwrap();
    assert!(page.contains("Accepted by A. Reader") && page.matches("data:image/png").count() >= 5);
}

/// Height of letters on a base.
fn corner_letter(told: &serde_json::Value) -> f64 {
    told["changed"]["base"]["letter_mm"].as_f64().unwrap()
}

#[test]
fn model_of_a_hollow_bar_is_a_pipe_open_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, model) = (bar_with_spur(folder.path()), folder.path().join("pipe.stl"));
    let told =
        done(&[&"model", &volume, &"--target", &"bone", &"--out", &model, &"--hollow", &"--wall-mm", &"2"]);
    assert_eq!(told["changed"]["hollow"]["openings"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told["mesh_read_back"]["genus"], 1, "{told}");
    let mesh = interchange::read_mesh(&model).unwrap().merged();
    let is_there = |x: f64| is_within(&mesh, [x, 0.02, 0.01]);
    assert!(!is_there(0.03) && is_there(-9.03) && !is_there(-11.53), "a free lumen, a wall, nothing");
}

#[test]
fn model_cut_in_two_has_pegs_in_one_half_and_their_holes_in_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let volume = bar_with_spur(folder.path());
    let half = |normal: &str, joint: &str| {
        let model = folder.path().join(format!("{joint}.stl"));
        let plane = format!("0,0,-6,{normal}");
        let told = done(&[
            &"model",
            &volume,
            &"--target",
            &"bone",
            &"--out",
            &model,
            &"--cut",
            &plane,
            &"--joint",
            &joint,
            &"--peg-mm",
            &"4",
            &"--hole",
            &"0,0,-14,1,0,0",
        ]);
        let places: Vec<f64> = told["changed"]["cut"]["places_mm"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|p| p.as_array().unwrap().clone())
            .map(|x| x.as_f64().unwrap())
            .collect();
        (interchange::read_mesh(&model).unwrap().merged(), places)
    };
    let ((feet, places), (head, same)) = (half("0,0,1", "pegs"), half("0,0,-1", "holes"));
    assert!(places == same && !places.is_empty(), "{places:?} {same:?}");
    let [x, y] = [places[0] + 0.013, places[1] + 0.017];
    // Above the plane the peg stands in its hole; below it there is only the half with the pegs.
    assert!(is_within(&feet, [x, y, -3.5]) && !is_within(&head, [x, y, -3.5]));
    assert!(is_within(&feet, [x, y, -8.5]) && !is_within(&head, [x, y, -8.5]));
    assert!(
        !is_within(&feet, [9.03, 0.02, 6.01]) && is_within(&head, [9.03, 0.02, 6.01]),
        "the spur is above"
    );
    assert!(
        !is_within(&feet, [0.02, 0.03, -14.01]) && is_within(&feet, [0.02, 4.03, -14.01]),
        "a hole of 3.2 mm"
    );
}

#[test]
fn model_of_a_hollow_bar_takes_connectors_at_its_openings() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, model) = (bar_with_spur(folder.path()), folder.path().join("pipe.stl"));
    let told = done(&[
        &"model",
        &volume,
        &"--target",
        &"bone",
        &"--out",
        &model,
        &"--hollow",
        &"--connector",
        &"6,10,12",
    ]);
    assert_eq!(told["mesh_read_back"]["genus"], 1, "{told}");
    let mesh = interchange::read_mesh(&model).unwrap().merged();
    // The bar ends at 20 mm; beyond it there is a tube with a wall from 3 to 5 mm.
    for z in [28.01, -28.01] {
        assert!(!is_within(&mesh, [0.03, 0.02, z]) && is_within(&mesh, [4.03, 0.02, z]));
        assert!(!is_within(&mesh, [6.03, 0.02, z]));
    }
}

#[test]
fn model_as_dicom_is_an_encapsulated_surface_that_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, model) = (bar_with_spur(folder.path()), folder.path().join("model.dcm"));
    done(&[&"model", &volume, &"--target", &"bone", &"--out", &model, &"--min-wall-mm", &"0"]);
    let mesh = interchange::read_encapsulated_stl(&model).unwrap();
    assert!(printing::check(&mesh).is_sound());
}

#[test]
fn model_that_cannot_be_made_as_asked_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, model) = (bar_with_spur(folder.path()), folder.path().join("model.3mf"));
    let asked: [(&[&str], &str); 6] = [
        (&["--cut", "0,0,0,0,0,1", "--joint", "pegs", "--peg-mm", "15"], "peg"),
        (&["--min-wall-mm", "90"], "wall"),
        (&["--text", "naïve"], "letter"),
        (&["--hollow", "--wall-mm", "1"], "1.5 mm"),
        (&["--printer", "laser"], "filament"),
        (&["--drop-below-mm3", "0", "--presets", "none.toml"], "none.toml"),
    ];
    for (options, told) in asked {
        let mut arguments: Vec<crate::program::Argument<'_>> =
            vec![&"model", &volume, &"--target", &"bone", &"--out", &model];
        arguments.extend(options.iter().map(|option| option as crate::program::Argument<'_>));
        refused(&arguments, &[told]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{options:?}");
    }
}

#[test]
fn nothing_is_sought_outside_the_field_of_view_or_at_its_rim() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, labels) = (bone(folder.path(), 600.0), folder.path().join("labels.nii.gz"));
    let mask_of = |name: &str, shape: [usize; 3]| {
        let grid = VolumeGrid::centred(shape, [1.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let seen = Array3::from_shape_fn((shape[2], shape[1], shape[0]), |(_, _, x)| f32::from(x < 30));
        let path = folder.path().join(name);
        write_volume(&Volume::new(grid, seen, Quantity::Unknown), &path, &WriteOptions::default()).unwrap();
        path
    };
    let mask = mask_of("mask.nii.gz", [60, 56, 48]);
    let told = done(&[&"segment", &volume, &"--mask", &mask, &"--target", &"bone", &"--out", &labels]);
    // The bone reaches from voxel 18 to 46; the field of view ends at 29, its rim is four voxels wide.
    assert_eq!(told["structures"][0]["bounds_voxels"][0][1], 25, "{told}");
    let other = mask_of("other.nii.gz", [60, 56, 47]);
    let expected = "expected a mask on the grid of";
    refused(&[&"segment", &volume, &"--mask", &other, &"--target", &"bone", &"--out", &labels], &[expected]);
}
