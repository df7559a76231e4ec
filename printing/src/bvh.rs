//! A tree of boxes around items that lie in space: who overlaps a box, which item is nearest to a point.

use rayon::prelude::*;

/// An axis-aligned box: least and greatest corner, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub low: [f32; 3],
    pub high: [f32; 3],
}

impl Bounds {
    pub const EMPTY: Self = Self { low: [f32::INFINITY; 3], high: [f32::NEG_INFINITY; 3] };

    pub fn of(points: &[[f32; 3]]) -> Self {
        points.iter().fold(Self::EMPTY, |bounds, &point| bounds.union(&Self { low: point, high: point }))
    }

    pub fn union(&self, other: &Self) -> Self {
        Self {
            low: [0, 1, 2].map(|i| self.low[i].min(other.low[i])),
            high: [0, 1, 2].map(|i| self.high[i].max(other.high[i])),
        }
    }

    /// Touching counts.
    pub fn overlaps(&self, other: &Self) -> bool {
        (0..3).all(|i| self.low[i] <= other.high[i] && other.low[i] <= self.high[i])
    }

    pub fn distance_squared(&self, point: [f64; 3]) -> f64 {
        (0..3)
            .map(|i| {
                (f64::from(self.low[i]) - point[i]).max(point[i] - f64::from(self.high[i])).max(0.0).powi(2)
            })
            .sum()
    }

    fn centre(&self) -> [f32; 3] {
        [0, 1, 2].map(|i| 0.5 * self.low[i] + 0.5 * self.high[i])
    }
}

/// Items in the order of their places along a space-filling curve, in leaves of [`LEAF`], with a box for each node
/// of a complete binary tree above the leaves.
pub struct Bvh {
    order: Vec<u32>,
    item_boxes: Vec<Bounds>,
    /// `levels[0]` are the leaves; each further level halves the number, the last one is the root.
    levels: Vec<Vec<Bounds>>,
}

const LEAF: usize = 4;

impl Bvh {
    /// `boxes`: one an item, finite.
    pub fn new(boxes: &[Bounds]) -> Self {
        let whole = boxes.iter().fold(Bounds::EMPTY, |all, item| all.union(item));
        let mut keys: Vec<(u64, u32)> =
            boxes.par_iter().enumerate().map(|(i, item)| (curve_key(item, &whole), i as u32)).collect();
        keys.par_sort_unstable();
        let order: Vec<u32> = keys.into_iter().map(|(_, item)| item).collect();
        let item_boxes: Vec<Bounds> = order.iter().map(|&item| boxes[item as usize]).collect();
        let join = |group: &[Bounds]| group.iter().fold(Bounds::EMPTY, |all, item| all.union(item));
        let mut levels: Vec<Vec<Bounds>> = vec![item_boxes.chunks(LEAF).map(join).collect()];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let next = below.chunks(2).map(join).collect();
            levels.push(next);
        }
        Self { order, item_boxes, levels }
    }

    /// Calls `visit` with every item whose box overlaps.
    pub fn for_each_overlap(&self, bounds: &Bounds, mut visit: impl FnMut(u32)) {
        let mut stack = [(0_u8, 0_u32); 128];
        stack[0] = (self.levels.len() as u8 - 1, 0);
        let mut height = usize::from(!self.order.is_empty());
        while height > 0 {
            height -= 1;
            let (level, node) = stack[height];
            if !self.levels[level as usize][node as usize].overlaps(bounds) {
                continue;
            }
            if level == 0 {
                let start = node as usize * LEAF;
                for at in start..(start + LEAF).min(self.order.len()) {
                    if self.item_boxes[at].overlaps(bounds) {
                        visit(self.order[at]);
                    }
                }
                continue;
            }
            for child in [2 * node, 2 * node + 1] {
                if (child as usize) < self.levels[level as usize - 1].len() {
                    stack[height] = (level - 1, child);
                    height += 1;
                }
            }
        }
    }

    /// The nearest item and the square of its distance, by `distance_squared(item)`; none nearer than the square
    /// root of `most` gives `None`.
    pub fn nearest(
        &self,
        point: [f64; 3],
        most: f64,
        mut distance_squared: impl FnMut(u32) -> f64,
    ) -> Option<(u32, f64)> {
        let mut best: Option<(u32, f64)> = None;
        let mut limit = most;
        // A way down leaves one sibling a level behind: more than twice as many levels as there can be.
        let mut stack = [(0_u32, 0_u32, 0.0_f64); 128];
        let mut height = usize::from(!self.order.is_empty());
        let top = self.levels.len() - 1;
        stack[0] = (top as u32, 0, self.levels[top].first().map_or(0.0, |root| root.distance_squared(point)));
        while height > 0 {
            height -= 1;
            let (level, node, bound) = stack[height];
            if bound > limit {
                continue;
            }
            if level == 0 {
                let start = node as usize * LEAF;
                for at in start..(start + LEAF).min(self.order.len()) {
                    if self.item_boxes[at].distance_squared(point) > limit {
                        continue;
                    }
                    let found = distance_squared(self.order[at]);
                    if found < limit || (best.is_none() && found <= limit) {
                        limit = found;
                        best = Some((self.order[at], found));
                    }
                }
                continue;
            }
            let below = &self.levels[level as usize - 1];
            let child =
                |child: u32| below.get(child as usize).map(|b| (level - 1, child, b.distance_squared(point)));
            // The nearer one last, so that it is looked at first.
            let (first, second) = (child(2 * node), child(2 * node + 1));
            let is_first_nearer = matches!((first, second), (Some(a), Some(b)) if a.2 < b.2);
            let order = if is_first_nearer { [second, first] } else { [first, second] };
            for next in order.into_iter().flatten() {
                stack[height] = next;
                height += 1;
            }
        }
        best
    }
}

