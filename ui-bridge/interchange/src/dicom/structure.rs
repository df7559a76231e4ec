//! A DICOM file's skeleton, walked without reading a value: every declared length is held against what is there.
//!
//! Parsers reserve memory for a value as soon as they have read its length, so a short file that declares four
//! gibibytes costs four gibibytes. This walk (PS3.5 sections 7.1 to 7.5 and A.4, PS3.10 section 7) sees to it
//! that such a file never reaches them; it also bounds how deep sequences nest.

use crate::error::InterchangeError;
use crate::samples::fill;
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;

/// Deepest nesting of sequences that is accepted; real objects stay below ten.
const DEPTH_MAX: usize = 64;
/// Most bytes that a deflated data set may unpack to.
const INFLATED_BYTES_MAX: u64 = 256 << 20;
/// "Undefined length".
const UNDEFINED: u32 = 0xFFFF_FFFF;

/// What the walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    pub transfer_syntax_uid: String,
    pub elements: usize,
    pub deepest: usize,
    /// Bytes of pixel data (all fragments together), where there is any.
    pub pixel_data_bytes: Option<u64>,
    /// Fragments of encapsulated pixel data, the offset table not counted.
    pub fragments: usize,
    /// Bytes of outermost elements that hold a sequence of unknown VR. Inside such a sequence elements are
    /// implicit (PS3.5 6.2.2 note); parsers that go on as explicit take text for lengths, so these elements
    /// are kept from them.
    pub unknown_sequences: Vec<Range<u64>>,
}

/// True when the file begins as PS3.10 says: 128 bytes and `DICM`.
pub(crate) fn has_dicom_prefix(path: &Path) -> Result<bool, InterchangeError> {
    let mut file = File::open(path).map_err(InterchangeError::io(path, "open"))?;
    let mut prefix = [0; 132];
    let got = fill(&mut file, &mut prefix).map_err(InterchangeError::io(path, "read"))?;
    Ok(got == 132 && &prefix[128..] == b"DICM")
}

/// Walks the whole file.
///
/// # Errors
/// No DICOM file; a length beyond its container or the file; a sequence without end; nesting beyond
/// [`DEPTH_MAX`]; a deflated data set beyond [`INFLATED_BYTES_MAX`].
pub(crate) fn check(path: &Path) -> Result<Structure, InterchangeError> {
    let file = File::open(path).map_err(InterchangeError::io(path, "open"))?;
    let length = file.metadata().map_err(InterchangeError::io(path, "read the length"))?.len();
    if !has_dicom_prefix(path)? {
        let found = format!("{length} bytes without them");
        return Err(InterchangeError::content(path, "DICOM file", "128 bytes of preamble and DICM", found));
    }
    let mut walk = Walk {
        path,
        source: Source::Plain(BufReader::with_capacity(1 << 16, file)),
        position: 0,
        end: length,
        outermost: 0,
        has_unknown: false,
        structure: Structure::default(),
    };
    walk.skip(132)?;
    let first = walk.meta_group()?;
    let structure = &walk.structure;
    let transfer_syntax = structure.transfer_syntax_uid.clone();
    let coding = match transfer_syntax.as_str() {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Coding { is_explicit: false, is_big: false },
        "1.2.840.10008.1.2.2" => Coding { is_explicit: true, is_big: true },
        _ => Coding { is_explicit: true, is_big: false },
    };
    if transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        walk = walk.inflated(first)?;
        walk.data_set(coding, None)?;
        if !walk.structure.unknown_sequences.is_empty() {
            let expected = "known VRs in a deflated data set";
            return Err(InterchangeError::content(path, "DICOM structure", expected, "a sequence of VR UN"));
        }
    } else {
        walk.data_set(coding, first)?;
    }
    Ok(walk.structure)
}

/// How element headers are written.
#[derive(Clone, Copy)]
struct Coding {
    is_explicit: bool,
    is_big: bool,
}

enum Source {
    Plain(BufReader<File>),
    Deflated(Box<DeflateDecoder<BufReader<File>>>),
}

struct Walk<'a> {
    path: &'a Path,
    source: Source,
    position: u64,
    /// Where the file ends; for a deflated data set, the most that is unpacked.
    end: u64,
    /// Where the outermost open element begins, and whether a sequence of unknown VR was met in it.
    outermost: u64,
    has_unknown: bool,
    structure: Structure,
}

