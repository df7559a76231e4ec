//! Bytes to numbers: the sample types of volume files, decoded chunk by chunk.
//!
//! Memory follows the bytes that are really there, never a size that a header declares: samples are decoded
//! from a stream in pieces of one mebibyte, and only an uncompressed file whose length was checked reserves
//! its array at once.

use std::io::{self, Read};

/// Bytes decoded at a time; a multiple of every sample size.
const CHUNK_BYTES: usize = 1 << 20;
/// Most samples reserved ahead of compressed data, whose real length is known only at its end.
const RESERVED_AHEAD: usize = 1 << 22;

/// How one sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl SampleType {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    pub(crate) fn is_integer(self) -> bool {
        !matches!(self, Self::F32 | Self::F64)
    }

    /// Whether some values of this type change when stored as 32-bit floats.
    pub(crate) fn exceeds_f32(self) -> bool {
        matches!(self, Self::U32 | Self::I32 | Self::U64 | Self::I64 | Self::F64)
    }
}

/// Which byte of a sample comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// How the samples of a file are laid out, and what one stands for: `slope * stored + intercept`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SampleLayout {
    pub sample_type: SampleType,
    pub byte_order: ByteOrder,
    pub count: usize,
    pub slope: f64,
    pub intercept: f64,
}

impl SampleLayout {
    /// Bytes that all samples take; `None` when that overflows.
    pub(crate) fn bytes(&self) -> Option<u64> {
        (self.count as u64).checked_mul(self.sample_type.bytes() as u64)
    }
}

/// What a complete pass over the samples came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Bytes of samples found, at most what the layout asks for.
    pub bytes: u64,
    /// True when the stream goes on after the last sample.
    pub has_more: bool,
}

/// Reads samples from `reader` and hands them to `visit` in pieces, as many as are there.
///
/// Reads on to the end of the stream when it is short, so that a compressed stream verifies its checksum.
pub(crate) fn visit_samples(
    reader: &mut dyn Read,
    layout: &SampleLayout,
    mut visit: impl FnMut(&[f32]),
) -> io::Result<Passed> {
    let size = layout.sample_type.bytes();
    let mut bytes = vec![0_u8; CHUNK_BYTES];
    let mut values = Vec::with_capacity(CHUNK_BYTES / size);
    let mut remaining = layout.bytes().unwrap_or(u64::MAX);
    let mut passed = Passed { bytes: 0, has_more: false };
    while remaining > 0 {
        let wanted = remaining.min(CHUNK_BYTES as u64) as usize;
        let got = fill(reader, &mut bytes[..wanted])?;
        passed.bytes += got as u64;
        values.clear();
        decode(&bytes[..got - got % size], layout, &mut values);
        visit(&values);
        if got < wanted {
            return Ok(passed);
        }
        remaining -= got as u64;
    }
    passed.has_more = fill(reader, &mut bytes[..1])? > 0;
    Ok(passed)
}

/// All samples as one array, and what the pass came to. `is_checked` tells that the bytes are known to be there.
pub(crate) fn read_samples(
    reader: &mut dyn Read,
    layout: &SampleLayout,
    is_checked: bool,
) -> io::Result<(Vec<f32>, Passed)> {
    let reserved = if is_checked { layout.count } else { layout.count.min(RESERVED_AHEAD) };
    let mut all = Vec::with_capacity(reserved);
    let passed = visit_samples(reader, layout, |piece| all.extend_from_slice(piece))?;
    Ok((all, passed))
}

/// Reads until the buffer is full or the stream ends.
pub(crate) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

macro_rules! decode_as {
    ($kind:ty, $bytes:expr, $layout:expr, $values:expr) => {{
        let is_big = $layout.byte_order == ByteOrder::Big;
        let samples = $bytes.chunks_exact(size_of::<$kind>()).map(|sample| {
            let sample = sample.try_into().expect("chunks_exact gives whole samples");
            if is_big { <$kind>::from_be_bytes(sample) } else { <$kind>::from_le_bytes(sample) }
        });
        if $layout.slope == 1.0 && $layout.intercept == 0.0 {
            $values.extend(samples.map(|sample| sample as f32));
        } else {
            let (slope, intercept) = ($layout.slope, $layout.intercept);
            $values.extend(samples.map(|sample| (slope * sample as f64 + intercept) as f32));
        }
    }};
}

