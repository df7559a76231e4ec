//! NRRD (`.nrrd`, `.nhdr`): a text header with the space that the axes are given in, then raw or gzip samples.
//!
//! Specification: G. Kindlmann, "Definition of NRRD File Format", <https://teem.sourceforge.net/nrrd/format.html>.
//! Axes given in RAS or LAS become LPS by changing signs.

use crate::affine::{checked_shape, grid_from_affine};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use crate::labels::Labels;
use crate::quantity::{self, Content, RESEARCH_USE};
use crate::samples::{ByteOrder, SampleLayout, SampleType, write_f32};
use crate::stored::{Packing, StoredVolume};
use carm::{Quantity, Volume, VolumeGrid};
use flate2::{Compression, write::GzEncoder};
use nalgebra::{Matrix4, Vector3};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path};

/// Longest header that is looked at.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Reads the header.
pub(crate) fn open(path: &Path) -> Result<StoredVolume, InterchangeError> {
    let header = Header::read(path)?;
    let mut warnings = Vec::new();
    let dimensions = header.dimensions()?;
    let (shape, count) = checked_shape(path, header.sizes(dimensions)?)?;
    let grid = grid_from_affine(path, shape, &header.lps_from_voxel(dimensions, &mut warnings)?)?;
    let layout = header.layout(count)?;
    let (samples_path, offset) = match header.field(&["data file", "datafile"]) {
        None => (path.to_path_buf(), header.bytes),
        Some(name) => (header.samples_path(name)?, 0),
    };
    let packing = match header.required("encoding")?.to_ascii_lowercase().as_str() {
        "raw" => Packing::Plain,
        "gzip" | "gz" => Packing::Gzip,
        other => return Err(header.wrong("encoding", "raw or gzip", other)),
    };
    let mut stored = StoredVolume {
        samples_path,
        offset,
        packing,
        layout,
        grid,
        quantity: header.keys.get("quantity").map_or(Quantity::Unknown, |text| quantity::from_text(text)),
        frame_of_reference_uid: header.keys.get("frame_of_reference_uid").cloned(),
        warnings,
    };
    stored.offset = header.skipped(&stored)?;
    Ok(stored)
}

/// The lines of a header: `field: value`, and `key:=value`.
struct Header<'a> {
    path: &'a Path,
    fields: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
    /// Bytes up to and with the empty line.
    bytes: u64,
}

impl<'a> Header<'a> {
    fn read(path: &'a Path) -> Result<Self, InterchangeError> {
        let file = File::open(path).map_err(InterchangeError::io(path, "open"))?;
        let mut reader = BufReader::new(file.take(HEADER_BYTES_MAX));
        let mut header = Self { path, fields: BTreeMap::new(), keys: BTreeMap::new(), bytes: 0 };
        let mut line = Vec::new();
        loop {
            line.clear();
            let got =
                reader.read_until(b'\n', &mut line).map_err(InterchangeError::io(path, "read the header"))?;
            let is_first = header.bytes == 0;
            header.bytes += got as u64;
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if is_first && !text.starts_with("NRRD000") {
                let found: String = text.chars().take(8).collect();
                return Err(header.wrong("NRRD magic", "NRRD0001 to NRRD0005", &format!("{found:?}")));
            }
            if header.bytes >= HEADER_BYTES_MAX {
                return Err(header.wrong("NRRD header", "an empty line within 1 MiB", "none"));
            }
            // The end of a detached header is also the end of its file.
            if got == 0 || (text.is_empty() && !is_first) {
                return Ok(header);
            }
            header.line(text, is_first)?;
        }
    }

    fn line(&mut self, text: &str, is_first: bool) -> Result<(), InterchangeError> {
        if is_first || text.starts_with('#') {
            return Ok(());
        }
        if let Some((key, value)) = text.split_once(":=") {
            self.keys.insert(key.trim().into(), value.trim().into());
        } else if let Some((field, value)) = text.split_once(':') {
            self.fields.insert(field.trim().to_ascii_lowercase(), value.trim().into());
        } else {
            let at = format!("a line without ':' before byte {}", self.bytes);
            return Err(self.wrong("NRRD header", "lines of field: value", &at));
        }
        Ok(())
    }