/// A sequence or an item that has been entered.
struct Container {
    is_item: bool,
    /// Where it ends; `None` when a delimiter tells.
    end: Option<u64>,
    coding: Coding,
}

impl<'a> Walk<'a> {
    fn broken(&self, expected: impl Into<String>, found: impl Into<String>) -> InterchangeError {
        InterchangeError::content(
            self.path,
            format!("DICOM structure at byte {}", self.position),
            expected,
            found,
        )
    }

    fn read<const N: usize>(&mut self) -> Result<Option<[u8; N]>, InterchangeError> {
        let mut bytes = [0; N];
        let reader: &mut dyn Read = match &mut self.source {
            Source::Plain(reader) => reader,
            Source::Deflated(reader) => &mut **reader,
        };
        let got = fill(reader, &mut bytes).map_err(InterchangeError::io(self.path, "read"))?;
        self.position += got as u64;
        match got {
            0 => Ok(None),
            got if got == N => Ok(Some(bytes)),
            got => Err(self.broken(format!("{N} bytes of an element's header"), format!("{got}"))),
        }
    }

    fn require<const N: usize>(&mut self) -> Result<[u8; N], InterchangeError> {
        self.read()?.ok_or_else(|| self.broken(format!("{N} bytes"), "the end of the file"))
    }

    /// Steps over bytes that must be there.
    fn skip(&mut self, bytes: u64) -> Result<(), InterchangeError> {
        let there = self.end.saturating_sub(self.position);
        if bytes > there {
            return Err(self.broken(format!("a value of {bytes} bytes"), format!("{there} bytes")));
        }
        let failed = InterchangeError::io(self.path, "read");
        match &mut self.source {
            Source::Plain(reader) => reader.seek_relative(bytes as i64).map_err(failed)?,
            Source::Deflated(reader) => {
                let got = io::copy(&mut reader.by_ref().take(bytes), &mut io::sink()).map_err(failed)?;
                if got < bytes {
                    return Err(self.broken(format!("a value of {bytes} bytes"), format!("{got} bytes")));
                }
            }
        }
        self.position += bytes;
        Ok(())
    }

    /// The same walk over the unpacked data set. `first` is the tag already read from the packed bytes.
    fn inflated(self, first: Option<[u8; 4]>) -> Result<Self, InterchangeError> {
        let Source::Plain(mut reader) = self.source else { return Ok(self) };
        if first.is_some() {
            reader.seek_relative(-4).map_err(InterchangeError::io(self.path, "read"))?;
        }
        let source = Source::Deflated(Box::new(DeflateDecoder::new(reader)));
        Ok(Self { source, position: 0, end: INFLATED_BYTES_MAX, ..self })
    }

    /// Walks group 0002 (always explicit, little endian) and gives back the first tag after it.
    fn meta_group(&mut self) -> Result<Option<[u8; 4]>, InterchangeError> {
        let coding = Coding { is_explicit: true, is_big: false };
        loop {
            let Some(bytes) = self.read::<4>()? else { return Ok(None) };
            let tag = tag_of(bytes, false);
            if tag.group() != 0x0002 {
                return Ok(Some(bytes));
            }
            let (_, length) = self.vr_and_length(tag, coding)?;
            if tag == tags::TRANSFER_SYNTAX_UID && length <= 66 {
                let mut text = Vec::with_capacity(66);
                for _ in 0..length {
                    text.push(self.require::<1>()?[0]);
                }
                let text = String::from_utf8_lossy(&text);
                self.structure.transfer_syntax_uid = text.trim_matches(['\0', ' ']).to_string();
            } else {
                self.skip(u64::from(length))?;
            }
        }
    }

    /// The VR (as in the file, or from the dictionary) and the declared length.
    fn vr_and_length(&mut self, tag: Tag, coding: Coding) -> Result<([u8; 2], u32), InterchangeError> {
        let number = |bytes: [u8; 4]| {
            if coding.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        if !coding.is_explicit {
            let length = number(self.require()?);
            let vr = StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed().to_string());
            let is_sequence = vr == Some("SQ");
            return Ok((if is_sequence { *b"SQ" } else { *b"UN" }, length));
        }
        let vr: [u8; 2] = self.require()?;
        match &vr {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
            | b"UV" => {
                self.require::<2>()?;
                Ok((vr, number(self.require()?)))
            }
            _ => {
                let bytes: [u8; 2] = self.require()?;
                let length =
                    if coding.is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
                Ok((vr, u32::from(length)))
            }
        }
    }

