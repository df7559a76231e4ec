//! Views that were lost on the way: predicted from the volume and their neighbours, and back-projected after all.
//!
//! Arc-length weights let the neighbours of a gap stand for it, which leaves streaks along their rays. Once there is a
//! volume, it is flattened into a model that keeps the body's edges and not the streaks (least total variation; Rudin,
//! Osher and Fatemi, Physica D 60, 1992; what the model before showed to be an edge weighs less). The model gives the
//! missing views their form, and what the neighbours saw beside it, smoothed, is interpolated between them along the
//! arc. The predicted views are filtered and back-projected as measured ones are, the neighbours give back the arc that
//! they had taken over, and the better volume makes a better model. Read as a descent on the total variation of what
//! the measured views leave free, it may be hurried by momentum (Beck and Teboulle, SIAM J. Imaging Sci. 2(1), 2009).

use super::body_model::{coarse_grid, coarsened, extended_along};
use crate::backproject::{FilteredView, Isa, backprojector};
use crate::error::ReconstructError;
use crate::iterative::total_variation::{Smoothing, TotalVariation};
use crate::observer::Silent;
use crate::plan::FdkPlan;
use crate::project::{ColumnGrid, ColumnVolume, DetectorRegion, Projector};
use crate::view_filter::ViewFilter;
use crate::virtual_detector::VirtualView;
use carm::{ProjectionMatrix, Volume};
use nalgebra::{Point3, Vector3};
use ndarray::{Array3, Zip};
use rayon::prelude::*;

/// Steps beyond which two views have something missing between them.
const GAP_STEPS: f64 = 1.5;
/// A wider gap says too little about what lies in it, degrees.
const WIDEST_GAP_DEG: f64 = 20.0;
/// Times that views are predicted at most; each time from a better volume.
const ROUNDS: usize = 12;
/// Predicting ends with a round that changes the volume by less than this share of what the first changed.
const SETTLED: f64 = 0.03;
/// A round that would change the volume by so many times more than the one before is not taken: descents do not do that.
const GROWTH_MAX: f64 = 1.1;
/// Voxels of the model are at least so many pixels wide. From a finer one what is sharp, such as the rings of new bad pixels,
/// comes back larger each round: with voxels of 1.6 pixels (384 a side) two thousand HU in twelve rounds.
const MODEL_VOXEL_PX: f64 = 2.3;
/// No model is made coarser than this, mm: it would know too little of the body, and nothing in so coarse a volume is sharp.
const MODEL_VOXEL_MAX_MM: f64 = 2.0;
/// How strongly the volume is flattened into a model, as a share of water, and dual steps spent on it each time. Chosen
/// on a chest with ten of 248 views missing in a row, with noise and without.
const FLATTENING: f64 = 0.05;
const FLATTENING_STEPS: usize = 20;
/// A difference between neighbouring voxels that halves what their variation weighs, as a share of water.
const EDGE: f64 = 0.1;
/// Pixels to each side over which what the neighbours saw beside the model is averaged, along rows and along columns:
/// between two views the body's shadow moves along rows.
const RESIDUAL_REACH_PX: [usize; 2] = [3, 1];

/// A view's place on the arc.
#[derive(Clone, Debug)]
pub(crate) struct OnArc {
    pub(crate) source: Point3<f64>,
    pub(crate) angle_rad: f64,
    pub(crate) e_u: Vector3<f64>,
    pub(crate) focal_u_px: f64,
}

impl OnArc {
    pub(crate) fn of(view: &VirtualView, angle_rad: f64) -> Self {
        Self { source: view.source, angle_rad, e_u: view.e_u, focal_u_px: view.focal_u_px }
    }

    /// Way of the source to a neighbour along this view's columns, on the arc and not on its chord, mm.
    pub(crate) fn way_to_mm(&self, neighbour: &Self) -> f64 {
        let turn = (neighbour.angle_rad - self.angle_rad).abs();
        let arc_over_chord = if turn < 1e-9 { 1.0 } else { turn / turn.sin() };
        (neighbour.source - self.source).dot(&self.e_u).abs() * arc_over_chord
    }
}

