//! From a continuous field to a checked, printable mesh.
//!
//! A [`Field`] says at every voxel how far inside or outside the shape it lies. Everything that changes a shape happens
//! there: placing the surface by the image ([`Field::from_labels`]), smoothing, minimum walls, hollowing, cuts, pegs and
//! words. [`surface`] then extracts a [`carm::TriangleMesh`] that is closed, manifold, oriented outward and free of
//! self-intersections by construction, at any topology and in the mesh's 32-bit coordinates; [`decimate`] keeps it so.
//! [`check`] examines any mesh exactly; [`hausdorff`], [`thickness`] and [`calipers`] measure.
//!
//! The crate opens no file and knows no segmentation. Coordinates are millimetres in the grid's space (LPS).
//!
//! ```
//! use carm::VolumeGrid;
//! use nalgebra::{Matrix3, Point3};
//! use printing::{Field, Silent, check, decimate, hausdorff, surface};
//!
//! let grid = VolumeGrid::centred([40; 3], [0.5; 3], Matrix3::identity(), Point3::origin())?;
//! let ball = Field::from_fn(grid, |point| 8.0 - point.coords.norm())?;
//! let mesh = surface(&ball, &mut Silent)?;
//! let less = decimate(&mesh, 2_000, 0.1, &mut Silent)?.mesh;
//! assert!(check(&less).is_sound());
//! assert!(hausdorff(&mesh, &less)?.bound_mm() < 0.2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base;
mod bvh;
mod calipers;
mod cavities;
mod check;
mod cut;
mod decimate;
mod distance;
mod error;
mod field;
mod geometry;
mod hausdorff;
mod hollow;
mod islands;
mod labels;
mod medial;
mod openings;
mod orientation;
mod progress;
mod refine;
mod shapes;
mod smooth;
mod surface;
mod text;
mod thickness;
mod wall;

pub use base::{Base, BasePlace};
pub use calipers::{Caliper, calipers};
pub use cavities::Cavity;
pub use check::{DefectKind, Defects, MeshReport, check};
pub use cut::{Cut, Joint};
pub use decimate::{Decimated, decimate};
pub use error::PrintingError;
pub use field::{Field, Side};
pub use hausdorff::{Hausdorff, NearestSurface, SurfaceDistance, hausdorff, hausdorff_bounded};
pub use hollow::{Connector, Opening};
pub use islands::{Island, IslandFate, IslandRule};
pub use labels::{LabelField, LabelOptions};
pub use orientation::{Orientation, Overhang, orientation, orientations, overhangs};
pub use progress::{Progress, Silent};
pub use shapes::Solid;
pub use surface::surface;
pub use text::{Relief, Text};
pub use thickness::thickness;
pub use wall::{Thickened, ThinPlace};
