//! One edge after the other becomes one vertex, wherever that breaks nothing.

use super::neighbourhood::Neighbourhood;
use super::piece::{Limits, NONE, Piece};
use super::quadric::Quadric;
use crate::bvh::Bounds;
use crate::check::{has_area, triangles_meet};
use crate::geometry::{doubled_normal, nearest_on_triangle, rounded, vector};
use nalgebra::Vector3;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Original vertices that one collapse may have to answer for.
const PASSENGERS_MOST: usize = 400;
/// Least cosine between a triangle's normals before and after.
const TURN_LEAST: f64 = 0.3;
/// Least height of a new triangle relative to its longest side, unless the one before was worse.
const SHAPE_LEAST: f64 = 0.05;
/// Weight of the pull to an edge's middle, relative to the area around it.
const PULL: f64 = 1e-4;
/// Size of the cells in which neighbours are sought, in mean edges.
const CELL: f64 = 1.5;

/// A piece of a surface on its way to fewer triangles.
pub struct Surface<'a> {
    piece: Piece,
    limits: Limits<'a>,
    removed: usize,
    /// Triangles about each vertex: start and length in `rings`.
    spans: Vec<(u32, u32)>,
    rings: Vec<u32>,
    /// Changes of each vertex.
    versions: Vec<u32>,
    queue: BinaryHeap<Candidate>,
    near: Neighbourhood,
    /// Triangles when all of them were entered into `near`.
    faces_when_entered: usize,
    deviation_squared: f64,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    around: Vec<u32>,
    ring: Vec<u32>,
    kept: Vec<u32>,
    made: Vec<[u32; 3]>,
    corners: Vec<[Vector3<f64>; 3]>,
    boxes: Vec<Bounds>,
    near: Vec<(u32, Bounds)>,
    passengers: Vec<(u32, u32)>,
}

/// An edge that may be collapsed, cheapest first, then by number.
struct Candidate {
    cost: f32,
    edge: [u32; 2],
    versions: [u32; 2],
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        other.cost.total_cmp(&self.cost).then_with(|| other.edge.cmp(&self.edge))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Candidate {}

impl<'a> Surface<'a> {
    pub fn new(piece: Piece, limits: Limits<'a>) -> Self {
        let mut spans = vec![(0, 0); piece.positions.len()];
        for &vertex in piece.faces.iter().flatten() {
            spans[vertex as usize].1 += 1_u32;
        }
        let mut start = 0;
        for span in &mut spans {
            span.0 = start;
            start += std::mem::take(&mut span.1);
        }
        let mut rings = vec![0; start as usize];
        for (face, triangle) in piece.faces.iter().enumerate() {
            for &vertex in triangle {
                let span = &mut spans[vertex as usize];
                rings[(span.0 + span.1) as usize] = face as u32;
                span.1 += 1;
            }
        }
        let mut surface = Self {
            limits,
            removed: 0,
            spans,
            rings,
            versions: vec![0; piece.positions.len()],
            queue: BinaryHeap::new(),
            near: Neighbourhood::new(0, 1.0),
            faces_when_entered: 0,
            deviation_squared: 0.0,
            scratch: Scratch::default(),
            piece,
        };
        let queue: Vec<Candidate> = surface.edges().map(|(u, v)| surface.candidate(u, v)).collect();
        surface.queue = BinaryHeap::from(queue);
        surface.enter_all();
        surface
    }

    /// Enters all triangles into a grid whose cells suit them.
    fn enter_all(&mut self) {
        let faces = &self.piece.faces;
        self.faces_when_entered = faces.len() - self.removed;
        let growth = (faces.len() as f64 / self.faces_when_entered.max(1) as f64).sqrt();
        let cell_mm = CELL * self.limits.mean_edge_mm * growth;
        self.near = Neighbourhood::new(faces.len(), (cell_mm as f32).max(f32::MIN_POSITIVE));
        for (face, triangle) in faces.iter().enumerate().filter(|(_, t)| t[0] != NONE) {
            self.near.enter(face as u32, &Bounds::of(&triangle.map(|v| self.piece.positions[v as usize])));
        }
    }

