//! Acquisition protocols: everything that a technician would choose on the console, as readable TOML.
//!
//! The files lie in `protocols/` beside the source and are built in. Angles are in degrees here (and only here),
//! as on the console; code works in radians.

use crate::error::{SimulationError, require};
use crate::vessels::BolusPlan;
use carm::{DetectorGrid, GeometryError};
use serde::Deserialize;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// A rotation from which a volume is reconstructed.
    Spin,
    /// Frames at one gantry position.
    Fluoroscopy,
    /// Frames at one gantry position, at the dose of a run that is kept.
    Angiography,
    /// X-rays without a patient, for the gain map.
    FlatField,
    /// No X-rays, for the offset map.
    DarkField,
}

/// The gantry's part of a protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GantryPlan {
    /// Source to isocenter, mm.
    pub source_to_isocenter_mm: f64,
    /// Source to detector, mm.
    pub source_to_detector_mm: f64,
    /// Primary angle at which the arc starts (LAO positive), degrees.
    pub first_angle_deg: f64,
    /// Arc covered by all views together, degrees; each view stands in the middle of its share. Zero: parked.
    pub arc_deg: f64,
    /// Secondary angle (cranial positive), degrees.
    #[serde(default)]
    pub secondary_angle_deg: f64,
    /// Seconds that the gantry takes to reach full speed, and to stop.
    pub ramp_s: f64,
}

/// The detector's part of a protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorPlan {
    /// Columns.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Pixel pitch along both axes, mm.
    pub pixel_pitch_mm: f64,
    /// Shift of the detector along its columns, mm.
    #[serde(default)]
    pub offset_u_mm: f64,
    /// Shift of the detector along its rows, mm.
    #[serde(default)]
    pub offset_v_mm: f64,
    /// Bits of a count.
    pub bits: u8,
    /// Mean count without X-rays.
    pub offset_counts: f64,
    /// Counts of the bare beam above the offset.
    pub air_counts: f64,
    /// Standard deviation of the electronic noise, counts.
    pub electronic_noise_counts: f64,
}

/// The beam's part of a protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeamPlan {
    /// A column of `data/spectra.csv`.
    pub spectrum: String,
    /// Peak tube voltage, kV.
    pub tube_voltage_kv: f64,
    /// Tube current, mA.
    pub tube_current_ma: f64,
    /// Pulse width, ms.
    pub pulse_width_ms: f64,
    /// Energy at which the volume's attenuation is stated, keV.
    pub effective_energy_kev: f64,
    /// Share of the primary that the anti-scatter grid lets through.
    pub grid_primary_transmission: f64,
    /// Share of the scatter that the anti-scatter grid lets through.
    pub grid_scatter_transmission: f64,
}

/// The volume that a spin asks for, centred on the isocenter with axes along LPS.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumePlan {
    /// Voxels `[nx, ny, nz]`.
    pub shape: [usize; 3],
    /// Side of the cubic voxels, mm.
    pub voxel_mm: f64,
}

/// An acquisition protocol.
///
/// ```
/// let protocol = simulated::Protocol::named("spine-spin").unwrap();
/// assert_eq!((protocol.views, protocol.detector.columns), (248, 616));
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Its name, such as `spine-spin`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What the run is for.
    pub kind: RunKind,
    /// Frames that the device produces.
    pub views: usize,
    /// Frames per second.
    pub frame_rate_hz: f64,
    /// Where source and detector go.
    pub gantry: GantryPlan,
    /// The detector.
    pub detector: DetectorPlan,
    /// The beam.
    pub beam: BeamPlan,
    /// The injection; absent where there is none.
    pub bolus: Option<BolusPlan>,
    /// The volume wanted; absent where none is.
    pub volume: Option<VolumePlan>,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../protocols/", $name, ".toml")))),*]
    };
}

const BUILT_IN: [(&str, &str); 10] = built_in![
    "spine-spin",
    "spine-spin-large",
    "evar-spin",
    "head-spin",
    "offset-360",
    "fluoro-ap",
    "fluoro-lateral",
    "dsa-abdomen",
    "flat-field",
    "dark-field",
];

impl Protocol {
    /// Names of the protocols that are built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A protocol that is built in.
    ///
    /// # Errors
    /// [`SimulationError::UnknownProtocol`], with the known names.
    pub fn named(name: &str) -> Result<Self, SimulationError> {
        let text = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        let text = text.ok_or_else(|| SimulationError::UnknownProtocol {
            found: name.into(),
            known: Self::names().collect::<Vec<_>>().join(", "),
        })?;
        Self::from_toml(text)
    }