/// A measured view beside a gap.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    pub(crate) place: OnArc,
    /// Matrix on the detector with averaged rows.
    pub(crate) matrix: ProjectionMatrix,
    /// `[v, u]` on that detector.
    pub(crate) line_integrals: Vec<f32>,
    pub(crate) filtered: FilteredView,
}

struct Gap {
    before: Neighbour,
    after: Neighbour,
    /// Indices of the planned views in between.
    planned: Vec<usize>,
}

/// The gaps of a sweep, with what is needed to fill them.
#[derive(Default)]
pub(crate) struct MissingViews {
    gaps: Vec<Gap>,
    /// Views in gaps too wide to be filled.
    unpredictable: usize,
}

/// The planned views that are missing between two measured ones.
pub(crate) fn missing_between(plan: &FdkPlan, before_rad: f64, after_rad: f64) -> Vec<usize> {
    let step = plan.orbit.median_step_rad();
    if after_rad - before_rad < GAP_STEPS * step {
        return Vec::new();
    }
    let is_between = |angle: &f64| *angle > before_rad + step / 2.0 && *angle < after_rad - step / 2.0;
    let angles = plan.orbit.angles_rad.iter().enumerate();
    angles.filter(|(_, angle)| is_between(angle)).map(|(index, _)| index).collect()
}

impl MissingViews {
    pub(crate) fn add(&mut self, before: Neighbour, after: Neighbour, planned: Vec<usize>) {
        if (after.place.angle_rad - before.place.angle_rad).to_degrees() > WIDEST_GAP_DEG {
            self.unpredictable += planned.len();
        } else {
            self.gaps.push(Gap { before, after, planned });
        }
    }

    /// Views that can be predicted.
    pub(super) fn predictable(&self) -> usize {
        self.gaps.iter().map(|gap| gap.planned.len()).sum()
    }

    /// Views in gaps too wide to be predicted.
    pub(super) fn unpredictable(&self) -> usize {
        self.unpredictable
    }

    /// Predicts the missing views and adds them to `volume`, in 1/mm on the grid of `plan`.
    ///
    /// Runs on the current rayon pool; the result does not depend on its size.
    ///
    /// # Errors
    /// A volume with voxels that are not numbers, and [`ReconstructError::Cancelled`] where `goes_on` says no.
    ///
    /// # Panics
    /// When the volume has no mask or is not of the plan's grid: a bug of the caller.
    pub(super) fn fill(
        &self,
        volume: &mut Volume,
        plan: &FdkPlan,
        filter: &mut ViewFilter,
        mu_water_per_mm: f64,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), ReconstructError> {
        if self.gaps.is_empty() {
            return Ok(());
        }
        let factor = model_factor(plan);
        let grid = coarse_grid(&volume.grid, factor);
        let first = volume.values.clone();
        let mut added = Array3::zeros(first.raw_dim());
        let mut before: Option<Array3<f32>> = None;
        let mut flattening = None;
        let (mut first_change, mut last_change) = (None, f64::INFINITY);
        for round in 0..ROUNDS {
            let momentum = round as f32 / (round as f32 + 3.0);
            let now = coarsened(&volume.values, factor);
            let ahead = before.map_or_else(|| now.clone(), |before| &now + &((&now - &before) * momentum));
            before = Some(now);
            let (extended, extended_grid) = extended_along(&ahead, &grid, plan.layout.along);
            let body = Body::new(extended.view(), extended_grid, plan, mu_water_per_mm, &mut flattening)?;
            let mut sum = backprojector(plan.options.backend, plan.layout.clone(), plan.has_parallel_columns);
            for gap in &self.gaps {
                if !goes_on() {
                    return Err(ReconstructError::Cancelled);
                }
                sum.add(&gap.views(plan, &body, filter));
            }
            sum.write_sum(added.as_slice_mut().expect("standard layout"));
            drop(sum);
            let change = change(&volume.values, &first, &added);
            if change > GROWTH_MAX * last_change {
                break;
            }
            Zip::from(&mut volume.values)
                .and(&first)
                .and(&added)
                .par_for_each(|value, first, added| *value = first + added);
            last_change = change;
            if change < SETTLED * *first_change.get_or_insert(change) {
                break;
            }
        }
        Ok(())
    }
}

