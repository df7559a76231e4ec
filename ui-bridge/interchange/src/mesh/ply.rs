//! PLY, the Stanford polygon format: elements with declared properties, as text or binary of either byte order.
//!
//! Read are `x`, `y`, `z` of the element `vertex` and the list `vertex_indices` (or `vertex_index`) of `face`;
//! polygons become fans of triangles about their first corner. Everything else is stepped over. Written is binary,
//! little-endian, with a colour for each vertex where the parts have any.

use super::{Colour, MeshFile, MeshPart, one_line, shown};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use carm::TriangleMesh;
use std::path::Path;

/// Longest line and most lines of a header.
const HEADER_LINES_MAX: usize = 10_000;
const HEADER_LINE_BYTES_MAX: usize = 4096;
/// Colour of parts without one beside parts with one.
const UNCOLOURED: Colour = [200; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Text,
    LittleEndian,
    BigEndian,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "char" | "int8" => Self::I8,
            "uchar" | "uint8" => Self::U8,
            "short" | "int16" => Self::I16,
            "ushort" | "uint16" => Self::U16,
            "int" | "int32" => Self::I32,
            "uint" | "uint32" => Self::U32,
            "float" | "float32" => Self::F32,
            "double" | "float64" => Self::F64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The number in as many bytes, the least significant first.
    fn value(self, little: [u8; 8]) -> f64 {
        let [a, b, c, d, ..] = little;
        match self {
            Self::I8 => f64::from(a as i8),
            Self::U8 => f64::from(a),
            Self::I16 => f64::from(i16::from_le_bytes([a, b])),
            Self::U16 => f64::from(u16::from_le_bytes([a, b])),
            Self::I32 => f64::from(i32::from_le_bytes([a, b, c, d])),
            Self::U32 => f64::from(u32::from_le_bytes([a, b, c, d])),
            Self::F32 => f64::from(f32::from_le_bytes([a, b, c, d])),
            Self::F64 => f64::from_le_bytes(little),
        }
    }
}

struct Property {
    name: String,
    /// Of a list: the kind of its length.
    count: Option<Kind>,
    kind: Kind,
}

struct Element {
    name: String,
    count: u64,
    properties: Vec<Property>,
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<MeshFile, InterchangeError> {
    let (mut header, body) = read_header(path, bytes)?;
    let mut values = Values { bytes: body, at: 0, coding: header.coding };
    let mut mesh = TriangleMesh::default();
    for element in &header.elements {
        // A record without properties has no bytes: there is nothing to step over, however many are declared.
        let records = if element.properties.is_empty() { 0 } else { element.count };
        for record in 0..records {
            read_record(&mut values, element, &mut mesh).map_err(|(expected, found)| {
                let what = format!("{} {record} of {}", shown(&element.name), element.count);
                InterchangeError::content(path, what, expected, found)
            })?;
        }
    }
    if let Some(triangle) = mesh.first_dangling_triangle() {
        let expected = format!("indices of {} vertices", mesh.vertices_mm.len());
        let found = format!("{:?}", mesh.triangles[triangle]);
        return Err(InterchangeError::content(path, "face", expected, found));
    }
    header.file.parts.push(MeshPart { mesh, ..MeshPart::default() });
    Ok(header.file)
}

struct Header {
    coding: Coding,
    elements: Vec<Element>,
    file: MeshFile,
}

fn read_header<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Header, &'a [u8]), InterchangeError> {
    let mut header = Header { coding: Coding::Text, elements: Vec::new(), file: MeshFile::default() };
    let mut rest = bytes;
    for number in 1..=HEADER_LINES_MAX {
        let broken = |expected: &str, found: String| {
            InterchangeError::content(path, format!("header line {number}"), expected, found)
        };
        let end = rest
            .iter()
            .take(HEADER_LINE_BYTES_MAX)
            .position(|&byte| byte == b'\n')
            .ok_or_else(|| broken("a header that ends with end_header", "no such line".into()))?;
        let line = String::from_utf8_lossy(&rest[..end]).trim().to_string();
        rest = &rest[end + 1..];
        if number == 1 {
            if line != "ply" {
                return Err(broken("ply", format!("{:?}", shown(&line))));
            }
        } else if line == "end_header" {
            return Ok((header, rest));
        } else {
            header.line(&line).map_err(|expected| broken(expected, format!("{:?}", shown(&line))))?;
        }
    }
    Err(InterchangeError::content(path, "header", "end_header", format!("{HEADER_LINES_MAX} other lines")))
}

impl Header {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["format", coding, "1.0"] => {
                self.coding = match *coding {
                    "ascii" => Coding::Text,
                    "binary_little_endian" => Coding::LittleEndian,
                    "binary_big_endian" => Coding::BigEndian,
                    _ => return Err("ascii, binary_little_endian or binary_big_endian"),
                }
            }
            ["comment", name, value @ ..] => {
                self.file.metadata.push((name.trim_end_matches(':').into(), value.join(" ")));
            }
            [] | ["comment" | "obj_info", ..] => {}
            ["element", name, count] => self.elements.push(Element {
                name: (*name).into(),
                count: count.parse().map_err(|_| "element, a name and a count")?,
                properties: Vec::new(),
            }),
            ["property", "list", count, kind, name] => self.property(name, Some(count), kind)?,
            ["property", kind, name] => self.property(name, None, kind)?,
            _ => return Err("format, comment, obj_info, element, property or end_header"),
        }
        Ok(())
    }

    fn property(&mut self, name: &str, count: Option<&str>, kind: &str) -> Result<(), &'static str> {
        let known = |kind: &str| Kind::of(kind).ok_or("a type such as float, double, uchar or int");
        let property =
            Property { name: name.into(), count: count.map(known).transpose()?, kind: known(kind)? };
        let element = self.elements.last_mut().ok_or("an element before its properties")?;
        element.properties.push(property);
        Ok(())
    }
}

