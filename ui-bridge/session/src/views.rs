//! A frame becomes a view: corrected counts, and the calibrated matrix of its measured angle.

use crate::error::SessionError;
use crate::panel::LearnedPanel;
use acquisition::{CorrectedFrame, Corrector};
use carm::{CalibratedTrajectory, FrameHeader, ProjectionMatrix, RunDescription, ScanGeometry, VolumeGrid};
use nalgebra::Isometry3;
use reconstruct::{Apodisation, Backend, FdkOptions, FdkPlan, KnownBody, Samples, ViewInput, rows_per_voxel};
use std::sync::Arc;

/// More rows than this are not averaged even for the coarsest voxels: their obliquity would show.
const MOST_ROWS_AVERAGED: usize = 4;

/// What a caller may choose for the volume of a run; the rest follows from the run itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSettings {
    /// Roll-off of the ramp.
    pub apodisation: Apodisation,
    /// Who back-projects.
    pub backend: Backend,
    /// Another grid than the protocol's, in LPS.
    pub grid: Option<VolumeGrid>,
    /// Continue truncated views with water.
    pub continues_truncation: bool,
    /// A CT of the same body in LPS that knows how truncated views go on.
    pub known_body: Option<Arc<KnownBody>>,
    /// Correct for the beam's hardening in water.
    pub precorrects_water: bool,
    /// Views per back-projection call.
    pub block_views: usize,
    /// Neighbouring detector rows that become one; where absent, as many as a voxel spans.
    pub rows_averaged: Option<usize>,
    /// Make the volume's second version: lost views predicted, the cone-beam artefact taken away.
    pub has_second_pass: bool,
    /// Learn from the recording, before it is reconstructed, what calibration does not know of the panel's pixels.
    pub corrects_rings: bool,
    /// Accept arcs that leave rays unmeasured.
    pub limited_angle: bool,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            apodisation: Apodisation::None,
            backend: Backend::Cpu,
            grid: None,
            continues_truncation: true,
            known_body: None,
            precorrects_water: true,
            block_views: FdkOptions::default().block_views,
            rows_averaged: None,
            has_second_pass: true,
            corrects_rings: false,
            limited_angle: false,
        }
    }
}

/// Turns the frames of one run into views in LPS.
pub struct ViewMaker {
    corrector: Corrector,
    trajectory: CalibratedTrajectory,
    world_from_lps: Isometry3<f64>,
    counts_per_quantum: f32,
    corrected: CorrectedFrame,
}

impl ViewMaker {
    /// For a run that brings detector maps and a planned sweep.
    ///
    /// # Errors
    /// [`SessionError::NotASpin`] when it does not; maps or matrices that are unusable.
    pub fn new(description: &RunDescription) -> Result<Self, SessionError> {
        Self::after(description, None)
    }

    /// As [`ViewMaker::new`], with a correction that has seen the frames before.
    ///
    /// # Errors
    /// As [`ViewMaker::new`].
    pub fn after(description: &RunDescription, corrector: Option<Corrector>) -> Result<Self, SessionError> {
        let missing = |expected| SessionError::NotASpin { protocol: description.protocol.clone(), expected };
        let maps =
            description.detector_calibration.as_ref().ok_or_else(|| missing("detector calibration maps"))?;
        if description.planned_views.is_empty() {
            return Err(missing("planned views with calibrated matrices"));
        }
        let corrector = match corrector {
            Some(corrector) => corrector,
            None => Corrector::for_run(description)?.ok_or_else(|| missing("detector calibration maps"))?,
        };
        let counts_per_quantum = (maps.variance_per_count * corrector.noise_gain().powi(2)) as f32;
        Ok(Self {
            corrected: CorrectedFrame::default(),
            corrector,
            trajectory: CalibratedTrajectory::new(description.detector, description.planned_views.clone())?,
            world_from_lps: description.patient.world_from_lps(),
            counts_per_quantum,
        })
    }

    /// Corrects by what a recording told of its own panel.
    ///
    /// # Errors
    /// Pixels that nothing can fill.
    pub(crate) fn learn(&mut self, learned: &LearnedPanel) -> Result<(), SessionError> {
        self.corrector.add_defects(&learned.defects)?;
        Ok(self.corrector.apply_factors(&learned.factors)?)
    }

