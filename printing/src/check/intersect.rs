//! Do two triangles meet, decided exactly.
//!
//! Every decision is the sign of an orientation determinant, computed with as many digits as it takes (Shewchuk,
//! Discrete Comput. Geom. 18, 1997, by the crate `robust`). Triangles are closed: touching is meeting.

use robust::{Coord, Coord3D, orient2d, orient3d};

/// A corner, exactly as it is stored.
pub type Corner = [f32; 3];

/// A sum of products of differences has the sign it shows when it exceeds this part of the sum of their amounts
/// (Shewchuk's bounds of first stage, (7 + 56 ε) ε and (3 + 16 ε) ε, rounded up).
const SURE_3D: f64 = 8e-16;
const SURE_2D: f64 = 4e-16;

fn sign(value: f64) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}

/// The sign of a determinant where it is sure. Products of 32-bit numbers cannot underflow in 64 bits, so amounts of
/// nothing are nothing.
fn sure_sign(determinant: f64, amounts: f64, part: f64) -> Option<i8> {
    (determinant.abs() > part * amounts || amounts == 0.0).then(|| sign(determinant))
}

/// On which side of the plane through `a`, `b`, `c` the point `d` lies.
#[inline]
pub fn side_of_plane(a: Corner, b: Corner, c: Corner, d: Corner) -> i8 {
    let from_d = |p: Corner| [0, 1, 2].map(|i| f64::from(p[i]) - f64::from(d[i]));
    let (p, q, r) = (from_d(a), from_d(b), from_d(c));
    let (mut determinant, mut amounts) = (0.0, 0.0);
    for (i, x) in p.into_iter().enumerate() {
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        let (plus, minus) = (q[j] * r[k], q[k] * r[j]);
        determinant += x * (plus - minus);
        amounts += x.abs() * (plus.abs() + minus.abs());
    }
    sure_sign(determinant, amounts, SURE_3D).unwrap_or_else(|| exact_side_of_plane([a, b, c, d]))
}

#[cold]
fn exact_side_of_plane(corners: [Corner; 4]) -> i8 {
    if let Some(side) = whole_side_of_plane(corners) {
        return side;
    }
    let [a, b, c, d] =
        corners.map(|p| Coord3D { x: f64::from(p[0]), y: f64::from(p[1]), z: f64::from(p[2]) });
    sign(orient3d(a, b, c, d))
}

/// In whole numbers, where all coordinates are multiples of the same power of two and 40 bits hold them, which is the
/// rule: six products of differences of 41 bits then fit into 127.
fn whole_side_of_plane(corners: [Corner; 4]) -> Option<i8> {
    let most = corners.iter().flatten().fold(0.0_f32, |most, x| most.max(x.abs()));
    // A power of two: the exponent's bits alone.
    let unit = f64::from_bits(f64::from(most).to_bits() & 0x7ff << 52);
    let scale = (1_u64 << 39) as f64 / unit;
    let mut whole = [[0_i64; 3]; 4];
    for (to, from) in whole.iter_mut().flatten().zip(corners.iter().flatten()) {
        let scaled = f64::from(*from) * scale;
        *to = scaled as i64;
        if *to as f64 != scaled {
            return None;
        }
    }
    let [p, q, r] = [0, 1, 2].map(|i| [0, 1, 2].map(|axis| whole[i][axis] - whole[3][axis]));
    let determinant = (0..3).fold(0_i128, |sum, i| {
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        let product = |x: i64, y: i64| i128::from(x) * i128::from(y);
        sum + i128::from(p[i]) * (product(q[j], r[k]) - product(q[k], r[j]))
    });
    Some(determinant.signum() as i8)
}

/// Turn of `a`, `b`, `c` as seen along an axis.
#[inline]
fn turn(a: Corner, b: Corner, c: Corner, axis: usize) -> i8 {
    let [a, b, c] = [a, b, c].map(|p| [f64::from(p[(axis + 1) % 3]), f64::from(p[(axis + 2) % 3])]);
    let (plus, minus) = ((a[0] - c[0]) * (b[1] - c[1]), (a[1] - c[1]) * (b[0] - c[0]));
    sure_sign(plus - minus, plus.abs() + minus.abs(), SURE_2D).unwrap_or_else(|| exact_turn([a, b, c]))
}

#[cold]
fn exact_turn(corners: [[f64; 2]; 3]) -> i8 {
    let [a, b, c] = corners.map(|[x, y]| Coord { x, y });
    sign(orient2d(a, b, c))
}

/// An axis along which the triangle has an area; none for a triangle whose corners lie on one line.
pub fn projection(t: [Corner; 3]) -> Option<usize> {
    (0..3).find(|&axis| turn(t[0], t[1], t[2], axis) != 0)
}

/// Whether two triangles that name no common corner have a point in common.
pub fn meet(a: [Corner; 3], b: [Corner; 3]) -> bool {
    let of_b = b.map(|corner| side_of_plane(a[0], a[1], a[2], corner));
    if is_beside(of_b) {
        return false;
    }
    let of_a = a.map(|corner| side_of_plane(b[0], b[1], b[2], corner));
    !is_beside(of_a) && (has_side_that_meets(a, of_a, b) || has_side_that_meets(b, of_b, a))
}