    /// Each edge that may move once, from the triangle where it runs upwards.
    fn edges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let settled = &self.piece.is_settled;
        let is_settled = |u: u32, v: u32| settled[u as usize] && settled[v as usize];
        let is_locked = |u: u32, v: u32| self.is_locked(u) || self.is_locked(v);
        let may_move = move |&(u, v): &(u32, u32)| u < v && !is_locked(u, v) && !is_settled(u, v);
        self.piece.faces.iter().flat_map(|t| (0..3).map(move |i| (t[i], t[(i + 1) % 3]))).filter(may_move)
    }

    fn is_locked(&self, vertex: u32) -> bool {
        self.piece.is_locked[vertex as usize]
    }

    /// Triangles removed so far.
    pub fn removed(&self) -> usize {
        self.removed
    }

    /// The piece as it is now, and the largest squared distance of an original vertex from it.
    pub fn into_piece(mut self) -> (Piece, f64) {
        for (is_moved, version) in self.piece.is_moved.iter_mut().zip(&self.versions) {
            *is_moved |= *version > 0;
        }
        if self.queue.is_empty() {
            self.piece.is_settled = self.piece.is_locked.iter().map(|is_locked| !is_locked).collect();
        } else {
            self.piece.is_settled.fill(false);
        }
        (self.piece, self.deviation_squared)
    }

    /// Takes the cheapest edge and collapses it if it may be; false when none is left.
    pub fn collapse_next(&mut self) -> bool {
        let Some(candidate) = self.queue.pop() else { return false };
        let [u, v] = candidate.edge;
        if candidate.versions == candidate.edge.map(|vertex| self.versions[vertex as usize]) {
            let (place, _) = self.best_place(u, v);
            let mut scratch = std::mem::take(&mut self.scratch);
            if self.may_collapse(u, v, place, &mut scratch) {
                self.collapse(u, v, place, &scratch);
                if self.piece.faces.len() - self.removed < self.faces_when_entered / 2 {
                    self.enter_all();
                }
            }
            self.scratch = scratch;
        }
        true
    }

    fn about(&self, vertex: u32) -> &[u32] {
        let (start, length) = self.spans[vertex as usize];
        &self.rings[start as usize..(start + length) as usize]
    }

    fn candidate(&self, u: u32, v: u32) -> Candidate {
        let edge = [u.min(v), u.max(v)];
        let versions = edge.map(|vertex| self.versions[vertex as usize]);
        Candidate { cost: self.best_place(u, v).1, edge, versions }
    }

    /// Where the collapsed vertex goes, and what that costs.
    fn best_place(&self, u: u32, v: u32) -> ([f32; 3], f32) {
        let sum = self.piece.quadrics[u as usize].plus(&self.piece.quadrics[v as usize]);
        let [p, q] = [u, v].map(|vertex| vector(self.piece.positions[vertex as usize]));
        let (middle, length_squared) = (0.5 * (p + q), (p - q).norm_squared());
        let held = sum.plus(&Quadric::of_point(&middle, PULL * length_squared));
        let free = held.least().filter(|least| (least - middle).norm_squared() < length_squared);
        let cost = |place: [f32; 3]| held.at(&vector(place));
        let mut best = (rounded(&middle), cost(rounded(&middle)));
        for place in [Some(p), Some(q), free].into_iter().flatten().map(|place| rounded(&place)) {
            let here = cost(place);
            if here < best.1 {
                best = (place, here);
            }
        }
        (best.0, best.1 as f32)
    }

    /// Decides, and leaves in `scratch` the triangles that stay, as they would become, with their passengers.
    fn may_collapse(&mut self, u: u32, v: u32, place: [f32; 3], scratch: &mut Scratch) -> bool {
        if !self.limits.block.holds(place)
            || !self.is_link_sound(u, v, scratch)
            || !self.keeps_shape(u, v, place, scratch)
            || !self.keeps_distance(u, v, place, scratch)
        {
            return false;
        }
        let at = |x: u32| if x == u { place } else { self.piece.positions[x as usize] };
        let new = scratch.made.iter().fold(Bounds::EMPTY, |all, t| all.union(&Bounds::of(&t.map(at))));
        self.near.near(&new, &mut scratch.near);
        !self.meets_others(u, v, place, scratch) && self.stays_near(place, scratch)
    }

