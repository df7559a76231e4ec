//! Defects that appear after calibration, found while frames come.
//!
//! Light spreads over a pixel's borders, so nothing in a patient leaves one pixel beyond the range of all its eight
//! neighbours by much, frame after frame, while what it lies in changes. A look compares some rows of each frame, other
//! rows each time. A pixel outside its neighbours' range by `MARGIN_DEVIATIONS` of noise and `MARGIN_SHARE` of their
//! level gains a point, and loses one at each look that finds it within. With `POINTS` it is a defect, where it also
//! proves that it is no object that lies still: the level around it has changed by `LEVEL_CHANGED`, or it left the range
//! on both sides, or its raw count is at an end of the panel's range.

use super::{CorrectedFrame, Corrector};
use carm::PixelDefect;
use std::collections::BTreeMap;

/// Frames that it takes to look at all rows once.
const FRAMES_A_LOOK: usize = 8;
const MARGIN_DEVIATIONS: f32 = 6.0;
const MARGIN_SHARE: f32 = 0.12;
const POINTS: u32 = 8;
const LEVEL_CHANGED: f32 = 1.15;
/// Pixels under suspicion at once: with more, the image is not what this is for.
const MOST_SUSPECTS: usize = 4096;

/// What speaks against a pixel.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    points: u32,
    /// Least and greatest level around it, relative to the bare beam.
    levels: [f32; 2],
    is_dark: bool,
    is_bright: bool,
    is_at_an_end: bool,
}

/// Looks for defects in the frames of one panel.
#[derive(Clone, Debug)]
pub struct LateDefects {
    nu: usize,
    nv: usize,
    next_row: usize,
    suspects: BTreeMap<usize, Suspect>,
    /// Of a row: the range of the three above and below each pixel, and by how much it may leave that of all eight.
    low: Vec<f32>,
    high: Vec<f32>,
    excess: Vec<f32>,
    found: Vec<usize>,
}

impl LateDefects {
    /// For images of `nu` columns and `nv` rows.
    pub fn new(nu: usize, nv: usize) -> Self {
        let row = || vec![0.0; nu];
        let (low, high, excess) = (row(), row(), row());
        Self { nu, nv, next_row: 1, suspects: BTreeMap::new(), low, high, excess, found: Vec::new() }
    }

    /// Looks at some rows of a corrected frame; gives pixels that have just been found out.
    pub fn look(
        &mut self,
        frame: &CorrectedFrame,
        raw_counts: &[u16],
        corrector: &Corrector,
    ) -> Vec<PixelDefect> {
        self.found.clear();
        let is_usable = frame.air_intensity > 0.0 && frame.intensity.len() == self.nu * self.nv;
        if !is_usable || self.nu < 3 || self.nv < 3 {
            return Vec::new();
        }
        let first = if self.next_row + 1 >= self.nv { 1 } else { self.next_row };
        let last = (first + self.nv.div_ceil(FRAMES_A_LOOK)).min(self.nv - 1);
        for v in first..last {
            self.look_at_row(v, frame, raw_counts, corrector);
        }
        self.next_row = last;
        for pixel in &self.found {
            self.suspects.remove(pixel);
        }
        let place = |pixel: &usize| PixelDefect { u: (pixel % self.nu) as u32, v: (pixel / self.nu) as u32 };
        self.found.iter().map(place).collect()
    }

    fn look_at_row(&mut self, v: usize, frame: &CorrectedFrame, raw_counts: &[u16], corrector: &Corrector) {
        let nu = self.nu;
        let [above, here, below] = [v - 1, v, v + 1].map(|v| &frame.intensity[v * nu..][..nu]);
        let sides = self.low.iter_mut().zip(&mut self.high).zip(above.iter().zip(below));
        for ((low, high), (a, b)) in sides {
            (*low, *high) = (a.min(*b), a.max(*b));
        }
        let windows = self.low.windows(3).zip(self.high.windows(3)).zip(here.windows(3));
        for (excess, ((low, high), near)) in self.excess[1..].iter_mut().zip(windows) {
            let low = low[0].min(low[1]).min(low[2]).min(near[0].min(near[2]));
            let high = high[0].max(high[1]).max(high[2]).max(near[0].max(near[2]));
            *excess = (low - near[1]).max(near[1] - high) - MARGIN_SHARE * 0.5 * (low + high).max(0.0);
        }
        // Suspects that behave lose a point: those of this row, before the others gain theirs.
        let row = v * nu..(v + 1) * nu;
        let mut calm: Vec<usize> = self.suspects.range(row).map(|(pixel, _)| *pixel).collect();
        for u in 1..nu - 1 {
            // Most pixels lie within the range of their neighbours, or leave it by little.
            if self.excess[u] <= 0.0 {
                continue;
            }
            let (left, right) = (here[u - 1], here[u + 1]);
            let low = self.low[u - 1].min(self.low[u]).min(self.low[u + 1]).min(left.min(right));
            let high = self.high[u - 1].max(self.high[u]).max(self.high[u + 1]).max(left.max(right));
            let below = low - here[u];
            let above = here[u] - high;
            let level = 0.5 * (low + high).max(0.0);
            let margin =
                (MARGIN_DEVIATIONS * frame.variance.variance(level).sqrt()).max(MARGIN_SHARE * level);
            let pixel = v * nu + u;
            if below.max(above) <= margin || !corrector.is_good[pixel] {
                continue;
            }
            calm.retain(|known| *known != pixel);
            let raw = raw_counts[pixel];
            let is_at_an_end = raw == 0 || raw >= corrector.saturation_counts;
            self.accuse(pixel, level / frame.air_intensity, below > above, is_at_an_end);
        }
        for pixel in calm {
            let points = self.suspects.get_mut(&pixel).map_or(0, |suspect| {
                suspect.points -= 1;
                suspect.points
            });
            if points == 0 {
                self.suspects.remove(&pixel);
            }
        }
    }

