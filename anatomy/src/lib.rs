//! Segmentation of CT and cone-beam volumes, with confidence.
//!
//! [`segment`] finds a [`Target`] in a volume of Hounsfield units and gives back a [`Segmentation`]: labels on the
//! volume's grid, how sure each voxel's label is, and a list of the regions that are worth a look, worst first, with
//! what speaks against them. No learned weights are needed: thresholds follow the tissue around, contrast medium is
//! told from bone by what encloses it, and only the confidence is fitted to label maps.
//!
//! # Example
//!
//! ```
//! use anatomy::{Options, Progress, Target, segment};
//! use carm::{Quantity, Volume, VolumeGrid};
//! use nalgebra::{Matrix3, Point3};
//!
//! // A bar of bone in a cylinder of soft tissue.
//! let grid = VolumeGrid::centred([60, 60, 20], [1.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
//! let hu = ndarray::Array3::from_shape_fn([20, 60, 60], |(_, y, x)| {
//!     let from_axis = (x as f32 - 29.5).hypot(y as f32 - 29.5);
//!     if from_axis < 6.0 { 700.0 } else if from_axis < 25.0 { 40.0 } else { -1000.0 }
//! });
//! let volume = Volume::new(grid, hu, Quantity::Hu { mu_water_per_mm: None });
//! let bone = segment(&volume, Target::Bone, &Options::default(), &Progress::silent()).unwrap();
//! let expected_ml = std::f64::consts::PI * 6.0 * 6.0 * 20.0 / 1000.0;
//! assert!((bone.structures[0].volume_ml / expected_ml - 1.0).abs() < 0.05);
//! assert!(bone.structures[0].is_truncated);
//! ```

mod body;
mod bone;
mod border;
mod canal;
mod components;
pub mod confidence;
mod contrast;
mod dense;
mod error;
mod fill;
mod filter;
mod flux;
pub mod grow;
mod lattice;
mod levels;
mod marrow;
pub mod morphology;
mod nearest;
mod orient;
mod progress;
pub mod random_walker;
mod review;
mod sampled;
mod scribble;
mod segment;
mod segmentation;
mod skin;
mod surrounded;
mod vertebrae;
mod vessel;
pub mod watershed;

pub use error::AnatomyError;
pub use lattice::Lattice;
pub use progress::Progress;
pub use scribble::Scribble;
pub use segment::{BandVoxel, Options, band, segment};
pub use segmentation::{DoubtfulRegion, Evidence, Segmentation, Structure, Target};
