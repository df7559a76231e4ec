//! Who shares what with whom: edges, fans, parts.

use super::intersect::projection;
use super::{DefectKind, Defects};
use carm::TriangleMesh;
use rayon::prelude::*;

/// Places listed for each kind of defect.
pub(super) const PLACES_LISTED: usize = 20;

/// A mesh whose equal places are one vertex.
pub(super) struct Topology {
    /// The different places.
    pub places_mm: Vec<[f32; 3]>,
    /// Valid triangles by place; corners may repeat.
    pub triangles: Vec<[u32; 3]>,
    /// Which of them have an area and are no duplicates.
    pub is_proper: Vec<bool>,
    pub coincident_vertices: usize,
    pub components: usize,
    invalid: Found,
    degenerate: Found,
    duplicate: Found,
    open: Found,
    crowded: Found,
    inconsistent: Found,
    pinched: Found,
    edges: usize,
}

/// A count with the first places.
#[derive(Default)]
struct Found {
    count: usize,
    places: Vec<[f32; 3]>,
}

impl Found {
    fn add(&mut self, place: Option<[f32; 3]>) {
        self.count += 1;
        if self.places.len() < PLACES_LISTED {
            self.places.extend(place);
        }
    }
}

/// One side of a triangle: its ends in order, whether it runs from the lower to the higher, its triangle.
type Side = (u32, u32, bool, u32);

impl Topology {
    pub fn new(mesh: &TriangleMesh) -> Self {
        let mut invalid = Found::default();
        let count = mesh.vertices_mm.len();
        let is_finite = |vertex: u32| mesh.vertices_mm[vertex as usize].iter().all(|x| x.is_finite());
        let mut valid = Vec::with_capacity(mesh.triangles.len());
        for &triangle in &mesh.triangles {
            if triangle.iter().all(|&vertex| (vertex as usize) < count && is_finite(vertex)) {
                valid.push(triangle);
            } else {
                invalid.add(None);
            }
        }
        let (places_mm, triangles, coincident_vertices) = merge(mesh, valid);
        let mut topology = Self {
            is_proper: vec![true; triangles.len()],
            places_mm,
            triangles,
            coincident_vertices,
            components: 0,
            invalid,
            degenerate: Found::default(),
            duplicate: Found::default(),
            open: Found::default(),
            crowded: Found::default(),
            inconsistent: Found::default(),
            pinched: Found::default(),
            edges: 0,
        };
        topology.find_degenerate();
        topology.find_duplicates();
        topology.walk_edges();
        topology.find_pinched();
        topology
    }

    pub fn corners(&self, triangle: &[u32; 3]) -> [[f32; 3]; 3] {
        triangle.map(|place| self.places_mm[place as usize])
    }

    pub fn defects(&self) -> Vec<Defects> {
        [
            (DefectKind::InvalidFace, &self.invalid),
            (DefectKind::OpenEdge, &self.open),
            (DefectKind::NonManifoldEdge, &self.crowded),
            (DefectKind::NonManifoldVertex, &self.pinched),
            (DefectKind::InconsistentEdge, &self.inconsistent),
            (DefectKind::DuplicateFace, &self.duplicate),
            (DefectKind::DegenerateFace, &self.degenerate),
        ]
        .into_iter()
        .filter(|(_, found)| found.count > 0)
        .map(|(kind, found)| Defects { kind, count: found.count, places_mm: found.places.clone() })
        .collect()
    }

    /// Handles by Euler's formula, for closed manifolds.
    pub fn genus(&self) -> Option<usize> {
        let is_closed_manifold =
            [&self.open, &self.crowded, &self.pinched, &self.degenerate, &self.duplicate]
                .iter()
                .all(|found| found.count == 0);
        let characteristic = self.places_mm.len() as i64 - self.edges as i64 + self.triangles.len() as i64;
        let twice = 2 * self.components as i64 - characteristic;
        (is_closed_manifold && twice >= 0).then_some(twice as usize / 2)
    }

    fn find_degenerate(&mut self) {
        for (triangle, is_proper) in self.triangles.iter().zip(&mut self.is_proper) {
            let corners = triangle.map(|place| self.places_mm[place as usize]);
            if projection(corners).is_none() {
                *is_proper = false;
                self.degenerate.add(Some(corners[0]));
            }
        }
    }

    fn find_duplicates(&mut self) {
        let mut keys: Vec<([u32; 3], u32)> = self
            .triangles
            .par_iter()
            .enumerate()
            .map(|(i, &triangle)| {
                let mut key = triangle;
                key.sort_unstable();
                (key, i as u32)
            })
            .collect();
        keys.par_sort_unstable();
        for pair in keys.windows(2) {
            let later = pair[1].1 as usize;
            if pair[0].0 == pair[1].0 && self.is_proper[later] {
                self.is_proper[later] = false;
                self.duplicate.add(Some(self.places_mm[pair[1].0[0] as usize]));
            }
        }
    }

