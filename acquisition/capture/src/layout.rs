//! The record layout of MCAP (<https://mcap.dev/spec>), read strictly from slices.
//!
//! Every record is an opcode, a 64-bit length and a body. Nothing here trusts a length before it has been held
//! against the bytes that are there, and a body must be used up exactly: that is how a damaged length shows.

use crate::codec::MAX_PIXELS;

/// First and last bytes of an MCAP file.
pub(crate) const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// Opcode and length in front of each body.
pub(crate) const HEAD_BYTES: u64 = 9;
/// Channel, sequence and two times in front of a message's data.
pub(crate) const MESSAGE_HEADER_BYTES: usize = 22;
/// Times, sizes, checksum and an empty compression name in front of a chunk's records.
pub(crate) const CHUNK_HEADER_BYTES: usize = 40;
/// Footer record with its head, then the closing magic.
pub(crate) const FOOTER_BYTES: u64 = HEAD_BYTES + 20;

/// Longest message taken for one: the largest frame stored raw, its header and its check.
pub(crate) const MAX_MESSAGE_BYTES: u64 = 2 * MAX_PIXELS as u64 + 4096;
/// Longest chunk taken for one: ours close at 1 MiB, so a largest frame on top of that.
pub(crate) const MAX_CHUNK_BYTES: u64 = MAX_MESSAGE_BYTES + (8 << 20);
/// Longest attachment taken for one: a packed calibration map of the largest detector.
pub(crate) const MAX_ATTACHMENT_BYTES: u64 = 4 * MAX_PIXELS as u64 + (1 << 20);
/// Longest record of any other kind.
pub(crate) const MAX_SMALL_RECORD_BYTES: u64 = 16 << 20;

pub(crate) use mcap::records::op;

/// Reads little-endian fields off the front of a slice.
#[derive(Clone)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes)
    }

    /// A block with its length in front.
    pub(crate) fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    pub(crate) fn string(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.block()?).ok()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Opcode and body length of the record whose head starts `bytes`.
pub(crate) fn head(bytes: &[u8]) -> Option<(u8, u64)> {
    let mut fields = Fields(bytes);
    Some((fields.u8()?, fields.u64()?))
}

/// What a chunk's header claims.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkHeader {
    /// Bytes of records.
    pub(crate) records_bytes: u64,
    /// CRC-32 of the records; zero when none was made.
    pub(crate) crc: u32,
}

/// The header of an uncompressed chunk whose record's body is `body_bytes` long, if its parts agree.
pub(crate) fn chunk_header(bytes: &[u8], body_bytes: u64) -> Option<ChunkHeader> {
    let mut fields = Fields(bytes);
    let (start, end) = (fields.u64()?, fields.u64()?);
    let uncompressed_bytes = fields.u64()?;
    let crc = fields.u32()?;
    let is_uncompressed = fields.u32()? == 0;
    let records_bytes = fields.u64()?;
    let agrees = start <= end
        && is_uncompressed
        && records_bytes == uncompressed_bytes
        && records_bytes.checked_add(CHUNK_HEADER_BYTES as u64) == Some(body_bytes)
        && body_bytes <= MAX_CHUNK_BYTES;
    agrees.then_some(ChunkHeader { records_bytes, crc })
}

/// Name and contents of an attachment whose CRC-32 holds.
pub(crate) fn attachment(body: &[u8]) -> Option<(&str, &[u8])> {
    let (covered, crc) = body.split_at_checked(body.len().checked_sub(4)?)?;
    let mut fields = Fields(covered);
    fields.take(16)?;
    let name = fields.string()?;
    fields.string()?;
    let length = fields.u64()?;
    let contents = fields.take(usize::try_from(length).ok()?)?;
    fields.end()?;
    (crc32fast::hash(covered).to_le_bytes() == crc).then_some((name, contents))
}

/// The name of an attachment, from the front of its body and before anything is checked.
pub(crate) fn attachment_name(front: &[u8]) -> Option<&str> {
    let mut fields = Fields(front);
    fields.take(16)?;
    fields.string()
}

/// The data of a message: what follows channel, sequence and times.
pub(crate) fn message_data(body: &[u8]) -> Option<&[u8]> {
    body.get(MESSAGE_HEADER_BYTES..)
}

