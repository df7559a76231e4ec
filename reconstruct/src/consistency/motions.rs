//! How views would have to be moved to agree with a volume that was made from all of them.
//!
//! Each view's difference from the projected volume is held against the derivatives of the projection along the six
//! rigid motions, in the view's own axes. The unknowns are solved for view by view, or as slow functions over the sweep.

use super::coarse_fit::ViewDerivatives;
use nalgebra::{DMatrix, DVector, SMatrix, SVector};
use std::f64::consts::PI;

/// Rows and columns at either end that are left out: their rays leave the volume along the axis or were not measured.
const MARGIN_ROWS: usize = 3;
const MARGIN_COLUMNS: usize = 2;
/// Distance from the isocenter at which a rotation counts as a way, mm.
const LEVER_MM: f64 = 50.0;
/// Share of the diagonal that keeps a system of equations solvable that says nothing of some unknown.
const RIDGE: f64 = 1e-9;

/// A gain, then translations along rows, columns and the line of sight (mm), then rotations about them (mm at 50 mm).
const UNKNOWNS: usize = 7;
const GAIN: usize = 0;
const ALONG_U: usize = 1;
const ALONG_V: usize = 2;
const ABOUT_SIGHT: usize = 6;
/// Shifts in the view's own plane.
pub(super) const SHIFTS: [usize; 2] = [ALONG_U, ALONG_V];
/// All rotations.
pub(super) const ROTATIONS: [usize; 3] = [4, 5, 6];

/// A view's displacement against the consensus of all, mm at the isocenter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Displacement {
    /// Along the detector's rows and columns.
    pub shift_mm: [f64; 2],
    /// By a rotation about the line of sight, at 50 mm from it.
    pub rotation_mm: f64,
}

/// Normal equations of one view.
#[derive(Clone, Debug)]
pub(super) struct ViewEquations {
    normal: SMatrix<f64, UNKNOWNS, UNKNOWNS>,
    right: SVector<f64, UNKNOWNS>,
    /// Sum of squared differences.
    squares: f64,
}

impl ViewEquations {
    pub(super) fn of(view: &ViewDerivatives<'_>) -> Self {
        let mut found = Self { normal: SMatrix::zeros(), right: SVector::zeros(), squares: 0.0 };
        let (nv, nu) = view.measured.dim();
        for v in MARGIN_ROWS..nv.saturating_sub(MARGIN_ROWS) {
            for u in MARGIN_COLUMNS..nu.saturating_sub(MARGIN_COLUMNS) {
                if view.weights[(v, u)] > 0.0 {
                    found.add(view, u, v);
                }
            }
        }
        found
    }

    fn add(&mut self, view: &ViewDerivatives<'_>, u: usize, v: usize) {
        let row = SVector::<f64, UNKNOWNS>::from_fn(|unknown, _| match unknown {
            GAIN => f64::from(view.projected.image[(v, u)]),
            1..=3 => f64::from(view.projected.derivatives[(unknown - 1, v, u)]),
            _ => f64::from(view.projected.derivatives[(unknown - 1, v, u)]) / LEVER_MM,
        });
        let difference = f64::from(view.measured[(v, u)]) - row[GAIN];
        self.normal += row * row.transpose();
        self.right += row * difference;
        self.squares += difference * difference;
    }

    /// The view on its own: gain, shifts, and rotation about the line of sight.
    pub(super) fn displacement(&self) -> Displacement {
        let picked = [GAIN, ALONG_U, ALONG_V, ABOUT_SIGHT];
        let normal = SMatrix::<f64, 4, 4>::from_fn(|i, j| self.normal[(picked[i], picked[j])]);
        let right = SVector::<f64, 4>::from_fn(|i, _| self.right[picked[i]]);
        let step = normal.cholesky().map_or_else(SVector::zeros, |factors| factors.solve(&right));
        Displacement { shift_mm: [step[1], step[2]], rotation_mm: step[3] }
    }
}

/// Squares that slow motions of the given kinds explain, over those that they leave. Not a number where nothing can be
/// solved for.
///
/// The motions are sums of the first `waves` cosines over the sweep, the constant included: a rigid motion of all views
/// is already in the volume and explains nothing. Slow changes of the gain are allowed for.
pub(super) fn explained_by_slow(views: &[ViewEquations], motions: &[usize], waves: usize) -> f64 {
    let squares: f64 = views.iter().map(|view| view.squares).sum();
    let with: Vec<usize> = std::iter::once(GAIN).chain(motions.iter().copied()).collect();
    let (Some(gain), Some(all)) =
        (explained_squares(views, &[GAIN], waves), explained_squares(views, &with, waves))
    else {
        return f64::NAN;
    };
    (all - gain) / (squares - all)
}

