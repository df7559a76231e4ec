//! Reading a run file without trusting its index: every record, before, after and inside what is damaged.
//!
//! The scan walks record by record. A record that does not hold (a checksum, or a body that does not use up its
//! length) is passed over by searching byte by byte for the next thing that proves itself: a chunk whose header
//! agrees with itself, a message or an attachment whose own checksum holds, the footer. Inside a chunk the same is done
//! with messages, so a torn or damaged chunk still gives its whole records.

use crate::description::ATTACHMENT_NAMES;
use crate::error::CaptureError;
use crate::file::RunFile;
use crate::layout::{
    self, CHUNK_HEADER_BYTES, FOOTER_BYTES, HEAD_BYTES, MAGIC, MAX_ATTACHMENT_BYTES, MAX_MESSAGE_BYTES,
    MAX_SMALL_RECORD_BYTES, MESSAGE_HEADER_BYTES, op,
};
use crate::record::{FRAME_MAGIC, FrameRecord, TEXT_FRONT, TextRecord};
use std::fmt;

/// What is wrong with a stretch of a run file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The file does not begin as an MCAP file.
    Magic,
    /// The file ends inside a record.
    Cut,
    /// The file ends without its index and closing mark.
    NotClosed,
    /// A record that does not hold; what lies in the stretch is lost.
    Record,
    /// A chunk whose checksum does not hold though each of its records does.
    ChunkChecksum,
    /// A copy of the description or of a calibration map that does not hold.
    Description,
    /// The checksum over all records does not hold though each of them does.
    DataChecksum,
    /// The index does not hold.
    Index,
    /// A frame whose counts are not those that were recorded.
    FrameCounts,
    /// The end of the search: more candidates than a run file can hold.
    Unsearched,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "the opening mark of an MCAP file is missing",
            Self::Cut => "the file ends inside a record",
            Self::NotClosed => "the file ends without index and closing mark",
            Self::Record => "unreadable bytes",
            Self::ChunkChecksum => "the chunk's checksum does not hold, each of its records does",
            Self::Description => "a copy of the description or of a calibration map does not hold",
            Self::DataChecksum => "the checksum over all records does not hold, each of them does",
            Self::Index => "the index does not hold",
            Self::FrameCounts => "a frame's counts are not those that were recorded",
            Self::Unsearched => "too many false candidates: not searched further",
        })
    }
}

/// A damaged stretch of a run file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First byte.
    pub start_byte: u64,
    /// One past the last byte.
    pub end_byte: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// A frame's record and where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FramePlace {
    pub(crate) offset: u64,
    pub(crate) record: FrameRecord,
}

/// An attachment whose checksum held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttachmentPlace {
    pub(crate) name: &'static str,
    /// Where the body of its record lies.
    pub(crate) body_offset: u64,
    pub(crate) body_bytes: u64,
}

/// What a file holds that can be trusted, in file order.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) frames: Vec<FramePlace>,
    pub(crate) texts: Vec<(u64, TextRecord)>,
    pub(crate) attachments: Vec<AttachmentPlace>,
    pub(crate) damage: Vec<Damage>,
    pub(crate) chunks: u64,
    /// Where to go on when the file has grown.
    pub(crate) resume_at: u64,
    /// Offset of the end-of-data record and the CRC-32 it gives for everything before.
    pub(crate) data_end: Option<(u64, u32)>,
    /// Summary start and CRC-32, when the footer and the closing mark are there.
    pub(crate) footer: Option<(u64, u32)>,
}

impl Contents {
    /// Forgets what lies at or beyond `offset`.
    pub(crate) fn truncate(&mut self, offset: u64) {
        self.frames.retain(|frame| frame.offset < offset);
        self.texts.retain(|(at, _)| *at < offset);
        self.attachments.retain(|attachment| attachment.body_offset < offset);
        self.damage.retain(|damage| damage.end_byte <= offset);
    }
}

/// Reads everything from the beginning.
pub(crate) fn scan(file: &RunFile) -> Result<Contents, CaptureError> {
    let mut scanner = Scanner::new(file, Contents::default());
    let mut magic = Vec::new();
    file.read(0, MAGIC.len() as u64, &mut magic)?;
    if magic != MAGIC {
        scanner.damaged(0, magic.len() as u64, DamageKind::Magic);
    }
    scanner.walk(magic.len() as u64)?;
    Ok(scanner.contents)
}

