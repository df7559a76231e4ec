//! Filtered back-projection, view by view, while the arm is still turning.
//!
//! `f(X) = Σ J_i f_u,i w_i(X)⁻² q_i(u, v)` with the arc element `J_i`, the way of the source along `e_u` from halfway
//! to the view before to halfway to the view after, the focal length `f_u` in columns, the depth `w` and the filtered
//! rows `q`. Neither pixel pitch nor isocenter enters: the ramp kernel is homogeneous of degree -2.

use crate::backproject::{Backprojector, FilteredView, backprojector, touched_zeros};
use crate::error::ReconstructError;
use crate::extrapolated::Extrapolated;
use crate::field_of_view::field_of_view;
use crate::mask_counts::MaskCounts;
use crate::observer::Observer;
use crate::plan::FdkPlan;
use crate::second_pass::SecondPass;
use crate::second_pass::missing::{MissingViews, Neighbour, OnArc, missing_between};
use crate::signal::{Rows, Samples, line_integrals};
use crate::view_filter::ViewFilter;
use carm::{ProjectionMatrix, Provenance, Quantity, Stage, Volume, VolumeGrid, mask};
use ndarray::Array3;
use std::sync::Arc;

/// A source farther than this share of the radius from the planned orbit is not of this scan.
const MAX_OFF_ORBIT: f64 = 0.1;
/// Samples that are looked through before it is asked whether one was no number.
const CHECKED_AT_ONCE: usize = 4096;
/// Views of the last blocks of a sweep.
const LAST_BLOCK_VIEWS: usize = 2;
/// Steps by which a sweep may miss its planned ends before its weights no longer suit.
const MAX_MISSING_STEPS: f64 = 2.0;

/// One view: its matrix in the space of the plan, and its samples.
#[derive(Clone, Copy, Debug)]
pub struct ViewInput<'a> {
    /// Calibrated matrix by the view's measured angle.
    pub projection_matrix: ProjectionMatrix,
    /// Pixels `[v, u]`.
    pub samples: Samples<'a>,
}

/// A reconstruction in progress. Views come in the order of the sweep; missing ones are simply not pushed.
pub struct Fdk {
    plan: Arc<FdkPlan>,
    /// Bits of [`mask`] in the plan's columns.
    masks: Vec<u8>,
    extrapolated: Extrapolated,
    filter: ViewFilter,
    /// A buffer for the next view's line integrals.
    line_integrals: Vec<f32>,
    backprojector: Box<dyn Backprojector>,
    /// Memory for the first version of the volume and of its mask.
    first: (Vec<f32>, Vec<u8>),
    block: Vec<FilteredView>,
    spare: Vec<FilteredView>,
    last: Option<Waiting>,
    missing: MissingViews,
    /// Way of the source from the view before the waiting one, mm along its columns.
    way_before_mm: Option<f64>,
    angle_rad: f64,
    first_angle_rad: Option<f64>,
    views: usize,
    truncated_views: usize,
}

/// A filtered view whose arc element needs the next source position.
struct Waiting {
    view: FilteredView,
    place: OnArc,
    matrix: ProjectionMatrix,
    line_integrals: Vec<f32>,
}

impl Waiting {
    /// What stays known of a view beside a gap.
    fn neighbour(&self) -> Neighbour {
        Neighbour {
            place: self.place.clone(),
            matrix: self.matrix,
            line_integrals: self.line_integrals.clone(),
            filtered: self.view.clone(),
        }
    }

    fn scaled(mut self, arc_element_mm: f64) -> (FilteredView, Vec<f32>) {
        self.view.scale = arc_element_mm * self.place.focal_u_px;
        (self.view, self.line_integrals)
    }
}

impl Fdk {
    /// Starts an empty volume.
    pub fn new(plan: Arc<FdkPlan>) -> Self {
        let backprojector =
            backprojector(plan.options.backend, plan.layout.clone(), plan.has_parallel_columns);
        let [nu, nv] = plan.virtual_size();
        // Everything that takes memory or time is done before the first view.
        let spare = (0..=plan.options.block_views).map(|_| FilteredView::touched(nu, nv)).collect();
        Self {
            masks: field_of_view(&plan),
            extrapolated: Extrapolated::new(&plan),
            filter: ViewFilter::new(&plan),
            line_integrals: Vec::new(),
            backprojector,
            first: (touched_zeros(plan.grid().voxel_count()), touched_zeros(plan.grid().voxel_count())),
            block: Vec::with_capacity(plan.options.block_views),
            spare,
            last: None,
            missing: MissingViews::default(),
            way_before_mm: None,
            angle_rad: 0.0,
            first_angle_rad: None,
            views: 0,
            truncated_views: 0,
            plan,
        }
    }

