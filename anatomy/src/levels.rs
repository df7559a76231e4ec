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
/// Where the peak of soft tissue can be, HU.
const SOFT_HU: [f32; 2] = [-60.0, 160.0];
/// What it is where there is none, HU.
const SOFT_DEFAULT_HU: f32 = 40.0;
/// How far shading and enhancement may move the peak of soft tissue from place to place, HU.
const SHADING_HU: [f32; 2] = [-110.0, 60.0];
/// Width of a histogram's bin, HU, and the standard deviation of its smoothing, in bins.
const BIN_HU: f32 = 10.0;
const SMOOTHING_BINS: f64 = 1.5;
/// A peak below this is fat's where the body has one peak, HU; in a tile, one so far below the body's, HU.
const FAT_HU: f32 = 0.0;
const FAT_BELOW_SOFT_HU: f32 = 45.0;
/// A tile's level so far below the median around it is another tissue's, and one so far above, HU: fat lowers it by more than
/// marrow and contrast medium raise it.
const STANDS_BELOW_HU: f32 = FAT_BELOW_SOFT_HU;
const STANDS_ABOVE_HU: f32 = 30.0;
/// Where fat outweighs muscle, a higher peak is soft tissue if it is at least this share of fat's, and rises out of the
/// valley between them by this share of itself.
const PEAK_SHARE: f64 = 0.2;
const PEAK_RISE: f64 = 0.1;
/// Peaks are looked for so far beyond the limits, so that a slope that ends there is not taken for one, HU.
const MARGIN_HU: f32 = 60.0;
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
    /// The peak of soft tissue in the whole body, HU.
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
        let soft_hu = soft_peak(hu.iter().copied(), SOFT_HU, FAT_HU).unwrap_or(SOFT_DEFAULT_HU);
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
        for (tile, soft) in soft.iter_mut().enumerate() {
            let limits = SHADING_HU.map(|by| soft_hu + by);
            let values = near(&outside, &tiles, tile).into_iter();
            *soft = soft_peak(values, limits, soft_hu - FAT_BELOW_SOFT_HU).unwrap_or(soft_hu);
        }
        let soft = without_lone(&soft, &tiles);
        let mut border = vec![0.0; tiles.len()];
        for tile in 0..tiles.len() {
            let near = near(&members, &tiles, tile);
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

/// Each tile's level, or the median around it where it stands alone: shading is smooth, so such a level is that of other
/// tissue, as where noise blurs fat and a little muscle into one peak, or where marrow or contrast medium outweighs muscle.
fn without_lone(levels: &[f32], tiles: &Lattice) -> Vec<f32> {
    let members: Vec<Vec<f32>> = levels.iter().map(|level| vec![*level]).collect();
    (0..tiles.len())
        .map(|tile| {
            let mut near = near(&members, tiles, tile);
            let middle = (near.len() - 1) / 2;
            let median = *near.select_nth_unstable_by(middle, f32::total_cmp).1;
            let is_lone = levels[tile] < median - STANDS_BELOW_HU || levels[tile] > median + STANDS_ABOVE_HU;
            if is_lone { median } else { levels[tile] }
        })
        .collect()
}

/// Soft tissue's own peak among values between two limits, where one below `fat_hu` may be fat's; none for too few values,
/// or where no peak lies between the limits.
fn soft_peak(values: impl Iterator<Item = f32>, [low, high]: [f32; 2], fat_hu: f32) -> Option<f32> {
    let first_hu = low - MARGIN_HU;
    let counts = smooth_histogram(values, [first_hu, high + MARGIN_HU])?;
    let value = |bin: usize| first_hu + (bin as f32 + 0.5) * BIN_HU;
    let peaks: Vec<usize> = (1..counts.len().saturating_sub(1))
        .filter(|bin| counts[*bin] > counts[bin - 1] && counts[*bin] >= counts[bin + 1])
        .filter(|bin| value(*bin) >= low && value(*bin) < high)
        .collect();
    let tallest_of = |peaks: &[usize]| {
        peaks.iter().copied().max_by(|a, b| counts[*a].total_cmp(&counts[*b]).then(b.cmp(a)))
    };
    let tallest = tallest_of(&peaks)?;
    let above_fat: Vec<usize> = peaks.iter().copied().filter(|bin| value(*bin) >= fat_hu).collect();
    let upper = tallest_of(&above_fat).filter(|upper| {
        let valley = counts[tallest.min(*upper)..*upper].iter().copied().fold(f64::INFINITY, f64::min);
        let is_plain = counts[*upper] - valley >= PEAK_RISE * counts[*upper];
        *upper == tallest || (counts[*upper] >= PEAK_SHARE * counts[tallest] && is_plain)
    });
    Some(value(upper.unwrap_or(tallest)))
}

/// Counts between two limits, smoothed; none for too few values.
fn smooth_histogram(values: impl Iterator<Item = f32>, [low, high]: [f32; 2]) -> Option<Vec<f64>> {
    let bins = ((high - low) / BIN_HU).round() as usize;
    let mut counts = vec![0_usize; bins];
    let mut total = 0;
    for value in values.filter(|value| *value >= low && *value < high) {
        counts[(((value - low) / BIN_HU) as usize).min(bins - 1)] += 1;
        total += 1;
    }
    let reach = (3.0 * SMOOTHING_BINS).ceil() as usize;
    let smooth = (0..bins).map(|bin| {
        let near = bin.saturating_sub(reach)..(bin + reach + 1).min(bins);
        let weight = |other: usize| (-0.5 * (bin.abs_diff(other) as f64 / SMOOTHING_BINS).powi(2)).exp();
        near.map(|other| weight(other) * counts[other] as f64).sum()
    });
    (total >= VOXELS_MIN).then(|| smooth.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a Gaussian distribution, evenly drawn.
    fn bell(mean: f32, sigma: f32, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| {
                // The sum of three sawteeth is bell-shaped; its variance is a quarter.
                let share = |step: f32| (i as f32 * step).fract() - 0.5;
                mean + 2.0 * sigma * (share(0.618_034) + share(0.414_214) + share(0.732_051))
            })
            .collect()
    }

    #[test]
    fn soft_tissue_is_the_upper_peak_where_fat_outweighs_it() {
        let values = [bell(-85.0, 25.0, 4000), bell(30.0, 25.0, 2000)].concat();
        let peak = soft_peak(values.into_iter(), [-110.0, 160.0], FAT_HU).unwrap();
        assert!((peak - 30.0).abs() <= 10.0, "{peak}");
    }

    #[test]
    fn levels_keep_smooth_shading_and_lose_what_stands_alone() {
        let tiles = Lattice { shape: [5, 5, 7], spacing_mm: [TILE_MM; 3] };
        let shaded = |tile: usize| 40.0 - 10.0 * tiles.position(tile)[2] as f32;
        let levels: Vec<f32> = (0..tiles.len())
            .map(|tile| match tiles.position(tile) {
                [2, 1 | 2, 3] => -70.0,
                [3, 4, 2] => shaded(tile) + 35.0,
                _ => shaded(tile),
            })
            .collect();
        let cleared = without_lone(&levels, &tiles);
        for tile in (0..tiles.len()).filter(|tile| (1..6).contains(&tiles.position(*tile)[2])) {
            assert!((cleared[tile] - shaded(tile)).abs() <= 1.0, "{tile}: {}", cleared[tile]);
        }
    }

    #[test]
    fn a_slope_that_ends_at_a_limit_is_no_peak() {
        let values = [bell(-85.0, 25.0, 4000), bell(30.0, 25.0, 500)].concat();
        let peak = soft_peak(values.into_iter(), [-60.0, 160.0], FAT_HU).unwrap();
        assert!((peak - 30.0).abs() <= 10.0, "{peak}");
    }

    #[test]
    fn a_smaller_peak_above_soft_tissue_is_not_taken_for_it() {
        let values = [bell(40.0, 20.0, 4000), bell(130.0, 20.0, 2000)].concat();
        let peak = soft_peak(values.into_iter(), [-60.0, 160.0], FAT_HU).unwrap();
        assert!((peak - 40.0).abs() <= 10.0, "{peak}");
    }
}
