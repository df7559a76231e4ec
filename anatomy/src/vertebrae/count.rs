//! Which vertebra is which: counted from the last rib, the first rib or the sacrum, and only where these agree.

use super::discs::Disc;
use super::profile::Profiles;
use super::ribs::Rib;

/// Names from the sacrum's neighbour upwards.
const NAMES: [&str; 24] = [
    "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "T7", "T6", "T5", "T4", "T3", "T2", "T1",
    "C7", "C6", "C5", "C4", "C3", "C2", "C1",
];
/// Places of T12 and T1 among them.
const T12: isize = 5;
const T1: isize = 16;
/// A rib leaves the spine from its own vertebra, the last ones so low that it may be this share of a height below the disc
/// under it. Seen on the chest CT LIDC-IDRI-0001, whose ribs lie from 0.07 below to 0.66 above.
const BELOW_DISC: f64 = 0.15;
/// Wings of a sacrum fill this share of their place, over so many mm.
const WING_SHARE: f32 = 0.35;
const WING_MM: usize = 20;
/// The disc above the sacrum lies from here to here above the wings' upper end, mm; one below it lies within the sacrum.
const PROMONTORY_MM: [f64; 2] = [-4.0, 18.0];

/// What the field shows of the order of the vertebrae.
pub(super) struct Count {
    /// Name of each vertebra, from the feet to the head; none where it is not sure.
    pub names: Vec<Option<&'static str>>,
    /// Whether ribs hang on each.
    pub is_ribbed: Vec<bool>,
    /// How it was counted, or why not.
    pub notes: Vec<String>,
    /// The lowest vertebra above the sacrum, where that is seen.
    pub above_sacrum: Option<usize>,
}

/// Counts `bounds.len() - 1` vertebrae between discs.
pub(super) fn count(bounds: &[Disc], ribs: &[Rib], profiles: &Profiles) -> Count {
    let n = bounds.len() - 1;
    let mut sides = vec![[false; 2]; n];
    for rib in ribs {
        if let Some(number) = vertebra_of(bounds, rib.place) {
            sides[number][rib.side] = true;
        }
    }
    let is_ribbed: Vec<bool> = sides.iter().map(|sides| sides.contains(&true)).collect();
    // One side alone, or one vertebra alone, may be a process or a part of something else.
    let is_pair = |i: usize| sides.get(i).is_none_or(|sides| *sides == [true; 2]);
    let above_sacrum = above_sacrum(bounds, profiles);
    // The end of the field cuts the first and last vertebra, and may hide their ribs: a whole one without ribs lies beyond.
    // What each sign says the lowest vertebra to be: a place among the names.
    let mut said: Vec<(String, isize)> = Vec::new();
    if let Some(number) = above_sacrum {
        said.push(("the sacrum".into(), -(number as isize)));
    }
    let first = above_sacrum.unwrap_or(0);
    if let Some(lowest) = (first..n).find(|i| is_ribbed[*i])
        && (lowest > first + 1 || (lowest > first && above_sacrum.is_some()))
        && is_pair(lowest)
        && is_pair(lowest + 1)
    {
        said.push(("the lowest rib".into(), T12 - lowest as isize));
    }
    if let Some(highest) = (0..n).rev().find(|i| is_ribbed[*i])
        && highest > 0
        && highest + 2 < n
        && is_pair(highest)
        && is_pair(highest - 1)
    {
        said.push(("the highest rib".into(), T1 - highest as isize));
    }
    let mut notes: Vec<String> = Vec::new();
    let name = |offset: isize, number: usize| {
        usize::try_from(offset + number as isize).ok().and_then(|i| NAMES.get(i)).copied()
    };
    let offset = said.first().map(|(_, offset)| *offset);
    let agree = offset.filter(|offset| said.iter().all(|(_, other)| other == offset));
    let signs: Vec<String> = said
        .iter()
        .map(|(sign, offset)| {
            format!("{sign}, by which the lowest is {}", name(*offset, 0).unwrap_or("the sacrum"))
        })
        .collect();
    match agree {
        Some(_) => notes.push(format!("vertebrae counted from {}", signs.join("; "))),
        None if said.is_empty() => {
            notes.push("not sure which vertebrae these are: neither the sacrum nor the last or first rib is in the field".into());
        }
        None => notes.push(format!("not sure which vertebrae these are: {} disagree", signs.join("; "))),
    }
    let names = (0..n)
        .map(|number| {
            let is_spine = above_sacrum.is_none_or(|lowest| number >= lowest);
            agree.filter(|_| is_spine).and_then(|offset| name(offset, number))
        })
        .collect();
    Count { names, is_ribbed, notes, above_sacrum }
}

/// The vertebra that a rib at a place hangs on.
fn vertebra_of(bounds: &[Disc], place: f64) -> Option<usize> {
    let below = bounds.iter().rposition(|disc| disc.place as f64 <= place)?;
    let next = bounds.get(below + 1)?;
    let share = (place - bounds[below].place as f64) / (next.place - bounds[below].place) as f64;
    let number = if share > 1.0 - BELOW_DISC { below + 1 } else { below };
    (number + 1 < bounds.len()).then_some(number)
}

/// The lowest vertebra above a pair of wings that is long enough to be a sacrum's.
fn above_sacrum(bounds: &[Disc], profiles: &Profiles) -> Option<usize> {
    let mut run = 0;
    let mut end = None;
    for (place, share) in profiles.wing.iter().enumerate() {
        run = if *share > WING_SHARE { run + 1 } else { 0 };
        if run >= WING_MM {
            end = Some(place);
        }
    }
    let end = end? as f64;
    let above = |disc: &Disc| disc.place as f64 - end;
    let promontory = bounds.iter().position(|disc| above(disc) >= PROMONTORY_MM[0])?;
    (above(&bounds[promontory]) <= PROMONTORY_MM[1] && promontory + 1 < bounds.len()).then_some(promontory)
}
