//! The discs: dark between two bright endplates, at distances that change little from one to the next.

use super::axis::STEP_MM;
use super::profile::{BODY_STEP_MM, Profiles, ROWS};

/// A disc's middle, and the endplates about it, mm from its middle plane.
const MIDDLE_MM: f64 = 1.5;
const ENDPLATES_MM: [f64; 2] = [3.5, 8.0];
/// Discs lean forwards or backwards against the plane across the canal by up to this, as a slope, in so many steps.
const SLOPE_MAX: f64 = 0.45;
const SLOPES: isize = 4;
/// From disc to disc: upper thoracic and cervical spines have the least, lumbar ones the most, mm.
const APART_MM: [usize; 2] = [13, 46];
/// What a change of that distance by the factor e costs, against a plain disc's gain of one.
const UNEVEN_COST: f64 = 12.0;
/// A disc as faint as this share of a plain one neither gains nor costs.
const FAINT: f64 = 0.3;
/// What pedicles above and a foramen at the height of a disc count.
const PEDICLE_GAIN: f64 = 0.8;
/// Pedicles stand at this share of the way from a disc to the next one above, the foramen's middle at this.
const PEDICLE_AT: f64 = 0.62;
const FORAMEN_AT: f64 = 0.12;

/// A disc.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Disc {
    /// Place along the canal.
    pub place: usize,
    /// How its plane rises towards the front.
    pub slope: f64,
    /// How plain it is: about one.
    pub strength: f64,
}

/// Every disc that can be seen, from the feet to the head.
pub(super) fn find(profiles: &Profiles) -> Vec<Disc> {
    let n = profiles.body.len();
    let discs: Vec<Disc> = strengths(profiles);
    let [least, most] = APART_MM.map(|mm| (mm as f64 / STEP_MM) as usize);
    let spans = most - least + 1;
    // The best chain that ends with a disc at `place` after a span: its score and the span before.
    let mut best = vec![(f64::NEG_INFINITY, None); n * spans];
    let gain = |from: usize, to: usize| {
        let span = (to - from) as f64;
        let at = |share: f64| f64::from(profiles.pedicle[from + (share * span).round() as usize]);
        discs[to].strength - FAINT + PEDICLE_GAIN * (at(PEDICLE_AT) - at(FORAMEN_AT))
    };
    for place in 0..n {
        for span in least..=most.min(place) {
            let from = place - span;
            let mut chosen: (f64, Option<usize>) = (discs[from].strength - FAINT, None);
            for before in least..=most {
                let score = best[from * spans + before - least].0
                    - UNEVEN_COST * (span as f64 / before as f64).ln().powi(2);
                if score > chosen.0 {
                    chosen = (score, Some(before));
                }
            }
            best[place * spans + span - least] = (chosen.0 + gain(from, place), chosen.1);
        }
    }
    let Some(end) = (0..best.len()).max_by(|a, b| best[*a].0.total_cmp(&best[*b].0).then(b.cmp(a))) else {
        return Vec::new();
    };
    if !best[end].0.is_finite() {
        return Vec::new();
    }
    let mut chain = vec![discs[end / spans]];
    let (mut place, mut span) = (end / spans, Some(end % spans + least));
    while let Some(known) = span {
        span = best[place * spans + known - least].1;
        place -= known;
        chain.push(discs[place]);
    }
    chain.reverse();
    chain
}

/// How much every place looks like a disc, at its best slope, in units of a plain disc.
fn strengths(profiles: &Profiles) -> Vec<Disc> {
    let n = profiles.body.len();
    let mut discs: Vec<Disc> = (0..n)
        .map(|place| {
            let slopes = (-SLOPES..=SLOPES).map(|step| SLOPE_MAX * step as f64 / SLOPES as f64);
            let rated = slopes.map(|slope| (contrast(profiles, place, slope), slope));
            let (strength, slope) = rated.max_by(|a, b| a.0.total_cmp(&b.0)).expect("some slopes");
            Disc { place, slope, strength }
        })
        .collect();
    let mut sorted: Vec<f64> = discs.iter().map(|disc| disc.strength).collect();
    sorted.sort_by(f64::total_cmp);
    let plain = sorted[sorted.len() * 19 / 20].max(1.0);
    discs.iter_mut().for_each(|disc| disc.strength = (disc.strength / plain).clamp(-1.0, 1.5));
    discs
}

/// How much brighter the endplates are than the middle of a disc there, HU.
fn contrast(profiles: &Profiles, place: usize, slope: f64) -> f64 {
    let reach = (ENDPLATES_MM[1] / STEP_MM) as isize;
    let (mut middle, mut plates) = ((0.0, 0.0), [(0.0, 0.0); 2]);
    for row in 0..ROWS {
        let lift = slope * BODY_STEP_MM * (row as f64 - 0.5 * (ROWS - 1) as f64) / STEP_MM;
        let centre = place as isize + lift.round() as isize;
        for by in -reach..=reach {
            let Some(rows) = usize::try_from(centre + by).ok().and_then(|i| profiles.body.get(i)) else {
                continue;
            };
            let away = (by as f64 * STEP_MM).abs();
            let sum = if away <= MIDDLE_MM {
                &mut middle
            } else if away >= ENDPLATES_MM[0] {
                &mut plates[usize::from(by > 0)]
            } else {
                continue;
            };
            *sum = (sum.0 + f64::from(rows[row]), sum.1 + 1.0);
        }
    }
    let mean = |(sum, count): (f64, f64)| if count > 0.0 { sum / count } else { -100.0 };
    mean(plates[0]).min(mean(plates[1])) - mean(middle)
}
