//! NIfTI-1 and NIfTI-2 single files (`.nii`, `.nii.gz`): a binary header with an affine to RAS.
//!
//! Specification: nifti1.h (R. W. Cox et al., 2007) and nifti2.h, <https://nifti.nimh.nih.gov>. The affine is
//! the sform where there is one, else the qform, else sizes alone; RAS becomes LPS by changing the sign of x
//! and y.

use crate::affine::{checked_shape, flip_x_and_y, grid_from_affine};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use crate::labels::Labels;
use crate::quantity::{self, Content, RESEARCH_USE};
use crate::samples::{ByteOrder, SampleLayout, SampleType, fill, write_f32};
use crate::stored::{Packing, StoredVolume};
use carm::{Volume, VolumeGrid};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use nalgebra::{Matrix3, Matrix4, Quaternion, UnitQuaternion, Vector3, Vector4};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

const HEADER_1_BYTES: usize = 348;
const HEADER_2_BYTES: usize = 540;
/// Header and the four bytes that say "no extension".
const SAMPLES_OFFSET: usize = 352;

/// Whether the name says that the file is packed with gzip.
fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Reads the header.
pub(crate) fn open(path: &Path) -> Result<StoredVolume, InterchangeError> {
    let header = Header::read(path)?;
    let mut warnings = Vec::new();
    let (shape, count) = checked_shape(path, header.sizes(path)?)?;
    let ras_from_voxel = header.ras_from_voxel(&mut warnings);
    let grid = grid_from_affine(path, shape, &flip_x_and_y(&ras_from_voxel))?;
    Ok(StoredVolume {
        samples_path: path.into(),
        offset: header.samples_offset(path)?,
        packing: if is_gzip(path) { Packing::GzipFile } else { Packing::Plain },
        layout: header.layout(path, count)?,
        grid,
        quantity: quantity::from_text(header.description.rsplit("; ").next().unwrap_or_default()),
        frame_of_reference_uid: None,
        warnings,
    })
}

/// What NIfTI-1 and NIfTI-2 both tell, in one form.
struct Header {
    byte_order: ByteOrder,
    magic: [u8; 4],
    dim: [i64; 8],
    datatype: i64,
    pixdim: [f64; 8],
    vox_offset: f64,
    scl_slope: f64,
    scl_inter: f64,
    xyzt_units: i64,
    description: String,
    qform_code: i64,
    sform_code: i64,
    quaternion: [f64; 3],
    quaternion_offset: [f64; 3],
    srow: [[f64; 4]; 3],
}

