//! Walking along a vessel until it ends, leaves the data, or leaks.

use super::section::Section;
use super::start::Start;
use crate::body::Body;
use crate::sampled::place;
use nalgebra::Vector3;

/// Step along the centreline, as a share of the radius, mm at least.
const STEP_SHARE: f64 = 0.3;
const STEP_MIN_MM: f64 = 0.8;
/// How much of the new direction comes from the way that the centre moved.
const TURN: f64 = 0.35;
/// A radius this many times the median of the last ones is a leak, or this small a share of it, another vessel.
const WIDER: f64 = 1.4;
const NARROWER: f64 = 0.55;
/// At an end, up to so many sections are taken back while they are this much wider than usual or this open.
const TRIMMED: usize = 16;
const TRIM_WIDER: f64 = 1.12;
const TRIM_OPEN: f64 = 0.2;
/// A section so much narrower than those before it, beyond which the way widens again by this factor, is a neck: a valve's
/// ring measures three quarters of the sinuses above it.
const NECK: f64 = 0.75;
const BEYOND_NECK: f64 = 1.3;
/// Sections that the median is taken from.
const REMEMBERED: usize = 12;
/// More rays than this without a wall are a leak.
const OPEN_SHARE_MAX: f64 = 0.45;
/// Longest centreline, mm: no vessel is longer than a body.
const LENGTH_MAX_MM: f64 = 2500.0;
/// Steps after which the direction is taken from the way covered, so that noise averages out.
const LOOK_BACK: usize = 5;
/// The direction of a walk looks back, and so lags behind in a bend: once the way is known, sections are laid across it
/// as it runs so many sections before and behind, and so many times, for they may have been measured off its middle.
const BESIDE: usize = 2;
const SETTLED: usize = 3;

/// A centreline and how it ended.
pub(super) struct Walked {
    /// Sections in order.
    pub sections: Vec<Section>,
    /// How each end was reached.
    pub notes: Vec<String>,
}

impl Walked {
    /// Blood along the centreline, as round sections.
    pub(super) fn volume_mm3(&self) -> f64 {
        let spans = self.sections.windows(2).map(|pair| {
            let step = (pair[1].centre_mm - pair[0].centre_mm).norm();
            std::f64::consts::PI * pair[1].radius_mm.powi(2) * step
        });
        spans.sum()
    }
}

/// Walks from a start in both directions.
pub(super) fn both_ways(body: &Body, start: &Start) -> Walked {
    let first = match Section::measured(body, start.centre_mm, start.direction, start.radius_mm, start.levels)
    {
        Some(first) => first,
        None => return Walked { sections: Vec::new(), notes: Vec::new() },
    };
    let mut notes = Vec::new();
    let mut sections = Vec::new();
    for sign in [-1.0, 1.0] {
        let (way, reason) = one_way(body, &first, sign);
        let mut way = settled(body, &first, way);
        if !take_back_to_neck(&mut way) {
            trim(&mut way);
        }
        let end = way.last().unwrap_or(&first);
        notes.push(format!("one end, radius {:.1} mm: {reason}", end.radius_mm));
        if sign < 0.0 {
            way.reverse();
            way.push(first);
        }
        sections.extend(way);
    }
    Walked { sections, notes }
}

