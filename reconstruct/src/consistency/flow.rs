//! Neighbouring views against each other: a body that lies still flows smoothly across the detector as the arm turns.
//!
//! No volume is needed, and what lies outside a truncated field flows as smoothly. What the matrices themselves move from
//! view to view is taken off.

use super::binned::BinnedScan;
use crate::orbit::Orbit;
use nalgebra::{Point3, SMatrix, SVector};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::ops::Range;

/// Pixels on either side of the mean that takes noise away, and of the mean that is taken away: edges are compared.
const FINE_REACH: usize = 1;
const WIDE_REACH: usize = 6;
/// Share of the rows at either end that are left out, as 1 over, and columns.
const MARGIN_ROWS: usize = 5;
const MARGIN_COLUMNS: usize = 2;
/// Distance from the isocenter at which a rotation counts as a way, mm.
const LEVER_MM: f64 = 50.0;
/// The usual angular step over one that is compared: others are gaps or repeated views.
pub(super) const EVEN_STEPS: Range<f64> = 0.4..2.5;
/// Standard deviation of a normal distribution over the median of its magnitudes.
const SD_OVER_MEDIAN: f64 = 1.4826;
/// Gain, shift along u and v, rotation, scale.
const UNKNOWNS: usize = 5;

/// How the flow from view to view departs from a smooth one, mm at the isocenter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    /// The largest departure in the detector's plane: a step.
    pub(super) jump_mm: f64,
    /// The usual one along rows, as a standard deviation: every view for itself.
    pub(super) jitter_u_mm: f64,
    /// The usual departure of the rotation about the line of sight, at 50 mm.
    pub(super) jitter_rotation_mm: f64,
}

/// Where the matrices put a view: the orbit's centre (mm at the isocenter) and the rotation axis (radians from the rows).
struct Place {
    centre_mm: [f64; 2],
    axis_rad: f64,
}

/// From one view to the next, over the usual angle: along u and v, and by rotation, mm.
type Step = [f64; 3];

impl Flow {
    /// `pixel_mm`: size of a pixel at the isocenter, `[u, v]`.
    pub(super) fn of(scan: &BinnedScan, orbit: &Orbit, pixel_mm: [f64; 2]) -> Self {
        let views: Vec<Array2<f64>> =
            scan.line_integrals.axis_iter(Axis(0)).into_par_iter().map(edges).collect();
        let places: Vec<Place> =
            (0..views.len()).map(|view| Place::of(scan, orbit, pixel_mm, view)).collect();
        let usual_rad = orbit.median_step_rad();
        let step = |view: usize| {
            let scale = usual_rad / (orbit.angles_rad[view + 1] - orbit.angles_rad[view]);
            let pair = [&views[view], &views[view + 1]];
            EVEN_STEPS
                .contains(&scale)
                .then(|| step(pair, [&places[view], &places[view + 1]], scale, pixel_mm))
        };
        let steps: Vec<Option<Step>> = (0..views.len().saturating_sub(1)).into_par_iter().map(step).collect();
        let departures: Vec<Step> = steps.windows(5).filter_map(departure).collect();
        let usual_of =
            |part: usize| usual(departures.iter().map(|departure| departure[part].abs()).collect());
        Self {
            jump_mm: departures.iter().map(|[u, v, _]| u.hypot(*v)).fold(0.0, f64::max),
            jitter_u_mm: usual_of(0),
            jitter_rotation_mm: usual_of(2),
        }
    }
}

impl Place {
    fn of(scan: &BinnedScan, orbit: &Orbit, pixel_mm: [f64; 2], view: usize) -> Self {
        let mm = |point: &Point3<f64>| {
            let at = scan.geometry.views()[view].project(point);
            [at.u * pixel_mm[0], at.v * pixel_mm[1]]
        };
        let centre_mm = mm(&orbit.centre);
        let along_axis = mm(&(orbit.centre + orbit.axis.into_inner() * LEVER_MM));
        Self { centre_mm, axis_rad: (along_axis[1] - centre_mm[1]).atan2(along_axis[0] - centre_mm[0]) }
    }
}

/// How the second view is displaced against the first, without what the matrices say.
fn step(views: [&Array2<f64>; 2], places: [&Place; 2], scale: f64, pixel_mm: [f64; 2]) -> Step {
    let [first, second] = views;
    let found = displacement(&((first + second) / 2.0), &(second - first), pixel_mm);
    let known = [
        places[1].centre_mm[0] - places[0].centre_mm[0],
        places[1].centre_mm[1] - places[0].centre_mm[1],
        (places[1].axis_rad - places[0].axis_rad) * LEVER_MM,
    ];
    std::array::from_fn(|part| (found[part] - known[part]) * scale)
}