/// Goes on where the last scan ended.
pub(crate) fn scan_further(file: &RunFile, mut contents: Contents) -> Result<Contents, CaptureError> {
    let from = contents.resume_at;
    contents.truncate(from);
    let mut scanner = Scanner::new(file, contents);
    scanner.walk(from)?;
    Ok(scanner.contents)
}

struct Scanner<'a> {
    file: &'a RunFile,
    contents: Contents,
    buffer: Vec<u8>,
    /// Where a chunk begins that the end of the file tears.
    torn_at: Option<u64>,
    /// Bytes that candidates may still be checked on: bounds the search in a file made to be slow.
    search_budget_bytes: u64,
}

impl<'a> Scanner<'a> {
    fn new(file: &'a RunFile, contents: Contents) -> Self {
        let search_budget_bytes = file.bytes.saturating_mul(8).saturating_add(16 << 20);
        Self { file, contents, buffer: Vec::new(), torn_at: None, search_budget_bytes }
    }

    fn damaged(&mut self, start_byte: u64, end_byte: u64, kind: DamageKind) {
        if let Some(last) = self.contents.damage.last_mut()
            && last.end_byte == start_byte
            && last.kind == kind
        {
            last.end_byte = end_byte;
            return;
        }
        self.contents.damage.push(Damage { start_byte, end_byte, kind });
    }

    fn walk(&mut self, from: u64) -> Result<(), CaptureError> {
        let end = self.file.bytes;
        let mut at = from;
        self.contents.resume_at = from;
        while at < end {
            if self.contents.footer.is_some() && self.is_closing_mark(at)? {
                return Ok(());
            }
            match self.top_record(at)? {
                Ok(next) => at = next,
                Err(kind) => {
                    let next = self.search(at + 1, end)?;
                    self.damaged(at, next, kind);
                    at = next;
                }
            }
            if at < end {
                self.contents.resume_at = at;
            }
        }
        self.contents.footer = None;
        self.contents.resume_at = self.torn_at.unwrap_or(self.contents.resume_at);
        self.damaged(end, end, DamageKind::NotClosed);
        Ok(())
    }

    fn is_closing_mark(&mut self, at: u64) -> Result<bool, CaptureError> {
        let length = MAGIC.len() as u64;
        self.file.read(at, length, &mut self.buffer)?;
        Ok(at + length == self.file.bytes && self.buffer == MAGIC)
    }

    /// Reads the record at `at`; gives where the next begins, or what is wrong.
    fn top_record(&mut self, at: u64) -> Result<Result<u64, DamageKind>, CaptureError> {
        let mut front = std::mem::take(&mut self.buffer);
        self.file.read(at, HEAD_BYTES + CHUNK_HEADER_BYTES as u64, &mut front)?;
        let head = layout::head(&front);
        let chunk_header =
            head.and_then(|(_, length)| layout::chunk_header(&front[HEAD_BYTES as usize..], length));
        self.buffer = front;
        let Some((opcode, length)) = head else { return Ok(Err(DamageKind::Cut)) };
        let body_at = at + HEAD_BYTES;
        let there = self.file.bytes - body_at;
        if opcode == op::CHUNK {
            return match chunk_header {
                Some(header) => self.chunk(at, header).map(Ok),
                None if there < CHUNK_HEADER_BYTES as u64 => Ok(Err(DamageKind::Cut)),
                None => Ok(Err(DamageKind::Record)),
            };
        }
        let longest = match opcode {
            op::MESSAGE => MAX_MESSAGE_BYTES,
            op::ATTACHMENT => MAX_ATTACHMENT_BYTES,
            _ => MAX_SMALL_RECORD_BYTES,
        };
        if length > longest {
            return Ok(Err(DamageKind::Record));
        }
        if length > there {
            return Ok(Err(DamageKind::Cut));
        }
        let mut body = std::mem::take(&mut self.buffer);
        self.file.read(body_at, length, &mut body)?;
        let taken = self.take_record(opcode, body_at, &body);
        self.buffer = body;
        let kind = if opcode == op::ATTACHMENT { DamageKind::Description } else { DamageKind::Record };
        // A record without a checksum of its own may be an overwritten stretch that hides one that has.
        let has_checksum = matches!(opcode, op::MESSAGE | op::ATTACHMENT);
        let end = body_at + length;
        let is_plain = taken && (has_checksum || self.search(at + 1, end)? == end);
        Ok(if is_plain { Ok(end) } else { Err(kind) })
    }