    /// `u` and `v` have exactly their two common triangles' tips in common, and the tips keep three triangles.
    fn is_link_sound(&self, u: u32, v: u32, scratch: &mut Scratch) -> bool {
        scratch.around.clear();
        scratch
            .around
            .extend(self.about(u).iter().flat_map(|&f| self.piece.faces[f as usize]).filter(|&x| x != u));
        scratch.around.sort_unstable();
        scratch.around.dedup();
        let mut common = 0;
        scratch.ring.clear();
        scratch
            .ring
            .extend(self.about(v).iter().flat_map(|&f| self.piece.faces[f as usize]).filter(|&x| x != v));
        scratch.ring.sort_unstable();
        scratch.ring.dedup();
        for &x in &scratch.ring {
            if scratch.around.binary_search(&x).is_ok() {
                common += 1;
                if self.spans[x as usize].1 <= 3 {
                    return false;
                }
            }
        }
        common == 2
    }

    fn keeps_shape(&self, u: u32, v: u32, place: [f32; 3], scratch: &mut Scratch) -> bool {
        scratch.kept.clear();
        scratch.made.clear();
        let to = vector(place);
        for &face in self.about(u).iter().chain(self.about(v)) {
            let triangle = self.piece.faces[face as usize];
            if triangle.contains(&u) && triangle.contains(&v) {
                continue;
            }
            let before = triangle.map(|x| vector(self.piece.positions[x as usize]));
            let mut after = before;
            let moved = (0..3).find(|&i| triangle[i] == u || triangle[i] == v).expect("one end of the edge");
            after[moved] = to;
            let (was, is) = (doubled_normal(&before), doubled_normal(&after));
            let turn = was.dot(&is);
            if turn.is_nan()
                || turn <= TURN_LEAST * was.norm() * is.norm()
                || self.is_stretched(&before, &after)
            {
                return false;
            }
            scratch.kept.push(face);
            let mut made = triangle;
            made[moved] = u;
            scratch.made.push(made);
        }
        true
    }

    fn is_stretched(&self, before: &[Vector3<f64>; 3], after: &[Vector3<f64>; 3]) -> bool {
        let longest = |t: &[Vector3<f64>; 3]| {
            (0..3).map(|i| (t[i] - t[(i + 1) % 3]).norm_squared()).fold(0.0, f64::max)
        };
        let shape = |t: &[Vector3<f64>; 3]| doubled_normal(t).norm() / longest(t);
        let is = shape(after);
        // A shape that is no number is no shape.
        is.is_nan()
            || (is < SHAPE_LEAST && is < shape(before))
            || longest(after) > self.limits.edge_most_squared
    }

    fn keeps_distance(&self, u: u32, v: u32, place: [f32; 3], scratch: &mut Scratch) -> bool {
        let at = |x: u32| if x == u { place } else { self.piece.positions[x as usize] };
        scratch.passengers.clear();
        let removed = self.about(u).iter().filter(|&&f| self.piece.faces[f as usize].contains(&v));
        for &face in scratch.kept.iter().chain(removed) {
            let mut passenger = self.piece.first_passenger[face as usize];
            while passenger != NONE {
                scratch.passengers.push((passenger, 0));
                passenger = self.piece.next_passenger[passenger as usize];
            }
            if scratch.passengers.len() > PASSENGERS_MOST {
                return false;
            }
        }
        // The ends become passengers; an earlier collapse may have moved them away from their original places, which
        // then travel on their own.
        scratch.passengers.extend([u, v].iter().filter(|&&x| !self.was_moved(x)).map(|&x| (x, 0)));
        scratch.corners.clear();
        scratch.corners.extend(scratch.made.iter().map(|t| t.map(|x| vector(at(x)))));
        let farthest = self.seat(&mut scratch.passengers, &scratch.corners);
        farthest <= self.limits.error_squared
    }

    fn was_moved(&self, vertex: u32) -> bool {
        self.versions[vertex as usize] > 0 || self.piece.is_moved[vertex as usize]
    }

    /// Gives each passenger its nearest new triangle; the largest squared distance.
    fn seat(&self, passengers: &mut [(u32, u32)], made: &[[Vector3<f64>; 3]]) -> f64 {
        let mut farthest = 0.0_f64;
        for (passenger, seat) in passengers {
            let point = vector(self.piece.originals[*passenger as usize]);
            let mut least = f64::INFINITY;
            for (i, triangle) in made.iter().enumerate() {
                let distance = (nearest_on_triangle(&point, triangle) - point).norm_squared();
                if distance < least {
                    (least, *seat) = (distance, i as u32);
                }
            }
            farthest = farthest.max(least);
            if farthest > self.limits.error_squared {
                break;
            }
        }
        farthest
    }