    fn accuse(&mut self, pixel: usize, level: f32, is_dark: bool, is_at_an_end: bool) {
        if self.suspects.len() >= MOST_SUSPECTS && !self.suspects.contains_key(&pixel) {
            return;
        }
        let suspect = self.suspects.entry(pixel).or_insert(Suspect {
            points: 0,
            levels: [level; 2],
            is_dark: false,
            is_bright: false,
            is_at_an_end: true,
        });
        suspect.points += 1;
        suspect.levels = [suspect.levels[0].min(level), suspect.levels[1].max(level)];
        suspect.is_dark |= is_dark;
        suspect.is_bright |= !is_dark;
        suspect.is_at_an_end &= is_at_an_end;
        let has_changed = suspect.levels[1] > LEVEL_CHANGED * suspect.levels[0];
        let is_proven = has_changed || suspect.is_at_an_end || (suspect.is_dark && suspect.is_bright);
        if suspect.points >= POINTS && is_proven {
            self.found.push(pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::{DetectorCalibration, DetectorGrid, Exposure, FrameHeader, WallTime};
    use ndarray::Array2;

    const NU: usize = 64;
    const NV: usize = 48;

    fn corrector() -> Corrector {
        let maps = DetectorCalibration {
            dark_counts: Array2::from_elem((NV, NU), 100.0),
            gain: Array2::from_elem((NV, NU), 1.0),
            defects: Vec::new(),
            air_intensity_per_mas: 8000.0,
            electronic_variance: 4.0,
            variance_per_count: 1.0,
            saturation_counts: 16_383,
            tube_voltage_kv: 70.0,
            binning: 1,
            acquired: WallTime(0),
        };
        Corrector::new(&maps, &DetectorGrid::new([NU, NV], [0.4, 0.4]).unwrap()).unwrap()
    }

    /// Noise of about one deviation from a hash.
    fn noise(frame: u64, pixel: u64) -> f64 {
        let mut x = frame.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ pixel.wrapping_mul(0xD1B5_4A32_D192_ED03);
        (0..12)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (x >> 40) as f64 / f64::from(1 << 24)
            })
            .sum::<f64>()
            - 6.0
    }

    /// Frames of a body that `moves`, with a bead one pixel small that lies still, and four bad pixels.
    fn found_after(frames: u64, moves: bool, has_faults: bool) -> Vec<PixelDefect> {
        let mut corrector = corrector();
        let mut late = LateDefects::new(NU, NV);
        let (mut out, mut found) = (CorrectedFrame::default(), Vec::new());
        let exposure = Exposure { tube_voltage_kv: 70.0, tube_current_ma: 100.0, pulse_width_ms: 10.0 };
        for frame in 0..frames {
            let phase = if moves { 0.2 * frame as f64 } else { 0.0 };
            let raw: Vec<u16> = (0..NU * NV)
                .map(|i| {
                    let (u, v) = ((i % NU) as f64, (i / NU) as f64);
                    let mean = 2000.0 + 1200.0 * (0.2 * u + phase).sin() * (0.15 * v).cos();
                    let mean = if (i % NU, i / NU) == (20, 20) && !moves { 0.7 * mean } else { mean };
                    let good = 100.0 + mean + mean.sqrt() * noise(frame, i as u64);
                    let counts = match (i % NU, i / NU) {
                        _ if !has_faults => good,
                        (10, 11) => 0.0,
                        (40, 30) => 16_383.0,
                        (50, 7) => 100.0 + 0.4 * (good - 100.0),
                        (31, 40) => good + 900.0 * noise(frame, 77),
                        _ => good,
                    };
                    counts.clamp(0.0, 16_383.0) as u16
                })
                .collect();
            let header =
                FrameHeader { sequence: frame, is_xray_on: true, exposure, ..FrameHeader::default() };
            corrector.correct(&header, &raw, &mut out).unwrap();
            let new = late.look(&out, &raw, &corrector);
            corrector.add_defects(&new).unwrap();
            found.extend(new);
        }
        found.sort_by_key(|at| (at.v, at.u));
        found
    }

    #[test]
    fn late_defects_are_found_where_they_are_and_nothing_else() {
        let places = [(50, 7), (10, 11), (40, 30), (31, 40)].map(|(u, v)| PixelDefect { u, v });
        assert_eq!(found_after(400, true, true), places);
        assert_eq!(found_after(400, true, false), []);
    }

    #[test]
    fn late_defects_of_a_still_scene_are_those_that_no_object_explains() {
        // The bead lies still and stays; a weak pixel could be one, the other three could not.
        let places = [(10, 11), (40, 30), (31, 40)].map(|(u, v)| PixelDefect { u, v });
        assert_eq!(found_after(400, false, true), places);
    }
}
