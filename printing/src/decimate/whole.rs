//! The whole surface, taken apart into blocks and put together again.
//!
//! Planes across each axis cut space into blocks. A triangle that reaches into several blocks stays as it is in all of
//! them, and so do its vertices; all others move within their own block, where nothing of another block can be. So
//! blocks are decimated at the same time, and the result depends on the blocks alone, not on who worked on them. A
//! block's part of the surface is small enough to stay in a processor's cache, which is worth as much as the company.

use super::collapse::Surface;
use super::piece::{Block, Limits, NONE, Piece};
use super::quadric::Quadric;
use crate::bvh::Bounds;
use crate::geometry::vector;
use crate::hausdorff::NearestSurface;
use carm::TriangleMesh;
use rayon::prelude::*;

/// Longest edge that a collapse may make, in mean edges of the original: keeps triangles local, so that colours and
/// confidence have somewhere to be, and the search for neighbours short.
const EDGE_MOST: f64 = 10.0;
/// Every so many triangles one is asked where blocks should be cut.
const SAMPLED: usize = 16;

/// A surface with the originals that each triangle stands for.
pub struct Whole {
    positions: Vec<[f32; 3]>,
    quadrics: Vec<Quadric>,
    is_moved: Vec<bool>,
    is_settled: Vec<bool>,
    originals: Vec<[f32; 3]>,
    /// A removed triangle names `NONE`.
    faces: Vec<[u32; 3]>,
    first_passenger: Vec<u32>,
    next_passenger: Vec<u32>,
    face_count: usize,
    deviation_squared: f64,
    mean_edge_mm: f64,
}

/// Where the surface is cut into blocks.
#[derive(Default)]
pub struct Cuts {
    /// Along each axis the first coordinate of each slab but the lowest, mm.
    starts: [Vec<f32>; 3],
}

impl Cuts {
    /// No cut: one block.
    pub const NONE: Self = Self { starts: [const { Vec::new() }; 3] };

    fn slabs(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.starts[axis].len() + 1)
    }

    fn slab(&self, axis: usize, at: f32) -> usize {
        self.starts[axis].partition_point(|&start| start <= at)
    }

    fn number(&self, slab: [usize; 3]) -> usize {
        let [nx, ny, _] = self.slabs();
        (slab[2] * ny + slab[1]) * nx + slab[0]
    }

    /// Where a block lies.
    pub fn block(&self, number: usize) -> Block {
        let [nx, ny, _] = self.slabs();
        let slab = [number % nx, number / nx % ny, number / (nx * ny)];
        let start = |axis: usize, slab: usize| self.starts[axis].get(slab).copied();
        Block {
            low: [0, 1, 2].map(|axis| {
                slab[axis].checked_sub(1).and_then(|below| start(axis, below)).unwrap_or(f32::NEG_INFINITY)
            }),
            high: [0, 1, 2].map(|axis| start(axis, slab[axis]).unwrap_or(f32::INFINITY)),
        }
    }
}

/// A block's triangles.
#[derive(Default)]
pub struct Share {
    /// Triangles wholly within it, and those that reach beyond, with the number of the former.
    faces: Vec<u32>,
    own: usize,
    /// Triangles that begin in it.
    pub begun: usize,
}

impl Share {
    /// Triangles wholly within it.
    pub fn own(&self) -> usize {
        self.own
    }
}

