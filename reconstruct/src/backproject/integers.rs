//! Filtered views in 16-bit integers, as the vector kernels read them.

use super::{FilteredView, PADDING};
use multiversion::multiversion;
use rayon::prelude::*;

/// The largest sample, and what the weights of two neighbours add up to: 15 bits of either keep their blend in 32.
pub(super) const UNIT: i16 = i16::MAX;
/// Columns of one task.
const COLUMNS_AT_ONCE: usize = 32;

/// A filtered view whose columns hold integers, each column in a unit of its own.
///
/// Rounding is at most half a unit, 1.5e-5 of the column's largest value: far less than a detector's own, and in a
/// volume, which adds hundreds of views, less again.
#[derive(Default)]
pub(super) struct IntegerView<S> {
    /// All columns, one after the other.
    samples: Vec<S>,
    /// Samples from one column to the next.
    stride: usize,
    /// By column: a sample of one and a weight of one, over [`UNIT`].
    pub(super) unit: Vec<f32>,
    /// Detector rows.
    pub(super) nv: usize,
}

/// What a kernel reads of a detector column at a row.
pub(super) trait Sample: Copy + Default + Send + Sync {
    /// Writes a column as integers; returns their unit over [`UNIT`], which is no number where a value is none.
    fn write(column: &[f32], samples: &mut [Self]) -> f32;
}

/// The row's value alone, where a kernel permutes 16-bit words.
impl Sample for i16 {
    fn write(column: &[f32], samples: &mut [Self]) -> f32 {
        write_words(column, samples)
    }
}

/// The row's value and the next row's, where a kernel only permutes words of 32 bits.
impl Sample for [i16; 2] {
    fn write(column: &[f32], samples: &mut [Self]) -> f32 {
        write_pairs(column, samples)
    }
}

impl<S: Sample> IntegerView<S> {
    /// Takes over a view, in parallel over columns.
    pub(super) fn fill(&mut self, view: &FilteredView) {
        let stride = view.stride;
        let columns = view.columns.len() / stride;
        (self.stride, self.nv) = (stride, view.nv);
        self.samples.resize(columns * stride, S::default());
        self.unit.resize(columns, 0.0);
        let part = COLUMNS_AT_ONCE * stride;
        let parts = self.samples.par_chunks_mut(part).zip(self.unit.par_chunks_mut(COLUMNS_AT_ONCE));
        parts.zip(view.columns.par_chunks(part)).for_each(|((samples, units), columns)| {
            let columns = columns.chunks(stride).zip(samples.chunks_mut(stride));
            for (unit, (column, samples)) in units.iter_mut().zip(columns) {
                *unit = S::write(column, samples);
            }
        });
    }

    /// The samples of column `u`, counted from the copied border.
    pub(super) fn column(&self, u: usize) -> &[S] {
        let column = &self.samples[u * self.stride..][..self.stride];
        assert!(column.len() >= self.nv + 2 * PADDING);
        column
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn write_words(column: &[f32], samples: &mut [i16]) -> f32 {
    let largest = largest(column);
    for (sample, value) in samples.iter_mut().zip(column) {
        *sample = rounded(value * samples_per(largest));
    }
    unit(largest)
}

#[multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
fn write_pairs(column: &[f32], samples: &mut [[i16; 2]]) -> f32 {
    let largest = largest(column);
    // The last row, a zero of the padding, has no next.
    for (pair, values) in samples.iter_mut().zip(column.windows(2)) {
        *pair = [rounded(values[0] * samples_per(largest)), rounded(values[1] * samples_per(largest))];
    }
    unit(largest)
}

/// The largest magnitude: positive floats are ordered as their bits are, and what is no number is above all.
#[inline(always)]
fn largest(column: &[f32]) -> f32 {
    f32::from_bits(
        column.iter().fold(0, |largest: u32, value| largest.max(value.to_bits() & (u32::MAX >> 1))),
    )
}

#[inline(always)]
fn samples_per(largest: f32) -> f32 {
    if largest > 0.0 { f32::from(UNIT) / largest } else { 0.0 }
}

/// Adding 1.5 * 2^23 leaves a float's lowest bits as the rounded integer, in two's complement.
#[inline(always)]
fn rounded(value: f32) -> i16 {
    (value + 12_582_912.0).to_bits() as i16
}

fn unit(largest: f32) -> f32 {
    largest / f32::from(UNIT) / f32::from(UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds integers of either form against the view they come from.
    fn hold<S: Sample>(value_of: impl Fn(S) -> i16) -> IntegerView<S> {
        let (nu, nv) = (5, 9);
        let rows: Vec<f32> = (0..nu * nv).map(|i| ((i * i) as f32 * 0.7).sin() * 3.0).collect();
        let view = FilteredView::from_rows(&rows, [nu, nv], nalgebra::Matrix3x4::zeros(), 1.0);
        let mut integers = IntegerView::default();
        integers.fill(&view);
        for column in 0..nu + 2 {
            let unit = integers.unit[column] * f32::from(UNIT);
            for (v, sample) in integers.column(column).iter().enumerate() {
                let expected = view.columns[column * view.stride + v];
                let found = f32::from(value_of(*sample)) * unit;
                assert!((found - expected).abs() <= 0.501 * unit, "column {column}, row {v}");
            }
        }
        integers
    }

    #[test]
    fn integers_are_the_samples_within_half_a_unit() {
        let words = hold(|word: i16| word);
        let pairs = hold(|pair: [i16; 2]| pair[0]);
        for column in 0..words.unit.len() {
            let pairs = pairs.column(column);
            assert!(pairs.windows(2).all(|two| two[0][1] == two[1][0]), "a pair holds the next row's value");
            assert!(words.column(column).iter().zip(pairs).all(|(word, pair)| *word == pair[0]));
        }
    }

    #[test]
    fn integers_of_what_is_no_number_have_no_unit() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(!i16::write(&[1.0, bad, 2.0], &mut [0; 3]).is_finite());
            assert!(!<[i16; 2]>::write(&[1.0, bad, 2.0], &mut [[0; 2]; 3]).is_finite());
        }
        let mut words = [7; 2];
        assert_eq!(i16::write(&[0.0, -0.0], &mut words), 0.0);
        assert_eq!(words, [0; 2]);
    }
}
