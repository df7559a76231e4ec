//! Files of surfaces: STL, 3MF, OBJ and PLY, the format told by the name.
//!
//! Coordinates in memory are millimetres. 3MF tells its unit and is converted; the others have none and are taken as
//! millimetres, which the file's [`warnings`](MeshFile::warnings) say. Reading repairs nothing: what is broken in a
//! file's surface is there in the mesh, for `printing::check` to find. Only corners at one place become one vertex
//! where a format has no indices (STL).

mod obj;
mod ply;
mod stl;
#[cfg(test)]
mod tests;
mod three_mf;

use crate::error::InterchangeError;
use carm::TriangleMesh;
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;

/// What is told about names that are not known.
const KNOWN_MESHES: &str = "a mesh (.stl, .3mf, .obj, .ply; to read also .gz of these)";
/// Most bytes that one file, or one part of a packed one, may unpack to.
const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// A colour: red, green, blue.
pub type Colour = [u8; 3];

/// The formats of surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshFormat {
    /// `.stl`
    Stl,
    /// `.3mf`
    ThreeMf,
    /// `.obj`, with its colours in a `.mtl` of the same name beside it.
    Obj,
    /// `.ply`
    Ply,
}

impl MeshFormat {
    /// The format that the name tells, a last `.gz` apart; `None` for an extension that is not known.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "stl" => Some(Self::Stl),
            "3mf" => Some(Self::ThreeMf),
            "obj" => Some(Self::Obj),
            "ply" => Some(Self::Ply),
            _ => None,
        }
    }

    /// The format of a file to be written, which is not packed as a whole.
    ///
    /// # Errors
    /// [`InterchangeError::UnknownFormat`], with the extensions that are known.
    pub fn to_write(path: &Path) -> Result<Self, InterchangeError> {
        let is_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        Self::of(path).filter(|_| !is_packed).ok_or_else(|| unknown(path))
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stl => "STL",
            Self::ThreeMf => "3MF",
            Self::Obj => "OBJ",
            Self::Ply => "PLY",
        }
    }
}

fn unknown(path: &Path) -> InterchangeError {
    InterchangeError::UnknownFormat {
        path: path.into(),
        expected: KNOWN_MESHES,
        found: format!("extension {:?}", path.extension().unwrap_or_default()),
    }
}

/// One object of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshPart {
    /// What it is called; may be empty.
    pub name: String,
    /// Its surface, mm.
    pub mesh: TriangleMesh,
    /// Its colour, where known.
    pub colour: Option<Colour>,
    /// How much of the inside a slicer shall fill, percent; written to 3MF as PrusaSlicer reads it, and not read back.
    pub infill_percent: Option<u8>,
}

/// What is in a file of surfaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshFile {
    /// The objects, in the file's order and placed as the file places them.
    pub parts: Vec<MeshPart>,
    /// Names and values: of 3MF `Title`, `Description`, `Application` and others; STL and PLY keep them as comments.
    pub metadata: Vec<(String, String)>,
    /// What had to be assumed when reading.
    pub warnings: Vec<String>,
}

impl MeshFile {
    /// A file of one object.
    pub fn of(name: &str, mesh: TriangleMesh, colour: Option<Colour>) -> Self {
        Self {
            parts: vec![MeshPart { name: name.into(), mesh, colour, infill_percent: None }],
            ..Self::default()
        }
    }

    /// All objects as one surface.
    pub fn merged(&self) -> TriangleMesh {
        let mut all = TriangleMesh::default();
        for part in &self.parts {
            let first = all.vertices_mm.len() as u32;
            all.vertices_mm.extend(&part.mesh.vertices_mm);
            // Wrapping: indices beyond 32 bits were refused when reading, and dangling ones stay dangling.
            all.triangles.extend(part.mesh.triangles.iter().map(|t| t.map(|v| first.wrapping_add(v))));
        }
        all
    }

    /// Triangles of all objects.
    pub fn triangle_count(&self) -> usize {
        self.parts.iter().map(|part| part.mesh.triangles.len()).sum()
    }

