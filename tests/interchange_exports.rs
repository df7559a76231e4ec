//! Models and labels against programs that nobody here wrote: lib3mf, dcmtk, pydicom, highdicom and dciodvfy.

use crate::interchange_volumes::assert_no_errors;
use carm::{Quantity, TriangleMesh, Volume, VolumeGrid};
use interchange::{
    Colour, EncapsulatedStl, MeshFile, MeshPart, Segment, SegmentProperty, read_encapsulated_stl,
    write_encapsulated_stl, write_mesh, write_segmentation,
};
use isocenter_tests::run_oracle;
use nalgebra::{Matrix3, Point3, Rotation3};
use ndarray::Array3;
use printing::{Field, Silent, surface};
use serde_json::{Value, json};

/// Where DICOM keeps places: decimal strings of sixteen characters.
const PLACE_TOLERANCE_MM: f64 = 1e-6;

fn ball(centre: [f64; 3], radius_mm: f64) -> TriangleMesh {
    let grid = VolumeGrid::centred([40; 3], [0.6; 3], Matrix3::identity(), Point3::from(centre)).unwrap();
    let field = Field::from_fn(grid, |p| radius_mm - (p - Point3::from(centre)).norm()).unwrap();
    surface(&field, &mut Silent).unwrap()
}

#[test]
fn interchange_3mf_tells_lib3mf_units_sizes_colours_and_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.3mf");
    let part = |name: &str, mesh: TriangleMesh, colour: Colour| MeshPart {
        name: name.into(),
        mesh,
        colour: Some(colour),
        infill_percent: Some(50),
    };
    let parts = vec![
        part("bone", ball([-31.0, 12.0, 107.0], 7.0), [236, 228, 208]),
        part("tumour", ball([3.0, 15.0, 90.0], 4.0), [240, 128, 160]),
    ];
    let faces: Vec<usize> = parts.iter().map(|part| part.mesh.triangles.len()).collect();
    write_mesh(
        &path,
        &MeshFile { parts, metadata: vec![("Title".into(), "two".into())], ..MeshFile::default() },
    )
    .unwrap();
    let told = run_oracle("exports.py", &["3mf", path.to_str().unwrap()]);
    assert_eq!((&told["unit"], &told["warnings"]), (&json!("MilliMeter"), &json!([])), "{told}");
    assert_eq!((&told["build_items"], &told["metadata"]["Title"]), (&json!(2), &json!("two")), "{told}");
    let expected = [
        ("bone", [-38.0, 5.0, 100.0], 14.0, [236, 228, 208]),
        ("tumour", [-1.0, 11.0, 86.0], 8.0, [240, 128, 160]),
    ];
    for (i, (name, low, size, colour)) in expected.into_iter().enumerate() {
        let part = &told["parts"][i];
        assert_eq!((&part["name"], &part["colour"]), (&json!(name), &json!(colour)), "{told}");
        assert_eq!(part["faces"], json!(faces[i]));
        assert_eq!(part["is_manifold_and_oriented"], true);
        for axis in 0..3 {
            let at = |end: &str| part[end][axis].as_f64().unwrap();
            // A ball's poles lie between the grid's lines, a voxel of 0.6 mm apart.
            assert!((at("low_mm") - low[axis]).abs() < 0.1, "{told}");
            assert!((at("high_mm") - low[axis] - size).abs() < 0.1, "{told}");
        }
    }
}

#[test]
fn interchange_encapsulated_stl_is_extracted_by_dcmtk_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("model.dcm"), folder.path().join("extracted.stl"));
    let uid = "2.25.1002".to_string();
    let document = EncapsulatedStl {
        title: "bone".into(),
        frame_of_reference_uid: Some(uid),
        ..EncapsulatedStl::default()
    };
    write_encapsulated_stl(&path, &ball([9.0, -4.0, 55.0], 8.0), &document).unwrap();
    let told = run_oracle("exports.py", &["encapsulated", path.to_str().unwrap(), out.to_str().unwrap()]);
    let expected = json!({ "sha256": told["sha256"], "sha256_by_pydicom": told["sha256"], "kind": "model/stl", "unit": "mm",
        "sop_class": "Encapsulated STL Storage", "frame_of_reference_uid": "2.25.1002", "is_mirrored": "NO" });
    assert_eq!(told, expected);
    // The file that came out is the surface that went in, and what we read back ourselves.
    let extracted = interchange::read_mesh(&out).unwrap().merged();
    assert_eq!(extracted, read_encapsulated_stl(&path).unwrap());
    assert_eq!(extracted.triangles.len(), ball([9.0, -4.0, 55.0], 8.0).triangles.len());
    assert_no_errors(&path, "EncapsulatedSTL");
}

