//! What a segmentation is: labels, confidence, structures and the places to look at.

use carm::VolumeGrid;
use nalgebra::Point3;
use ndarray::Array3;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// All bone, marrow included, as one label.
    Bone,
    /// The contrast-filled aorta, or the vessel that seeds are given for.
    Vessel,
    /// Metal.
    Metal,
    /// Calcification outside bone and contrast medium.
    Calcification,
    /// Everything inside the skin.
    Skin,
    /// Vertebrae, one label each, named where the field shows how to count them.
    Vertebrae,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 6] =
        [Self::Bone, Self::Vessel, Self::Metal, Self::Calcification, Self::Skin, Self::Vertebrae];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bone => "bone",
            Self::Vessel => "vessel",
            Self::Metal => "metal",
            Self::Calcification => "calcification",
            Self::Skin => "skin",
            Self::Vertebrae => "vertebrae",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    /// Its value in the labels.
    pub label: u16,
    /// What it is called.
    pub name: String,
    /// What it was found as.
    pub target: Target,
    /// Its volume, ml.
    pub volume_ml: f64,
    /// First and last voxel along x, y and z.
    pub bounds: [[usize; 2]; 3],
    /// Centre of mass, mm in the grid's space.
    pub centre: Point3<f64>,
    /// Mean confidence of its voxels, percent.
    pub mean_confidence: f64,
    /// Whether it reaches the border of the field of view, so that some of it is missing.
    pub is_truncated: bool,
}

/// What speaks against a voxel's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// Its grey value lies near the threshold.
    Intensity,
    /// Grey values are steep: a voxel holds some of both, and a border that lies a little off is wrong there.
    Edge,
    /// It is thin, small or was only closed over.
    Shape,
    /// It lies at the border of the field of view.
    Truncation,
    /// Metal or undiluted contrast medium is near.
    MetalShadow,
}

impl Evidence {
    /// Every kind, in order.
    pub const ALL: [Self; 5] =
        [Self::Intensity, Self::Edge, Self::Shape, Self::Truncation, Self::MetalShadow];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intensity => "intensity",
            Self::Edge => "edge",
            Self::Shape => "shape",
            Self::Truncation => "truncation",
            Self::MetalShadow => "metal shadow",
        }
    }
}

/// A connected place of low confidence.
#[derive(Clone, Debug, PartialEq)]
pub struct DoubtfulRegion {
    /// The label it borders on or belongs to.
    pub label: u16,
    /// Its middle, mm in the grid's space: the voxel of the region nearest to its centre of mass.
    pub position: Point3<f64>,
    /// Its volume, ml.
    pub volume_ml: f64,
    /// Mean confidence, percent.
    pub mean_confidence: f64,
    /// Voxels that are expected to be wrong there: the sum of what confidence lacks to certainty.
    pub expected_wrong_ml: f64,
    /// What speaks against it, strongest first, with its share.
    pub evidence: Vec<(Evidence, f64)>,
}

/// Labels of a volume, with how far to trust them.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// Sizes, spacing and place: the volume's.
    pub grid: VolumeGrid,
    /// `[z, y, x]`; 0 is background.
    pub labels: Array3<u16>,
    /// `[z, y, x]`, percent: how sure it is that the voxel's label, background included, is right.
    pub confidence: Array3<u8>,
    /// What was found, by label.
    pub structures: Vec<Structure>,
    /// Regions under [`Segmentation::REVIEW_PERCENT`], those with most expected wrong first.
    pub doubtful: Vec<DoubtfulRegion>,
    /// What could not be told or was left out, in words.
    pub notes: Vec<String>,
}

impl Segmentation {
    /// Less confidence than this is listed for review, percent.
    pub const REVIEW_PERCENT: u8 = 85;

    /// The mask of one structure.
    pub fn mask(&self, label: u16) -> Array3<bool> {
        self.labels.mapv(|found| found == label)
    }
}
