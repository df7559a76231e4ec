//! A reconstructed or imported volume: values, place, masks, and how it came to be.

use crate::grid::VolumeGrid;
use ndarray::Array3;
use std::collections::BTreeMap;

/// What the numbers of a volume mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// Linear attenuation, 1/mm.
    MuPerMm,
    /// Hounsfield units, with the attenuation of water (1/mm) that defines them, where known.
    Hu {
        /// Attenuation of water at the effective energy, 1/mm.
        mu_water_per_mm: Option<f64>,
    },
    /// Numbers whose meaning the source does not tell.
    Unknown,
}

/// The space that a grid's coordinates are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// DICOM patient coordinates: left, posterior, superior.
    Lps,
    /// Room coordinates with the origin at the isocenter.
    World,
}

/// Bits of a volume's mask array.
pub mod mask {
    /// Seen by every view that carries weight.
    pub const FIELD_OF_VIEW: u8 = 1;
    /// Seen by at least one view.
    pub const COVERED: u8 = 2;
    /// Depends on data extrapolated beyond the detector: some view saw the voxel on a row that ended inside the body and
    /// was continued.
    pub const EXTRAPOLATED: u8 = 4;
    /// The views that saw the voxel did so over less than half a turn: edges along what is missing are lost.
    pub const LIMITED_ANGLE: u8 = 8;
    /// Every bit with its name.
    pub const NAMES: [(u8, &str); 4] = [
        (FIELD_OF_VIEW, "field of view"),
        (COVERED, "covered"),
        (EXTRAPOLATED, "extrapolated"),
        (LIMITED_ANGLE, "limited angle"),
    ];
}

/// One step that a volume went through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// The step's name, such as `ramp`.
    pub name: String,
    /// Its parameters as text.
    pub parameters: BTreeMap<String, String>,
    /// Time spent in it as a clock on the wall shows it, seconds; zero where nobody timed it.
    pub seconds: f64,
}

/// How a volume came to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// Which backend computed it, such as `cpu-avx512`.
    pub backend: String,
    /// Hash of each input by name.
    pub inputs: BTreeMap<String, String>,
    /// Every stage in order.
    pub stages: Vec<Stage>,
    /// What was degraded, extrapolated or skipped, in words.
    pub warnings: Vec<String>,
}

/// A volume: `values[z, y, x]` on `grid`.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Sizes, spacing, direction and origin.
    pub grid: VolumeGrid,
    /// What space the grid is in.
    pub space: Space,
    /// `[z, y, x]`, x fastest, standard layout.
    pub values: Array3<f32>,
    /// What the values mean.
    pub quantity: Quantity,
    /// Bits of [`mask`] per voxel, where known.
    pub mask: Option<Array3<u8>>,
    /// DICOM frame of reference, where known.
    pub frame_of_reference_uid: Option<String>,
    /// How it came to be.
    pub provenance: Provenance,
}

impl Volume {
    /// A volume in LPS without masks or history.
    ///
    /// # Panics
    /// When the array's shape is not the grid's (`[nz, ny, nx]`): a bug of the caller.
    pub fn new(grid: VolumeGrid, values: Array3<f32>, quantity: Quantity) -> Self {
        let [nx, ny, nz] = grid.shape;
        assert_eq!(values.shape(), [nz, ny, nx], "volume array [z, y, x] against grid [nx, ny, nz]");
        Self {
            grid,
            space: Space::Lps,
            values,
            quantity,
            mask: None,
            frame_of_reference_uid: None,
            provenance: Provenance::default(),
        }
    }

    /// Moves the volume's grid into another space; voxels stay as they are.
    pub fn into_space(mut self, space: Space, space_from_current: &nalgebra::Isometry3<f64>) -> Self {
        self.grid = self.grid.transformed(space_from_current);
        self.space = space;
        self
    }
}
