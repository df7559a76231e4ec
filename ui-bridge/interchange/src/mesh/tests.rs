//! Round trips through every format, and files that lie.

use super::*;
use std::fs;
use std::path::PathBuf;

/// A tetrahedron whose coordinates need all their bits.
fn tetrahedron() -> TriangleMesh {
    TriangleMesh {
        vertices_mm: vec![
            [0.1, -200.333_33, 1e-7],
            [10.000_001, -200.0, 0.0],
            [0.0, -190.700_01, 0.0],
            [1.0, -199.0, 12.3],
        ],
        triangles: vec![[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]],
    }
}

fn two_parts() -> MeshFile {
    let mut second = tetrahedron();
    second.vertices_mm.iter_mut().for_each(|v| v[0] += 40.5);
    let mut file = MeshFile::of("bone <left> & \"right\"", tetrahedron(), Some([227, 218, 201]));
    file.parts.push(MeshPart {
        name: "vessel".into(),
        mesh: second,
        colour: Some([30, 60, 220]),
        infill_percent: None,
    });
    file.metadata =
        vec![("Description".into(), "for research use & < 5".into()), ("case".into(), "7".into())];
    file
}

/// Corner coordinates of every triangle, in order.
fn corners(mesh: &TriangleMesh) -> Vec<[[f32; 3]; 3]> {
    mesh.triangles.iter().map(|t| t.map(|v| mesh.vertices_mm[v as usize])).collect()
}

fn written(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn mesh_comes_back_to_the_bit_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let file = two_parts();
    for name in ["a.stl", "a.3mf", "a.obj", "a.ply"] {
        let path = folder.path().join(name);
        write_mesh(&path, &file).unwrap();
        let read = read_mesh(&path).unwrap();
        assert_eq!(corners(&read.merged()), corners(&file.merged()), "{name}");
        assert_eq!(read.merged().vertices_mm.len(), 8, "{name}");
        assert_eq!(read.warnings.is_empty(), name == "a.3mf", "{name}: {:?}", read.warnings);
    }
    let read = read_mesh(&folder.path().join("a.3mf")).unwrap();
    assert_eq!((read.parts, read.metadata), (file.parts, file.metadata));
    assert!(fs::read_to_string(folder.path().join("a.mtl")).unwrap().contains("Kd 0.8902"));
    let again = folder.path().join("again.3mf");
    write_mesh(&again, &two_parts()).unwrap();
    assert_eq!(fs::read(again).unwrap(), fs::read(folder.path().join("a.3mf")).unwrap());
}

#[test]
fn text_and_big_endian_files_are_read_as_binary_ones() {
    let folder = tempfile::tempdir().unwrap();
    let stl = b"solid One\n facet normal 0 0 1\n outer loop\n VERTEX 0 0 0\n vertex 1 0 0\n vertex 0 1e0 0\n endloop\n\
                endfacet\nendsolid One\nsolid two\nendsolid\n";
    let read = read_mesh(&written(folder.path(), "a.stl", stl)).unwrap();
    assert_eq!(read.parts.len(), 2);
    assert_eq!((read.parts[0].name.as_str(), read.triangle_count()), ("One", 1));
    let obj =
        b"o square\nv 0 0 0\nv 1 0 0 0.5 0.5 0.5\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1//1 2//1 3//1 -1 # all\n";
    let read = read_mesh(&written(folder.path(), "a.obj", obj)).unwrap();
    assert_eq!(read.merged().triangles, [[0, 1, 2], [0, 2, 3]]);
    let ply = b"ply\r\nformat ascii 1.0\r\nelement vertex 4\r\nproperty double x\r\nproperty float y\r\nproperty float z\r\n\
                element face 1\r\nproperty list uchar int vertex_index\r\nend_header\r\n0 0 0\n1 0 0 1 1 0\n0 1 0\n4 0 1 2 3\n";
    assert_eq!(read_mesh(&written(folder.path(), "a.ply", ply)).unwrap().merged(), read.merged());
    let mut big =
        b"ply\nformat binary_big_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty \
                    float z\nelement face 1\nproperty list uchar ushort vertex_indices\nend_header\n"
            .to_vec();
    for x in [0.0_f32, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 2.5, 0.0] {
        big.extend(x.to_be_bytes());
    }
    big.extend([3, 0, 0, 0, 1, 0, 2]);
    let read = read_mesh(&written(folder.path(), "b.ply", &big)).unwrap().merged();
    assert_eq!((read.vertices_mm[1], read.triangles[0]), ([1.5, 0.0, 0.0], [0, 1, 2]));
}

