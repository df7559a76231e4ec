//! The whole surface, taken apart into layers and put together again.
//!
//! Layers lie one above the other along the longest side. A triangle that reaches into two layers stays as it is in
//! both, and so do its vertices; all others move within their own layer, where nothing of another layer can be. So
//! layers are decimated at the same time, and the result depends on the layers alone, not on who worked on them.

use super::collapse::Surface;
use super::piece::{Interval, Limits, NONE, Piece};
use super::quadric::Quadric;
use crate::bvh::Bounds;
use crate::geometry::vector;
use crate::hausdorff::NearestSurface;
use carm::TriangleMesh;
use rayon::prelude::*;

/// Longest edge that a collapse may make, in mean edges of the original: keeps triangles local, so that colours and
/// confidence have somewhere to be, and the search for neighbours short.
const EDGE_MOST: f64 = 10.0;
/// Every so many triangles one is asked where layers should be cut.
const SAMPLED: usize = 16;

/// A surface with the originals that each triangle stands for.
pub struct Whole {
    positions: Vec<[f32; 3]>,
    quadrics: Vec<Quadric>,
    is_moved: Vec<bool>,
    originals: Vec<[f32; 3]>,
    /// A removed triangle names `NONE`.
    faces: Vec<[u32; 3]>,
    first_passenger: Vec<u32>,
    next_passenger: Vec<u32>,
    face_count: usize,
    deviation_squared: f64,
    mean_edge_mm: f64,
}

/// Where the surface is cut into layers.
pub struct Cuts {
    axis: usize,
    /// First coordinate of each layer but the lowest, mm.
    starts: Vec<f32>,
}

impl Cuts {
    /// No cut: one layer.
    pub const NONE: Self = Self { axis: 0, starts: Vec::new() };

    fn layer(&self, at: f32) -> usize {
        self.starts.partition_point(|&start| start <= at)
    }

    /// Where a layer lies.
    pub fn interval(&self, layer: usize) -> Interval {
        let low = layer.checked_sub(1).map_or(f32::NEG_INFINITY, |below| self.starts[below]);
        let high = self.starts.get(layer).copied().unwrap_or(f32::INFINITY);
        Interval { axis: self.axis, low, high }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.starts.len() + 1
    }
}

/// A layer's triangles.
#[derive(Default)]
pub struct Layer {
    /// Triangles wholly within it, and those that reach beyond, with the number of the former.
    faces: Vec<u32>,
    own: usize,
    /// Triangles that begin in it.
    pub begun: usize,
}

impl Layer {
    /// Triangles wholly within it.
    pub fn own(&self) -> usize {
        self.own
    }
}

/// A layer taken out, with the numbers that its parts have in the whole.
pub struct Taken {
    piece: Piece,
    faces: Vec<u32>,
    own: usize,
    originals: Vec<u32>,
    deviation_squared: f64,
}

impl Whole {
    /// `mesh`: closed and manifold.
    pub fn new(mesh: &TriangleMesh) -> Self {
        let corners = |t: &[u32; 3]| t.map(|v| vector(mesh.vertices_mm[v as usize]));
        let planes: Vec<Quadric> =
            mesh.triangles.par_iter().map(|t| Quadric::of_triangle(&corners(t))).collect();
        let mut quadrics = vec![Quadric::default(); mesh.vertices_mm.len()];
        for (triangle, plane) in mesh.triangles.iter().zip(&planes) {
            triangle.iter().for_each(|&v| quadrics[v as usize] = quadrics[v as usize].plus(plane));
        }
        Self {
            quadrics,
            is_moved: vec![false; mesh.vertices_mm.len()],
            originals: mesh.vertices_mm.clone(),
            positions: mesh.vertices_mm.clone(),
            first_passenger: vec![NONE; mesh.triangles.len()],
            next_passenger: vec![NONE; mesh.vertices_mm.len()],
            face_count: mesh.triangles.len(),
            deviation_squared: 0.0,
            mean_edge_mm: mean_edge(mesh),
            faces: mesh.triangles.clone(),
        }
    }

    pub fn face_count(&self) -> usize {
        self.face_count
    }

    pub fn deviation_mm(&self) -> f64 {
        self.deviation_squared.sqrt()
    }

