//! Discs taken out of bone: they can be as bright as spongy bone, and what tells them is the brighter endplates about them.

use super::axis::{Place, STEP_MM};
use super::discs::Disc;
use super::profile::BODY_FRONT_MM;
use crate::body::Body;
use crate::sampled::{place, sampled};
use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

/// A disc lies within these distances of the canal's middle to the front, and to either side, mm.
const FRONT_MM: [f64; 2] = [4.0, 50.0];
const BESIDE_MM: f64 = 32.0;
/// Its core, where every disc shows, lies within these; one that shows its endplates on less than this share of it is left.
const CORE_FRONT_MM: [f64; 2] = [8.0, 36.0];
const CORE_BESIDE_MM: f64 = 14.0;
const SHOWN_MIN: f64 = 0.3;
/// Columns across a disc are so far apart, and sampled so closely, mm.
const COLUMN_MM: f64 = 1.5;
const SAMPLE_MM: f64 = 0.75;
/// The darkest place of a column is so near to the disc's plane, and its endplates lie so near, as a share of the way to the
/// next disc: the middle of a vertebra is dark, too.
const MIDDLE_SHARE: f64 = 0.1;
const ENDPLATES_SHARE: f64 = 0.28;
/// Endplates are brighter than the disc by this, HU: more than noise does.
const RISE_HU: f32 = 50.0;
/// Bone ends at this share of the way from the disc up to an endplate.
const SHARE: f32 = 0.5;
/// A disc's plane is fitted so often: it may lean more than it was sought to.
const FITS: usize = 2;
/// A column without endplates of its own takes its neighbours' middle ones if it has so many.
const NEIGHBOURS_MIN: usize = 4;

/// From where to where a column is disc, mm from its plane; none where it is not.
type Gap = Option<[f64; 2]>;

/// The columns of one disc, from the back to the front, each row from right to left.
struct Columns<'a> {
    at: &'a Place,
    /// The disc's plane: mm above the plane across the canal, and how much more for each mm to the front and the left.
    plane: Vector3<f64>,
    /// To the nearer of the next discs, mm.
    span_mm: f64,
    rows: usize,
    width: usize,
}

/// Takes the discs out of a mask.
pub(super) fn open(mask: &mut [bool], body: &Body, discs: &[Disc], places: &[Place]) {
    for (number, disc) in discs.iter().enumerate() {
        let neighbours = [number.checked_sub(1), Some(number + 1)];
        let away = neighbours
            .into_iter()
            .flatten()
            .filter_map(|n| discs.get(n))
            .map(|n| n.place.abs_diff(disc.place));
        let Some(span) = away.min() else { continue };
        let middle = 0.5 * (BODY_FRONT_MM[0] + BODY_FRONT_MM[1]);
        let mut columns = Columns {
            at: &places[disc.place],
            plane: Vector3::new(-disc.slope * middle, disc.slope, 0.0),
            span_mm: span as f64 * STEP_MM,
            rows: ((FRONT_MM[1] - FRONT_MM[0]) / COLUMN_MM) as usize + 1,
            width: 2 * (BESIDE_MM / COLUMN_MM) as usize + 1,
        };
        if let Some(gaps) = columns.fitted(body) {
            columns.take(mask, body, &columns.filled(&gaps));
        }
    }
}

