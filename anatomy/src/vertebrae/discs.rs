//! The discs: each with the endplates about it, at distances that change little from one to the next, and with a foramen
//! behind what is above it and pedicles behind what is below.

use super::axis::STEP_MM;
use super::profile::{BODY_STEP_MM, Profiles, ROWS};

/// A disc's middle, and the endplates about it, mm from its middle plane.
const MIDDLE_MM: f64 = 1.5;
const ENDPLATES_MM: [f64; 2] = [3.5, 8.0];
/// Disc and endplates as one, and the vertebral bodies about them, mm from the disc's middle plane.
const BAND_MM: f64 = 5.0;
const BODIES_MM: [f64; 2] = [8.0, 13.0];
/// Discs lean forwards or backwards against the plane across the canal by up to this, as a slope, in so many steps.
const SLOPE_MAX: f64 = 0.45;
const SLOPES: isize = 4;
/// From disc to disc: upper thoracic and cervical spines have the least, lumbar ones the most, mm.
const APART_MM: [usize; 2] = [13, 46];
/// What a change of that distance by the factor e costs, against a plain disc's gain of one.
const UNEVEN_COST: f64 = 12.0;
/// A disc as faint as this share of a plain one neither gains nor costs.
const FAINT: f64 = 0.3;
/// What pedicles count where they should be, and foramina where they should open: more than a disc, for in bodies that are
/// poor in bone their middle passes for one.
const PEDICLE_GAIN: f64 = 4.0;
/// From a disc to the next one above, bone beside the canal comes and goes once: least at a quarter of the way, less this
/// share, where foramina are, and most half the way on. In the thoracic spine it is a quarter, in the lumbar spine less.
const FORAMEN_EARLIER: f64 = 0.1;
/// A disc is moved to the darkest plane so near to it, mm, where that is as plain as this.
const SNAP_MM: f64 = 4.0;
const PLAIN: f64 = 0.5;

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
    let [discs, dark] = strengths(profiles);
    let [least, most] = APART_MM.map(|mm| (mm as f64 / STEP_MM) as usize);
    let spans = most - least + 1;
    // The best chain that ends with a disc at `place` after a span: its score and the span before.
    let mut best = vec![(f64::NEG_INFINITY, None); n * spans];
    let waves: Vec<Vec<f64>> = (least..=most).map(pedicle_wave).collect();
    let gain = |from: usize, to: usize| {
        let wave = waves[to - from - least].iter().zip(&profiles.pedicle[from..to]);
        let pedicles: f64 = wave.map(|(weight, share)| weight * f64::from(*share)).sum();
        discs[to].strength - FAINT + PEDICLE_GAIN * pedicles
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
    chain.iter().map(|disc| darkest_near(disc, &dark)).collect()
}

/// What bone beside the canal weighs from one disc to the next: a wave whose sum is zero.
fn pedicle_wave(span: usize) -> Vec<f64> {
    let share = |i: usize| (i as f64 + 0.5) / span as f64 + FORAMEN_EARLIER;
    let wave: Vec<f64> = (0..span).map(|i| -(std::f64::consts::TAU * share(i)).sin()).collect();
    let mean = wave.iter().sum::<f64>() / span as f64;
    wave.iter().map(|weight| (weight - mean) * 2.0 / span as f64).collect()
}

/// A disc at its darkest plane: its bright endplates may have drawn it.
fn darkest_near(disc: &Disc, dark: &[Disc]) -> Disc {
    let reach = (SNAP_MM / STEP_MM) as usize;
    let near = &dark[disc.place.saturating_sub(reach)..(disc.place + reach + 1).min(dark.len())];
    let darkest = near.iter().max_by(|a, b| a.strength.total_cmp(&b.strength)).expect("the disc itself");
    if darkest.strength > PLAIN { *darkest } else { *disc }
}

/// How much every place looks like a disc, at its best slope, in units of a plain disc: at first by the better sign, that
/// it is darker than the endplates or that both together are brighter than the bodies, then by the first alone.
fn strengths(profiles: &Profiles) -> [Vec<Disc>; 2] {
    let slopes = || (-SLOPES..=SLOPES).map(|step| SLOPE_MAX * step as f64 / SLOPES as f64);
    let best = |rate: &dyn Fn(usize, f64) -> f64| -> Vec<Disc> {
        let at = |place: usize| {
            let rated = slopes().map(|slope| (rate(place, slope), slope));
            let (strength, slope) = rated.max_by(|a, b| a.0.total_cmp(&b.0)).expect("some slopes");
            Disc { place, slope, strength }
        };
        (0..profiles.body.len()).map(at).collect()
    };
    let mut dark = best(&|place, slope| {
        let [middle, below, above] = means(profiles, place, slope, MIDDLE_MM, ENDPLATES_MM);
        below.min(above) - middle
    });
    let bright = best(&|place, slope| {
        let [band, below, above] = means(profiles, place, slope, BAND_MM, BODIES_MM);
        band - below.max(above)
    });
    let mut better: Vec<Disc> =
        dark.iter().zip(bright).map(|(a, b)| if b.strength > a.strength { b } else { *a }).collect();
    let mut sorted: Vec<f64> = better.iter().map(|disc| disc.strength).collect();
    sorted.sort_by(f64::total_cmp);
    let plain = sorted[sorted.len() * 19 / 20].max(1.0);
    for disc in better.iter_mut().chain(&mut dark) {
        disc.strength = (disc.strength / plain).clamp(-1.0, 1.5);
    }
    [better, dark]
}

/// Mean grey values within `inner_mm` of a plane, and between `outer_mm` of it below and above, HU.
fn means(profiles: &Profiles, place: usize, slope: f64, inner_mm: f64, outer_mm: [f64; 2]) -> [f64; 3] {
    let reach = (outer_mm[1] / STEP_MM) as isize;
    let mut sums = [(0.0, 0.0); 3];
    for row in 0..ROWS {
        let lift = slope * BODY_STEP_MM * (row as f64 - 0.5 * (ROWS - 1) as f64) / STEP_MM;
        let centre = place as isize + lift.round() as isize;
        for by in -reach..=reach {
            let Some(rows) = usize::try_from(centre + by).ok().and_then(|i| profiles.body.get(i)) else {
                continue;
            };
            let away = (by as f64 * STEP_MM).abs();
            let sum = if away <= inner_mm {
                &mut sums[0]
            } else if away >= outer_mm[0] {
                &mut sums[1 + usize::from(by > 0)]
            } else {
                continue;
            };
            *sum = (sum.0 + f64::from(rows[row]), sum.1 + 1.0);
        }
    }
    sums.map(|(sum, count)| if count > 0.0 { sum / count } else { -100.0 })
}
