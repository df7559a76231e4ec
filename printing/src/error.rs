//! Why something cannot be printed.

use carm::GeometryError;

/// Why a field or a mesh cannot become a printable model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrintingError {
    /// The grid itself is unusable.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// An array does not lie on its grid.
    #[error("{what}: expected [nz, ny, nx] = {expected:?}, found {found:?}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// `[nz, ny, nx]` of the grid.
        expected: [usize; 3],
        /// Shape of the array.
        found: [usize; 3],
    },
    /// A sample is not a finite number.
    #[error("{what} at voxel {voxel:?} (x, y, z): expected a finite number, found {found}")]
    NotFinite {
        /// Which array.
        what: &'static str,
        /// First such voxel, `[x, y, z]`.
        voxel: [usize; 3],
        /// What stands there.
        found: f32,
    },
    /// A parameter lies outside its range.
    #[error("{what}: expected {expected}, found {found}")]
    Parameter {
        /// Which parameter, with its unit.
        what: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value given.
        found: f64,
    },
    /// Nothing is inside: there is no surface.
    #[error("{what}: expected at least one voxel inside, found none of {voxels}")]
    Empty {
        /// Which object.
        what: &'static str,
        /// Voxels looked at.
        voxels: usize,
    },
    /// The voxels are too small for 32-bit coordinates so far from the origin.
    #[error(
        "grid: expected voxels of at least {needed_mm:.6} mm at coordinates of {reach_mm:.0} mm in 32-bit numbers, found {found_mm:.6} mm"
    )]
    TooFine {
        /// Smallest spacing that can be represented, mm.
        needed_mm: f64,
        /// Largest coordinate of the grid, mm.
        reach_mm: f64,
        /// Smallest spacing of the grid, mm.
        found_mm: f64,
    },
    /// More vertices or triangles than 32-bit indices name.
    #[error("surface: expected at most {most} vertices, found {found}")]
    TooLarge {
        /// Most that an index can name.
        most: u64,
        /// Found.
        found: u64,
    },
    /// A mesh that should be closed and manifold is not.
    #[error("mesh: expected a closed manifold surface, found {found}")]
    Unsound {
        /// The defects with their numbers.
        found: String,
    },
    /// The part is thinner than the wall that it should have.
    #[error("wall: expected a part thicker than {wall_mm} mm somewhere, found at most {found_mm:.2} mm")]
    WallLargerThanPart {
        /// Wall asked for, mm.
        wall_mm: f64,
        /// Largest thickness of the part, mm.
        found_mm: f64,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
