//! STL: triangles with their corners' coordinates, binary (little-endian) or as text.
//!
//! Binary: a header of 80 bytes, a count, then 50 bytes a triangle: normal, three corners, two bytes that some
//! programs use for colour. Normals are derived from the corners when writing and left unread.

use super::{MeshFile, MeshPart, coordinates, one_line, shown};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use carm::TriangleMesh;
use std::collections::HashMap;
use std::path::Path;

const HEADER_BYTES: usize = 80;
const TRIANGLE_BYTES: usize = 50;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<MeshFile, InterchangeError> {
    let is_text = bytes.trim_ascii_start().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"solid"));
    let declared = declared_length(bytes);
    // Many binary files begin with "solid", too: then the length decides.
    if is_text && declared.is_none_or(|length| length != bytes.len() as u64) {
        return read_text(path, bytes);
    }
    read_binary(path, bytes)
}

/// Length of a binary file by its count.
fn declared_length(bytes: &[u8]) -> Option<u64> {
    let count = bytes.get(HEADER_BYTES..HEADER_BYTES + 4)?;
    let count = u32::from_le_bytes(count.try_into().ok()?);
    Some((HEADER_BYTES + 4) as u64 + TRIANGLE_BYTES as u64 * u64::from(count))
}

fn read_binary(path: &Path, bytes: &[u8]) -> Result<MeshFile, InterchangeError> {
    let Some(declared) = declared_length(bytes) else {
        let expected = "STL of at least 84 bytes, or text that begins with solid";
        return Err(InterchangeError::content(path, "content", expected, format!("{} bytes", bytes.len())));
    };
    let found = bytes.len() as u64;
    let count = (declared - (HEADER_BYTES as u64 + 4)) / TRIANGLE_BYTES as u64;
    if found < declared {
        let expected = format!("{declared} bytes for the {count} triangles that it declares");
        return Err(InterchangeError::content(path, "length", expected, format!("{found} bytes")));
    }
    let header = String::from_utf8_lossy(&bytes[..HEADER_BYTES]);
    let name = one_line(header.trim_matches(|c: char| c.is_control() || c.is_whitespace()));
    let mut corners = Corners::default();
    for triangle in bytes[HEADER_BYTES + 4..declared as usize].chunks_exact(TRIANGLE_BYTES) {
        let number = |i: usize| {
            let at = 12 + 4 * i;
            f32::from_le_bytes([triangle[at], triangle[at + 1], triangle[at + 2], triangle[at + 3]])
        };
        corners.push([0, 3, 6].map(|i| [number(i), number(i + 1), number(i + 2)]));
    }
    let mut file = MeshFile::default();
    if found > declared {
        file.warnings.push(format!("{} bytes after the last triangle were left unread", found - declared));
    }
    file.parts.push(MeshPart { name, mesh: corners.mesh, ..MeshPart::default() });
    Ok(file)
}

/// Triangles from their corners' coordinates: corners at one place are one vertex.
#[derive(Default)]
struct Corners {
    mesh: TriangleMesh,
    index: HashMap<[u32; 3], u32>,
}

impl Corners {
    fn push(&mut self, triangle: [[f32; 3]; 3]) {
        let mesh = &mut self.mesh;
        let indices = triangle.map(|point| {
            // Adding zero makes -0 and 0 one number.
            *self.index.entry(point.map(|x| (x + 0.0).to_bits())).or_insert_with(|| {
                mesh.vertices_mm.push(point);
                mesh.vertices_mm.len() as u32 - 1
            })
        });
        mesh.triangles.push(indices);
    }
}

