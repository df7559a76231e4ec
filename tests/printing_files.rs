//! Files of models against programs that nobody here wrote: lib3mf reads our packages, pydicom and dciodvfy our
//! encapsulated surfaces, trimesh and lib3mf agree on sizes.

use carm::{TriangleMesh, VolumeGrid};
use interchange::{EncapsulatedStl, MeshFile, MeshPart, read_mesh, write_encapsulated_stl, write_mesh};
use isocenter_tests::run_oracle;
use nalgebra::{Matrix3, Point3};
use printing::{Field, Silent, surface};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A ball at a place, mm.
fn ball(centre: [f64; 3], radius: f64) -> TriangleMesh {
    let grid = VolumeGrid::centred([24; 3], [1.0; 3], Matrix3::identity(), Point3::from(centre)).unwrap();
    let field = Field::from_fn(grid, |p| radius - (p - Point3::from(centre)).norm()).unwrap();
    surface(&field, &mut Silent).unwrap()
}

fn bounds(mesh: &TriangleMesh) -> [[f64; 3]; 2] {
    let along = |axis: usize| mesh.vertices_mm.iter().map(move |p| f64::from(p[axis]));
    [
        [0, 1, 2].map(|axis| along(axis).fold(f64::INFINITY, f64::min)),
        [0, 1, 2].map(|axis| along(axis).fold(f64::NEG_INFINITY, f64::max)),
    ]
}

#[test]
fn printing_3mf_is_read_by_lib3mf_with_units_sizes_colours_and_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.3mf");
    let part = |name: &str, mesh: TriangleMesh, colour| MeshPart {
        name: name.into(),
        mesh,
        colour: Some(colour),
        infill_percent: Some(50),
    };
    let parts = vec![
        part("bone & marrow", ball([30.0, -12.5, 4.0], 8.0), [236, 228, 208]),
        part("vessel", ball([60.25, -12.5, 4.0], 6.0), [40, 80, 220]),
    ];
    let metadata = vec![("Title".into(), "a <model>".into()), ("Source".into(), "0123".into())];
    let file = MeshFile { parts, metadata, ..MeshFile::default() };
    write_mesh(&path, &file).unwrap();
    let told = run_oracle("read_3mf.py", &[path.to_str().unwrap()]);
    assert_eq!(told["is_millimetre"], true, "{told}");
    assert_eq!(told["warnings"], json!([]), "{told}");
    assert_eq!(told["metadata"]["Title"], "a <model>", "{told}");
    let objects = told["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 2);
    for (object, part) in objects.iter().zip(&file.parts) {
        assert_eq!(object["name"], part.name.as_str());
        assert_eq!(object["is_manifold_and_oriented"], true, "{told}");
        assert_eq!(object["triangles"], part.mesh.triangles.len());
        assert_eq!(object["colour"], json!(part.colour.unwrap()));
        let [low, high] = bounds(&part.mesh);
        for (found, expected) in [("low", low), ("high", high)] {
            for axis in 0..3 {
                let found = object[found][axis].as_f64().unwrap();
                assert!((found - expected[axis]).abs() < 1e-4, "{found} against {}", expected[axis]);
            }
        }
    }
    assert_eq!(read_mesh(&path).unwrap().parts.len(), 2);
}

#[test]
fn printing_encapsulated_stl_is_clean_to_dciodvfy_and_holds_the_surface_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dcm");
    let mesh = TriangleMesh {
        vertices_mm: vec![[0.0, 0.0, 0.0], [10.25, 0.0, 0.0], [0.0, 7.5, 0.0], [0.0, 0.0, 3.1]],
        triangles: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
    };
    let document = EncapsulatedStl {
        title: "bone model".into(),
        frame_of_reference_uid: Some("2.25.77".into()),
        is_modified: true,
        ..EncapsulatedStl::default()
    };
    write_encapsulated_stl(&path, &mesh, &document).unwrap();
    assert_clean(&path, "EncapsulatedSTL");
    let told = run_oracle("read_encapsulated.py", &[path.to_str().unwrap()]);
    for (what, expected) in [
        ("class", "Encapsulated STL Storage"),
        ("mime", "model/stl"),
        ("modality", "M3D"),
        ("unit", "mm"),
        ("frame_of_reference", "2.25.77"),
        ("title", "bone model, not reviewed"),
    ] {
        assert_eq!(told[what], expected, "{told}");
    }
    assert_eq!(
        corners(&told["stl"]),
        mesh.triangles.concat().iter().map(|&v| mesh.vertices_mm[v as usize]).collect::<Vec<_>>()
    );
}

/// The corners in the records of a binary STL file, without its header and count, in hexadecimal.
fn corners(hex: &Value) -> Vec<[f32; 3]> {
    let hex = hex.as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let number = |at: &[u8]| f32::from_le_bytes(at.try_into().unwrap());
    let point = |bytes: &[u8]| [0, 4, 8].map(|at| number(&bytes[at..at + 4]));
    bytes.chunks_exact(50).flat_map(|record| [12, 24, 36].map(|at| point(&record[at..at + 12]))).collect()
}

fn assert_clean(path: &Path, kind: &str) {
    let output =
        Command::new("dciodvfy").arg(path).output().expect("dciodvfy (Debian dicom3tools) must be there");
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // It names the object it recognised; without that it judged nothing.
    assert!(told.contains(kind), "{told}");
    let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("Error")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
