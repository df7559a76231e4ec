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
    #[inline]
    pub fn overlaps(&self, other: &Self) -> bool {
        // Without branches: which axis parts two boxes cannot be foretold.
        let apart = |i: usize| (self.low[i] > other.high[i]) | (other.low[i] > self.high[i]);
        !(apart(0) | apart(1) | apart(2))
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

/// Children of a node, whose boxes are looked at together.
const FAN: usize = 4;
/// Four coordinates of 32 bits are rounded, subtracted, squared and summed: a squared distance to a box times this
/// is no greater than the true one.
const ROUNDED_DOWN: f32 = 1.0 - 1e-6;
/// Greatest height of the stack: three siblings wait on each of the sixteen levels that 2³² items can have.
const STACK: usize = 3 * 16 + FAN;

/// The boxes of up to [`FAN`] children side by side: `[axis][child]`.
#[derive(Clone, Copy)]
struct Node {
    low: [[f32; FAN]; 3],
    high: [[f32; FAN]; 3],
}

impl Node {
    fn of(children: &[Bounds]) -> Self {
        let mut node = Self { low: [[f32::INFINITY; FAN]; 3], high: [[f32::NEG_INFINITY; FAN]; 3] };
        for (at, child) in children.iter().enumerate() {
            for axis in 0..3 {
                node.low[axis][at] = child.low[axis];
                node.high[axis][at] = child.high[axis];
            }
        }
        node
    }

    fn overlaps(&self, bounds: &Bounds) -> [bool; FAN] {
        let mut all = [true; FAN];
        for axis in 0..3 {
            for (child, is) in all.iter_mut().enumerate() {
                *is &= (self.low[axis][child] <= bounds.high[axis])
                    & (bounds.low[axis] <= self.high[axis][child]);
            }
        }
        all
    }

    /// No more than the squared distances of the children's boxes from a point that lies within `[below, above]`.
    fn distances_squared(&self, below: &[f32; 3], above: &[f32; 3]) -> [f32; FAN] {
        let mut sums = [0.0_f32; FAN];
        for axis in 0..3 {
            for (child, sum) in sums.iter_mut().enumerate() {
                let (short, over) =
                    (self.low[axis][child] - above[axis], below[axis] - self.high[axis][child]);
                let gap = if short > over { short } else { over };
                let gap = if gap > 0.0 { gap } else { 0.0 };
                *sum += gap * gap;
            }
        }
        sums.map(|sum| sum * ROUNDED_DOWN)
    }
}

/// Items in the order of their places along a space-filling curve, under a complete tree of boxes.
pub struct Bvh {
    order: Vec<u32>,
    /// `levels[0]` has the items' own boxes; each further level has a [`FAN`]th as many nodes, the last one is the root.
    levels: Vec<Vec<Node>>,
}

/// The nearest item: its place in the tree's order and the square of its distance.
pub type Nearest = Option<(u32, f64)>;

impl Bvh {
    /// `boxes`: one an item, finite.
    pub fn new(boxes: &[Bounds]) -> Self {
        let whole = boxes.iter().fold(Bounds::EMPTY, |all, item| all.union(item));
        let mut keys: Vec<(u64, u32)> =
            boxes.par_iter().enumerate().map(|(i, item)| (curve_key(item, &whole), i as u32)).collect();
        keys.par_sort_unstable();
        let order: Vec<u32> = keys.into_iter().map(|(_, item)| item).collect();
        let mut below: Vec<Bounds> = order.iter().map(|&item| boxes[item as usize]).collect();
        let mut levels = Vec::new();
        loop {
            levels.push(below.par_chunks(FAN).map(Node::of).collect::<Vec<_>>());
            if below.len() <= FAN {
                return Self { order, levels };
            }
            let join = |group: &[Bounds]| group.iter().fold(Bounds::EMPTY, |all, item| all.union(item));
            below = below.par_chunks(FAN).map(join).collect();
        }
    }

    /// Items in the tree's order.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Calls `visit` with every item whose box overlaps.
    pub fn for_each_overlap(&self, bounds: &Bounds, mut visit: impl FnMut(u32)) {
        let mut stack = [(0_u32, 0_u32); STACK];
        stack[0] = (self.levels.len() as u32 - 1, 0);
        let mut height = usize::from(!self.order.is_empty());
        while height > 0 {
            height -= 1;
            let (level, node) = stack[height];
            let overlaps = self.levels[level as usize][node as usize].overlaps(bounds);
            // Children that are not there have empty boxes, which overlap nothing.
            for child in
                (0..FAN).filter(|&child| overlaps[child]).map(|child| node * FAN as u32 + child as u32)
            {
                if level == 0 {
                    visit(self.order[child as usize]);
                } else {
                    stack[height] = (level - 1, child);
                    height += 1;
                }
            }
        }
    }

    /// The nearest item no farther away than the root of `most`, by `distance_squared(place in the order)`; the search
    /// ends early with the first one found that is no farther than the root of `enough`.
    pub fn nearest(
        &self,
        point: [f64; 3],
        most: f64,
        enough: f64,
        mut distance_squared: impl FnMut(u32) -> f64,
    ) -> Nearest {
        let (below, above) = (point.map(rounded_down), point.map(|x| -rounded_down(-x)));
        let mut best: Nearest = None;
        let mut limit = most;
        let mut stack = [(0_u32, 0_u32, 0.0_f32); STACK];
        stack[0].0 = self.levels.len() as u32 - 1;
        let mut height = usize::from(!self.order.is_empty());
        while height > 0 {
            height -= 1;
            let (level, node, bound) = stack[height];
            if f64::from(bound) > limit {
                continue;
            }
            let bounds = self.levels[level as usize][node as usize].distances_squared(&below, &above);
            let first = node * FAN as u32;
            if level == 0 {
                let count = FAN.min(self.order.len() - first as usize);
                for (place, &bound) in (first..).zip(&bounds[..count]) {
                    if f64::from(bound) > limit {
                        continue;
                    }
                    let found = distance_squared(place);
                    if found < limit || (best.is_none() && found <= limit) {
                        if found <= enough {
                            return Some((place, found));
                        }
                        limit = found;
                        best = Some((place, found));
                    }
                }
                continue;
            }
            // The nearest one on top, so that it is looked at first.
            let bottom = height;
            let count = FAN.min(self.levels[level as usize - 1].len() - first as usize);
            for (child, &bound) in
                bounds[..count].iter().enumerate().filter(|(_, bound)| f64::from(**bound) <= limit)
            {
                let mut at = height;
                while at > bottom && stack[at - 1].2 < bound {
                    stack[at] = stack[at - 1];
                    at -= 1;
                }
                stack[at] = (level - 1, first + child as u32, bound);
                height += 1;
            }
        }
        best
    }
}

/// The greatest number of 32 bits that is no greater.
fn rounded_down(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) > x { near.next_down() } else { near }
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
                let to = |place: u32| boxes[tree.order()[place as usize] as usize].distance_squared(point);
                let nearest = tree.nearest(point, f64::INFINITY, 0.0, to);
                let least = boxes.iter().map(|b| b.distance_squared(point)).min_by(f64::total_cmp);
                assert_eq!(nearest.map(|(_, distance)| distance), least);
                // Any that is near enough will do, and none beyond what is allowed.
                let near = tree.nearest(point, 0.25, 0.25, to).map(|(_, distance)| distance);
                assert_eq!(near.is_some(), least.is_some_and(|least| least <= 0.25));
                assert!(near.is_none_or(|distance| distance <= 0.25));
            }
        }
    }
}
