//! Which triangles are near a box while triangles come and go.

use crate::bvh::Bounds;

const NONE: u32 = u32::MAX;

/// A hashed grid of triangles. A triangle that changed is entered again; its older entries are dropped when met.
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
    /// How often it was entered or left.
    stamp: u32,
    /// The last query that met it.
    seen: u32,
}

struct Entry {
    triangle: u32,
    stamp: u32,
    next: u32,
}

impl Neighbourhood {
    pub fn new(triangles: usize, cell_mm: f32) -> Self {
        Self {
            cell_mm,
            heads: vec![NONE; (2 * triangles).next_power_of_two()],
            entries: Vec::with_capacity(4 * triangles),
            free: NONE,
            members: vec![Member { bounds: Bounds::EMPTY, stamp: 0, seen: 0 }; triangles],
            query: 0,
        }
    }

    /// Enters a triangle, or enters it anew where it is now.
    pub fn enter(&mut self, triangle: u32, bounds: &Bounds) {
        let member = &mut self.members[triangle as usize];
        member.bounds = *bounds;
        member.stamp += 1;
        let stamp = member.stamp;
        let mask = self.heads.len() - 1;
        for cell in cells(bounds, self.cell_mm) {
            let head = &mut self.heads[slot(cell) & mask];
            let entry = Entry { triangle, stamp, next: *head };
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

    /// Forgets a triangle.
    pub fn leave(&mut self, triangle: u32) {
        self.members[triangle as usize].stamp += 1;
    }

    /// Puts every triangle whose box overlaps into `found`, once, with its box.
    pub fn near(&mut self, bounds: &Bounds, found: &mut Vec<(u32, Bounds)>) {
        found.clear();
        self.query += 1;
        let mask = self.heads.len() - 1;
        for cell in cells(bounds, self.cell_mm) {
            let head = slot(cell) & mask;
            let mut previous = NONE;
            let mut at = self.heads[head];
            while at != NONE {
                let Entry { triangle, stamp, next } = self.entries[at as usize];
                let member = &mut self.members[triangle as usize];
                if stamp == member.stamp {
                    if member.seen != self.query && member.bounds.overlaps(bounds) {
                        member.seen = self.query;
                        found.push((triangle, member.bounds));
                    }
                    previous = at;
                } else {
                    match previous {
                        NONE => self.heads[head] = next,
                        _ => self.entries[previous as usize].next = next,
                    }
                    self.entries[at as usize].next = self.free;
                    self.free = at;
                }
                at = next;
            }
        }
    }
}

fn cells(bounds: &Bounds, cell_mm: f32) -> impl Iterator<Item = [i32; 3]> + use<> {
    let low = bounds.low.map(|x| (x / cell_mm).floor() as i32);
    let high = bounds.high.map(|x| (x / cell_mm).floor() as i32);
    (low[0]..=high[0])
        .flat_map(move |x| (low[1]..=high[1]).flat_map(move |y| (low[2]..=high[2]).map(move |z| [x, y, z])))
}

/// A hash of a cell (Teschner and others, Vision, Modeling, Visualization 2003).
fn slot(cell: [i32; 3]) -> usize {
    let [x, y, z] = cell.map(|c| c as u32);
    let mixed = x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663) ^ z.wrapping_mul(83_492_791);
    (mixed ^ mixed >> 15) as usize
}