/// Decodes whole samples onto the end of `values`.
pub(crate) fn decode(bytes: &[u8], layout: &SampleLayout, values: &mut Vec<f32>) {
    match layout.sample_type {
        SampleType::U8 => decode_as!(u8, bytes, layout, values),
        SampleType::I8 => decode_as!(i8, bytes, layout, values),
        SampleType::U16 => decode_as!(u16, bytes, layout, values),
        SampleType::I16 => decode_as!(i16, bytes, layout, values),
        SampleType::U32 => decode_as!(u32, bytes, layout, values),
        SampleType::I32 => decode_as!(i32, bytes, layout, values),
        SampleType::U64 => decode_as!(u64, bytes, layout, values),
        SampleType::I64 => decode_as!(i64, bytes, layout, values),
        SampleType::F32 => decode_as!(f32, bytes, layout, values),
        SampleType::F64 => decode_as!(f64, bytes, layout, values),
    }
}

/// Writes 32-bit little-endian floats.
pub(crate) fn write_f32(writer: &mut dyn io::Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    for piece in values.chunks(CHUNK_BYTES / size_of::<f32>()) {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
        writer.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sample_type: SampleType, byte_order: ByteOrder, count: usize) -> SampleLayout {
        SampleLayout { sample_type, byte_order, count, slope: 1.0, intercept: 0.0 }
    }

    #[test]
    fn samples_decode_in_both_byte_orders_with_sign_and_scale() {
        let mut values = Vec::new();
        decode(&[0xFE, 0xFF, 0x02, 0x01], &layout(SampleType::I16, ByteOrder::Little, 2), &mut values);
        assert_eq!(values, [-2.0, 258.0]);
        values.clear();
        let scaled =
            SampleLayout { slope: 0.5, intercept: -10.0, ..layout(SampleType::U16, ByteOrder::Big, 2) };
        decode(&[0x00, 0x03, 0xFF, 0xFF], &scaled, &mut values);
        assert_eq!(values, [-8.5, 32757.5]);
        values.clear();
        decode(&(-1.5_f64).to_be_bytes(), &layout(SampleType::F64, ByteOrder::Big, 1), &mut values);
        assert_eq!(values, [-1.5]);
    }

    #[test]
    fn samples_read_tells_short_and_long_streams() {
        let wanted = layout(SampleType::F32, ByteOrder::Little, 3);
        let (values, passed) = read_samples(&mut &[0_u8; 10][..], &wanted, false).unwrap();
        assert_eq!((values.len(), passed), (2, Passed { bytes: 10, has_more: false }));
        let (values, passed) = read_samples(&mut &[0_u8; 13][..], &wanted, false).unwrap();
        assert_eq!((values.len(), passed), (3, Passed { bytes: 12, has_more: true }));
    }

    #[test]
    fn samples_reserve_nothing_for_a_declared_length() {
        let absurd = layout(SampleType::F64, ByteOrder::Little, usize::MAX / 2);
        assert_eq!(absurd.bytes(), None);
        let (values, passed) = read_samples(&mut &[0_u8; 16][..], &absurd, false).unwrap();
        assert_eq!((values.len(), passed.bytes), (2, 16));
        assert!(values.capacity() <= RESERVED_AHEAD);
    }

    #[test]
    fn samples_survive_a_chunk_border() {
        let values: Vec<f32> = (0..300_001).map(|i| i as f32 * 0.25).collect();
        let mut bytes = Vec::new();
        write_f32(&mut bytes, &values).unwrap();
        let wanted = layout(SampleType::F32, ByteOrder::Little, values.len());
        let (read, passed) = read_samples(&mut &bytes[..], &wanted, true).unwrap();
        assert_eq!(read, values);
        assert!(!passed.has_more);
    }
}
