//! Telling bone from iodine where both are bright.
//!
//! Contrast-filled blood is *even* over several millimetres, in a connected pool, and its rim is *darker* than its
//! inside; cancellous bone is either uneven or lies in a *brighter* cortical shell. The rule:
//!
//! 1. A voxel above 130 HU is even when the standard deviation over the 7 mm cube around it is under 12 % of the
//!    mean plus 25 HU (the noise of a clinical CT at 1-2 mm is 10-25 HU); or when the whole cube is above 600 HU:
//!    undiluted contrast is that dense through and through, bone is a shell.
//! 2. Even voxels form pools by their faces. A pool under 0.5 ml is not blood.
//! 3. The rim of a pool are the voxels within 7 mm of it that do not belong to it. When more than a fifth of the rim
//!    is brighter than the pool's mean plus 80 HU, the pool is marrow in its shell, else blood.
//! 4. Around blood the excess attenuation counts as iodine up to 5 mm from its even inside (which ends some 3.5 mm
//!    before its wall) and ever less up to 8 mm, so no edge appears in
//!    the densities; except in voxels 150 HU brighter than the pool, which are bone or calcified wall.
//! 5. Marrow, and what is above 350 HU and not near blood, is bone. The excess of everything further than 9 mm (fading
//!    up to 13 mm) from any bone is iodine: enhancing organs and vessels of the lung.
//!
//! Limits: teeth and the petrous bone are solid and pass for contrast; small vessels near bone, and dense contrast with streaks around it, come out as bone; noise above 100 HU in
//! soft tissue takes the kind of what is near. Labels given by the caller win.

use crate::patient::label;
use ndarray::Array3;

const EVEN_HALF_WIDTH_MM: f64 = 3.5;
const RIM_MM: f64 = 7.0;
const REACH_MM: f64 = 8.0;
const CERTAIN_MM: f64 = 5.0;
const SOLID_HU: f32 = 600.0;
const POOL_MIN_MM3: f64 = 500.0;
const CORTICAL_HU: f32 = 350.0;
const BONE_CERTAIN_MM: f64 = 9.0;
const BONE_REACH_MM: f64 = 13.0;

/// Share of the excess attenuation that is iodine, by the rule of this module. `values`: HU `[z, y, x]`.
pub(crate) fn iodine_share(values: &Array3<f32>, spacing_mm: [f64; 3]) -> Array3<f32> {
    let even = even_and_bright(values, spacing_mm);
    let mut share = Array3::zeros(values.raw_dim());
    let mut pool_of = Array3::<u32>::zeros(values.raw_dim());
    let mut is_marrow = Array3::from_elem(values.raw_dim(), false);
    let mut rim_seen = Array3::<u32>::zeros(values.raw_dim());
    let voxel_mm3: f64 = spacing_mm.iter().product();
    let mut pools = 0;
    for (start, is_even) in even.indexed_iter() {
        if !is_even || pool_of[start] != 0 {
            continue;
        }
        pools += 1;
        let pool = flood(&even, &mut pool_of, start, pools);
        if pool.len() as f64 * voxel_mm3 < POOL_MIN_MM3 {
            continue;
        }
        let mean = pool.iter().map(|at| f64::from(values[*at])).sum::<f64>() / pool.len() as f64;
        let mean = mean as f32;
        let is_solid = mean > SOLID_HU;
        if !is_solid && has_brighter_shell(values, &pool, &pool_of, &mut rim_seen, mean, spacing_mm) {
            pool.iter().for_each(|at| is_marrow[*at] = true);
        } else {
            let brightest = if is_solid { f32::INFINITY } else { mean + 150.0 };
            spread(values, &pool, &mut share, brightest, spacing_mm);
        }
    }
    let is_bone = Array3::from_shape_fn(values.dim(), |at| {
        share[at] == 0.0 && (is_marrow[at] || values[at] > CORTICAL_HU)
    });
    away_from_bone(&is_bone, &mut share, spacing_mm);
    share
}

/// Raises the share to 1 where no bone is near.
fn away_from_bone(is_bone: &Array3<bool>, share: &mut Array3<f32>, spacing_mm: [f64; 3]) {
    let mut distance = Array3::from_elem(is_bone.dim(), f32::INFINITY);
    for (at, _) in is_bone.indexed_iter().filter(|(_, bone)| **bone) {
        distance[at] = 0.0;
        // Only voxels beside something else have anything to tell.
        if neighbours(at, is_bone.dim()).any(|n| !is_bone[n]) {
            ball(at, is_bone.dim(), BONE_REACH_MM, spacing_mm, |n, mm| {
                distance[n] = distance[n].min(mm as f32)
            });
        }
    }
    let fade = (BONE_REACH_MM - BONE_CERTAIN_MM) as f32;
    for (share, mm) in share.iter_mut().zip(&distance) {
        *share = share.max(((mm - BONE_CERTAIN_MM as f32) / fade).clamp(0.0, 1.0));
    }
}

