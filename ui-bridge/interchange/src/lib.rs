//! All outside file formats: DICOM, NIfTI, MetaImage, NRRD, RTK geometry, projection stacks, and surfaces (STL, 3MF,
//! OBJ, PLY).
//!
//! The ways in are [`read_volume`], [`read_projection_stack`], [`Angiogram`], [`read_mesh`] and [`inspect_file`]; the ways
//! out are [`write_volume`] with its [`WriteOptions`], [`write_labels`], [`AngiogramWriter`], and [`write_mesh`]. Every
//! volume arrives in LPS millimetres with its
//! orientation, left-handed voxel axes included; every failure is an [`InterchangeError`] that names the file, what was
//! expected and what was found, and never a patient. Files appear whole or not at all.
//!
//! Nothing is allocated because a header declares a size: sizes are first held against the bytes that are there.
//!
//! # Example
//!
//! ```
//! use carm::{Quantity, Volume, VolumeGrid};
//! use interchange::{WriteOptions, read_volume, write_volume};
//! use nalgebra::{Matrix3, Point3};
//!
//! let grid = VolumeGrid::centred([5, 7, 9], [0.5, 0.75, 2.0], Matrix3::identity(), Point3::origin()).unwrap();
//! let values = ndarray::Array3::from_shape_fn([9, 7, 5], |(z, y, x)| (x + 10 * y + 100 * z) as f32);
//! let volume = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
//!
//! let folder = tempfile::tempdir().unwrap();
//! for name in ["a.nii.gz", "a.mha", "a.nrrd", "a.dcm"] {
//!     let path = folder.path().join(name);
//!     write_volume(&volume, &path, &WriteOptions::default()).unwrap();
//!     let read = read_volume(&path).unwrap();
//!     assert_eq!(read.values, volume.values, "{name}");
//!     assert!((read.grid.origin - volume.grid.origin).norm() < 1e-4);
//! }
//! ```

mod affine;
mod atomic;
mod dicom;
mod error;
#[cfg(test)]
mod fixture;
mod format;
mod inspect;
mod labels;
mod matrices;
mod mesh;
mod metaimage;
mod nifti;
mod nrrd;
mod parts;
mod projection_stack;
mod quantity;
pub mod rtk_geometry;
mod samples;
mod stored;

pub use dicom::{
    ARBITRARY_GREY, Angiogram, AngiogramFrames, AngiogramWriter, DicomClass, EncapsulatedStl,
    NOMINAL_GEOMETRY, Segment, SegmentProperty, WrittenAngiogram, is_angiogram, read_dicom,
    read_encapsulated_stl, write_encapsulated_stl, write_segmentation,
};
pub use error::{InterchangeError, SeriesSummary};
pub use format::{VolumeFormat, WriteOptions, read_volume, write_volume};
pub use inspect::{Inspection, inspect_file};
pub use labels::{check_labels_format, write_labels};
pub use matrices::{read_matrices, write_matrices};
pub use mesh::{Colour, MeshFile, MeshFormat, MeshPart, read_mesh, write_mesh};
pub use parts::VolumeWriter;
pub use projection_stack::{GeometryFormat, ProjectionStack, StackSource, read_projection_stack};
