//! How the surface passes through one cell, for each of the 256 patterns of corners inside and outside.
//!
//! The table is searched for, not typed. Where a face has two opposite corners inside and two outside, the inside
//! ones are joined; this depends on the face alone, so both of its cells agree. Each face then carries directed
//! segments between cut edges, and in a cell they close to loops. A loop is cut into triangles such that no new
//! line lies in a face of the cell and that, *wherever* on its edges the vertices lie (but not nearer than
//! [`MARGIN`] to a corner), any two triangles of the cell are separated by a plane through vertices or corners,
//! but for the vertices they share. The orientation of four such points is linear in each vertex's place, so its
//! sign over all places is known from the extreme ones: a proof, in integers. Every pattern has such a
//! triangulation.

use std::sync::LazyLock;

/// Vertices keep this part of an edge's length from its ends.
pub const MARGIN: f64 = 1.0 / STEPS as f64;
/// Edge length in the proof's integers; vertices lie between 1 and `STEPS - 1`.
const STEPS: i64 = 20;

/// Triangles of one cell as edges of the cell, counter-clockwise from outside.
pub type CellTriangles = Vec<[u8; 3]>;

/// Indexed by the bits of the corners that are outside; corner `x + 2 y + 4 z`.
pub static TABLE: LazyLock<Vec<CellTriangles>> = LazyLock::new(|| (0..=255).map(triangles_of).collect());

/// Edge `4 * axis + n` of a cell: its lower corner.
pub const fn lower_corner(edge: u8) -> u8 {
    let (axis, n) = (edge / 4, edge % 4);
    match axis {
        0 => n << 1,
        1 => (n & 1) | ((n & 2) << 1),
        _ => n,
    }
}

/// Points that planes are laid through: edges' vertices 0 to 11, corners of the cell 12 to 19.
const FIRST_CORNER: u8 = 12;

fn edge_between(a: u8, b: u8) -> u8 {
    let (low, axis) = (a.min(b), (a ^ b).trailing_zeros() as u8);
    (4 * axis..4 * axis + 4).find(|&edge| lower_corner(edge) == low).expect("corners that share an edge")
}

/// The four corners of each face, counter-clockwise from outside the cell.
fn faces() -> impl Iterator<Item = [u8; 4]> {
    (0..3).flat_map(|axis| {
        let (b, c) = (1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3));
        let low = [0, c, b | c, b];
        let high = [0, b, b | c, c].map(|corner| corner | 1 << axis);
        [low, high]
    })
}

/// Closed loops of cut edges.
fn loops(outside: u8) -> Vec<Vec<u8>> {
    let is_outside = |corner: u8| outside >> corner & 1 == 1;
    let mut next = [None; 12];
    for face in faces() {
        for i in 0..4 {
            if is_outside(face[i]) || !is_outside(face[(i + 1) % 4]) {
                continue;
            }
            let run = (i + 1..).find(|j| !is_outside(face[(j + 1) % 4])).expect("an inside corner");
            let enters = edge_between(face[i], face[(i + 1) % 4]);
            let leaves = edge_between(face[run % 4], face[(run + 1) % 4]);
            next[leaves as usize] = Some(enters);
        }
    }
    let mut found = Vec::new();
    for start in 0..12 {
        let mut closed = Vec::new();
        let mut edge = start;
        while let Some(following) = next[edge as usize].take() {
            closed.push(edge);
            edge = following;
        }
        if !closed.is_empty() {
            found.push(closed);
        }
    }
    found
}

/// Every way to cut a polygon into triangles.
fn triangulations(polygon: &[u8]) -> Vec<CellTriangles> {
    if polygon.len() < 3 {
        return vec![Vec::new()];
    }
    let last = polygon.len() - 1;
    let mut all = Vec::new();
    for middle in 1..last {
        for left in triangulations(&polygon[..=middle]) {
            for right in triangulations(&polygon[middle..]) {
                let mut cut = left.clone();
                cut.push([polygon[0], polygon[middle], polygon[last]]);
                cut.extend(right);
                all.push(cut);
            }
        }
    }
    all
}

/// Whether two cut edges lie in one face of the cell.
fn share_face(a: u8, b: u8) -> bool {
    let ends = |edge: u8| {
        let low = lower_corner(edge);
        (low, low | 1 << (edge / 4))
    };
    let ((a, b), (c, d)) = (ends(a), ends(b));
    (0..3).any(|axis| [a, b, c, d].iter().all(|corner| (corner >> axis & 1) == (a >> axis & 1)))
}

/// No line inside the polygon lies in a face.
fn stays_off_faces(triangles: &CellTriangles, polygon: &[u8]) -> bool {
    let is_side = |a: u8, b: u8| {
        let n = polygon.len();
        (0..n).any(|i| {
            let (p, q) = (polygon[i], polygon[(i + 1) % n]);
            (p, q) == (a, b) || (q, p) == (a, b)
        })
    };
    triangles
        .iter()
        .all(|t| (0..3).all(|i| is_side(t[i], t[(i + 1) % 3]) || !share_face(t[i], t[(i + 1) % 3])))
}

fn place(point: u8, along: i64) -> [i64; 3] {
    let at = |corner: u8| [0, 1, 2].map(|axis| i64::from(corner >> axis & 1) * STEPS);
    if point >= FIRST_CORNER {
        return at(point - FIRST_CORNER);
    }
    let mut place = at(lower_corner(point));
    place[point as usize / 4] = along;
    place
}

