//! From a continuous field to a checked, printable mesh.

mod bvh;
mod check;
mod error;
mod field;
mod progress;
mod surface;

pub use check::{DefectKind, Defects, MeshReport, check};
pub use error::PrintingError;
pub use field::{Field, Side};
pub use progress::{Progress, Silent};
pub use surface::surface;
