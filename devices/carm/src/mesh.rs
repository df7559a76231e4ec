//! A surface of triangles.

/// Vertices in LPS millimetres and triangles that index them, counter-clockwise seen from outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriangleMesh {
    /// LPS, mm.
    pub vertices_mm: Vec<[f32; 3]>,
    /// Three vertex indices a triangle.
    pub triangles: Vec<[u32; 3]>,
}

impl TriangleMesh {
    /// Index of the first triangle that names a vertex which does not exist.
    pub fn first_dangling_triangle(&self) -> Option<usize> {
        let count = self.vertices_mm.len() as u64;
        self.triangles.iter().position(|t| t.iter().any(|&vertex| u64::from(vertex) >= count))
    }
}
