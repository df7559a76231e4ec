//! How thick a model is at each of its vertices.

use crate::error::PrintingError;
use crate::hausdorff::NearestSurface;
use crate::medial::medial_balls;
use carm::TriangleMesh;

/// Local thickness at each vertex, mm: the diameter of the largest ball inside that touches the surface there, no more
/// than `most_mm`. At sharp convex edges it goes to zero with the edge.
///
/// # Errors
/// `Empty`, `Unsound` for a mesh that is no surface; `Parameter`.
pub fn thickness(mesh: &TriangleMesh, most_mm: f64) -> Result<Vec<f32>, PrintingError> {
    if !(most_mm > 0.0 && most_mm.is_finite()) {
        return Err(PrintingError::Parameter {
            what: "largest thickness in mm",
            expected: "more than zero",
            found: most_mm,
        });
    }
    let near = NearestSurface::new(mesh)?;
    let balls = medial_balls(mesh, &near, most_mm / 2.0);
    Ok(balls.into_iter().map(|ball| (2.0 * ball.radius_mm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, Silent, surface};
    use carm::VolumeGrid;
    use nalgebra::{Matrix3, Point3, Vector3};

    #[test]
    fn thickness_is_a_plates_a_balls_and_a_tubes_own() {
        let grid = VolumeGrid::centred([44; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let normal = Vector3::new(0.2, 0.3, 1.0) / Vector3::new(0.2_f64, 0.3, 1.0).norm();
        type Shape = Box<dyn Fn(&Point3<f64>) -> f64 + Sync>;
        let cases: [(f64, Shape); 3] = [
            (2.0, Box::new(move |p| 1.0 - normal.dot(&p.coords).abs())),
            (8.0, Box::new(|p| 4.0 - p.coords.norm())),
            (5.0, Box::new(|p| 2.5 - p.x.hypot(p.y))),
        ];
        for (expected, shape) in cases {
            let mesh = surface(&Field::from_fn(grid, shape).unwrap(), &mut Silent).unwrap();
            let found = thickness(&mesh, 20.0).unwrap();
            let mut inner: Vec<f32> = (0..found.len())
                .filter(|&v| mesh.vertices_mm[v].iter().all(|x| x.abs() < 6.0))
                .map(|v| found[v])
                .collect();
            inner.sort_by(f32::total_cmp);
            let median = f64::from(inner[inner.len() / 2]);
            // A ball that touches a round surface everywhere is held by its facets.
            assert!((median / expected - 1.0).abs() < 0.05, "{median} against {expected}");
            assert!(
                f64::from(inner[inner.len() / 20]) > 0.8 * expected,
                "{} of {expected}",
                inner[inner.len() / 20]
            );
        }
    }
}
