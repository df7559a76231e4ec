//! From a continuous field to a checked, printable mesh.

mod bvh;
mod check;
mod decimate;
mod distance;
mod error;
mod field;
mod geometry;
mod hausdorff;
mod labels;
mod progress;
mod smooth;
mod surface;

pub use check::{DefectKind, Defects, MeshReport, check};
pub use decimate::{Decimated, decimate};
pub use error::PrintingError;
pub use field::{Field, Side};
pub use hausdorff::{Hausdorff, NearestSurface, SurfaceDistance, hausdorff};
pub use labels::{LabelField, LabelOptions};
pub use progress::{Progress, Silent};
pub use surface::surface;
