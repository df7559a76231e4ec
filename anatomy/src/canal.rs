//! The spinal canal: the soft hole in the middle of the back that runs through many slices.

use crate::body::Body;
use crate::components::holes_of_slice;
use crate::levels::Levels;
use rayon::prelude::*;

/// Area of the canal in an axial slice, mm².
const AREA_MM2: [f64; 2] = [70.0, 900.0];
/// Its content against soft tissue: dural sac with some fat, HU.
const CONTENT_HU: [f32; 2] = [-75.0, 45.0];
/// How fast its centre may move from slice to slice: mm for each mm of height, a slack, and the most over any gap, mm.
const SLOPE_MAX: f64 = 0.9;
const SLACK_MM: f64 = 2.5;
const MOVE_MAX_MM: f64 = 12.0;
/// Slices without a closed ring between two with one: the gaps between laminae, as thick slices show them, mm.
const GAP_MAX_MM: f64 = 32.0;
/// Least length that is a canal and not a marrow cavity seen once, mm.
const LENGTH_MIN_MM: f64 = 12.0;
/// Farther than this from the body's middle plane lie the marrow cavities of limbs and hips, mm.
const OFF_MIDDLE_MAX_MM: f64 = 60.0;

/// The canal in one slice.
#[derive(Clone, Debug)]
pub struct CanalSlice {
    /// Slice of the body's lattice.
    pub z: usize,
    /// Centre: row and column, fractional.
    pub centre: [f64; 2],
    /// Its voxels: row and column.
    pub voxels: Vec<(usize, usize)>,
}

/// Finds the longest run of holes that lie over each other; empty where there is none.
///
/// `rings` is bone with small gaps closed, so that a slice through the pedicles shows a ring.
pub fn find(body: &Body, levels: &Levels, rings: &[bool]) -> Vec<CanalSlice> {
    let candidates: Vec<Vec<CanalSlice>> = (0..body.lattice.shape[0])
        .into_par_iter()
        .map(|z| candidates_of_slice(body, levels, rings, z))
        .collect();
    let candidates: Vec<CanalSlice> = candidates.into_iter().flatten().collect();
    let chain = longest_chain(&candidates, body.lattice.spacing_mm);
    let length = match (chain.first(), chain.last()) {
        (Some(first), Some(last)) => {
            (candidates[*last].z - candidates[*first].z) as f64 * body.lattice.spacing_mm[0]
        }
        _ => 0.0,
    };
    if length < LENGTH_MIN_MM {
        return Vec::new();
    }
    chain.into_iter().map(|i| candidates[i].clone()).collect()
}

/// Middle column of the body in a slice.
fn middle_column(body: &Body, z: usize) -> Option<f64> {
    let [_, ny, nx] = body.lattice.shape;
    let slice = &body.inside[z * ny * nx..(z + 1) * ny * nx];
    let mut first = nx;
    let mut last = 0;
    for line in slice.chunks(nx) {
        if let Some(x) = line.iter().position(|inside| *inside) {
            first = first.min(x);
            last = last.max(line.iter().rposition(|inside| *inside).unwrap_or(x));
        }
    }
    (first <= last).then(|| (first + last) as f64 / 2.0)
}

fn candidates_of_slice(body: &Body, levels: &Levels, rings: &[bool], z: usize) -> Vec<CanalSlice> {
    let [_, ny, nx] = body.lattice.shape;
    let [_, sy, sx] = body.lattice.spacing_mm;
    let Some(middle) = middle_column(body, z) else { return Vec::new() };
    let slice = z * ny * nx;
    let mut found = Vec::new();
    for hole in holes_of_slice(ny, nx, |y, x| rings[slice + y * nx + x]) {
        let area = hole.len() as f64 * sy * sx;
        if !(AREA_MM2[0]..=AREA_MM2[1]).contains(&area) {
            continue;
        }
        let count = hole.len() as f64;
        let centre = [
            hole.iter().map(|(y, _)| *y as f64).sum::<f64>() / count,
            hole.iter().map(|(_, x)| *x as f64).sum::<f64>() / count,
        ];
        let mean = hole.iter().map(|(y, x)| body.hu[slice + y * nx + x]).sum::<f32>() / count as f32;
        let content = mean - levels.soft([z, centre[0] as usize, centre[1] as usize]);
        let is_central = (centre[1] - middle).abs() * sx < OFF_MIDDLE_MAX_MM;
        if is_central && content > CONTENT_HU[0] && content < CONTENT_HU[1] {
            found.push(CanalSlice { z, centre, voxels: hole });
        }
    }
    found
}

/// The chain with the largest area among those that move no faster than a spine does, as indices in order of z.
fn longest_chain(candidates: &[CanalSlice], [sz, sy, sx]: [f64; 3]) -> Vec<usize> {
    let mut best: Vec<(f64, Option<usize>)> = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let mut chosen = (0.0, None);
        for (before, previous) in candidates[..index].iter().enumerate().rev() {
            let height = (candidate.z - previous.z) as f64 * sz;
            if height > GAP_MAX_MM {
                break;
            }
            let moved = ((candidate.centre[0] - previous.centre[0]) * sy)
                .hypot((candidate.centre[1] - previous.centre[1]) * sx);
            if height > 0.0
                && moved <= (SLACK_MM + SLOPE_MAX * height).min(MOVE_MAX_MM)
                && best[before].0 > chosen.0
            {
                chosen = (best[before].0, Some(before));
            }
        }
        // The root keeps one wide hole from outweighing a long canal.
        best.push((chosen.0 + (candidate.voxels.len() as f64 * sy * sx).sqrt(), chosen.1));
    }
    let mut at = (0..best.len()).max_by(|a, b| best[*a].0.total_cmp(&best[*b].0));
    let mut chain = Vec::new();
    while let Some(index) = at {
        chain.push(index);
        at = best[index].1;
    }
    chain.reverse();
    chain
}