    fn wrong(&self, what: &str, expected: &str, found: &str) -> InterchangeError {
        InterchangeError::content(self.path, what, expected, found)
    }

    fn field(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.fields.get(*name)).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str, InterchangeError> {
        self.field(&[name]).ok_or_else(|| self.wrong("NRRD header", &format!("a field {name:?}"), "none"))
    }

    fn dimensions(&self) -> Result<usize, InterchangeError> {
        match self.required("dimension")? {
            "2" => Ok(2),
            "3" => Ok(3),
            other => Err(self.wrong("dimension", "2 or 3 (one scalar a voxel)", other)),
        }
    }

    fn sizes(&self, dimensions: usize) -> Result<[i64; 3], InterchangeError> {
        let text = self.required("sizes")?;
        let sizes: Option<Vec<i64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match sizes.as_deref() {
            Some(&[nx, ny]) if dimensions == 2 => Ok([nx, ny, 1]),
            Some(&[nx, ny, nz]) if dimensions == 3 => Ok([nx, ny, nz]),
            _ => Err(self.wrong("sizes", &format!("{dimensions} whole numbers"), text)),
        }
    }

    fn layout(&self, count: usize) -> Result<SampleLayout, InterchangeError> {
        let text = self.required("type")?;
        let sample_type = match text {
            "signed char" | "int8" | "int8_t" => SampleType::I8,
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => SampleType::U8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
                SampleType::I16
            }
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => SampleType::U16,
            "int" | "signed int" | "int32" | "int32_t" => SampleType::I32,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => SampleType::U32,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => SampleType::I64,
            "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => {
                SampleType::U64
            }
            "float" => SampleType::F32,
            "double" => SampleType::F64,
            other => return Err(self.wrong("type", "an integer type, float or double", other)),
        };
        let byte_order = match self.field(&["endian"]) {
            Some("little") => ByteOrder::Little,
            Some("big") => ByteOrder::Big,
            None if sample_type.bytes() == 1 => ByteOrder::Little,
            other => return Err(self.wrong("endian", "little or big", other.unwrap_or("none"))),
        };
        Ok(SampleLayout { sample_type, byte_order, count, slope: 1.0, intercept: 0.0 })
    }

    fn lps_from_voxel(&self, n: usize, warnings: &mut Vec<String>) -> Result<Matrix4<f64>, InterchangeError> {
        let mut affine = Matrix4::identity();
        let signs = self.lps_signs(warnings)?;
        if let Some(text) = self.field(&["space directions"]) {
            let axes = self.vectors("space directions", text, n)?;
            for (axis, vector) in axes.iter().enumerate() {
                affine.fixed_view_mut::<3, 1>(0, axis).copy_from(&vector.component_mul(&signs));
            }
            if n == 2 {
                let normal = affine.fixed_view::<3, 1>(0, 0).cross(&affine.fixed_view::<3, 1>(0, 1));
                affine.fixed_view_mut::<3, 1>(0, 2).copy_from(&normal.try_normalize(0.0).unwrap_or_default());
            }
        } else if let Some(text) = self.field(&["spacings"]) {
            warnings
                .push("spacings without directions: voxel axes taken as left, posterior, superior".into());
            let spacings: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if spacings.len() != n {
                return Err(self.wrong("spacings", &format!("{n} numbers"), text));
            }
            for (axis, spacing) in spacings.into_iter().enumerate() {
                affine[(axis, axis)] = spacing;
            }
        } else {
            warnings.push("no space directions: voxels taken as 1 mm along left, posterior, superior".into());
        }
        if let Some(text) = self.field(&["space origin"]) {
            let origin = self.vectors("space origin", text, 1)?[0].component_mul(&signs);
            affine.fixed_view_mut::<3, 1>(0, 3).copy_from(&origin);
        }
        Ok(affine)
    }

    /// What x, y and z of the file's space are multiplied by to give LPS.
    fn lps_signs(&self, warnings: &mut Vec<String>) -> Result<Vector3<f64>, InterchangeError> {
        let space = self.field(&["space"]).map(str::to_ascii_lowercase);
        match space.as_deref() {
            Some("left-posterior-superior" | "lps") => Ok(Vector3::new(1.0, 1.0, 1.0)),
            Some("right-anterior-superior" | "ras") => Ok(Vector3::new(-1.0, -1.0, 1.0)),
            Some("left-anterior-superior" | "las") => Ok(Vector3::new(1.0, -1.0, 1.0)),
            None | Some("3d-right-handed" | "scanner-xyz") => {
                let told = space.as_deref().unwrap_or("none");
                warnings.push(format!("the file's space ({told}) is no patient space: taken as LPS"));
                Ok(Vector3::new(1.0, 1.0, 1.0))
            }
            Some(other) => Err(self.wrong("space", "a patient space such as left-posterior-superior", other)),
        }
    }

    /// `(x,y,z) (x,y,z) ...`
    fn vectors(&self, name: &str, text: &str, count: usize) -> Result<Vec<Vector3<f64>>, InterchangeError> {
        let parse = |piece: &str| {
            let numbers: Option<Vec<f64>> =
                piece.strip_prefix('(')?.split(',').map(|word| word.trim().parse().ok()).collect();
            numbers.filter(|numbers| numbers.len() == 3).map(|numbers| Vector3::from_row_slice(&numbers))
        };
        let pieces = text.split(')').map(str::trim).filter(|piece| !piece.is_empty());
        let vectors: Option<Vec<_>> = pieces.map(parse).collect();
        vectors
            .filter(|vectors| vectors.len() == count)
            .ok_or_else(|| self.wrong(name, &format!("{count} vectors of three numbers in brackets"), text))
    }

    fn samples_path(&self, name: &str) -> Result<std::path::PathBuf, InterchangeError> {
        let is_plain = Path::new(name.strip_prefix("./").unwrap_or(name))
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || name.is_empty() || name.starts_with("LIST") || name.contains('%') {
            return Err(self.wrong("data file", "the name of one file beside the header", name));
        }
        Ok(self.path.with_file_name(name))
    }

    /// Where the samples begin after `line skip` and `byte skip`.
    fn skipped(&self, stored: &StoredVolume) -> Result<u64, InterchangeError> {
        let number = |names: &[&str]| -> Result<i64, InterchangeError> {
            let text = self.field(names).unwrap_or("0");
            text.parse().map_err(|_| self.wrong(names[0], "a whole number", text))
        };
        let lines = number(&["line skip", "lineskip"])?;
        if lines != 0 {
            return Err(self.wrong("line skip", "0", &lines.to_string()));
        }
        match number(&["byte skip", "byteskip"])? {
            0 => Ok(stored.offset),
            -1 if stored.packing == Packing::Plain => {
                let path = &stored.samples_path;
                let length = std::fs::metadata(path).map_err(InterchangeError::io(path, "open"))?.len();
                Ok(length.saturating_sub(stored.layout.bytes().unwrap_or(u64::MAX)))
            }
            skip if skip > 0 && stored.packing == Packing::Plain => {
                Ok(stored.offset.saturating_add(skip as u64))
            }
            other => {
                let expected = "0, or for raw samples -1 or a number of bytes";
                Err(self.wrong("byte skip", expected, &other.to_string()))
            }
        }
    }
}