    /// The matrix of a frame, in LPS, by its measured angle.
    ///
    /// # Errors
    /// [`SessionError::Angle`] outside the calibrated arc.
    pub fn matrix(&self, header: &FrameHeader) -> Result<ProjectionMatrix, SessionError> {
        let world = self
            .trajectory
            .matrix_at(header.gantry.primary_angle_rad)
            .map_err(|source| SessionError::Angle { sequence: header.sequence, source })?;
        Ok(world.for_space(&self.world_from_lps))
    }

    /// Corrects a frame; [`ViewMaker::view`] then gives it its matrix. Wants every frame in order, those without X-rays too:
    /// they tell what the panel still holds.
    ///
    /// # Errors
    /// What the corrector finds.
    pub fn correct(&mut self, header: &FrameHeader, raw_counts: &[u16]) -> Result<(), SessionError> {
        Ok(self.corrector.correct(header, raw_counts, &mut self.corrected)?)
    }

    /// The frame corrected last.
    pub fn corrected(&self) -> &CorrectedFrame {
        &self.corrected
    }

    /// The frame corrected last as a view.
    ///
    /// # Errors
    /// As [`ViewMaker::matrix`].
    pub fn view(&self) -> Result<ViewInput<'_>, SessionError> {
        Ok(ViewInput {
            projection_matrix: self.matrix(&self.corrected.header)?,
            samples: Samples::Intensity {
                intensity: &self.corrected.intensity,
                air_intensity: self.corrected.air_intensity,
                counts_per_quantum: self.counts_per_quantum,
            },
        })
    }
}

/// Plans the volume of a run from its planned sweep, in LPS.
///
/// # Errors
/// [`SessionError::NotASpin`] for a run without planned views or volume grid; what the plan refuses.
pub fn plan_run(description: &RunDescription, settings: &RunSettings) -> Result<FdkPlan, SessionError> {
    let world_from_lps = description.patient.world_from_lps();
    let matrices: Vec<ProjectionMatrix> = description
        .planned_views
        .iter()
        .map(|view| view.projection_matrix.for_space(&world_from_lps))
        .collect();
    plan_matrices(description, matrices, settings, false)
}

/// Plans the volume of a sweep that ended early from the views that there are.
///
/// # Errors
/// As [`plan_run`]; [`reconstruct::ReconstructError::ArcTooShort`] for less than half a turn plus the fan.
pub fn plan_partial(
    description: &RunDescription,
    matrices: Vec<ProjectionMatrix>,
    settings: &RunSettings,
) -> Result<FdkPlan, SessionError> {
    plan_matrices(description, matrices, settings, true)
}

fn plan_matrices(
    description: &RunDescription,
    matrices: Vec<ProjectionMatrix>,
    settings: &RunSettings,
    confidence_weights: bool,
) -> Result<FdkPlan, SessionError> {
    let grid = settings.grid.or(description.volume_grid).ok_or_else(|| SessionError::NotASpin {
        protocol: description.protocol.clone(),
        expected: "a volume grid in the protocol or on the command line",
    })?;
    if matrices.is_empty() {
        return Err(SessionError::NotASpin {
            protocol: description.protocol.clone(),
            expected: "planned views with calibrated matrices",
        });
    }
    let beam = &description.beam;
    let scan = ScanGeometry::new(description.detector, matrices)?;
    let rows_averaged = match settings.rows_averaged {
        Some(rows) => rows,
        None => (rows_per_voxel(&scan, &grid)? as usize).clamp(1, MOST_ROWS_AVERAGED),
    };
    let options = FdkOptions {
        apodisation: settings.apodisation,
        truncation_water_per_mm: settings.continues_truncation.then_some(beam.mu_water_per_mm),
        known_body: settings.known_body.clone(),
        water_precorrection: if settings.precorrects_water {
            beam.water_precorrection.clone()
        } else {
            vec![1.0]
        },
        backend: settings.backend,
        block_views: settings.block_views,
        rows_averaged,
        limited_angle: settings.limited_angle,
        confidence_weights,
    };
    Ok(FdkPlan::new(scan, grid, options)?)
}
