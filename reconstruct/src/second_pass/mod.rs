//! What a finished volume lets one do better: a second pass over the views' geometry.
//!
//! The first volume is there when the sweep ends. From it a model of the body is made, and with the model views that
//! were lost are predicted and the cone-beam artefact is estimated; the result is the next version of the same volume.

mod body_model;
mod cone_beam;
pub(crate) mod missing;

use crate::error::ReconstructError;
use crate::observer::Observer;
use crate::plan::FdkPlan;
use crate::view_filter::ViewFilter;
use carm::{Stage, Volume};
use missing::MissingViews;
use std::sync::Arc;

pub use cone_beam::ConeBeamArtefact;

/// A finished first pass, ready for the second.
pub struct SecondPass {
    pub(crate) plan: Arc<FdkPlan>,
    pub(crate) filter: ViewFilter,
    pub(crate) missing: MissingViews,
}

impl SecondPass {
    /// Makes the first pass's volume, in 1/mm, its next version: adds predicted views where some are missing, then
    /// subtracts the cone-beam artefact inside the field of view. The volume's history tells of both.
    ///
    /// Runs on the current rayon pool; the result does not depend on its size. Asks `goes_on` between steps, and ends with a
    /// volume to be thrown away where that says no.
    ///
    /// # Errors
    /// A volume with voxels that are not numbers, and [`ReconstructError::Cancelled`].
    ///
    /// # Panics
    /// When the volume is not the one that came with this pass: a bug of the caller.
    pub fn refine(
        mut self,
        volume: &mut Volume,
        mu_water_per_mm: f64,
        goes_on: &mut dyn FnMut() -> bool,
        observer: &mut dyn Observer,
    ) -> Result<ConeBeamArtefact, ReconstructError> {
        assert_eq!(volume.grid, *self.plan.grid(), "the volume lies on the plan's grid");
        let mut filled = Ok(());
        observer.stage("missing-views", &mut || {
            filled = self.missing.fill(volume, &self.plan, &mut self.filter, mu_water_per_mm, goes_on);
        });
        filled?;
        let mut artefact = Ok(ConeBeamArtefact::default());
        observer.stage("cone-beam-artefact", &mut || {
            artefact = cone_beam::subtract_cone_beam_artefact(volume, &self.plan, mu_water_per_mm, goes_on);
        });
        let artefact = artefact?;
        self.tell(volume, &artefact);
        Ok(artefact)
    }

    fn tell(&self, volume: &mut Volume, artefact: &ConeBeamArtefact) {
        let stage = |name: &str, parameters: [(&str, String); 2]| Stage {
            name: name.into(),
            parameters: parameters.map(|(key, value)| (key.into(), value)).into(),
            seconds: 0.0,
        };
        let (predicted, left) = (self.missing.predictable(), self.missing.unpredictable());
        volume.provenance.stages.push(stage(
            "missing-views",
            [("predicted", predicted.to_string()), ("left_missing", left.to_string())],
        ));
        volume.provenance.stages.push(stage(
            "cone-beam-artefact",
            [("rms_per_mm", artefact.rms.to_string()), ("max_per_mm", artefact.max.to_string())],
        ));
        if predicted > 0 {
            volume.provenance.warnings.push(format!(
                "{predicted} missing views were predicted from the volume and their neighbours"
            ));
        }
    }
}
