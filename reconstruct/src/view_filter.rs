//! One view from line integrals to filtered rows: resample, continue, weight, ramp.

use crate::backproject::FilteredView;
use crate::known_body::KnownRows;
use crate::observer::Observer;
use crate::plan::FdkPlan;
use crate::ramp::RampScratch;
use crate::truncation::{RowEdges, RowMasses, continue_row, fit_edges, is_truncated, smooth_edges};
use crate::virtual_detector::{MeasuredSpan, VirtualView, resample_row};
use rayon::prelude::*;

/// Rows that one task handles; even, because the ramp takes rows in pairs.
const ROWS_AT_ONCE: usize = 16;

/// Buffers for one view at a time.
pub(crate) struct ViewFilter {
    rows: Vec<f32>,
    spans: Vec<MeasuredSpan>,
    edges: Vec<RowEdges>,
    smoothed: Vec<RowEdges>,
    masses: RowMasses,
    stretches: Vec<f64>,
    known: KnownRows,
    weights: Vec<f32>,
    squared_offsets: Vec<f32>,
}

impl ViewFilter {
    pub(crate) fn new(plan: &FdkPlan) -> Self {
        let [nu, nv] = plan.virtual_size();
        let extended = nu + 2 * plan.margin;
        Self {
            rows: vec![0.0; nu * nv],
            spans: vec![MeasuredSpan::EMPTY; nv],
            edges: vec![RowEdges::default(); nv],
            smoothed: vec![RowEdges::default(); nv],
            masses: RowMasses::new(nv),
            stretches: vec![1.0; nv],
            known: KnownRows::default(),
            weights: vec![0.0; extended],
            squared_offsets: vec![0.0; extended],
        }
    }

    /// From line integrals on the (row-averaged) detector to columns ready for back-projection. `angle_rad`: the
    /// view's angle on the orbit. Gives back whether the view is truncated and was continued.
    pub(crate) fn run(
        &mut self,
        plan: &FdkPlan,
        view: &VirtualView,
        line_integrals: &[f32],
        angle_rad: f64,
        filtered: &mut FilteredView,
        observer: &mut dyn Observer,
    ) -> bool {
        let mut is_truncated = false;
        observer.stage("virtual-detector", &mut || self.resample(plan, view, line_integrals));
        if let Some(mu) = plan.options.truncation_water_per_mm {
            observer.stage("truncation", &mut || is_truncated = self.find_truncation(plan, view, mu));
        }
        let beta_rad = angle_rad + plan.half_step_rad();
        let is_known = is_truncated && plan.known_body.is_some();
        observer.stage("weights-ramp", &mut || self.weight_and_filter(plan, view, beta_rad, is_known));
        observer.stage("transpose", &mut || filtered.fill_from_rows(&self.rows));
        filtered.p = view.p;
        is_truncated
    }

    /// Resamples a view onto its virtual detector.
    fn resample(&mut self, plan: &FdkPlan, view: &VirtualView, line_integrals: &[f32]) {
        let [nu, _] = plan.virtual_size();
        let detector = plan.scan.detector();
        self.rows
            .par_chunks_mut(nu * ROWS_AT_ONCE)
            .zip(self.spans.par_chunks_mut(ROWS_AT_ONCE))
            .enumerate()
            .for_each(|(chunk, (rows, spans))| {
                for (i, (row, span)) in rows.chunks_exact_mut(nu).zip(spans).enumerate() {
                    *span = resample_row(view, detector, line_integrals, chunk * ROWS_AT_ONCE + i, row);
                }
            });
    }

    /// Fits where rows are cut off; gives back whether any row is.
    fn find_truncation(&mut self, plan: &FdkPlan, view: &VirtualView, mu_water_per_mm: f64) -> bool {
        let [nu, _] = plan.virtual_size();
        let pitch_mm = pitch_at_isocenter_mm(plan, view);
        self.edges
            .par_iter_mut()
            .zip(self.rows.par_chunks(nu))
            .zip(&self.spans)
            .for_each(|((edges, row), span)| *edges = fit_edges(row, *span, pitch_mm, mu_water_per_mm));
        smooth_edges(&self.edges, &mut self.smoothed);
        self.find_stretches(plan, view, pitch_mm, mu_water_per_mm);
        let is_any = self.continued_rows(plan).any(|is_continued| is_continued);
        if let (true, Some(body)) = (is_any, &plan.known_body) {
            self.known.project(body, view, [nu, plan.margin], &self.rows, &self.spans, &self.smoothed);
        }
        is_any
    }

    /// For each row of the view that was filtered last, whether it was continued.
    pub(crate) fn continued_rows(&self, plan: &FdkPlan) -> impl Iterator<Item = bool> {
        self.smoothed.iter().map(|edges| {
            (plan.sides.low && is_truncated(edges.low)) || (plan.sides.high && is_truncated(edges.high))
        })
    }

    /// How much each row's continuation is stretched so that rows keep their mass from view to view.
    fn find_stretches(&mut self, plan: &FdkPlan, view: &VirtualView, pitch_mm: f64, mu_water_per_mm: f64) {
        let [nu, _] = plan.virtual_size();
        // Width of a column in parallel measure: ds = R cos³(gamma) / f du.
        let widths: Vec<f32> =
            (0..nu).map(|u| (pitch_mm * view.fan_rad(u as f64).cos().powi(3)) as f32).collect();
        let masses: Vec<f64> = self
            .rows
            .par_chunks(nu)
            .map(|row| row.iter().zip(&widths).map(|(p, width)| f64::from(p * width)).sum())
            .collect();
        for (row, ((stretch, mass), edges)) in
            self.stretches.iter_mut().zip(masses).zip(&self.smoothed).enumerate()
        {
            *stretch = self.masses.stretch(row, mass, *edges, plan.sides, mu_water_per_mm);
        }
    }