/// Whether two triangles meet outside the corner `a[0] == b[0]` that they share.
///
/// A triangle seen from its corner is a sector, and the two meet beyond the corner where their sectors do: as cones
/// have no scale, wherever they have a ray in common.
pub fn meet_beyond_corner(a: [Corner; 3], b: [Corner; 3]) -> bool {
    let [first, second] = [a[1], a[2]].map(|corner| side_of_plane(b[0], b[1], b[2], corner));
    if first == 0 && second == 0 {
        return projection(b).is_some_and(|axis| sectors_meet_in_plane(a, b, axis));
    }
    if first == second {
        return false;
    }
    // The side opposite the corner passes the plane in one point: it must lie within both sides of the other sector.
    let beyond = if first == 0 { -second } else { first };
    side_of_plane(a[1], a[2], b[0], b[1]) != beyond && side_of_plane(a[1], a[2], b[2], b[0]) != beyond
}

/// Sectors of one plane with a common corner: where they meet, one has the other's first side within.
fn sectors_meet_in_plane(a: [Corner; 3], b: [Corner; 3], axis: usize) -> bool {
    let hand = turn(b[0], b[1], b[2], axis);
    let a = if turn(a[0], a[1], a[2], axis) == hand { a } else { [a[0], a[2], a[1]] };
    let holds = |t: [Corner; 3], point: Corner| {
        turn(t[0], t[1], point, axis) != -hand && turn(t[0], point, t[2], axis) != -hand
    };
    holds(a, b[1]) || holds(b, a[1])
}

/// Whether two triangles meet outside the side `a[0] a[1]`, which they share: one lies folded onto the other.
pub fn meet_beyond_side(a: [Corner; 3], b_third: Corner) -> bool {
    if side_of_plane(a[0], a[1], a[2], b_third) != 0 {
        return false;
    }
    projection(a).is_some_and(|axis| turn(a[0], a[1], a[2], axis) == turn(a[0], a[1], b_third, axis))
}

/// All corners lie strictly on one side.
fn is_beside(sides: [i8; 3]) -> bool {
    sides[0] != 0 && sides[1] == sides[0] && sides[2] == sides[0]
}

/// Whether one of `a`'s sides and the closed triangle `b` with an area have a point in common. `of_a`: where `a`'s
/// corners lie.
fn has_side_that_meets(a: [Corner; 3], of_a: [i8; 3], b: [Corner; 3]) -> bool {
    (0..3).any(|i| {
        let j = (i + 1) % 3;
        segment_meets((a[i], of_a[i]), (a[j], of_a[j]), b)
    })
}

fn segment_meets((p, side_p): (Corner, i8), (q, side_q): (Corner, i8), t: [Corner; 3]) -> bool {
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

    /// Corners on a lattice, most of them in planes and lines with others.
    fn scattered(count: usize) -> Vec<[f32; 3]> {
        let mut state = 11_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33 & 3) as f32 - 1.0
        };
        (0..count).map(|_| [next(), next(), next()]).collect()
    }

    #[test]
    fn sides_and_turns_are_those_of_adaptive_arithmetic() {
        let adaptive = |[a, b, c, d]: [Corner; 4]| {
            let [a, b, c, d] = [a, b, c, d].map(|p| Coord3D { x: p[0], y: p[1], z: p[2] });
            (sign(orient3d(a, b, c, d)), [a, b, c].map(|p| Coord { x: p.y, y: p.z }))
        };
        let mut zeros = 0;
        for (i, four) in scattered(40_000).as_chunks::<4>().0.iter().enumerate() {
            // As they are; moved by what 32 bits must round; with a number that no common power of two reaches.
            let moved = four.map(|p| p.map(|x| [x, x * 0.1 + 0.7, x * 0.3][i % 3]));
            let [a, b, c, mut d] = moved;
            d[2] += if i % 7 == 0 { 1e-30 } else { 0.0 };
            let (side, [p, q, r]) = adaptive([a, b, c, d]);
            assert_eq!(side_of_plane(a, b, c, d), side, "{a:?} {b:?} {c:?} {d:?}");
            assert_eq!(whole_side_of_plane([a, b, c, d]).unwrap_or(side), side, "{a:?} {b:?} {c:?} {d:?}");
            assert_eq!(turn(a, b, c, 0), sign(orient2d(p, q, r)));
            zeros += usize::from(side == 0);
        }
        assert!(zeros > 500, "{zeros}");
    }

    #[test]
    fn sectors_meet_where_a_side_opposite_the_corner_meets_the_other_triangle() {
        let opposite_meets = |a: [Corner; 3], b: [Corner; 3]| {
            let with_side = |corner: Corner| (corner, side_of_plane(b[0], b[1], b[2], corner));
            segment_meets(with_side(a[1]), with_side(a[2]), b)
        };
        let mut meetings = 0;
        let corners = scattered(100_000);
        for five in corners.as_chunks::<5>().0 {
            let (a, b) = ([five[0], five[1], five[2]], [five[0], five[3], five[4]]);
            if projection(a).is_none() || projection(b).is_none() {
                continue;
            }
            let is_meeting = opposite_meets(a, b) || opposite_meets(b, a);
            assert_eq!(meet_beyond_corner(a, b), is_meeting, "{a:?} {b:?}");
            meetings += usize::from(is_meeting);
        }
        assert!(meetings > 1000, "{meetings}");
    }
}
