//! Lines that are measured twice, from opposite ends: the beginning of an arc longer than half a turn against its end.
//!
//! Both measurements are of one line, whatever lies outside a truncated field. Only lines near the plane of the swing
//! coincide; others meet at the axis under an angle, which is limited. Where the columns are in opposite order, the same
//! comparison of the views with their columns turned round fits better than that of the views as they are.
//!
//! How much a shift means depends on what there was to see: [`Opposite::motion`] and [`Opposite::tilt`] hold what was found
//! against its own standard error.

use super::binned::BinnedScan;
use super::twice::{self, Equations};
use crate::orbit::Orbit;
use carm::ProjectionMatrix;
use nalgebra::{Point3, SVector, Vector3};
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use std::f64::consts::{PI, TAU};

/// Largest sine of the angle between two measurements of a line, and that at which a line weighs half as much as one
/// that was measured twice exactly.
const SAME_LINE: f64 = 0.04;
const HALF_WEIGHT: f64 = 0.005;
/// Places among the unknowns of what a motion along rows and a rotation about the axis change.
const MOTION: [usize; 2] = [2, 4];
/// The same of rotations about the line of sight and about the rows, among those of [`Pairs::steepness`].
const TILT: [usize; 2] = [4, 5];
/// Gain, shift along rows and columns, rotations about the axis, the line of sight and the rows, and what lines that meet
/// at an angle add.
const STEEPNESS_UNKNOWNS: usize = 7;
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
    /// Shift along rows, rotation about the axis and how both change over the views that have an opposite, together: root
    /// sum of squares in standard errors.
    pub motion: f64,
    /// Rotations about the line of sight and about the rows, in standard errors as [`Opposite::motion`].
    pub tilt: f64,
    /// Lines that were compared.
    pub lines: usize,
}

impl Opposite {
    /// `pixel_mm`: size of a pixel at the isocenter, `[u, v]`. None where too few lines are measured twice.
    pub(super) fn of(scan: &BinnedScan, orbit: &Orbit, pixel_mm: [f64; 2]) -> Option<Self> {
        let given = Compared::of(scan, orbit, pixel_mm, false)?;
        let mirrored = Compared::of(scan, orbit, pixel_mm, true)?;
        Some(Self {
            mirrored_mismatch: solve(&mirrored.all)?.mismatch,
            motion: twice::significance(&given.views, &MOTION, &MOTION, pixel_mm[0]),
            tilt: twice::significance(&given.steepness, &[], &TILT, pixel_mm[0]),
            ..solve(&given.all)?
        })
    }
}

/// The lines of every view that a later one measures as well, and those of all views together.
struct Compared {
    views: Vec<Equations<UNKNOWNS>>,
    steepness: Vec<Equations<STEEPNESS_UNKNOWNS>>,
    all: Equations<UNKNOWNS>,
}

impl Compared {
    /// None where there are too few.
    fn of(scan: &BinnedScan, orbit: &Orbit, pixel_mm: [f64; 2], is_mirrored: bool) -> Option<Self> {
        let turned = |view: ArrayView2<'_, f32>| {
            smoothed(if is_mirrored { view.slice_move(s![.., ..;-1]) } else { view })
        };
        let smooth: Vec<Array2<f64>> =
            scan.line_integrals.axis_iter(Axis(0)).into_par_iter().map(turned).collect();
        let pairs = Pairs { scan, views: &smooth, orbit, pixel_mm };
        let compare = |view: usize| {
            let others = pairs.others(view);
            (pairs.compare(view, &others), pairs.steepness(view, &others))
        };
        let (views, steepness): (Vec<_>, Vec<_>) = (0..smooth.len()).into_par_iter().map(compare).unzip();
        let all = Equations::sum(&views);
        (all.lines >= LINES_MIN).then_some(Self { views, steepness, all })
    }
}