/// A block taken out, with the numbers that its parts have in the whole.
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
            is_settled: vec![false; mesh.vertices_mm.len()],
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

    /// Limits in one block.
    pub fn limits<'a>(
        &self,
        original: &'a NearestSurface<'a>,
        max_error_mm: f64,
        block: Block,
    ) -> Limits<'a> {
        // As many triangles on the same area: edges grow as the root of what is left.
        let growth = (self.faces.len() as f64 / self.face_count.max(1) as f64).sqrt();
        Limits {
            original,
            error_squared: max_error_mm * max_error_mm,
            edge_most_squared: (EDGE_MOST * self.mean_edge_mm).powi(2),
            mean_edge_mm: self.mean_edge_mm * growth,
            block,
        }
    }

    /// Cuts into about so many blocks, nearly cubes of about as many triangles, and cuts half-way between those.
    pub fn cuts(&self, blocks: usize) -> [Cuts; 2] {
        let bounds = Bounds::of(&self.positions);
        let extents = [0, 1, 2].map(|axis| f64::from(bounds.high[axis]) - f64::from(bounds.low[axis]));
        let side = (extents.iter().product::<f64>() / blocks as f64).cbrt().max(f64::MIN_POSITIVE);
        let mut cuts = [Cuts::NONE, Cuts::NONE];
        for (axis, extent) in extents.into_iter().enumerate() {
            let mut places: Vec<f32> =
                self.faces.iter().step_by(SAMPLED).map(|t| self.positions[t[0] as usize][axis]).collect();
            places.par_sort_unstable_by(f32::total_cmp);
            let slabs = (extent / side).round().clamp(1.0, blocks as f64) as usize;
            let at = |half: usize| places[(places.len() * half / (2 * slabs)).min(places.len() - 1)];
            cuts[0].starts[axis] = (1..slabs).map(|i| at(2 * i)).collect();
            cuts[1].starts[axis] = (0..slabs).map(|i| at(2 * i + 1)).collect();
        }
        cuts
    }

    /// The triangles of each block.
    pub fn blocks(&self, cuts: &Cuts) -> Vec<Share> {
        let count = cuts.slabs().iter().product();
        let mut blocks: Vec<Share> = (0..count).map(|_| Share::default()).collect();
        let mut crossing = Vec::new();
        for (face, triangle) in self.faces.iter().enumerate().filter(|(_, t)| t[0] != NONE) {
            let bounds = Bounds::of(&triangle.map(|v| self.positions[v as usize]));
            let [first, last] =
                [bounds.low, bounds.high].map(|at| [0, 1, 2].map(|axis| cuts.slab(axis, at[axis])));
            let block = &mut blocks[cuts.number(first)];
            block.begun += 1;
            if first == last {
                block.faces.push(face as u32);
            } else {
                crossing.push((face as u32, first, last));
            }
        }
        blocks.iter_mut().for_each(|block| block.own = block.faces.len());
        for (face, first, last) in crossing {
            for z in first[2]..=last[2] {
                for y in first[1]..=last[1] {
                    (first[0]..=last[0]).for_each(|x| blocks[cuts.number([x, y, z])].faces.push(face));
                }
            }
        }
        blocks
    }

    /// Takes a block's triangles out of the whole.
    pub fn piece(&self, share: Share) -> Taken {
        let Share { faces, own, .. } = share;
        let named = |range: &[u32]| range.iter().flat_map(|&f| self.faces[f as usize]).collect::<Vec<u32>>();
        let mut originals = named(&faces);
        originals.sort_unstable();
        originals.dedup();
        let local = |vertex: u32| originals.binary_search(&vertex).expect("a vertex of the block") as u32;
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
            is_settled: originals.iter().map(|&v| self.is_settled[v as usize]).collect(),
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

    /// Puts a block back in its place.
    pub fn take_back(&mut self, taken: Taken) {
        let Taken { piece, faces, own, originals, deviation_squared } = taken;
        self.deviation_squared = self.deviation_squared.max(deviation_squared);
        for (i, &vertex) in originals[..piece.positions.len()].iter().enumerate() {
            self.is_settled[vertex as usize] = piece.is_settled[i];
            if !piece.is_locked[i] {
                self.positions[vertex as usize] = piece.positions[i];
                self.quadrics[vertex as usize] = piece.quadrics[i];
                self.is_moved[vertex as usize] = piece.is_moved[i];
            }
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
    /// Works on the block through its surface.
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
