//! Frames of pixel data to stored values: native bytes cut here, encapsulated ones decoded by dicom-pixeldata.

use super::containment::contained;
use super::object::{Object, count, text};
use crate::error::InterchangeError;
use dicom_core::value::Value;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_pixeldata::PixelDecoder;
use std::borrow::Cow;
use std::path::Path;

/// Largest frame that is decoded: 128 mebipixels of 16 bits; the largest radiographs have a tenth of it.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// How the samples of an image are stored (PS3.3 C.7.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelFormat {
    pub columns: usize,
    pub rows: usize,
    pub frames: usize,
    pub samples_per_pixel: usize,
    pub bits_allocated: usize,
    pub bits_stored: usize,
    pub is_signed: bool,
}

impl PixelFormat {
    pub(crate) fn of(path: &Path, object: &InMemDicomObject) -> Result<Self, InterchangeError> {
        let need = |tag, name: &str| {
            count(object, tag)
                .filter(|&number| number > 0)
                .ok_or_else(|| InterchangeError::content(path, name, "a positive whole number", "none"))
        };
        let format = Self {
            columns: need(tags::COLUMNS, "Columns")?,
            rows: need(tags::ROWS, "Rows")?,
            frames: count(object, tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1),
            samples_per_pixel: count(object, tags::SAMPLES_PER_PIXEL).unwrap_or(1),
            bits_allocated: need(tags::BITS_ALLOCATED, "BitsAllocated")?,
            bits_stored: need(tags::BITS_STORED, "BitsStored")?,
            is_signed: count(object, tags::PIXEL_REPRESENTATION) == Some(1),
        };
        let is_possible = matches!(format.bits_allocated, 1 | 8 | 16 | 32)
            && format.bits_stored <= format.bits_allocated
            && matches!(format.samples_per_pixel, 1 | 3 | 4);
        if !is_possible {
            let Self { samples_per_pixel, bits_stored, bits_allocated, .. } = format;
            let found = format!("{samples_per_pixel} samples of {bits_stored} in {bits_allocated} bits");
            let expected = "1, 3 or 4 samples a pixel of up to 1, 8, 16 or 32 bits";
            return Err(InterchangeError::content(path, "pixel format", expected, found));
        }
        if format.frame_bytes() > FRAME_BYTES_MAX {
            let found = format!("{} x {}", format.columns, format.rows);
            return Err(InterchangeError::content(path, "frame size", "at most 256 MiB a frame", found));
        }
        Ok(format)
    }

    /// Bytes of one native frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        (self.columns * self.rows * self.samples_per_pixel * self.bits_allocated).div_ceil(8)
    }

    /// Stored values as numbers: bits above `bits_stored` are no part of them (they may hold overlays).
    fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        let spare = 32 - self.bits_stored as u32;
        let one = |raw: u32| {
            let top = raw << spare;
            if self.is_signed { ((top as i32) >> spare) as f32 } else { (top >> spare) as f32 }
        };
        match self.bits_allocated {
            8 => bytes.iter().map(|&byte| one(u32::from(byte))).collect(),
            16 => bytes.chunks_exact(2).map(|b| one(u32::from(u16::from_le_bytes([b[0], b[1]])))).collect(),
            _ => bytes.chunks_exact(4).map(|b| one(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        }
    }
}

/// The frames of an open object.
pub(crate) struct Frames<'a> {
    path: &'a Path,
    object: &'a Object,
    pub format: PixelFormat,
    /// All native bytes, little endian; `None` when encapsulated.
    native: Option<Cow<'a, [u8]>>,
}

impl<'a> Frames<'a> {
    pub(crate) fn of(path: &'a Path, object: &'a Object) -> Result<Self, InterchangeError> {
        let format = PixelFormat::of(path, object)?;
        let element = object
            .get(tags::PIXEL_DATA)
            .ok_or_else(|| InterchangeError::content(path, "DICOM object", "pixel data", "none"))?;
        let native = match element.value() {
            Value::Primitive(bytes) => Some(bytes.to_bytes()),
            Value::PixelSequence(sequence) => {
                require_codestream_sizes(path, &format, sequence.fragments())?;
                None
            }
            Value::Sequence(_) => {
                return Err(InterchangeError::content(
                    path,
                    "pixel data",
                    "bytes or fragments",
                    "a sequence",
                ));
            }
        };
        if let Some(bytes) = &native {
            let expected = format.frame_bytes().checked_mul(format.frames);
            if expected.is_none_or(|expected| bytes.len() < expected) {
                let PixelFormat { columns, rows, frames, samples_per_pixel, bits_allocated, .. } = format;
                let sizes = format!(
                    "{columns} x {rows} x {frames} pixels of {samples_per_pixel} x {bits_allocated} bits"
                );
                return Err(InterchangeError::Size {
                    path: path.into(),
                    sizes,
                    expected_bytes: expected.map_or(u64::MAX, |expected| expected as u64),
                    found_bytes: bytes.len() as u64,
                });
            }
        }
        Ok(Self { path, object, format, native })
    }

