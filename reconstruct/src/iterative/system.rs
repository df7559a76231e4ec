//! A scan as linear equations.

use super::estimate::Estimate;
use super::outer::OuterField;
use crate::backproject::Isa;
use crate::error::ReconstructError;
use crate::orbit::Orbit;
use crate::project::{ColumnGrid, DetectorRegion, Projector, ViewImage};
use carm::{ScanGeometry, VolumeGrid};
use nalgebra::Vector3;
use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

/// Fewer slices along the rotation axis than this are stored with columns within them; neighbouring rays are taken eight
/// at a time.
const FEW_SLICES: usize = 8;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct ScanData<'a> {
    /// Detector and matrices.
    pub geometry: &'a ScanGeometry,
    /// Line integrals, `[view, v, u]`.
    pub line_integrals: ArrayView3<'a, f32>,
    /// Weight of each ray, relative inverse variance, `[view, v, u]`; without, all weigh one. Zero leaves a ray out.
    pub weights: Option<ArrayView3<'a, f32>>,
}

/// What may be chosen of the unknowns.
#[derive(Clone, Debug)]
pub struct SystemOptions {
    /// Attenuation is not negative.
    pub non_negative: bool,
    /// Voxels that may be other than zero, `[z, y, x]`; without, all.
    pub mask: Option<Array3<bool>>,
    /// A field around the volume for what truncated views see there.
    pub outer: Option<OuterField>,
    /// Instructions of the projector.
    pub isa: Isa,
}

impl Default for SystemOptions {
    fn default() -> Self {
        Self { non_negative: true, mask: None, outer: None, isa: Isa::detect() }
    }
}

/// A scan and the voxels that explain it: `line integrals = A estimate`.
pub struct System<'a> {
    data: ScanData<'a>,
    region: DetectorRegion,
    projectors: Vec<Projector>,
    /// Ones where the estimate may be other than zero.
    mask: Estimate,
    pub(super) is_non_negative: bool,
}

impl<'a> System<'a> {
    /// Checks the data against the geometry.
    ///
    /// # Errors
    /// Sizes that do not fit, samples or weights that are not numbers, weights below zero, an empty mask, or an outer
    /// field out of range.
    pub fn new(
        data: ScanData<'a>,
        grid: VolumeGrid,
        options: &SystemOptions,
    ) -> Result<Self, ReconstructError> {
        check(&data)?;
        let column_axis = column_axis(data.geometry, &grid);
        let inner = Projector::new(grid, &column_axis, options.isa);
        let inner_mask = match &options.mask {
            Some(mask) => inner.store(mask.mapv(|is_in| if is_in { 1.0 } else { 0.0 }).view())?,
            None => {
                let [nx, ny, nz] = grid.shape;
                inner.store(Array3::ones((nz, ny, nx)).view())?
            }
        };
        let (mut projectors, mut masks) = (vec![inner], vec![inner_mask]);
        if let Some(outer) = &options.outer {
            let projector = outer.projector(&grid, &column_axis, options.isa)?;
            masks.push(outer.mask(&grid, &projector));
            projectors.push(projector);
        }
        let mask = Estimate { fields: masks };
        if mask.norm_squared() == 0.0 {
            return Err(ReconstructError::BadOption {
                option: "mask",
                expected: "some voxel that may change".into(),
                found: "none".into(),
            });
        }
        let region = DetectorRegion::whole(data.geometry.detector());
        Ok(Self { data, region, projectors, mask, is_non_negative: options.non_negative })
    }

    /// Views of the scan.
    pub fn view_count(&self) -> usize {
        self.data.geometry.views().len()
    }

    /// The volume's grid.
    pub fn grid(&self) -> &VolumeGrid {
        &self.projectors[0].column_grid().grid
    }