    /// Takes a record outside any chunk; false when it does not hold.
    fn take_record(&mut self, opcode: u8, body_at: u64, body: &[u8]) -> bool {
        match opcode {
            op::MESSAGE => self.take_message(body_at, body),
            op::ATTACHMENT => {
                let Some((name, _)) = layout::attachment(body) else { return false };
                if let Some(name) = ATTACHMENT_NAMES.into_iter().find(|known| *known == name) {
                    let body_bytes = body.len() as u64;
                    self.contents.attachments.push(AttachmentPlace {
                        name,
                        body_offset: body_at,
                        body_bytes,
                    });
                }
                true
            }
            _ => {
                match opcode {
                    op::FOOTER => self.contents.footer = layout::footer(body),
                    op::DATA_END => {
                        let crc = body.try_into().map(u32::from_le_bytes);
                        self.contents.data_end = crc.ok().map(|crc| (body_at - HEAD_BYTES, crc));
                    }
                    _ => {}
                }
                layout::is_well_formed(opcode, body)
            }
        }
    }

    fn take_message(&mut self, body_at: u64, body: &[u8]) -> bool {
        let Some(data) = layout::message_data(body) else { return false };
        let offset = body_at + MESSAGE_HEADER_BYTES as u64;
        if data.starts_with(&FRAME_MAGIC) {
            let Some(record) = FrameRecord::read(data) else { return false };
            self.contents.frames.push(FramePlace { offset, record });
            return true;
        }
        if !TextRecord::is_sound(data) {
            return false;
        }
        // A sound record of a kind that a later version added is passed over.
        if let Some(text) = TextRecord::read(data) {
            self.contents.texts.push((offset, text));
        }
        true
    }

    /// Reads the records of a chunk, whole or torn by the end of the file; gives where to go on.
    ///
    /// A chunk whose checksum does not hold may be no chunk at all, so its length is not trusted either: what is left
    /// behind its last whole record is looked at again as if it stood outside.
    fn chunk(&mut self, at: u64, header: layout::ChunkHeader) -> Result<u64, CaptureError> {
        let records_at = at + HEAD_BYTES + CHUNK_HEADER_BYTES as u64;
        let mut records = std::mem::take(&mut self.buffer);
        self.file.read(records_at, header.records_bytes, &mut records)?;
        let is_torn = (records.len() as u64) < header.records_bytes;
        let is_sound = !is_torn && crc32fast::hash(&records) == header.crc;
        let damaged_before = self.contents.damage.len();
        let whole = self.chunk_records(&records, records_at, is_sound);
        let end = records_at + whole as u64;
        if is_torn {
            self.torn_at.get_or_insert(at);
        } else {
            let is_complete = whole == records.len();
            self.contents.chunks += u64::from(is_complete);
            if !is_sound && is_complete && self.contents.damage.len() == damaged_before {
                self.damaged(at, end, DamageKind::ChunkChecksum);
            }
        }
        self.buffer = records;
        Ok(end)
    }

    /// Takes the records of a chunk; gives where the last one that holds ends.
    fn chunk_records(&mut self, records: &[u8], records_at: u64, is_sound: bool) -> usize {
        let mut at = 0;
        while at < records.len() {
            let rest = &records[at..];
            // Schemas and channels have no checksum of their own: outside a sound chunk one may be an overwritten
            // stretch that hides a message.
            if let Some(length) = record_length(rest)
                && (is_sound || rest[0] == op::MESSAGE || self.hides_no_message(records, at, length))
                && self.take_chunk_record(&rest[..length], records_at + at as u64)
            {
                at += length;
                continue;
            }
            let next = self.search_in_chunk(records, at + 1, records.len());
            if next == records.len() {
                return at;
            }
            self.damaged(records_at + at as u64, records_at + next as u64, DamageKind::Record);
            at = next;
        }
        at
    }

    fn take_chunk_record(&mut self, record: &[u8], at: u64) -> bool {
        let (opcode, body) = (record[0], &record[HEAD_BYTES as usize..]);
        match opcode {
            op::MESSAGE => self.take_message(at + HEAD_BYTES, body),
            op::SCHEMA | op::CHANNEL => layout::is_well_formed(opcode, body),
            _ => false,
        }
    }

