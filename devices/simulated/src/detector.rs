//! The flat panel's electronics: gain, offset, defects, electronic noise, quantisation, saturation, and its calibration.
//!
//! The maps belong to the machine (its own seed), so two runs on one machine share them. Calibration saw the panel some
//! time ago: since then the gain has drifted by 0.2 % per pixel and ten pixels have died.

use crate::protocol::DetectorPlan;
use crate::random::{Purpose, Stream};
use carm::PixelDefect;
use ndarray::Array2;
use rayon::prelude::*;

/// Amplitude of the smooth part of the gain map, and standard deviations of its white part and of its drift.
const GAIN_SMOOTH: f64 = 0.03;
const GAIN_WHITE: f64 = 0.01;
const GAIN_DRIFT: f64 = 0.002;
/// Fluence falls by this share from the cathode's side (row 0) to the anode's, half on each side of the middle.
const HEEL_HALF_RANGE: f64 = 0.08;
/// Offset map: standard deviations by pixel and by column, counts.
const OFFSET_WHITE_COUNTS: f64 = 6.0;
const OFFSET_COLUMN_COUNTS: f64 = 3.0;
/// The offset rises with the panel's temperature over a run, counts per frame.
const OFFSET_DRIFT_COUNTS: f64 = 0.004;
/// Noise that a whole row shares, as a share of the electronic noise.
const ROW_NOISE_SHARE: f64 = 0.3;
/// Frames that an offset map and a gain map were averaged over.
const CALIBRATION_FRAMES: f64 = 64.0;
/// One pixel in so many is defect.
const PIXELS_PER_DEFECT: usize = 1000;
const LATE_DEFECTS: usize = 10;

/// How a bad pixel behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Dead,
    Stuck,
    Weak,
    Noisy,
}

/// A panel with its true maps and what calibration holds them for.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// `[v, u]`, counts.
    pub offset: Array2<f32>,
    /// `[v, u]`: response to an even exposure, including the beam's own shape.
    pub gain: Array2<f32>,
    /// What calibration measured.
    pub calibrated_offset: Array2<f32>,
    pub calibrated_gain: Array2<f32>,
    /// Defects that calibration found.
    pub calibrated_defects: Vec<PixelDefect>,
    faults: Vec<(usize, Fault)>,
    electronic_counts: f32,
    max_count: u16,
    offset_drift: f64,
}

impl Panel {
    /// A panel without faults: even gain 1, even offset, no electronic noise.
    pub fn perfect(plan: &DetectorPlan) -> Self {
        let size = (plan.rows, plan.columns);
        let offset = Array2::from_elem(size, plan.offset_counts as f32);
        let gain = Array2::ones(size);
        Self {
            calibrated_offset: offset.clone(),
            calibrated_gain: gain.clone(),
            offset,
            gain,
            calibrated_defects: Vec::new(),
            faults: Vec::new(),
            electronic_counts: 0.0,
            max_count: max_count(plan.bits),
            offset_drift: 0.0,
        }
    }

    /// A real panel. `air_noise_counts`: standard deviation of one frame's bare beam in one pixel.
    pub fn real(
        plan: &DetectorPlan,
        source_to_detector_mm: f64,
        air_noise_counts: f64,
        machine_seed: u64,
    ) -> Self {
        let mut panel = Self::perfect(plan);
        panel.electronic_counts = plan.electronic_noise_counts as f32;
        panel.offset_drift = OFFSET_DRIFT_COUNTS;
        panel.draw_gain(plan, source_to_detector_mm, machine_seed, air_noise_counts / plan.air_counts);
        panel.draw_offset(plan, machine_seed);
        panel.draw_faults(machine_seed);
        panel
    }

    /// Turns the signal (counts above the offset at gain 1, after gain and lag) into counts of one frame.
    pub fn read_out(&self, signal: &[f32], seed: u64, frame: u32, counts: &mut [u16]) {
        let columns = self.offset.ncols();
        let drift = (self.offset_drift * f64::from(frame)) as f32;
        let offset = self.offset.as_slice().expect("standard layout");
        counts.par_chunks_mut(columns).enumerate().for_each(|(v, row)| {
            let start = v * columns;
            let shared = if self.electronic_counts > 0.0 {
                let sigma = ROW_NOISE_SHARE * f64::from(self.electronic_counts);
                (sigma * Stream::new(seed, frame, v as u32, Purpose::RowNoise).normal()) as f32
            } else {
                0.0
            };
            for (group, counts) in row.chunks_mut(4).enumerate() {
                let first = start + 4 * group;
                let noise = if self.electronic_counts > 0.0 {
                    Stream::new(seed, frame, first as u32, Purpose::Electronics).normals()
                } else {
                    [0.0; 4]
                };
                for (n, count) in counts.iter_mut().enumerate() {
                    let quiet = signal[first + n] + offset[first + n] + drift + shared;
                    *count = self.quantised(quiet + self.electronic_counts * noise[n] as f32);
                }
            }
        });
        for (pixel, fault) in &self.faults {
            counts[*pixel] = match fault {
                Fault::Dead => 0,
                Fault::Stuck => self.max_count,
                Fault::Weak => self.quantised(offset[*pixel] + 0.4 * signal[*pixel]),
                Fault::Noisy => {
                    let noise = Stream::new(seed, frame, *pixel as u32, Purpose::DefectNoise).normal();
                    self.quantised(f32::from(counts[*pixel]) + 300.0 * noise as f32)
                }
            };
        }
    }