/// Voxels that become one of the model's along each axis.
fn model_factor(plan: &FdkPlan) -> usize {
    let grid = plan.grid();
    let view = &plan.scan.views()[0];
    let pixel_mm = view.project(&grid.centre()).depth_mm / view.detector_axes().focal_u_px;
    factor_of(grid.spacing_mm.iter().copied().fold(f64::INFINITY, f64::min), pixel_mm)
}

/// For voxels and pixels as wide as this at the isocenter.
fn factor_of(voxel_mm: f64, pixel_mm: f64) -> usize {
    let of_pixels = (MODEL_VOXEL_PX * pixel_mm / voxel_mm).ceil();
    (of_pixels.min((MODEL_VOXEL_MAX_MM / voxel_mm).floor()) as usize).max(1)
}

/// Root mean square of `first + added - values`.
fn change(values: &Array3<f32>, first: &Array3<f32>, added: &Array3<f32>) -> f64 {
    // Slices are summed one by one, so that the sum does not depend on threads.
    let slices: Vec<f64> = (values.outer_iter().into_par_iter(), first.outer_iter(), added.outer_iter())
        .into_par_iter()
        .map(|(values, first, added)| {
            let squares = Zip::from(values).and(first).and(added);
            squares.fold(0.0, |sum, value, first, added| sum + f64::from(first + added - value).powi(2))
        })
        .collect();
    (slices.iter().sum::<f64>() / values.len() as f64).sqrt()
}

/// A model of the body that rays can be cast through.
struct Body {
    projector: Projector,
    stored: ColumnVolume,
    region: DetectorRegion,
}

impl Body {
    fn new(
        values: ndarray::ArrayView3<'_, f32>,
        grid: carm::VolumeGrid,
        plan: &FdkPlan,
        mu_water_per_mm: f64,
        flattening: &mut Option<Flattening>,
    ) -> Result<Self, ReconstructError> {
        let projector = Projector::new(grid, &plan.orbit.axis.into_inner(), Isa::detect());
        let flattening = flattening.get_or_insert_with(|| Flattening::new(projector.column_grid()));
        let stored = flattening.flatten(&projector.store(values)?, mu_water_per_mm);
        Ok(Self { projector, stored, region: DetectorRegion::whole(plan.scan.detector()) })
    }

    fn project(&self, matrix: &ProjectionMatrix) -> Vec<f32> {
        let mut image = vec![0.0; self.region.pixel_count()];
        self.projector.project_into(&self.stored, matrix, self.region, &mut image);
        image
    }

    /// What a measured view saw beside the model.
    fn residual(&self, neighbour: &Neighbour) -> Vec<f32> {
        let mut image = self.project(&neighbour.matrix);
        image
            .iter_mut()
            .zip(&neighbour.line_integrals)
            .for_each(|(model, measured)| *model = measured - *model);
        smooth(&mut image, self.region.nu);
        image
    }
}

/// Takes streaks and noise out of one volume after the other and keeps edges: the nearest volume of little total variation.
/// Each goes on where the one before, which was much the same, ended.
struct Flattening {
    grid: ColumnGrid,
    total_variation: TotalVariation,
    ones: ColumnVolume,
    /// Smaller where the volume before had an edge.
    weights: Option<ColumnVolume>,
}

impl Flattening {
    fn new(grid: &ColumnGrid) -> Self {
        let mut ones = grid.zeros();
        ones.values.fill(1.0);
        Self { grid: grid.clone(), total_variation: TotalVariation::new(grid), ones, weights: None }
    }

    fn flatten(&mut self, volume: &ColumnVolume, mu_water_per_mm: f64) -> ColumnVolume {
        let smoothing = Smoothing {
            strength: (FLATTENING * mu_water_per_mm) as f32,
            metric: &self.ones,
            metric_max: 1.0,
            lowest: 0.0,
            steps: FLATTENING_STEPS,
            weights: self.weights.as_ref(),
        };
        let mut flat = self.grid.zeros();
        self.total_variation.smooth(volume, &smoothing, &mut flat);
        self.weights =
            Some(self.total_variation.weights_sparing_edges(&flat, (EDGE * mu_water_per_mm) as f32));
        flat
    }
}

