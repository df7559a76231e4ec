//! What a device announces before its first frame: everything needed to reconstruct the run alone.

use crate::calibration::DetectorCalibration;
use crate::grid::{DetectorGrid, VolumeGrid};
use crate::patient::PatientSetup;
use crate::projection::ProjectionMatrix;

/// Who made the frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Maker.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial_number: String,
}

/// The beam as the calibration knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamModel {
    /// Peak tube voltage, kV.
    pub tube_voltage_kv: f64,
    /// Energy at which the volume's attenuation is stated, keV.
    pub effective_energy_kev: f64,
    /// Attenuation of water at the effective energy, 1/mm.
    pub mu_water_per_mm: f64,
    /// Water precorrection: `p_mono = Σ c[k] p^(k+1)`; `[1.0]` for a monoenergetic beam.
    pub water_precorrection: Vec<f64>,
}

/// A view as calibration and plan foresee it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannedView {
    /// Primary angle, radians, unwrapped.
    pub primary_angle_rad: f64,
    /// Calibrated matrix at that angle.
    pub projection_matrix: ProjectionMatrix,
}

/// What a device announces before its first frame.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDescription {
    /// Identifies the run.
    pub run_id: String,
    /// The protocol's name, such as `spine-spin`.
    pub protocol: String,
    /// Who makes the frames.
    pub device: DeviceIdentity,
    /// Seed of a simulated device.
    pub seed: Option<u64>,
    /// The detector.
    pub detector: DetectorGrid,
    /// Bits of a raw count that are used.
    pub bits_stored: u8,
    /// Nominal frame rate, 1/s.
    pub frame_rate_hz: f64,
    /// The views of a planned spin by angle; empty for fluoroscopy and calibration runs.
    pub planned_views: Vec<PlannedView>,
    /// Dark, gain, defects and air intensity in force; absent for calibration runs.
    pub detector_calibration: Option<DetectorCalibration>,
    /// The beam.
    pub beam: BeamModel,
    /// Where the patient lies.
    pub patient: PatientSetup,
    /// Grid, in LPS, that the protocol asks the volume on; absent where no volume is meant.
    pub volume_grid: Option<VolumeGrid>,
    /// Anything else worth keeping, such as which effects a simulation left out.
    pub remarks: Vec<String>,
}
