//! Opening DICOM files, and taking plain values from their attributes.

use super::{containment::contained, structure};
use crate::error::InterchangeError;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::file::ReadPreamble;
use dicom_object::{FileDicomObject, InMemDicomObject, OpenFileOptions};
use nalgebra::Vector3;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// A DICOM file in memory.
pub(crate) type Object = FileDicomObject<InMemDicomObject>;

/// All attributes before the pixel data.
pub(crate) fn open_header(path: &Path) -> Result<Object, InterchangeError> {
    open(path, |options| options.read_until(tags::FLOAT_PIXEL_DATA))
}

/// The whole file.
pub(crate) fn open_all(path: &Path) -> Result<Object, InterchangeError> {
    open(path, |options| options)
}

fn open(
    path: &Path,
    choose: impl FnOnce(OpenFileOptions) -> OpenFileOptions,
) -> Result<Object, InterchangeError> {
    let seen = structure::check(path)?;
    contained(path, "file", || {
        let options = choose(OpenFileOptions::new().read_preamble(ReadPreamble::Always));
        let file = File::open(path).map_err(InterchangeError::io(path, "open"))?;
        let reader = BufReader::new(WithoutRanges { file, position: 0, cut: seen.unknown_sequences });
        // Only the outermost words of the error: they name the step, the inner ones may quote values.
        options.from_reader(reader).map_err(|error| InterchangeError::dicom(path, "file", error.to_string()))
    })
}

/// A file from which some ranges of bytes are left out.
struct WithoutRanges {
    file: File,
    position: u64,
    /// In order, none empty.
    cut: Vec<Range<u64>>,
}

impl Read for WithoutRanges {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(range) = self.cut.first()
            && self.position == range.start
        {
            self.position = range.end;
            self.file.seek(SeekFrom::Start(range.end))?;
            self.cut.remove(0);
        }
        let until = self.cut.first().map_or(u64::MAX, |range| range.start - self.position);
        let most = usize::try_from(until).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read(&mut buffer[..most])?;
        self.position += got as u64;
        Ok(got)
    }
}

/// A text value without padding; `None` when absent or empty.
pub(crate) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = object.get(tag)?.to_str().ok()?;
    let value = value.trim_matches([' ', '\0']);
    (!value.is_empty()).then(|| value.to_string())
}

/// All numbers of an attribute.
pub(crate) fn numbers(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    object.get(tag)?.to_multi_float64().ok().filter(|numbers| !numbers.is_empty())
}

/// The first number of an attribute.
pub(crate) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    numbers(object, tag)?.first().copied()
}

/// A whole number that is not negative.
pub(crate) fn count(object: &InMemDicomObject, tag: Tag) -> Option<usize> {
    number(object, tag).filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as usize)
}

/// Three numbers at `first`, all finite.
pub(crate) fn vector(numbers: &[f64], first: usize) -> Option<Vector3<f64>> {
    let three = numbers.get(first..first + 3)?;
    three.iter().all(|number| number.is_finite()).then(|| Vector3::from_row_slice(three))
}

/// The items of a sequence; none when absent.
pub(crate) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}
