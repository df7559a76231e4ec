use super::*;

const CUBE_VERTICES: [[f32; 3]; 8] = [
    [0.0, 0.0, 0.0],
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [1.0, 1.0, 0.0],
    [0.0, 0.0, 1.0],
    [1.0, 0.0, 1.0],
    [0.0, 1.0, 1.0],
    [1.0, 1.0, 1.0],
];
const CUBE_TRIANGLES: [[u32; 3]; 12] = [
    [0, 2, 1],
    [1, 2, 3],
    [4, 5, 6],
    [5, 7, 6],
    [0, 1, 4],
    [1, 5, 4],
    [2, 6, 3],
    [3, 6, 7],
    [0, 4, 2],
    [2, 4, 6],
    [1, 3, 5],
    [3, 7, 5],
];

fn cube(at: [f32; 3], size: f32) -> TriangleMesh {
    TriangleMesh {
        vertices_mm: CUBE_VERTICES.map(|v| [0, 1, 2].map(|i| at[i] + size * v[i])).to_vec(),
        triangles: CUBE_TRIANGLES.to_vec(),
    }
}

fn together(meshes: &[TriangleMesh]) -> TriangleMesh {
    let mut all = TriangleMesh::default();
    for mesh in meshes {
        let first = all.vertices_mm.len() as u32;
        all.vertices_mm.extend(&mesh.vertices_mm);
        all.triangles.extend(mesh.triangles.iter().map(|t| t.map(|v| v + first)));
    }
    all
}

fn counts(mesh: &TriangleMesh) -> Vec<(DefectKind, usize)> {
    check(mesh).defects.iter().map(|defects| (defects.kind, defects.count)).collect()
}

#[test]
fn check_finds_a_cube_sound_with_its_volume_area_and_genus() {
    let report = check(&cube([3.0, -2.0, 7.0], 2.0));
    assert!(report.is_sound(), "{report}");
    assert!((report.volume_mm3 - 8.0).abs() < 1e-12 && (report.area_mm2 - 24.0).abs() < 1e-12);
    assert_eq!((report.vertices, report.components, report.genus), (8, 1, Some(0)));
    assert_eq!(report.bounds_mm, Some([[3.0, -2.0, 7.0], [5.0, 0.0, 9.0]]));
}

#[test]
fn check_counts_each_defect_alone() {
    let whole = cube([0.0; 3], 1.0);
    let mut open = whole.clone();
    open.triangles.pop();
    assert_eq!(counts(&open), [(DefectKind::OpenEdge, 3)]);
    let mut turned = whole.clone();
    turned.triangles[4].swap(0, 1);
    assert_eq!(counts(&turned), [(DefectKind::InconsistentEdge, 3)]);
    let touching_corners = together(&[whole.clone(), cube([1.0; 3], 1.0)]);
    assert_eq!(
        counts(&touching_corners),
        [(DefectKind::NonManifoldVertex, 1)],
        "corners that touch are one vertex"
    );
    let touching_edges = together(&[whole.clone(), cube([1.0, 1.0, 0.0], 1.0)]);
    assert_eq!(counts(&touching_edges)[0], (DefectKind::NonManifoldEdge, 1));
    let mut invalid = whole.clone();
    invalid.triangles.push([0, 1, 99]);
    invalid.vertices_mm.push([f32::NAN, 0.0, 0.0]);
    invalid.triangles.push([0, 1, 8]);
    assert_eq!(counts(&invalid), [(DefectKind::InvalidFace, 2)]);
    let mut double = whole.clone();
    double.triangles.push([1, 0, 2]);
    assert_eq!(counts(&double), [(DefectKind::NonManifoldEdge, 3), (DefectKind::DuplicateFace, 1)]);
    let mut needle = whole.clone();
    needle.vertices_mm.push([0.5, 0.0, 0.0]);
    needle.triangles.push([0, 1, 8]);
    assert!(check(&needle).count(DefectKind::DegenerateFace) == 1);
    let mut inward = whole;
    inward.triangles.iter_mut().for_each(|t| t.swap(0, 1));
    let report = check(&inward);
    assert!(report.defects.is_empty() && !report.is_sound() && report.volume_mm3 < 0.0, "{report}");
}

#[test]
fn check_counts_pairs_of_triangles_that_pierce_each_other() {
    // A corner of the second cube lies within the first: three faces of either pierce three of the other.
    let report = check(&together(&[cube([0.0; 3], 1.0), cube([0.5, 0.6, 0.7], 1.0)]));
    assert!(report.count(DefectKind::SelfIntersection) >= 6, "{report}");
    assert!(report.self_intersecting_faces >= 6 && report.components == 2);
    let nested = check(&together(&[cube([0.0; 3], 1.0), cube([0.25; 3], 0.5)]));
    assert_eq!(nested.count(DefectKind::SelfIntersection), 0);
    let apart = check(&together(&[cube([0.0; 3], 1.0), cube([1.000_000_1, 0.0, 0.0], 1.0)]));
    assert!(apart.is_sound(), "{apart}");
}

#[test]
fn check_takes_an_empty_mesh_and_loose_triangles() {
    let empty = check(&TriangleMesh::default());
    assert!(!empty.is_sound() && empty.faces == 0 && empty.bounds_mm.is_none());
    let unshared = cube([0.0; 3], 1.0);
    let soup = TriangleMesh {
        vertices_mm: unshared.triangles.iter().flatten().map(|&v| unshared.vertices_mm[v as usize]).collect(),
        triangles: (0..12).map(|i| [3 * i, 3 * i + 1, 3 * i + 2]).collect(),
    };
    let report = check(&soup);
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.vertices, report.coincident_vertices), (8, 28));
}
