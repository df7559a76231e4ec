//! Normal equations of what was measured twice, and what their solution means.

use nalgebra::{DMatrix, DVector, SMatrix, SVector};

/// Lines that err alike: views are compared as means over nine pixels, and neighbouring views see nearly the same.
const LINES_ALIKE: f64 = 5.0;
/// Joins the standard errors, as a share of a pixel: interpolation errs where noise and structure say that nothing does.
const FLOOR_PIXELS: f64 = 0.01;
/// Share of the diagonal that keeps a system of equations solvable that says nothing of some unknown.
const RIDGE: f64 = 1e-9;

/// Weighted least squares for `N` unknowns.
pub(super) struct Equations<const N: usize> {
    pub(super) normal: SMatrix<f64, N, N>,
    pub(super) right: SVector<f64, N>,
    /// Weighted sums of squared differences, of the first coefficients, and of the weights alone.
    pub(super) squares: f64,
    pub(super) own: f64,
    pub(super) weight: f64,
    pub(super) lines: usize,
}

impl<const N: usize> Equations<N> {
    pub(super) fn none() -> Self {
        let (normal, right) = (SMatrix::zeros(), SVector::zeros());
        Self { normal, right, squares: 0.0, own: 0.0, weight: 0.0, lines: 0 }
    }

    pub(super) fn add(&mut self, row: &SVector<f64, N>, difference: f64, weight: f64) {
        let weighted = row * weight;
        self.normal += row * weighted.transpose();
        self.right += weighted * difference;
        self.squares += weight * difference * difference;
        self.own += weight * row[0];
        self.weight += weight;
        self.lines += 1;
    }

    pub(super) fn sum(parts: &[Self]) -> Self {
        let mut all = Self::none();
        for part in parts {
            all.normal += part.normal;
            all.right += part.right;
            all.squares += part.squares;
            all.own += part.own;
            all.weight += part.weight;
            all.lines += part.lines;
        }
        all
    }
}

/// Root sum of squares of the unknowns `asked`, in standard errors, correlations taken into account; zero where nothing
/// can be solved for.
///
/// Of the unknowns `changing` a part that grows evenly over the views that say anything is solved for and counted as well.
/// Unknowns are mm; `pixel_mm` is the size of a pixel.
pub(super) fn significance<const N: usize>(
    views: &[Equations<N>],
    changing: &[usize],
    asked: &[usize],
    pixel_mm: f64,
) -> f64 {
    let views: Vec<&Equations<N>> = views.iter().filter(|view| view.lines > 0).collect();
    let size = N + changing.len();
    let unknown = |index: usize| if index < N { index } else { changing[index - N] };
    let mut normal = DMatrix::<f64>::zeros(size, size);
    let mut right = DVector::<f64>::zeros(size);
    for (index, view) in views.iter().enumerate() {
        let place = 2.0 * index as f64 / (views.len().max(2) - 1) as f64 - 1.0;
        let factor = |index: usize| if index < N { 1.0 } else { place };
        for i in 0..size {
            right[i] += factor(i) * view.right[unknown(i)];
            for j in 0..size {
                normal[(i, j)] += factor(i) * factor(j) * view.normal[(unknown(i), unknown(j))];
            }
        }
    }
    for i in 0..size {
        normal[(i, i)] *= 1.0 + RIDGE;
    }
    let Some(factors) = normal.cholesky() else { return 0.0 };
    let solution = factors.solve(&right);
    let squares: f64 = views.iter().map(|view| view.squares).sum();
    let weight: f64 = views.iter().map(|view| view.weight).sum();
    let variance = LINES_ALIKE * (squares - solution.dot(&right)).max(0.0) / weight;
    let inverse = factors.inverse();
    let counted: Vec<usize> = (0..size).filter(|index| asked.contains(&unknown(*index))).collect();
    let floor = (FLOOR_PIXELS * pixel_mm).powi(2);
    let covariance = DMatrix::from_fn(counted.len(), counted.len(), |i, j| {
        variance * inverse[(counted[i], counted[j])] + if i == j { floor } else { 0.0 }
    });
    let found = DVector::from_fn(counted.len(), |i, _| solution[counted[i]]);
    covariance.cholesky().map_or(0.0, |factors| found.dot(&factors.solve(&found)).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Views of 50 lines each, whose second unknown is `at` of the view, with errors of this size.
    fn views(at: impl Fn(usize) -> f64, contrast: f64) -> Vec<Equations<2>> {
        let view = |view: usize| {
            let mut equations = Equations::none();
            for line in 0..50 {
                let phase = (line * 7 + view * 3) as f64;
                let row = SVector::from([1.0, contrast * phase.sin()]);
                let error = 0.1 * (phase * 12.9).sin();
                equations.add(&row, row[1] * at(view) + error, 1.0);
            }
            equations
        };
        (0..20).map(view).collect()
    }

    #[test]
    fn significance_grows_with_motion_and_with_what_there_is_to_see() {
        let told = |views: &[Equations<2>]| significance(views, &[1], &[1], 4.0);
        let still = told(&views(|_| 0.0, 1.0));
        assert!(still < 1.0, "{still}");
        let moved = told(&views(|_| 0.3, 1.0));
        assert!(moved > 4.0, "{moved}");
        let flat = told(&views(|_| 0.3, 0.02));
        assert!(flat < 0.2 * moved, "{flat} against {moved}");
    }

    #[test]
    fn significance_sees_a_motion_that_changes_sign_only_where_changes_are_asked_for() {
        let turning = views(|view| 0.3 * (view as f64 / 9.5 - 1.0), 1.0);
        let changing = significance(&turning, &[1], &[1], 4.0);
        let constant = significance(&turning, &[], &[1], 4.0);
        assert!(changing > 3.0 && constant < 1.0, "{changing} against {constant}");
    }

    #[test]
    fn significance_of_nothing_is_nothing() {
        assert_eq!(significance::<2>(&[], &[], &[1], 4.0), 0.0);
    }
}