    /// Pixels that went bad after calibration.
    pub fn late_defects(&self) -> Vec<PixelDefect> {
        let columns = self.offset.ncols();
        let place = |pixel: usize| PixelDefect { u: (pixel % columns) as u32, v: (pixel / columns) as u32 };
        let late = self.faults.iter().map(|(pixel, _)| place(*pixel));
        late.filter(|place| !self.calibrated_defects.contains(place)).collect()
    }

    /// Counts at and above which a pixel is saturated.
    pub fn saturation_counts(&self) -> u16 {
        self.max_count
    }

    /// Variance of one read-out without signal, counts².
    pub fn electronic_variance(&self) -> f64 {
        let rounding = 1.0 / 12.0;
        f64::from(self.electronic_counts).powi(2) * (1.0 + ROW_NOISE_SHARE.powi(2)) + rounding
    }

    fn quantised(&self, value: f32) -> u16 {
        // `as` saturates at both ends and sends NaN to zero; there is none.
        // It also cuts towards zero, which is `floor` for all that does not become zero anyway.
        ((value + 0.5) as u16).min(self.max_count)
    }

    fn draw_gain(&mut self, plan: &DetectorPlan, sdd: f64, machine_seed: u64, relative_air_noise: f64) {
        let mut smooth = Stream::new(machine_seed, 0, u32::MAX, Purpose::GainMap);
        let waves: Vec<[f64; 3]> = (0..4)
            .map(|_| [smooth.normal(), smooth.normal(), std::f64::consts::TAU * smooth.uniform()])
            .collect();
        let (rows, columns) = self.gain.dim();
        let middle = [(columns as f64 - 1.0) / 2.0, (rows as f64 - 1.0) / 2.0];
        for ((v, u), gain) in self.gain.indexed_iter_mut() {
            let pixel = (v * columns + u) as u32;
            let (x, y) = (u as f64 / columns as f64, v as f64 / rows as f64);
            let slow: f64 = waves.iter().map(|[a, b, phase]| (4.0 * (a * x + b * y) + phase).sin()).sum();
            let white = Stream::new(machine_seed, 0, pixel, Purpose::GainMap).normal();
            let response = 1.0 + GAIN_SMOOTH * 0.5 * slow + GAIN_WHITE * white;
            let (du, dv) = (u as f64 - middle[0], v as f64 - middle[1]);
            let heel = 1.0 - HEEL_HALF_RANGE * dv / middle[1].max(1.0);
            // Inverse square and obliquity on a flat panel: the cube of the cosine.
            let off_axis = (du * du + dv * dv) * (plan.pixel_pitch_mm / sdd).powi(2);
            *gain = (response * heel * (1.0 + off_axis).powf(-1.5)) as f32;
        }
        let mean = f64::from(self.gain.sum()) / self.gain.len() as f64;
        self.gain.mapv_inplace(|gain| gain / mean as f32);
        let measured = relative_air_noise / CALIBRATION_FRAMES.sqrt();
        self.calibrated_gain = Array2::from_shape_fn((rows, columns), |(v, u)| {
            let pixel = (v * columns + u) as u32;
            let drift = GAIN_DRIFT * Stream::new(machine_seed, 0, pixel, Purpose::GainDrift).normal();
            let error = measured * Stream::new(machine_seed, 1, pixel, Purpose::Calibration).normal();
            self.gain[[v, u]] * (1.0 + drift + error) as f32
        });
    }

    fn draw_offset(&mut self, plan: &DetectorPlan, machine_seed: u64) {
        let columns = plan.columns;
        let measured = plan.electronic_noise_counts / CALIBRATION_FRAMES.sqrt();
        for ((v, u), offset) in self.offset.indexed_iter_mut() {
            let pixel = (v * columns + u) as u32;
            let column = Stream::new(machine_seed, 0, u as u32, Purpose::ColumnOffset).normal();
            let white = Stream::new(machine_seed, 0, pixel, Purpose::OffsetMap).normal();
            *offset += (OFFSET_COLUMN_COUNTS * column + OFFSET_WHITE_COUNTS * white) as f32;
            let error = measured * Stream::new(machine_seed, 0, pixel, Purpose::Calibration).normal();
            self.calibrated_offset[[v, u]] = *offset + error as f32;
        }
    }

