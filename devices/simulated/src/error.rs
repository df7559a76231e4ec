//! What can be wrong with a simulation.

/// Why a simulation cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// No protocol of that name is built in.
    #[error("protocol: expected one of {known}, found {found:?}")]
    UnknownProtocol {
        /// The name given.
        found: String,
        /// The names there are.
        known: String,
    },
    /// A protocol's text is not what a protocol looks like.
    #[error("protocol: {0}")]
    ProtocolText(#[from] Box<toml::de::Error>),
    /// No spectrum of that name is in the data.
    #[error("spectrum: expected one of {known}, found {found:?}")]
    UnknownSpectrum {
        /// The name given.
        found: String,
        /// The names there are.
        known: String,
    },
    /// A number outside what makes sense.
    #[error("{what}: expected {expected}, found {found}")]
    OutOfRange {
        /// The quantity, with its unit.
        what: &'static str,
        /// What would do.
        expected: &'static str,
        /// What was given.
        found: f64,
    },
    /// The patient's volume does not hold Hounsfield units in patient space.
    #[error("patient volume: expected Hounsfield units in LPS, found {found}")]
    NotHounsfield {
        /// What it holds.
        found: String,
    },
    /// A voxel of the patient that is not a number.
    #[error("patient volume: expected finite Hounsfield units, found {found} at voxel {voxel:?}")]
    NotFinite {
        /// The value.
        found: f32,
        /// Its index (i, j, k).
        voxel: [usize; 3],
    },
    /// Labels on another grid than the volume.
    #[error("patient labels: expected {expected:?} voxels as the volume has (z, y, x), found {found:?}")]
    LabelShape {
        /// Shape of the volume's array.
        expected: [usize; 3],
        /// Shape of the labels' array.
        found: [usize; 3],
    },
    /// A material that a body shape cannot be made of.
    #[error("body shape: expected a light material, found {found} (metal and polymers are inserts)")]
    NotABodyMaterial {
        /// The material.
        found: &'static str,
    },
    /// A view that the run does not have.
    #[error("view: expected below {views}, found {found}")]
    NoSuchView {
        /// Views of the run.
        views: usize,
        /// View asked for.
        found: usize,
    },
    /// A geometry that cannot be.
    #[error(transparent)]
    Geometry(#[from] carm::GeometryError),
}

/// Refuses `found` unless `holds`.
pub(crate) fn require(
    what: &'static str,
    expected: &'static str,
    holds: bool,
    found: f64,
) -> Result<(), SimulationError> {
    // `holds` is false for NaN because every caller writes it as a comparison that must be true.
    if holds { Ok(()) } else { Err(SimulationError::OutOfRange { what, expected, found }) }
}