    /// Views pushed so far.
    pub fn view_count(&self) -> usize {
        self.views
    }

    /// Filters a view; once a block is full, back-projects it.
    ///
    /// Runs on the current rayon pool.
    ///
    /// # Errors
    /// A view of the wrong size, with samples that are not numbers, or whose source is not on the planned
    /// orbit. The reconstruction stays usable without that view.
    pub fn push(
        &mut self,
        input: ViewInput<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), ReconstructError> {
        let plan = Arc::clone(&self.plan);
        self.check(&plan, &input)?;
        let view = plan.virtual_view(&input.projection_matrix);
        self.angle_rad = plan.orbit.angle_near(&view.source, self.angle_rad);
        self.first_angle_rad.get_or_insert(self.angle_rad);
        let mut line_integrals_of_view = std::mem::take(&mut self.line_integrals);
        line_integrals_of_view.resize(plan.scan.detector().pixel_count(), 0.0);
        observer.stage("log", &mut || {
            let rows = Rows { nu: plan.scan.detector().nu, averaged: plan.options.rows_averaged };
            line_integrals(input.samples, rows, &plan.precorrection, &mut line_integrals_of_view);
        });
        let [nu, nv] = plan.virtual_size();
        let mut filtered = self.spare.pop().unwrap_or_else(|| FilteredView::new(nu, nv));
        let is_truncated =
            self.filter.run(&plan, &view, &line_integrals_of_view, self.angle_rad, &mut filtered, observer);
        if is_truncated {
            self.truncated_views += 1;
            observer.stage("masks", &mut || {
                self.extrapolated.add(&plan, &view, self.filter.continued_rows(&plan), &mut self.masks);
            });
        }
        self.views += 1;
        self.release_last(Waiting {
            view: filtered,
            place: OnArc::of(&view, self.angle_rad),
            matrix: input.projection_matrix.with_pixels_averaged([1, plan.options.rows_averaged]),
            line_integrals: line_integrals_of_view,
        });
        // What comes last comes in small blocks, so that little is left to do once all are there, and that in one.
        let left = plan.scan.views().len().saturating_sub(self.views);
        let size = if left < plan.options.block_views { LAST_BLOCK_VIEWS } else { plan.options.block_views };
        if self.block.len() >= size && left > 0 {
            self.backproject(observer);
        }
        Ok(())
    }

    /// Back-projects what is left and gives back the volume in 1/mm, with masks and history.
    ///
    /// # Errors
    /// [`ReconstructError::SweepCutShort`] when the planned arc was not covered: plan again for the views that
    /// there are. [`ReconstructError::TooFewViews`] for fewer than three.
    pub fn finish(self, observer: &mut dyn Observer) -> Result<Volume, ReconstructError> {
        Ok(self.finish_first_pass(observer)?.0)
    }

    /// The same, with what makes the volume's next version.
    ///
    /// # Errors
    /// As [`Fdk::finish`].
    pub fn finish_first_pass(
        mut self,
        observer: &mut dyn Observer,
    ) -> Result<(Volume, SecondPass), ReconstructError> {
        let volume = self.first_version(observer)?;
        let Self { plan, filter, missing, .. } = self;
        Ok((volume, SecondPass { plan, filter, missing }))
    }

