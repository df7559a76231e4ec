//! Filtered views in 16-bit integers, two detector columns side by side.

use super::{FilteredView, PADDING};
use multiversion::multiversion;
use rayon::prelude::*;

/// The largest sample, and what the weights of a pair add up to: 15 bits of either keep a blend of four samples in 32.
pub(super) const UNIT: i16 = i16::MAX;
/// Columns of one task.
const COLUMNS_AT_ONCE: usize = 32;

/// A filtered view whose sample `v` of column `u` is a pair: the lower 16 bits from that column, the upper from the
/// next, both in units of the two columns' own.
///
/// Rounding is at most half a unit, 1.5e-5 of the largest value in the two columns: far less than a detector's own, and
/// in a volume, which adds hundreds of views, less again.
#[derive(Default)]
pub(super) struct PairedView {
    /// All columns, one after the other.
    pairs: Vec<u32>,
    /// Pairs from one column to the next.
    stride: usize,
    /// By column: a sample of one and a weight of one, over [`UNIT`].
    pub(super) unit: Vec<f32>,
    /// Detector rows.
    pub(super) nv: usize,
}

impl PairedView {
    /// Takes over a view, in parallel over columns.
    pub(super) fn fill(&mut self, view: &FilteredView) {
        let stride = view.stride;
        // The last column has no next.
        let columns = view.columns.len() / stride - 1;
        (self.stride, self.nv) = (stride, view.nv);
        self.pairs.resize(columns * stride, 0);
        self.unit.resize(columns, 0.0);
        let parts = self.pairs.par_chunks_mut(COLUMNS_AT_ONCE * stride);
        parts.zip(self.unit.par_chunks_mut(COLUMNS_AT_ONCE)).enumerate().for_each(
            |(part, (pairs, units))| {
                let samples = &view.columns[part * COLUMNS_AT_ONCE * stride..];
                for ((pairs, unit), samples) in pairs
                    .chunks_mut(stride)
                    .zip(units)
                    .zip(samples.chunks(stride).zip(samples.chunks(stride).skip(1)))
                {
                    *unit = pair(samples.0, samples.1, pairs);
                }
            },
        );
    }

    /// The pairs of columns `u` and `u + 1`, counted from the copied border.
    pub(super) fn column(&self, u: usize) -> &[u32] {
        let column = &self.pairs[u * self.stride..][..self.stride];
        assert!(column.len() >= self.nv + 2 * PADDING);
        column
    }
}

/// Writes two columns as pairs; returns their unit over [`UNIT`], which is no number where a sample is none.
#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn pair(low: &[f32], high: &[f32], pairs: &mut [u32]) -> f32 {
    // Positive floats are ordered as their bits are, and what is no number is the largest.
    let magnitude = |largest: u32, value: &f32| largest.max(value.to_bits() & (u32::MAX >> 1));
    let largest = f32::from_bits(low.iter().chain(high).fold(0, magnitude));
    let per_sample = if largest > 0.0 { f32::from(UNIT) / largest } else { 0.0 };
    // Adding 1.5 * 2^23 leaves a float's lowest bits as the rounded integer, in two's complement.
    let rounded = |value: f32| (value * per_sample + 12_582_912.0).to_bits();
    for ((pair, low), high) in pairs.iter_mut().zip(low).zip(high) {
        *pair = rounded(*low) & 0xffff | rounded(*high) << 16;
    }
    largest / f32::from(UNIT) / f32::from(UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_the_samples_of_two_columns_within_half_a_unit() {
        let (nu, nv) = (5, 9);
        let rows: Vec<f32> = (0..nu * nv).map(|i| ((i * i) as f32 * 0.7).sin() * 3.0).collect();
        let view = FilteredView::from_rows(&rows, [nu, nv], nalgebra::Matrix3x4::zeros(), 1.0);
        let mut paired = PairedView::default();
        paired.fill(&view);
        for column in 0..=nu {
            let unit = paired.unit[column] * f32::from(UNIT);
            for (v, pair) in paired.column(column).iter().enumerate() {
                let halves = [*pair as i16, (*pair >> 16) as i16];
                for (half, value) in halves.into_iter().enumerate() {
                    let expected = view.columns[(column + half) * view.stride + v];
                    assert!(
                        (f32::from(value) * unit - expected).abs() <= 0.501 * unit,
                        "column {column}, row {v}"
                    );
                }
            }
        }
    }

    #[test]
    fn pairs_of_what_is_no_number_have_no_unit() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut pairs = [0; 3];
            assert!(!pair(&[1.0, bad, 2.0], &[0.0; 3], &mut pairs).is_finite());
        }
        let mut pairs = [7; 2];
        assert_eq!(pair(&[0.0; 2], &[-0.0; 2], &mut pairs), 0.0);
        assert_eq!(pairs, [0; 2]);
    }
}
