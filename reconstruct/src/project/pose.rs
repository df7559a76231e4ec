//! How line integrals change with the geometry: the derivative of Joseph's sum itself, not of an approximation.
//!
//! Any change of the projection matrix is a direction `dP`; [`volume_motions`] and [`carm_motions`] give those of the six
//! rigid parameters. Registration turns the images of the derivative into a Gauss-Newton step.

use super::columns::{ColumnGrid, ColumnVolume};
use super::rays::{JosephRay, ViewRays};
use super::{DetectorRegion, Lanes, Projector, forward};
use carm::ProjectionMatrix;
use nalgebra::{Matrix3x4, Point3, Vector3};
use ndarray::{Array2, Array3};
use rayon::prelude::*;

/// A view's line integrals and their derivatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Linearised {
    /// Line integrals, `[v, u]`.
    pub image: Array2<f32>,
    /// Their derivative along each direction, `[direction, v, u]`.
    pub derivatives: Array3<f32>,
}

/// Directions `dP` of a rigid motion of the volume: three translations along the axes of its space (a unit is 1 mm), then
/// three rotations about them through `pivot` (a unit is 1 rad, right-handed).
///
/// The moved volume's point `x` lies at `pivot + R (x - pivot) + t`, so its projections are those of the volume at rest by
/// `P T`.
pub fn volume_motions(view: &ProjectionMatrix, pivot: &Point3<f64>) -> [Matrix3x4<f64>; 6] {
    let m = view.m();
    std::array::from_fn(|index| {
        let axis = Vector3::ith(index % 3, 1.0);
        let mut direction = Matrix3x4::zeros();
        if index < 3 {
            direction.set_column(3, &(m * axis));
        } else {
            let turn = m * axis.cross_matrix();
            direction.fixed_columns_mut::<3>(0).copy_from(&turn);
            direction.set_column(3, &-(turn * pivot.coords));
        }
        direction
    })
}

/// The same for a rigid motion of source and detector together, the volume at rest: the opposite directions.
pub fn carm_motions(view: &ProjectionMatrix, pivot: &Point3<f64>) -> [Matrix3x4<f64>; 6] {
    volume_motions(view, pivot).map(|direction| -direction)
}

impl Projector {
    /// Line integrals of a view and their derivatives along changes `dP` of its normalised matrix.
    ///
    /// Runs on the current rayon pool; the result does not depend on its size.
    ///
    /// # Panics
    /// When `volume` is not of this projector's grid.
    pub fn linearise(
        &self,
        volume: &ColumnVolume,
        view: &ProjectionMatrix,
        directions: &[Matrix3x4<f64>],
        region: DetectorRegion,
    ) -> Linearised {
        let grid = self.column_grid();
        assert_eq!(volume.values.len(), grid.len(), "floats of the stored volume against the grid");
        let rays = ViewRays::new(grid, view);
        let changes: Vec<Change> = directions.iter().map(|dp| Change::new(grid, view, dp)).collect();
        let [count, length] = rays.shape(region);
        let images = changes.len() + 1;
        // `[line][lane][image]`.
        let mut values = vec![0.0_f32; count * length * images];
        values.par_chunks_mut(length * images).enumerate().for_each(|(line, values)| {
            for (lane, values) in values.chunks_exact_mut(images).enumerate() {
                let [u, v] = rays.pixel(region, line, lane);
                linearise_ray(grid, volume, &rays, &changes, Vector3::new(u, v, 1.0), values);
            }
        });
        let at = |image: usize, row: usize, column: usize| {
            let (line, lane) = match rays.lanes {
                Lanes::AlongU => (row, column),
                Lanes::AlongV => (column, row),
            };
            values[(line * length + lane) * images + image]
        };
        Linearised {
            image: Array2::from_shape_fn((region.nv, region.nu), |(row, column)| at(0, row, column)),
            derivatives: Array3::from_shape_fn(
                (changes.len(), region.nv, region.nu),
                |(index, row, column)| at(index + 1, row, column),
            ),
        }
    }
}