/// Share of the excess attenuation that is iodine, from labels: 1 in blood, 0 in bone, and in voxels of neither kind
/// that of a labelled voxel within three steps along the axes (bone first), 1 where there is none.
pub(crate) fn iodine_share_from_labels(labels: &Array3<u8>) -> Array3<f32> {
    const UNKNOWN: u8 = 0;
    let mut kind = labels.mapv(|value| match value {
        label::CONTRAST_BLOOD | label::BONE => value,
        _ => UNKNOWN,
    });
    for _ in 0..3 {
        let before = kind.clone();
        for (at, value) in kind.indexed_iter_mut() {
            if *value == UNKNOWN {
                *value = neighbours(at, before.dim()).map(|n| before[n]).max().unwrap_or(UNKNOWN);
            }
        }
    }
    kind.mapv(|value| if value == label::BONE { 0.0 } else { 1.0 })
}

type Index = (usize, usize, usize);

/// The up to six voxels that share a face.
fn neighbours(at: Index, size: Index) -> impl Iterator<Item = Index> {
    let (z, y, x) = at;
    [
        (z > 0).then(|| (z - 1, y, x)),
        (z + 1 < size.0).then_some((z + 1, y, x)),
        (y > 0).then(|| (z, y - 1, x)),
        (y + 1 < size.1).then_some((z, y + 1, x)),
        (x > 0).then(|| (z, y, x - 1)),
        (x + 1 < size.2).then_some((z, y, x + 1)),
    ]
    .into_iter()
    .flatten()
}

fn even_and_bright(values: &Array3<f32>, spacing_mm: [f64; 3]) -> Array3<bool> {
    let mean = box_mean(values.mapv(|hu| hu.max(-1000.0)), spacing_mm);
    let square = box_mean(values.mapv(|hu| hu.max(-1000.0).powi(2)), spacing_mm);
    let least = box_least(values.clone(), spacing_mm);
    ndarray::Zip::from(values).and(&mean).and(&square).and(&least).map_collect(|hu, mean, square, least| {
        let deviation = (square - mean * mean).max(0.0).sqrt();
        (*hu > 130.0 && deviation < 0.12 * mean + 25.0) || *least > SOLID_HU
    })
}

/// Least over the cube of [`EVEN_HALF_WIDTH_MM`], cut at the borders.
fn box_least(mut values: Array3<f32>, spacing_mm: [f64; 3]) -> Array3<f32> {
    for axis in 0..3 {
        let half = half_width(spacing_mm[2 - axis]);
        let mut before = Vec::new();
        for mut lane in values.lanes_mut(ndarray::Axis(axis)) {
            before.clear();
            before.extend(lane.iter().copied());
            for (at, value) in lane.iter_mut().enumerate() {
                let near = &before[at.saturating_sub(half)..(at + half + 1).min(before.len())];
                *value = near.iter().copied().fold(f32::INFINITY, f32::min);
            }
        }
    }
    values
}

fn half_width(spacing_mm: f64) -> usize {
    ((EVEN_HALF_WIDTH_MM / spacing_mm).round() as usize).max(1)
}

/// Mean over the cube of [`EVEN_HALF_WIDTH_MM`], cut at the borders; one axis after the other.
fn box_mean(mut values: Array3<f32>, spacing_mm: [f64; 3]) -> Array3<f32> {
    for axis in 0..3 {
        let half = half_width(spacing_mm[2 - axis]);
        let mut sums = Vec::new();
        for mut lane in values.lanes_mut(ndarray::Axis(axis)) {
            sums.clear();
            sums.push(0.0_f64);
            let mut sum = 0.0;
            for value in &lane {
                sum += f64::from(*value);
                sums.push(sum);
            }
            let n = lane.len();
            for (at, value) in lane.iter_mut().enumerate() {
                let (low, high) = (at.saturating_sub(half), (at + half + 1).min(n));
                *value = ((sums[high] - sums[low]) / (high - low) as f64) as f32;
            }
        }
    }
    values
}

fn flood(even: &Array3<bool>, pool_of: &mut Array3<u32>, start: Index, pool: u32) -> Vec<Index> {
    let mut members = vec![start];
    pool_of[start] = pool;
    let mut next = 0;
    while next < members.len() {
        let at = members[next];
        next += 1;
        for n in neighbours(at, even.dim()) {
            if even[n] && pool_of[n] == 0 {
                pool_of[n] = pool;
                members.push(n);
            }
        }
    }
    members
}

/// Calls `visit` with every voxel within `reach_mm` of `at` and its distance.
fn ball(at: Index, size: Index, reach_mm: f64, spacing_mm: [f64; 3], mut visit: impl FnMut(Index, f64)) {
    let range = |at: usize, size: usize, spacing: f64| {
        let half = (reach_mm / spacing) as usize;
        at.saturating_sub(half)..(at + half + 1).min(size)
    };
    let [sx, sy, sz] = spacing_mm;
    let offset = |a: usize, b: usize, spacing: f64| ((a as f64 - b as f64) * spacing).powi(2);
    for z in range(at.0, size.0, sz) {
        for y in range(at.1, size.1, sy) {
            for x in range(at.2, size.2, sx) {
                let distance = (offset(z, at.0, sz) + offset(y, at.1, sy) + offset(x, at.2, sx)).sqrt();
                if distance <= reach_mm {
                    visit((z, y, x), distance);
                }
            }
        }
    }
}

