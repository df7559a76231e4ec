//! MetaImage, ITK's own volume format: a text header, the samples after it (`.mha`) or in a file beside it
//! (`.mhd`).
//!
//! Specification: the MetaIO documentation (Kitware, "MetaIO/Documentation"). Coordinates are LPS millimetres.
//! `TransformMatrix` lists the direction of each voxel axis in turn, so its rows are the columns of
//! [`VolumeGrid::direction`](carm::VolumeGrid).

use crate::affine::{checked_shape, grid_from_affine};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use crate::labels::Labels;
use crate::quantity::{self, Content, RESEARCH_USE};
use crate::samples::{ByteOrder, SampleLayout, SampleType, write_f32};
use crate::stored::{Packing, StoredVolume};
use carm::{Quantity, Volume, VolumeGrid};
use flate2::{Compression, write::ZlibEncoder};
use nalgebra::{Matrix3, Matrix4, Vector3};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

/// Longest header that is looked at: real ones are below 4 KiB.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Reads the header of a `.mha` or `.mhd` file.
pub(crate) fn open(path: &Path) -> Result<StoredVolume, InterchangeError> {
    let (fields, header_bytes) = read_fields(path)?;
    let fields = Fields { path, fields };
    fields.require_plain_image()?;
    let mut warnings = Vec::new();
    let (shape, count) = checked_shape(path, fields.sizes()?)?;
    let grid = grid_from_affine(path, shape, &fields.affine(&mut warnings)?)?;
    let layout = fields.layout(count)?;
    let (samples_path, local) = fields.samples_path()?;
    let mut stored = StoredVolume {
        offset: if local { header_bytes } else { 0 },
        samples_path,
        packing: Packing::Plain,
        layout,
        grid,
        quantity: fields.get(&["Quantity"]).map_or(Quantity::Unknown, quantity::from_text),
        frame_of_reference_uid: fields.get(&["FrameOfReferenceUID"]).map(str::to_string),
        warnings,
    };
    if fields.flag(&["CompressedData"])? {
        stored.packing = Packing::Zlib;
    } else if let Some(skip) = fields.get(&["HeaderSize"]) {
        stored.offset = header_size(path, skip, &stored)?;
    }
    Ok(stored)
}

/// `HeaderSize`: bytes to skip in a file of samples; -1 counts the samples from the end.
fn header_size(path: &Path, text: &str, stored: &StoredVolume) -> Result<u64, InterchangeError> {
    let unreadable = || InterchangeError::content(path, "HeaderSize", "-1 or a number of bytes", text);
    match text.parse::<i64>().map_err(|_| unreadable())? {
        -1 => {
            let samples = &stored.samples_path;
            let length = std::fs::metadata(samples).map_err(InterchangeError::io(samples, "open"))?.len();
            Ok(length.saturating_sub(stored.layout.bytes().unwrap_or(u64::MAX)))
        }
        0 => Ok(stored.offset),
        skip => u64::try_from(skip).map_err(|_| unreadable()),
    }
}

/// The `Name = value` lines up to `ElementDataFile`, and how many bytes they take.
fn read_fields(path: &Path) -> Result<(BTreeMap<String, String>, u64), InterchangeError> {
    let file = File::open(path).map_err(InterchangeError::io(path, "open"))?;
    let mut reader = BufReader::new(file.take(HEADER_BYTES_MAX));
    let mut fields = BTreeMap::new();
    let mut header_bytes = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let got =
            reader.read_until(b'\n', &mut line).map_err(InterchangeError::io(path, "read the header"))?;
        header_bytes += got as u64;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if got == 0 || header_bytes >= HEADER_BYTES_MAX {
            let found = format!("none in {header_bytes} bytes of header");
            return Err(InterchangeError::content(
                path,
                "MetaImage header",
                "a line ElementDataFile = ...",
                found,
            ));
        }
        let Some((name, value)) = text.split_once('=') else {
            if text.is_empty() {
                continue;
            }
            let found = format!("a line without '=' at byte {}", header_bytes - got as u64);
            return Err(InterchangeError::content(path, "MetaImage header", "lines of Name = value", found));
        };
        fields.insert(name.trim().to_ascii_lowercase(), value.trim().to_string());
        if name.trim().eq_ignore_ascii_case("ElementDataFile") {
            return Ok((fields, header_bytes));
        }
    }
}

