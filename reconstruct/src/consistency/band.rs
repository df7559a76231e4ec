//! Which part of an image counts: edges and organs, neither noise nor what lies outside a truncated field.

use ndarray::{Array2, Axis};

/// Pixels on either side of the mean that takes noise away, and of the mean that is taken away in a truncated field.
const FINE_REACH: usize = 1;
const WIDE_REACH: usize = 6;

/// The part of an image that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Band {
    /// Everything coarser than noise: the outline of a body that is seen whole tells most.
    Whole,
    /// Only what is finer than organs.
    Edges,
}

impl Band {
    pub(super) fn of(self, image: &Array2<f64>) -> Array2<f64> {
        let fine = mean_over(image, FINE_REACH);
        match self {
            Self::Whole => fine,
            Self::Edges => &fine - &mean_over(&fine, WIDE_REACH),
        }
    }
}

/// Mean over a square, smaller at the border.
fn mean_over(image: &Array2<f64>, reach: usize) -> Array2<f64> {
    let mut out = image.clone();
    for axis in [Axis(0), Axis(1)] {
        for mut lane in out.lanes_mut(axis) {
            let mut sums = vec![0.0; lane.len() + 1];
            for (index, value) in lane.iter().enumerate() {
                sums[index + 1] = sums[index] + value;
            }
            let count = lane.len();
            for (index, value) in lane.iter_mut().enumerate() {
                let (first, end) = (index.saturating_sub(reach), (index + reach + 1).min(count));
                *value = (sums[end] - sums[first]) / (end - first) as f64;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn band_of_edges_is_blind_to_an_even_image_and_the_whole_is_not() {
        let even = Array2::from_elem((20, 30), 2.0);
        assert!(Band::Edges.of(&even).iter().all(|value| value.abs() < 1e-12));
        assert!(Band::Whole.of(&even).iter().all(|value| (value - 2.0).abs() < 1e-12));
        let mut point = Array2::zeros((20, 30));
        point[(10, 15)] = 9.0;
        let fine = Band::Whole.of(&point);
        assert!((fine[(9, 16)] - 1.0).abs() < 1e-12 && fine[(8, 15)].abs() < 1e-12);
    }
}
