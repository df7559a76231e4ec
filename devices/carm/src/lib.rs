//! The vocabulary of Isocenter: what a frame, a view, a volume and a mesh *are*, and where they are.
//!
//! No IO, no threads, no algorithms: plain types with checked constructors that every other crate shares.
//! The types to know are [`ProjectionMatrix`] (the one truth of geometry), [`DetectorGrid`] and
//! [`VolumeGrid`] (sampling), [`FrameHeader`] with [`XrayFrame`] (one detector image), [`Volume`] and
//! [`TriangleMesh`] (results), and [`FrameSource`] (what every device is to the rest of the program).
//!
//! # The geometry convention, on one page
//!
//! ```text
//!            head                         detector (image intensifier side)
//!             ^ z                        +-----------------------------> u  column
//!             |                          | pixel (0,0) has its CENTRE at u = 0, v = 0;
//!             |     isocenter            | the image spans -0.5 .. n-0.5
//!   left <----o  (world origin)          |
//!     x      /                           v  row
//!           /
//!          v y  down, towards the floor          source --- depth w > 0 ---> detector
//! ```
//!
//! * **World**: right-handed, millimetres, origin at the isocenter; `z` along the table towards its head
//!   end, `y` down, `x` completing it. For a patient lying head first supine with the table at zero it
//!   coincides with **LPS** (DICOM's patient axes: left, posterior, superior). Any other position or table
//!   pose is [`PatientSetup::lps_from_world`]. A foreign projection stack brings its own world; it is then
//!   taken as LPS, as ITK does.
//! * **Transforms** are named so that neighbours match: `point_a = a_from_b * point_b`.
//! * **Projection**: `s (u, v, 1)ᵀ = P (x, y, z, 1)ᵀ`, world millimetres to pixel index. `P = [M | p]` is
//!   normalised: the third row of `M` has unit length and the depth `w = m₃·X + p₃` is positive in front of
//!   the source; `w` is the distance in millimetres from the source along the detector normal.
//! * **Arrays**: a projection stack is `[view, v, u]` with `u` fastest; a volume is `[z, y, x]` with `x`
//!   fastest; grids give sizes in the order `nu, nv` and `nx, ny, nz`.
//! * **C-arm angles** (DICOM PS3.3 C.8.7.5): the primary angle turns the detector from the patient's front
//!   (0) towards the left (LAO, +90°); the secondary angle tips it towards the head (cranial, +). Radians in
//!   code, degrees at DICOM, configuration and screen.
//! * **Distances**: `source_to_isocenter_mm` and `source_to_detector_mm`, always spelled out, because the
//!   three-letter word for them means one thing in IEC and DICOM and the other in RTK.
//! * **Signal**: `raw_counts` → `intensity` with `air_intensity` → `line_integrals` (−ln I/I₀) →
//!   `mu_per_mm` → `hu`.
//!
//! # Example
//!
//! ```
//! use carm::{CarmAngles, CarmDistances, DetectorGrid};
//! use nalgebra::Point3;
//!
//! let detector = DetectorGrid::new([616, 480], [0.616, 0.616]).unwrap();
//! let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
//! let p = carm::converters::projection_from_carm_angles(
//!     CarmAngles { primary_rad: 0.3, secondary_rad: 0.0 }, distances, &detector).unwrap();
//! let image = p.project(&Point3::origin());
//! assert!((image.u - 307.5).abs() < 1e-9 && (image.v - 239.5).abs() < 1e-9);
//! assert!((image.depth_mm - 785.0).abs() < 1e-9);
//! ```

pub mod calibration;
pub mod converters;
mod device;
mod error;
mod frame;
mod grid;
mod mesh;
mod patient;
mod projection;
mod run;
mod units;
mod volume;

pub use calibration::{CalibratedTrajectory, DetectorCalibration, PixelDefect};
pub use converters::{AstraConeVector, CarmAngles, CarmDistances, RtkParameters};
pub use device::{DeviceError, FrameSource, LinkCounts, SourceEvent};
pub use error::GeometryError;
pub use frame::{ClockStamps, Exposure, FrameHeader, GantryPose, Pedal, XrayFrame};
pub use grid::{DetectorGrid, VolumeGrid};
pub use mesh::TriangleMesh;
pub use patient::{HeadFeet, PatientPosition, PatientSetup, TablePose};
pub use projection::{DetectorAxes, DetectorPose, ImagePoint, ProjectionMatrix, ScanGeometry};
pub use run::{BeamModel, DeviceIdentity, PlannedView, RunDescription};
pub use units::{DeviceTime, HostTime, WallTime, hu_from_mu, mu_from_hu};
pub use volume::{Provenance, Quantity, Space, Stage, Volume, mask};
