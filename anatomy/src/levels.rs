//! What soft tissue and bone measure *here*: cone-beam shading moves both from place to place.

use crate::body::Body;
use crate::components::holes_of_slice;
use crate::filter::{shrink_factor, shrunk};
use crate::lattice::Lattice;
use crate::morphology::closed;

/// Levels are gathered on voxels of about this size, mm.
const COARSE_MM: f64 = 2.0;
/// Side of the tiles that levels are known on, mm; each gathers from its neighbours, so from within 20 mm.
const TILE_MM: f64 = 14.0;
/// Where the mode of soft tissue can be, HU.
const SOFT_HU: [f32; 2] = [-60.0, 160.0];
/// How far shading and enhancement may move the mode of soft tissue from place to place, HU.
const SHADING_HU: [f32; 2] = [-110.0, 60.0];
/// Width of a histogram's bin, HU.
const BIN_HU: f32 = 10.0;
/// This much above soft tissue is bone for certain, as far as its level goes, HU.
const BONE_ABOVE_SOFT_HU: f32 = 150.0;
/// What bone measures where there is too little of it to tell, HU above soft tissue.
const BONE_DEFAULT_HU: f32 = 300.0;
/// Gaps in cortex that are closed before marrow is looked for, mm, and the largest marrow of a slice, mm².
const SHELL_GAP_MM: f64 = 4.0;
const MARROW_MAX_MM2: f64 = 4000.0;
/// Fewest voxels that tell a level.
const VOXELS_MIN: usize = 40;
/// The border of a bone lies at this share of the way from soft tissue to the middle level of the bone around:
/// cortex is mostly thinner than a voxel, so half the way would lie inside it.
const BORDER_SHARE: f32 = 0.25;
/// And within these limits above soft tissue, HU.
const BORDER_HU: [f32; 2] = [75.0, 105.0];

/// The levels of soft tissue and bone, place by place.
pub struct Levels {
    tiles: Lattice,
    factor: [usize; 3],
    soft: Vec<f32>,
    border: Vec<f32>,
    /// The mode of soft tissue in the whole body, HU.
    pub soft_hu: f32,
}

impl Levels {
    /// Gathers the levels; `is_excluded` tells voxels that are neither (contrast medium, metal).
    pub fn gather(body: &Body, is_excluded: impl Fn(usize) -> bool) -> Self {
        let factor = shrink_factor(&body.lattice, COARSE_MM);
        let masked: Vec<f32> = (0..body.hu.len())
            .map(|i| if body.inside[i] && !is_excluded(i) { body.hu[i] } else { f32::NAN })
            .collect();
        // A block with an excluded voxel has no mean: levels come from whole blocks.
        let (hu, coarse) = shrunk(&masked, &body.lattice, factor);
        drop(masked);
        let soft_hu = mode(hu.iter().copied(), SOFT_HU).unwrap_or(40.0);
        let tile_factor = coarse.spacing_mm.map(|spacing| (TILE_MM / spacing).round().max(1.0) as usize);
        let tiles = Lattice {
            shape: std::array::from_fn(|a| coarse.shape[a].div_ceil(tile_factor[a])),
            spacing_mm: std::array::from_fn(|a| coarse.spacing_mm[a] * tile_factor[a] as f64),
        };
        let inside_bone = enclosed(&hu, &coarse, soft_hu);
        let members = members(&hu, &coarse, &tiles, tile_factor);
        let outside = {
            let mut outside = hu;
            outside
                .iter_mut()
                .zip(&inside_bone)
                .filter(|(_, inside)| **inside)
                .for_each(|(hu, _)| *hu = f32::NAN);
            self::members(&outside, &coarse, &tiles, tile_factor)
        };
        let mut soft = vec![soft_hu; tiles.len()];
        let mut border = vec![0.0; tiles.len()];
        for tile in 0..tiles.len() {
            let near = near(&members, &tiles, tile);
            let limits = SHADING_HU.map(|by| soft_hu + by);
            soft[tile] = mode(self::near(&outside, &tiles, tile).into_iter(), limits).unwrap_or(soft_hu);
            let mut bone: Vec<f32> =
                near.into_iter().filter(|hu| *hu > soft[tile] + BONE_ABOVE_SOFT_HU).collect();
            let above = if bone.len() < VOXELS_MIN {
                BONE_DEFAULT_HU
            } else {
                let middle = bone.len() / 2;
                *bone.select_nth_unstable_by(middle, f32::total_cmp).1 - soft[tile]
            };
            border[tile] = soft[tile] + (BORDER_SHARE * above).clamp(BORDER_HU[0], BORDER_HU[1]);
        }
        let factor = std::array::from_fn(|a| factor[a] * tile_factor[a]);
        Self { tiles, factor, soft, border, soft_hu }
    }