impl Header {
    fn read(path: &Path) -> Result<Self, InterchangeError> {
        let file = BufReader::new(File::open(path).map_err(InterchangeError::io(path, "open"))?);
        let mut reader: Box<dyn Read> =
            if is_gzip(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut bytes = [0_u8; HEADER_2_BYTES];
        let got = fill(&mut *reader, &mut bytes).map_err(InterchangeError::io(path, "read the header"))?;
        let size = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let sizes = [i32::from_le_bytes(size), i32::from_be_bytes(size)];
        let order = |at: usize| if at == 0 { ByteOrder::Little } else { ByteOrder::Big };
        if let Some(at) = sizes.iter().position(|&size| size == HEADER_1_BYTES as i32) {
            if got >= HEADER_1_BYTES {
                return Ok(Self::version_1(&Bytes { bytes: &bytes, byte_order: order(at) }));
            }
        } else if let Some(at) = sizes.iter().position(|&size| size == HEADER_2_BYTES as i32)
            && got >= HEADER_2_BYTES
        {
            return Ok(Self::version_2(&Bytes { bytes: &bytes, byte_order: order(at) }));
        }
        let found = format!("{got} bytes that begin with {size:02x?}");
        Err(InterchangeError::content(
            path,
            "NIfTI header",
            "348 or 540 bytes that begin with that size",
            found,
        ))
    }

    fn version_1(b: &Bytes) -> Self {
        Self {
            byte_order: b.byte_order,
            magic: [b.bytes[344], b.bytes[345], b.bytes[346], b.bytes[347]],
            dim: std::array::from_fn(|i| b.i16(40 + 2 * i)),
            datatype: b.i16(70),
            pixdim: std::array::from_fn(|i| b.f32(76 + 4 * i)),
            vox_offset: b.f32(108),
            scl_slope: b.f32(112),
            scl_inter: b.f32(116),
            xyzt_units: i64::from(b.bytes[123]),
            description: b.text(148, 80),
            qform_code: b.i16(252),
            sform_code: b.i16(254),
            quaternion: std::array::from_fn(|i| b.f32(256 + 4 * i)),
            quaternion_offset: std::array::from_fn(|i| b.f32(268 + 4 * i)),
            srow: std::array::from_fn(|row| std::array::from_fn(|i| b.f32(280 + 16 * row + 4 * i))),
        }
    }

    fn version_2(b: &Bytes) -> Self {
        Self {
            byte_order: b.byte_order,
            magic: [b.bytes[4], b.bytes[5], b.bytes[6], b.bytes[7]],
            dim: std::array::from_fn(|i| b.i64(16 + 8 * i)),
            datatype: b.i16(12),
            pixdim: std::array::from_fn(|i| b.f64(104 + 8 * i)),
            vox_offset: b.i64(168) as f64,
            scl_slope: b.f64(176),
            scl_inter: b.f64(184),
            xyzt_units: b.i32(500),
            description: b.text(240, 80),
            qform_code: b.i32(344),
            sform_code: b.i32(348),
            quaternion: std::array::from_fn(|i| b.f64(352 + 8 * i)),
            quaternion_offset: std::array::from_fn(|i| b.f64(376 + 8 * i)),
            srow: std::array::from_fn(|row| std::array::from_fn(|i| b.f64(400 + 32 * row + 8 * i))),
        }
    }

    /// Sizes along x, y, z. Further dimensions must be 1.
    fn sizes(&self, path: &Path) -> Result<[i64; 3], InterchangeError> {
        let expected = "one volume of two or three dimensions";
        let count = usize::try_from(self.dim[0]).unwrap_or(0);
        if !(2..=7).contains(&count) || self.dim[1..=count].iter().skip(3).any(|&size| size != 1) {
            return Err(InterchangeError::content(path, "dim", expected, format!("{:?}", self.dim)));
        }
        Ok([self.dim[1], self.dim[2], if count > 2 { self.dim[3] } else { 1 }])
    }

    fn samples_offset(&self, path: &Path) -> Result<u64, InterchangeError> {
        if !matches!(&self.magic[..3], b"n+1" | b"n+2") {
            let found = String::from_utf8_lossy(&self.magic).into_owned();
            let expected = "n+1 or n+2 (header and samples in one file)";
            return Err(InterchangeError::content(path, "NIfTI magic", expected, format!("{found:?}")));
        }
        if !(HEADER_1_BYTES as f64..1e15).contains(&self.vox_offset) {
            let expected = "an offset behind the header";
            return Err(InterchangeError::content(path, "vox_offset", expected, self.vox_offset.to_string()));
        }
        Ok(self.vox_offset as u64)
    }

    fn layout(&self, path: &Path, count: usize) -> Result<SampleLayout, InterchangeError> {
        let sample_type = match self.datatype {
            2 => SampleType::U8,
            4 => SampleType::I16,
            8 => SampleType::I32,
            16 => SampleType::F32,
            64 => SampleType::F64,
            256 => SampleType::I8,
            512 => SampleType::U16,
            768 => SampleType::U32,
            1024 => SampleType::I64,
            1280 => SampleType::U64,
            other => {
                let expected = "a real scalar type of up to 64 bits";
                return Err(InterchangeError::content(path, "datatype", expected, format!("code {other}")));
            }
        };
        // A slope of zero (or nonsense) says that stored values are the values.
        let is_scaled = self.scl_slope.is_finite() && self.scl_slope != 0.0 && self.scl_inter.is_finite();
        let (slope, intercept) = if is_scaled { (self.scl_slope, self.scl_inter) } else { (1.0, 0.0) };
        Ok(SampleLayout { sample_type, byte_order: self.byte_order, count, slope, intercept })
    }

    /// Voxel index to RAS millimetres by methods 3, 2, 1 of nifti1.h.
    fn ras_from_voxel(&self, warnings: &mut Vec<String>) -> Matrix4<f64> {
        let affine = if self.sform_code > 0 {
            Matrix4::from_fn(|row, column| if row < 3 { self.srow[row][column] } else { 0.0 })
        } else if self.qform_code > 0 {
            self.qform_affine()
        } else {
            warnings.push("no orientation in the file: voxel axes taken as right, anterior, superior".into());
            Matrix4::from_diagonal(&Vector4::new(self.pixdim[1], self.pixdim[2], self.pixdim[3], 0.0))
        };
        let mm = match self.xyzt_units & 7 {
            1 => 1000.0,
            3 => 0.001,
            _ => 1.0,
        };
        let mut affine = affine * mm;
        affine[(3, 3)] = 1.0;
        affine
    }

    fn qform_affine(&self) -> Matrix4<f64> {
        let [b, c, d] = self.quaternion;
        let a = (1.0 - b * b - c * c - d * d).max(0.0).sqrt();
        let rotation = UnitQuaternion::from_quaternion(Quaternion::new(a, b, c, d)).to_rotation_matrix();
        // "qfac": a left-handed grid is a rotation with its third axis turned round.
        let side = if self.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let steps = Vector3::new(self.pixdim[1], self.pixdim[2], side * self.pixdim[3]);
        let mut affine = (rotation.matrix() * Matrix3::from_diagonal(&steps)).to_homogeneous();
        for (axis, offset) in self.quaternion_offset.into_iter().enumerate() {
            affine[(axis, 3)] = offset;
        }
        affine
    }
}

/// A header's bytes, read in its own order.
struct Bytes<'a> {
    bytes: &'a [u8; HEADER_2_BYTES],
    byte_order: ByteOrder,
}