/// One Gauss-Newton step: `difference = gain image - d · ∇image`, least squares over the middle rows.
fn displacement(image: &Array2<f64>, difference: &Array2<f64>, pixel_mm: [f64; 2]) -> Step {
    let (nv, nu) = image.dim();
    let rows = (nv / MARGIN_ROWS).max(1)..(nv - nv / MARGIN_ROWS).min(nv.saturating_sub(1));
    let mut normal = SMatrix::<f64, UNKNOWNS, UNKNOWNS>::zeros();
    let mut right = SVector::<f64, UNKNOWNS>::zeros();
    for v in rows {
        for u in MARGIN_COLUMNS..nu.saturating_sub(MARGIN_COLUMNS) {
            let along_u = -(image[(v, u + 1)] - image[(v, u - 1)]) / (2.0 * pixel_mm[0]);
            let along_v = -(image[(v + 1, u)] - image[(v - 1, u)]) / (2.0 * pixel_mm[1]);
            let x = (u as f64 - (nu as f64 - 1.0) / 2.0) * pixel_mm[0] / LEVER_MM;
            let y = (v as f64 - (nv as f64 - 1.0) / 2.0) * pixel_mm[1] / LEVER_MM;
            let turning = x * along_v - y * along_u;
            let row = SVector::from([image[(v, u)], along_u, along_v, turning, x * along_u + y * along_v]);
            normal += row * row.transpose();
            right += row * difference[(v, u)];
        }
    }
    let step = normal.cholesky().map_or_else(SVector::zeros, |factors| factors.solve(&right));
    [step[1], step[2], step[3]]
}

/// What is finer than organs and coarser than noise.
fn edges(view: ArrayView2<'_, f32>) -> Array2<f64> {
    let fine = mean_over(view.mapv(f64::from), FINE_REACH);
    let wide = mean_over(fine.clone(), WIDE_REACH);
    fine - wide
}

/// Mean over a square, smaller at the border.
fn mean_over(mut image: Array2<f64>, reach: usize) -> Array2<f64> {
    for axis in [Axis(0), Axis(1)] {
        for mut lane in image.lanes_mut(axis) {
            let mut sums = vec![0.0; lane.len() + 1];
            for (index, value) in lane.iter().enumerate() {
                sums[index + 1] = sums[index] + value;
            }
            let count = lane.len();
            for (index, value) in lane.iter_mut().enumerate() {
                let (first, end) = (index.saturating_sub(reach), (index + reach + 1).min(count));
                *value = (sums[end] - sums[first]) / (end - first) as f64;
            }
        }
    }
    image
}

/// The third of five steps against the mean of two before and two after, which foretells a smooth flow; none across a gap.
fn departure(five: &[Option<Step>]) -> Option<Step> {
    let &[Some(a), Some(b), Some(own), Some(c), Some(d)] = five else { return None };
    Some(std::array::from_fn(|part| own[part] - (a[part] + b[part] + c[part] + d[part]) / 4.0))
}

fn usual(mut departures: Vec<f64>) -> f64 {
    departures.sort_by(f64::total_cmp);
    SD_OVER_MEDIAN * departures.get(departures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_scans::circle_scan;
    use ndarray::Array3;

    /// Clouds that go their ways at even paces, all of them moved by so much in view `view`, mm at the isocenter.
    fn flow(moved_mm: impl Fn(usize) -> [f64; 2]) -> Flow {
        let scan = circle_scan(30, 40.0);
        let detector = *scan.detector();
        let orbit = Orbit::fit(scan.views()).unwrap();
        let fine = |stack: Array3<f32>| BinnedScan::new(&scan, stack.view(), 96).unwrap();
        let empty = fine(Array3::zeros((30, detector.nv, detector.nu)));
        let mm = empty.pixel_mm(&orbit)[0] / 2.0;
        let clouds = [[40.0, 50.0, 0.5], [90.0, 70.0, -0.4], [110.0, 45.0, 0.2], [70.0, 60.0, -0.1]];
        let views = Array3::from_shape_fn((30, detector.nv, detector.nu), |(view, v, u)| {
            let [aside, up] = moved_mm(view).map(|way| way / mm);
            let cloud = |[cu, cv, pace]: [f64; 3]| {
                let (x, y) = (u as f64 - cu - pace * view as f64 - aside, v as f64 - cv - up);
                (-(x * x + y * y) / 60.0).exp()
            };
            clouds.map(cloud).iter().sum::<f64>() as f32
        });
        let scan = fine(views);
        Flow::of(&scan, &orbit, scan.pixel_mm(&orbit))
    }

    #[test]
    fn flow_tells_a_step_from_unrest_and_both_from_an_even_pace() {
        let still = flow(|_| [0.0, 0.0]);
        assert!(still.jump_mm < 0.04 && still.jitter_u_mm < 0.03, "{still:?}");
        let step = flow(|view| if view < 14 { [0.0, 0.0] } else { [0.0, 1.5] });
        assert!((step.jump_mm - 1.5).abs() < 0.3, "{step:?}");
        assert!(step.jitter_u_mm < 0.1, "{step:?}");
        let unrest = flow(|view| [[0.0, 0.9, 0.2, 0.6, 0.1][view * 7 % 5], 0.0]);
        assert!(unrest.jitter_u_mm > 0.4, "{unrest:?}");
    }

    #[test]
    fn edges_of_an_even_image_are_nothing() {
        let even = Array2::from_elem((20, 30), 2.0_f32);
        assert!(edges(even.view()).iter().all(|value| value.abs() < 1e-12));
    }
}
