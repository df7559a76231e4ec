//! From displacements of views to one number.

use super::ViewConsistency;
use ndarray::{Array3, s};

/// Share of the views whose largest deviations are left out: the ends of a short scan carry little weight in the volume.
const LEFT_OUT: f64 = 0.1;
/// A side is truncated where more than this share of its edge pixels sees more than this much water, mm.
const TRUNCATED_SHARE: f64 = 0.1;
const TRUNCATED_WATER_MM: f64 = 15.0;

/// How far displacements spread over the views of a scan, mm at the isocenter: root mean squares, the largest tenth left
/// out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spreads {
    /// Shift along rows of the detector, from edges.
    pub edges_u_mm: f64,
    /// Shift along columns of the detector, from edges.
    pub edges_v_mm: f64,
    /// Rotation about the line of sight, at 50 mm, from edges.
    pub edges_rotation_mm: f64,
    /// Magnification, at 50 mm, from edges.
    pub edges_scale_mm: f64,
    /// Shift along rows, from the whole image; zero where views are truncated.
    pub whole_u_mm: f64,
    /// Shift along columns, from the whole image.
    pub whole_v_mm: f64,
    /// Magnification, at 50 mm, from the whole image.
    pub whole_scale_mm: f64,
    /// What the edges' mean correlation lacks to one.
    pub lost_correlation: f64,
}

/// What [`Spreads`] may be in a scan whose views and geometry agree.
pub type Limits = Spreads;

impl Spreads {
    pub(super) fn of(views: &[ViewConsistency]) -> Self {
        let edges = |pick: fn(&ViewConsistency) -> f64| spread(views.iter().map(pick).collect());
        let whole = |pick: fn(&super::Displacement) -> f64| {
            spread(views.iter().filter_map(|view| view.whole.as_ref().map(pick)).collect())
        };
        let correlation = views.iter().map(|view| view.edges.correlation).sum::<f64>() / views.len() as f64;
        Self {
            edges_u_mm: edges(|view| view.edges.shift_mm[0]),
            edges_v_mm: edges(|view| view.edges.shift_mm[1]),
            edges_rotation_mm: edges(|view| view.edges.rotation_mm),
            edges_scale_mm: edges(|view| view.edges.scale_mm),
            whole_u_mm: whole(|of| of.shift_mm[0]),
            whole_v_mm: whole(|of| of.shift_mm[1]),
            whole_scale_mm: whole(|of| of.scale_mm),
            lost_correlation: 1.0 - correlation,
        }
    }

    /// Limits for a binned pixel of this size at the isocenter: four standard deviations above the mean of eight drawn
    /// bodies without faults. What lies outside a truncated field disturbs it several times as much.
    pub(super) fn of_pixel(pixel_mm: f64, is_truncated: bool) -> Self {
        let shares = if is_truncated {
            [0.287, 0.073, 0.084, 0.153, 1.0, 1.0, 1.0]
        } else {
            [0.030, 0.045, 0.024, 0.018, 0.115, 0.080, 0.135]
        };
        let [
            edges_u_mm,
            edges_v_mm,
            edges_rotation_mm,
            edges_scale_mm,
            whole_u_mm,
            whole_v_mm,
            whole_scale_mm,
        ] = shares.map(|share| share * pixel_mm);
        Self {
            edges_u_mm,
            edges_v_mm,
            edges_rotation_mm,
            edges_scale_mm,
            whole_u_mm,
            whole_v_mm,
            whole_scale_mm,
            lost_correlation: if is_truncated { 0.22 } else { 0.015 },
        }
    }

    /// Every spread by name.
    pub fn parts(&self) -> [(&'static str, f64); 8] {
        [
            ("edges_u_mm", self.edges_u_mm),
            ("edges_v_mm", self.edges_v_mm),
            ("edges_rotation_mm", self.edges_rotation_mm),
            ("edges_scale_mm", self.edges_scale_mm),
            ("whole_u_mm", self.whole_u_mm),
            ("whole_v_mm", self.whole_v_mm),
            ("whole_scale_mm", self.whole_scale_mm),
            ("lost_correlation", self.lost_correlation),
        ]
    }

    /// The largest ratio to a limit.
    pub(super) fn over(&self, limits: &Limits) -> f64 {
        let ratios =
            self.parts().into_iter().zip(limits.parts()).map(|((_, found), (_, limit))| found / limit);
        ratios.fold(
            0.0,
            |largest: f64, ratio| if largest.is_nan() || ratio <= largest { largest } else { ratio },
        )
    }
}

/// Root mean square about the median, the largest deviations left out.
fn spread(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - median).powi(2)).collect();
    deviations.sort_by(f64::total_cmp);
    let kept = ((deviations.len() as f64 * (1.0 - LEFT_OUT)).ceil() as usize).max(1);
    (deviations[..kept].iter().sum::<f64>() / kept as f64).sqrt()
}

/// Whether the sides of the views cut through the body.
pub(super) fn is_truncated(line_integrals: &Array3<f32>, mu_water_per_mm: f64) -> bool {
    let (_, nv, nu) = line_integrals.dim();
    let limit = (TRUNCATED_WATER_MM * mu_water_per_mm) as f32;
    [0, nu - 1].into_iter().any(|u| {
        let edge = line_integrals.slice(s![.., nv / 4..(nv - nv / 4).max(nv / 4 + 1), u]);
        let cut = edge.iter().filter(|p| **p > limit).count();
        cut as f64 > TRUNCATED_SHARE * edge.len() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_leaves_the_ends_of_the_arc_out() {
        let mut values = vec![1.0; 50];
        values.extend([3.0; 50]);
        assert!((spread(values) - (4.0 * 40.0 / 90.0_f64).sqrt()).abs() < 1e-9);
        let mut still = vec![0.5; 95];
        still.extend([9.0; 5]);
        assert_eq!(spread(still), 0.0);
    }

    #[test]
    fn number_is_the_worst_part_and_not_a_number_is_no_consent() {
        let limits = Spreads::of_pixel(2.0, false);
        let found = Spreads { edges_v_mm: 3.0 * limits.edges_v_mm, ..Spreads::default() };
        assert!((found.over(&limits) - 3.0).abs() < 1e-12);
        let broken = Spreads { edges_v_mm: f64::NAN, ..Spreads::default() };
        assert!(broken.over(&limits).is_nan());
    }
}