    fn data_set(&mut self, coding: Coding, mut first: Option<[u8; 4]>) -> Result<(), InterchangeError> {
        let mut open: Vec<Container> = Vec::new();
        loop {
            while open.last().is_some_and(|inner| inner.end.is_some_and(|end| self.position >= end)) {
                open.pop();
            }
            if open.is_empty() && std::mem::take(&mut self.has_unknown) {
                self.structure.unknown_sequences.push(self.outermost..self.position);
            }
            let bytes = match first.take() {
                Some(bytes) => Some(bytes),
                None => self.read::<4>()?,
            };
            let Some(bytes) = bytes else {
                return if open.is_empty() {
                    Ok(())
                } else {
                    Err(self.broken("the end of a sequence", "the end of the file"))
                };
            };
            if open.is_empty() {
                self.outermost = self.position - 4;
            }
            let coding = open.last().map_or(coding, |inner| inner.coding);
            let tag = tag_of(bytes, coding.is_big);
            if tag.group() == 0xFFFE {
                self.delimiter(tag, coding, &mut open)?;
            } else {
                self.element(tag, coding, &mut open)?;
            }
            if open.len() > 2 * DEPTH_MAX {
                return Err(self.broken(format!("at most {DEPTH_MAX} nested sequences"), "more"));
            }
            self.structure.deepest = self.structure.deepest.max(open.len() / 2);
        }
    }

    /// An item's beginning or end, or a sequence's end.
    fn delimiter(
        &mut self,
        tag: Tag,
        coding: Coding,
        open: &mut Vec<Container>,
    ) -> Result<(), InterchangeError> {
        let bytes: [u8; 4] = self.require()?;
        let length = if coding.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        match tag.element() {
            0xE000 if open.last().is_some_and(|inner| !inner.is_item) => {
                let end = self.end_of(length, open)?;
                open.push(Container { is_item: true, end, coding });
                Ok(())
            }
            0xE00D if open.last().is_some_and(|inner| inner.is_item) => {
                open.pop();
                Ok(())
            }
            0xE0DD if open.last().is_some_and(|inner| !inner.is_item) => {
                open.pop();
                Ok(())
            }
            other => Err(self.broken("an item or delimiter in its place", format!("(FFFE,{other:04X})"))),
        }
    }

    /// Where something of a declared length ends; it may not reach beyond what contains it.
    fn end_of(&self, length: u32, open: &[Container]) -> Result<Option<u64>, InterchangeError> {
        if length == UNDEFINED {
            return Ok(None);
        }
        let end = self.position + u64::from(length);
        let limit = open.iter().rev().find_map(|outer| outer.end).unwrap_or(self.end);
        if end > limit {
            let there = limit.saturating_sub(self.position);
            return Err(self.broken(format!("{length} bytes as declared"), format!("{there} bytes")));
        }
        Ok(Some(end))
    }

    fn element(
        &mut self,
        tag: Tag,
        coding: Coding,
        open: &mut Vec<Container>,
    ) -> Result<(), InterchangeError> {
        self.structure.elements += 1;
        let (vr, length) = self.vr_and_length(tag, coding)?;
        let end = self.end_of(length, open)?;
        let is_pixel_data = tag == tags::PIXEL_DATA && open.is_empty();
        match end {
            None if tag == tags::PIXEL_DATA => self.fragments(coding, is_pixel_data),
            None => {
                // A sequence of unknown VR is implicit inside (PS3.5 6.2.2).
                let is_unknown = coding.is_explicit && &vr != b"SQ";
                self.has_unknown |= is_unknown;
                let coding = if is_unknown { Coding { is_explicit: false, is_big: false } } else { coding };
                open.push(Container { is_item: false, end, coding });
                Ok(())
            }
            Some(_) if &vr == b"SQ" => {
                open.push(Container { is_item: false, end, coding });
                Ok(())
            }
            Some(_) => {
                if is_pixel_data {
                    self.structure.pixel_data_bytes = Some(u64::from(length));
                }
                self.skip(u64::from(length))
            }
        }
    }

