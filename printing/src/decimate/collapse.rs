//! One edge after the other becomes one vertex, wherever that breaks nothing.

use super::neighbourhood::Neighbourhood;
use super::quadric::Quadric;
use crate::bvh::Bounds;
use crate::check::{has_area, triangles_meet};
use crate::geometry::{doubled_normal, nearest_on_triangle, rounded, vector};
use carm::TriangleMesh;
use nalgebra::Vector3;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;
/// Longest edge that a collapse may make, in mean edges of the original: keeps triangles local, so that colours and
/// confidence have somewhere to be, and the search for neighbours short.
const EDGE_MOST: f64 = 10.0;
/// Original vertices that one collapse may have to answer for.
const PASSENGERS_MOST: usize = 400;
/// Least cosine between a triangle's normals before and after.
const TURN_LEAST: f64 = 0.3;
/// Least height of a new triangle relative to its longest side, unless the one before was worse.
const SHAPE_LEAST: f64 = 0.05;
/// Weight of the pull to an edge's middle, relative to the area around it.
const PULL: f64 = 1e-4;

/// A surface on its way to fewer triangles.
pub struct Surface {
    positions: Vec<[f32; 3]>,
    quadrics: Vec<Quadric>,
    /// A removed triangle names `NONE`.
    faces: Vec<[u32; 3]>,
    face_count: usize,
    /// Triangles about each vertex: start and length in `rings`.
    spans: Vec<(u32, u32)>,
    rings: Vec<u32>,
    /// Changes of each vertex.
    versions: Vec<u32>,
    queue: BinaryHeap<Candidate>,
    near: Neighbourhood,
    /// Original vertices that a triangle stands for, chained.
    first_passenger: Vec<u32>,
    next_passenger: Vec<u32>,
    originals: Vec<[f32; 3]>,
    error_squared: f64,
    edge_most_squared: f64,
    deviation_squared: f64,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    around: Vec<u32>,
    kept: Vec<u32>,
    made: Vec<[u32; 3]>,
    near: Vec<u32>,
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

impl Surface {
    /// `mesh`: closed and manifold.
    pub fn new(mesh: &TriangleMesh, target_faces: usize, max_error_mm: f64) -> Self {
        let (positions, faces) = (mesh.vertices_mm.clone(), mesh.triangles.clone());
        let mut spans = vec![(0, 0); positions.len()];
        for &vertex in faces.iter().flatten() {
            spans[vertex as usize].1 += 1_u32;
        }
        let mut start = 0;
        for span in &mut spans {
            span.0 = start;
            start += std::mem::take(&mut span.1);
        }
        let mut rings = vec![0; start as usize];
        for (face, triangle) in faces.iter().enumerate() {
            for &vertex in triangle {
                let span = &mut spans[vertex as usize];
                rings[(span.0 + span.1) as usize] = face as u32;
                span.1 += 1;
            }
        }
        let places = |t: &[u32; 3]| t.map(|v| vector(positions[v as usize]));
        let quadrics: Vec<Quadric> = spans
            .par_iter()
            .map(|&(start, length)| {
                let about = &rings[start as usize..(start + length) as usize];
                about.iter().fold(Quadric::default(), |sum, &f| {
                    sum.plus(&Quadric::of_triangle(&places(&faces[f as usize])))
                })
            })
            .collect();
        let edge_mm = mean_edge(&positions, &faces);
        // Edges grow as the root of what is left: cells suit the last ones, which span the most of them.
        let growth = (faces.len() as f64 / target_faces.max(1) as f64).sqrt().clamp(1.0, 8.0);
        let cell_mm = 1.5 * edge_mm * growth;
        let mut near = Neighbourhood::new(faces.len(), cell_mm.max(f64::from(f32::MIN_POSITIVE)) as f32);
        for (face, triangle) in faces.iter().enumerate() {
            near.enter(face as u32, &Bounds::of(&triangle.map(|v| positions[v as usize])));
        }
        let mut surface = Self {
            quadrics,
            face_count: faces.len(),
            spans,
            rings,
            versions: vec![0; positions.len()],
            queue: BinaryHeap::new(),
            near,
            first_passenger: vec![NONE; faces.len()],
            next_passenger: vec![NONE; positions.len()],
            originals: positions.clone(),
            error_squared: max_error_mm * max_error_mm,
            edge_most_squared: (EDGE_MOST * edge_mm).powi(2),
            deviation_squared: 0.0,
            scratch: Scratch::default(),
            positions,
            faces,
        };
        // Each edge once, from the triangle where it runs upwards.
        let queue: Vec<Candidate> = surface
            .faces
            .par_iter()
            .flat_map_iter(|t| (0..3).map(move |i| (t[i], t[(i + 1) % 3])).filter(|(u, v)| u < v))
            .map(|(u, v)| surface.candidate(u, v))
            .collect();
        surface.queue = BinaryHeap::from(queue);
        surface
    }