    pub(super) fn data(&self) -> &ScanData<'a> {
        &self.data
    }

    pub(super) fn region(&self) -> DetectorRegion {
        self.region
    }

    pub(super) fn projectors(&self) -> &[Projector] {
        &self.projectors
    }

    pub(super) fn mask(&self) -> &Estimate {
        &self.mask
    }

    /// All zero.
    pub fn zero_estimate(&self) -> Estimate {
        Estimate { fields: self.projectors.iter().map(|projector| projector.column_grid().zeros()).collect() }
    }

    /// Starts from a volume `[z, y, x]` in 1/mm, such as that of filtered back-projection; values outside the mask, and
    /// negative ones where none may be, are set to zero.
    ///
    /// # Errors
    /// A volume of another shape or with values that are not numbers.
    pub fn estimate_from(&self, values: ArrayView3<'_, f32>) -> Result<Estimate, ReconstructError> {
        let mut estimate = self.zero_estimate();
        estimate.fields[0] = self.projectors[0].store(values)?;
        let is_non_negative = self.is_non_negative;
        estimate.zip(&self.mask, |value, mask| {
            *value *= mask;
            if is_non_negative {
                *value = value.max(0.0);
            }
        });
        Ok(estimate)
    }

    /// The volume of an estimate, `[z, y, x]`.
    pub fn volume(&self, estimate: &Estimate) -> Array3<f32> {
        self.projectors[0].to_array(&estimate.fields[0])
    }

    /// `A estimate` for one view, `[v, u]`.
    pub fn project(&self, estimate: &Estimate, view: usize, image: &mut [f32]) {
        let matrix = &self.data.geometry.views()[view];
        self.projectors[0].project_into(&estimate.fields[0], matrix, self.region, image);
        if let [_, outer] = &self.projectors[..] {
            let around = outer.project(&estimate.fields[1], matrix, self.region);
            let around = around.as_slice().expect("a new array");
            image.par_iter_mut().zip(around).with_min_len(1 << 12).for_each(|(own, around)| *own += around);
        }
    }

    /// Adds `Aᵀ images` of the given views.
    pub(super) fn add_back(&self, views: &[usize], images: &[Vec<f32>], estimate: &mut Estimate) {
        let images: Vec<ViewImage<'_>> = views
            .iter()
            .zip(images)
            .map(|(view, values)| ViewImage {
                view: &self.data.geometry.views()[*view],
                region: self.region,
                values,
            })
            .collect();
        for (projector, field) in self.projectors.iter().zip(&mut estimate.fields) {
            projector.add_back(&images, field);
        }
    }

    /// Measured minus projected line integrals of a view; gives back the sum of weighted squares.
    pub(super) fn residual(&self, estimate: &Estimate, view: usize, image: &mut [f32]) -> f64 {
        self.project(estimate, view, image);
        let measured = self.measured(view);
        let weights = self.weights(view);
        let nu = self.region.nu;
        let rows: Vec<f64> = image
            .par_chunks_mut(nu)
            .enumerate()
            .map(|(row, image)| {
                let measured = &measured[row * nu..][..nu];
                let mut sum = 0.0;
                for (column, (own, measured)) in image.iter_mut().zip(measured).enumerate() {
                    *own = measured - *own;
                    let weight = weights.map_or(1.0, |weights| weights[row * nu + column]);
                    sum += f64::from(weight) * f64::from(*own) * f64::from(*own);
                }
                sum
            })
            .collect();
        rows.into_iter().sum()
    }

    /// Multiplies a view's image by its weights.
    pub(super) fn weigh(&self, view: usize, image: &mut [f32]) {
        if let Some(weights) = self.weights(view) {
            image.par_iter_mut().zip(weights).with_min_len(1 << 12).for_each(|(own, weight)| *own *= weight);
        }
    }

    pub(super) fn measured(&self, view: usize) -> &[f32] {
        let count = self.region.pixel_count();
        &self.data.line_integrals.as_slice().expect("checked")[view * count..][..count]
    }

    pub(super) fn weights(&self, view: usize) -> Option<&[f32]> {
        let count = self.region.pixel_count();
        self.data
            .weights
            .as_ref()
            .map(|weights| &weights.as_slice().expect("checked")[view * count..][..count])
    }

    /// Sum of all weights.
    pub(super) fn total_weight(&self) -> f64 {
        (0..self.view_count())
            .map(|view| match self.weights(view) {
                Some(weights) => weights.iter().map(|weight| f64::from(*weight)).sum(),
                None => self.region.pixel_count() as f64,
            })
            .sum()
    }
}

/// The direction in which neighbouring rays are taken together: the rotation axis, or for scans without an orbit the
/// detector columns of the first view. A volume of a few slices, as of a detector with one row, would leave most of
/// every window empty: there it is an axis within the slices.
fn column_axis(geometry: &ScanGeometry, grid: &VolumeGrid) -> Vector3<f64> {
    let rotation = match Orbit::fit(geometry.views()) {
        Ok(orbit) => orbit.axis.into_inner(),
        Err(_) => geometry.views()[0].detector_axes().e_v.into_inner(),
    };
    let slices = ColumnGrid::nearest_to(*grid, &rotation);
    if slices.counts[2] >= FEW_SLICES {
        return rotation;
    }
    grid.direction.column(slices.axes[0]).into_owned()
}

fn check(data: &ScanData<'_>) -> Result<(), ReconstructError> {
    let detector = data.geometry.detector();
    let expected = [data.geometry.views().len(), detector.nv, detector.nu];
    for stack in [Some(data.line_integrals), data.weights].into_iter().flatten() {
        let found = [stack.shape()[0], stack.shape()[1], stack.shape()[2]];
        if found != expected || stack.as_slice().is_none() {
            return Err(ReconstructError::StackShape { expected, found });
        }
        if let Some(at) = stack.iter().position(|value| !value.is_finite()) {
            let pixel = at % detector.pixel_count();
            return Err(ReconstructError::NotFinite {
                view: at / detector.pixel_count(),
                found: stack.as_slice().expect("checked")[at],
                u: pixel % detector.nu,
                v: pixel / detector.nu,
            });
        }
    }
    if let Some(weight) = data.weights.iter().flatten().find(|weight| **weight < 0.0) {
        return Err(ReconstructError::BadOption {
            option: "weights",
            expected: "inverse variances of at least 0".into(),
            found: weight.to_string(),
        });
    }
    Ok(())
}