fn orientation(p: [[i64; 3]; 4]) -> i64 {
    let [u, v, w] = [1, 2, 3].map(|i| [0, 1, 2].map(|axis| p[i][axis] - p[0][axis]));
    u[0] * (v[1] * w[2] - v[2] * w[1]) - u[1] * (v[0] * w[2] - v[2] * w[0])
        + u[2] * (v[0] * w[1] - v[1] * w[0])
}

/// Sign of the orientation of four different points where it is the same for all places of the vertices.
fn certain_sign(points: [u8; 4]) -> Option<i64> {
    let signs = (0..16_u8).map(|ends| {
        let places = [0, 1, 2, 3].map(|i| place(points[i], if ends >> i & 1 == 0 { 1 } else { STEPS - 1 }));
        orientation(places).signum()
    });
    let mut first = None;
    for sign in signs {
        if sign == 0 || first.is_some_and(|first| first != sign) {
            return None;
        }
        first = Some(sign);
    }
    first
}

/// The one sign of all points of `triangle` off the plane: `Ok(None)` when none is off, `Err` when unknown or mixed.
fn side(plane: [u8; 3], triangle: &[u8; 3]) -> Result<Option<i64>, ()> {
    let mut found = None;
    for &point in triangle.iter().filter(|point| !plane.contains(point)) {
        let sign = certain_sign([plane[0], plane[1], plane[2], point]).ok_or(())?;
        if found.is_some_and(|found| found != sign) {
            return Err(());
        }
        found = Some(sign);
    }
    Ok(found)
}

/// Whether a plane proves that two triangles meet in their shared vertices alone, wherever the vertices lie.
fn are_separated(a: &[u8; 3], b: &[u8; 3]) -> bool {
    let shared: Vec<u8> = a.iter().copied().filter(|point| b.contains(point)).collect();
    let mut points: Vec<u8> = a.to_vec();
    points.extend(b.iter().filter(|point| !a.contains(point)));
    points.extend(FIRST_CORNER..FIRST_CORNER + 8);
    let n = points.len();
    let planes = (0..n).flat_map(|i| (i + 1..n).flat_map(move |j| (j + 1..n).map(move |k| [i, j, k])));
    planes.map(|plane| plane.map(|i| points[i])).any(|plane| {
        if !shared.iter().all(|point| plane.contains(point)) {
            return false;
        }
        match (side(plane, a), side(plane, b)) {
            (Ok(Some(a)), Ok(Some(b))) => a != b,
            // A triangle in the plane itself: the other one lies to one side of it.
            (Ok(None), Ok(Some(_))) | (Ok(Some(_)), Ok(None)) => true,
            _ => false,
        }
    })
}

fn all_separated(triangles: &CellTriangles) -> bool {
    (0..triangles.len()).all(|i| (0..i).all(|j| are_separated(&triangles[i], &triangles[j])))
}

/// Least height of a triangle relative to its longest side with all vertices at mid-edge, squared: larger is better.
fn worst_shape(triangles: &CellTriangles) -> f64 {
    let shape = |t: &[u8; 3]| {
        let p = t.map(|edge| place(edge, STEPS / 2).map(|x| x as f64));
        let side = |i: usize, j: usize| (0..3).map(|k| (p[i][k] - p[j][k]).powi(2)).sum::<f64>();
        let (a, b, c) = (side(0, 1), side(1, 2), side(2, 0));
        let area_squared = (4.0 * a * b - (a + b - c).powi(2)) / 16.0;
        area_squared / a.max(b).max(c).powi(2)
    };
    triangles.iter().map(shape).fold(f64::INFINITY, f64::min)
}

fn triangles_of(outside: u8) -> CellTriangles {
    if outside == 0 || outside == u8::MAX {
        return Vec::new();
    }
    let mut combined: Vec<CellTriangles> = vec![Vec::new()];
    for polygon in loops(outside) {
        let mut cuts = triangulations(&polygon);
        cuts.retain(|cut| stays_off_faces(cut, &polygon) && all_separated(cut));
        combined = combined
            .iter()
            .flat_map(|before| cuts.iter().map(move |cut| [before.as_slice(), cut].concat()))
            .filter(all_separated)
            .collect();
    }
    combined
        .into_iter()
        .max_by(|a, b| worst_shape(a).total_cmp(&worst_shape(b)))
        .expect("every pattern has a triangulation without intersections (shown by the tests)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_table_has_a_proved_triangulation_for_every_pattern() {
        for (outside, triangles) in TABLE.iter().enumerate() {
            let cut = (0..12_u8).filter(|&edge| {
                let low = lower_corner(edge);
                (outside >> low & 1) != (outside >> (low | 1 << (edge / 4)) & 1)
            });
            for edge in cut {
                assert!(
                    triangles.iter().flatten().any(|&used| used == edge),
                    "{outside:08b} leaves edge {edge}"
                );
            }
            assert!(all_separated(triangles), "{outside:08b}");
        }
    }

    #[test]
    fn cell_table_points_outward() {
        // Only corner 0 inside: the one triangle faces (1, 1, 1).
        let triangle = TABLE[0b1111_1110][0].map(|edge| place(edge, 10));
        let corner = place(FIRST_CORNER + 7, 0);
        assert!(orientation([triangle[0], triangle[1], triangle[2], corner]) > 0, "{triangle:?}");
    }
}
