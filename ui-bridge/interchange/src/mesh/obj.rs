//! Wavefront OBJ: vertices and polygons by name as lines of text; colours stand in an MTL file beside it.
//!
//! Of what OBJ can hold, `v`, `f` and `o` are read; polygons become fans of triangles about their first corner.

use super::{MeshFile, MeshPart, coordinates, one_line, shown};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use std::collections::HashMap;
use std::path::Path;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<MeshFile, InterchangeError> {
    let mut reading = Reading::default();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        reading.line(&line).map_err(|(expected, found)| {
            InterchangeError::content(path, format!("line {}", index + 1), expected, found)
        })?;
    }
    reading.end_part();
    if reading.vertices.is_empty() {
        return Err(InterchangeError::content(path, "content", "vertices (v) and faces (f)", "no vertex"));
    }
    Ok(reading.file)
}

/// Where the parser stands. Vertices are numbered through the file, faces belong to the part that is open.
#[derive(Default)]
struct Reading {
    vertices: Vec<[f32; 3]>,
    part: MeshPart,
    /// Index within the part of a vertex of the file.
    own: HashMap<u32, u32>,
    file: MeshFile,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), (&'static str, String)> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("v") => {
                let point = coordinates(&mut words).map_err(|word| ("three numbers", word))?;
                self.vertices.push(point);
            }
            Some("f") => self.face(words)?,
            Some("o") => {
                self.end_part();
                self.part.name = words.collect::<Vec<_>>().join(" ");
            }
            // Normals, texture, groups, materials, curves, comments.
            _ => {}
        }
        Ok(())
    }

    fn face<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> Result<(), (&'static str, String)> {
        let mut corners = Vec::new();
        for word in words.take_while(|word| !word.starts_with('#')) {
            let corner = self.corner(word)?;
            let mesh = &mut self.part.mesh;
            corners.push(*self.own.entry(corner).or_insert_with(|| {
                mesh.vertices_mm.push(self.vertices[corner as usize]);
                mesh.vertices_mm.len() as u32 - 1
            }));
        }
        if corners.len() < 3 {
            return Err(("three corners or more", corners.len().to_string()));
        }
        let fan = corners.windows(2).skip(1).map(|pair| [corners[0], pair[0], pair[1]]);
        self.part.mesh.triangles.extend(fan);
        Ok(())
    }

    /// The vertex that `7`, `7/1/2` or `-1` names: counted from 1, or back from the last one so far.
    fn corner(&self, word: &str) -> Result<u32, (&'static str, String)> {
        const EXPECTED: &str = "the number of a vertex before this line";
        let number: i64 = word
            .split('/')
            .next()
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| (EXPECTED, format!("{:?}", shown(word))))?;
        let count = self.vertices.len() as i64;
        let index = if number < 0 { count.checked_add(number) } else { number.checked_sub(1) };
        index
            .filter(|index| (0..count).contains(index))
            .and_then(|index| u32::try_from(index).ok())
            .ok_or_else(|| (EXPECTED, format!("{number} of {count}")))
    }

    fn end_part(&mut self) {
        let part = std::mem::take(&mut self.part);
        self.own.clear();
        if !part.mesh.triangles.is_empty() {
            self.file.parts.push(part);
        }
    }
}

pub(super) fn write(path: &Path, file: &MeshFile) -> Result<(), InterchangeError> {
    let has_colour = file.parts.iter().any(|part| part.colour.is_some());
    let materials = path.with_extension("mtl");
    if has_colour {
        write_materials(&materials, file)?;
    }
    write_file(path, |writer| {
        writeln!(writer, "# Isocenter; millimetres")?;
        for (name, value) in &file.metadata {
            writeln!(writer, "# {}: {}", one_line(name), one_line(value))?;
        }
        if has_colour {
            writeln!(writer, "mtllib {}", materials.file_name().unwrap_or_default().to_string_lossy())?;
        }
        let mut first = 1;
        for (index, part) in file.parts.iter().enumerate() {
            writeln!(writer, "o {}", one_line(&part.name))?;
            if part.colour.is_some() {
                writeln!(writer, "usemtl part{index}")?;
            }
            for [x, y, z] in &part.mesh.vertices_mm {
                writeln!(writer, "v {x} {y} {z}")?;
            }
            for triangle in &part.mesh.triangles {
                let [a, b, c] = triangle.map(|v| u64::from(v) + first);
                writeln!(writer, "f {a} {b} {c}")?;
            }
            first += part.mesh.vertices_mm.len() as u64;
        }
        Ok(())
    })
}

fn write_materials(path: &Path, file: &MeshFile) -> Result<(), InterchangeError> {
    write_file(path, |writer| {
        for (index, part) in file.parts.iter().enumerate() {
            let Some(colour) = part.colour else { continue };
            let [r, g, b] = colour.map(|x| f32::from(x) / 255.0);
            writeln!(writer, "newmtl part{index}\nKd {r:.4} {g:.4} {b:.4}")?;
        }
        Ok(())
    })
}
