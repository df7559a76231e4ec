//! One view's variances: what every filtered sample shares with itself and its neighbours.

use super::DetectorNoise;
use super::covariance::LagCovariances;
use crate::iterative::relative_variance;
use crate::plan::FdkPlan;
use crate::signal::{Rows, Samples, WaterPrecorrection, line_integrals};
use crate::view_filter::ViewFilter;
use crate::virtual_detector::{VirtualView, resample_row};
use carm::ProjectionMatrix;
use nalgebra::Matrix3x4;
use rayon::prelude::*;

/// Columns on either side over which the transmission is averaged before its variance is foretold: quanta counted once
/// scatter, and the mean of 1/n is larger than 1/mean.
const TRANSMISSION_REACH: usize = 1;
/// Points of the table that undoes the water precorrection, and the line integral it ends at.
const PRECORRECTION_STEPS: usize = 512;
const PRECORRECTION_END: f64 = 16.0;

/// Covariances of filtered samples at lags `(0, 0), (1, 0), (0, 1), (1, 1)`: `planes[lag][u * nv + v]`.
pub(super) struct ViewVariance {
    pub(super) planes: [Vec<f32>; 4],
    pub(super) nu: usize,
    pub(super) nv: usize,
    pub(super) p: Matrix3x4<f64>,
    /// Square of the view's factor before 1/depth⁴.
    pub(super) squared_scale: f64,
}

/// Makes [`ViewVariance`] from line integrals, in the order of the sweep.
pub(super) struct VarianceMaker<'a> {
    noise: &'a DetectorNoise,
    lags: LagCovariances,
    filter: ViewFilter,
    raw: RawLineIntegrals,
    angle_rad: f64,
    averaged: Vec<f32>,
}

impl<'a> VarianceMaker<'a> {
    pub(super) fn new(plan: &FdkPlan, noise: &'a DetectorNoise, lags: LagCovariances) -> Self {
        Self {
            noise,
            lags,
            filter: ViewFilter::new(plan),
            raw: RawLineIntegrals::new(&noise.water_precorrection),
            angle_rad: 0.0,
            averaged: vec![0.0; plan.scan.detector().pixel_count()],
        }
    }

    /// `scale`: arc element times focal length.
    pub(super) fn view(
        &mut self,
        plan: &FdkPlan,
        matrix: &ProjectionMatrix,
        samples: &[f32],
        scale: f64,
    ) -> ViewVariance {
        let view = plan.virtual_view(matrix);
        self.angle_rad = plan.orbit.angle_near(&view.source, self.angle_rad);
        self.filter.prepare_columns(plan, &view, self.angle_rad + plan.half_step_rad());
        let rows = Rows { nu: plan.scan.detector().nu, averaged: plan.options.rows_averaged };
        line_integrals(
            Samples::LineIntegrals(samples),
            rows,
            &WaterPrecorrection::new(&[]),
            &mut self.averaged,
        );
        let [nu, nv] = plan.virtual_size();
        let rows: Vec<[Vec<f32>; 4]> = (0..nv).into_par_iter().map(|v| self.row(plan, &view, v)).collect();
        let planes = std::array::from_fn(|lag| {
            let mut plane = vec![0.0; nu * nv];
            for (v, row) in rows.iter().enumerate() {
                for (u, value) in row[lag].iter().enumerate() {
                    plane[u * nv + v] = *value;
                }
            }
            plane
        });
        ViewVariance { planes, nu, nv, p: view.p, squared_scale: scale * scale }
    }