    /// The bytes of one decoded frame, little endian, samples interleaved as the codec gives them.
    pub(crate) fn frame_bytes(&self, frame: usize) -> Result<Cow<'_, [u8]>, InterchangeError> {
        let size = self.format.frame_bytes();
        if let Some(bytes) = &self.native {
            return Ok(Cow::Borrowed(&bytes[frame * size..(frame + 1) * size]));
        }
        let decoded = contained(self.path, "frame", || {
            let pixels = self.object.decode_pixel_data_frame(frame as u32);
            let pixels = pixels.map_err(|error| self.undecodable(frame, &error))?;
            Ok(pixels.data().to_vec())
        })?;
        if decoded.len() < size {
            let sizes = format!("frame {frame} of {} x {}", self.format.columns, self.format.rows);
            let (expected_bytes, found_bytes) = (size as u64, decoded.len() as u64);
            return Err(InterchangeError::Size {
                path: self.path.into(),
                sizes,
                expected_bytes,
                found_bytes,
            });
        }
        Ok(Cow::Owned(decoded))
    }

    /// Codecs speak of marker codes and sizes, never of attributes: their words may be told.
    fn undecodable(&self, frame: usize, error: &dyn std::error::Error) -> InterchangeError {
        let mut cause = format!("frame {frame}: {error}");
        let mut inner = error.source();
        while let Some(source) = inner {
            cause = format!("{cause}: {source}");
            inner = source.source();
        }
        let syntax = self.object.meta().transfer_syntax();
        InterchangeError::dicom(self.path, "frame", format!("{cause} (transfer syntax {syntax})"))
    }

    /// Stored values of a grey frame, row by row.
    pub(crate) fn stored_values(&self, frame: usize) -> Result<Vec<f32>, InterchangeError> {
        let photometric = text(self.object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
        if self.format.samples_per_pixel != 1
            || self.format.bits_allocated == 1
            || !photometric.starts_with("MONO")
        {
            let PixelFormat { samples_per_pixel, bits_allocated, .. } = self.format;
            let found = format!("{photometric}, {samples_per_pixel} samples of {bits_allocated} bits");
            return Err(InterchangeError::content(
                self.path,
                "pixel format",
                "grey values of 8 to 32 bits",
                found,
            ));
        }
        let bytes = self.frame_bytes(frame)?;
        Ok(self.format.decode(&bytes[..self.format.frame_bytes()]))
    }
}

/// Codecs reserve what the codestream's own header declares: it must agree with the image's sizes.
fn require_codestream_sizes(
    path: &Path,
    format: &PixelFormat,
    fragments: &[Vec<u8>],
) -> Result<(), InterchangeError> {
    for (index, fragment) in fragments.iter().enumerate() {
        if let Some([width, height]) = codestream_size(fragment)
            && [width, height] != [format.columns, format.rows]
        {
            let expected = format!("{} x {} pixels", format.columns, format.rows);
            let found = format!("{width} x {height}");
            return Err(InterchangeError::content(path, format!("fragment {index}"), expected, found));
        }
    }
    Ok(())
}

/// Width and height in the frame header of a JPEG, JPEG-LS (ISO 10918-1 B.2.2, 14495-1 C.2.2) or JPEG 2000
/// (ISO 15444-1 A.5.1) codestream; `None` where the bytes are no such thing, or go on from another fragment.
fn codestream_size(bytes: &[u8]) -> Option<[usize; 2]> {
    let u16_at = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    if bytes.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) {
        let u32_at = |at: usize| Some((u16_at(at)? << 16) | u16_at(at + 2)?);
        return Some([u32_at(8)?.saturating_sub(u32_at(16)?), u32_at(12)?.saturating_sub(u32_at(20)?)]);
    }
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return None;
    }
    let mut at = 2;
    while at + 9 < bytes.len() {
        if bytes[at] != 0xFF {
            return None;
        }
        match bytes[at + 1] {
            0xFF => at += 1,
            // Start of frame, in all its kinds; not the tables DHT (C4), JPG (C8) and DAC (CC).
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | 0xF7 => {
                return Some([u16_at(at + 7)?, u16_at(at + 5)?]);
            }
            0xD9 | 0xDA => return None,
            _ => at += 2 + u16_at(at + 2)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_keep_sign_and_drop_spare_bits() {
        let mut format = PixelFormat {
            columns: 2,
            rows: 1,
            frames: 1,
            samples_per_pixel: 1,
            bits_allocated: 16,
            bits_stored: 12,
            is_signed: true,
        };
        assert_eq!(format.decode(&[0xFF, 0x0F, 0x01, 0xF0]), [-1.0, 1.0]);
        format.is_signed = false;
        assert_eq!(format.decode(&[0xFF, 0x0F, 0x01, 0xF0]), [4095.0, 1.0]);
    }

    #[test]
    fn pixels_codestream_headers_tell_their_size() {
        let jpeg =
            [0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xC3, 0, 11, 16, 0x02, 0x00, 0x01, 0x90, 1, 0, 0];
        assert_eq!(codestream_size(&jpeg), Some([400, 512]));
        let mut j2k = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        j2k.extend([0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(codestream_size(&j2k), Some([1024, 511]));
        assert_eq!(codestream_size(&[1, 2, 3]), None);
        assert_eq!(codestream_size(&jpeg[..9]), None);
    }
}
