//! Distances on a grid: exact Euclidean ones from a mask, and from a surface.

use crate::bvh::Bounds;
use crate::error::PrintingError;
use crate::field::{Field, array_shape};
use crate::hausdorff::NearestSurface;
use crate::progress::Silent;
use crate::surface::surface;
use carm::VolumeGrid;
use ndarray::{Array3, ArrayView3, ArrayViewMut2, Axis, Zip};
use rayon::prelude::*;

/// Distance of every voxel's centre to the nearest voxel that is set, mm, squared; infinite where none is set.
///
/// # Method
/// One axis after the other, each line as the lower envelope of parabolas (Felzenszwalb and Huttenlocher, Theory of
/// Computing 8, 2012).
pub(crate) fn squared_distance(mask: &Array3<bool>, spacing_mm: [f64; 3]) -> Array3<f32> {
    let mut squared = mask.mapv(|is_set| if is_set { 0.0 } else { f32::INFINITY });
    along_lines(&mut squared, spacing_mm, Envelope::lower);
    squared
}

/// Changes every line along x, then every line along y, then along z, each with its spacing.
fn along_lines(
    values: &mut Array3<f32>,
    spacing_mm: [f64; 3],
    change: impl Fn(&mut Envelope, &mut [f32], f64) + Sync,
) {
    values.axis_iter_mut(Axis(0)).collect::<Vec<_>>().into_par_iter().for_each(|mut plane| {
        let mut envelope = Envelope::default();
        for mut row in plane.rows_mut() {
            change(&mut envelope, row.as_slice_mut().expect("standard layout"), spacing_mm[0]);
        }
        down_columns(plane, |line| change(&mut envelope, line, spacing_mm[1]));
    });
    values.axis_iter_mut(Axis(1)).collect::<Vec<_>>().into_par_iter().for_each(|plane| {
        let mut envelope = Envelope::default();
        down_columns(plane, |line| change(&mut envelope, line, spacing_mm[2]));
    });
}

/// Columns that are taken out of a plane together: those whose samples share a cache line.
const TOGETHER: usize = 16;

/// Changes every column of a plane.
fn down_columns(mut plane: ArrayViewMut2<f32>, mut change: impl FnMut(&mut [f32])) {
    let rows = plane.nrows();
    let mut lines = vec![0.0; rows * TOGETHER];
    for mut columns in plane.axis_chunks_iter_mut(Axis(1), TOGETHER) {
        for (row, samples) in columns.rows().into_iter().enumerate() {
            samples.iter().enumerate().for_each(|(column, &sample)| lines[column * rows + row] = sample);
        }
        lines.chunks_exact_mut(rows).take(columns.ncols()).for_each(&mut change);
        for (row, mut samples) in columns.rows_mut().into_iter().enumerate() {
            samples.iter_mut().enumerate().for_each(|(column, sample)| *sample = lines[column * rows + row]);
        }
    }
}

/// Scratch of one line: the parabolas of the envelope and where each begins.
#[derive(Default)]
struct Envelope {
    apexes: Vec<usize>,
    starts: Vec<f64>,
    heights: Vec<f64>,
    one_sided: Vec<f32>,
}

impl Envelope {
    fn lower(&mut self, line: &mut [f32], spacing: f64) {
        self.apexes.clear();
        self.starts.clear();
        self.heights.clear();
        let unit = spacing * spacing;
        self.heights.extend(line.iter().map(|&height| f64::from(height) / unit));
        for apex in 0..line.len() {
            if !self.heights[apex].is_finite() {
                continue;
            }
            let mut start = f64::NEG_INFINITY;
            while let (Some(&last), Some(&from)) = (self.apexes.last(), self.starts.last()) {
                let (q, p) = (apex as f64, last as f64);
                start = ((self.heights[apex] + q * q) - (self.heights[last] + p * p)) / (2.0 * (q - p));
                if start > from {
                    break;
                }
                self.apexes.pop();
                self.starts.pop();
                start = f64::NEG_INFINITY;
            }
            self.apexes.push(apex);
            self.starts.push(start);
        }
        if self.apexes.is_empty() {
            return;
        }
        let mut current = 0;
        for (at, value) in line.iter_mut().enumerate() {
            while current + 1 < self.apexes.len() && self.starts[current + 1] < at as f64 {
                current += 1;
            }
            let away = at as f64 - self.apexes[current] as f64;
            *value = (unit * (away * away + self.heights[self.apexes[current]])) as f32;
        }
    }

