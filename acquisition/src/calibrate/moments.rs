//! Mean and variance of every pixel over frames, and medians.

use crate::error::AcquisitionError;

/// Welford's recursion for every pixel.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    pub(super) fn new(pixels: usize) -> Self {
        Self { count: 0, mean: vec![0.0; pixels], squares: vec![0.0; pixels] }
    }

    pub(super) fn add(&mut self, counts: &[u16]) -> Result<(), AcquisitionError> {
        let (expected, found) = (self.mean.len(), counts.len());
        if expected != found {
            return Err(AcquisitionError::FrameSize { expected, found });
        }
        self.count += 1;
        let share = 1.0 / self.count as f64;
        for ((mean, squares), &count) in self.mean.iter_mut().zip(&mut self.squares).zip(counts) {
            let off = f64::from(count) - *mean;
            *mean += share * off;
            *squares += off * (f64::from(count) - *mean);
        }
        Ok(())
    }

    /// Of each pixel over the frames; 0 for fewer than two.
    pub(super) fn variances(&self) -> impl Iterator<Item = f64> {
        let degrees = self.count.saturating_sub(1).max(1) as f64;
        self.squares.iter().map(move |squares| squares / degrees)
    }
}

/// The middle value; reorders them. 0 of none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The median of the square of half side `near` around each pixel, `[v, u]`.
pub(super) fn median_near(values: &[f64], [nu, nv]: [usize; 2], near: usize) -> Vec<f64> {
    let mut around = Vec::with_capacity((2 * near + 1).pow(2));
    let mut medians = Vec::with_capacity(values.len());
    for v in 0..nv {
        for u in 0..nu {
            around.clear();
            for row in v.saturating_sub(near)..=(v + near).min(nv - 1) {
                around.extend_from_slice(
                    &values[row * nu + u.saturating_sub(near)..=row * nu + (u + near).min(nu - 1)],
                );
            }
            medians.push(median(&mut around));
        }
    }
    medians
}
