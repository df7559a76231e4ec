//! The lossless codecs: 16-bit frames, and the 32-bit floating-point maps of a calibration.
//!
//! A pixel is predicted by its left neighbour (the first of a row by the first of the row above), the
//! difference is folded so that small ones of either sign have zero high bytes (zigzag), and low and high
//! bytes are stored as planes of their own, which zstd at level 1 then packs. Quantum noise fills the low plane and
//! hardly packs; the high plane almost vanishes. A frame that would grow is stored raw.

use std::io::Read;

/// Largest detector, in pixels, that a file may claim: 32 Mi, several times the largest flat panels built.
pub(crate) const MAX_PIXELS: usize = 1 << 25;

/// How the counts of a frame are stored. The number is written in the file and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameCodec {
    /// Little-endian 16-bit counts.
    Raw = 0,
    /// Horizontal difference, zigzag, low and high byte planes, zstd.
    DeltaPlanesZstd = 1,
}

impl FrameCodec {
    /// The codec of a number in a file.
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Raw),
            1 => Some(Self::DeltaPlanesZstd),
            _ => None,
        }
    }

    /// Name in the channel's metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw-u16le",
            Self::DeltaPlanesZstd => "delta-zigzag-planes-zstd",
        }
    }
}

const ZSTD_LEVEL: i32 = 1;

fn zigzag(difference: u16) -> u16 {
    (difference << 1) ^ (((difference as i16) >> 15) as u16)
}

fn unzigzag(folded: u16) -> u16 {
    (folded >> 1) ^ (folded & 1).wrapping_neg()
}

/// Splits counts `[v, u]` into the two planes of folded differences; `planes` holds twice as many bytes.
fn split(counts: &[u16], nu: usize, planes: &mut [u8]) {
    let (low, high) = planes.split_at_mut(counts.len());
    let mut above = 0;
    for ((row, low), high) in counts.chunks(nu).zip(low.chunks_mut(nu)).zip(high.chunks_mut(nu)) {
        let first = zigzag(row[0].wrapping_sub(above));
        (low[0], high[0]) = (first as u8, (first >> 8) as u8);
        for ((pair, low), high) in row.windows(2).zip(&mut low[1..]).zip(&mut high[1..]) {
            let folded = zigzag(pair[1].wrapping_sub(pair[0]));
            *low = folded as u8;
            *high = (folded >> 8) as u8;
        }
        above = row[0];
    }
}

/// Inverse of [`split`].
fn join(planes: &[u8], nu: usize, counts: &mut [u16]) {
    let (low, high) = planes.split_at(counts.len());
    let mut above = 0_u16;
    for ((row, low), high) in counts.chunks_mut(nu).zip(low.chunks(nu)).zip(high.chunks(nu)) {
        let mut value = above;
        for ((count, &low), &high) in row.iter_mut().zip(low).zip(high) {
            value = value.wrapping_add(unzigzag(u16::from_le_bytes([low, high])));
            *count = value;
        }
        above = row[0];
    }
}

/// Packs frames of one size; keeps its buffers between frames.
pub(crate) struct FramePacker {
    planes: Vec<u8>,
    packed: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl FramePacker {
    pub(crate) fn new(pixel_count: usize) -> std::io::Result<Self> {
        let planes = vec![0; 2 * pixel_count];
        let packed = vec![0; zstd::compress_bound(planes.len())];
        Ok(Self { planes, packed, compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)? })
    }

    /// Packs one frame; what zstd cannot shrink comes back raw.
    pub(crate) fn pack(&mut self, counts: &[u16], nu: usize) -> (FrameCodec, &[u8]) {
        split(counts, nu, &mut self.planes);
        let length = self.compressor.compress_to_buffer(&self.planes, &mut self.packed[..]);
        match length {
            Ok(length) if length < self.planes.len() => (FrameCodec::DeltaPlanesZstd, &self.packed[..length]),
            _ => {
                for (bytes, count) in self.planes.chunks_exact_mut(2).zip(counts) {
                    bytes.copy_from_slice(&count.to_le_bytes());
                }
                (FrameCodec::Raw, &self.planes)
            }
        }
    }
}

