//! How sure a label is, voxel by voxel: a logistic model of what speaks for and against it near borders.
//!
//! Errors of a segmentation lie at its borders. Within [`BAND_STEPS`] voxels of one, a few [`Features`] go into a
//! logistic regression whose [`Weights`] were fitted to label maps that other people made (see [`Weights::fitted`]);
//! farther away a label counts as [`SURE_PERCENT`] sure.

mod features;
mod fit;

pub use features::{BAND_STEPS, Evident, FEATURES, Features, Surroundings};
pub use fit::{Score, fit, score};

use crate::segmentation::Evidence;

/// Confidence beyond the band, percent.
pub const SURE_PERCENT: u8 = 99;

/// Weights of the logistic model, in the order of [`FEATURES`].
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(pub [f64; FEATURES.len()]);

impl Weights {
    /// All but the last fitted, against label maps by TotalSegmentator, on the chest CT LIDC-IDRI-0001, on the abdominal CT of
    /// TotalSegmentator's tests, and on a cone-beam volume of each, which `tests/accuracy/segmentation.py --simulate` makes
    /// with the virtual C-arm; all four weigh the same. In cone beam more labels are wrong (17 and 20 %, against 12 and 6 % of CT)
    /// that look as good: weights of CT alone are off by 0.05 to 0.08 there.
    /// `data_confidence_is_calibrated_on_ct_and_cone_beam_of_the_patient_left_out` in `tests/data.rs` fits them again and leaves each
    /// patient out in turn. None of these volumes ends inside the body where it is judged, so the weight of the end of
    /// the data is an estimate.
    pub fn fitted() -> Self {
        Self([-0.66, 0.63, -0.15, 3.88, -0.82, -1.5])
    }

    /// Probability that the label is right.
    pub fn probability(&self, features: &Features) -> f64 {
        let logit: f64 =
            self.0.iter().zip(features).map(|(weight, feature)| weight * f64::from(*feature)).sum();
        1.0 / (1.0 + (-logit).exp())
    }

    /// The same in whole percent, from 1 to 99: nothing is certain.
    pub fn percent(&self, features: &Features) -> u8 {
        (100.0 * self.probability(features)).round().clamp(1.0, f64::from(SURE_PERCENT)) as u8
    }

    /// How strongly each kind of evidence speaks against the label: what it takes from the logit against a voxel
    /// about which nothing is wrong.
    pub fn against(&self, features: &Features) -> [(Evidence, f64); 5] {
        let mut against = Evidence::ALL.map(|kind| (kind, 0.0));
        for (i, evident) in FEATURES.iter().enumerate() {
            let Some(kind) = evident.kind else { continue };
            let lost = self.0[i] * f64::from(evident.good - features[i]);
            against[kind as usize].1 += lost.max(0.0);
        }
        against
    }
}
