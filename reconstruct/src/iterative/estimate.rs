//! The unknowns: the volume and, where views are truncated, the coarse field around it; with the few vector operations
//! that iterating needs. Sums are taken over fixed pieces, so they do not depend on the number of threads.

use crate::project::ColumnVolume;
use rayon::prelude::*;

/// Floats of one piece of a sum.
const PIECE: usize = 1 << 16;

/// The volume, and what is around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The volume, then the outer field if there is one.
    pub(super) fields: Vec<ColumnVolume>,
}

impl Estimate {
    pub(super) fn zero(&mut self) {
        self.update(|values| values.fill(0.0));
    }

    fn update(&mut self, change: impl Fn(&mut [f32]) + Sync) {
        for field in &mut self.fields {
            field.values.par_chunks_mut(PIECE).for_each(&change);
        }
    }

    /// `change(own, other)` piece by piece.
    pub(super) fn zip(&mut self, other: &Self, change: impl Fn(&mut f32, f32) + Sync) {
        for (field, other) in self.fields.iter_mut().zip(&other.fields) {
            field.values.par_chunks_mut(PIECE).zip(other.values.par_chunks(PIECE)).for_each(
                |(own, other)| {
                    own.iter_mut().zip(other).for_each(|(own, other)| change(own, *other));
                },
            );
        }
    }

    /// `change(own, a, b)` piece by piece.
    pub(super) fn zip_two(&mut self, a: &Self, b: &Self, change: impl Fn(&mut f32, f32, f32) + Sync) {
        for ((field, a), b) in self.fields.iter_mut().zip(&a.fields).zip(&b.fields) {
            field
                .values
                .par_chunks_mut(PIECE)
                .zip(a.values.par_chunks(PIECE))
                .zip(b.values.par_chunks(PIECE))
                .for_each(|((own, a), b)| {
                    own.iter_mut().zip(a).zip(b).for_each(|((own, a), b)| change(own, *a, *b));
                });
        }
    }

    /// Sum of `of(own, other)`.
    pub(super) fn sum_with(&self, other: &Self, of: impl Fn(f64, f64) -> f64 + Sync) -> f64 {
        let mut total = 0.0;
        for (field, other) in self.fields.iter().zip(&other.fields) {
            let pieces: Vec<f64> = field
                .values
                .par_chunks(PIECE)
                .zip(other.values.par_chunks(PIECE))
                .map(|(own, other)| {
                    own.iter().zip(other).map(|(a, b)| of(f64::from(*a), f64::from(*b))).sum()
                })
                .collect();
            total += pieces.into_iter().sum::<f64>();
        }
        total
    }

    /// Sum of squares.
    pub(super) fn norm_squared(&self) -> f64 {
        self.sum_with(self, |a, _| a * a)
    }

    /// Norm of the difference over the own norm.
    pub(super) fn relative_change_from(&self, before: &Self) -> f64 {
        let difference = self.sum_with(before, |a, b| (a - b) * (a - b));
        let norm = self.norm_squared();
        if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
    }
}