    /// Refuses what no format holds: vertices that are not finite, triangles without their vertex.
    fn require_writable(&self, path: &Path) -> Result<(), InterchangeError> {
        let broken = |what: String, expected: &str, found: String| {
            Err(InterchangeError::content(path, what, expected, found))
        };
        if self.triangle_count() == 0 {
            return broken("mesh to write".into(), "at least one triangle", "none".into());
        }
        for (index, MeshPart { mesh, .. }) in self.parts.iter().enumerate() {
            if let Some(triangle) = mesh.first_dangling_triangle() {
                let found = format!("{:?}", mesh.triangles[triangle]);
                let expected = format!("indices of {} vertices", mesh.vertices_mm.len());
                return broken(format!("part {index}, triangle {triangle}"), &expected, found);
            }
            if let Some(at) = mesh.vertices_mm.iter().position(|v| v.iter().any(|x| !x.is_finite())) {
                let found = format!("{:?}", mesh.vertices_mm[at]);
                return broken(format!("part {index}, vertex {at}"), "finite coordinates", found);
            }
        }
        Ok(())
    }
}

/// Reads a file of surfaces; the format is told by the name.
///
/// # Errors
/// An unknown extension, what the file system refuses, and content that breaks its format, each with the place,
/// what was expected and what was found. Surfaces with holes or other defects are no error.
pub fn read_mesh(path: &Path) -> Result<MeshFile, InterchangeError> {
    let format = MeshFormat::of(path).ok_or_else(|| unknown(path))?;
    let mut bytes = std::fs::read(path).map_err(InterchangeError::io(path, "read"))?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        bytes = unpacked(path, GzDecoder::new(&bytes[..]))?;
    }
    let mut file = match format {
        MeshFormat::Stl => stl::read(path, &bytes),
        MeshFormat::ThreeMf => three_mf::read(path, bytes),
        MeshFormat::Obj => obj::read(path, &bytes),
        MeshFormat::Ply => ply::read(path, &bytes),
    }?;
    if format != MeshFormat::ThreeMf {
        file.warnings.push(format!("{} tells no unit: taken as millimetres", format.name()));
    }
    Ok(file)
}

/// All that a packed stream gives, up to [`UNPACKED_BYTES_MAX`].
fn unpacked(path: &Path, packed: impl Read) -> Result<Vec<u8>, InterchangeError> {
    let mut bytes = Vec::new();
    let mut limited = packed.take(UNPACKED_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(InterchangeError::io(path, "unpack"))?;
    if bytes.len() as u64 > UNPACKED_BYTES_MAX {
        let expected = format!("at most {UNPACKED_BYTES_MAX} bytes");
        return Err(InterchangeError::content(path, "unpacked content", expected, "more"));
    }
    Ok(bytes)
}

/// Writes a file of surfaces; the format is told by the name. The file appears whole or not at all.
///
/// Coordinates are written so that they are read back to the bit. STL and PLY hold one surface: the parts are
/// merged; STL holds no colour.
///
/// # Errors
/// An unknown extension, what the file system refuses, a mesh without triangles, with coordinates that are not
/// finite or triangles without their vertex, and more than the format can count.
pub fn write_mesh(path: &Path, file: &MeshFile) -> Result<(), InterchangeError> {
    let format = MeshFormat::to_write(path)?;
    file.require_writable(path)?;
    match format {
        MeshFormat::Stl => stl::write(path, file),
        MeshFormat::ThreeMf => three_mf::write(path, file),
        MeshFormat::Obj => obj::write(path, file),
        MeshFormat::Ply => ply::write(path, file),
    }
}

/// The bytes of a binary STL file, for other files to hold.
pub(crate) fn stl_bytes(path: &Path, file: &MeshFile) -> Result<Vec<u8>, InterchangeError> {
    file.require_writable(path)?;
    stl::bytes(path, file)
}

/// The surface of an STL file that another file holds.
pub(crate) fn stl_surface(path: &Path, bytes: &[u8]) -> Result<TriangleMesh, InterchangeError> {
    stl::read(path, bytes).map(|file| file.merged())
}

/// Text of an outside file for a message: short and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(40).filter(|c| !c.is_control()).collect()
}

/// The three coordinates that follow in a line.
fn coordinates<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<[f32; 3], String> {
    let mut point = [0.0; 3];
    for coordinate in &mut point {
        let word = words.next().ok_or("fewer numbers")?;
        *coordinate = word.parse().map_err(|_| format!("{:?}", shown(word)))?;
    }
    Ok(point)
}

/// Words for one line of a file: no line breaks, no control characters.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