/// A package with this model.
fn package(folder: &Path, model: &str) -> PathBuf {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("3D/3dmodel.model", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(model.as_bytes()).unwrap();
    written(folder, "p.3mf", &archive.finish().unwrap().into_inner())
}

const TRIANGLE: &str = "<mesh><vertices><vertex x=\"0\" y=\"0\" z=\"0\"/><vertex x=\"1\" y=\"0\" z=\"0\"/>\
                        <vertex x=\"0\" y=\"1\" z=\"0\"/></vertices><triangles><triangle v1=\"0\" v2=\"1\" v3=\"2\"/>\
                        </triangles></mesh>";

#[test]
fn objects_of_3mf_stand_where_the_file_puts_them_in_millimetres() {
    let folder = tempfile::tempdir().unwrap();
    let model = format!(
        "<model unit=\"inch\"><resources><object id=\"1\">{TRIANGLE}</object><object id=\"2\"><components><component \
         objectid=\"1\" transform=\"-1 0 0 0 1 0 0 0 1 2 0 0\"/></components></object></resources><build><item \
         objectid=\"2\" transform=\"1 0 0 0 1 0 0 0 1 0 0 10\"/></build></model>"
    );
    let mesh = read_mesh(&package(folder.path(), &model)).unwrap().merged();
    assert_eq!(mesh.vertices_mm, [[50.8, 0.0, 254.0], [25.4, 0.0, 254.0], [50.8, 25.4, 254.0]]);
    assert_eq!(mesh.triangles, [[0, 2, 1]], "mirrored triangles keep their side");
}

#[test]
fn objects_of_3mf_that_hold_themselves_or_multiply_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let twice = |id: usize| {
        let inner = format!("<component objectid=\"{}\"/>", id - 1).repeat(16);
        format!("<object id=\"{id}\"><components>{inner}</components></object>")
    };
    let many: String = (2..12).map(twice).collect();
    for (objects, last) in [
        (format!("<object id=\"1\">{TRIANGLE}</object>{many}"), 11),
        ("<object id=\"1\"><components><component objectid=\"1\"/></components></object>".into(), 1),
    ] {
        let model = format!(
            "<model><resources>{objects}</resources><build><item objectid=\"{last}\"/></build></model>"
        );
        let error = read_mesh(&package(folder.path(), &model)).unwrap_err().to_string();
        assert!(error.contains("expected at most") && error.contains("found"), "{error}");
    }
}

#[test]
fn files_that_lie_are_refused_with_what_was_expected_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut stl = vec![0; 84];
    stl[80..].copy_from_slice(&u32::MAX.to_le_bytes());
    let ply = b"ply\nformat binary_little_endian 1.0\nelement vertex 18446744073709551615\nproperty float x\nend_header\n";
    let list = b"ply\nformat binary_little_endian 1.0\nelement face 1\nproperty list uint int vertex_indices\nend_header\n\
                 \xff\xff\xff\xff";
    let cases: [(&str, &[u8]); 9] = [
        ("many.stl", &stl),
        ("empty.stl", b""),
        ("open.stl", b"solid a\nfacet normal 0 0 1\nvertex 0 0 0\n"),
        ("many.ply", ply),
        ("list.ply", list),
        ("index.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n"),
        ("zero.obj", b"v 0 0 0\nf 0 0 -9223372036854775808\n"),
        ("not.3mf", b"PK\x03\x04 not a package"),
        ("a.xyz", b""),
    ];
    for (name, content) in cases {
        let error = read_mesh(&written(folder.path(), name, content)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("expected") && error.contains("found"), "{error}");
    }
    let broken = format!("<model><resources><object id=\"1\">{TRIANGLE}").replace("v3=\"2\"", "v3=\"3\"");
    for model in [broken.as_str(), "<model><build/></model>", "<model", ""] {
        assert!(read_mesh(&package(folder.path(), model)).is_err(), "{model}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.stl", "a.3mf", "a.obj", "a.ply"] {
        let path = folder.path().join(name);
        write_mesh(&path, &two_parts()).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            // Whether it still means something is the format's business; that it ends in a result is ours.
            let _ = read_mesh(&written(folder.path(), name, &damaged));
            if at % 7 == 0 {
                let _ = read_mesh(&written(folder.path(), name, &whole[..at]));
            }
        }
    }
}

#[test]
fn mesh_that_no_format_holds_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut broken = tetrahedron();
    broken.vertices_mm[2][1] = f32::NAN;
    let mut dangling = tetrahedron();
    dangling.triangles[3][0] = 4;
    for mesh in [broken, dangling, TriangleMesh::default()] {
        for name in ["a.stl", "a.3mf", "a.obj", "a.ply"] {
            let path = folder.path().join(name);
            let error = write_mesh(&path, &MeshFile::of("a", mesh.clone(), None)).unwrap_err().to_string();
            assert!(error.contains("expected") && !path.exists(), "{error}");
        }
    }
}