    /// The offset table and the fragments of encapsulated pixel data, up to the delimiter.
    fn fragments(&mut self, coding: Coding, is_main: bool) -> Result<(), InterchangeError> {
        let (mut items, mut total) = (0_usize, 0_u64);
        loop {
            let tag = tag_of(self.require()?, coding.is_big);
            let bytes: [u8; 4] = self.require()?;
            let length = if coding.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
            match (tag.group(), tag.element()) {
                (0xFFFE, 0xE000) => {
                    self.skip(u64::from(length))?;
                    items += 1;
                    total += if items > 1 { u64::from(length) } else { 0 };
                }
                (0xFFFE, 0xE0DD) => break,
                (group, element) => {
                    return Err(
                        self.broken("a fragment of pixel data", format!("({group:04X},{element:04X})"))
                    );
                }
            }
        }
        if is_main {
            self.structure.fragments = items.saturating_sub(1);
            self.structure.pixel_data_bytes = Some(total);
        }
        Ok(())
    }
}

fn tag_of(bytes: [u8; 4], is_big: bool) -> Tag {
    let [a, b, c, d] = bytes;
    if is_big {
        Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    } else {
        Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file_with(data_set: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dcm");
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0");
        bytes.extend(data_set);
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn structure_refuses_a_length_that_is_not_there() {
        let (_folder, path) = file_with(b"\x10\x00\x20\x00UN\x00\x00\xF0\xFF\xFF\xFFabc");
        let text = check(&path).unwrap_err().to_string();
        assert!(text.contains("4294967280") && text.contains("3 bytes"), "{text}");
    }

    #[test]
    fn structure_walks_sequences_of_both_kinds_and_fragments() {
        let mut data = Vec::new();
        // A sequence of defined length with an item of undefined length.
        data.extend(b"\x08\x00\x40\x11SQ\x00\x00\x1a\x00\x00\x00");
        data.extend(
            b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\x08\x00\x50\x11UI\x02\x001\0\xFE\xFF\x0D\xE0\x00\x00\x00\x00",
        );
        // Encapsulated pixel data: an empty offset table and one fragment.
        data.extend(b"\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x00\x00\x00\x00");
        data.extend(b"\xFE\xFF\x00\xE0\x04\x00\x00\x00abcd\xFE\xFF\xDD\xE0\x00\x00\x00\x00");
        let (_folder, path) = file_with(&data);
        let structure = check(&path).unwrap();
        assert_eq!(structure.transfer_syntax_uid, "1.2.840.10008.1.2.1");
        assert_eq!((structure.elements, structure.deepest), (3, 1));
        assert_eq!((structure.fragments, structure.pixel_data_bytes), (1, Some(4)));
        for cut in 1..data.len() {
            let (_folder, path) = file_with(&data[..cut]);
            let whole_elements = [38];
            assert_eq!(check(&path).is_ok(), whole_elements.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn structure_marks_sequences_of_unknown_vr() {
        let mut data = b"\x08\x00\x60\x00CS\x02\x00CT".to_vec();
        data.extend(b"\x09\x00\x10\x10UN\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
        data.extend(b"\x08\x00\x50\x11\x02\x00\x00\x001.\xFE\xFF\x0D\xE0\x00\x00\x00\x00");
        data.extend(b"\xFE\xFF\xDD\xE0\x00\x00\x00\x00\x20\x00\x10\x00SH\x00\x00");
        let (_folder, path) = file_with(&data);
        let header = 132 + 28;
        let found = check(&path).unwrap().unknown_sequences;
        assert_eq!(
            (found.len(), found[0].start, found[0].end),
            (1, header + 10, header + 10 + 12 + 8 + 10 + 8 + 8)
        );
    }

    #[test]
    fn structure_refuses_bottomless_nesting() {
        let mut data = Vec::new();
        for _ in 0..10_000 {
            data.extend(b"\x08\x00\x40\x11SQ\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
        }
        let (_folder, path) = file_with(&data);
        assert!(check(&path).unwrap_err().to_string().contains("nested"));
    }

    #[test]
    fn structure_refuses_what_is_no_dicom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dcm");
        fs::write(&path, b"").unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("0 bytes"));
    }
}
