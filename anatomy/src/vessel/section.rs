//! One section across a vessel, measured by rays.

use super::start::Levels;
use crate::body::Body;
use crate::lattice::Lattice;
use crate::sampled::sampled;
use nalgebra::Vector3;

/// Rays across a vessel.
const RAYS: usize = 48;
/// Step along a ray, as a share of the smallest voxel side.
const STEP_SHARE: f64 = 0.5;
/// A ray that runs this many times the median radius without an edge has left through a branch or a leak.
const LONG: f64 = 1.5;

/// A section: centre, direction and radius.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Section {
    /// Place in the body's lattice, mm along z, y and x.
    pub centre_mm: Vector3<f64>,
    /// Along the vessel, unit length.
    pub direction: Vector3<f64>,
    /// Median distance from centre to wall, mm.
    pub radius_mm: f64,
    /// What counts as its blood, HU.
    pub levels: Levels,
    /// Share of the rays that found no wall.
    pub open_share: f64,
    /// The vessel ends so far ahead along the direction, mm; infinite where nothing tells.
    pub ends_ahead_mm: f64,
}

impl Section {
    /// The voxel at its centre.
    pub(crate) fn index(&self, lattice: &Lattice) -> Option<usize> {
        lattice.voxel_at(self.centre_mm.into())
    }

    /// Measures a section and moves its centre to the middle of its walls; none outside the data or outside blood.
    ///
    /// `expected_mm` is about how wide it is; `levels` tell blood from the rest.
    pub(crate) fn measured(
        body: &Body,
        centre_mm: Vector3<f64>,
        direction: Vector3<f64>,
        expected_mm: f64,
        levels: Levels,
    ) -> Option<Self> {
        if !levels.hold(sampled(body, centre_mm)?) {
            return None;
        }
        let side = direction.cross(&smallest_axis(&direction)).try_normalize(1e-9)?;
        let other = direction.cross(&side);
        let longest = LONG * expected_mm;
        let rays: Vec<(Vector3<f64>, Option<f64>)> = (0..RAYS)
            .map(|ray| {
                let angle = ray as f64 / RAYS as f64 * std::f64::consts::TAU;
                let outward = side * angle.cos() + other * angle.sin();
                (outward, wall(body, centre_mm, outward, longest, levels))
            })
            .collect();
        let open_share = rays.iter().filter(|(_, wall)| wall.is_none()).count() as f64 / RAYS as f64;
        let mut lengths: Vec<f64> = rays.iter().map(|(_, wall)| wall.unwrap_or(longest)).collect();
        lengths.sort_by(f64::total_cmp);
        let radius_mm = lengths[RAYS / 2];
        // A ray through a branch pulls the centre no farther than a wall at the median.
        let shift = rays
            .iter()
            .map(|(outward, wall)| outward * wall.unwrap_or(radius_mm).min(LONG * radius_mm))
            .sum::<Vector3<f64>>()
            * (2.0 / RAYS as f64);
        let shift =
            if shift.norm() > 0.5 * radius_mm { shift * (0.5 * radius_mm / shift.norm()) } else { shift };
        Some(Self {
            centre_mm: centre_mm + shift,
            direction,
            radius_mm,
            levels,
            open_share,
            ends_ahead_mm: f64::INFINITY,
        })
    }
}

/// The axis that the direction leans to least.
fn smallest_axis(direction: &Vector3<f64>) -> Vector3<f64> {
    let mut axis = Vector3::zeros();
    axis[direction.iamin()] = 1.0;
    axis
}

/// Distance to where the grey value is blood's no more, interpolated.
fn wall(
    body: &Body,
    centre_mm: Vector3<f64>,
    outward: Vector3<f64>,
    longest: f64,
    levels: Levels,
) -> Option<f64> {
    let step = STEP_SHARE * body.lattice.spacing_mm.iter().copied().fold(f64::INFINITY, f64::min);
    let mut before = sampled(body, centre_mm)?;
    let mut away = 0.0;
    while away < longest {
        away += step;
        // Beyond the data there is no blood.
        let here = sampled(body, centre_mm + outward * away).unwrap_or(-1000.0);
        if !levels.hold(here) {
            let border = if here < levels.half { levels.half } else { levels.bright };
            let share = f64::from((before - border).abs() / (before - here).abs().max(1e-3));
            return Some(away - step + share * step);
        }
        before = here;
    }
    None
}
