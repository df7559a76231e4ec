//! What a recording tells of the panel that made it, beyond the maps that it brings: pixels that went bad since, and what
//! each pixel's gain is off by. Learned in a pass of its own before the volume is made.

use crate::error::SessionError;
use acquisition::correct::late::LateDefects;
use acquisition::correct::rings::RingResidual;
use acquisition::{CorrectedFrame, Corrector};
use capture::{CaptureError, RunReader};
use carm::PixelDefect;

/// Late defects and factors of the gain.
#[derive(Clone, Debug)]
pub(crate) struct LearnedPanel {
    pub defects: Vec<PixelDefect>,
    pub factors: Vec<f32>,
}

impl LearnedPanel {
    /// Reads all frames once; frames that cannot be read say nothing.
    pub fn of(reader: &mut RunReader) -> Result<Self, SessionError> {
        let description = reader.description();
        let [nu, nv] = [description.detector.nu, description.detector.nv];
        let mut counts = vec![0; nu * nv];
        let mut corrected = CorrectedFrame::default();
        let (mut rings, mut late) = (RingResidual::new(nu, nv), LateDefects::new(nu, nv));
        let mut defects = Vec::new();
        let Some(mut corrector) = Corrector::for_run(description)? else {
            return Ok(Self { defects, factors: vec![1.0; nu * nv] });
        };
        for index in 0..reader.frame_count() {
            let header = match reader.read_frame(index, &mut counts) {
                Ok(header) => header,
                Err(CaptureError::FrameDamaged { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            corrector.correct(&header, &counts, &mut corrected)?;
            if header.is_xray_on {
                let found = late.look(&corrected, &counts, &corrector);
                if !found.is_empty() {
                    corrector.add_defects(&found)?;
                    defects.extend(found);
                }
                rings.observe(&corrected)?;
            }
        }
        let mut factors = rings.factors();
        for defect in &defects {
            factors[defect.v as usize * nu + defect.u as usize] = 1.0;
        }
        Ok(Self { defects, factors })
    }

    /// What travels with the volume.
    pub fn warning(&self) -> Option<String> {
        let count = self.defects.len();
        (count > 0).then(|| {
            format!("{count} pixels went bad since the calibration; they were filled from their neighbours")
        })
    }
}
