//! A shaded picture of a surface, drawn point by point with a depth buffer.

use crate::picture::{Picture, Window};
use carm::TriangleMesh;
use nalgebra::Vector3;

/// Pixels of the picture's longer side.
const SIDE: usize = 640;
/// Grey of what lies behind.
const BACKGROUND: f32 = 20.0;

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

/// Draws the surface in parallel projection, lit from the eye and from above.
pub fn render(mesh: &TriangleMesh, view: View) -> Picture {
    let points: Vec<Vector3<f64>> =
        mesh.vertices_mm.iter().map(|p| view.seen(Vector3::from(p.map(f64::from)))).collect();
    let first = points.first().copied().unwrap_or_default();
    let low = points.iter().fold(first, |low, p| low.inf(p));
    let high = points.iter().fold(first, |high, p| high.sup(p));
    let size = high - low;
    let scale = (SIDE as f64 - 8.0) / size.x.max(size.y).max(1e-6);
    let [width, height] = [size.x, size.y].map(|mm| (mm * scale).ceil() as usize + 8);
    let mut grey = vec![BACKGROUND; width * height];
    let mut depth = vec![f64::INFINITY; width * height];
    for triangle in &mesh.triangles {
        let corners = triangle.map(|v| {
            let p = (points[v as usize] - low) * scale;
            Vector3::new(p.x + 4.0, p.y + 4.0, p.z)
        });
        fill(&corners, width, height, |at, z, light| {
            if z < depth[at] {
                depth[at] = z;
                grey[at] = light;
            }
        });
    }
    Picture::windowed(grey, width, Window { low: 0.0, high: 255.0 })
}

/// Hands over every pixel whose middle lies in the triangle, with its depth and grey.
fn fill(corners: &[Vector3<f64>; 3], width: usize, height: usize, mut put: impl FnMut(usize, f64, f32)) {
    let [a, b, c] = corners;
    let normal = (b - a).cross(&(c - a));
    let Some(unit) = normal.try_normalize(0.0).filter(|unit| unit.z != 0.0) else { return };
    let light =
        (60.0 + 150.0 * unit.z.abs() + 40.0 * (-unit.y * unit.z.signum()).max(-1.0)).clamp(0.0, 255.0);
    let range = |axis: usize, most: usize| {
        let (low, high) = (a[axis].min(b[axis]).min(c[axis]), a[axis].max(b[axis]).max(c[axis]));
        low.floor().max(0.0) as usize..((high.ceil().max(0.0) as usize) + 1).min(most)
    };
    for y in range(1, height) {
        for x in range(0, width) {
            let (px, py) = (x as f64 + 0.5, y as f64 + 0.5);
            let side =
                |p: &Vector3<f64>, q: &Vector3<f64>| (q.x - p.x) * (py - p.y) - (q.y - p.y) * (px - p.x);
            let parts = [side(b, c), side(c, a), side(a, b)].map(|part| part / normal.z);
            if parts.iter().all(|&part| part >= 0.0) {
                put(y * width + x, parts[0] * a.z + parts[1] * b.z + parts[2] * c.z, light as f32);
            }
        }
    }
}