/// What a change of the matrix does to the source and to rays.
struct Change {
    /// Of the source, in index space.
    source: Vector3<f64>,
    /// Of the ray through a pixel, in index space and in mm: `matrix (u, v, 1)`.
    ray: nalgebra::Matrix3<f64>,
    ray_mm: nalgebra::Matrix3<f64>,
}

impl Change {
    /// `ray = M⁻¹ (u, v, 1)` and `source = -M⁻¹ p`, differentiated.
    fn new(grid: &ColumnGrid, view: &ProjectionMatrix, dp: &Matrix3x4<f64>) -> Self {
        let linear = grid.space_from_index().fixed_view::<3, 3>(0, 0).into_owned();
        let index_from_space =
            linear.try_inverse().expect("a grid has positive spacing and independent axes");
        let dm = dp.fixed_columns::<3>(0).into_owned();
        let source_mm = view.source_position().coords;
        let inverse = view.m_inverse();
        let ray_mm = -(inverse * dm * inverse);
        Self {
            source: index_from_space * -(inverse * (dm * source_mm + dp.column(3))),
            ray: index_from_space * ray_mm,
            ray_mm,
        }
    }
}

/// Sums over a ray's samples: values, slopes along the two axes of the slices, and these times the slice.
#[derive(Default)]
struct Sums {
    value: f64,
    slope: [f64; 2],
    slope_by_slice: [f64; 2],
}

fn linearise_ray(
    grid: &ColumnGrid,
    volume: &ColumnVolume,
    rays: &ViewRays,
    changes: &[Change],
    pixel: Vector3<f64>,
    values: &mut [f32],
) {
    let ray: [f64; 3] = (rays.from_pixel * pixel).into();
    let ray_mm = rays.mm_from_pixel * pixel;
    let joseph = JosephRay::new(&rays.source, &ray, ray_mm.norm());
    let sums = sum_samples(grid, volume, &joseph, &rays.source);
    values[0] = (sums.value * joseph.step_mm) as f32;
    let main = joseph.main.axis;
    for (change, value) in changes.iter().zip(&mut values[1..]) {
        let d_ray = change.ray * pixel;
        let d_length = (change.ray_mm * pixel).dot(&ray_mm) / ray_mm.norm_squared();
        let d_step_mm = joseph.step_mm * (d_length - d_ray[main] / ray[main]);
        let mut d_sum = 0.0;
        for (other, axis) in joseph.main.others().into_iter().enumerate() {
            let d_step = (d_ray[axis] - joseph.step[other] * d_ray[main]) / ray[main];
            let d_start =
                change.source[axis] - change.source[main] * joseph.step[other] - rays.source[main] * d_step;
            d_sum += d_start * sums.slope[other] + d_step * sums.slope_by_slice[other];
        }
        *value = (d_step_mm * sums.value + joseph.step_mm * d_sum) as f32;
    }
}

fn sum_samples(grid: &ColumnGrid, volume: &ColumnVolume, ray: &JosephRay, source: &[f64; 3]) -> Sums {
    let [low, high] = ray.slices(&grid.counts, source);
    let count = grid.counts[ray.main.axis] as f64;
    let mut sums = Sums::default();
    for slice in low.ceil().clamp(0.0, count) as u32..(high.floor() + 1.0).clamp(0.0, count) as u32 {
        let Some(corners) = forward::Corners::at(grid, ray.main, slice, ray.at(f64::from(slice))) else {
            continue;
        };
        let [[a, b], [c, d]] = corners.values(&volume.values).map(|line| line.map(f64::from));
        let [first, second] = corners.shares.map(f64::from);
        let slope = [(c - a) + second * ((d - c) - (b - a)), (b - a) + first * ((d - c) - (b - a))];
        sums.value += a + second * (b - a) + first * slope[0];
        for (axis, slope) in slope.into_iter().enumerate() {
            sums.slope[axis] += slope;
            sums.slope_by_slice[axis] += slope * f64::from(slice);
        }
    }
    sums
}
