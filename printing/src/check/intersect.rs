//! Do two triangles meet, decided exactly.
//!
//! Every decision is the sign of an orientation determinant, computed with as many digits as it takes (Shewchuk,
//! Discrete Comput. Geom. 18, 1997, by the crate `robust`). Triangles are closed: touching is meeting.

use robust::{Coord, Coord3D, orient2d, orient3d};

/// A corner, exactly as it is stored.
pub type Corner = [f32; 3];

fn sign(value: f64) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}

/// On which side of the plane through `a`, `b`, `c` the point `d` lies.
pub fn side_of_plane(a: Corner, b: Corner, c: Corner, d: Corner) -> i8 {
    let [a, b, c, d] =
        [a, b, c, d].map(|p| Coord3D { x: f64::from(p[0]), y: f64::from(p[1]), z: f64::from(p[2]) });
    sign(orient3d(a, b, c, d))
}

/// Turn of `a`, `b`, `c` as seen along an axis.
fn turn(a: Corner, b: Corner, c: Corner, axis: usize) -> i8 {
    let [a, b, c] =
        [a, b, c].map(|p| Coord { x: f64::from(p[(axis + 1) % 3]), y: f64::from(p[(axis + 2) % 3]) });
    sign(orient2d(a, b, c))
}

/// An axis along which the triangle has an area; none for a triangle whose corners lie on one line.
pub fn projection(t: [Corner; 3]) -> Option<usize> {
    (0..3).find(|&axis| turn(t[0], t[1], t[2], axis) != 0)
}

/// Whether two triangles that name no common corner have a point in common.
pub fn meet(a: [Corner; 3], b: [Corner; 3]) -> bool {
    if is_beside(a, b) || is_beside(b, a) {
        return false;
    }
    (0..3).any(|i| segment_meets(a[i], a[(i + 1) % 3], b))
        || (0..3).any(|i| segment_meets(b[i], b[(i + 1) % 3], a))
}

/// Whether two triangles meet outside the corner `a[0] == b[0]` that they share.
///
/// A common point beyond the corner lies on a segment from it; prolonged, it leaves one of the triangles first,
/// through the side opposite the corner.
pub fn meet_beyond_corner(a: [Corner; 3], b: [Corner; 3]) -> bool {
    segment_meets(a[1], a[2], b) || segment_meets(b[1], b[2], a)
}

/// Whether two triangles meet outside the side `a[0] a[1]`, which they share: one lies folded onto the other.
pub fn meet_beyond_side(a: [Corner; 3], b_third: Corner) -> bool {
    if side_of_plane(a[0], a[1], a[2], b_third) != 0 {
        return false;
    }
    projection(a).is_some_and(|axis| turn(a[0], a[1], a[2], axis) == turn(a[0], a[1], b_third, axis))
}

/// All of `b` lies strictly on one side of the plane of `a`.
fn is_beside(a: [Corner; 3], b: [Corner; 3]) -> bool {
    let first = side_of_plane(a[0], a[1], a[2], b[0]);
    first != 0 && b[1..].iter().all(|&corner| side_of_plane(a[0], a[1], a[2], corner) == first)
}

/// Whether a closed segment and a closed triangle with an area have a point in common.
fn segment_meets(p: Corner, q: Corner, t: [Corner; 3]) -> bool {
    let (side_p, side_q) = (side_of_plane(t[0], t[1], t[2], p), side_of_plane(t[0], t[1], t[2], q));
    if side_p == 0 && side_q == 0 {
        return projection(t).is_some_and(|axis| segment_meets_in_plane(p, q, t, axis));
    }
    if side_p == side_q {
        return false;
    }
    // The line through p and q crosses the plane in one point: it must pass all sides on the same hand.
    let hands = [0, 1, 2].map(|i| side_of_plane(p, q, t[i], t[(i + 1) % 3]));
    !(hands.contains(&1) && hands.contains(&-1))
}

fn segment_meets_in_plane(p: Corner, q: Corner, t: [Corner; 3], axis: usize) -> bool {
    let hand = turn(t[0], t[1], t[2], axis);
    let holds = |point: Corner| (0..3).all(|i| turn(t[i], t[(i + 1) % 3], point, axis) != -hand);
    holds(p) || holds(q) || (0..3).any(|i| segments_meet_in_plane(p, q, t[i], t[(i + 1) % 3], axis))
}

fn segments_meet_in_plane(p: Corner, q: Corner, a: Corner, b: Corner, axis: usize) -> bool {
    let (of_a, of_b) = (turn(p, q, a, axis), turn(p, q, b, axis));
    let (of_p, of_q) = (turn(a, b, p, axis), turn(a, b, q, axis));
    if of_a != of_b && of_p != of_q && !(of_a == 0 && of_b == 0) {
        return true;
    }
    let between = |point: Corner, from: Corner, to: Corner| {
        turn(from, to, point, axis) == 0
            && [(axis + 1) % 3, (axis + 2) % 3]
                .iter()
                .all(|&i| point[i] >= from[i].min(to[i]) && point[i] <= from[i].max(to[i]))
    };
    between(a, p, q) || between(b, p, q) || between(p, a, b) || between(q, a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: [Corner; 3] = [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 0.0]];

    #[test]
    fn triangles_meet_when_pierced_touched_or_overlapping() {
        let pierced = [[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [5.0, 5.0, 1.0]];
        let touched = [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 1.0]];
        let inside = [[1.0, 1.0, 0.0], [1.5, 1.0, 0.0], [1.0, 1.5, 0.0]];
        let across = [[-1.0, 1.0, 0.0], [5.0, 1.0, 0.0], [5.0, 1.5, 0.0]];
        let corner_on_side = [[2.0, 2.0, 0.0], [3.0, 3.0, 0.0], [4.0, 3.0, 0.0]];
        for other in [pierced, touched, inside, across, corner_on_side] {
            assert!(meet(FLAT, other) && meet(other, FLAT), "{other:?}");
        }
    }

    #[test]
    fn triangles_apart_do_not_meet_however_near() {
        let above = FLAT.map(|[x, y, _]| [x, y, f32::MIN_POSITIVE]);
        let beside = [[2.0, 2.000_000_2, 0.0], [3.0, 3.0, 0.0], [4.0, 3.0, 0.0]];
        let past = [[5.0, 5.0, -1.0], [5.0, 5.0, 1.0], [6.0, 5.0, 0.0]];
        for other in [above, beside, past] {
            assert!(!meet(FLAT, other) && !meet(other, FLAT), "{other:?}");
        }
    }

    #[test]
    fn triangles_that_share_a_corner_or_side_meet_only_beyond_it() {
        let folded = [1.0, 1.0, 0.0];
        assert!(meet_beyond_side(FLAT, folded));
        assert!(!meet_beyond_side(FLAT, [1.0, -1.0, 0.0]));
        assert!(!meet_beyond_side(FLAT, [1.0, 1.0, 1e-30]));
        let into = [FLAT[0], [1.0, 1.0, -1.0], [1.0, 1.0, 1.0]];
        let away = [FLAT[0], [-1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]];
        let along = [FLAT[0], [2.0, 0.0, 0.0], [2.0, -1.0, 0.0]];
        assert!(meet_beyond_corner(FLAT, into) && meet_beyond_corner(FLAT, along));
        assert!(!meet_beyond_corner(FLAT, away));
    }
}