    /// Level of soft tissue at a place of the body's lattice, HU.
    pub fn soft(&self, at: [usize; 3]) -> f32 {
        self.interpolated(&self.soft, at)
    }

    /// Level at which bone begins there, HU.
    pub fn border(&self, at: [usize; 3]) -> f32 {
        self.interpolated(&self.border, at)
    }

    fn interpolated(&self, levels: &[f32], at: [usize; 3]) -> f32 {
        let mut low = [0; 3];
        let mut share = [0.0_f32; 3];
        for axis in 0..3 {
            let place = ((at[axis] as f32 + 0.5) / self.factor[axis] as f32 - 0.5)
                .clamp(0.0, (self.tiles.shape[axis] - 1) as f32);
            low[axis] = (place as usize).min(self.tiles.shape[axis].saturating_sub(2));
            share[axis] = place - low[axis] as f32;
        }
        let mut sum = 0.0;
        for corner in 0..8_usize {
            let mut weight = 1.0;
            let mut tile = low;
            for axis in 0..3 {
                let is_high = corner >> axis & 1 == 1;
                weight *= if is_high { share[axis] } else { 1.0 - share[axis] };
                tile[axis] = (low[axis] + usize::from(is_high)).min(self.tiles.shape[axis] - 1);
            }
            if weight > 0.0 {
                sum += weight * levels[self.tiles.index(tile)];
            }
        }
        sum
    }
}

/// Bone with what it encloses in axial slices: marrow must not pass for the soft tissue around.
fn enclosed(hu: &[f32], lattice: &Lattice, soft_hu: f32) -> Vec<bool> {
    let dense: Vec<bool> = hu.iter().map(|hu| *hu > soft_hu + BONE_ABOVE_SOFT_HU).collect();
    let mut shell = closed(&dense, lattice, SHELL_GAP_MM);
    let [nz, ny, nx] = lattice.shape;
    for z in 0..nz {
        let start = z * lattice.slice_len();
        for hole in holes_of_slice(ny, nx, |y, x| shell[start + y * nx + x]) {
            if hole.len() as f64 * lattice.spacing_mm[1] * lattice.spacing_mm[2] < MARROW_MAX_MM2 {
                hole.iter().for_each(|(y, x)| shell[start + y * nx + x] = true);
            }
        }
    }
    shell
}

/// The values of each tile.
fn members(hu: &[f32], coarse: &Lattice, tiles: &Lattice, factor: [usize; 3]) -> Vec<Vec<f32>> {
    let mut members = vec![Vec::new(); tiles.len()];
    for (index, hu) in hu.iter().enumerate() {
        if hu.is_finite() {
            let at = coarse.position(index);
            members[tiles.index(std::array::from_fn(|a| at[a] / factor[a]))].push(*hu);
        }
    }
    members
}

/// The values of a tile and of those around it.
fn near(members: &[Vec<f32>], tiles: &Lattice, tile: usize) -> Vec<f32> {
    let at = tiles.position(tile);
    let mut near = Vec::new();
    for dz in -1..=1 {
        for dy in -1..=1 {
            for dx in -1..=1 {
                if let Some(tile) = tiles.offset(at, [dz, dy, dx]) {
                    near.extend_from_slice(&members[tile]);
                }
            }
        }
    }
    near
}

/// The most frequent value between two limits; none for too few values.
fn mode(values: impl Iterator<Item = f32>, limits: [f32; 2]) -> Option<f32> {
    let counts = smooth_histogram(values, limits)?;
    // The first of equals, so that the answer does not hang on an order.
    let best = (0..counts.len()).rev().max_by_key(|bin| counts[*bin])?;
    Some(limits[0] + (best as f32 + 0.5) * BIN_HU)
}

/// Counts between two limits, smoothed over three bins; none for too few values.
fn smooth_histogram(values: impl Iterator<Item = f32>, [low, high]: [f32; 2]) -> Option<Vec<usize>> {
    let bins = ((high - low) / BIN_HU).round() as usize;
    let mut counts = vec![0_usize; bins];
    let mut total = 0;
    for value in values.filter(|value| *value >= low && *value < high) {
        counts[(((value - low) / BIN_HU) as usize).min(bins - 1)] += 1;
        total += 1;
    }
    let at = |bin: Option<usize>| bin.and_then(|bin| counts.get(bin)).copied().unwrap_or(0);
    let smooth = (0..bins).map(|bin| at(bin.checked_sub(1)) + 2 * counts[bin] + at(Some(bin + 1)));
    (total >= VOXELS_MIN).then(|| smooth.collect())
}