/// Offsets into a chunk's records, of one channel, from a message index; increasing or nothing.
pub(crate) fn message_index(body: &[u8]) -> Option<(u16, Vec<u64>)> {
    let mut fields = Fields(body);
    let channel = fields.u16()?;
    let entries = fields.block()?;
    fields.end()?;
    let (pairs, rest) = entries.as_chunks::<16>();
    if !rest.is_empty() {
        return None;
    }
    let offset = |pair: &[u8; 16]| u64::from_le_bytes(pair[8..].try_into().expect("half of sixteen bytes"));
    let offsets: Vec<u64> = pairs.iter().map(offset).collect();
    offsets.is_sorted_by(|a, b| a < b).then_some((channel, offsets))
}

/// What the index of one chunk says.
#[derive(Clone, Debug)]
pub(crate) struct ChunkIndex {
    pub(crate) chunk_offset: u64,
    pub(crate) chunk_bytes: u64,
    /// Where each channel's message index lies.
    pub(crate) message_indexes: Vec<(u16, u64)>,
}

pub(crate) fn chunk_index(body: &[u8]) -> Option<ChunkIndex> {
    let mut fields = Fields(body);
    fields.take(16)?;
    let (chunk_offset, chunk_bytes) = (fields.u64()?, fields.u64()?);
    let (pairs, rest) = fields.block()?.as_chunks::<10>();
    if !rest.is_empty() {
        return None;
    }
    let place = |pair: &[u8; 10]| {
        let mut fields = Fields(pair);
        Some((fields.u16()?, fields.u64()?))
    };
    let message_indexes = pairs.iter().map(place).collect::<Option<Vec<_>>>()?;
    fields.u64()?;
    fields.string()?;
    fields.take(16)?;
    fields.end()?;
    Some(ChunkIndex { chunk_offset, chunk_bytes, message_indexes })
}

/// Offset and length of an attachment's record.
pub(crate) fn attachment_index(body: &[u8]) -> Option<(u64, u64, &str)> {
    let mut fields = Fields(body);
    let (offset, length) = (fields.u64()?, fields.u64()?);
    fields.take(24)?;
    let name = fields.string()?;
    fields.string()?;
    fields.end()?;
    Some((offset, length, name))
}

/// Identifier and topic of a channel.
pub(crate) fn channel(body: &[u8]) -> Option<(u16, &str)> {
    let mut fields = Fields(body);
    let identifier = fields.u16()?;
    fields.u16()?;
    let topic = fields.string()?;
    fields.string()?;
    string_map(fields.block()?)?;
    fields.end()?;
    Some((identifier, topic))
}

fn string_map(block: &[u8]) -> Option<()> {
    let mut fields = Fields(block);
    while !fields.0.is_empty() {
        fields.string()?;
        fields.string()?;
    }
    Some(())
}

/// Start of the summary and its CRC-32, from the footer.
pub(crate) fn footer(body: &[u8]) -> Option<(u64, u32)> {
    let mut fields = Fields(body);
    let summary_start = fields.u64()?;
    fields.u64()?;
    let crc = fields.u32()?;
    fields.end()?;
    Some((summary_start, crc))
}

/// Whether the body of a record without a checksum of its own uses up its length exactly.
pub(crate) fn is_well_formed(opcode: u8, body: &[u8]) -> bool {
    let mut fields = Fields(body);
    let mut parse = || -> Option<()> {
        match opcode {
            op::HEADER => {
                fields.string()?;
                fields.string()?;
            }
            op::SCHEMA => {
                fields.u16()?;
                fields.string()?;
                fields.string()?;
                fields.block()?;
            }
            op::CHANNEL => return channel(body).map(|_| ()),
            op::MESSAGE_INDEX => return message_index(body).map(|_| ()),
            op::CHUNK_INDEX => return chunk_index(body).map(|_| ()),
            op::ATTACHMENT_INDEX => return attachment_index(body).map(|_| ()),
            op::STATISTICS => {
                fields.take(42)?;
                let block = fields.block()?;
                (block.len() % 10 == 0).then_some(())?;
            }
            op::METADATA => {
                fields.string()?;
                string_map(fields.block()?)?;
            }
            op::METADATA_INDEX => {
                fields.take(16)?;
                fields.string()?;
            }
            op::SUMMARY_OFFSET => drop(fields.take(17)?),
            op::DATA_END => drop(fields.take(4)?),
            op::FOOTER => return footer(body).map(|_| ()),
            _ => return None,
        }
        fields.end()
    };
    parse().is_some()
}
