//! Contrast medium and enhanced organs, which are as bright as bone: pools that are even inside and dark around.
//!
//! Spongy bone can be just as even and just as bright. What tells the two apart is the shell: whoever leaves spongy
//! bone meets brighter cortex first, whoever leaves a pool meets darker wall or fat.

use crate::body::Body;
use crate::components::{Component, components};
use crate::filter::{gaussian, gradient_at, shrink_factor, shrunk};
use crate::lattice::Lattice;
use crate::morphology::opened;
use rayon::prelude::*;

/// Pools are sought on voxels of about this size, mm.
const COARSE_MM: f64 = 1.5;
/// Smoothing before gradients, mm.
const SIGMA_MM: f64 = 1.5;
/// A pool is this much brighter than soft tissue, HU.
const ABOVE_SOFT_HU: f32 = 90.0;
/// Gradient that counts as even: a floor, HU/mm, and a share of the height above soft tissue, 1/mm.
const EVEN_HU_PER_MM: f32 = 9.0;
const EVEN_SHARE_PER_MM: f32 = 0.03;
/// A ball of this radius fits into a pool's even core, mm.
const CORE_MM: f64 = 2.0;
/// Least core, ml.
const CORE_MIN_ML: f64 = 0.8;
/// How far outwards the shell is looked for, mm.
const SHELL_MM: f64 = 7.0;
/// What meets a brighter shell on more than this share of its surface is bone.
const ENCLOSED_SHARE_MAX: f64 = 0.25;
/// A shell is brighter than its inside by this floor, HU, this share of the height above soft tissue, and this many
/// standard deviations of the noise of soft tissue, which must not pass for a shell.
const SHELL_HU: f32 = 45.0;
const SHELL_SHARE: f32 = 0.12;
const SHELL_SIGMAS: f32 = 2.5;
/// Smooth values this near to soft tissue's are soft tissue, HU.
const SOFT_WITHIN_HU: f32 = 25.0;
/// Denser than any bone that a ball of [`DENSE_BALL_MM`] fits into: undiluted contrast medium, or metal. HU, mm.
const DENSE_HU: f32 = 1000.0;
const DENSE_BALL_MM: f64 = 4.5;
/// Denser than cortical bone at any size, HU.
const DENSEST_HU: f32 = 2200.0;

/// Where contrast medium certainly is.
pub struct Contrast {
    /// Cores of pools, on the body's lattice.
    pub pools: Vec<bool>,
    /// Very dense cores: undiluted medium or metal.
    pub dense: Vec<bool>,
    /// Mean level of the largest pool that is brighter than organs get, HU.
    pub blood_hu: Option<f32>,
}

/// Blood is at least this much brighter than soft tissue when contrast is meant to show it, HU.
const BLOOD_ABOVE_SOFT_HU: f32 = 120.0;

impl Contrast {
    /// Finds the cores; `soft_hu` is the mode of soft tissue.
    pub fn find(body: &Body, soft_hu: f32) -> Self {
        let factor = shrink_factor(&body.lattice, COARSE_MM);
        let (hu, coarse) = shrunk(&body.hu, &body.lattice, factor);
        let smooth = gaussian(&hu, &coarse, SIGMA_MM);
        let even: Vec<bool> = (0..coarse.len())
            .into_par_iter()
            .with_min_len(4096)
            .map(|i| is_even(&smooth, &coarse, i, soft_hu))
            .collect();
        let cores = opened(&even, &coarse, CORE_MM);
        let core_min = (CORE_MIN_ML * 1000.0 / coarse.voxel_mm3()).ceil() as usize;
        let noise_hu = noise_hu(&hu, &smooth, &coarse, soft_hu);
        let mut pools = vec![false; coarse.len()];
        let mut blood: Option<(usize, f32)> = None;
        for core in components(&cores, &coarse).into_iter().filter(|c| c.voxels.len() >= core_min) {
            let mean = core.voxels.iter().map(|i| smooth[*i]).sum::<f32>() / core.voxels.len() as f32;
            let shell = SHELL_HU.max(SHELL_SHARE * (mean - soft_hu)).max(SHELL_SIGMAS * noise_hu);
            let levels = [0.5 * (mean + soft_hu), mean + shell];
            if enclosed_share(&core, &cores, [&smooth, &hu], &coarse, levels) > ENCLOSED_SHARE_MAX {
                continue;
            }
            let is_blood = mean > soft_hu + BLOOD_ABOVE_SOFT_HU && mean < DENSE_HU;
            if is_blood && blood.is_none_or(|(n, _)| core.voxels.len() > n) {
                blood = Some((core.voxels.len(), mean));
            }
            core.voxels.iter().for_each(|i| pools[*i] = true);
        }
        let dense = dense_cores(body, &hu, &coarse, factor);
        Self { pools: spread(&pools, &coarse, factor, body), dense, blood_hu: blood.map(|(_, hu)| hu) }
    }