/// Members that touch something else: all that a walk around the pool needs.
fn surface<'a>(pool: &'a [Index], pool_of: &'a Array3<u32>) -> impl Iterator<Item = Index> + 'a {
    pool.iter().copied().filter(|at| neighbours(*at, pool_of.dim()).any(|n| pool_of[n] != pool_of[*at]))
}

fn has_brighter_shell(
    values: &Array3<f32>,
    pool: &[Index],
    pool_of: &Array3<u32>,
    rim_seen: &mut Array3<u32>,
    mean: f32,
    spacing_mm: [f64; 3],
) -> bool {
    let id = pool_of[pool[0]];
    let (mut rim, mut brighter) = (0_usize, 0_usize);
    for at in surface(pool, pool_of) {
        ball(at, values.dim(), RIM_MM, spacing_mm, |n, _| {
            if pool_of[n] != id && rim_seen[n] != id {
                rim_seen[n] = id;
                rim += 1;
                brighter += usize::from(values[n] > mean + 80.0);
            }
        });
    }
    5 * brighter > rim
}

fn spread(
    values: &Array3<f32>,
    pool: &[Index],
    share: &mut Array3<f32>,
    brightest: f32,
    spacing_mm: [f64; 3],
) {
    for at in pool {
        share[*at] = 1.0;
    }
    let size = values.dim();
    for at in pool {
        // Only members beside a voxel that is not surely blood yet have anything to spread to.
        if neighbours(*at, size).all(|n| share[n] >= 1.0) {
            continue;
        }
        ball(*at, size, REACH_MM, spacing_mm, |n, distance| {
            if values[n] < brightest {
                let falling = ((REACH_MM - distance) / (REACH_MM - CERTAIN_MM)).min(1.0) as f32;
                share[n] = share[n].max(falling);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Soft tissue with an artery of 20 mm, a vertebra-like block (marrow of 200 HU in a shell of 700), both long.
    fn scene() -> Array3<f32> {
        Array3::from_shape_fn((30, 60, 80), |(_, y, x)| {
            let (y, x) = (y as f32, x as f32);
            let radius = ((y - 30.0).powi(2) + (x - 20.0).powi(2)).sqrt();
            let edge = (y - 30.0).abs().max((x - 55.0).abs());
            let texture = if (y as i32 + x as i32) % 2 == 0 { 8.0 } else { -8.0 };
            texture
                + match () {
                    () if radius < 10.0 => 330.0,
                    () if edge < 12.0 => 200.0,
                    () if edge < 15.0 => 700.0,
                    () => 50.0,
                }
        })
    }

    #[test]
    fn bone_rule_keeps_an_artery_iodine_and_marrow_bone() {
        let share = iodine_share(&scene(), [1.0, 1.0, 2.0]);
        assert_eq!(share[[15, 30, 20]], 1.0);
        assert_eq!(share[[15, 30, 29]], 1.0, "the artery's rim");
        assert_eq!(share[[15, 30, 55]], 0.0, "marrow");
        assert_eq!(share[[15, 30, 68]], 0.0, "cortex");
        let fading = share[[15, 30, 32]];
        assert!(fading > 0.0 && fading < 1.0, "{fading}");
    }

    #[test]
    fn bone_rule_takes_a_solid_dense_blob_for_contrast_and_a_dense_shell_for_bone() {
        let values = Array3::from_shape_fn((24, 40, 80), |(z, y, x)| {
            let radius = |cx: f32| ((y as f32 - 20.0).powi(2) + (x as f32 - cx).powi(2)).sqrt();
            let streak = if (x / 2 + z) % 2 == 0 { 700.0 } else { -700.0 };
            match (radius(18.0), radius(58.0)) {
                (vein, _) if vein < 9.0 => 2000.0 + streak,
                (_, shaft) if (8.0..13.0).contains(&shaft) => 1500.0,
                _ => 40.0,
            }
        });
        let share = iodine_share(&values, [1.0, 1.0, 2.0]);
        assert_eq!((share[[12, 20, 18]], share[[12, 20, 68]]), (1.0, 0.0));
    }

    #[test]
    fn bone_labels_decide_and_reach_three_steps() {
        let mut labels = Array3::zeros((3, 3, 12));
        labels[[1, 1, 2]] = label::BONE;
        labels[[1, 1, 8]] = label::CONTRAST_BLOOD;
        let share = iodine_share_from_labels(&labels);
        assert_eq!(
            (share[[1, 1, 2]], share[[1, 1, 4]], share[[1, 1, 8]], share[[1, 1, 7]]),
            (0.0, 0.0, 1.0, 1.0)
        );
    }
}