    /// Open, crowded and inconsistent edges, and the parts.
    fn walk_edges(&mut self) {
        let mut sides: Vec<Side> = self
            .triangles
            .par_iter()
            .enumerate()
            .flat_map_iter(|(face, &t)| {
                (0..3).filter_map(move |i| {
                    let (a, b) = (t[i], t[(i + 1) % 3]);
                    (a != b).then_some((a.min(b), a.max(b), a < b, face as u32))
                })
            })
            .collect();
        sides.par_sort_unstable();
        let mut parts = Parts::new(self.triangles.len());
        for edge in sides.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            self.edges += 1;
            let [from, to] = [edge[0].0, edge[0].1].map(|place| self.places_mm[place as usize]);
            let place = Some([0, 1, 2].map(|i| 0.5 * from[i] + 0.5 * to[i]));
            match edge.len() {
                1 => self.open.add(place),
                2 if edge[0].2 == edge[1].2 => self.inconsistent.add(place),
                2 => {}
                _ => self.crowded.add(place),
            }
            for pair in edge.windows(2) {
                parts.join(pair[0].3, pair[1].3);
            }
        }
        self.components = parts.count();
    }

    /// Vertices whose triangles form several fans: the sides opposite the vertex do not hang together.
    fn find_pinched(&mut self) {
        let mut spokes: Vec<[u32; 3]> = self
            .triangles
            .par_iter()
            .flat_map_iter(|&t| (0..3).map(move |i| [t[i], t[(i + 1) % 3], t[(i + 2) % 3]]))
            .filter(|[a, b, c]| a != b && b != c && c != a)
            .collect();
        spokes.par_sort_unstable();
        for about in spokes.chunk_by(|a, b| a[0] == b[0]) {
            if fans(about) > 1 {
                self.pinched.add(Some(self.places_mm[about[0][0] as usize]));
            }
        }
    }
}

/// Number of fans among the triangles about one vertex, each given with the vertex first.
fn fans(about: &[[u32; 3]]) -> usize {
    let mut ends: Vec<(u32, u32)> =
        about.iter().enumerate().flat_map(|(i, t)| [(t[1], i as u32), (t[2], i as u32)]).collect();
    ends.sort_unstable();
    let mut parts = Parts::new(about.len());
    for pair in ends.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        parts.join(pair[0].1, pair[1].1);
    }
    parts.count()
}

/// Gives equal places one number; also how many named vertices were not the first at their place.
fn merge(mesh: &TriangleMesh, mut triangles: Vec<[u32; 3]>) -> (Vec<[f32; 3]>, Vec<[u32; 3]>, usize) {
    let mut is_named = vec![false; mesh.vertices_mm.len()];
    for &vertex in triangles.iter().flatten() {
        is_named[vertex as usize] = true;
    }
    // Adding zero makes -0 and 0 one; finite values compare as their bits do not.
    let key = |vertex: usize| mesh.vertices_mm[vertex].map(|x| (x + 0.0).to_bits());
    let mut order: Vec<([u32; 3], u32)> =
        (0..is_named.len()).into_par_iter().filter(|&v| is_named[v]).map(|v| (key(v), v as u32)).collect();
    order.par_sort_unstable();
    let mut place_of = vec![0; is_named.len()];
    let mut places_mm: Vec<[f32; 3]> = Vec::new();
    for (i, &(bits, vertex)) in order.iter().enumerate() {
        if i == 0 || order[i - 1].0 != bits {
            places_mm.push(bits.map(f32::from_bits));
        }
        place_of[vertex as usize] = places_mm.len() as u32 - 1;
    }
    for vertex in triangles.iter_mut().flatten() {
        *vertex = place_of[*vertex as usize];
    }
    let coincident = order.len() - places_mm.len();
    (places_mm, triangles, coincident)
}

/// Sets that are joined one by one.
pub(crate) struct Parts {
    parent: Vec<u32>,
}

impl Parts {
    pub fn new(count: usize) -> Self {
        Self { parent: (0..count as u32).collect() }
    }

    pub fn root(&mut self, mut item: u32) -> u32 {
        while self.parent[item as usize] != item {
            let above = self.parent[item as usize];
            self.parent[item as usize] = self.parent[above as usize];
            item = above;
        }
        item
    }

    pub fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        // The lower number stays: the same roots in whatever order sets are joined.
        self.parent[a.max(b) as usize] = a.min(b);
    }

    pub fn count(&self) -> usize {
        self.parent.iter().enumerate().filter(|&(i, &parent)| i as u32 == parent).count()
    }
}
