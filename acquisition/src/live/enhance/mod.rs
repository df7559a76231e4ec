//! Contrast and edges of several sizes, brought out as far as they stand above the noise.
//!
//! The image is taken apart into a Laplacian pyramid (Burt and Adelson, IEEE Trans. Commun. 31(4), 1983): details of one,
//! two, four ... pixels and what is left. Before that, counts become `2 sqrt(x)`, in which the noise of quanta is equally
//! strong everywhere (Anscombe, Biometrika 35, 1948); differences of logarithms, where a mask was subtracted, stay as they
//! are. Each detail `d` is multiplied by
//!
//! ```text
//! 1 + gain t² / (t² + 9) / (1 + t² / 196),   t = |d| / noise of that level
//! ```
//!
//! so noise stays as it was, faint structure is raised most, and strong edges little: they do not ring. The noise is the
//! image's own: the median of the finest details, which follows slowly, so that the picture does not pump.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::correct::Backend;

/// Details are taken at so many sizes.
const LEVELS: usize = 5;
/// A level with a shorter side is not taken apart any more.
const SMALLEST: usize = 4;
/// How much faint details are raised, finest first: edges a little, structures of some pixels more.
const GAINS: [f32; LEVELS] = [0.6, 1.1, 1.2, 0.8, 0.4];
/// White noise in each level of details, relative to the image's: the kernel's own arithmetic, checked by a test.
const NOISE: [f32; LEVELS] = [0.943, 0.230, 0.1006, 0.0489, 0.0244];
/// Details below so many deviations of noise count as noise.
const NOISE_REACH: f32 = 3.0;
/// Details beyond so many deviations need no help.
const STRONG: f32 = 14.0;
/// Share by which the noise follows the newest image's.
const FOLLOW: f32 = 0.15;
/// Deviation over median of the size of normal deviates.
const DEVIATION_PER_MEDIAN: f32 = 1.4826;
/// Details looked at for the noise at most.
const SAMPLES: usize = 16_384;
/// No image is quieter than this, in the units of its own: half a count's rounding in counts, a tenth of a percent.
const QUIETEST: f32 = 1e-3;

/// What the values of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Intensities, counts.
    Counts,
    /// Differences of logarithms.
    Difference,
}

/// An image of some level.
#[derive(Clone, Debug, Default)]
struct Plane {
    nu: usize,
    nv: usize,
    pixels: Vec<f32>,
}

impl Plane {
    fn new(nu: usize, nv: usize) -> Self {
        Self { nu, nv, pixels: vec![0.0; nu * nv] }
    }
}

/// Enhances the images of one stream.
#[derive(Clone, Debug)]
pub struct Enhancement {
    backend: Backend,
    /// The image and its means over ever larger places, each half the size of the one before.
    means: Vec<Plane>,
    /// One row of the coarser level, and one of the finer.
    row: Vec<f32>,
    wide: Vec<f32>,
    samples: Vec<f32>,
    noise: f32,
    values: Values,
}

impl Enhancement {
    /// For images of `nu` columns and `nv` rows.
    pub fn new(nu: usize, nv: usize) -> Self {
        Self::with_backend(nu, nv, Backend::Cpu)
    }

    /// As [`Enhancement::new`], with a chosen implementation.
    pub fn with_backend(nu: usize, nv: usize, backend: Backend) -> Self {
        let mut means = vec![Plane::new(nu, nv)];
        let mut size = [nu, nv];
        while means.len() <= LEVELS && size[0].min(size[1]) >= SMALLEST {
            size = size.map(|side| side.div_ceil(2));
            means.push(Plane::new(size[0], size[1]));
        }
        Self {
            backend,
            means,
            row: vec![0.0; nu + 4],
            wide: vec![0.0; nu + 4],
            samples: Vec::with_capacity(SAMPLES + 1),
            noise: 0.0,
            values: Values::Counts,
        }
    }

    /// Replaces an image `[v, u]` by the enhanced one.
    ///
    /// # Panics
    /// When the image is not of this size.
    pub fn enhance(&mut self, image: &mut [f32], values: Values) {
        assert_eq!(image.len(), self.means[0].pixels.len(), "one image of this size");
        if self.values != values {
            (self.values, self.noise) = (values, 0.0);
        }
        match self.backend {
            Backend::Reference => reference::enhance(self, image),
            Backend::Cpu => cpu::enhance(self, image),
        }
    }

    /// Takes note of the noise in details of the finest level; gives what to reckon with.
    fn follow_noise(&mut self, sizes: impl Iterator<Item = f32>) -> f32 {
        self.samples.clear();
        self.samples.extend(sizes.take(SAMPLES));
        let middle = self.samples.len() / 2;
        let median = *self.samples.select_nth_unstable_by(middle, f32::total_cmp).1;
        let now = (DEVIATION_PER_MEDIAN / NOISE[0] * median).max(QUIETEST);
        let share = if self.noise > 0.0 { FOLLOW } else { 1.0 };
        self.noise += share * (now - self.noise);
        self.noise
    }

    /// Step between the details that are looked at for the noise: odd, so that it walks through the columns.
    fn sample_step(&self) -> usize {
        (self.means[0].pixels.len().div_ceil(SAMPLES)) | 1
    }
}