/// Numbers in the order of the file.
struct Values<'a> {
    bytes: &'a [u8],
    at: usize,
    coding: Coding,
}

impl Values<'_> {
    fn next(&mut self, kind: Kind) -> Result<f64, (String, String)> {
        let ended = || ("another value".to_string(), "the end of the file".to_string());
        if self.coding == Coding::Text {
            let rest = self.bytes[self.at..].trim_ascii_start();
            let start = self.bytes.len() - rest.len();
            let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            self.at = start + length;
            if length == 0 {
                return Err(ended());
            }
            let word = String::from_utf8_lossy(&rest[..length]);
            return word.parse().map_err(|_| ("a number".into(), format!("{:?}", shown(&word))));
        }
        let size = kind.bytes();
        let found = self.bytes.get(self.at..self.at + size).ok_or_else(ended)?;
        self.at += size;
        let mut little = [0; 8];
        little[..size].copy_from_slice(found);
        if self.coding == Coding::BigEndian {
            little[..size].reverse();
        }
        Ok(kind.value(little))
    }

    fn index(&mut self, kind: Kind) -> Result<u32, (String, String)> {
        let value = self.next(kind)?;
        if value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value) {
            return Ok(value as u32);
        }
        Err(("a whole number that is not negative".into(), value.to_string()))
    }
}

fn read_record(
    values: &mut Values<'_>,
    element: &Element,
    mesh: &mut TriangleMesh,
) -> Result<(), (String, String)> {
    let (is_vertex, is_face) = (element.name == "vertex", element.name == "face");
    let mut point = [0.0; 3];
    for property in &element.properties {
        let Some(count) = property.count else {
            let value = values.next(property.kind)?;
            if let Some(axis) = ["x", "y", "z"].iter().position(|name| *name == property.name) {
                point[axis] = value as f32;
            }
            continue;
        };
        let length = values.index(count)?;
        if is_face && matches!(property.name.as_str(), "vertex_indices" | "vertex_index") {
            read_polygon(values, property.kind, length, mesh)?;
        } else {
            for _ in 0..length {
                values.next(property.kind)?;
            }
        }
    }
    if is_vertex {
        mesh.vertices_mm.push(point);
    }
    Ok(())
}

fn read_polygon(
    values: &mut Values<'_>,
    kind: Kind,
    length: u32,
    mesh: &mut TriangleMesh,
) -> Result<(), (String, String)> {
    if length < 3 {
        return Err(("three corners or more".into(), length.to_string()));
    }
    let (first, mut before) = (values.index(kind)?, values.index(kind)?);
    for _ in 2..length {
        let corner = values.index(kind)?;
        mesh.triangles.push([first, before, corner]);
        before = corner;
    }
    Ok(())
}

pub(super) fn write(path: &Path, file: &MeshFile) -> Result<(), InterchangeError> {
    let vertices: usize = file.parts.iter().map(|part| part.mesh.vertices_mm.len()).sum();
    if vertices > i32::MAX as usize {
        return Err(InterchangeError::NotRepresentable {
            path: path.into(),
            format: "PLY",
            expected: format!("at most {} vertices", i32::MAX),
            found: vertices.to_string(),
        });
    }
    let has_colour = file.parts.iter().any(|part| part.colour.is_some());
    write_file(path, |writer| {
        writeln!(writer, "ply\nformat binary_little_endian 1.0\ncomment Isocenter: millimetres")?;
        for (name, value) in &file.metadata {
            writeln!(writer, "comment {}: {}", one_line(name), one_line(value))?;
        }
        writeln!(writer, "element vertex {vertices}")?;
        writeln!(writer, "property float x\nproperty float y\nproperty float z")?;
        if has_colour {
            writeln!(writer, "property uchar red\nproperty uchar green\nproperty uchar blue")?;
        }
        writeln!(writer, "element face {}\nproperty list uchar int vertex_indices", file.triangle_count())?;
        writeln!(writer, "end_header")?;
        for part in &file.parts {
            for point in &part.mesh.vertices_mm {
                point.iter().try_for_each(|x| writer.write_all(&x.to_le_bytes()))?;
                if has_colour {
                    writer.write_all(&part.colour.unwrap_or(UNCOLOURED))?;
                }
            }
        }
        let mut first = 0;
        for MeshPart { mesh, .. } in &file.parts {
            for triangle in &mesh.triangles {
                writer.write_all(&[3])?;
                triangle.iter().try_for_each(|v| writer.write_all(&(v + first).to_le_bytes()))?;
            }
            first += mesh.vertices_mm.len() as u32;
        }
        Ok(())
    })
}