    /// Back-projects what is left and gives a copy of the volume in 1/mm; no more views can come.
    ///
    /// For who hands it on at once: [`Fdk::finish_first_pass`] then gives the same to be refined.
    ///
    /// # Errors
    /// As [`Fdk::finish`].
    pub fn first_version(&mut self, observer: &mut dyn Observer) -> Result<Volume, ReconstructError> {
        if self.views < 3 {
            return Err(ReconstructError::TooFewViews { needed: 3, found: self.views });
        }
        self.check_coverage()?;
        self.release_final();
        self.backproject(observer);
        let grid = *self.plan.grid();
        let (mut values, mut bits) = std::mem::take(&mut self.first);
        observer.stage("volume-order", &mut || {
            values.resize(grid.voxel_count(), 0.0);
            self.backprojector.write_sum(&mut values);
        });
        let mut volume = Volume::new(grid, in_grid(&grid, values), Quantity::MuPerMm);
        volume.provenance =
            provenance(&self.plan, self.backprojector.name(), self.views, self.truncated_views);
        observer.stage("masks", &mut || {
            bits.resize(grid.voxel_count(), 0);
            self.plan.layout.write_volume(&self.masks, &mut bits);
            volume.mask = Some(in_grid(&grid, std::mem::take(&mut bits)));
            MaskCounts::tell_of(&mut volume);
        });
        Ok(volume)
    }

    fn check(&self, plan: &FdkPlan, input: &ViewInput<'_>) -> Result<(), ReconstructError> {
        let detector = plan.given_scan.detector();
        let (view, found) = (self.views, input.samples.len());
        if found != detector.pixel_count() {
            return Err(ReconstructError::ViewSize { view, expected: detector.pixel_count(), found });
        }
        let (Samples::LineIntegrals(samples) | Samples::Intensity { intensity: samples, .. }) = input.samples;
        // Many at once, which vectorises; only then is the pixel looked for.
        let are_finite = |samples: &[f32]| samples.iter().fold(true, |so_far, s| so_far & s.is_finite());
        if !samples.chunks(CHECKED_AT_ONCE).all(are_finite)
            && let Some(pixel) = samples.iter().position(|s| !s.is_finite())
        {
            let (u, v) = (pixel % detector.nu, pixel / detector.nu);
            return Err(ReconstructError::NotFinite { view, found: samples[pixel], u, v });
        }
        let limit_mm = plan.orbit.radius_mm * MAX_OFF_ORBIT;
        let found_mm = plan.orbit.distance_mm(&input.projection_matrix.source_position());
        if found_mm.is_nan() || found_mm > limit_mm {
            return Err(ReconstructError::OffOrbit { view, found_mm, limit_mm });
        }
        Ok(())
    }

    fn check_coverage(&self) -> Result<(), ReconstructError> {
        let planned = self.plan.orbit.angles_rad[self.plan.orbit.angles_rad.len() - 1];
        let step = self.plan.orbit.median_step_rad();
        let first = self.first_angle_rad.unwrap_or(0.0);
        let covered = self.angle_rad - first;
        if covered < planned - MAX_MISSING_STEPS * step {
            return Err(ReconstructError::SweepCutShort {
                planned_deg: (planned + step).to_degrees(),
                covered_deg: (covered + step).to_degrees(),
            });
        }
        Ok(())
    }

    /// Gives the waiting view its arc element, now that the next source is known, and lets the next one wait.
    fn release_last(&mut self, next: Waiting) {
        if let Some(last) = self.last.take() {
            let missing = missing_between(&self.plan, last.place.angle_rad, next.place.angle_rad);
            if !missing.is_empty() {
                self.missing.add(last.neighbour(), next.neighbour(), missing);
            }
            let way_after_mm = last.place.way_to_mm(&next.place);
            // The first view stands for half a step before it, too.
            let way_before_mm = self.way_before_mm.unwrap_or(way_after_mm);
            self.way_before_mm = Some(next.place.way_to_mm(&last.place));
            let (view, line_integrals) = last.scaled((way_before_mm + way_after_mm) / 2.0);
            self.block.push(view);
            self.line_integrals = line_integrals;
        }
        self.last = Some(next);
    }

    fn release_final(&mut self) {
        if let (Some(last), Some(way_before_mm)) = (self.last.take(), self.way_before_mm) {
            self.block.push(last.scaled(way_before_mm).0);
        }
    }

    fn backproject(&mut self, observer: &mut dyn Observer) {
        observer.stage("back-projection", &mut || self.backprojector.add(&self.block));
        self.spare.append(&mut self.block);
    }
}