    /// As [`Envelope::lower`] for the distances of set voxels to unset ones, which are positive, and of unset voxels to
    /// set ones, which are negative: on the other side both are zero, so one line holds them.
    fn lower_both(&mut self, line: &mut [f32], spacing: f64) {
        let mut one_sided = std::mem::take(&mut self.one_sided);
        for sign in [1.0, -1.0] {
            if !line.iter().any(|&value| sign * value > 0.0) {
                continue;
            }
            one_sided.clear();
            one_sided.extend(line.iter().map(|&value| (sign * value).max(0.0)));
            self.lower(&mut one_sided, spacing);
            for (value, &lowered) in line.iter_mut().zip(&one_sided).filter(|(value, _)| sign * **value > 0.0)
            {
                *value = sign * lowered;
            }
        }
        self.one_sided = one_sided;
    }
}

/// Signed distance to a mask's border, half-way between set and unset neighbours: positive inside, mm.
pub(crate) fn mask_distance(grid: &VolumeGrid, mask: ArrayView3<bool>) -> Array3<f32> {
    let half = grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min) as f32 / 2.0;
    let far: f32 = grid.shape.iter().zip(grid.spacing_mm).map(|(&n, s)| (n as f64 * s) as f32).sum();
    let mut distance = Array3::from_elem(mask.dim(), f32::NEG_INFINITY);
    Zip::from(&mut distance).and(mask).for_each(|distance, &is_set| {
        if is_set {
            *distance = f32::INFINITY;
        }
    });
    along_lines(&mut distance, grid.spacing_mm, Envelope::lower_both);
    distance.as_slice_mut().expect("standard layout").par_iter_mut().for_each(|value| {
        let to = |squared: f32| squared.sqrt().min(far);
        *value = if *value > 0.0 { to(*value) - half } else { half - to(-*value) };
    });
    distance
}

impl Field {
    /// Signed distance to this field's surface, exact near it: mm, positive inside, `±reach_mm` beyond that distance.
    ///
    /// # Errors
    /// As [`surface`].
    ///
    /// # Method
    /// The distance to the nearest triangle of the extracted surface for every voxel that may be within reach. Where
    /// the shape touches the border, its cap counts as surface.
    pub fn signed_distance(&self, reach_mm: f64) -> Result<Self, PrintingError> {
        let mesh = surface(self, &mut Silent)?;
        let near = NearestSurface::new(&mesh)?;
        let bounds = Bounds::of(&mesh.vertices_mm);
        let grid = self.grid;
        let is_near = self.near_border(reach_mm);
        let mut values = Array3::zeros(array_shape(&grid));
        values
            .axis_iter_mut(Axis(0))
            .collect::<Vec<_>>()
            .into_par_iter()
            .zip(self.values.axis_iter(Axis(0)).collect::<Vec<_>>().into_par_iter())
            .zip(is_near.axis_iter(Axis(0)).collect::<Vec<_>>().into_par_iter())
            .enumerate()
            .for_each(|(z, ((mut plane, field), is_near))| {
                for (((y, x), value), (&sample, &is_near)) in
                    plane.indexed_iter_mut().zip(field.iter().zip(&is_near))
                {
                    let point = grid.point(x as f64, y as f64, z as f64).coords;
                    let within = is_near && bounds.distance_squared(point.into()) <= reach_mm * reach_mm;
                    let found = if within { near.nearest_within(&point, reach_mm) } else { None };
                    let distance = found.map_or(reach_mm, |(_, distance)| distance.min(reach_mm)) as f32;
                    *value = if sample > 0.0 { distance } else { -distance };
                }
            });
        Ok(Self { grid, values })
    }

