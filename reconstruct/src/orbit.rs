//! The circle nearest to the source positions: axis, centre, radius, and the angle of every source on it.
//!
//! Weights come from source positions only. A detector that yaws during the sweep must not change them
//! (taking the arc from the detector's orientation costs about 12 HU per degree of yaw).

use crate::error::ReconstructError;
use carm::ProjectionMatrix;
use nalgebra::{Matrix3, Point3, SymmetricEigen, Unit, Vector3};
use std::f64::consts::{PI, TAU};

/// Smallest number of source positions that a circle is fitted to.
const MIN_VIEWS: usize = 3;
/// Views farther apart than this cannot be put in order round the circle.
const MAX_STEP_RAD: f64 = PI / 3.0;

/// The fitted circle of a scan and its sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Orbit {
    /// Rotation axis: the source turns counter-clockwise about it.
    pub axis: Unit<Vector3<f64>>,
    /// Centre of the circle.
    pub centre: Point3<f64>,
    /// Mean distance of the source from the axis, mm.
    pub radius_mm: f64,
    /// Unwrapped angle of every given view, radians; the first is 0 and they increase.
    pub angles_rad: Vec<f64>,
    zero: Vector3<f64>,
    quarter: Vector3<f64>,
}

impl Orbit {
    /// Fits plane and circle to the sources of `views`, in the order of the sweep.
    ///
    /// # Errors
    /// Fewer than three views, sources on one line, or neighbours more than 60 degrees apart.
    ///
    /// # Method
    /// Plane: smallest principal axis of the positions. Circle: algebraic least squares in the plane
    /// (Kasa, IEEE Trans. Instrum. Meas. 25, 1976), which is exact for points on a circle.
    pub fn fit(views: &[ProjectionMatrix]) -> Result<Self, ReconstructError> {
        if views.len() < MIN_VIEWS {
            return Err(ReconstructError::TooFewViews { needed: MIN_VIEWS, found: views.len() });
        }
        let sources: Vec<Point3<f64>> = views.iter().map(ProjectionMatrix::source_position).collect();
        let (normal, in_plane) = plane_of(&sources)?;
        let across = normal.cross(&in_plane);
        let mean = mean_of(&sources);
        let flat: Vec<[f64; 2]> =
            sources.iter().map(|s| [(s - mean).dot(&in_plane), (s - mean).dot(&across)]).collect();
        let [cx, cy] = circle_centre(&flat)?;
        let centre = mean + in_plane * cx + across * cy;
        let radius_mm = flat.iter().map(|[x, y]| (x - cx).hypot(y - cy)).sum::<f64>() / flat.len() as f64;

        // Orient the axis so that the sweep is counter-clockwise about it.
        let turning: f64 =
            flat.windows(2).map(|w| (w[0][0] - cx) * (w[1][1] - cy) - (w[0][1] - cy) * (w[1][0] - cx)).sum();
        let axis = Unit::new_unchecked(if turning >= 0.0 { normal } else { -normal });
        let radial = sources[0] - centre;
        let zero = radial - axis.into_inner() * radial.dot(&axis);
        let zero = zero / zero.norm();
        let mut orbit = Self {
            axis,
            centre,
            radius_mm,
            angles_rad: Vec::with_capacity(views.len()),
            zero,
            quarter: axis.cross(&zero),
        };
        orbit.angles_rad = orbit.unwrap(&sources)?;
        Ok(orbit)
    }

    /// Angle of a source on the circle, on the turn nearest to `near_rad`.
    pub fn angle_near(&self, source: &Point3<f64>, near_rad: f64) -> f64 {
        let radial = source - self.centre;
        let angle = radial.dot(&self.quarter).atan2(radial.dot(&self.zero));
        angle + ((near_rad - angle) / TAU).round() * TAU
    }

    /// Distance of a source from the circle, mm.
    pub fn distance_mm(&self, source: &Point3<f64>) -> f64 {
        let radial = source - self.centre;
        let height = radial.dot(&self.axis);
        let in_plane = radial.dot(&self.zero).hypot(radial.dot(&self.quarter));
        height.hypot(in_plane - self.radius_mm)
    }

    /// Unit vector from a source to the rotation axis, at right angles to `column`.
    pub fn inward(&self, source: &Point3<f64>, column: &Vector3<f64>) -> Vector3<f64> {
        let inward = self.centre - source;
        let inward = inward - column * inward.dot(column);
        inward / inward.norm()
    }

    /// Direction in which a source at this place moves, unit length.
    pub fn tangent(&self, source: &Point3<f64>) -> Vector3<f64> {
        let tangent = self.axis.cross(&(source - self.centre));
        tangent / tangent.norm()
    }

    /// Median angular step, radians.
    pub fn median_step_rad(&self) -> f64 {
        let mut steps: Vec<f64> = self.angles_rad.windows(2).map(|w| w[1] - w[0]).collect();
        steps.sort_by(f64::total_cmp);
        steps[steps.len() / 2]
    }