/// Motions between opposite views, and what is left over of the contrast.
fn solve(all: &Equations<UNKNOWNS>) -> Option<Opposite> {
    let solution = all.normal.cholesky()?.solve(&all.right);
    let left = (all.squares - solution.dot(&all.right)).max(0.0);
    let contrast = all.normal[(0, 0)] - all.own * all.own / all.weight;
    Some(Opposite {
        shift_u_mm: solution[2],
        turn_mm: solution[4],
        mismatch: (left / contrast).sqrt(),
        mirrored_mismatch: f64::NAN,
        motion: f64::NAN,
        tilt: f64::NAN,
        lines: all.lines,
    })
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

/// A line as seen from the other side, and how that changes per radian of the sweep.
struct OtherSide {
    value: f64,
    apart: f64,
    change_with_angle: f64,
}

impl OtherSide {
    fn weight(&self) -> f64 {
        1.0 / (1.0 + (self.apart / HALF_WEIGHT).powi(2))
    }
}

struct Pairs<'a> {
    scan: &'a BinnedScan,
    views: &'a [Array2<f64>],
    orbit: &'a Orbit,
    pixel_mm: [f64; 2],
}

impl Pairs<'_> {
    /// Every pixel of a view whose line a later view measures from the other side.
    fn compare(&self, view: usize, others: &Array2<Option<OtherSide>>) -> Equations<UNKNOWNS> {
        let mut equations = Equations::none();
        for ((v, u), other) in others.indexed_iter() {
            if let Some(other) = other {
                let (row, difference) = self.line(view, [u, v], other);
                equations.add(&row, difference, other.weight());
            }
        }
        equations
    }

    /// The same for the change along rows, which a rotation about the rows moves as the views' change with the angle
    /// changes along columns. So do lines that meet at an angle, in proportion to it.
    fn steepness(&self, view: usize, others: &Array2<Option<OtherSide>>) -> Equations<STEEPNESS_UNKNOWNS> {
        let mut equations = Equations::none();
        let (nv, nu) = others.dim();
        for v in 1..nv - 1 {
            for u in 1..nu - 1 {
                let at = |v: usize, u: usize| others[(v, u)].as_ref();
                let (Some(other), Some(left), Some(right), Some(below), Some(above)) =
                    (at(v, u), at(v, u - 1), at(v, u + 1), at(v - 1, u), at(v + 1, u))
                else {
                    continue;
                };
                let ((left, left_difference), (right, right_difference)) =
                    (self.line(view, [u - 1, v], left), self.line(view, [u + 1, v], right));
                let along_rows = (right - left) / (2.0 * self.pixel_mm[0]);
                let leaning =
                    (above.change_with_angle - below.change_with_angle) / (2.0 * self.pixel_mm[1] * LEVER_MM);
                let row = SVector::from([
                    along_rows[0],
                    along_rows[2],
                    along_rows[3],
                    along_rows[4],
                    along_rows[5],
                    leaning,
                    leaning * other.apart * LEVER_MM,
                ]);
                let difference = (right_difference - left_difference) / (2.0 * self.pixel_mm[0]);
                equations.add(&row, difference, other.weight());
            }
        }
        equations
    }

    /// The lines through a view's pixels as measured from the other side, where they are.
    fn others(&self, view: usize) -> Array2<Option<OtherSide>> {
        let (nv, nu) = self.views[view].dim();
        let matrix = &self.scan.geometry.views()[view];
        Array2::from_shape_fn((nv, nu), |(v, u)| {
            let is_inside = v >= MARGIN && u >= MARGIN && v + MARGIN < nv && u + MARGIN < nu;
            is_inside.then(|| self.other_side(view, matrix, u as f64, v as f64)).flatten()
        })
    }

    /// What the difference of a line changes by with each unknown, the own value first; and the difference.
    fn line(&self, view: usize, [u, v]: [usize; 2], other: &OtherSide) -> (SVector<f64, UNKNOWNS>, f64) {
        let (own, pixel_mm) = (&self.views[view], self.pixel_mm);
        let along_u = -(own[(v, u + 1)] - own[(v, u - 1)]) / (2.0 * pixel_mm[0]);
        let along_v = -(own[(v + 1, u)] - own[(v - 1, u)]) / (2.0 * pixel_mm[1]);
        let aside = (u as f64 - (own.ncols() as f64 - 1.0) / 2.0) * pixel_mm[0] / LEVER_MM;
        let height = (v as f64 - (own.nrows() as f64 - 1.0) / 2.0) / own.nrows() as f64;
        let turning = other.change_with_angle / LEVER_MM;
        let row = SVector::from([
            own[(v, u)],
            1.0,
            along_u,
            along_v,
            turning,
            aside * along_v,
            height,
            height * along_v,
            height * along_u,
        ]);
        (row, other.value - own[(v, u)])
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

    /// Neither a shift nor a turn of the second half of the sweep.
    const SOUND: [f64; 2] = [0.0; 2];

    /// Views of the clouds, with the second half of the sweep seen from a place `late_mm` off along rows, on a detector
    /// turned in its plane.
    fn imaged(scan: &ScanGeometry, late_mm: f64, late_turn_rad: f64) -> Array3<f32> {
        let detector = scan.detector();
        let mut views = Array3::zeros((scan.views().len(), detector.nv, detector.nu));
        for ((view, v, u), p) in views.indexed_iter_mut() {
            let matrix = &scan.views()[view];
            let (aside, turn_rad) =
                if 2 * view < scan.views().len() { (0.0, 0.0) } else { (late_mm, late_turn_rad) };
            let centre = [(detector.nu as f64 - 1.0) / 2.0, (detector.nv as f64 - 1.0) / 2.0];
            let (x, y) = (u as f64 - centre[0], v as f64 - centre[1]);
            let (sin, cos) = turn_rad.sin_cos();
            let ray = matrix.ray(centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y);
            let ray = ray / ray.norm();
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

    fn opposite(arc_deg: f64, [late_mm, late_turn_rad]: [f64; 2], is_mirrored: bool) -> Option<Opposite> {
        let scan = circle_scan(120, arc_deg);
        let mut line_integrals = imaged(&scan, late_mm, late_turn_rad);
        if is_mirrored {
            line_integrals.invert_axis(Axis(2));
        }
        let orbit = Orbit::fit(scan.views()).unwrap();
        let scan = BinnedScan::new(&scan, line_integrals.view(), 96).unwrap();
        Opposite::of(&scan, &orbit, scan.pixel_mm(&orbit))
    }

    #[test]
    fn opposite_views_agree_and_mirrored_ones_only_once_turned_round() {
        let sound = opposite(212.0, SOUND, false).unwrap();
        assert!(sound.mismatch < 0.2 * sound.mirrored_mismatch, "{sound:?}");
        assert!(sound.shift_u_mm.abs() < 0.1, "{sound:?}");
        let mirrored = opposite(212.0, SOUND, true).unwrap();
        assert!(mirrored.mismatch > 5.0 * mirrored.mirrored_mismatch, "{mirrored:?}");
    }

    #[test]
    fn opposite_views_tell_how_far_the_ends_of_the_arc_lie_apart() {
        let apart = opposite(212.0, [1.0, 0.0], false).unwrap();
        assert!((apart.shift_u_mm.abs() - 1.0).abs() < 0.15, "{apart:?}");
    }

    #[test]
    fn opposite_views_tell_a_shift_from_a_tilt_in_standard_errors() {
        let [sound, apart, tilted] =
            [SOUND, [1.0, 0.0], [0.0, 0.01]].map(|late| opposite(212.0, late, false).unwrap());
        assert!(apart.motion > 4.0 * sound.motion, "{apart:?} against {sound:?}");
        // Without noise, clouds without edges leave little but what the linear model itself errs by, which the tilt sees.
        assert!(tilted.tilt > 2.5 * sound.tilt, "{tilted:?} against {sound:?}");
        assert!(tilted.motion < 2.0 * sound.motion, "{tilted:?} against {sound:?}");
    }

    #[test]
    fn opposite_views_do_not_exist_on_a_short_arc() {
        assert_eq!(opposite(150.0, SOUND, false), None);
    }
}
