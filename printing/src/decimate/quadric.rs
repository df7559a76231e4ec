//! The sum of squared distances to planes, as a quadratic form.

use nalgebra::{Matrix3, Vector3};

/// `xᵀ A x + 2 bᵀ x + c` with `A` symmetric: area-weighted squared distances to the planes of triangles.
///
/// # Method
/// Garland and Heckbert, SIGGRAPH 1997.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quadric {
    a: [f64; 6],
    b: [f64; 3],
    c: f64,
}

impl Quadric {
    /// For the plane of a triangle, weighted with its area; zero for one without.
    pub fn of_triangle(t: &[Vector3<f64>; 3]) -> Self {
        let doubled = (t[1] - t[0]).cross(&(t[2] - t[0]));
        let length = doubled.norm();
        if length.is_nan() || length <= 0.0 {
            return Self::default();
        }
        let (n, weight) = (doubled / length, length / 2.0);
        let d = -n.dot(&t[0]);
        Self {
            a: [n.x * n.x, n.x * n.y, n.x * n.z, n.y * n.y, n.y * n.z, n.z * n.z].map(|x| weight * x),
            b: [n.x, n.y, n.z].map(|x| weight * d * x),
            c: weight * d * d,
        }
    }

    /// Weighted squared distance to a point, which holds where the planes do not.
    pub fn of_point(p: &Vector3<f64>, weight: f64) -> Self {
        Self {
            a: [1.0, 0.0, 0.0, 1.0, 0.0, 1.0].map(|x| weight * x),
            b: [p.x, p.y, p.z].map(|x| -weight * x),
            c: weight * p.norm_squared(),
        }
    }

    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        sum.a.iter_mut().zip(&other.a).for_each(|(x, y)| *x += y);
        sum.b.iter_mut().zip(&other.b).for_each(|(x, y)| *x += y);
        sum.c += other.c;
        sum
    }

    pub fn at(&self, p: &Vector3<f64>) -> f64 {
        let linear = Vector3::from(self.b);
        (p.dot(&(self.matrix() * p)) + 2.0 * linear.dot(p) + self.c).max(0.0)
    }

    /// The least point, where there is one.
    pub fn least(&self) -> Option<Vector3<f64>> {
        let linear = -Vector3::from(self.b);
        self.matrix().cholesky().map(|factors| factors.solve(&linear))
    }

    fn matrix(&self) -> Matrix3<f64> {
        let [xx, xy, xz, yy, yz, zz] = self.a;
        Matrix3::new(xx, xy, xz, xy, yy, yz, xz, yz, zz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadric_is_least_where_three_planes_meet() {
        let corner = Vector3::new(1.0, 2.0, 3.0);
        let steps = [Vector3::x(), Vector3::y(), Vector3::z()];
        let planes = (0..3).map(|i| [corner, corner + steps[i], corner + steps[(i + 1) % 3]]);
        let sum = planes.map(|t| Quadric::of_triangle(&t)).reduce(|a, b| a.plus(&b)).unwrap();
        assert!((sum.least().unwrap() - corner).norm() < 1e-12 && sum.at(&corner) < 1e-12);
        // Each plane has the area 1/2; two steps from one of them.
        assert!((sum.at(&(corner + Vector3::new(0.0, 0.0, 2.0))) - 2.0).abs() < 1e-12);
    }
}