fn in_grid<T>(grid: &VolumeGrid, values: Vec<T>) -> Array3<T> {
    let [nx, ny, nz] = grid.shape;
    Array3::from_shape_vec((nz, ny, nx), values).expect("a value for each voxel")
}

fn provenance(plan: &FdkPlan, backend: String, views: usize, truncated_views: usize) -> Provenance {
    let stage = |name: &str, parameters: &[(&str, String)]| Stage {
        name: name.into(),
        parameters: parameters.iter().map(|(key, value)| ((*key).into(), value.clone())).collect(),
        seconds: 0.0,
    };
    let [nu, nv] = plan.virtual_size();
    let mut stages = vec![
        stage(
            "log",
            &[
                ("rows_averaged", plan.options.rows_averaged.to_string()),
                ("water_precorrection", format!("{:?}", plan.options.water_precorrection)),
            ],
        ),
        stage(
            "virtual-detector",
            &[("size", format!("{nu}x{nv}")), ("interpolation", "cubic (Keys)".into())],
        ),
    ];
    if let Some(mu) = plan.options.truncation_water_per_mm {
        let with = if plan.known_body.is_some() { "known body, else water" } else { "water" };
        let parameters = [
            ("continued_with", with.to_string()),
            ("mu_water_per_mm", mu.to_string()),
            ("truncated_views", truncated_views.to_string()),
        ];
        stages.push(stage("truncation", &parameters));
    }
    let weights = [
        ("redundancy", plan.redundancy.name().to_string()),
        ("filter", plan.options.apodisation.to_string()),
        ("transform_length", plan.ramp.padded_length().to_string()),
    ];
    stages.push(stage("weights-ramp", &weights));
    stages.push(stage(
        "back-projection",
        &[("views", views.to_string()), ("interpolation", "bilinear".into())],
    ));
    let mut warnings = Vec::new();
    if truncated_views > 0 {
        let with = if plan.known_body.is_some() { "the known body" } else { "water" };
        warnings.push(format!("{truncated_views} views are truncated and were continued with {with}"));
    }
    if views < plan.scan.views().len() {
        warnings.push(format!(
            "{} of {} planned views are missing",
            plan.scan.views().len() - views,
            plan.scan.views().len()
        ));
    }
    Provenance { backend, stages, warnings, ..Provenance::default() }
}

/// Reconstructs a whole stack at once: the same steps as streaming, the same bits.
///
/// # Errors
/// As [`Fdk::push`] and [`Fdk::finish`].
pub fn reconstruct_stack(
    plan: Arc<FdkPlan>,
    line_integrals: ndarray::ArrayView3<'_, f32>,
    observer: &mut dyn Observer,
) -> Result<Volume, ReconstructError> {
    let matrices = plan.given_scan.views().to_vec();
    let found = line_integrals.shape()[0];
    if found != matrices.len() {
        return Err(ReconstructError::TooFewViews { needed: matrices.len(), found });
    }
    let mut fdk = Fdk::new(plan);
    for (projection_matrix, view) in matrices.into_iter().zip(line_integrals.outer_iter()) {
        let view = view.as_standard_layout();
        let samples = Samples::LineIntegrals(view.as_slice().expect("standard layout"));
        fdk.push(ViewInput { projection_matrix, samples }, observer)?;
    }
    fdk.finish(observer)
}

/// Adds the second of two sweeps to the first: what each of [`FdkPlan::for_two_sweeps`]'s plans gave.
///
/// # Panics
/// When the volumes are not of one grid or lack their masks: a bug of the caller.
pub fn add_second_sweep(volume: &mut Volume, second: &Volume) {
    assert_eq!(volume.grid, second.grid, "both sweeps fill one grid");
    volume.values += &second.values;
    let (Some(bits), Some(others)) = (&mut volume.mask, &second.mask) else {
        panic!("volumes of two sweeps carry masks");
    };
    bits.zip_mut_with(others, |bits, other| {
        *bits = (*bits & *other & mask::FIELD_OF_VIEW) | ((*bits | *other) & !mask::FIELD_OF_VIEW);
    });
    volume.provenance.stages.extend(second.provenance.stages.iter().cloned());
    volume.provenance.warnings.extend(second.provenance.warnings.iter().cloned());
    MaskCounts::tell_of(volume);
}