    /// Weights every row by redundancy and obliquity and filters it along the motion of the source.
    ///
    /// `beta_rad`: the view's angle since the start of the arc. `is_known`: whether the known body was projected onto the
    /// view. Cosine weight: Feldkamp et al., J. Opt. Soc. Am. A 1(6), 1984,
    /// `f_u / sqrt(f_u² + (u-c_u)² + ((v-c_v) f_u/f_v)²)`.
    fn weight_and_filter(&mut self, plan: &FdkPlan, view: &VirtualView, beta_rad: f64, is_known: bool) {
        let [nu, _] = plan.virtual_size();
        let margin = plan.margin;
        self.prepare_columns(plan, view, beta_rad);
        let (weights, squared_offsets) = (&self.weights, &self.squared_offsets);
        let (spans, smoothed, stretches) = (&self.spans, &self.smoothed, &self.stretches);
        let known = is_known.then_some(&self.known);
        let pitch_mm = pitch_at_isocenter_mm(plan, view);
        self.rows.par_chunks_mut(nu * ROWS_AT_ONCE).enumerate().for_each_init(
            || RowScratch::new(plan),
            |scratch, (chunk, rows)| {
                for (pair, two) in rows.chunks_mut(2 * nu).enumerate() {
                    let mut count = 0;
                    for (i, row) in two.chunks_exact(nu).enumerate() {
                        let v = chunk * ROWS_AT_ONCE + pair * 2 + i;
                        let extended = &mut scratch.extended[i];
                        extended[..margin].fill(0.0);
                        extended[margin + nu..].fill(0.0);
                        extended[margin..margin + nu].copy_from_slice(row);
                        if let Some(mu) = plan.options.truncation_water_per_mm {
                            let sides = known.map_or(plan.sides, |known| {
                                known.continue_row(extended, margin, spans[v], v, plan.sides, pitch_mm)
                            });
                            continue_row(
                                extended,
                                margin,
                                spans[v],
                                smoothed[v],
                                sides,
                                pitch_mm / stretches[v],
                                mu,
                            );
                        }
                        let height = (v as f64 - view.principal_v_px) * view.focal_u_px / view.focal_v_px;
                        weight_row(extended, weights, squared_offsets, view.focal_u_px, height);
                        count += 1;
                    }
                    let (first, second) = scratch.extended.split_at_mut(1);
                    plan.ramp.filter_pair(
                        &mut scratch.ramp,
                        &mut first[0],
                        (count == 2).then_some(&mut second[0][..]),
                    );
                    for (row, extended) in two.chunks_exact_mut(nu).zip(&scratch.extended) {
                        row.copy_from_slice(&extended[margin..margin + nu]);
                    }
                }
            },
        );
    }

    /// Per column: redundancy weight, and squared distance from the principal column.
    pub(crate) fn prepare_columns(&mut self, plan: &FdkPlan, view: &VirtualView, beta_rad: f64) {
        let last = plan.virtual_size()[0] as f64 - 1.0;
        let sign = plan.fan_sign(view);
        for (i, (weight, squared)) in self.weights.iter_mut().zip(&mut self.squared_offsets).enumerate() {
            let u = i as f64 - plan.margin as f64;
            // Continued columns take the weight of the detector's edge.
            let gamma = sign * view.fan_rad(u.clamp(0.0, last));
            *weight = plan.redundancy.weight(beta_rad, gamma) as f32;
            *squared = ((u - view.principal_u_px) * (u - view.principal_u_px)) as f32;
        }
    }
}

impl ViewFilter {
    /// What [`ViewFilter::run`] multiplies a row by before the ramp, continued columns left out; after
    /// [`ViewFilter::prepare_columns`].
    pub(crate) fn weights_of_row(&self, plan: &FdkPlan, view: &VirtualView, v: usize, out: &mut [f32]) {
        let height = (v as f64 - view.principal_v_px) * view.focal_u_px / view.focal_v_px;
        let measured = plan.margin..plan.margin + out.len();
        out.fill(1.0);
        weight_row(
            out,
            &self.weights[measured.clone()],
            &self.squared_offsets[measured],
            view.focal_u_px,
            height,
        );
    }
}

struct RowScratch {
    extended: [Vec<f32>; 2],
    ramp: RampScratch,
}

impl RowScratch {
    fn new(plan: &FdkPlan) -> Self {
        let length = plan.virtual_size()[0] + 2 * plan.margin;
        Self { extended: [vec![0.0; length], vec![0.0; length]], ramp: plan.ramp.scratch() }
    }
}

fn weight_row(row: &mut [f32], weights: &[f32], squared_offsets: &[f32], focal_px: f64, height_px: f64) {
    let focal = focal_px as f32;
    let base = (focal_px * focal_px + height_px * height_px) as f32;
    for ((value, weight), squared) in row.iter_mut().zip(weights).zip(squared_offsets) {
        *value *= weight * focal / (base + squared).sqrt();
    }
}

fn pitch_at_isocenter_mm(plan: &FdkPlan, view: &VirtualView) -> f64 {
    plan.orbit.radius_mm / view.focal_u_px
}
