//! Views in the order of the sweep: neighbours differ by about as much as their neighbours do.

use super::flow::EVEN_STEPS;
use ndarray::{Array3, Axis, Zip};

/// Pairs of neighbours on either side that tell what is usual.
const REACH: usize = 4;

/// The largest difference between neighbours over the median of those about it, each per angle.
///
/// `line_integrals`: `[view, v, u]`; `angles_rad`: one per view, increasing.
pub(super) fn largest_break(line_integrals: &Array3<f32>, angles_rad: &[f64], usual_step_rad: f64) -> f64 {
    let changes: Vec<f64> = (1..angles_rad.len())
        .filter_map(|view| {
            let scale = usual_step_rad / (angles_rad[view] - angles_rad[view - 1]);
            EVEN_STEPS.contains(&scale).then(|| scale * difference(line_integrals, view))
        })
        .collect();
    let ratio = |at: usize| {
        let about = at.saturating_sub(REACH)..(at + REACH + 1).min(changes.len());
        let mut others: Vec<f64> = about.filter(|other| *other != at).map(|other| changes[other]).collect();
        others.sort_by(f64::total_cmp);
        others.get(others.len() / 2).map_or(0.0, |usual| changes[at] / usual)
    };
    (0..changes.len()).map(ratio).fold(0.0, f64::max)
}

/// Root sum of squares between a view and the one before it.
fn difference(line_integrals: &Array3<f32>, view: usize) -> f64 {
    let (before, own) =
        (line_integrals.index_axis(Axis(0), view - 1), line_integrals.index_axis(Axis(0), view));
    Zip::from(before).and(own).fold(0.0, |sum, before, own| sum + f64::from(own - before).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Views that brighten evenly.
    fn views(order: &[usize]) -> Array3<f32> {
        Array3::from_shape_fn((order.len(), 6, 8), |(view, v, u)| (order[view] * (1 + v + u)) as f32 * 0.01)
    }

    #[test]
    fn order_breaks_where_views_changed_places_and_not_at_a_gap_of_the_sweep() {
        let in_order: Vec<usize> = (0..40).collect();
        let angles: Vec<f64> = (0..40).map(|view| 0.03 * f64::from(view)).collect();
        assert!((largest_break(&views(&in_order), &angles, 0.03) - 1.0).abs() < 1e-4);
        let mut swapped = in_order.clone();
        swapped[12..18].rotate_left(3);
        assert!(largest_break(&views(&swapped), &angles, 0.03) > 3.5);
        let kept: Vec<usize> = (0..40).filter(|view| !(12..18).contains(view)).collect();
        let angles: Vec<f64> = kept.iter().map(|view| 0.03 * *view as f64).collect();
        assert!((largest_break(&views(&kept), &angles, 0.03) - 1.0).abs() < 1e-4);
    }
}
