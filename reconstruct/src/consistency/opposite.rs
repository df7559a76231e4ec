//! Lines that are measured twice, from opposite ends: the beginning of an arc longer than half a turn against its end.
//!
//! Both measurements are of one line, whatever lies outside a truncated field. Only lines near the plane of the swing
//! coincide; others meet at the axis under an angle, which is limited. Where the columns are in opposite order, the same
//! comparison of the views with their columns turned round fits better than that of the views as they are.

use super::binned::BinnedScan;
use crate::orbit::Orbit;
use carm::ProjectionMatrix;
use nalgebra::{Point3, SMatrix, SVector, Vector3};
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};

/// Largest sine of the angle between two measurements of a line, and that at which a line weighs half as much as one
/// that was measured twice exactly.
const SAME_LINE: f64 = 0.04;
const HALF_WEIGHT: f64 = 0.01;
/// Lines measured twice below which nothing is said.
const LINES_MIN: usize = 600;
/// Columns and rows at either end that are left out.
const MARGIN: usize = 2;
/// Gain, offset, shift along rows and columns, rotations about the axis and about the line of sight, and what lines that
/// meet at an angle add along columns: in proportion to the height, and to the height times the slope along columns and
/// along rows.
const UNKNOWNS: usize = 9;
/// Distance from the isocenter at which a rotation counts as a way, mm.
const LEVER_MM: f64 = 50.0;
/// A change with the angle is taken over at least about twice this, radians: noise weighs less than over one step.
const ANGLE_REACH_RAD: f64 = 0.015;

/// What lines measured twice tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Opposite {
    /// Shift along rows between opposite views, mm at the isocenter.
    pub shift_u_mm: f64,
    /// Rotation about the rotation axis between opposite views, at 50 mm.
    pub turn_mm: f64,
    /// What opposite views do not have in common, relative to their contrast.
    pub mismatch: f64,
    /// The same with the columns of all views in opposite order.
    pub mirrored_mismatch: f64,
    /// Lines that were compared.
    pub lines: usize,
}

impl Opposite {
    /// `pixel_mm`: size of a pixel at the isocenter, `[u, v]`. None where too few lines are measured twice.
    pub(super) fn of(scan: &BinnedScan, orbit: &Orbit, pixel_mm: [f64; 2]) -> Option<Self> {
        let given = compare(scan, orbit, pixel_mm, false)?;
        let mirrored = compare(scan, orbit, pixel_mm, true)?;
        Some(Self { mirrored_mismatch: mirrored.solve()?.mismatch, ..given.solve()? })
    }
}

/// All lines that two views measure, in one system of equations; none where there are too few.
fn compare(scan: &BinnedScan, orbit: &Orbit, pixel_mm: [f64; 2], is_mirrored: bool) -> Option<Equations> {
    let turned = |view: ArrayView2<'_, f32>| {
        let view = if is_mirrored { view.slice_move(s![.., ..;-1]) } else { view };
        smoothed(view)
    };
    let views: Vec<Array2<f64>> =
        scan.line_integrals.axis_iter(Axis(0)).into_par_iter().map(turned).collect();
    let pairs = Pairs { scan, views: &views, orbit };
    let parts: Vec<Equations> =
        (0..views.len()).into_par_iter().map(|view| pairs.compare(view, pixel_mm)).collect();
    let mut all = Equations::default();
    parts.iter().for_each(|part| all.join(part));
    (all.lines >= LINES_MIN).then_some(all)
}

/// Mean over three by three pixels, fewer at the border: noise and the interpolation between pixels weigh less.
fn smoothed(image: ArrayView2<'_, f32>) -> Array2<f64> {
    let (nv, nu) = image.dim();
    Array2::from_shape_fn((nv, nu), |(v, u)| {
        let square =
            image.slice(s![v.saturating_sub(1)..(v + 2).min(nv), u.saturating_sub(1)..(u + 2).min(nu)]);
        square.iter().map(|value| f64::from(*value)).sum::<f64>() / square.len() as f64
    })
}

/// One line measured from both ends.
struct Line {
    /// What the difference changes by with each unknown; the own value first.
    row: SVector<f64, UNKNOWNS>,
    difference: f64,
    weight: f64,
}

/// Normal equations, and the sums from which the rest is told.
#[derive(Default)]
struct Equations {
    normal: SMatrix<f64, UNKNOWNS, UNKNOWNS>,
    right: SVector<f64, UNKNOWNS>,
    squares: f64,
    own: f64,
    own_squares: f64,
    weight: f64,
    lines: usize,
}