/// Two segments that touch, one far away, labels with gaps between, on an oblique grid.
fn labels(is_left_handed: bool) -> (Volume, Vec<Segment>) {
    let mut direction = *Rotation3::from_euler_angles(0.35, -0.2, 0.8).matrix();
    if is_left_handed {
        direction.set_column(0, &(-direction.column(0)).into_owned());
    }
    let grid =
        VolumeGrid::new([13, 7, 9], [0.5, 0.75, 2.25], direction, Point3::new(-31.5, 12.25, 107.0)).unwrap();
    let values = Array3::from_shape_fn([9, 7, 13], |(z, y, x)| match (z, y, x) {
        (2..5, 1..6, 2..5) => 3.0,
        (3..5, 1..4, 5..9) => 26.0,
        (8, 6, 12) => 700.0,
        _ => 0.0,
    });
    let mut volume = Volume::new(grid, values, Quantity::Unknown);
    volume.frame_of_reference_uid = Some("2.25.1002".into());
    let segment = |label: u16, name: &str, property| Segment { label, name: name.into(), property };
    let segments = vec![
        segment(3, "bone", SegmentProperty::Bone),
        segment(26, "vertebra T4", SegmentProperty::Vertebra),
        segment(700, "metal", SegmentProperty::Metal),
    ];
    (volume, segments)
}

#[test]
fn interchange_segmentation_comes_back_from_highdicom_voxel_by_voxel() {
    let folder = tempfile::tempdir().unwrap();
    for is_left_handed in [false, true] {
        let (volume, segments) = labels(is_left_handed);
        let path = folder.path().join(format!("labels{is_left_handed}.dcm"));
        write_segmentation(&path, &volume, &segments).unwrap();
        assert_no_errors(&path, "Segmentation");
        let told = run_oracle("exports.py", &["labels", path.to_str().unwrap()]);
        assert_eq!(told["frame_of_reference_uid"], "2.25.1002");
        let meanings = json!([
            { "number": 1, "name": "bone", "category": "Anatomical Structure", "type": "Bone", "algorithm": "AUTOMATIC" },
            { "number": 2, "name": "vertebra T4", "category": "Anatomical Structure", "type": "Vertebra", "algorithm": "AUTOMATIC" },
            { "number": 3, "name": "metal", "category": "Physical object", "type": "Metal", "algorithm": "AUTOMATIC" },
        ]);
        assert_eq!(told["segments"], meanings);
        assert_same_labels(&told, &volume, &segments);
    }
}

/// Every voxel that they read has the label that lies at its place, and all of ours are among them.
fn assert_same_labels(told: &Value, volume: &Volume, segments: &[Segment]) {
    let number = |value: &Value| value.as_f64().unwrap();
    let affine = nalgebra::Matrix4::from_fn(|row, column| number(&told["affine"][row][column]));
    let [nx, ny, nz] = [0, 1, 2].map(|axis| number(&told["shape"][axis]) as usize);
    let mut seen = vec![0_usize; segments.len()];
    for (at, label) in told["labels"].as_array().unwrap().iter().enumerate() {
        let place = nalgebra::Point3::new((at % nx) as f64, (at / nx % ny) as f64, (at / (nx * ny)) as f64);
        let voxel = volume.grid.voxel(&affine.transform_point(&place));
        let off = voxel.iter().map(|x| (x - x.round()).abs()).fold(0.0, f64::max);
        assert!(off < PLACE_TOLERANCE_MM, "{place} lies at {voxel:?}");
        let [x, y, z] = voxel.map(|x| x.round() as usize);
        let found = number(label) as usize;
        let expected = segments.iter().position(|s| f32::from(s.label) == volume.values[[z, y, x]]);
        assert_eq!(found, expected.map_or(0, |i| i + 1), "[z, y, x] = {:?}", [z, y, x]);
        expected.into_iter().for_each(|i| seen[i] += 1);
    }
    assert!(nz <= volume.grid.shape[2]);
    for (segment, seen) in segments.iter().zip(seen) {
        let there = volume.values.iter().filter(|&&value| value == f32::from(segment.label)).count();
        assert_eq!(seen, there, "{}", segment.name);
    }
}

#[test]
fn interchange_segmentation_refuses_labels_without_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.dcm");
    let (volume, mut segments) = labels(false);
    segments.pop();
    let told = write_segmentation(&path, &volume, &segments).unwrap_err().to_string();
    assert!(told.contains("label 700") && !path.exists(), "{told}");
}