    /// Whether the new vertex and the middles of the new triangles lie within the allowed distance of the original.
    fn stays_near(&self, place: [f32; 3], scratch: &Scratch) -> bool {
        let error_mm = self.limits.error_squared.sqrt();
        let is_near = |point: &Vector3<f64>| self.limits.original.is_within(point, error_mm);
        is_near(&vector(place)) && scratch.corners.iter().all(|t| is_near(&((t[0] + t[1] + t[2]) / 3.0)))
    }

    /// Whether a new triangle has no area, or meets another one, new or near.
    fn meets_others(&self, u: u32, v: u32, place: [f32; 3], scratch: &mut Scratch) -> bool {
        let at = |x: u32| if x == u { place } else { self.piece.positions[x as usize] };
        scratch.boxes.clear();
        scratch.boxes.extend(scratch.made.iter().map(|t| Bounds::of(&t.map(at))));
        let boxes = &scratch.boxes;
        for (i, made) in scratch.made.iter().enumerate() {
            if !has_area(made.map(at)) {
                return true;
            }
            if (0..i).any(|j| boxes[i].overlaps(&boxes[j]) && triangles_meet(made, &scratch.made[j], at)) {
                return true;
            }
        }
        scratch.near.iter().any(|(face, bounds)| {
            let other = self.piece.faces[*face as usize];
            !other.contains(&u)
                && !other.contains(&v)
                && (0..boxes.len())
                    .any(|i| bounds.overlaps(&boxes[i]) && triangles_meet(&scratch.made[i], &other, at))
        })
    }

    fn collapse(&mut self, u: u32, v: u32, place: [f32; 3], scratch: &Scratch) {
        let removed: Vec<u32> =
            self.about(u).iter().copied().filter(|&f| self.piece.faces[f as usize].contains(&v)).collect();
        for &face in &removed {
            for x in self.piece.faces[face as usize] {
                if x != u && x != v {
                    self.leave_ring(x, face);
                }
            }
            self.piece.faces[face as usize] = [NONE; 3];
            self.near.leave(face);
        }
        self.removed += removed.len();
        self.piece.positions[u as usize] = place;
        self.piece.quadrics[u as usize] =
            self.piece.quadrics[u as usize].plus(&self.piece.quadrics[v as usize]);
        for (&face, &made) in scratch.kept.iter().zip(&scratch.made) {
            self.piece.faces[face as usize] = made;
            self.piece.first_passenger[face as usize] = NONE;
            self.near.enter(face, &Bounds::of(&made.map(|x| self.piece.positions[x as usize])));
        }
        self.spans[u as usize] = (self.rings.len() as u32, scratch.kept.len() as u32);
        self.rings.extend(&scratch.kept);
        self.spans[v as usize].1 = 0;
        for &(passenger, seat) in &scratch.passengers {
            let first = &mut self.piece.first_passenger[scratch.kept[seat as usize] as usize];
            self.piece.next_passenger[passenger as usize] = std::mem::replace(first, passenger);
        }
        self.versions[u as usize] += 1;
        self.versions[v as usize] += 1;
        self.note_deviation(scratch);
        let mut around: Vec<u32> = scratch.made.iter().flatten().copied().filter(|&x| x != u).collect();
        around.sort_unstable();
        around.dedup();
        for x in around.into_iter().filter(|&x| !self.piece.is_locked[x as usize]) {
            let candidate = self.candidate(u, x);
            self.queue.push(candidate);
        }
    }

    fn leave_ring(&mut self, vertex: u32, face: u32) {
        let (start, length) = self.spans[vertex as usize];
        let ring = &mut self.rings[start as usize..(start + length) as usize];
        let at = ring.iter().position(|&f| f == face).expect("a triangle about its corner");
        ring.copy_within(at + 1.., at);
        self.spans[vertex as usize].1 -= 1;
    }

    fn note_deviation(&mut self, scratch: &Scratch) {
        for &(passenger, seat) in &scratch.passengers {
            let point = vector(self.piece.originals[passenger as usize]);
            let triangle = scratch.made[seat as usize].map(|x| vector(self.piece.positions[x as usize]));
            let squared = (nearest_on_triangle(&point, &triangle) - point).norm_squared();
            self.deviation_squared = self.deviation_squared.max(squared);
        }
    }
}