impl Equations {
    fn add(&mut self, line: &Line) {
        let weighted = line.row * line.weight;
        let own = line.row[0];
        self.normal += line.row * weighted.transpose();
        self.right += weighted * line.difference;
        self.squares += line.weight * line.difference * line.difference;
        self.own += line.weight * own;
        self.own_squares += line.weight * own * own;
        self.weight += line.weight;
        self.lines += 1;
    }

    fn join(&mut self, other: &Self) {
        self.normal += other.normal;
        self.right += other.right;
        self.squares += other.squares;
        self.own += other.own;
        self.own_squares += other.own_squares;
        self.weight += other.weight;
        self.lines += other.lines;
    }

    /// Motions between opposite views, and what is left over of the contrast.
    fn solve(&self) -> Option<Opposite> {
        let solution = self.normal.cholesky()?.solve(&self.right);
        let left = (self.squares - solution.dot(&self.right)).max(0.0);
        let contrast = self.own_squares - self.own * self.own / self.weight;
        Some(Opposite {
            shift_u_mm: solution[2],
            turn_mm: solution[4],
            mismatch: (left / contrast).sqrt(),
            mirrored_mismatch: f64::NAN,
            lines: self.lines,
        })
    }
}

/// A line as seen from the other side, and how that changes per radian of the sweep.
struct OtherSide {
    value: f64,
    apart: f64,
    change_with_angle: f64,
}

struct Pairs<'a> {
    scan: &'a BinnedScan,
    views: &'a [Array2<f64>],
    orbit: &'a Orbit,
}