fn one_way(body: &Body, first: &Section, sign: f64) -> (Vec<Section>, String) {
    let mut way = vec![Section { direction: first.direction * sign, ..*first }];
    let mut length = 0.0;
    while length < LENGTH_MAX_MM {
        let last = way[way.len() - 1];
        let usual = usual_radius(&way);
        let step = (STEP_SHARE * usual).max(STEP_MIN_MM);
        let ahead = last.centre_mm + last.direction * step;
        if is_outside(body, ahead) {
            return (way.split_off(1), "it leaves the data".into());
        }
        let Some(next) = Section::measured(body, ahead, last.direction, usual, last.levels) else {
            return (way.split_off(1), "no blood ahead".into());
        };
        if next.open_share > OPEN_SHARE_MAX || next.radius_mm > WIDER * usual {
            let found = next.radius_mm;
            return (way.split_off(1), format!("it opens from {usual:.1} to {found:.1} mm or more"));
        }
        if next.radius_mm < NARROWER * usual {
            return (way.split_off(1), format!("it narrows to {:.1} mm", next.radius_mm));
        }
        let from = way[way.len().saturating_sub(LOOK_BACK)].centre_mm;
        let moved = (next.centre_mm - from).try_normalize(1e-9).unwrap_or(last.direction);
        let direction =
            (last.direction * (1.0 - TURN) + moved * TURN).try_normalize(1e-9).unwrap_or(last.direction);
        let is_back = way.len() > LOOK_BACK && moved.dot(&last.direction) < 0.0;
        if is_back {
            return (way.split_off(1), "it turns back on itself".into());
        }
        length += (next.centre_mm - last.centre_mm).norm();
        way.push(Section { direction, ..next });
    }
    (way.split_off(1), "it is longer than any vessel".into())
}

/// Sections measured again across the way that they have led: in the bend between an aorta's root and its arch they were
/// slanted and off the middle.
fn settled(body: &Body, first: &Section, way: Vec<Section>) -> Vec<Section> {
    let mut way: Vec<Section> = std::iter::once(*first).chain(way).collect();
    for _ in 0..SETTLED {
        let centres: Vec<Vector3<f64>> = way.iter().map(|section| section.centre_mm).collect();
        let radii: Vec<f64> = way.iter().map(|section| section.radius_mm).collect();
        for (i, section) in way.iter_mut().enumerate().skip(1) {
            let (before, behind) = (i.saturating_sub(BESIDE), (i + BESIDE).min(centres.len() - 1));
            let along = centres[behind] - centres[before];
            let Some(direction) = along.try_normalize(1e-9) else { continue };
            let around = &radii[i.saturating_sub(REMEMBERED / 2)..(i + REMEMBERED / 2 + 1).min(radii.len())];
            let again = Section::measured(body, centres[i], direction, median(around), section.levels);
            *section = again.unwrap_or(*section);
        }
    }
    way.split_off(1)
}

/// Takes back the sections in which a leak began to show: the walk notices it only when it is wide.
fn trim(way: &mut Vec<Section>) {
    let before = way.len().saturating_sub(TRIMMED);
    if before == 0 {
        return;
    }
    let usual = usual_radius(&way[..before]);
    let is_leaking =
        |section: &Section| section.radius_mm > TRIM_WIDER * usual || section.open_share > TRIM_OPEN;
    while way.len() > before && way.last().is_some_and(is_leaking) {
        way.pop();
    }
}

/// Takes back a neck near the end and what lies beyond it, and tells whether there was one: below its sinuses, which are
/// no leak, an aorta is narrow at its valve, and widens again in the heart.
fn take_back_to_neck(way: &mut Vec<Section>) -> bool {
    let before = way.len().saturating_sub(TRIMMED);
    if before == 0 {
        return false;
    }
    let widest_from = |i: usize| way[i..].iter().map(|section| section.radius_mm).fold(0.0, f64::max);
    let is_neck = |i: &usize| {
        let radius = way[*i].radius_mm;
        radius < NECK * usual_radius(&way[..*i]) && widest_from(*i) > BEYOND_NECK * radius
    };
    let Some(neck) = (before..way.len()).find(is_neck) else { return false };
    // The vessel becomes a neck somewhere between the two.
    let to_neck = (way[neck].centre_mm - way[neck - 1].centre_mm).norm();
    way[neck - 1].ends_ahead_mm = 0.5 * to_neck;
    way.truncate(neck);
    true
}

/// Median radius of the last sections.
fn usual_radius(way: &[Section]) -> f64 {
    let last: Vec<f64> = way.iter().rev().take(REMEMBERED).map(|section| section.radius_mm).collect();
    median(&last)
}