/// Unpacks frames; keeps its buffer between frames.
pub(crate) struct FrameUnpacker {
    planes: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl FrameUnpacker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { planes: Vec::new(), decompressor: zstd::bulk::Decompressor::new()? })
    }

    /// Unpacks one frame into `counts`, rows of `nu`; false when `packed` does not hold exactly one.
    pub(crate) fn unpack(&mut self, codec: FrameCodec, packed: &[u8], nu: usize, counts: &mut [u16]) -> bool {
        match codec {
            FrameCodec::Raw => {
                if packed.len() != 2 * counts.len() {
                    return false;
                }
                for (count, bytes) in counts.iter_mut().zip(packed.chunks_exact(2)) {
                    *count = u16::from_le_bytes([bytes[0], bytes[1]]);
                }
                true
            }
            FrameCodec::DeltaPlanesZstd => {
                self.planes.resize(2 * counts.len(), 0);
                let found = self.decompressor.decompress_to_buffer(packed, &mut self.planes[..]);
                if found.ok() != Some(self.planes.len()) {
                    return false;
                }
                join(&self.planes, nu, counts);
                true
            }
        }
    }
}

/// Packs a map `[v, u]` bit for bit: differences of the bit patterns, four byte planes, zstd.
pub(crate) fn pack_map(values: &[f32]) -> std::io::Result<Vec<u8>> {
    let count = values.len();
    let mut planes = vec![0_u8; 4 * count];
    let mut before = 0_u32;
    for (i, value) in values.iter().enumerate() {
        let difference = value.to_bits().wrapping_sub(before);
        let folded = (difference << 1) ^ (((difference as i32) >> 31) as u32);
        for (plane, byte) in folded.to_le_bytes().into_iter().enumerate() {
            planes[plane * count + i] = byte;
        }
        before = value.to_bits();
    }
    zstd::bulk::compress(&planes, ZSTD_LEVEL)
}

/// Inverse of [`pack_map`] for `count` values; none when `packed` does not hold exactly as many.
pub(crate) fn unpack_map(packed: &[u8], count: usize) -> Option<Vec<f32>> {
    if count > MAX_PIXELS {
        return None;
    }
    // Grows with what really comes out, whatever `count` claims, and stops one byte past it.
    let mut planes = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).ok()?;
    decoder.take(4 * count as u64 + 1).read_to_end(&mut planes).ok()?;
    if planes.len() != 4 * count {
        return None;
    }
    let mut bits = 0_u32;
    let value = |i: usize| {
        let folded = u32::from_le_bytes(std::array::from_fn(|plane| planes[plane * count + i]));
        bits = bits.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg());
        f32::from_bits(bits)
    };
    Some((0..count).map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(counts: &[u16], nu: usize) -> (FrameCodec, usize) {
        let mut packer = FramePacker::new(counts.len()).unwrap();
        let (codec, packed) = packer.pack(counts, nu);
        let length = packed.len();
        let mut back = vec![0xAAAA; counts.len()];
        assert!(FrameUnpacker::new().unwrap().unpack(codec, packed, nu, &mut back));
        assert_eq!(back, counts);
        (codec, length)
    }

    proptest! {
        #[test]
        fn frame_codec_gives_back_any_counts(
            nu in 1_usize..40, rows in 1_usize..20, seed in any::<u64>(), span in 0_u32..=16,
        ) {
            let mut state = seed;
            let counts: Vec<u16> = (0..nu * rows).map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((state >> 48) & ((1_u64 << span) - 1)) as u16
            }).collect();
            round_trip(&counts, nu);
        }

        #[test]
        fn map_codec_gives_back_any_bits(bits in prop::collection::vec(any::<u32>(), 0..300)) {
            let values: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
            let back = unpack_map(&pack_map(&values).unwrap(), values.len()).unwrap();
            prop_assert!(back.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
        }

        #[test]
        fn frame_codec_takes_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut counts = vec![0; 35];
            for codec in [FrameCodec::Raw, FrameCodec::DeltaPlanesZstd] {
                FrameUnpacker::new().unwrap().unpack(codec, &bytes, 7, &mut counts);
            }
            unpack_map(&bytes, 35);
        }
    }

    #[test]
    fn frame_codec_packs_a_smooth_field_and_stores_white_noise_raw() {
        let smooth: Vec<u16> = (0..6400_u32).map(|i| (20_000 + 3 * (i % 80) + i / 80) as u16).collect();
        let (codec, length) = round_trip(&smooth, 80);
        assert_eq!(codec, FrameCodec::DeltaPlanesZstd);
        assert!(length < 6400 / 4, "{length} bytes");
        let mut bytes = vec![0; 12_800];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let noise: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(round_trip(&noise, 80), (FrameCodec::Raw, 12_800));
    }

    #[test]
    fn map_codec_refuses_a_map_that_unpacks_to_more_than_claimed() {
        let packed = pack_map(&[1.0; 1000]).unwrap();
        assert!(unpack_map(&packed, 999).is_none());
        assert!(unpack_map(&packed, 1001).is_none());
        assert!(unpack_map(&packed, usize::MAX / 8).is_none());
    }
}
