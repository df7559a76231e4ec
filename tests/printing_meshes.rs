//! Printed surfaces against programs that nobody here wrote: PyMeshLab, trimesh, manifold3d and admesh judge the files.

#[path = "../printing/src/surface/nasty.rs"]
mod nasty;

use carm::TriangleMesh;
use isocenter_tests::run_oracle;
use printing::{DefectKind, Field, Silent, check, decimate, surface};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Random volumes whose surfaces are judged.
const VOLUMES: u64 = 200;

/// Binary STL: a header of 80 bytes, a count, then normal, corners and two bytes a triangle.
fn write_stl(mesh: &TriangleMesh, path: &Path) {
    let mut bytes = vec![0_u8; 80];
    bytes.extend((mesh.triangles.len() as u32).to_le_bytes());
    for triangle in &mesh.triangles {
        bytes.extend([0; 12]);
        for corner in triangle.map(|vertex| mesh.vertices_mm[vertex as usize]) {
            bytes.extend(corner.iter().flat_map(|x| x.to_le_bytes()));
        }
        bytes.extend([0; 2]);
    }
    std::fs::write(path, bytes).unwrap();
}

/// The loose triangles of a binary STL file.
fn read_stl(path: &Path) -> TriangleMesh {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let count = u32::from_le_bytes(bytes[80..84].try_into().unwrap());
    assert_eq!(bytes.len(), 84 + 50 * count as usize);
    let corner = |i: u32| {
        let at = 84 + 50 * (i / 3) as usize + 12 + 12 * (i % 3) as usize;
        [number(at), number(at + 4), number(at + 8)]
    };
    TriangleMesh {
        vertices_mm: (0..3 * count).map(corner).collect(),
        triangles: (0..count).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect(),
    }
}

/// Each file's verdicts beside our own report of the file read back.
fn assert_all_agree(files: &[PathBuf]) {
    let names: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let verdicts = run_oracle("mesh_verdicts.py", &names);
    let verdicts = verdicts.as_array().unwrap();
    assert_eq!(verdicts.len(), files.len());
    for (path, verdict) in files.iter().zip(verdicts) {
        let report = check(&read_stl(path));
        let told = format!("{}: {report}, {verdict}", path.display());
        assert!(report.is_sound(), "{told}");
        let is_zero = |program: &str, what: &str| verdict[program][what].as_i64() == Some(0);
        for what in [
            "open_edges",
            "non_manifold_edges",
            "non_manifold_vertices",
            "self_intersecting_faces",
            "degenerate_faces",
        ] {
            assert!(is_zero("pymeshlab", what), "{what}: {told}");
        }
        for what in ["is_watertight", "is_consistent", "is_volume"] {
            assert_eq!(verdict["trimesh"][what], Value::Bool(true), "{what}: {told}");
        }
        for what in [
            "Disconnected at first",
            "Edges fixed",
            "Facets removed",
            "Facets added",
            "Facets reversed",
            "Backwards edges",
            "Degenerate facets",
        ] {
            assert!(is_zero("admesh", what), "{what}: {told}");
        }
        assert_eq!(verdict["manifold3d"]["status"], "Error.NoError", "{told}");
        for program in ["pymeshlab", "trimesh"] {
            assert_eq!(verdict[program]["components"].as_u64(), Some(report.components as u64), "{told}");
        }
        // PyMeshLab and manifold3d count handles for one body as a whole.
        let per_part = report.genus.unwrap() as i64;
        assert_eq!(verdict["pymeshlab"]["genus"].as_i64(), Some(per_part), "{told}");
        for program in ["trimesh", "manifold3d"] {
            let volume = verdict[program]["volume"].as_f64().unwrap();
            assert!((volume / report.volume_mm3 - 1.0).abs() < 1e-3, "{program}: {told}");
        }
    }
}

#[test]
fn printing_surfaces_of_200_random_volumes_are_sound_to_every_checker() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..VOLUMES)
        .map(|seed| {
            let (grid, values) = nasty::nasty_field(seed);
            let mut mesh = surface(&Field::new(grid, values).unwrap(), &mut Silent).unwrap();
            // Every second one goes through decimation, too.
            if seed / 10 % 2 == 1 {
                mesh = decimate(&mesh, mesh.triangles.len() / 2, 0.5, &mut Silent).unwrap().mesh;
            }
            let path = folder.path().join(format!("{seed}.stl"));
            write_stl(&mesh, &path);
            path
        })
        .collect();
    assert_all_agree(&files);
}

/// What is broken is broken to them, too.
#[test]
fn printing_check_counts_what_pymeshlab_counts_on_broken_meshes() {
    let folder = tempfile::tempdir().unwrap();
    let (grid, _) = nasty::nasty_field(3);
    let ball = Field::from_fn(grid, |p| 2.0 - (p - grid.centre()).norm()).unwrap();
    let mut open = surface(&ball, &mut Silent).unwrap();
    let shifted: Vec<[f32; 3]> = open.vertices_mm.iter().map(|p| [p[0] + 0.7, p[1] + 0.3, p[2]]).collect();
    let mut crossing = open.clone();
    let first = open.vertices_mm.len() as u32;
    crossing.vertices_mm.extend(shifted);
    crossing.triangles.extend(open.triangles.iter().map(|t| t.map(|vertex| vertex + first)));
    open.triangles.truncate(open.triangles.len() - 5);
    let files = [("open", &open), ("crossing", &crossing)].map(|(name, mesh)| {
        let path = folder.path().join(format!("{name}.stl"));
        write_stl(mesh, &path);
        path
    });
    let verdicts = run_oracle("mesh_verdicts.py", &[files[0].to_str().unwrap(), files[1].to_str().unwrap()]);
    let told = |file: usize, what: &str| verdicts[file]["pymeshlab"][what].as_u64().unwrap() as usize;
    let [open, crossing] = files.map(|path| check(&read_stl(&path)));
    assert!(open.count(DefectKind::OpenEdge) > 0);
    assert_eq!(open.count(DefectKind::OpenEdge), told(0, "open_edges"));
    assert_eq!(open.count(DefectKind::NonManifoldEdge), told(0, "non_manifold_edges"));
    assert!(crossing.self_intersecting_faces > 0);
    assert_eq!(crossing.self_intersecting_faces, told(1, "self_intersecting_faces"));
}