    /// Next message in a chunk that proves itself.
    fn search_in_chunk(&mut self, records: &[u8], from: usize, until: usize) -> usize {
        for at in from..until {
            let rest = &records[at..];
            if is_message_front(rest)
                && let Some(length) = record_length(rest)
                && self.spend(length as u64)
                && is_sound_message(&rest[HEAD_BYTES as usize..length])
            {
                return at;
            }
        }
        until
    }

    fn hides_no_message(&mut self, records: &[u8], at: usize, length: usize) -> bool {
        let end = at + length;
        self.search_in_chunk(records, at + 1, end) == end
    }

    /// Next record outside a chunk that proves itself and begins before `until`, or `until`.
    fn search(&mut self, from: u64, until: u64) -> Result<u64, CaptureError> {
        const WINDOW_BYTES: u64 = 1 << 20;
        /// Enough for the front of any record by which a candidate is recognised.
        const FRONT_BYTES: u64 = 128;
        let mut window = Vec::new();
        let mut at = from;
        while at < until {
            self.file.read(at, WINDOW_BYTES + FRONT_BYTES, &mut window)?;
            let starts = (until - at).min(WINDOW_BYTES).min(window.len() as u64);
            for start in 0..starts as usize {
                if self.proves_itself(&window[start..], at + start as u64)? {
                    return Ok(at + start as u64);
                }
            }
            at += WINDOW_BYTES;
        }
        Ok(until)
    }

    fn proves_itself(&mut self, front: &[u8], at: u64) -> Result<bool, CaptureError> {
        // Most bytes are no opcode that is searched for.
        if !matches!(front[0], op::CHUNK | op::MESSAGE | op::ATTACHMENT | op::FOOTER) {
            return Ok(false);
        }
        let Some((opcode, length)) = layout::head(front) else { return Ok(false) };
        let is_there = length <= self.file.bytes.saturating_sub(at + HEAD_BYTES);
        let body_front = &front[HEAD_BYTES as usize..];
        Ok(match opcode {
            op::CHUNK => layout::chunk_header(body_front, length).is_some(),
            op::FOOTER => {
                length + HEAD_BYTES == FOOTER_BYTES
                    && at + FOOTER_BYTES + MAGIC.len() as u64 == self.file.bytes
            }
            op::MESSAGE if is_there && length <= MAX_MESSAGE_BYTES && is_message_front(front) => {
                self.spend(length) && self.with_body(at, length, is_sound_message)?
            }
            op::ATTACHMENT if is_there && length <= MAX_ATTACHMENT_BYTES => {
                layout::attachment_name(body_front).is_some_and(|name| ATTACHMENT_NAMES.contains(&name))
                    && self.spend(length)
                    && self.with_body(at, length, |body| layout::attachment(body).is_some())?
            }
            _ => false,
        })
    }

    fn with_body(
        &mut self,
        at: u64,
        length: u64,
        check: impl FnOnce(&[u8]) -> bool,
    ) -> Result<bool, CaptureError> {
        self.file.read(at + HEAD_BYTES, length, &mut self.buffer)?;
        Ok(check(&self.buffer))
    }

    fn spend(&mut self, bytes: u64) -> bool {
        match self.search_budget_bytes.checked_sub(bytes) {
            Some(left) => {
                self.search_budget_bytes = left;
                true
            }
            None => {
                if !self.contents.damage.iter().any(|damage| damage.kind == DamageKind::Unsearched) {
                    self.damaged(0, self.file.bytes, DamageKind::Unsearched);
                }
                false
            }
        }
    }
}

/// Length of the record that starts `rest`, with its head, when all of it is there.
fn record_length(rest: &[u8]) -> Option<usize> {
    let (_, length) = layout::head(rest)?;
    let length = usize::try_from(length).ok()?.checked_add(HEAD_BYTES as usize)?;
    (length <= rest.len()).then_some(length)
}

/// Whether bytes look like the front of one of our messages.
fn is_message_front(front: &[u8]) -> bool {
    let data_at = HEAD_BYTES as usize + MESSAGE_HEADER_BYTES;
    front[0] == op::MESSAGE
        && front
            .get(data_at..)
            .is_some_and(|data| data.starts_with(&FRAME_MAGIC) || data.starts_with(TEXT_FRONT))
}

fn is_sound_message(body: &[u8]) -> bool {
    layout::message_data(body)
        .is_some_and(|data| FrameRecord::read(data).is_some() || TextRecord::is_sound(data))
}