    /// The four covariances along a virtual row.
    fn row(&self, plan: &FdkPlan, view: &VirtualView, v: usize) -> [Vec<f32>; 4] {
        let [nu, _] = plan.virtual_size();
        let mut line = vec![0.0; nu];
        let span = resample_row(view, plan.scan.detector(), &self.averaged, v, &mut line);
        let mut weights = vec![0.0; nu];
        self.filter.weights_of_row(plan, view, v, &mut weights);
        let (mut quantum, mut electronic) = (vec![0.0; nu], vec![0.0; nu]);
        let (raw, slopes): (Vec<f64>, Vec<f64>) = line.iter().map(|p| self.raw.of(f64::from(*p))).unzip();
        for u in span.start..span.end {
            let near = u.saturating_sub(TRANSMISSION_REACH).max(span.start)
                ..(u + TRANSMISSION_REACH + 1).min(span.end);
            let count = near.len() as f64;
            let transmission = raw[near].iter().map(|p| (-p).exp()).sum::<f64>() / count;
            let photons = self.noise.photons * transmission;
            let weight = (f64::from(weights[u]) * slopes[u]).powi(2);
            let (of_quanta, of_electronics) = relative_variance(photons, self.noise.electronic_photons);
            quantum[u] = weight * of_quanta;
            electronic[u] = weight * of_electronics;
        }
        let (quantum, electronic) = (self.spread(&quantum), self.spread(&electronic));
        let mut planes: [Vec<f32>; 4] = std::array::from_fn(|_| vec![0.0; nu]);
        for u in 0..nu {
            let [real_u, real_v] = view.real_pixel(u as f64, v as f64);
            let lags = self.lags.at(real_u, real_v);
            for (lag, plane) in planes.iter_mut().enumerate() {
                let sum = quantum[u] * lags.quantum[lag] + electronic[u] * lags.electronic[lag];
                plane[u] = sum as f32;
            }
        }
        planes
    }

    /// Averages variances with the squared ramp kernel.
    fn spread(&self, variances: &[f64]) -> Vec<f64> {
        let reach = self.lags.spread.len() / 2;
        (0..variances.len())
            .map(|u| {
                let taps = self.lags.spread.iter().enumerate();
                taps.map(|(tap, share)| {
                    let from = (u + tap).checked_sub(reach).and_then(|at| variances.get(at));
                    share * from.copied().unwrap_or(0.0)
                })
                .sum()
            })
            .collect()
    }
}

/// Undoes the water precorrection, whose slope multiplies noise.
struct RawLineIntegrals {
    /// Precorrected values at even steps of the raw ones; none for the identity.
    table: Vec<f64>,
}

impl RawLineIntegrals {
    fn new(coefficients: &[f64]) -> Self {
        if coefficients.is_empty() || coefficients == [1.0] {
            return Self { table: Vec::new() };
        }
        let polynomial = |p: f64| coefficients.iter().rev().fold(0.0, |sum, c| (sum + c) * p);
        let step = PRECORRECTION_END / PRECORRECTION_STEPS as f64;
        let mut table: Vec<f64> = Vec::with_capacity(PRECORRECTION_STEPS + 1);
        for value in (0..=PRECORRECTION_STEPS).map(|i| polynomial(i as f64 * step)) {
            // A polynomial fitted to shorter paths may turn down beyond them.
            if table.last().is_some_and(|last| value <= *last) {
                break;
            }
            table.push(value);
        }
        Self { table }
    }

    /// Raw line integral, and the slope of the precorrection there.
    fn of(&self, corrected: f64) -> (f64, f64) {
        if self.table.len() < 2 {
            return (corrected, 1.0);
        }
        let step = PRECORRECTION_END / PRECORRECTION_STEPS as f64;
        let above = self.table.partition_point(|value| *value < corrected).clamp(1, self.table.len() - 1);
        let slope = (self.table[above] - self.table[above - 1]) / step;
        ((above - 1) as f64 * step + (corrected - self.table[above - 1]) / slope, slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_line_integrals_undo_the_polynomial_and_know_its_slope() {
        let raw = RawLineIntegrals::new(&[1.1, 0.05, -0.001]);
        for p in [0.0_f64, 0.4, 3.3, 8.0] {
            let (found, slope) = raw.of(1.1 * p + 0.05 * p * p - 0.001 * p * p * p);
            assert!((found - p).abs() < 5e-3, "{p}: {found}");
            let exact = 1.1 + 0.1 * p - 0.003 * p * p;
            assert!((slope / exact - 1.0).abs() < 0.02, "{p}: {slope} {exact}");
        }
        assert_eq!(RawLineIntegrals::new(&[1.0]).of(2.5), (2.5, 1.0));
    }
}
