//! Reading a run file by its index: a few small reads instead of the whole file.
//!
//! Used only when everything it says proves itself: the summary's checksum, the message indexes, the front of
//! every frame. Anything else gives nothing, and the file is scanned.

use crate::description::ATTACHMENT_NAMES;
use crate::error::CaptureError;
use crate::file::RunFile;
use crate::layout::{self, CHUNK_HEADER_BYTES, FOOTER_BYTES, HEAD_BYTES, MAGIC, MESSAGE_HEADER_BYTES, op};
use crate::record::{FRAME_HEADER_BYTES, FrameRecord, TextRecord};
use crate::scan::{AttachmentPlace, Contents, FramePlace};

/// Longest summary read: an index of tens of thousands of chunks.
const MAX_SUMMARY_BYTES: u64 = 64 << 20;
/// Longest record of an event or a gap.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The contents as the index tells them, or nothing when any of it does not hold.
pub(crate) fn read_by_index(file: &RunFile) -> Result<Option<Contents>, CaptureError> {
    let Some(summary) = read_summary(file)? else { return Ok(None) };
    let mut topics = Vec::new();
    let mut chunks = Vec::new();
    let mut contents = Contents::default();
    for (opcode, body) in records(&summary) {
        match opcode {
            op::CHANNEL => topics.extend(layout::channel(body)),
            op::CHUNK_INDEX => chunks.extend(layout::chunk_index(body)),
            op::ATTACHMENT_INDEX => contents.attachments.extend(attachment_place(body)),
            _ => {}
        }
    }
    let channel = |topic: &str| topics.iter().find(|(_, name)| *name == topic).map(|(channel, _)| *channel);
    let frames = channel(crate::writer::FRAMES_TOPIC);
    let texts = [channel("/events"), channel("/gaps")];
    for chunk in &chunks {
        for &(channel, index_at) in &chunk.message_indexes {
            let is_frame = Some(channel) == frames;
            if !is_frame && !texts.contains(&Some(channel)) {
                continue;
            }
            let Some(messages) = message_offsets(file, chunk, channel, index_at)? else { return Ok(None) };
            for at in messages {
                let taken = if is_frame {
                    take_frame(file, at, &mut contents)?
                } else {
                    take_text(file, at, &mut contents)?
                };
                if !taken {
                    return Ok(None);
                }
            }
        }
    }
    contents.chunks = chunks.len() as u64;
    contents.resume_at = file.bytes;
    contents.frames.sort_by_key(|frame| frame.offset);
    contents.texts.sort_by_key(|(offset, _)| *offset);
    Ok(counts_agree(&contents).then_some(contents))
}

/// The summary's records, checksum verified.
fn read_summary(file: &RunFile) -> Result<Option<Vec<u8>>, CaptureError> {
    let tail = FOOTER_BYTES + MAGIC.len() as u64;
    let Some(footer_at) = file.bytes.checked_sub(tail) else { return Ok(None) };
    let mut bytes = Vec::new();
    file.read(footer_at, tail, &mut bytes)?;
    let (footer, magic) = bytes.split_at(FOOTER_BYTES as usize);
    if magic != MAGIC || layout::head(footer) != Some((op::FOOTER, FOOTER_BYTES - HEAD_BYTES)) {
        return Ok(None);
    }
    let Some((summary_start, crc)) = layout::footer(&footer[HEAD_BYTES as usize..]) else { return Ok(None) };
    let Some(summary_bytes) = footer_at.checked_sub(summary_start) else { return Ok(None) };
    if summary_start == 0 || summary_bytes > MAX_SUMMARY_BYTES {
        return Ok(None);
    }
    // The checksum covers the summary and the footer up to the checksum itself.
    let covered = summary_bytes + FOOTER_BYTES - 4;
    file.read(summary_start, covered, &mut bytes)?;
    if crc32fast::hash(&bytes) != crc {
        return Ok(None);
    }
    bytes.truncate(summary_bytes as usize);
    Ok(Some(bytes))
}

/// Whether the checksum over the summary holds.
pub(crate) fn is_summary_sound(file: &RunFile) -> Result<bool, CaptureError> {
    Ok(read_summary(file)?.is_some())
}

fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (opcode, length) = layout::head(bytes)?;
        let rest = &bytes[HEAD_BYTES as usize..];
        let (body, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        bytes = rest;
        Some((opcode, body))
    })
}

fn attachment_place(body: &[u8]) -> Option<AttachmentPlace> {
    let (offset, length, name) = layout::attachment_index(body)?;
    let name = ATTACHMENT_NAMES.into_iter().find(|known| *known == name)?;
    let body_bytes = length.checked_sub(HEAD_BYTES)?;
    Some(AttachmentPlace { name, body_offset: offset.checked_add(HEAD_BYTES)?, body_bytes })
}

/// Where the messages of one channel of a chunk lie, from their heads on.
fn message_offsets(
    file: &RunFile,
    chunk: &layout::ChunkIndex,
    channel: u16,
    index_at: u64,
) -> Result<Option<Vec<u64>>, CaptureError> {
    let mut bytes = Vec::new();
    file.read(index_at, HEAD_BYTES, &mut bytes)?;
    let Some((op::MESSAGE_INDEX, length)) = layout::head(&bytes) else { return Ok(None) };
    let end = index_at.checked_add(HEAD_BYTES).and_then(|body_at| body_at.checked_add(length));
    if end.is_none_or(|end| end > file.bytes) || length > layout::MAX_SMALL_RECORD_BYTES {
        return Ok(None);
    }
    file.read(index_at + HEAD_BYTES, length, &mut bytes)?;
    let records_at = chunk.chunk_offset.saturating_add(HEAD_BYTES + CHUNK_HEADER_BYTES as u64);
    Ok(layout::message_index(&bytes).filter(|(found, _)| *found == channel).map(|(_, offsets)| {
        offsets
            .into_iter()
            .filter(|&offset| offset < chunk.chunk_bytes)
            .map(|offset| records_at.saturating_add(offset))
            .collect()
    }))
}

fn take_frame(file: &RunFile, at: u64, contents: &mut Contents) -> Result<bool, CaptureError> {
    let before_data = HEAD_BYTES + MESSAGE_HEADER_BYTES as u64;
    let mut front = Vec::new();
    file.read(at, before_data + FRAME_HEADER_BYTES as u64, &mut front)?;
    let Some((op::MESSAGE, length)) = layout::head(&front) else { return Ok(false) };
    let Some(record) = front.get(before_data as usize..).and_then(FrameRecord::read_header) else {
        return Ok(false);
    };
    let is_whole = length == (MESSAGE_HEADER_BYTES + record.record_bytes()) as u64
        && length <= file.bytes.saturating_sub(at + HEAD_BYTES);
    if is_whole {
        contents.frames.push(FramePlace { offset: at + before_data, record });
    }
    Ok(is_whole)
}

fn take_text(file: &RunFile, at: u64, contents: &mut Contents) -> Result<bool, CaptureError> {
    let mut bytes = Vec::new();
    file.read(at, HEAD_BYTES, &mut bytes)?;
    let Some((op::MESSAGE, length)) = layout::head(&bytes) else { return Ok(false) };
    if length > MAX_TEXT_BYTES || length > file.bytes.saturating_sub(at + HEAD_BYTES) {
        return Ok(false);
    }
    file.read(at + HEAD_BYTES, length, &mut bytes)?;
    let Some(data) = layout::message_data(&bytes) else { return Ok(false) };
    let is_sound = TextRecord::is_sound(data);
    if let Some(text) = TextRecord::read(data) {
        contents.texts.push((at + HEAD_BYTES + MESSAGE_HEADER_BYTES as u64, text));
    }
    Ok(is_sound)
}

/// Whether as many frames, gaps and events are there as the outcome says, if there is one.
fn counts_agree(contents: &Contents) -> bool {
    let is_gap = |text: &&(u64, TextRecord)| matches!(text.1, TextRecord::Gap { .. });
    let is_event = |text: &&(u64, TextRecord)| matches!(text.1, TextRecord::Event { .. });
    contents.texts.iter().all(|(_, text)| match text {
        TextRecord::Outcome { frames, gaps, events, .. } => {
            *frames == contents.frames.len() as u64
                && *gaps == contents.texts.iter().filter(is_gap).count() as u64
                && *events == contents.texts.iter().filter(is_event).count() as u64
        }
        _ => true,
    })
}
