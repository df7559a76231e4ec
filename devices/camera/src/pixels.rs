//! Counts out of a buffer: rows may be padded, 8-bit counts are widened, nothing else happens to them.

use gstreamer_video::{VideoFormat, VideoInfo};

/// How counts lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) bytes_per_count: usize,
}

impl Layout {
    /// None for a format that is not grey counts.
    pub(crate) fn of(info: &VideoInfo) -> Option<Self> {
        let bytes_per_count = match info.format() {
            VideoFormat::Gray16Le => 2,
            VideoFormat::Gray8 => 1,
            _ => return None,
        };
        Some(Self { columns: info.width() as usize, rows: info.height() as usize, bytes_per_count })
    }

    pub(crate) fn count(&self) -> usize {
        self.columns * self.rows
    }

    /// Copies counts from `bytes`, whose rows start `stride` bytes apart after `start`; false where they do not fit.
    pub(crate) fn copy(&self, bytes: &[u8], start: usize, stride: usize, counts: &mut [u16]) -> bool {
        let row_bytes = self.columns * self.bytes_per_count;
        let last_row =
            stride.checked_mul(self.rows.saturating_sub(1)).and_then(|last| last.checked_add(start));
        let end = last_row.and_then(|last| last.checked_add(row_bytes));
        if counts.len() != self.count() || stride < row_bytes || end.is_none_or(|end| end > bytes.len()) {
            return false;
        }
        for (v, row) in counts.chunks_exact_mut(self.columns).enumerate() {
            let bytes = &bytes[start + v * stride..][..row_bytes];
            match self.bytes_per_count {
                1 => row.iter_mut().zip(bytes).for_each(|(count, byte)| *count = (*byte).into()),
                _ => {
                    let (pairs, _) = bytes.as_chunks::<2>();
                    row.iter_mut().zip(pairs).for_each(|(count, pair)| *count = u16::from_le_bytes(*pair));
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_copies_padded_rows_and_widens_bytes() {
        let bytes: Vec<u8> = (0..40).collect();
        let mut counts = [0; 6];
        let wide = Layout { columns: 3, rows: 2, bytes_per_count: 2 };
        assert!(wide.copy(&bytes, 4, 8, &mut counts));
        assert_eq!(counts, [0x0504, 0x0706, 0x0908, 0x0d0c, 0x0f0e, 0x1110]);
        let narrow = Layout { bytes_per_count: 1, ..wide };
        assert!(narrow.copy(&bytes, 0, 4, &mut counts));
        assert_eq!(counts, [0, 1, 2, 4, 5, 6]);
    }

    #[test]
    fn layout_refuses_a_buffer_that_ends_early_and_strides_that_overlap() {
        let wide = Layout { columns: 3, rows: 2, bytes_per_count: 2 };
        let mut counts = [9; 6];
        assert!(!wide.copy(&[0; 13], 0, 8, &mut counts));
        assert!(wide.copy(&[0; 14], 0, 8, &mut counts));
        assert!(!wide.copy(&[0; 64], 0, 4, &mut counts));
        assert!(!wide.copy(&[0; 64], 0, usize::MAX, &mut counts));
        assert!(!wide.copy(&[0; 64], 0, 8, &mut [0; 5]));
    }
}