impl Bytes<'_> {
    fn at<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes: [u8; N] =
            self.bytes[offset..offset + N].try_into().expect("offsets lie in the longer header");
        if self.byte_order == ByteOrder::Big {
            bytes.reverse();
        }
        bytes
    }
    fn i16(&self, offset: usize) -> i64 {
        i64::from(i16::from_le_bytes(self.at(offset)))
    }
    fn i32(&self, offset: usize) -> i64 {
        i64::from(i32::from_le_bytes(self.at(offset)))
    }
    fn i64(&self, offset: usize) -> i64 {
        i64::from_le_bytes(self.at(offset))
    }
    fn f32(&self, offset: usize) -> f64 {
        f64::from(f32::from_le_bytes(self.at(offset)))
    }
    fn f64(&self, offset: usize) -> f64 {
        f64::from_le_bytes(self.at(offset))
    }
    fn text(&self, offset: usize, length: usize) -> String {
        let bytes = &self.bytes[offset..offset + length];
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(length);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// Writes 32-bit floats with qform and sform, packed when the name ends in `.gz`.
pub(crate) fn write(volume: &Volume, path: &Path) -> Result<(), InterchangeError> {
    let header = header(&volume.grid, Content::Values(volume.quantity), path)?;
    let values = volume.values.as_standard_layout();
    let values = values.as_slice().expect("standard layout is contiguous");
    write_samples(path, &header, |writer| write_f32(writer, values))
}

/// Writes bytes, as [`write`].
pub(crate) fn write_labels(labels: &Labels<'_>, path: &Path) -> Result<(), InterchangeError> {
    let header = header(labels.grid, Content::Labels(labels.meaning), path)?;
    write_samples(path, &header, |writer| writer.write_all(labels.bytes))
}

fn write_samples(
    path: &Path,
    header: &[u8],
    samples: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<(), InterchangeError> {
    let all = |writer: &mut dyn Write| {
        writer.write_all(header)?;
        samples(writer)
    };
    write_file(path, |writer| {
        if !is_gzip(path) {
            return all(writer);
        }
        let mut encoder = GzEncoder::new(writer, Compression::fast());
        all(&mut encoder)?;
        encoder.finish().map(|_| ())
    })
}

pub(crate) fn header(
    grid: &VolumeGrid,
    content: Content<'_>,
    path: &Path,
) -> Result<[u8; SAMPLES_OFFSET], InterchangeError> {
    let mut bytes = [0_u8; SAMPLES_OFFSET];
    let mut put = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
    put(0, &(HEADER_1_BYTES as i32).to_le_bytes());
    put(38, b"r");
    for (index, size) in [3, grid.shape[0], grid.shape[1], grid.shape[2], 1, 1, 1, 1].into_iter().enumerate()
    {
        let size = i16::try_from(size).map_err(|_| InterchangeError::NotRepresentable {
            path: path.into(),
            format: "NIfTI-1",
            expected: format!("at most {} voxels along an axis", i16::MAX),
            found: size.to_string(),
        })?;
        put(40 + 2 * index, &size.to_le_bytes());
    }
    let (code, bits) = match content {
        Content::Values(_) => (16_i16, 32_i16),
        Content::Labels(_) => (2, 8),
    };
    put(70, &code.to_le_bytes());
    put(72, &bits.to_le_bytes());
    let ras_from_voxel = flip_x_and_y(&grid.space_from_voxel());
    let (quaternion, side) = quaternion(&ras_from_voxel, &grid.spacing_mm);
    let pixdim = [side, grid.spacing_mm[0], grid.spacing_mm[1], grid.spacing_mm[2]];
    let mut put_f32 = |offset: usize, value: f64| put(offset, &(value as f32).to_le_bytes());
    for (index, value) in pixdim.into_iter().enumerate() {
        put_f32(76 + 4 * index, value);
    }
    put_f32(108, SAMPLES_OFFSET as f64);
    put_f32(112, 1.0);
    for axis in 0..3 {
        put_f32(256 + 4 * axis, quaternion[axis]);
        put_f32(268 + 4 * axis, ras_from_voxel[(axis, 3)]);
        for column in 0..4 {
            put_f32(280 + 16 * axis + 4 * column, ras_from_voxel[(axis, column)]);
        }
    }
    put(123, &[2]); // millimetres
    let description = match (content, content.to_text()) {
        (Content::Values(_), Some(meaning)) => format!("{RESEARCH_USE}; {meaning}"),
        // Both do not fit.
        (Content::Labels(_), Some(meaning)) => meaning,
        (_, None) => RESEARCH_USE.to_string(),
    };
    put(148, &description.as_bytes()[..description.len().min(79)]);
    // Code 1: scanner coordinates, both forms saying the same.
    put(252, &1_i16.to_le_bytes());
    put(254, &1_i16.to_le_bytes());
    put(344, b"n+1\0");
    Ok(bytes)
}

/// `(b, c, d)` with `a >= 0` and qfac of the affine's rotation.
fn quaternion(ras_from_voxel: &Matrix4<f64>, spacing_mm: &[f64; 3]) -> ([f64; 3], f64) {
    let mut rotation: Matrix3<f64> = ras_from_voxel.fixed_view::<3, 3>(0, 0).into_owned();
    for (axis, spacing) in spacing_mm.iter().enumerate() {
        rotation.column_mut(axis).scale_mut(spacing.recip());
    }
    let side = rotation.determinant().signum();
    rotation.column_mut(2).scale_mut(side);
    let q = UnitQuaternion::from_matrix(&rotation);
    let sign = if q.w < 0.0 { -1.0 } else { 1.0 };
    ([q.i * sign, q.j * sign, q.k * sign], side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{assert_same_place_and_values, left_handed_volume, oblique_volume};
    use std::fs;

    #[test]
    fn nifti_comes_back_packed_plain_and_left_handed() {
        let folder = tempfile::tempdir().unwrap();
        for volume in [oblique_volume(), left_handed_volume()] {
            for name in ["a.nii", "a.nii.gz"] {
                let path = folder.path().join(name);
                write(&volume, &path).unwrap();
                let read = open(&path).unwrap().read().unwrap();
                assert_same_place_and_values(&read, &volume, 0.0);
                assert_eq!(read.quantity, volume.quantity);
            }
        }
    }

    #[test]
    fn nifti_qform_alone_says_the_same_as_the_sform() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        for volume in [oblique_volume(), left_handed_volume()] {
            write(&volume, &path).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes[254..256].fill(0);
            bytes[280..328].fill(0);
            fs::write(&path, bytes).unwrap();
            assert_same_place_and_values(&open(&path).unwrap().read().unwrap(), &volume, 0.0);
        }
    }

    #[test]
    fn nifti_without_orientation_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        write(&oblique_volume(), &path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[252..256].fill(0);
        fs::write(&path, bytes).unwrap();
        let volume = open(&path).unwrap().read().unwrap();
        assert!(volume.provenance.warnings[0].contains("no orientation"));
        assert_eq!(volume.grid.direction, Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0)));
    }

    #[test]
    fn nifti_refuses_damage_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nii");
        write(&oblique_volume(), &path).unwrap();
        let good = fs::read(&path).unwrap();
        let error_with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
            open(&path).and_then(StoredVolume::read).unwrap_err().to_string()
        };
        let text = error_with(&|bytes| bytes.truncate(1000));
        assert!(text.contains("expected 1260 bytes") && text.contains("found 648"), "{text}");
        assert!(error_with(&|bytes| bytes.clear()).contains("found 0 bytes"));
        assert!(error_with(&|bytes| bytes[70] = 128).contains("code 128"));
        assert!(error_with(&|bytes| bytes[42] = 0xFF).contains("1260"), "more voxels than samples");
        assert!(
            error_with(&|bytes| bytes[284..288].copy_from_slice(&9_f32.to_le_bytes()))
                .contains("right angles")
        );
        assert!(
            error_with(&|bytes| bytes[280..284].copy_from_slice(&f32::NAN.to_le_bytes())).contains("NaN")
        );
        assert!(error_with(&|bytes| bytes[344..347].copy_from_slice(b"ni1")).contains("n+1"));
    }
}