    pub fn face_count(&self) -> usize {
        self.face_count
    }

    pub fn deviation_mm(&self) -> f64 {
        self.deviation_squared.sqrt()
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
            }
            self.scratch = scratch;
        }
        true
    }

    pub fn into_mesh(self) -> TriangleMesh {
        let mut number = vec![NONE; self.positions.len()];
        let mut mesh = TriangleMesh::default();
        for triangle in self.faces.iter().filter(|t| t[0] != NONE) {
            mesh.triangles.push(triangle.map(|vertex| {
                let number = &mut number[vertex as usize];
                if *number == NONE {
                    *number = mesh.vertices_mm.len() as u32;
                    mesh.vertices_mm.push(self.positions[vertex as usize]);
                }
                *number
            }));
        }
        mesh
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
        let sum = self.quadrics[u as usize].plus(&self.quadrics[v as usize]);
        let [p, q] = [u, v].map(|vertex| vector(self.positions[vertex as usize]));
        let (middle, length_squared) = (0.5 * (p + q), (p - q).norm_squared());
        let held = sum.plus(&Quadric::of_point(&middle, PULL * length_squared));
        let free = held.least().filter(|least| (least - middle).norm_squared() < length_squared);
        let cost = |place: [f32; 3]| held.at(&vector(place));
        let mut places = vec![rounded(&middle), rounded(&p), rounded(&q)];
        places.extend(free.map(|least| rounded(&least)));
        let best = places.into_iter().map(|place| (place, cost(place))).min_by(|a, b| a.1.total_cmp(&b.1));
        let (place, cost) = best.expect("three places at least");
        (place, cost as f32)
    }

    /// Decides, and leaves in `scratch` the triangles that stay, as they would become, with their passengers.
    fn may_collapse(&mut self, u: u32, v: u32, place: [f32; 3], scratch: &mut Scratch) -> bool {
        if !self.is_link_sound(u, v, scratch)
            || !self.keeps_shape(u, v, place, scratch)
            || !self.keeps_distance(u, v, place, scratch)
        {
            return false;
        }
        let at = |x: u32| if x == u { place } else { self.positions[x as usize] };
        let new = scratch.made.iter().fold(Bounds::EMPTY, |all, t| all.union(&Bounds::of(&t.map(at))));
        self.near.near(&new, &mut scratch.near);
        !self.meets_others(u, v, place, scratch)
    }

    /// `u` and `v` have exactly their two common triangles' tips in common, and the tips keep three triangles.
    fn is_link_sound(&self, u: u32, v: u32, scratch: &mut Scratch) -> bool {
        scratch.around.clear();
        scratch.around.extend(self.about(u).iter().flat_map(|&f| self.faces[f as usize]).filter(|&x| x != u));
        scratch.around.sort_unstable();
        scratch.around.dedup();
        let mut common = 0;
        let mut ring: Vec<u32> =
            self.about(v).iter().flat_map(|&f| self.faces[f as usize]).filter(|&x| x != v).collect();
        ring.sort_unstable();
        ring.dedup();
        for x in ring {
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
            let triangle = self.faces[face as usize];
            if triangle.contains(&u) && triangle.contains(&v) {
                continue;
            }
            let before = triangle.map(|x| vector(self.positions[x as usize]));
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
        is.is_nan() || (is < SHAPE_LEAST && is < shape(before)) || longest(after) > self.edge_most_squared
    }

    fn keeps_distance(&self, u: u32, v: u32, place: [f32; 3], scratch: &mut Scratch) -> bool {
        let at = |x: u32| if x == u { place } else { self.positions[x as usize] };
        scratch.passengers.clear();
        let removed = self.about(u).iter().filter(|&&f| self.faces[f as usize].contains(&v));
        for &face in scratch.kept.iter().chain(removed) {
            let mut passenger = self.first_passenger[face as usize];
            while passenger != NONE {
                scratch.passengers.push((passenger, 0));
                passenger = self.next_passenger[passenger as usize];
            }
            if scratch.passengers.len() > PASSENGERS_MOST {
                return false;
            }
        }
        // The ends become passengers; an earlier collapse may have moved them away from their original places, which
        // then travel on their own.
        scratch.passengers.extend([u, v].iter().filter(|&&x| !self.was_moved(x)).map(|&x| (x, 0)));
        let made: Vec<[Vector3<f64>; 3]> = scratch.made.iter().map(|t| t.map(|x| vector(at(x)))).collect();
        let farthest = self.seat(&mut scratch.passengers, &made);
        farthest <= self.error_squared && self.bulge_squared(u, v, place) <= self.error_squared
    }

    fn was_moved(&self, vertex: u32) -> bool {
        self.versions[vertex as usize] > 0
    }

    /// Gives each passenger its nearest new triangle; the largest squared distance.
    fn seat(&self, passengers: &mut [(u32, u32)], made: &[[Vector3<f64>; 3]]) -> f64 {
        let mut farthest = 0.0_f64;
        for (passenger, seat) in passengers {
            let point = vector(self.originals[*passenger as usize]);
            let mut least = f64::INFINITY;
            for (i, triangle) in made.iter().enumerate() {
                let distance = (nearest_on_triangle(&point, triangle) - point).norm_squared();
                if distance < least {
                    (least, *seat) = (distance, i as u32);
                }
            }
            farthest = farthest.max(least);
            if farthest > self.error_squared {
                break;
            }
        }
        farthest
    }

    /// How far the new vertex lies from the triangles that it replaces, squared.
    fn bulge_squared(&self, u: u32, v: u32, place: [f32; 3]) -> f64 {
        let point = vector(place);
        self.about(u)
            .iter()
            .chain(self.about(v))
            .map(|&face| {
                let triangle = self.faces[face as usize].map(|x| vector(self.positions[x as usize]));
                (nearest_on_triangle(&point, &triangle) - point).norm_squared()
            })
            .fold(f64::INFINITY, f64::min)
    }

    /// Whether a new triangle has no area, or meets another one, new or near.
    fn meets_others(&self, u: u32, v: u32, place: [f32; 3], scratch: &Scratch) -> bool {
        let at = |x: u32| if x == u { place } else { self.positions[x as usize] };
        let boxes: Vec<Bounds> = scratch.made.iter().map(|t| Bounds::of(&t.map(at))).collect();
        for (i, made) in scratch.made.iter().enumerate() {
            if !has_area(made.map(at)) {
                return true;
            }
            if (0..i).any(|j| boxes[i].overlaps(&boxes[j]) && triangles_meet(made, &scratch.made[j], at)) {
                return true;
            }
        }
        let all = boxes.iter().fold(Bounds::EMPTY, |all, item| all.union(item));
        scratch.near.iter().any(|&face| {
            let other = self.faces[face as usize];
            if other.contains(&u) || other.contains(&v) {
                return false;
            }
            let bounds = Bounds::of(&other.map(at));
            bounds.overlaps(&all)
                && (0..boxes.len())
                    .any(|i| bounds.overlaps(&boxes[i]) && triangles_meet(&scratch.made[i], &other, at))
        })
    }

    fn collapse(&mut self, u: u32, v: u32, place: [f32; 3], scratch: &Scratch) {
        let removed: Vec<u32> =
            self.about(u).iter().copied().filter(|&f| self.faces[f as usize].contains(&v)).collect();
        for &face in &removed {
            for x in self.faces[face as usize] {
                if x != u && x != v {
                    self.leave_ring(x, face);
                }
            }
            self.faces[face as usize] = [NONE; 3];
            self.near.leave(face);
        }
        self.face_count -= removed.len();
        self.positions[u as usize] = place;
        self.quadrics[u as usize] = self.quadrics[u as usize].plus(&self.quadrics[v as usize]);
        for (&face, &made) in scratch.kept.iter().zip(&scratch.made) {
            self.faces[face as usize] = made;
            self.first_passenger[face as usize] = NONE;
            self.near.enter(face, &Bounds::of(&made.map(|x| self.positions[x as usize])));
        }
        self.spans[u as usize] = (self.rings.len() as u32, scratch.kept.len() as u32);
        self.rings.extend(&scratch.kept);
        self.spans[v as usize].1 = 0;
        for &(passenger, seat) in &scratch.passengers {
            let first = &mut self.first_passenger[scratch.kept[seat as usize] as usize];
            self.next_passenger[passenger as usize] = std::mem::replace(first, passenger);
        }
        self.versions[u as usize] += 1;
        self.versions[v as usize] += 1;
        self.note_deviation(scratch);
        let mut around: Vec<u32> = scratch.made.iter().flatten().copied().filter(|&x| x != u).collect();
        around.sort_unstable();
        around.dedup();
        for x in around {
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
            let point = vector(self.originals[passenger as usize]);
            let triangle = scratch.made[seat as usize].map(|x| vector(self.positions[x as usize]));
            let squared = (nearest_on_triangle(&point, &triangle) - point).norm_squared();
            self.deviation_squared = self.deviation_squared.max(squared);
        }
    }
}

fn mean_edge(positions: &[[f32; 3]], faces: &[[u32; 3]]) -> f64 {
    let sum: f64 = faces
        .iter()
        .map(|t| {
            let p = t.map(|vertex| vector(positions[vertex as usize]));
            (0..3).map(|i| (p[i] - p[(i + 1) % 3]).norm()).sum::<f64>()
        })
        .sum();
    sum / (3 * faces.len()).max(1) as f64
}
