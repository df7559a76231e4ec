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
        let across = across(&direction)?;
        let longest = LONG * expected_mm;
        let rays: Vec<(Vector3<f64>, Option<f64>)> = (0..RAYS)
            .map(|ray| outward(&across, ray))
            .map(|outward| (outward, wall(body, centre_mm, outward, longest, levels)))
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

/// How far a vessel reaches from a section's centre, by direction.
pub(crate) struct Outline {
    across: [Vector3<f64>; 2],
    /// For each ray, mm.
    reach_mm: [f64; RAYS],
}

impl Outline {
    /// Each ray's wall, or that of a ray beside it where that is farther: a dark spot in the blood is no wall. Rays
    /// without one, which have left through a branch or a leak, reach as far as the section is wide.
    pub(crate) fn of(body: &Body, section: &Section) -> Option<Self> {
        let across = across(&section.direction)?;
        let Section { centre_mm, radius_mm, levels, .. } = *section;
        let walls: [f64; RAYS] = std::array::from_fn(|ray| {
            wall(body, centre_mm, outward(&across, ray), LONG * radius_mm, levels).unwrap_or(radius_mm)
        });
        let reach_mm = std::array::from_fn(|ray| {
            let beside = [(ray + RAYS - 1) % RAYS, ray, (ray + 1) % RAYS];
            beside.map(|ray| walls[ray]).into_iter().fold(0.0, f64::max)
        });
        Some(Self { across, reach_mm })
    }

    /// Whether a place so far from the centre is no farther than the wall.
    pub(crate) fn holds(&self, from_centre: &Vector3<f64>) -> bool {
        let [side, other] = self.across.map(|axis| from_centre.dot(&axis));
        let turn = other.atan2(side) / std::f64::consts::TAU;
        let ray = (turn * RAYS as f64).round().rem_euclid(RAYS as f64) as usize % RAYS;
        side.hypot(other) <= self.reach_mm[ray]
    }
}

/// Two axes across a direction.
fn across(direction: &Vector3<f64>) -> Option<[Vector3<f64>; 2]> {
    let side = direction.cross(&smallest_axis(direction)).try_normalize(1e-9)?;
    Some([side, direction.cross(&side)])
}

fn outward([side, other]: &[Vector3<f64>; 2], ray: usize) -> Vector3<f64> {
    let angle = ray as f64 / RAYS as f64 * std::f64::consts::TAU;
    side * angle.cos() + other * angle.sin()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampled::place;

    /// Two tubes side by side, 1 mm of wall between them, and a hole in that wall between the slices 14 and 17.
    #[test]
    fn outline_ends_at_the_wall_beyond_which_another_vessel_lies() {
        let lattice = Lattice { shape: [31, 40, 60], spacing_mm: [0.5; 3] };
        let hu = (0..lattice.len())
            .map(|i| {
                let at = place(&lattice, lattice.position(i));
                let (own, other) = ((at.y - 10.0).hypot(at.z - 10.0), (at.y - 10.0).hypot(at.z - 21.0));
                let is_hole =
                    (7.0..8.5).contains(&at.x) && (at.y - 10.0).abs() < 1.0 && at.z > 14.0 && at.z < 17.0;
                if own < 5.0 || other < 5.0 || is_hole { 400.0 } else { 40.0 }
            })
            .collect();
        let inside = vec![true; lattice.len()];
        let body = Body { hu, inside, lattice, start: [0; 3], whole: lattice, unseen: None };
        let levels = Levels { half: 220.0, bright: f32::INFINITY };
        for along in [4.0, 7.75] {
            let centre = Vector3::new(along, 10.0, 10.0);
            let section = Section::measured(&body, centre, Vector3::x(), 5.0, levels).unwrap();
            let outline = Outline::of(&body, &section).unwrap();
            let holds = |y: f64, z: f64| outline.holds(&(Vector3::new(along, y, z) - section.centre_mm));
            assert!(holds(10.0, 14.5) && holds(10.0, 5.5) && holds(14.5, 10.0) && holds(13.0, 13.0));
            assert!(!holds(10.0, 17.0) && !holds(11.0, 18.0), "the other vessel is beyond the wall, {along}");
        }
    }
}