    /// Limits of one layer.
    pub fn limits<'a>(
        &self,
        original: &'a NearestSurface<'a>,
        max_error_mm: f64,
        interval: Interval,
    ) -> Limits<'a> {
        // As many triangles on the same area: edges grow as the root of what is left.
        let growth = (self.faces.len() as f64 / self.face_count.max(1) as f64).sqrt();
        Limits {
            original,
            error_squared: max_error_mm * max_error_mm,
            edge_most_squared: (EDGE_MOST * self.mean_edge_mm).powi(2),
            mean_edge_mm: self.mean_edge_mm * growth,
            interval,
        }
    }

    /// Cuts along the longest side into layers of about as many triangles, and cuts half-way between those.
    pub fn cuts(&self, layers: usize) -> [Cuts; 2] {
        let bounds = Bounds::of(&self.positions);
        let extent = |axis: usize| f64::from(bounds.high[axis]) - f64::from(bounds.low[axis]);
        let axis = (0..3).max_by(|&a, &b| extent(a).total_cmp(&extent(b))).unwrap_or(0);
        let mut places: Vec<f32> =
            self.faces.iter().step_by(SAMPLED).map(|t| self.positions[t[0] as usize][axis]).collect();
        places.par_sort_unstable_by(f32::total_cmp);
        let at = |half: usize| places[(places.len() * half / (2 * layers)).min(places.len() - 1)];
        [
            Cuts { axis, starts: (1..layers).map(|i| at(2 * i)).collect() },
            Cuts { axis, starts: (0..layers).map(|i| at(2 * i + 1)).collect() },
        ]
    }

    /// The triangles of each layer.
    pub fn layers(&self, cuts: &Cuts) -> Vec<Layer> {
        let mut layers: Vec<Layer> = (0..cuts.layers()).map(|_| Layer::default()).collect();
        let mut crossing = Vec::new();
        for (face, triangle) in self.faces.iter().enumerate().filter(|(_, t)| t[0] != NONE) {
            let at = triangle.map(|v| self.positions[v as usize][cuts.axis]);
            let first = cuts.layer(at[0].min(at[1]).min(at[2]));
            let last = cuts.layer(at[0].max(at[1]).max(at[2]));
            layers[first].begun += 1;
            if first == last {
                layers[first].faces.push(face as u32);
            } else {
                crossing.push((face as u32, first, last));
            }
        }
        layers.iter_mut().for_each(|layer| layer.own = layer.faces.len());
        for (face, first, last) in crossing {
            layers[first..=last].iter_mut().for_each(|layer| layer.faces.push(face));
        }
        layers
    }

    /// Takes a layer out of the whole.
    pub fn piece(&self, layer: Layer) -> Taken {
        let Layer { faces, own, .. } = layer;
        let named = |range: &[u32]| range.iter().flat_map(|&f| self.faces[f as usize]).collect::<Vec<u32>>();
        let mut originals = named(&faces);
        originals.sort_unstable();
        originals.dedup();
        let local = |vertex: u32| originals.binary_search(&vertex).expect("a vertex of the layer") as u32;
        let mut is_locked = vec![false; originals.len()];
        named(&faces[own..]).into_iter().for_each(|vertex| is_locked[local(vertex) as usize] = true);
        let of = |vertices: &[u32], points: &[[f32; 3]]| {
            vertices.iter().map(|&v| points[v as usize]).collect::<Vec<_>>()
        };
        let mut piece = Piece {
            positions: of(&originals, &self.positions),
            quadrics: originals.iter().map(|&v| self.quadrics[v as usize]).collect(),
            faces: faces.iter().map(|&f| self.faces[f as usize].map(local)).collect(),
            is_moved: originals.iter().map(|&v| self.is_moved[v as usize]).collect(),
            is_locked,
            originals: Vec::new(),
            first_passenger: vec![NONE; faces.len()],
            next_passenger: vec![NONE; originals.len()],
        };
        for (face, first) in faces[..own].iter().zip(&mut piece.first_passenger) {
            let mut passenger = self.first_passenger[*face as usize];
            while passenger != NONE {
                piece.next_passenger.push(*first);
                *first = originals.len() as u32;
                originals.push(passenger);
                passenger = self.next_passenger[passenger as usize];
            }
        }
        piece.originals = of(&originals, &self.originals);
        Taken { piece, faces, own, originals, deviation_squared: 0.0 }
    }

    /// Puts a layer back in its place.
    pub fn take_back(&mut self, taken: Taken) {
        let Taken { piece, faces, own, originals, deviation_squared } = taken;
        self.deviation_squared = self.deviation_squared.max(deviation_squared);
        for (i, &vertex) in
            originals[..piece.positions.len()].iter().enumerate().filter(|(i, _)| !piece.is_locked[*i])
        {
            self.positions[vertex as usize] = piece.positions[i];
            self.quadrics[vertex as usize] = piece.quadrics[i];
            self.is_moved[vertex as usize] = piece.is_moved[i];
        }
        for (i, &face) in faces[..own].iter().enumerate() {
            let triangle = piece.faces[i];
            if triangle[0] == NONE {
                self.faces[face as usize] = [NONE; 3];
                self.face_count -= 1;
                continue;
            }
            self.faces[face as usize] = triangle.map(|v| originals[v as usize]);
            let mut chain = NONE;
            let mut passenger = piece.first_passenger[i];
            while passenger != NONE {
                let original = originals[passenger as usize];
                self.next_passenger[original as usize] = chain;
                chain = original;
                passenger = piece.next_passenger[passenger as usize];
            }
            self.first_passenger[face as usize] = chain;
        }
    }

    /// What is left, its vertices numbered as they are first named.
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
}

impl Taken {
    /// Works on the layer through its surface.
    pub fn worked(self, limits: Limits<'_>, work: impl FnOnce(&mut Surface<'_>)) -> Self {
        let Self { piece, faces, own, originals, .. } = self;
        let mut surface = Surface::new(piece, limits);
        work(&mut surface);
        let (piece, deviation_squared) = surface.into_piece();
        Self { piece, faces, own, originals, deviation_squared }
    }
}

fn mean_edge(mesh: &TriangleMesh) -> f64 {
    let length = |t: &[u32; 3]| {
        let p = t.map(|vertex| vector(mesh.vertices_mm[vertex as usize]));
        (0..3).map(|i| (p[i] - p[(i + 1) % 3]).norm()).sum::<f64>()
    };
    mesh.triangles.iter().map(length).sum::<f64>() / (3 * mesh.triangles.len()).max(1) as f64
}