impl Columns<'_> {
    /// How far to the front and to the left a column lies, mm.
    fn place(&self, column: usize) -> [f64; 2] {
        let half = (self.width / 2) as f64;
        [
            FRONT_MM[0] + (column / self.width) as f64 * COLUMN_MM,
            ((column % self.width) as f64 - half) * COLUMN_MM,
        ]
    }

    /// How far the disc's plane lies above the plane across the canal, mm.
    fn lift(&self, front: f64, left: f64) -> f64 {
        self.plane.dot(&Vector3::new(1.0, front, left))
    }

    fn point(&self, column: usize, up: f64) -> Vector3<f64> {
        let [front, left] = self.place(column);
        let up = up + self.lift(front, left);
        self.at.centre + self.at.front * front + self.at.left * left + self.at.up * up
    }

    /// The gaps about the plane that fits them best; none where too little of a disc shows.
    fn fitted(&mut self, body: &Body) -> Option<Vec<Gap>> {
        let is_core = |[front, left]: [f64; 2]| {
            (CORE_FRONT_MM[0]..CORE_FRONT_MM[1]).contains(&front) && left.abs() < CORE_BESIDE_MM
        };
        let core: Vec<usize> = (0..self.rows * self.width).filter(|c| is_core(self.place(*c))).collect();
        for _ in 0..FITS {
            let gaps = self.gaps(body);
            let (mut normal, mut right) = (Matrix3::identity() * 1e-6, Vector3::zeros());
            for (column, gap) in core.iter().filter_map(|c| gaps[*c].map(|gap| (*c, gap))) {
                let [front, left] = self.place(column);
                let at = Vector3::new(1.0, front, left);
                normal += at * at.transpose();
                right += at * (self.lift(front, left) + 0.5 * (gap[0] + gap[1]));
            }
            if right != Vector3::zeros() {
                self.plane = normal.cholesky()?.solve(&right);
            }
        }
        let gaps = self.gaps(body);
        let shown = core.iter().filter(|c| gaps[**c].is_some()).count();
        (shown as f64 >= SHOWN_MIN * core.len() as f64).then_some(gaps)
    }

    fn gaps(&self, body: &Body) -> Vec<Gap> {
        let reach = ENDPLATES_SHARE * self.span_mm;
        let samples = (2.0 * reach / SAMPLE_MM) as usize + 1;
        let up = |i: usize| i as f64 * SAMPLE_MM - reach;
        let raw: Vec<Vec<Option<f32>>> = (0..self.rows * self.width)
            .into_par_iter()
            .map(|c| (0..samples).map(|i| sampled(body, self.point(c, up(i)))).collect())
            .collect();
        (0..raw.len())
            .into_par_iter()
            .map(|c| {
                let near = self.around(c);
                let mean = |i: usize| {
                    let (sum, count) = near
                        .iter()
                        .filter_map(|n| raw[*n][i])
                        .fold((0.0, 0.0_f32), |(sum, count), hu| (sum + hu, count + 1.0));
                    sum / count
                };
                gap(&(0..samples).map(mean).collect::<Vec<f32>>(), up, MIDDLE_SHARE * self.span_mm)
            })
            .collect()
    }

    /// A column and those around it.
    fn around(&self, column: usize) -> Vec<usize> {
        let (row, place) = (column / self.width, column % self.width);
        let mut around = Vec::with_capacity(9);
        for r in row.saturating_sub(1)..(row + 2).min(self.rows) {
            for p in place.saturating_sub(1)..(place + 2).min(self.width) {
                around.push(r * self.width + p);
            }
        }
        around
    }

    /// Each column's gap the middle one of those around it.
    fn filled(&self, gaps: &[Gap]) -> Vec<Gap> {
        (0..gaps.len())
            .map(|c| {
                let near: Vec<[f64; 2]> = self.around(c).into_iter().filter_map(|n| gaps[n]).collect();
                (near.len() >= NEIGHBOURS_MIN).then(|| {
                    [0, 1].map(|side| {
                        let mut ends: Vec<f64> = near.iter().map(|gap| gap[side]).collect();
                        ends.sort_by(f64::total_cmp);
                        ends[ends.len() / 2]
                    })
                })
            })
            .collect()
    }

    fn take(&self, mask: &mut [bool], body: &Body, gaps: &[Gap]) {
        let reach = FRONT_MM[1].hypot(BESIDE_MM);
        let [slices, ny, nx] = [0, 1, 2].map(|a| {
            let index = |mm: f64| (mm / body.lattice.spacing_mm[a]).max(0.0) as usize;
            let last = body.lattice.shape[a];
            index(self.at.centre[a] - reach).min(last)..(index(self.at.centre[a] + reach) + 2).min(last)
        });
        for z in slices {
            for y in ny.clone() {
                for x in nx.clone() {
                    let index = body.lattice.index([z, y, x]);
                    if mask[index] && self.is_disc(gaps, place(&body.lattice, [z, y, x])) {
                        mask[index] = false;
                    }
                }
            }
        }
    }

    fn is_disc(&self, gaps: &[Gap], point: Vector3<f64>) -> bool {
        let away = point - self.at.centre;
        let (front, left) = (away.dot(&self.at.front), away.dot(&self.at.left));
        let row = ((front - FRONT_MM[0]) / COLUMN_MM).round();
        let column = (left / COLUMN_MM).round() + (self.width / 2) as f64;
        if !(row >= 0.0 && row < self.rows as f64 && column >= 0.0 && column < self.width as f64) {
            return false;
        }
        let up = away.dot(&self.at.up) - self.lift(front, left);
        gaps[row as usize * self.width + column as usize].is_some_and(|[low, high]| low < up && up < high)
    }
}

/// The gap between the two brightest places about the darkest one near the middle.
fn gap(hu: &[f32], up: impl Fn(usize) -> f64, middle_mm: f64) -> Gap {
    let darkest = (0..hu.len())
        .filter(|i| up(*i).abs() <= middle_mm && hu[*i].is_finite())
        .min_by(|a, b| hu[*a].total_cmp(&hu[*b]))?;
    let brightest = |range: std::ops::Range<usize>| {
        range.filter(|i| hu[*i].is_finite()).max_by(|a, b| hu[*a].total_cmp(&hu[*b]))
    };
    let (below, above) = (brightest(0..darkest)?, brightest(darkest + 1..hu.len())?);
    if hu[below].min(hu[above]) < hu[darkest] + RISE_HU {
        return None;
    }
    let level = |plate: usize| hu[darkest] + SHARE * (hu[plate] - hu[darkest]);
    let between = |dark: usize, bright: usize, level: f32| {
        let share = f64::from((level - hu[dark]) / (hu[bright] - hu[dark]));
        up(dark) + share * (up(bright) - up(dark))
    };
    let low = (below..darkest).rev().find(|i| hu[*i] >= level(below))?;
    let high = (darkest + 1..=above).find(|i| hu[*i] >= level(above))?;
    Some([between(low + 1, low, level(below)), between(high - 1, high, level(above))])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc of 6 mm, 1 mm above the plane, at `disc` between plates at `plate`.
    fn gap_of(disc: f32, plate: f32) -> Gap {
        let up = |i: usize| i as f64 * 0.5 - 8.0;
        let hu: Vec<f32> = (0..33)
            .map(|i| match (up(i) - 1.0).abs() {
                away if away < 2.9 => disc,
                away if away < 5.0 => plate,
                _ => 150.0,
            })
            .collect();
        gap(&hu, up, 3.0)
    }

    #[test]
    fn gap_reaches_from_plate_to_plate_and_needs_both() {
        let [low, high] = gap_of(130.0, 400.0).unwrap();
        assert!((low + 1.75).abs() < 0.3 && (high - 3.75).abs() < 0.3, "{low} {high}");
        assert_eq!(gap_of(130.0, 130.0 + 0.8 * RISE_HU), None);
    }
}