    /// Whether a voxel is in any core.
    pub fn is_core(&self, index: usize) -> bool {
        self.pools[index] || self.dense[index]
    }
}

fn is_even(smooth: &[f32], lattice: &Lattice, index: usize, soft_hu: f32) -> bool {
    let above = smooth[index] - soft_hu;
    above > ABOVE_SOFT_HU && steepness(smooth, lattice, index) < EVEN_HU_PER_MM + EVEN_SHARE_PER_MM * above
}

/// Standard deviation of even soft tissue about its smooth self.
fn noise_hu(hu: &[f32], smooth: &[f32], lattice: &Lattice, soft_hu: f32) -> f32 {
    let is_soft = |i: &usize| {
        (smooth[*i] - soft_hu).abs() < SOFT_WITHIN_HU && steepness(smooth, lattice, *i) < EVEN_HU_PER_MM
    };
    let soft = (0..hu.len()).filter(is_soft);
    let (sum, count) = soft
        .fold((0.0_f64, 0_usize), |(sum, count), i| (sum + f64::from(hu[i] - smooth[i]).powi(2), count + 1));
    (sum / count.max(1) as f64).sqrt() as f32
}

/// Length of the gradient, HU/mm.
fn steepness(smooth: &[f32], lattice: &Lattice, index: usize) -> f32 {
    gradient_at(smooth, lattice, index).iter().map(|g| g * g).sum::<f32>().sqrt()
}

/// Share of a core's surface that meets brighter voxels before a darker neighbourhood: one dark voxel is noise, or a gap
/// in spongy bone.
fn enclosed_share(
    core: &Component,
    cores: &[bool],
    [smooth, hu]: [&[f32]; 2],
    lattice: &Lattice,
    [darker, brighter]: [f32; 2],
) -> f64 {
    let mut surface = 0_usize;
    let mut enclosed = 0_usize;
    for &index in &core.voxels {
        let at = lattice.position(index);
        let Some(outward) = outward(at, cores, lattice) else { continue };
        surface += 1;
        let mut away = 0.0;
        while away < SHELL_MM {
            away += COARSE_MM / 2.0;
            let by = std::array::from_fn(|a| (outward[a] * away / lattice.spacing_mm[a]).round() as isize);
            let Some(there) = lattice.offset(at, by) else { break };
            if hu[there] > brighter {
                enclosed += 1;
                break;
            }
            if smooth[there] < darker {
                break;
            }
        }
    }
    if surface == 0 { 1.0 } else { enclosed as f64 / surface as f64 }
}

/// Unit vector from the core to its outside, at a voxel of its surface.
fn outward(at: [usize; 3], cores: &[bool], lattice: &Lattice) -> Option<[f64; 3]> {
    let mut sum = [0.0; 3];
    for axis in 0..3 {
        for sign in [-1_isize, 1] {
            let mut by = [0; 3];
            by[axis] = sign;
            if lattice.offset(at, by).is_some_and(|near| !cores[near]) {
                sum[axis] += sign as f64;
            }
        }
    }
    let length = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
    (length > 0.0).then(|| sum.map(|s| s / length))
}

/// Very dense cores on the body's lattice.
fn dense_cores(body: &Body, hu: &[f32], coarse: &Lattice, factor: [usize; 3]) -> Vec<bool> {
    let thick: Vec<bool> = hu.iter().map(|hu| *hu > DENSE_HU).collect();
    let thick = opened(&thick, coarse, DENSE_BALL_MM);
    let mut dense = spread(&thick, coarse, factor, body);
    for (dense, hu) in dense.iter_mut().zip(&body.hu) {
        *dense |= *hu > DENSEST_HU;
    }
    dense
}

/// A coarse mask on the body's lattice.
fn spread(coarse_mask: &[bool], coarse: &Lattice, factor: [usize; 3], body: &Body) -> Vec<bool> {
    (0..body.lattice.len())
        .into_par_iter()
        .with_min_len(4096)
        .map(|index| {
            let at = body.lattice.position(index);
            coarse_mask[coarse.index(std::array::from_fn(|a| at[a] / factor[a]))]
        })
        .collect()
}
