//! A part of a surface that is decimated on its own: what it needs to know of itself and of its borders.

use super::quadric::Quadric;
use crate::hausdorff::NearestSurface;

/// No triangle, no passenger.
pub const NONE: u32 = u32::MAX;

/// Triangles with all that lies about them, numbered from zero.
pub struct Piece {
    pub positions: Vec<[f32; 3]>,
    pub quadrics: Vec<Quadric>,
    /// A removed triangle names `NONE`. Triangles that reach beyond the block are only there to be kept clear of.
    pub faces: Vec<[u32; 3]>,
    /// Whether a vertex has left its original place.
    pub is_moved: Vec<bool>,
    /// Vertices with triangles that other pieces know, too: they stay where they are.
    pub is_locked: Vec<bool>,
    /// Vertices between which no edge may go: each was looked at, and nothing of its own has changed since.
    pub is_settled: Vec<bool>,
    /// Original vertices: first those that were at `positions`, then the other passengers.
    pub originals: Vec<[f32; 3]>,
    /// Original vertices that a triangle stands for, chained.
    pub first_passenger: Vec<u32>,
    pub next_passenger: Vec<u32>,
}

/// A block of space: pieces in different ones cannot meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// First coordinates within, mm.
    pub low: [f32; 3],
    /// First coordinates beyond, mm.
    pub high: [f32; 3],
}

impl Block {
    /// Whether a point lies within.
    pub fn holds(&self, point: [f32; 3]) -> bool {
        (0..3).all(|axis| self.low[axis] <= point[axis] && point[axis] < self.high[axis])
    }
}

/// What a collapse has to keep to.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// The surface that everything started from.
    pub original: &'a NearestSurface<'a>,
    /// Largest distance of an original vertex, and of new vertices and triangles' middles from the original, mm, squared.
    pub error_squared: f64,
    /// Longest edge that may be made, mm, squared.
    pub edge_most_squared: f64,
    /// Mean edge to begin with, mm.
    pub mean_edge_mm: f64,
    /// Where new vertices may lie.
    pub block: Block,
}
