//! Points, triangles and their distances.

use nalgebra::Vector3;

/// A stored point as a vector of 64-bit numbers.
pub fn vector(point: [f32; 3]) -> Vector3<f64> {
    Vector3::new(f64::from(point[0]), f64::from(point[1]), f64::from(point[2]))
}

/// A vector rounded to a stored point.
pub fn rounded(vector: &Vector3<f64>) -> [f32; 3] {
    [vector.x as f32, vector.y as f32, vector.z as f32]
}

/// Twice the area times the unit normal.
pub fn doubled_normal(t: &[Vector3<f64>; 3]) -> Vector3<f64> {
    (t[1] - t[0]).cross(&(t[2] - t[0]))
}

/// The point of a closed triangle that is nearest to `p`.
///
/// # Method
/// By the regions of corners, sides and the inside (Ericson, Real-Time Collision Detection, 2005, 5.1.5).
pub fn nearest_on_triangle(p: &Vector3<f64>, [a, b, c]: &[Vector3<f64>; 3]) -> Vector3<f64> {
    let (ab, ac) = (b - a, c - a);
    let from = |corner: &Vector3<f64>| (ab.dot(&(p - corner)), ac.dot(&(p - corner)));
    let ((d1, d2), (d3, d4), (d5, d6)) = (from(a), from(b), from(c));
    if d1 <= 0.0 && d2 <= 0.0 {
        return *a;
    }
    if d3 >= 0.0 && d4 <= d3 {
        return *b;
    }
    if d6 >= 0.0 && d5 <= d6 {
        return *c;
    }
    let vc = d1 * d4 - d3 * d2;
    if vc <= 0.0 && d1 >= 0.0 && d3 <= 0.0 {
        return a + ab * (d1 / (d1 - d3));
    }
    let vb = d5 * d2 - d1 * d6;
    if vb <= 0.0 && d2 >= 0.0 && d6 <= 0.0 {
        return a + ac * (d2 / (d2 - d6));
    }
    let va = d3 * d6 - d5 * d4;
    let (along, back) = (d4 - d3, d5 - d6);
    if va <= 0.0 && along >= 0.0 && back >= 0.0 {
        return b + (c - b) * (along / (along + back));
    }
    let whole = va + vb + vc;
    if whole <= 0.0 {
        // One point, or one line whose ends were not nearest.
        return *a;
    }
    a + ab * (vb / whole) + ac * (vc / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_on_triangle_is_nearest_among_many_points_of_it() {
        let triangle = [[0.0, 0.0, 0.0], [3.0, 0.5, 0.0], [1.0, 2.0, 1.0]].map(Vector3::from);
        for i in 0..6 * 6 * 6 {
            let p = Vector3::new((i % 6) as f64 - 1.0, (i / 6 % 6) as f64 - 1.5, (i / 36) as f64 - 2.0);
            let found = (nearest_on_triangle(&p, &triangle) - p).norm();
            let mut least = f64::INFINITY;
            for (u, v) in (0..=60).flat_map(|u| (0..=60 - u).map(move |v| (u, v))) {
                let (u, v) = (f64::from(u) / 60.0, f64::from(v) / 60.0);
                let on = triangle[0] * (1.0 - u - v) + triangle[1] * u + triangle[2] * v;
                least = least.min((on - p).norm());
            }
            assert!(found <= least + 1e-12 && found > least - 0.06, "{found} against {least}");
        }
    }
}