/// Writes 32-bit floats in LPS, packed with gzip when asked for.
pub(crate) fn write(volume: &Volume, path: &Path, compress: bool) -> Result<(), InterchangeError> {
    let content = Content::Values(volume.quantity);
    let header = header(&volume.grid, content, volume.frame_of_reference_uid.as_deref(), compress);
    let values = volume.values.as_standard_layout();
    let values = values.as_slice().expect("standard layout is contiguous");
    write_file(path, |writer| {
        writer.write_all(header.as_bytes())?;
        if !compress {
            return write_f32(writer, values);
        }
        let mut encoder = GzEncoder::new(writer, Compression::fast());
        write_f32(&mut encoder, values)?;
        encoder.finish().map(|_| ())
    })
}

/// Writes bytes, not packed.
pub(crate) fn write_labels(labels: &Labels<'_>, path: &Path) -> Result<(), InterchangeError> {
    let header = header(labels.grid, Content::Labels(labels.meaning), None, false);
    write_file(path, |writer| {
        writer.write_all(header.as_bytes())?;
        writer.write_all(labels.bytes)
    })
}

pub(crate) fn header(
    grid: &VolumeGrid,
    content: Content<'_>,
    frame_of_reference_uid: Option<&str>,
    compress: bool,
) -> String {
    let vector = |v: Vector3<f64>| format!("({},{},{})", v.x, v.y, v.z);
    let axes: Vec<String> =
        (0..3).map(|axis| vector(grid.direction.column(axis).into_owned() * grid.spacing_mm[axis])).collect();
    let [nx, ny, nz] = grid.shape;
    let encoding = if compress { "gzip" } else { "raw" };
    let mut text = format!(
        "NRRD0004\n# {RESEARCH_USE}\ntype: {}\ndimension: 3\nspace: left-posterior-superior\n\
         sizes: {nx} {ny} {nz}\nspace directions: {}\nkinds: domain domain domain\nendian: little\n\
         encoding: {encoding}\nspace origin: {}\n",
        match content {
            Content::Values(_) => "float",
            Content::Labels(_) => "uint8",
        },
        axes.join(" "),
        vector(grid.origin.coords)
    );
    if let Some(meaning) = content.to_text() {
        let _ = writeln!(text, "quantity:={meaning}");
    }
    if let Some(uid) = frame_of_reference_uid {
        let _ = writeln!(text, "frame_of_reference_uid:={uid}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{assert_same_place_and_values, left_handed_volume, oblique_volume};
    use std::fs;

    #[test]
    fn nrrd_comes_back_raw_packed_and_left_handed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        for (volume, compress) in [(oblique_volume(), false), (left_handed_volume(), true)] {
            write(&volume, &path, compress).unwrap();
            let read = open(&path).unwrap().read().unwrap();
            assert_same_place_and_values(&read, &volume, 0.0);
            assert_eq!(read.quantity, volume.quantity);
        }
    }

    #[test]
    fn nrrd_in_other_spaces_names_the_same_points() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        let volume = oblique_volume();
        write(&volume, &path, false).unwrap();
        let good = fs::read(&path).unwrap();
        let end = good.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let text = String::from_utf8(good[..end].to_vec()).unwrap();
        for (space, name) in [([-1.0, -1.0, 1.0], "right-anterior-superior"), ([1.0, -1.0, 1.0], "LAS")] {
            let turn = Vector3::from(space);
            let vector = |v: Vector3<f64>| {
                let v = v.component_mul(&turn);
                format!("({}, {}, {})", v.x, v.y, v.z)
            };
            let axes: Vec<String> = (0..3)
                .map(|a| vector(volume.grid.direction.column(a).into_owned() * volume.grid.spacing_mm[a]))
                .collect();
            let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
            for line in &mut lines {
                if line.starts_with("space:") {
                    *line = format!("space: {name}");
                } else if line.starts_with("space directions") {
                    *line = format!("space directions: {}", axes.join(" "));
                } else if line.starts_with("space origin") {
                    *line = format!("space origin: {}", vector(volume.grid.origin.coords));
                }
            }
            let mut bytes = lines.join("\n").into_bytes();
            bytes.extend(&good[end..]);
            fs::write(&path, bytes).unwrap();
            assert_same_place_and_values(&open(&path).unwrap().read().unwrap(), &volume, 0.0);
        }
    }

    #[test]
    fn nrrd_refuses_damage_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nrrd");
        let error_of = |text: &str| {
            fs::write(&path, text).unwrap();
            open(&path).and_then(StoredVolume::read).unwrap_err().to_string()
        };
        let good = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nendian: little\nencoding: raw\n\n";
        assert!(error_of(&format!("{good}abc")).contains("found 3"));
        assert!(error_of("").contains("NRRD magic"));
        assert!(error_of(&good.replace("raw", "bzip2")).contains("bzip2"));
        assert!(error_of(&good.replace("dimension: 3", "dimension: 4")).contains("one scalar"));
        assert!(error_of(&good.replace("endian: little\n", "")).contains("little or big"));
        assert!(error_of(&good.replace("encoding", "data file: /etc/hostname\nencoding")).contains("beside"));
    }
}