/// Means over [`RESIDUAL_REACH_PX`] to all sides, twice: what neighbours share survives, what moves between them goes.
fn smooth(image: &mut [f32], nu: usize) {
    for _ in 0..2 {
        for row in image.chunks_exact_mut(nu) {
            running_mean(row, RESIDUAL_REACH_PX[0]);
        }
        let nv = image.len() / nu;
        let mut column = vec![0.0; nv];
        for u in 0..nu {
            (0..nv).for_each(|v| column[v] = image[v * nu + u]);
            running_mean(&mut column, RESIDUAL_REACH_PX[1]);
            (0..nv).for_each(|v| image[v * nu + u] = column[v]);
        }
    }
}

fn running_mean(line: &mut [f32], reach: usize) {
    let given = line.to_vec();
    for (i, value) in line.iter_mut().enumerate() {
        let end = (i + reach + 1).min(given.len());
        let window = &given[i.saturating_sub(reach)..end];
        *value = window.iter().sum::<f32>() / window.len() as f32;
    }
}

impl Gap {
    /// The predicted views, and the neighbours with what they give back (a negative weight).
    fn views(&self, plan: &FdkPlan, body: &Body, filter: &mut ViewFilter) -> Vec<FilteredView> {
        let [before, after] = [&self.before, &self.after].map(|neighbour| body.residual(neighbour));
        let virtual_views: Vec<VirtualView> =
            self.planned.iter().map(|&index| plan.virtual_view(&plan.given_scan.views()[index])).collect();
        let places: Vec<OnArc> = self
            .planned
            .iter()
            .zip(&virtual_views)
            .map(|(&index, view)| OnArc::of(view, plan.orbit.angles_rad[index]))
            .collect();
        let (start, end) = (&self.before.place, &self.after.place);
        let mut views = vec![
            given_back(&self.before, start.way_to_mm(&places[0]) - start.way_to_mm(end)),
            given_back(&self.after, end.way_to_mm(&places[places.len() - 1]) - end.way_to_mm(start)),
        ];
        for (i, (&index, view)) in self.planned.iter().zip(&virtual_views).enumerate() {
            let place = &places[i];
            let share = ((place.angle_rad - start.angle_rad) / (end.angle_rad - start.angle_rad)) as f32;
            let mut image = body.project(&plan.scan.views()[index]);
            for ((pixel, before), after) in image.iter_mut().zip(&before).zip(&after) {
                *pixel += before + share * (after - before);
            }
            let [nu, nv] = plan.virtual_size();
            let mut filtered = FilteredView::new(nu, nv);
            filter.run(plan, view, &image, place.angle_rad, &mut filtered, &mut Silent);
            let previous = if i == 0 { start } else { &places[i - 1] };
            let next = places.get(i + 1).unwrap_or(end);
            let arc_element_mm = (place.way_to_mm(previous) + place.way_to_mm(next)) / 2.0;
            filtered.scale = arc_element_mm * place.focal_u_px;
            views.push(filtered);
        }
        views
    }
}

/// A neighbour's view weighted by how much shorter its way to the next view has become.
fn given_back(neighbour: &Neighbour, way_change_mm: f64) -> FilteredView {
    let mut view = neighbour.filtered.clone();
    view.scale = way_change_mm / 2.0 * neighbour.place.focal_u_px;
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_of_missing_views_is_coarser_than_fine_pixels_and_never_coarse() {
        let cases =
            [(0.25, 0.2, 2), (0.64, 0.4, 2), (0.96, 0.4, 1), (0.5, 1.6, 4), (2.56, 1.6, 1), (9.0, 8.0, 1)];
        for (voxel_mm, pixel_mm, factor) in cases {
            assert_eq!(factor_of(voxel_mm, pixel_mm), factor, "{voxel_mm} mm of {pixel_mm} mm");
        }
    }
}
