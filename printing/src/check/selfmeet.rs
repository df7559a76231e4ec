//! Triangles of one mesh that meet elsewhere than in what they share.

use super::intersect::{meet, meet_beyond_corner, meet_beyond_side};
use super::topology::{PLACES_LISTED, Topology};
use crate::bvh::{Bounds, Bvh};
use rayon::prelude::*;

/// The search ends after the first batch that brings it here: such a mesh is beyond counting.
const MEETINGS_MOST: usize = 1_000_000;
/// Pairs looked at, likewise: a heap of large triangles in one place.
const CANDIDATES_MOST: usize = 400_000_000;
/// Triangles looked at between two looks at those limits.
const BATCH: usize = 4096;

/// What was found.
pub(super) struct SelfMeetings {
    pub pairs: usize,
    pub faces: usize,
    pub places: Vec<[f32; 3]>,
    pub is_complete: bool,
}

impl SelfMeetings {
    /// Every pair of proper triangles; degenerate and duplicate ones are counted as such.
    pub fn find(topology: &Topology) -> Self {
        let proper: Vec<[u32; 3]> = topology
            .triangles
            .iter()
            .zip(&topology.is_proper)
            .filter_map(|(&triangle, &is_proper)| is_proper.then_some(triangle))
            .collect();
        let boxes: Vec<Bounds> = proper.par_iter().map(|t| Bounds::of(&topology.corners(t))).collect();
        let tree = Bvh::new(&boxes);
        let mut is_meeting = vec![false; proper.len()];
        let mut found = Self { pairs: 0, faces: 0, places: Vec::new(), is_complete: true };
        let mut candidates = 0;
        for start in (0..proper.len()).step_by(BATCH) {
            let batch: Vec<(usize, Vec<(u32, u32)>)> = (start..proper.len().min(start + BATCH))
                .into_par_iter()
                .map(|i| {
                    let mut looked_at = 0;
                    let mut pairs = Vec::new();
                    tree.for_each_overlap(&boxes[i], |j| {
                        if j as usize > i {
                            looked_at += 1;
                            if do_meet(topology, &proper[i], &proper[j as usize]) {
                                pairs.push((i as u32, j));
                            }
                        }
                    });
                    pairs.sort_unstable();
                    (looked_at, pairs)
                })
                .collect();
            for (looked_at, pairs) in batch {
                candidates += looked_at;
                for (i, j) in pairs {
                    found.pairs += 1;
                    is_meeting[i as usize] = true;
                    is_meeting[j as usize] = true;
                    if found.places.len() < PLACES_LISTED {
                        found.places.push(topology.corners(&proper[i as usize])[0]);
                    }
                }
            }
            if found.pairs > MEETINGS_MOST || candidates > CANDIDATES_MOST {
                found.is_complete = start + BATCH >= proper.len();
                break;
            }
        }
        found.faces = is_meeting.iter().filter(|&&is| is).count();
        found
    }
}

fn do_meet(topology: &Topology, a: &[u32; 3], b: &[u32; 3]) -> bool {
    triangles_meet(a, b, |place| topology.places_mm[place as usize])
}

/// Whether two triangles with an area meet elsewhere than in corners and sides that they share by number.
pub(crate) fn triangles_meet(a: &[u32; 3], b: &[u32; 3], place: impl Fn(u32) -> [f32; 3]) -> bool {
    let shared = [0, 1, 2].map(|i| b.iter().position(|&corner| corner == a[i]));
    let corners = |t: &[u32; 3]| [place(t[0]), place(t[1]), place(t[2])];
    let (ca, cb) = (corners(a), corners(b));
    match shared {
        [None, None, None] => meet(ca, cb),
        [Some(_), Some(_), Some(_)] => true,
        _ => {
            let count = shared.iter().flatten().count();
            if count == 1 {
                let i = shared.iter().position(Option::is_some).expect("one is shared");
                let j = shared[i].expect("this one");
                return meet_beyond_corner(turned(ca, i), turned(cb, j));
            }
            let alone = shared.iter().position(Option::is_none).expect("one is not shared");
            let other = (0..3).find(|j| !shared.contains(&Some(*j))).expect("one is not shared");
            meet_beyond_side(turned(ca, (alone + 1) % 3), cb[other])
        }
    }
}

/// The same triangle with another corner first.
fn turned(corners: [[f32; 3]; 3], first: usize) -> [[f32; 3]; 3] {
    [0, 1, 2].map(|i| corners[(first + i) % 3])
}
