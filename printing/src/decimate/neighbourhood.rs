//! Which triangles are near a box while triangles come and go.

use crate::bvh::Bounds;

const NONE: u32 = u32::MAX;

/// A hashed grid of triangles. A triangle stays entered where it once was; what is no longer near is passed over, and
/// what has left is dropped when met.
pub struct Neighbourhood {
    cell_mm: f32,
    heads: Vec<u32>,
    entries: Vec<Entry>,
    free: u32,
    members: Vec<Member>,
    query: u32,
}

/// What is known of a triangle, together, because it is looked up together.
#[derive(Clone, Copy)]
struct Member {
    bounds: Bounds,
    /// The last query that met it; `NONE` for one that has left.
    seen: u32,
}

struct Entry {
    triangle: u32,
    next: u32,
}

/// Cells from the least to the greatest, both within.
#[derive(Clone, Copy)]
struct Cells {
    low: [i32; 3],
    high: [i32; 3],
}

impl Neighbourhood {
    pub fn new(triangles: usize, cell_mm: f32) -> Self {
        Self {
            cell_mm,
            heads: vec![NONE; (2 * triangles).next_power_of_two()],
            entries: Vec::with_capacity(4 * triangles),
            free: NONE,
            members: vec![Member { bounds: Bounds::EMPTY, seen: NONE }; triangles],
            query: 0,
        }
    }

    /// Enters a triangle, or moves it where it is now.
    pub fn enter(&mut self, triangle: u32, bounds: &Bounds) {
        let member = &mut self.members[triangle as usize];
        let known = (member.seen != NONE).then(|| Cells::of(&member.bounds, self.cell_mm));
        *member = Member { bounds: *bounds, seen: if known.is_some() { member.seen } else { self.query } };
        let mask = self.heads.len() - 1;
        for cell in Cells::of(bounds, self.cell_mm).each() {
            if known.is_some_and(|known| known.has(cell)) {
                continue;
            }
            let head = &mut self.heads[slot(cell) & mask];
            let entry = Entry { triangle, next: *head };
            if self.free == NONE {
                *head = self.entries.len() as u32;
                self.entries.push(entry);
            } else {
                *head = self.free;
                let place = &mut self.entries[self.free as usize];
                self.free = place.next;
                *place = entry;
            }
        }
    }

    /// Forgets a triangle, which does not come back.
    pub fn leave(&mut self, triangle: u32) {
        self.members[triangle as usize].seen = NONE;
    }

    /// Puts every triangle whose box overlaps into `found`, once, with its box.
    pub fn near(&mut self, bounds: &Bounds, found: &mut Vec<(u32, Bounds)>) {
        found.clear();
        self.query += 1;
        let mask = self.heads.len() - 1;
        for cell in Cells::of(bounds, self.cell_mm).each() {
            let head = slot(cell) & mask;
            let mut previous = NONE;
            let mut at = self.heads[head];
            while at != NONE {
                let Entry { triangle, next } = self.entries[at as usize];
                let member = &mut self.members[triangle as usize];
                if member.seen == NONE {
                    match previous {
                        NONE => self.heads[head] = next,
                        _ => self.entries[previous as usize].next = next,
                    }
                    self.entries[at as usize].next = self.free;
                    self.free = at;
                } else {
                    if member.seen != self.query && member.bounds.overlaps(bounds) {
                        member.seen = self.query;
                        found.push((triangle, member.bounds));
                    }
                    previous = at;
                }
                at = next;
            }
        }
    }
}

impl Cells {
    fn of(bounds: &Bounds, cell_mm: f32) -> Self {
        let cell = |x: f32| (x / cell_mm).floor() as i32;
        Self { low: bounds.low.map(cell), high: bounds.high.map(cell) }
    }

    fn has(&self, cell: [i32; 3]) -> bool {
        (0..3).all(|i| self.low[i] <= cell[i] && cell[i] <= self.high[i])
    }

    fn each(self) -> impl Iterator<Item = [i32; 3]> {
        let Self { low, high } = self;
        (low[0]..=high[0]).flat_map(move |x| {
            (low[1]..=high[1]).flat_map(move |y| (low[2]..=high[2]).map(move |z| [x, y, z]))
        })
    }
}

/// A hash of a cell (Teschner and others, Vision, Modeling, Visualization 2003).
fn slot(cell: [i32; 3]) -> usize {
    let [x, y, z] = cell.map(|c| c as u32);
    let mixed = x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663) ^ z.wrapping_mul(83_492_791);
    (mixed ^ mixed >> 15) as usize
}
