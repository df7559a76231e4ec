//! How many voxels each bit of the mask has: what a volume's history tells of them.

use carm::{Provenance, Stage, Volume, mask};
use ndarray::ArrayView3;
use rayon::prelude::*;
use std::ops::AddAssign;

/// The stage that tells the counts.
const STAGE: &str = "masks";
/// Voxels that a thread counts at once.
const AT_ONCE: usize = 1 << 16;
const LIMITED_WARNING: &str = "% of the field of view were seen over less than half a turn";

/// Voxels by bit of [`mask`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaskCounts {
    /// All.
    pub voxels: usize,
    /// With each bit, in the order of [`mask::NAMES`].
    pub with_bit: [usize; mask::NAMES.len()],
    /// In the field of view, and yet seen over less than half a turn.
    pub limited_in_field_of_view: usize,
}

impl MaskCounts {
    /// Counts the voxels of a mask.
    pub fn of(bits: ArrayView3<'_, u8>) -> Self {
        let count = |mut by_value: [usize; 256], part: &[u8]| {
            for few in part.chunks(32) {
                // Neighbours mostly carry the same bits.
                if few.iter().fold(true, |so_far, bits| so_far & (*bits == few[0])) {
                    by_value[usize::from(few[0])] += few.len();
                } else {
                    few.iter().for_each(|bits| by_value[usize::from(*bits)] += 1);
                }
            }
            by_value
        };
        let sum = |mut sum: [usize; 256], other: [usize; 256]| {
            sum.iter_mut().zip(other).for_each(|(sum, count)| *sum += count);
            sum
        };
        let bits = bits.as_standard_layout();
        let bits = bits.as_slice().expect("standard layout");
        let by_value = bits.par_chunks(AT_ONCE).fold(|| [0; 256], count).reduce(|| [0; 256], sum);
        let with = |wanted: u8| {
            (0..=u8::MAX).filter(|bits| bits & wanted == wanted).map(|bits| by_value[usize::from(bits)]).sum()
        };
        Self {
            voxels: bits.len(),
            with_bit: mask::NAMES.map(|(bit, _)| with(bit)),
            limited_in_field_of_view: with(mask::FIELD_OF_VIEW | mask::LIMITED_ANGLE),
        }
    }

    /// Puts the counts of a volume's mask into its history, in place of earlier ones.
    pub(crate) fn tell_of(volume: &mut Volume) {
        if let Some(bits) = &volume.mask {
            Self::of(bits.view()).tell(&mut volume.provenance);
        }
    }

    /// Puts the counts into a history, in place of earlier ones.
    pub fn tell(&self, provenance: &mut Provenance) {
        provenance.stages.retain(|stage| stage.name != STAGE);
        provenance.warnings.retain(|warning| !warning.ends_with(LIMITED_WARNING));
        let named = mask::NAMES.iter().zip(self.with_bit);
        let mut parameters: std::collections::BTreeMap<_, _> =
            named.map(|((_, name), count)| (name.replace(' ', "_"), count.to_string())).collect();
        parameters.insert("voxels".into(), self.voxels.to_string());
        provenance.stages.push(Stage { name: STAGE.into(), parameters, seconds: 0.0 });
        if self.limited_in_field_of_view > 0 {
            let percent = 100.0 * self.limited_in_field_of_view as f64 / self.with_bit[0] as f64;
            provenance.warnings.push(format!("{percent:.1} {LIMITED_WARNING}"));
        }
    }
}

impl AddAssign for MaskCounts {
    fn add_assign(&mut self, other: Self) {
        self.voxels += other.voxels;
        self.limited_in_field_of_view += other.limited_in_field_of_view;
        for (sum, count) in self.with_bit.iter_mut().zip(other.with_bit) {
            *sum += count;
        }
    }
}