fn read_text(path: &Path, bytes: &[u8]) -> Result<MeshFile, InterchangeError> {
    let mut file = MeshFile::default();
    let mut name = String::new();
    let mut corners = Corners::default();
    let mut facet: Vec<[f32; 3]> = Vec::new();
    let mut is_open = false;
    for (index, line) in bytes.split(|&byte| byte == b'\n' || byte == b'\r').enumerate() {
        let line = String::from_utf8_lossy(line);
        let broken = |expected: &str, found: String| {
            InterchangeError::content(path, format!("line {}", index + 1), expected, found)
        };
        let mut words = line.split_ascii_whitespace();
        match words.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "facet" | "outer" | "endloop" => {}
            "solid" => {
                name = words.collect::<Vec<_>>().join(" ");
                is_open = true;
            }
            "vertex" => facet.push(coordinates(&mut words).map_err(|word| broken("three numbers", word))?),
            "endfacet" => {
                let found = std::mem::take(&mut facet);
                let triangle = <[[f32; 3]; 3]>::try_from(found)
                    .map_err(|found| broken("three corners of a facet", found.len().to_string()))?;
                corners.push(triangle);
            }
            "endsolid" => {
                let mesh = std::mem::take(&mut corners).mesh;
                file.parts.push(MeshPart { name: std::mem::take(&mut name), mesh, ..MeshPart::default() });
                is_open = false;
            }
            other => {
                let expected = "solid, facet, outer, vertex, endloop, endfacet or endsolid";
                return Err(broken(expected, format!("{:?}", shown(other))));
            }
        }
    }
    if is_open || !facet.is_empty() || !corners.mesh.triangles.is_empty() {
        return Err(InterchangeError::content(path, "end of the file", "endsolid", "no such line"));
    }
    Ok(file)
}

pub(super) fn write(path: &Path, file: &MeshFile) -> Result<(), InterchangeError> {
    let bytes = bytes(path, file)?;
    write_file(path, |writer| writer.write_all(&bytes))
}

/// The whole file.
pub(super) fn bytes(path: &Path, file: &MeshFile) -> Result<Vec<u8>, InterchangeError> {
    let count = u32::try_from(file.triangle_count()).map_err(|_| InterchangeError::NotRepresentable {
        path: path.into(),
        format: "STL",
        expected: format!("at most {} triangles", u32::MAX),
        found: file.triangle_count().to_string(),
    })?;
    let mut bytes = header(file).to_vec();
    bytes.reserve_exact(4 + TRIANGLE_BYTES * count as usize);
    bytes.extend(count.to_le_bytes());
    for part in &file.parts {
        for triangle in &part.mesh.triangles {
            let corners = triangle.map(|v| part.mesh.vertices_mm[v as usize]);
            let mut record = [0; TRIANGLE_BYTES];
            let numbers = unit_normal(&corners).into_iter().chain(corners.into_iter().flatten());
            for (bytes, number) in record.chunks_exact_mut(4).zip(numbers) {
                bytes.copy_from_slice(&number.to_le_bytes());
            }
            bytes.extend(record);
        }
    }
    Ok(bytes)
}

/// Name and remarks in ASCII, never beginning with `solid`, which would mean text.
fn header(file: &MeshFile) -> [u8; HEADER_BYTES] {
    let names: Vec<&str> = file.parts.iter().map(|part| part.name.as_str()).collect();
    let mut text = format!("Isocenter, mm: {}", names.join(", "));
    for (_, value) in &file.metadata {
        text += &format!("; {value}");
    }
    let mut header = [b' '; HEADER_BYTES];
    for (byte, c) in header.iter_mut().zip(one_line(&text).chars()) {
        *byte = if c.is_ascii() { c as u8 } else { b'?' };
    }
    header
}

/// Unit normal of a triangle; zero for one without an area.
fn unit_normal(corners: &[[f32; 3]; 3]) -> [f32; 3] {
    let [a, b, c] = corners.map(|p| nalgebra::Vector3::from(p.map(f64::from)));
    let normal = (b - a).cross(&(c - a));
    normal.try_normalize(0.0).map_or([0.0; 3], |n| [n.x as f32, n.y as f32, n.z as f32])
}
