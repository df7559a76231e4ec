//! What speaks for or against a label at one voxel.

use crate::filter::{gaussian, gaussian_slices, gradient_at};
use crate::lattice::Lattice;
use crate::morphology::squared_distance_within;
use crate::segmentation::Evidence;
use rayon::prelude::*;
use std::ops::Range;

/// The band is this many voxels wide on either side of a border.
pub const BAND_STEPS: u8 = 3;
/// A HU that counts as one unit of intensity, and the limits of that feature.
const INTENSITY_HU: f32 = 100.0;
const INTENSITY_LIMITS: [f32; 2] = [-2.5, 2.5];
/// A difference across a voxel's diagonal that counts as one unit of edge, HU, and the most that counts.
const EDGE_HU: f32 = 300.0;
const EDGE_MAX: f32 = 3.0;
/// Standard deviation of the neighbourhood in which the share of the own label is taken, mm. Of 1.5 to 2.5 mm, it tells most of the
/// patient left out. In voxels instead of mm, a chest of 0.7 mm and an abdomen of 3 mm mislead each other.
const NEAR_MM: f64 = 2.0;
/// How far undiluted contrast medium and metal cast their shadow, mm.
const SHADOW_MM: f64 = 20.0;
/// How near the border of the data is near, mm.
const TRUNCATION_MM: f64 = 5.0;

/// Slices whose features are held at a time.
const SLICES_TOGETHER: usize = 32;

/// One number of each of [`FEATURES`].
pub type Features = [f32; FEATURES.len()];

/// A feature: its name, the evidence that it belongs to, and what it is where nothing is wrong.
pub struct Evident {
    /// Its name.
    pub name: &'static str,
    /// What evidence it belongs to.
    pub kind: Option<Evidence>,
    /// Its value where nothing is wrong.
    pub good: f32,
}

const fn evident(name: &'static str, kind: Option<Evidence>, good: f32) -> Evident {
    Evident { name, kind, good }
}

/// The features in order.
pub const FEATURES: [Evident; 6] = [
    evident("constant", None, 1.0),
    evident("intensity on the label's side of the threshold", Some(Evidence::Intensity), 1.0),
    evident("edge", Some(Evidence::Edge), 0.0),
    evident("share of the label near by, squared", Some(Evidence::Shape), 1.0),
    evident("shadow of metal or undiluted contrast medium", Some(Evidence::MetalShadow), 0.0),
    evident("end of the data", Some(Evidence::Truncation), 0.0),
];

/// What the features of a mask are taken from.
pub struct Surroundings<'a> {
    /// Grey values, HU.
    pub hu: &'a [f32],
    /// The mask that is judged.
    pub mask: &'a [bool],
    /// Sizes and spacing.
    pub lattice: &'a Lattice,
    /// Level above which a voxel belongs to the mask, HU.
    pub threshold: &'a (dyn Fn(usize) -> f32 + Sync),
    /// Metal and undiluted contrast medium.
    pub dense: &'a [bool],
    /// Where there is no data.
    pub unseen: Option<&'a [bool]>,
}

impl Surroundings<'_> {
    /// Steps from each voxel to the border between mask and background, 1 to [`BAND_STEPS`]; 0 beyond.
    pub fn band(&self) -> Vec<u8> {
        let mut steps = vec![0_u8; self.mask.len()];
        let mut front: Vec<usize> = (0..self.mask.len())
            .into_par_iter()
            .with_min_len(4096)
            .filter(|index| {
                let mut is_border = false;
                self.lattice
                    .for_neighbours(*index, |near, _| is_border |= self.mask[near] != self.mask[*index]);
                is_border
            })
            .collect();
        front.iter().for_each(|index| steps[*index] = 1);
        for step in 2..=BAND_STEPS {
            let mut next = Vec::new();
            for index in front {
                self.lattice.for_neighbours(index, |near, _| {
                    if steps[near] == 0 {
                        steps[near] = step;
                        next.push(near);
                    }
                });
            }
            front = next;
        }
        steps
    }

    /// Calls `take(index, features)` for each voxel of the band, in parallel, and hands what it returns to `gather` in
    /// order: some slices at a time, for what a large volume's borders give all together takes more room than the volume.
    pub fn over_band<T: Send>(&self, take: impl Fn(usize, &Features) -> T + Sync, mut gather: impl FnMut(T)) {
        let steps = self.band();
        let last = self.lattice.shape[0];
        for start in (0..last).step_by(SLICES_TOGETHER) {
            let slices = start..last.min(start + SLICES_TOGETHER);
            self.taken(slices, &steps, &take).into_iter().for_each(&mut gather);
        }
    }

    /// What `take` returns for the band's voxels of some slices.
    fn taken<T: Send>(
        &self,
        slices: Range<usize>,
        steps: &[u8],
        take: impl Fn(usize, &Features) -> T + Sync,
    ) -> Vec<T> {
        let diagonal_mm = self.lattice.voxel_diagonal_mm();
        let (range, around) = self.lattice.around(&slices, gaussian_slices(self.lattice, NEAR_MM));
        let solid: Vec<f32> = self.mask[range.clone()].par_iter().map(|m| f32::from(u8::from(*m))).collect();
        let near = gaussian(&solid, &around, NEAR_MM);
        let here = self.lattice.around(&slices, 0).0;
        let to_dense = self.distances(self.dense, &slices, SHADOW_MM);
        let to_unseen = self.unseen.and_then(|unseen| self.distances(unseen, &slices, TRUNCATION_MM));
        here.clone()
            .into_par_iter()
            .with_min_len(4096)
            .filter(|index| steps[*index] > 0)
            .map(|index| {
                let is_inside = self.mask[index];
                let solid_near = near[index - range.start];
                let share = if is_inside { solid_near } else { 1.0 - solid_near };
                let threshold = (self.threshold)(index);
                let above = (self.hu[index] - threshold) / INTENSITY_HU;
                let sided = if is_inside { above } else { -above };
                let slope =
                    gradient_at(self.hu, self.lattice, index).iter().map(|g| g * g).sum::<f32>().sqrt();
                let at = index - here.start;
                let shadow = to_dense.as_ref().map_or(0.0, |d| nearness(d[at], SHADOW_MM));
                let end = to_unseen.as_ref().map_or(0.0, |d| nearness(d[at], TRUNCATION_MM));
                let features = [
                    1.0,
                    sided.clamp(INTENSITY_LIMITS[0], INTENSITY_LIMITS[1]),
                    (slope * diagonal_mm as f32 / EDGE_HU).min(EDGE_MAX),
                    share * share,
                    shadow,
                    end,
                ];
                take(index, &features)
            })
            .collect()
    }

    /// Squared distances of the voxels of some slices to a mask, mm²; none where nothing of it is within reach.
    fn distances(&self, mask: &[bool], slices: &Range<usize>, reach_mm: f64) -> Option<Vec<f32>> {
        let beyond = (reach_mm / self.lattice.spacing_mm[0]).ceil() as usize;
        let (range, around) = self.lattice.around(slices, beyond);
        if !mask[range.clone()].contains(&true) {
            return None;
        }
        let mut squared = squared_distance_within(&mask[range.clone()], &around, reach_mm);
        squared.drain(..self.lattice.around(slices, 0).0.start - range.start);
        Some(squared)
    }
}

/// One where the distance is zero, falling to zero at `reach_mm`.
fn nearness(squared_mm: f32, reach_mm: f64) -> f32 {
    (1.0 - squared_mm.sqrt() / reach_mm as f32).max(0.0)
}
