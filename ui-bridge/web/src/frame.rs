//! A live image as a WebSocket message: a header of [`HEADER_BYTES`], then the counts, 16 bits each, row by row.
//!
//! All little-endian: magic `ISOF` (0), version (4, `u16`), bytes of the header (6, `u16`), columns (8, `u32`), rows (12,
//! `u32`), sequence (16, `u64`), arrival and finish on the host's monotonic clock (24 and 32, ns), arrival on the wall clock
//! (40, ns since 1970), window low and high (48 and 50, `u16`), stages (52, [`acquisition::LiveStages::bits`]), frames of
//! the mask (53), its farthest shift in 1/256 pixel (54, `u16`), skipped before it (56, `u64`), primary angle (64, `f64`, rad).

use acquisition::LiveNote;
use bytes::{BufMut, Bytes, BytesMut};
use carm::FrameHeader;

/// Size of the header.
pub const HEADER_BYTES: usize = 72;
const MAGIC: &[u8; 4] = b"ISOF";
const VERSION: u16 = 1;

/// Packs an image of `[columns, rows]`.
pub fn pack(header: &FrameHeader, note: &LiveNote, [columns, rows]: [usize; 2], counts: &[u16]) -> Bytes {
    let mut message = BytesMut::with_capacity(HEADER_BYTES + 2 * counts.len());
    message.put_slice(MAGIC);
    message.put_u16_le(VERSION);
    message.put_u16_le(HEADER_BYTES as u16);
    message.put_u32_le(columns as u32);
    message.put_u32_le(rows as u32);
    message.put_u64_le(header.sequence);
    message.put_u64_le(header.stamps.host.0);
    message.put_u64_le(note.finished_ns);
    message.put_u64_le(header.stamps.wall.0);
    let shown = &note.shown;
    message.put_u16_le(shown.window.low);
    message.put_u16_le(shown.window.high);
    message.put_u8(shown.stages.bits());
    message.put_u8(shown.mask_frames);
    message.put_u16_le((256.0 * shown.mask_shift_px) as u16);
    message.put_u64_le(note.skipped);
    message.put_f64_le(header.gantry.primary_angle_rad);
    debug_assert_eq!(message.len(), HEADER_BYTES, "as the module's header says");
    let start = message.len();
    message.resize(start + 2 * counts.len(), 0);
    for (bytes, count) in message[start..].as_chunks_mut::<2>().0.iter_mut().zip(counts) {
        *bytes = count.to_le_bytes();
    }
    message.freeze()
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
        let message = pack(&header, &note, [3, 2], &[1, 2, 3, 4, 5, 65_535]);
        let word = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
        assert_eq!(&message[..8], b"ISOF\x01\x00\x48\x00");
        assert_eq!((message[8], message[12], word(16)), (3, 2, header.sequence));
        assert_eq!((word(32), word(40), word(56), f64::from_bits(word(64))), (9, 77, 3, -1.5));
        assert_eq!(
            (&message[48..56], message.len()),
            ([12, 0, 0x40, 0x9c, 0b1000_0101, 4, 0x80, 2].as_slice(), 84)
        );
        assert_eq!(message[82..], [0xff, 0xff]);
    }
}