    /// Voxels that may lie within a distance of the surface.
    fn near_border(&self, reach_mm: f64) -> Array3<bool> {
        let mut is_border = Array3::from_elem(self.values.dim(), false);
        let (nz, ny, nx) = self.values.dim();
        let inside = |z: usize, y: usize, x: usize| self.values[[z, y, x]] > 0.0;
        is_border.axis_iter_mut(Axis(0)).collect::<Vec<_>>().into_par_iter().enumerate().for_each(
            |(z, mut plane)| {
                for ((y, x), is_border) in plane.indexed_iter_mut() {
                    let here = inside(z, y, x);
                    let differs = |z: usize, y: usize, x: usize| inside(z, y, x) != here;
                    let is_edge = x == 0 || y == 0 || z == 0 || x + 1 == nx || y + 1 == ny || z + 1 == nz;
                    *is_border = if is_edge {
                        here || (x + 1 < nx && differs(z, y, x + 1))
                            || (y + 1 < ny && differs(z, y + 1, x))
                            || (z + 1 < nz && differs(z + 1, y, x))
                    } else {
                        differs(z, y, x - 1)
                            || differs(z, y, x + 1)
                            || differs(z, y - 1, x)
                            || differs(z, y + 1, x)
                            || differs(z - 1, y, x)
                            || differs(z + 1, y, x)
                    };
                }
            },
        );
        let step = self.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        let most = ((reach_mm + 1.01 * step) as f32).powi(2);
        squared_distance(&is_border, self.grid.spacing_mm).mapv(|squared| squared <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Matrix3, Point3};

    #[test]
    fn squared_distance_equals_looking_at_every_voxel() {
        let spacing = [0.7, 1.3, 2.1];
        let mask = Array3::from_shape_fn((5, 7, 9), |(z, y, x)| (x * 7 + y * 5 + z * 11) % 23 == 0);
        let found = squared_distance(&mask, spacing);
        for ((z, y, x), &value) in found.indexed_iter() {
            let nearest = mask
                .indexed_iter()
                .filter(|(_, is_set)| **is_set)
                .map(|((c, b, a), _)| {
                    let along = |p: usize, q: usize, s: f64| ((p as f64 - q as f64) * s).powi(2);
                    along(a, x, spacing[0]) + along(b, y, spacing[1]) + along(c, z, spacing[2])
                })
                .fold(f64::INFINITY, f64::min);
            assert!((f64::from(value) - nearest).abs() < 1e-4, "{value} against {nearest}");
        }
        let none = squared_distance(&Array3::from_elem((2, 3, 4), false), spacing);
        assert!(none.iter().all(|value| value.is_infinite()));
    }

    #[test]
    fn mask_distance_is_each_sides_distance_to_the_other() {
        let grid =
            VolumeGrid::centred([19, 7, 5], [0.7, 1.3, 2.1], Matrix3::identity(), Point3::origin()).unwrap();
        let patterns: [fn(usize) -> bool; 4] = [|i| i % 11 < 4, |i| i == 300, |_| true, |_| false];
        for is_set in patterns {
            let mask =
                Array3::from_shape_fn((5, 7, 19), |(z, y, x)| is_set(x * 7 + y * 5 + z * 61 + x * y % 3));
            let to_set = squared_distance(&mask, grid.spacing_mm);
            let to_unset = squared_distance(&mask.mapv(|is_set| !is_set), grid.spacing_mm);
            let far = 19.0 * 0.7 + 7.0 * 1.3 + 5.0 * 2.1;
            for (at, &found) in mask_distance(&grid, mask.view()).indexed_iter() {
                let to = |squared: f32| squared.sqrt().min(far);
                let expected = if mask[at] { to(to_unset[at]) - 0.35 } else { 0.35 - to(to_set[at]) };
                assert!((found - expected).abs() < 1e-5, "{found} against {expected}");
            }
        }
    }

    #[test]
    fn signed_distance_of_a_stretched_field_is_the_distance_to_the_ball() {
        let grid = VolumeGrid::centred([40, 40, 20], [0.5, 0.5, 1.0], Matrix3::identity(), Point3::origin())
            .unwrap();
        let squared = Field::from_fn(grid, |p| 49.0 - p.coords.norm_squared()).unwrap();
        let distance = squared.signed_distance(3.0).unwrap();
        for ((z, y, x), &value) in distance.values.indexed_iter() {
            let expected = 7.0 - grid.point(x as f64, y as f64, z as f64).coords.norm();
            // Chords of 1 mm on a radius of 7 mm, and vertices kept from the ends of edges.
            assert!(
                (f64::from(value) - expected.clamp(-3.0, 3.0)).abs() < 0.06,
                "{value} against {expected}"
            );
        }
    }
}
