//! A shaded picture of a surface, drawn point by point with a depth buffer, in the colours of its vertices.

use crate::picture::rgb_data_url;
use anyhow::Result;
use carm::TriangleMesh;
use nalgebra::Vector3;

/// Pixels of the picture's longer side.
const SIDE: usize = 640;
/// What lies behind.
const BACKGROUND: [u8; 3] = [20, 20, 20];
/// Room around the model, pixels.
const MARGIN: f64 = 4.0;

/// From where a patient's model is seen; the head is on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// From the front: the patient's left is on the right.
    Front,
    /// From the left: the patient's front is on the left.
    Left,
}

impl View {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "from the front, the patient's left on the right",
            Self::Left => "from the left, the patient's front on the left",
        }
    }

    /// Right, down and away from the eye, for a point in LPS.
    fn seen(self, p: Vector3<f64>) -> Vector3<f64> {
        match self {
            Self::Front => Vector3::new(p.x, -p.z, p.y),
            Self::Left => Vector3::new(p.y, -p.z, -p.x),
        }
    }
}

/// A colour for each vertex from a value: red at `low` or below, through yellow, to green at `high` or above.
pub fn scaled_colours(values: &[f32], low: f32, high: f32) -> Vec<[u8; 3]> {
    let colour = |value: &f32| {
        let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
        let ramp = |up: f32| (up.clamp(0.0, 1.0) * 255.0) as u8;
        [ramp(2.0 - 2.0 * part), ramp(0.25 + 1.4 * part), 70]
    };
    values.iter().map(colour).collect()
}

/// The surface in parallel projection, lit from the eye and from above, as a `data:` address.
///
/// `colours`: one a vertex.
pub fn render(mesh: &TriangleMesh, colours: &[[u8; 3]], view: View) -> Result<String> {
    let points: Vec<Vector3<f64>> =
        mesh.vertices_mm.iter().map(|p| view.seen(Vector3::from(p.map(f64::from)))).collect();
    let first = points.first().copied().unwrap_or_default();
    let low = points.iter().fold(first, |low, p| low.inf(p));
    let size = points.iter().fold(first, |high, p| high.sup(p)) - low;
    let scale = (SIDE as f64 - 2.0 * MARGIN) / size.x.max(size.y).max(1e-6);
    let mut canvas = Canvas::new([size.x, size.y].map(|mm| (mm * scale + 2.0 * MARGIN).ceil() as usize));
    for triangle in &mesh.triangles {
        let corners = triangle.map(|v| {
            let p = (points[v as usize] - low) * scale;
            Vector3::new(p.x + MARGIN, p.y + MARGIN, p.z)
        });
        canvas.fill(&corners, triangle.map(|v| colours[v as usize]));
    }
    rgb_data_url(canvas.width, canvas.height, canvas.colours.as_flattened())
}

struct Canvas {
    width: usize,
    height: usize,
    colours: Vec<[u8; 3]>,
    depth: Vec<f64>,
}

impl Canvas {
    fn new([width, height]: [usize; 2]) -> Self {
        let pixels = width * height;
        Self { width, height, colours: vec![BACKGROUND; pixels], depth: vec![f64::INFINITY; pixels] }
    }

    /// Draws every pixel whose middle lies in the triangle, where nothing nearer is drawn yet.
    fn fill(&mut self, corners: &[Vector3<f64>; 3], colours: [[u8; 3]; 3]) {
        let [a, b, c] = corners;
        let normal = (b - a).cross(&(c - a));
        let Some(unit) = normal.try_normalize(0.0).filter(|unit| unit.z != 0.0) else { return };
        let light = 0.25 + 0.6 * unit.z.abs() + 0.15 * (-unit.y * unit.z.signum()).max(-1.0);
        let range = |axis: usize, most: usize| {
            let (low, high) = (a[axis].min(b[axis]).min(c[axis]), a[axis].max(b[axis]).max(c[axis]));
            low.floor().max(0.0) as usize..((high.ceil().max(0.0) as usize) + 1).min(most)
        };
        for y in range(1, self.height) {
            for x in range(0, self.width) {
                let (px, py) = (x as f64 + 0.5, y as f64 + 0.5);
                let side =
                    |p: &Vector3<f64>, q: &Vector3<f64>| (q.x - p.x) * (py - p.y) - (q.y - p.y) * (px - p.x);
                let parts = [side(b, c), side(c, a), side(a, b)].map(|part| part / normal.z);
                let depth = parts[0] * a.z + parts[1] * b.z + parts[2] * c.z;
                let at = y * self.width + x;
                if parts.iter().all(|&part| part >= 0.0) && depth < self.depth[at] {
                    self.depth[at] = depth;
                    self.colours[at] = [0, 1, 2].map(|i| {
                        let mixed: f64 =
                            (0..3).map(|corner| parts[corner] * f64::from(colours[corner][i])).sum();
                        (mixed * light).clamp(0.0, 255.0) as u8
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canvas_shows_the_nearer_triangle_whatever_the_order() {
        let triangle =
            |z: f64| [[0.0, 0.0, z], [10.0, 0.0, z], [0.0, 10.0, z]].map(|p: [f64; 3]| Vector3::from(p));
        let (near, far) = ((triangle(1.0), [[250, 0, 0]; 3]), (triangle(2.0), [[0, 250, 0]; 3]));
        for order in [[&near, &far], [&far, &near]] {
            let mut canvas = Canvas::new([12, 12]);
            order.iter().for_each(|(corners, colours)| canvas.fill(corners, *colours));
            let [red, green, _] = canvas.colours[2 * 12 + 2];
            assert!(red > 100 && green == 0);
            assert_eq!(canvas.colours[11 * 12 + 11], BACKGROUND);
        }
    }

    #[test]
    fn scaled_colours_go_from_red_to_green() {
        let colours = scaled_colours(&[0.0, 1.0, 9.0], 0.5, 2.0);
        assert!(colours[0][0] > 200 && colours[0][1] < 80);
        assert!(colours[2][0] == 0 && colours[2][1] == 255);
    }
}
