//! Views to a volume: filtered back-projection straight from calibrated 3x4 matrices, view by view.
//!
//! [`FdkPlan`] decides everything before the first view (orbit, redundancy weights, virtual detector, filter,
//! layout), [`Fdk`] takes views while the arm turns, [`ViewInput`] is one of them, and [`Backend`] says who
//! back-projects. No sockets, clocks, files or device names; work runs on the caller's rayon pool.
//!
//! Every kernel with a fast twin is a folder: `mod.rs` the contract, `reference.rs` the equation in plain `f64`,
//! beside it the same made fast (`cpu.rs`; for back-projection `columns.rs`, `columns_avx512.rs` and, for oblique
//! volumes, `general.rs`). Tests run one body over all of them.
//!
//! # Example
//!
//! ```
//! use carm::{CarmAngles, CarmDistances, DetectorGrid, ScanGeometry, VolumeGrid};
//! use carm::converters::projection_from_carm_angles;
//! use nalgebra::{Matrix3, Point3};
//! use reconstruct::{FdkOptions, FdkPlan, Silent, reconstruct_stack};
//! use std::sync::Arc;
//!
//! let detector = DetectorGrid::new([64, 48], [4.0, 4.0]).unwrap();
//! let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
//! let views = (0..90)
//!     .map(|i| {
//!         let angles = CarmAngles { primary_rad: (2.4 * f64::from(i)).to_radians(), secondary_rad: 0.0 };
//!         projection_from_carm_angles(angles, distances, &detector).unwrap()
//!     })
//!     .collect();
//! let scan = ScanGeometry::new(detector, views).unwrap();
//! let grid = VolumeGrid::centred([32; 3], [4.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
//! let plan = Arc::new(FdkPlan::new(scan, grid, FdkOptions::default()).unwrap());
//! let stack = ndarray::Array3::<f32>::zeros((90, 48, 64));
//! let volume = reconstruct_stack(plan, stack.view(), &mut Silent).unwrap();
//! assert!(volume.values.iter().all(|mu| *mu == 0.0));
//! ```

pub mod backproject;
pub mod consistency;
mod directions;
mod error;
mod extrapolated;
mod fdk;
mod field_of_view;
pub mod iterative;
mod known_body;
mod mask_counts;
pub mod noise;
mod observer;
mod orbit;
mod plan;
pub mod project;
pub mod ramp;
mod redundancy;
mod second_pass;
mod signal;
#[cfg(test)]
mod test_random;
#[cfg(test)]
mod test_scans;
#[cfg(test)]
mod tests;
mod truncation;
mod view_filter;
pub mod virtual_detector;

pub use backproject::{Backend, Isa};
pub use error::ReconstructError;
pub use fdk::{Fdk, ViewInput, add_second_sweep, reconstruct_stack};
pub use known_body::KnownBody;
pub use mask_counts::MaskCounts;
pub use observer::{Observer, Silent};
pub use orbit::Orbit;
pub use plan::{FdkOptions, FdkPlan, Slab, rows_per_voxel};
pub use ramp::Apodisation;
pub use redundancy::{Coverage, FanRange, RayMap, Redundancy};
pub use second_pass::{ConeBeamArtefact, SecondPass};
pub use signal::{Rows, Samples, WaterPrecorrection, line_integrals, to_hu};