    /// Single pixels, three clusters, three lines that calibration knows, and ten pixels that it does not.
    fn draw_faults(&mut self, machine_seed: u64) {
        let (rows, columns) = self.gain.dim();
        let mut stream = Stream::new(machine_seed, 0, 0, Purpose::Defects);
        let mut below = |n: usize| (stream.uniform() * n as f64) as usize;
        let kinds = [Fault::Dead, Fault::Stuck, Fault::Weak, Fault::Noisy];
        let mut known = Vec::new();
        for _ in 0..(rows * columns / PIXELS_PER_DEFECT).max(4) {
            known.push((below(rows * columns), kinds[below(4)]));
        }
        for _ in 0..3 {
            let (v, u) = (below(rows.saturating_sub(3).max(1)), below(columns.saturating_sub(3).max(1)));
            for (dv, du) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)] {
                if v + dv < rows && u + du < columns {
                    known.push(((v + dv) * columns + u + du, Fault::Dead));
                }
            }
        }
        let (line_u, line_v) = ([below(columns), below(columns)], below(rows));
        known.extend(line_u.iter().flat_map(|u| (0..rows).map(move |v| (v * columns + u, Fault::Weak))));
        known.extend((0..columns).map(|u| (line_v * columns + u, Fault::Weak)));
        known.sort_by_key(|(pixel, _)| *pixel);
        known.dedup_by_key(|(pixel, _)| *pixel);
        let mut late: Vec<_> = (0..LATE_DEFECTS).map(|_| (below(rows * columns), kinds[below(4)])).collect();
        late.retain(|(pixel, _)| known.binary_search_by_key(pixel, |(known, _)| *known).is_err());
        self.calibrated_defects = known
            .iter()
            .map(|(pixel, _)| PixelDefect { u: (pixel % columns) as u32, v: (pixel / columns) as u32 })
            .collect();
        self.faults = known;
        self.faults.extend(late);
    }
}

fn max_count(bits: u8) -> u16 {
    ((1_u32 << bits) - 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn plan() -> DetectorPlan {
        let mut plan = Protocol::named("spine-spin").unwrap().detector;
        (plan.columns, plan.rows) = (90, 70);
        plan
    }

    #[test]
    fn panel_perfect_rounds_and_saturates() {
        let plan = plan();
        let panel = Panel::perfect(&plan);
        let mut counts = vec![0; 6300];
        let mut signal = vec![10.6_f32; 6300];
        (signal[1], signal[2]) = (1e9, -1e9);
        panel.read_out(&signal, 1, 0, &mut counts);
        assert_eq!(counts[..3], [411, 65535, 0]);
    }

    #[test]
    fn panel_calibration_undoes_gain_and_offset_to_its_drift() {
        let panel = Panel::real(&plan(), 1200.0, 200.0, 3);
        let bad: std::collections::BTreeSet<_> = panel.faults.iter().map(|(pixel, _)| *pixel).collect();
        let mut counts = vec![0; 6300];
        let signal: Vec<f32> = panel.gain.iter().map(|gain| gain * 30_000.0).collect();
        panel.read_out(&signal, 1, 0, &mut counts);
        let ratios: Vec<f64> = (0..6300)
            .filter(|pixel| !bad.contains(pixel))
            .map(|pixel| {
                let (v, u) = (pixel / 90, pixel % 90);
                let above = f64::from(counts[pixel]) - f64::from(panel.calibrated_offset[[v, u]]);
                above / f64::from(panel.calibrated_gain[[v, u]]) / 30_000.0 - 1.0
            })
            .collect();
        let n = ratios.len() as f64;
        let deviation = (ratios.iter().map(|r| r * r).sum::<f64>() / n).sqrt();
        assert!(deviation > 0.0015 && deviation < 0.003, "{deviation}");
        let spread = panel.gain.iter().map(|gain| f64::from(gain - 1.0).powi(2)).sum::<f64>() / 6300.0;
        assert!(spread.sqrt() > 0.02, "the gain map itself varies far more: {}", spread.sqrt());
    }

    #[test]
    fn panel_has_defects_that_calibration_does_not_know() {
        let panel = Panel::real(&plan(), 1200.0, 200.0, 3);
        let unknown = panel.faults.len() - panel.calibrated_defects.len();
        assert!((1..=LATE_DEFECTS).contains(&unknown), "{unknown}");
        assert!(panel.calibrated_defects.len() > 3 * 70);
    }
}