impl Pairs<'_> {
    /// Every pixel of a view whose line a later view measures from the other side.
    fn compare(&self, view: usize, pixel_mm: [f64; 2]) -> Equations {
        let mut equations = Equations::default();
        let (nv, nu) = self.views[view].dim();
        let matrix = &self.scan.geometry.views()[view];
        for v in MARGIN..nv.saturating_sub(MARGIN) {
            for u in MARGIN..nu.saturating_sub(MARGIN) {
                if let Some(other) = self.other_side(view, matrix, u as f64, v as f64) {
                    equations.add(&self.line(view, [u, v], &other, pixel_mm));
                }
            }
        }
        equations
    }

    fn line(&self, view: usize, [u, v]: [usize; 2], other: &OtherSide, pixel_mm: [f64; 2]) -> Line {
        let own = &self.views[view];
        let along_u = -(own[(v, u + 1)] - own[(v, u - 1)]) / (2.0 * pixel_mm[0]);
        let along_v = -(own[(v + 1, u)] - own[(v - 1, u)]) / (2.0 * pixel_mm[1]);
        let aside = (u as f64 - (own.ncols() as f64 - 1.0) / 2.0) * pixel_mm[0] / LEVER_MM;
        let height = (v as f64 - (own.nrows() as f64 - 1.0) / 2.0) / own.nrows() as f64;
        let turning = other.change_with_angle / LEVER_MM;
        Line {
            row: SVector::from([
                own[(v, u)],
                1.0,
                along_u,
                along_v,
                turning,
                aside * along_v,
                height,
                height * along_v,
                height * along_u,
            ]),
            difference: other.value - own[(v, u)],
            weight: 1.0 / (1.0 + (other.apart / HALF_WEIGHT).powi(2)),
        }
    }

    /// The line through a pixel as two neighbouring views on the other side measured it.
    fn other_side(&self, view: usize, matrix: &ProjectionMatrix, u: f64, v: f64) -> Option<OtherSide> {
        let (orbit, angles) = (self.orbit, &self.orbit.angles_rad);
        if angles[view] + PI / 2.0 > *angles.last()? {
            return None;
        }
        let source = matrix.source_position();
        let ray = matrix.ray(u, v);
        let ray = ray / ray.norm();
        // The point of the line nearest to the axis; the other source lies as far beyond it.
        let flat = |vector: Vector3<f64>| vector - orbit.axis.into_inner() * vector.dot(&orbit.axis);
        let (in_plane, to_axis) = (flat(ray), flat(orbit.centre - source));
        let depth = in_plane.dot(&to_axis) / in_plane.norm_squared();
        let (nearest, far) = (source + ray * depth, source + ray * (2.0 * depth));
        let angle = orbit.angle_near(&far, angles[view] + PI);
        let after = angles.partition_point(|other| *other < angle);
        if after == 0 || after >= angles.len() || angle - angles[view] > TAU - PI / 2.0 {
            return None;
        }
        let share = (angle - angles[after - 1]) / (angles[after] - angles[after - 1]);
        let [before, behind] = [after - 1, after].map(|view| self.sample(view, &nearest, &ray));
        let value = before? * (1.0 - share) + behind? * share;
        let reach = (ANGLE_REACH_RAD / orbit.median_step_rad()).round() as usize;
        let (first, last) = ((after - 1).saturating_sub(reach), (after + reach).min(angles.len() - 1));
        let [first_value, last_value] = [first, last].map(|view| self.sample(view, &nearest, &ray));
        let change_with_angle = (last_value? - first_value?) / (angles[last] - angles[first]);
        Some(OtherSide { value, apart: self.apart(after, &nearest, &ray), change_with_angle })
    }

    /// Sine of the angle between a line and the one to the same point from another view, out of the plane of the swing.
    fn apart(&self, view: usize, point: &Point3<f64>, ray: &Vector3<f64>) -> f64 {
        let back = point - self.scan.geometry.views()[view].source_position();
        (back / back.norm() + ray).dot(&self.orbit.axis)
    }

    fn sample(&self, view: usize, point: &Point3<f64>, ray: &Vector3<f64>) -> Option<f64> {
        if self.apart(view, point, ray).abs() > SAME_LINE {
            return None;
        }
        let matrix = &self.scan.geometry.views()[view];
        let at = matrix.project(point);
        let image = &self.views[view];
        let (nv, nu) = image.dim();
        let inside = at.u >= 1.0 && at.v >= 1.0 && at.u <= nu as f64 - 2.0 && at.v <= nv as f64 - 2.0;
        if !inside {
            return None;
        }
        let (u, v) = (at.u.floor() as usize, at.v.floor() as usize);
        let (fu, fv) = (at.u - u as f64, at.v - v as f64);
        let row = |v: usize| image[(v, u)] * (1.0 - fu) + image[(v, u + 1)] * fu;
        Some(row(v) * (1.0 - fv) + row(v + 1) * fv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_scans::circle_scan;
    use carm::ScanGeometry;
    use ndarray::Array3;

    /// Round clouds, and one that reaches far beyond the field: `[x, y, z, radius]`, mm.
    const CLOUDS: [[f64; 4]; 6] = [
        [30.0, 10.0, 5.0, 12.0],
        [-45.0, 20.0, -10.0, 9.0],
        [15.0, -50.0, 0.0, 15.0],
        [-20.0, -30.0, 15.0, 10.0],
        [55.0, -35.0, -5.0, 8.0],
        [0.0, 0.0, 0.0, 200.0],
    ];

    /// Views of the clouds, with the second half of the sweep seen from a place `late_mm` off along rows.
    fn imaged(scan: &ScanGeometry, late_mm: f64) -> Array3<f32> {
        let detector = scan.detector();
        let mut views = Array3::zeros((scan.views().len(), detector.nv, detector.nu));
        for ((view, v, u), p) in views.indexed_iter_mut() {
            let matrix = &scan.views()[view];
            let ray = matrix.ray(u as f64, v as f64);
            let ray = ray / ray.norm();
            let aside = if 2 * view < scan.views().len() { 0.0 } else { late_mm };
            let source = matrix.source_position() + matrix.detector_axes().e_u.into_inner() * aside;
            *p = CLOUDS
                .iter()
                .map(|[x, y, z, radius]| {
                    let to = Point3::new(*x, *y, *z) - source;
                    let distance_squared = to.norm_squared() - to.dot(&ray).powi(2);
                    0.02 * radius * (-distance_squared / (2.0 * radius * radius)).exp()
                })
                .sum::<f64>() as f32;
        }
        views
    }

    fn opposite(arc_deg: f64, late_mm: f64, is_mirrored: bool) -> Option<Opposite> {
        let scan = circle_scan(120, arc_deg);
        let mut line_integrals = imaged(&scan, late_mm);
        if is_mirrored {
            line_integrals.invert_axis(Axis(2));
        }
        let orbit = Orbit::fit(scan.views()).unwrap();
        let scan = BinnedScan::new(&scan, line_integrals.view(), 96).unwrap();
        Opposite::of(&scan, &orbit, scan.pixel_mm(&orbit))
    }

    #[test]
    fn opposite_views_agree_and_mirrored_ones_only_once_turned_round() {
        let sound = opposite(212.0, 0.0, false).unwrap();
        assert!(sound.mismatch < 0.2 * sound.mirrored_mismatch, "{sound:?}");
        assert!(sound.shift_u_mm.abs() < 0.1, "{sound:?}");
        let mirrored = opposite(212.0, 0.0, true).unwrap();
        assert!(mirrored.mismatch > 5.0 * mirrored.mirrored_mismatch, "{mirrored:?}");
    }

    #[test]
    fn opposite_views_tell_how_far_the_ends_of_the_arc_lie_apart() {
        let apart = opposite(212.0, 1.0, false).unwrap();
        assert!((apart.shift_u_mm.abs() - 1.0).abs() < 0.15, "{apart:?}");
    }

    #[test]
    fn opposite_views_do_not_exist_on_a_short_arc() {
        assert_eq!(opposite(150.0, 0.0, false), None);
    }
}