/// The header's fields, names in lower case.
struct Fields<'a> {
    path: &'a Path,
    fields: BTreeMap<String, String>,
}

impl Fields<'_> {
    /// The first of several names for one thing.
    fn get(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.fields.get(&name.to_ascii_lowercase())).map(String::as_str)
    }

    fn flag(&self, names: &[&str]) -> Result<bool, InterchangeError> {
        match self.get(names).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "no") => Ok(false),
            Some("true" | "1" | "yes") => Ok(true),
            Some(other) => Err(InterchangeError::content(self.path, names[0], "True or False", other)),
        }
    }

    fn numbers(&self, names: &[&str], count: usize) -> Result<Option<Vec<f64>>, InterchangeError> {
        let Some(text) = self.get(names) else { return Ok(None) };
        let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match numbers.filter(|numbers| numbers.len() == count) {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(InterchangeError::content(self.path, names[0], format!("{count} numbers"), text)),
        }
    }

    fn dimensions(&self) -> Result<usize, InterchangeError> {
        let text = self.get(&["NDims"]).unwrap_or("no NDims");
        match text {
            "2" => Ok(2),
            "3" => Ok(3),
            other => Err(InterchangeError::content(self.path, "NDims", "2 or 3 dimensions", other)),
        }
    }

    fn require_plain_image(&self) -> Result<(), InterchangeError> {
        let allowed = |names: &[&str], expected: &str, default: &str| {
            let found = self.get(names).unwrap_or(default);
            if found.eq_ignore_ascii_case(expected) {
                return Ok(());
            }
            Err(InterchangeError::content(self.path, names[0], expected, found))
        };
        allowed(&["ObjectType"], "Image", "Image")?;
        allowed(&["ElementNumberOfChannels"], "1", "1")?;
        allowed(&["BinaryData"], "True", "True")
    }

    fn sizes(&self) -> Result<[i64; 3], InterchangeError> {
        let dimensions = self.dimensions()?;
        let text = self.get(&["DimSize"]).unwrap_or("no DimSize");
        let sizes: Option<Vec<i64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match sizes.as_deref() {
            Some(&[nx, ny]) if dimensions == 2 => Ok([nx, ny, 1]),
            Some(&[nx, ny, nz]) if dimensions == 3 => Ok([nx, ny, nz]),
            _ => Err(InterchangeError::content(
                self.path,
                "DimSize",
                format!("{dimensions} whole numbers"),
                text,
            )),
        }
    }

    fn affine(&self, warnings: &mut Vec<String>) -> Result<Matrix4<f64>, InterchangeError> {
        let n = self.dimensions()?;
        let spacing = self.numbers(&["ElementSpacing", "ElementSize"], n)?.unwrap_or_else(|| {
            warnings.push("no ElementSpacing: voxels taken as 1 mm".into());
            vec![1.0; n]
        });
        let offset = self.numbers(&["Offset", "Position", "Origin"], n)?.unwrap_or_else(|| vec![0.0; n]);
        let rows = self.numbers(&["TransformMatrix", "Orientation", "Rotation"], n * n)?;
        let mut direction = Matrix3::identity();
        for (index, value) in rows.into_iter().flatten().enumerate() {
            direction[(index % n, index / n)] = value;
        }
        let centre = self.numbers(&["CenterOfRotation"], n)?.unwrap_or_default();
        if centre.iter().any(|&value| value != 0.0) {
            warnings.push(
                "CenterOfRotation is not zero; Offset is taken as the first voxel's place, as ITK does"
                    .into(),
            );
        }
        let spacing = Vector3::from_fn(|axis, _| spacing.get(axis).copied().unwrap_or(1.0));
        let mut affine = (direction * Matrix3::from_diagonal(&spacing)).to_homogeneous();
        for (axis, value) in offset.into_iter().enumerate() {
            affine[(axis, 3)] = value;
        }
        Ok(affine)
    }

    fn layout(&self, count: usize) -> Result<SampleLayout, InterchangeError> {
        let text = self.get(&["ElementType"]).unwrap_or("no ElementType");
        let sample_type = match text.to_ascii_uppercase().as_str() {
            "MET_UCHAR" => SampleType::U8,
            "MET_CHAR" => SampleType::I8,
            "MET_USHORT" => SampleType::U16,
            "MET_SHORT" => SampleType::I16,
            "MET_UINT" | "MET_ULONG" => SampleType::U32,
            "MET_INT" | "MET_LONG" => SampleType::I32,
            "MET_ULONG_LONG" => SampleType::U64,
            "MET_LONG_LONG" => SampleType::I64,
            "MET_FLOAT" => SampleType::F32,
            "MET_DOUBLE" => SampleType::F64,
            _ => {
                let expected = "an integer type of up to 64 bits, MET_FLOAT or MET_DOUBLE";
                return Err(InterchangeError::content(self.path, "ElementType", expected, text));
            }
        };
        let is_big = self.flag(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])?;
        let scale = |name: &str, default: f64| {
            let value =
                self.numbers(&[name], 1).map(|numbers| numbers.map_or(default, |numbers| numbers[0]))?;
            if value.is_finite() {
                return Ok(value);
            }
            Err(InterchangeError::content(self.path, name, "a finite number", value.to_string()))
        };
        Ok(SampleLayout {
            sample_type,
            byte_order: if is_big { ByteOrder::Big } else { ByteOrder::Little },
            count,
            slope: scale("ElementToIntensityFunctionSlope", 1.0)?,
            intercept: scale("ElementToIntensityFunctionOffset", 0.0)?,
        })
    }

    /// The file with the samples, and whether it is the header's own.
    fn samples_path(&self) -> Result<(PathBuf, bool), InterchangeError> {
        let name = self.get(&["ElementDataFile"]).unwrap_or_default();
        if name.eq_ignore_ascii_case("LOCAL") {
            return Ok((self.path.into(), true));
        }
        let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || name.eq_ignore_ascii_case("LIST") || name.contains('%') || !is_plain {
            let expected = "LOCAL or the name of one file beside the header";
            return Err(InterchangeError::content(self.path, "ElementDataFile", expected, name));
        }
        Ok((self.path.with_file_name(name), false))
    }
}

