//! A live image as a WebSocket message: a header of [`HEADER_BYTES`], then the counts, 16 bits each, row by row.
//!
//! All little-endian: magic `ISOF` (0), version (4, `u16`), bytes of the header (6, `u16`), columns (8, `u32`), rows (12,
//! `u32`), sequence (16, `u64`), arrival and finish on the host's monotonic clock (24 and 32, ns), arrival on the wall clock
//! (40, ns since 1970), window low and high (48 and 50, `u16`), stages (52, [`acquisition::LiveStages::bits`]), frames of
//! the mask (53), its farthest shift in 1/256 pixel (54, `u16`), skipped before it (56, `u64`), primary angle (64, `f64`, rad).

use acquisition::LiveNote;
use bytes::{BufMut, Bytes};
use carm::FrameHeader;
use std::sync::Arc;

/// Size of the header.
pub const HEADER_BYTES: usize = 72;
const HEADER_WORDS: usize = HEADER_BYTES / 2;
const MAGIC: &[u8; 4] = b"ISOF";
const VERSION: u16 = 1;

/// Free buffers that are kept.
const MOST_FREE: usize = 2;

/// Packs images into memory that messages share, and that is used again as soon as the last of them is gone.
pub struct Packer {
    size: [usize; 2],
    buffers: Vec<Arc<Buffer>>,
}

/// Header and counts.
struct Buffer(Vec<u16>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// What a message keeps of its buffer.
struct Held(Arc<Buffer>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

impl Packer {
    /// For images of `[columns, rows]`.
    pub fn new(size: [usize; 2]) -> Self {
        Self { size, buffers: Vec::new() }
    }

    /// The message of the image whose counts, row by row, `read` writes to where they are sent from; none without one.
    pub fn pack(
        &mut self,
        read: impl FnOnce(&mut [u16]) -> Option<(FrameHeader, LiveNote)>,
    ) -> Option<Bytes> {
        let [columns, rows] = self.size;
        let mut buffer =
            self.free().unwrap_or_else(|| Arc::new(Buffer(vec![0; HEADER_WORDS + columns * rows])));
        let Buffer(words) = Arc::get_mut(&mut buffer).expect("no message holds it");
        let image = read(&mut words[HEADER_WORDS..]);
        if let Some((header, note)) = &image {
            Self::write_header(self.size, header, note, words);
        }
        self.buffers.push(buffer.clone());
        image.map(|_| Bytes::from_owner(Held(buffer)))
    }

    fn write_header([columns, rows]: [usize; 2], header: &FrameHeader, note: &LiveNote, words: &mut [u16]) {
        if cfg!(target_endian = "big") {
            words[HEADER_WORDS..].iter_mut().for_each(|count| *count = count.to_le());
        }
        let mut place: &mut [u8] = bytemuck::cast_slice_mut(&mut words[..HEADER_WORDS]);
        place.put_slice(MAGIC);
        place.put_u16_le(VERSION);
        place.put_u16_le(HEADER_BYTES as u16);
        place.put_u32_le(columns as u32);
        place.put_u32_le(rows as u32);
        place.put_u64_le(header.sequence);
        place.put_u64_le(header.stamps.host.0);
        place.put_u64_le(note.finished_ns);
        place.put_u64_le(header.stamps.wall.0);
        let shown = &note.shown;
        place.put_u16_le(shown.window.low);
        place.put_u16_le(shown.window.high);
        place.put_u8(shown.stages.bits());
        place.put_u8(shown.mask_frames);
        place.put_u16_le((256.0 * shown.mask_shift_px) as u16);
        place.put_u64_le(note.skipped);
        place.put_f64_le(header.gantry.primary_angle_rad);
        debug_assert!(place.is_empty(), "as the module's header says");
    }

    /// A buffer that no message holds.
    fn free(&mut self) -> Option<Arc<Buffer>> {
        let mut free = 0;
        self.buffers.retain(|buffer| {
            let is_held = Arc::strong_count(buffer) > 1;
            free += usize::from(!is_held);
            is_held || free <= MOST_FREE
        });
        let at = self.buffers.iter().position(|buffer| Arc::strong_count(buffer) == 1)?;
        Some(self.buffers.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use acquisition::{LiveStages, Shown, Window};

    #[test]
    fn frame_lies_as_its_description_says() {
        let mut header = FrameHeader { sequence: 0x0102_0304_0506_0708, ..FrameHeader::default() };
        header.gantry.primary_angle_rad = -1.5;
        header.stamps.wall.0 = 77;
        let note = LiveNote {
            shown: Shown {
                window: Window { low: 12, high: 40_000 },
                stages: LiveStages { noise_reduction: false, ..LiveStages::USUAL },
                mask_frames: 4,
                mask_shift_px: 2.5,
            },
            finished_ns: 9,
            skipped: 3,
        };
        let mut packer = Packer::new([3, 2]);
        let mut pack = |counts: [u16; 6]| {
            let read = |place: &mut [u16]| {
                place.copy_from_slice(&counts);
                Some((header, note))
            };
            packer.pack(read).unwrap()
        };
        let message = pack([1, 2, 3, 4, 5, 65_535]);
        // Later ones lie elsewhere while it is held.
        let later = [6, 7].map(|count| pack([count; 6]));
        let word = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
        assert_eq!(&message[..8], b"ISOF\x01\x00\x48\x00");
        assert_eq!((message[8], message[12], word(16)), (3, 2, header.sequence));
        assert_eq!((word(32), word(40), word(56), f64::from_bits(word(64))), (9, 77, 3, -1.5));
        assert_eq!(
            (&message[48..56], message.len()),
            ([12, 0, 0x40, 0x9c, 0b1000_0101, 4, 0x80, 2].as_slice(), 84)
        );
        assert_eq!(message[82..], [0xff, 0xff]);
        assert_eq!(later.map(|message| message[82]), [6, 7]);
        assert!(packer.pack(|_| None).is_none());
    }
}