fn explained_squares(views: &[ViewEquations], unknowns: &[usize], waves: usize) -> Option<f64> {
    let size = unknowns.len();
    let mut normal = DMatrix::<f64>::zeros(size * waves, size * waves);
    let mut right = DVector::<f64>::zeros(size * waves);
    for (index, view) in views.iter().enumerate() {
        let place = (index as f64 + 0.5) / views.len() as f64;
        let waves: Vec<f64> = (0..waves).map(|wave| (PI * wave as f64 * place).cos()).collect();
        for (i, a) in
            waves.iter().enumerate().flat_map(|(wave, a)| (0..size).map(move |i| (wave * size + i, a)))
        {
            right[i] += a * view.right[unknowns[i % size]];
            for (j, b) in waves.iter().enumerate() {
                for other in 0..size {
                    normal[(i, j * size + other)] +=
                        a * b * view.normal[(unknowns[i % size], unknowns[other])];
                }
            }
        }
    }
    for i in 0..size * waves {
        normal[(i, i)] *= 1.0 + RIDGE;
    }
    let solution = normal.cholesky()?.solve(&right);
    Some(solution.dot(&right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::pose::Linearised;
    use ndarray::{Array2, Array3};

    /// What one linear step leaves of an exactly linear change, in `f32` images.
    const ROUNDING_MM: f64 = 1e-4;

    /// A projected image whose derivatives are patterns of their own, and the same moved by so much.
    fn moved(view: usize, shift_mm: [f64; 2], rotation_mm: f64, noise: f64) -> ViewEquations {
        let pattern = |index: usize, u: usize, v: usize| {
            let (x, y) = (u as f64 * 0.3, v as f64 * 0.4);
            ((1.0 + 0.3 * index as f64) * x + index as f64 + 0.1 * view as f64).sin()
                * (y + 2.0 * index as f64).cos()
        };
        let image = Array2::from_shape_fn((20, 24), |(v, u)| 3.0 + pattern(0, u, v) as f32);
        let derivatives = Array3::from_shape_fn((6, 20, 24), |(index, v, u)| {
            pattern(index + 1, u, v) as f32 * if index < 3 { 1.0 } else { LEVER_MM as f32 }
        });
        let measured = Array2::from_shape_fn((20, 24), |(v, u)| {
            let change = shift_mm[0] * pattern(ALONG_U, u, v)
                + shift_mm[1] * pattern(ALONG_V, u, v)
                + rotation_mm * pattern(ABOUT_SIGHT, u, v);
            // What no motion explains.
            let speckle = ((u * 31 + v * 17 + view * 7) % 13) as f64 - 6.0;
            image[(v, u)] + (change + noise * speckle) as f32
        });
        let weights = Array2::from_elem((20, 24), 1.0);
        ViewEquations::of(&ViewDerivatives {
            measured: measured.view(),
            weights: weights.view(),
            projected: Linearised { image, derivatives },
        })
    }

    #[test]
    fn displacement_of_a_moved_view_is_the_motion() {
        let found = moved(0, [0.3, -0.2], 0.1, 0.0).displacement();
        let expected = [0.3, -0.2, 0.1];
        for (found, expected) in
            [found.shift_mm[0], found.shift_mm[1], found.rotation_mm].iter().zip(expected)
        {
            assert!((found - expected).abs() < ROUNDING_MM, "{found} against {expected}");
        }
    }

    #[test]
    fn slow_shifts_explain_more_than_restless_ones_and_rotations_explain_no_shift() {
        let views = |shift: fn(usize) -> f64| -> Vec<ViewEquations> {
            (0..40).map(|view| moved(view, [shift(view), 0.0], 0.0, 0.05)).collect()
        };
        let explained = |views: &[ViewEquations], motions: &[usize]| explained_by_slow(views, motions, 5);
        let still = explained(&views(|_| 0.0), &SHIFTS);
        let slow = explained(&views(|view| 0.3 * (0.1 * view as f64).sin()), &SHIFTS);
        let restless = explained(&views(|view| if view % 2 == 0 { 0.3 } else { -0.3 }), &SHIFTS);
        assert!(slow > 0.2 && slow > 5.0 * restless.max(still), "{slow} against {restless} and {still}");
        let turned = explained(&views(|view| 0.3 * (0.1 * view as f64).sin()), &ROTATIONS);
        assert!(turned < slow / 5.0, "{turned} against {slow}");
    }

    #[test]
    fn nothing_to_see_is_no_number() {
        let views: Vec<ViewEquations> = (0..4)
            .map(|_| ViewEquations { normal: SMatrix::zeros(), right: SVector::zeros(), squares: 0.0 })
            .collect();
        assert!(explained_by_slow(&views, &SHIFTS, 2).is_nan());
    }
}