/// Writes 32-bit floats: `.mha` with the samples inside, `.mhd` with a `.raw` or `.zraw` beside it.
pub(crate) fn write(volume: &Volume, path: &Path, compress: bool) -> Result<(), InterchangeError> {
    let values = volume.values.as_standard_layout();
    let values = values.as_slice().expect("standard layout is contiguous");
    let uid = volume.frame_of_reference_uid.as_deref();
    let of_volume =
        |samples: &str, packed| header(&volume.grid, Content::Values(volume.quantity), uid, samples, packed);
    let is_local = !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mhd"));
    if is_local && !compress {
        let text = of_volume("LOCAL", None);
        return write_file(path, |writer| {
            writer.write_all(text.as_bytes())?;
            write_f32(writer, values)
        });
    }
    let packed = if compress { Some(pack(values)) } else { None };
    let packed_bytes = packed.as_ref().map(Vec::len);
    let samples = |writer: &mut dyn Write| match &packed {
        Some(packed) => writer.write_all(packed),
        None => write_f32(writer, values),
    };
    if is_local {
        let text = of_volume("LOCAL", packed_bytes);
        return write_file(path, |writer| {
            writer.write_all(text.as_bytes())?;
            samples(writer)
        });
    }
    // Samples first: whoever finds the header finds them too.
    let samples_path = path.with_extension(if compress { "zraw" } else { "raw" });
    let name = samples_path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    write_file(&samples_path, samples)?;
    write_file(path, |writer| writer.write_all(of_volume(&name, packed_bytes).as_bytes()))
}

/// Writes bytes inside an `.mha`, not packed.
pub(crate) fn write_labels(labels: &Labels<'_>, path: &Path) -> Result<(), InterchangeError> {
    let text = header(labels.grid, Content::Labels(labels.meaning), None, "LOCAL", None);
    write_file(path, |writer| {
        writer.write_all(text.as_bytes())?;
        writer.write_all(labels.bytes)
    })
}

