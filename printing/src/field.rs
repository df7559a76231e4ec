//! A continuous field whose zero is the surface.

use crate::error::PrintingError;
use carm::{TriangleMesh, VolumeGrid};
use nalgebra::{Point3, Vector3};
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

/// `values[z, y, x]` on `grid`: positive inside, zero on the surface, and near it about the distance in mm.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where the samples lie.
    pub grid: VolumeGrid,
    /// `[z, y, x]`, x fastest, finite.
    pub values: Array3<f32>,
}

/// One side of the grid, where a shape may be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Index zero along an axis (0, 1, 2 for x, y, z).
    First(usize),
    /// The last index along an axis.
    Last(usize),
}

impl Field {
    /// A field from its samples.
    ///
    /// # Errors
    /// `Shape` when the array does not lie on the grid, `NotFinite` for the first NaN or infinity.
    pub fn new(grid: VolumeGrid, values: Array3<f32>) -> Result<Self, PrintingError> {
        require_shape("field", &grid, values.dim())?;
        let values =
            if values.is_standard_layout() { values } else { values.as_standard_layout().into_owned() };
        require_finite("field", values.view())?;
        Ok(Self { grid, values })
    }

    /// Samples `value(point)`, with points in the grid's space, mm.
    ///
    /// # Errors
    /// As [`Field::new`].
    pub fn from_fn(
        grid: VolumeGrid,
        value: impl Fn(&Point3<f64>) -> f64 + Sync,
    ) -> Result<Self, PrintingError> {
        let values = filled(&grid, |[x, y, z]| value(&grid.point(x as f64, y as f64, z as f64)) as f32);
        Self::new(grid, values)
    }

    /// The sides of the grid that the inside touches: there the surface is a cap, not the object's own.
    pub fn touched_sides(&self) -> Vec<Side> {
        let mut sides = Vec::new();
        for axis in 0..3 {
            let last = self.grid.shape[axis] - 1;
            for (side, index) in [(Side::First(axis), 0), (Side::Last(axis), last)] {
                let slice = self.values.index_axis(ndarray::Axis(2 - axis), index);
                if slice.iter().any(|&value| value > 0.0) {
                    sides.push(side);
                }
            }
        }
        sides
    }

    /// The shape at another size, about the origin: a test print. Walls shrink with it; give them their minimum after.
    ///
    /// # Errors
    /// `Parameter` for a factor that is not positive.
    pub fn scaled(mut self, factor: f64) -> Result<Self, PrintingError> {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "scale",
                expected: "more than zero",
                found: factor,
            });
        }
        self.grid.spacing_mm = self.grid.spacing_mm.map(|spacing| spacing * factor);
        self.grid.origin *= factor;
        self.values.mapv_inplace(|value| value * factor as f32);
        Ok(self)
    }

    /// This field's value at every vertex of a mesh: of a field of confidence, the surface's confidence.
    pub fn at_vertices(&self, mesh: &TriangleMesh) -> Vec<f32> {
        mesh.vertices_mm.par_iter().map(|&p| self.at(&Point3::from(p.map(f64::from))) as f32).collect()
    }

    /// Number of samples inside.
    pub fn inside_count(&self) -> usize {
        self.values.iter().filter(|&&value| value > 0.0).count()
    }

    /// Value at a point by trilinear interpolation; beyond the outermost samples, the value of the nearest ones.
    pub fn at(&self, point: &Point3<f64>) -> f64 {
        trilinear(&self.values, self.grid.voxel(point))
    }

    /// Gradient at a point, per mm, in the grid's space: central differences half a voxel wide.
    pub fn gradient(&self, point: &Point3<f64>) -> Vector3<f64> {
        let voxel = self.grid.voxel(point);
        let along = Vector3::from_fn(|axis, _| {
            let (mut low, mut high) = (voxel, voxel);
            low[axis] -= 0.5;
            high[axis] += 0.5;
            (trilinear(&self.values, high) - trilinear(&self.values, low)) / self.grid.spacing_mm[axis]
        });
        self.grid.direction * along
    }
}

/// An array over a grid, computed plane by plane in parallel from the index `[x, y, z]`.
pub(crate) fn filled<T: Default + Clone + Send>(
    grid: &VolumeGrid,
    value: impl Fn([usize; 3]) -> T + Sync,
) -> Array3<T> {
    let [nx, ny, _] = grid.shape;
    let mut values = vec![T::default(); grid.voxel_count()];
    values.par_chunks_exact_mut(nx * ny).enumerate().for_each(|(z, plane)| {
        for (at, sample) in plane.iter_mut().enumerate() {
            *sample = value([at % nx, at / nx, z]);
        }
    });
    Array3::from_shape_vec(array_shape(grid), values).expect("one value a voxel")
}

/// `[nz, ny, nx]` of a grid.
pub(crate) fn array_shape(grid: &VolumeGrid) -> [usize; 3] {
    [grid.shape[2], grid.shape[1], grid.shape[0]]
}

pub(crate) fn require_shape(
    what: &'static str,
    grid: &VolumeGrid,
    found: (usize, usize, usize),
) -> Result<(), PrintingError> {
    let (expected, found) = (array_shape(grid), [found.0, found.1, found.2]);
    if expected == found { Ok(()) } else { Err(PrintingError::Shape { what, expected, found }) }
}

pub(crate) fn require_finite(what: &'static str, values: ArrayView3<f32>) -> Result<(), PrintingError> {
    match values.indexed_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some(((z, y, x), &found)) => Err(PrintingError::NotFinite { what, voxel: [x, y, z], found }),
    }
}

/// Trilinear interpolation at a fractional voxel index, clamped to the samples.
pub(crate) fn trilinear(values: &Array3<f32>, voxel: [f64; 3]) -> f64 {
    let (nz, ny, nx) = values.dim();
    let mut base = [0; 3];
    let mut part = [0.0; 3];
    for (axis, n) in [nx, ny, nz].into_iter().enumerate() {
        let clamped = voxel[axis].clamp(0.0, (n - 1) as f64);
        base[axis] = (clamped as usize).min(n.saturating_sub(2));
        part[axis] = clamped - base[axis] as f64;
    }
    let next = [(base[0] + 1).min(nx - 1), (base[1] + 1).min(ny - 1), (base[2] + 1).min(nz - 1)];
    let row = |z: usize, y: usize| {
        let (low, high) = (f64::from(values[[z, y, base[0]]]), f64::from(values[[z, y, next[0]]]));
        low + part[0] * (high - low)
    };
    let plane = |z: usize| {
        let (low, high) = (row(z, base[1]), row(z, next[1]));
        low + part[1] * (high - low)
    };
    let (low, high) = (plane(base[2]), plane(next[2]));
    low + part[2] * (high - low)
}
