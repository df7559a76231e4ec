//! One detector image and what was true when it was taken.

use crate::units::{DeviceTime, HostTime, WallTime};
use ndarray::Array2;

/// What the operator's foot asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pedal {
    /// Nothing pressed.
    #[default]
    Released,
    /// Live fluoroscopy.
    Fluoroscopy,
    /// A recorded acquisition: a spin or a DSA run.
    Acquisition,
}

/// The same instant on three clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockStamps {
    /// Device clock at the start of the exposure.
    pub device: DeviceTime,
    /// Host's monotonic clock when the last byte had arrived.
    pub host: HostTime,
    /// Wall clock when the last byte had arrived.
    pub wall: WallTime,
}

/// Generator settings as reported for one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exposure {
    /// Peak tube voltage, kV.
    pub tube_voltage_kv: f64,
    /// Tube current, mA.
    pub tube_current_ma: f64,
    /// Pulse width, ms.
    pub pulse_width_ms: f64,
}

impl Exposure {
    /// Tube current times pulse width, mAs.
    pub fn tube_charge_mas(&self) -> f64 {
        self.tube_current_ma * self.pulse_width_ms * 1e-3
    }
}

/// Gantry as measured by its encoders.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GantryPose {
    /// LAO positive, radians, unwrapped within a spin.
    pub primary_angle_rad: f64,
    /// Cranial positive, radians.
    pub secondary_angle_rad: f64,
}

/// Everything about a frame but its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameHeader {
    /// Counts every frame that the device produced; a missing number is a lost frame.
    pub sequence: u64,
    /// When it was taken and when it arrived.
    pub stamps: ClockStamps,
    /// Middle of the exposure on the device clock.
    pub mid_exposure: DeviceTime,
    /// Whether X-rays were on.
    pub is_xray_on: bool,
    /// What the pedal asked for.
    pub pedal: Pedal,
    /// Measured gantry angles at mid-exposure.
    pub gantry: GantryPose,
    /// Reported generator settings.
    pub exposure: Exposure,
}

/// One detector image: header and raw counts `[v, u]`.
#[derive(Clone, Debug, PartialEq)]
pub struct XrayFrame {
    /// What was true when it was taken.
    pub header: FrameHeader,
    /// Detector counts before any correction.
    pub raw_counts: Array2<u16>,
}