/// A zlib stream of the samples; MetaIO wants its length in the header before it.
fn pack(values: &[f32]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    write_f32(&mut encoder, values).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

pub(crate) fn header(
    grid: &VolumeGrid,
    content: Content<'_>,
    frame_of_reference_uid: Option<&str>,
    samples: &str,
    packed_bytes: Option<usize>,
) -> String {
    let list = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "ObjectType = Image\nNDims = 3\nComment = {RESEARCH_USE}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    );
    let _ = writeln!(text, "CompressedData = {}", if packed_bytes.is_some() { "True" } else { "False" });
    if let Some(bytes) = packed_bytes {
        let _ = writeln!(text, "CompressedDataSize = {bytes}");
    }
    let _ = writeln!(text, "TransformMatrix = {}", list(grid.direction.as_slice()));
    let _ = writeln!(text, "Offset = {}", list(grid.origin.coords.as_slice()));
    let _ = writeln!(text, "CenterOfRotation = 0 0 0");
    let _ = writeln!(text, "ElementSpacing = {}", list(&grid.spacing_mm));
    let _ = writeln!(text, "DimSize = {} {} {}", grid.shape[0], grid.shape[1], grid.shape[2]);
    if let Some(meaning) = content.to_text() {
        let _ = writeln!(text, "Quantity = {meaning}");
    }
    if let Some(uid) = frame_of_reference_uid {
        let _ = writeln!(text, "FrameOfReferenceUID = {uid}");
    }
    let element = match content {
        Content::Values(_) => "MET_FLOAT",
        Content::Labels(_) => "MET_UCHAR",
    };
    let _ = writeln!(text, "ElementType = {element}\nElementDataFile = {samples}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{assert_same_place_and_values, oblique_volume};
    use std::fs;

    #[test]
    fn metaimage_comes_back_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let volume = oblique_volume();
        for (name, compress) in [("a.mha", false), ("b.mha", true), ("c.mhd", false), ("d.mhd", true)] {
            let path = folder.path().join(name);
            write(&volume, &path, compress).unwrap();
            let read = open(&path).unwrap().read().unwrap();
            assert_same_place_and_values(&read, &volume, 0.0);
            assert_eq!(read.quantity, volume.quantity);
        }
        assert!(folder.path().join("c.raw").is_file() && folder.path().join("d.zraw").is_file());
    }

    #[test]
    fn metaimage_reads_big_endian_scaled_integers_behind_a_foreign_header() {
        let folder = tempfile::tempdir().unwrap();
        let mut samples = b"foreign".to_vec();
        samples.extend([-3_i16, 0, 7, 300].iter().flat_map(|value| value.to_be_bytes()));
        fs::write(folder.path().join("s.bin"), samples).unwrap();
        let path = folder.path().join("a.mhd");
        fs::write(
            &path,
            "NDims = 3\nDimSize = 2 2 1\nElementType = MET_SHORT\nElementByteOrderMSB = True\nHeaderSize = -1\n\
             ElementToIntensityFunctionSlope = 2\nElementSpacing = 1 2 3\nPosition = 4 5 6\nElementDataFile = s.bin\n",
        )
        .unwrap();
        let volume = open(&path).unwrap().read().unwrap();
        assert_eq!(volume.values.as_slice().unwrap(), [-6.0, 0.0, 14.0, 600.0]);
        assert_eq!(volume.grid.spacing_mm, [1.0, 2.0, 3.0]);
        assert_eq!(volume.grid.origin, nalgebra::Point3::new(4.0, 5.0, 6.0));
    }

    #[test]
    fn metaimage_refuses_what_it_cannot_read_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mha");
        let good = "NDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\nElementType = MET_FLOAT\n";
        let error_of = |header: &str, samples: usize| {
            let mut bytes = header.as_bytes().to_vec();
            bytes.extend(std::iter::repeat_n(0_u8, samples));
            fs::write(&path, bytes).unwrap();
            open(&path).and_then(StoredVolume::read).unwrap_err().to_string()
        };
        let text = error_of(&format!("{good}ElementDataFile = LOCAL\n"), 31);
        assert!(text.contains("32 bytes") && text.contains("found 31"), "{text}");
        let text = error_of(&format!("{good}ElementDataFile = ../../secret\n"), 0);
        assert!(text.contains("ElementDataFile"), "{text}");
        let text = error_of("NDims = 3\nDimSize = 90000000 90000000 90000000\nElementDataFile = LOCAL\n", 0);
        assert!(text.contains("90000000"), "{text}");
        let sheared = format!("{good}TransformMatrix = 1 0 0 0 1 0 0 0.5 0.9\nElementDataFile = LOCAL\n");
        assert!(error_of(&sheared, 32).contains("right angles"));
        assert!(error_of("\u{0}\u{1}", 10).contains("Name = value"));
        assert!(error_of("", 0).contains("none in 0 bytes"));
        let absent = folder.path().join("absent.mha");
        assert!(open(&absent).unwrap_err().to_string().contains("absent.mha"));
    }
}