/// Place along a Morton curve through the whole box, 21 bits an axis.
fn curve_key(item: &Bounds, whole: &Bounds) -> u64 {
    let centre = item.centre();
    (0..3).fold(0, |key, i| {
        let extent = f64::from(whole.high[i]) - f64::from(whole.low[i]);
        let part = if extent > 0.0 { (f64::from(centre[i]) - f64::from(whole.low[i])) / extent } else { 0.0 };
        key | spread((part.clamp(0.0, 1.0) * 2_097_151.0) as u64) << i
    })
}

/// The low 21 bits with two zero bits between neighbours.
fn spread(bits: u64) -> u64 {
    let mut x = bits & 0x1f_ffff;
    for (shift, keep) in [
        (32, 0x001f_0000_0000_ffff),
        (16, 0x001f_0000_ff00_00ff),
        (8, 0x100f_00f0_0f00_f00f),
        (4, 0x10c3_0c30_c30c_30c3),
        (2, 0x1249_2492_4924_9249),
    ] {
        x = (x | x << shift) & keep;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scattered(count: usize) -> Vec<Bounds> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count)
            .map(|_| {
                let low = [next() * 10.0, next() * 10.0, next()];
                Bounds { low, high: low.map(|x| x + next() * 0.7) }
            })
            .collect()
    }

    #[test]
    fn bvh_finds_what_looking_at_every_box_finds() {
        for count in [0, 1, 3, 4, 5, 17, 600] {
            let boxes = scattered(count);
            let tree = Bvh::new(&boxes);
            for query in scattered(20) {
                let mut found = Vec::new();
                tree.for_each_overlap(&query, |item| found.push(item));
                found.sort_unstable();
                let expected: Vec<u32> =
                    (0..count as u32).filter(|&i| boxes[i as usize].overlaps(&query)).collect();
                assert_eq!(found, expected);
                let point = query.low.map(f64::from);
                let nearest =
                    tree.nearest(point, f64::INFINITY, |i| boxes[i as usize].distance_squared(point));
                let least = boxes.iter().map(|b| b.distance_squared(point)).min_by(f64::total_cmp);
                assert_eq!(nearest.map(|(_, distance)| distance), least);
            }
        }
    }
}