    /// Arc of the sweep, half a step beyond the first and the last view included, radians.
    pub fn arc_rad(&self) -> f64 {
        self.angles_rad[self.angles_rad.len() - 1] + self.median_step_rad()
    }

    fn unwrap(&self, sources: &[Point3<f64>]) -> Result<Vec<f64>, ReconstructError> {
        let mut angles: Vec<f64> = Vec::with_capacity(sources.len());
        for (view, source) in sources.iter().enumerate() {
            let previous = angles.last().copied().unwrap_or(0.0);
            let angle = self.angle_near(source, previous);
            if (angle - previous).abs() > MAX_STEP_RAD {
                return Err(ReconstructError::ViewsTooFarApart {
                    view: view - 1,
                    found_deg: (angle - previous).to_degrees(),
                    limit_deg: MAX_STEP_RAD.to_degrees(),
                });
            }
            angles.push(angle);
        }
        Ok(angles)
    }
}

fn mean_of(points: &[Point3<f64>]) -> Point3<f64> {
    Point3::from(points.iter().map(|p| p.coords).sum::<Vector3<f64>>() / points.len() as f64)
}

/// Normal of the best plane and the direction of largest extent in it.
fn plane_of(points: &[Point3<f64>]) -> Result<(Vector3<f64>, Vector3<f64>), ReconstructError> {
    let mean = mean_of(points);
    let covariance = points.iter().map(|p| (p - mean) * (p - mean).transpose()).sum::<Matrix3<f64>>()
        / points.len() as f64;
    let eigen = SymmetricEigen::new(covariance);
    let mut order = [0, 1, 2];
    order.sort_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
    let extent_mm = eigen.eigenvalues[order[1]].max(0.0).sqrt();
    if extent_mm.is_nan() || extent_mm < 1e-3 {
        return Err(ReconstructError::NoArc { extent_mm });
    }
    let column = |axis: usize| eigen.eigenvectors.column(axis).into_owned();
    Ok((column(order[0]), column(order[2])))
}

/// Least-squares solution of `x² + y² = 2 cx x + 2 cy y + k`.
fn circle_centre(points: &[[f64; 2]]) -> Result<[f64; 2], ReconstructError> {
    let mut normal = Matrix3::zeros();
    let mut right = Vector3::zeros();
    for [x, y] in points {
        let row = Vector3::new(2.0 * x, 2.0 * y, 1.0);
        normal += row * row.transpose();
        right += row * (x * x + y * y);
    }
    let solution = normal.lu().solve(&right).ok_or(ReconstructError::NoArc { extent_mm: 0.0 })?;
    if !(solution.x.is_finite() && solution.y.is_finite()) {
        return Err(ReconstructError::NoArc { extent_mm: 0.0 });
    }
    Ok([solution.x, solution.y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_scans::{circle_scan, oblique_scan};

    #[test]
    fn orbit_of_a_circle_is_that_circle() {
        let scan = circle_scan(124, 200.0);
        let orbit = Orbit::fit(scan.views()).unwrap();
        assert!((orbit.radius_mm - 785.0).abs() < 1e-6);
        assert!(orbit.centre.coords.norm() < 1e-6);
        assert!((orbit.axis.z.abs() - 1.0).abs() < 1e-12);
        let step = 200.0_f64.to_radians() / 123.0;
        for (view, angle) in orbit.angles_rad.iter().enumerate() {
            assert!((angle - step * view as f64).abs() < 1e-9);
        }
        assert!((orbit.arc_rad() - step * 124.0).abs() < 1e-9);
    }

    #[test]
    fn orbit_turns_with_the_scan() {
        let turn = nalgebra::Rotation3::from_euler_angles(0.3, 0.7, -0.4);
        let orbit = Orbit::fit(oblique_scan(90, 220.0, turn).views()).unwrap();
        let expected = turn * Vector3::z();
        assert!(orbit.axis.dot(&expected).abs() > 1.0 - 1e-10);
        assert!(orbit.angles_rad.windows(2).all(|w| w[1] > w[0]));
    }

    #[test]
    fn orbit_refuses_two_views_and_a_source_that_stands_still() {
        let scan = circle_scan(124, 200.0);
        let two = Orbit::fit(&scan.views()[..2]).unwrap_err();
        assert!(matches!(two, ReconstructError::TooFewViews { needed: 3, found: 2 }));
        let still = Orbit::fit(&[scan.views()[0]; 5]).unwrap_err();
        assert!(matches!(still, ReconstructError::NoArc { .. }), "{still}");
    }

    #[test]
    fn orbit_names_the_jump_it_cannot_order() {
        let scan = circle_scan(124, 200.0);
        let views = [scan.views()[0], scan.views()[1], scan.views()[2], scan.views()[80], scan.views()[81]];
        let error = Orbit::fit(&views).unwrap_err();
        assert!(matches!(error, ReconstructError::ViewsTooFarApart { view: 2, .. }), "{error}");
    }
}