    /// Reads a protocol and checks its numbers.
    ///
    /// # Errors
    /// [`SimulationError::ProtocolText`] for text that is not a protocol (unknown fields included);
    /// [`SimulationError::OutOfRange`] and [`SimulationError::Geometry`] for numbers that cannot be.
    pub fn from_toml(text: &str) -> Result<Self, SimulationError> {
        let protocol: Self = toml::from_str(text).map_err(Box::new)?;
        protocol.check()?;
        Ok(protocol)
    }

    /// The detector's pixel grid.
    ///
    /// # Errors
    /// [`GeometryError::NotPositive`] for a protocol changed to sizes that cannot be.
    pub fn detector_grid(&self) -> Result<DetectorGrid, GeometryError> {
        let pitch = self.detector.pixel_pitch_mm;
        DetectorGrid::new([self.detector.columns, self.detector.rows], [pitch, pitch])
    }

    /// Refuses numbers that cannot be.
    pub(crate) fn check(&self) -> Result<(), SimulationError> {
        self.detector_grid()?;
        let positive =
            |what, found: f64| require(what, "a positive number", found > 0.0 && found < 1e9, found);
        positive("views", self.views as f64)?;
        positive("frame rate in 1/s", self.frame_rate_hz)?;
        let gantry = &self.gantry;
        positive("source to isocenter in mm", gantry.source_to_isocenter_mm)?;
        let behind = gantry.source_to_detector_mm - gantry.source_to_isocenter_mm;
        positive("detector behind the isocenter in mm", behind)?;
        require("arc in degrees", "-720 to 720", gantry.arc_deg.abs() <= 720.0, gantry.arc_deg)?;
        let spin_s = self.views as f64 / self.frame_rate_hz;
        let ramp = gantry.ramp_s;
        require("ramp in seconds", "at most half the spin", ramp >= 0.0 && 2.0 * ramp <= spin_s, ramp)?;
        let detector = &self.detector;
        require("bits of a count", "8 to 16", (8..=16).contains(&detector.bits), detector.bits.into())?;
        let full = f64::from(1_u32 << detector.bits);
        let top = detector.offset_counts + detector.air_counts;
        require("offset plus air counts", "within the range of the bits", top > 0.0 && top < full, top)?;
        positive("air counts", detector.air_counts)?;
        let noise = detector.electronic_noise_counts;
        require("electronic noise in counts", "zero or more", noise >= 0.0, noise)?;
        let beam = &self.beam;
        positive("tube current in mA", beam.tube_current_ma)?;
        positive("pulse width in ms", beam.pulse_width_ms)?;
        let energy = beam.effective_energy_kev;
        require("effective energy in keV", "15 to 125", (15.0..=125.0).contains(&energy), energy)?;
        for share in [beam.grid_primary_transmission, beam.grid_scatter_transmission] {
            require("grid transmission", "0 to 1", (0.0..=1.0).contains(&share), share)?;
        }
        self.bolus.as_ref().map_or(Ok(()), BolusPlan::check)?;
        self.volume.as_ref().map_or(Ok(()), |volume| positive("voxel size in mm", volume.voxel_mm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_names_all_read_and_carry_their_own_name() {
        for name in Protocol::names() {
            let protocol = Protocol::named(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(protocol.name, name);
            assert_eq!(protocol.volume.is_some(), protocol.kind == RunKind::Spin, "{name}");
        }
    }

    #[test]
    fn protocol_unknown_name_lists_the_known_ones() {
        let text = Protocol::named("spine").unwrap_err().to_string();
        assert!(text.contains("spine-spin-large") && text.contains("dark-field"), "{text}");
    }

    #[test]
    fn protocol_refuses_unknown_fields_and_impossible_numbers() {
        let good = BUILT_IN[0].1;
        assert!(Protocol::from_toml(&good.replace("views = 248", "views = 248\nviewz = 3")).is_err());
        for (from, to) in [
            ("views = 248", "views = 0"),
            ("source_to_detector_mm = 1200.0", "source_to_detector_mm = 700.0"),
            ("bits = 16", "bits = 14"),
            ("frame_rate_hz = 30.0", "frame_rate_hz = nan"),
        ] {
            let changed = good.replace(from, to);
            assert_ne!(changed, good);
            let error = Protocol::from_toml(&changed).unwrap_err();
            assert!(matches!(error, SimulationError::OutOfRange { .. }), "{to}: {error}");
        }
    }
}