fn median(radii: &[f64]) -> f64 {
    let mut sorted = radii.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn is_outside(body: &Body, at_mm: Vector3<f64>) -> bool {
    let end = place(&body.lattice, body.lattice.shape.map(|n| n - 1));
    (0..3).any(|axis| !(at_mm[axis] >= 0.0 && at_mm[axis] <= end[axis]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::Lattice;
    use crate::vessel::start::Levels;

    const LEVELS: Levels = Levels { half: 220.0, bright: f32::INFINITY };

    fn way(radii_mm: &[f64]) -> Vec<Section> {
        let section = |(i, radius_mm): (usize, &f64)| Section {
            centre_mm: Vector3::new(4.0 * i as f64, 0.0, 0.0),
            direction: Vector3::x(),
            radius_mm: *radius_mm,
            levels: LEVELS,
            open_share: 0.0,
            ends_ahead_mm: f64::INFINITY,
        };
        radii_mm.iter().enumerate().map(section).collect()
    }

    #[test]
    fn neck_is_where_an_aorta_narrows_below_its_sinuses_and_the_heart_is_wide_beyond() {
        let tube = [13.0; 20];
        let root = [14.0, 16.0, 17.0, 15.0, 13.0];
        let mut ends_in_heart = way(&[&tube[..], &root, &[9.0, 9.5, 14.0]].concat());
        assert!(take_back_to_neck(&mut ends_in_heart));
        assert_eq!(ends_in_heart.len(), tube.len() + root.len());
        assert_eq!(ends_in_heart.last().unwrap().ends_ahead_mm, 2.0);
        // A vessel that tapers to its end has none.
        let mut tapers = way(&[&tube[..], &root, &[9.0, 8.0, 7.0]].concat());
        assert!(!take_back_to_neck(&mut tapers));
        assert_eq!(tapers.len(), tube.len() + root.len() + 3);
    }

    /// Distance of the bend's middle line from its axis, and the radius of its tube, mm.
    const BEND_MM: f64 = 40.0;
    const TUBE_MM: f64 = 8.0;

    /// A tube bent about the first axis through `y = x = 0`, its edges as wide as a voxel.
    fn bent_tube() -> Body {
        let lattice = Lattice { shape: [31, 60, 60], spacing_mm: [1.0; 3] };
        let hu = (0..lattice.len())
            .map(|i| {
                let at = place(&lattice, lattice.position(i));
                let off = (at.y.hypot(at.z) - BEND_MM).hypot(at.x - 15.0);
                40.0 + 360.0 * (TUBE_MM + 0.5 - off).clamp(0.0, 1.0) as f32
            })
            .collect();
        Body { hu, inside: vec![true; lattice.len()], lattice, start: [0; 3], whole: lattice, unseen: None }
    }

    #[test]
    fn sections_lie_across_a_bend_and_on_its_middle() {
        let body = bent_tube();
        let middle = BEND_MM / std::f64::consts::SQRT_2;
        let start = Start {
            centre_mm: Vector3::new(15.0, middle, middle),
            direction: Vector3::new(0.0, -middle, middle) / BEND_MM,
            radius_mm: TUBE_MM,
            levels: LEVELS,
        };
        let walked = both_ways(&body, &start);
        // Near its ends the tube is cut by the data.
        let inside = |section: &&Section| section.centre_mm.y.min(section.centre_mm.z) > 1.5 * TUBE_MM;
        let sections: Vec<&Section> = walked.sections.iter().filter(inside).collect();
        assert!(sections.len() >= 12, "{}", sections.len());
        for section in sections {
            let [_, y, z] = section.centre_mm.into();
            let tangent = Vector3::new(0.0, -z, y) / y.hypot(z);
            let slant_deg = section.direction.dot(&tangent).abs().min(1.0).acos().to_degrees();
            // Rays that leave the bend inwards and outwards meet walls of unlike slant.
            assert!(slant_deg < 6.0, "{slant_deg} at {y}, {z}");
            assert!((y.hypot(z) - BEND_MM).abs() < 0.6, "{y}, {z}");
            assert!((section.radius_mm - TUBE_MM).abs() < 0.4, "{section:?}");
        }
    }
}
