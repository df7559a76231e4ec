//! A series' pixels into a volume: rescaled, padding marked in the mask, a sheared stack straightened.

use super::image::ImageFile;
use super::object::{self, Object};
use super::pixels::Frames;
use super::series;
use super::stack::{self, Slice, Stack};
use crate::error::InterchangeError;
use carm::{Volume, VolumeGrid, mask};
use ndarray::{Array3, ArrayView2, ArrayViewMut2, Axis, s};
use std::path::Path;

/// Reads a CT or MR series, or a multi-frame object, in LPS millimetres.
///
/// `path`: a file, or a folder that is searched with its subfolders. `series_instance_uid`: which series, where
/// the folder has several.
///
/// Slices are sorted by their place; stored values are rescaled. Where the object names a padding value, the
/// volume's mask has [`mask::FIELD_OF_VIEW`] unset there and the values are kept. A stack sheared by a tilted
/// gantry is brought onto an orthogonal grid by linear interpolation within each slice's plane, which the
/// provenance tells; the corners outside the scan take its lowest value and are left out of the mask.
///
/// # Errors
/// A broken file, several series ([`InterchangeError::SeveralSeries`] lists them), uneven steps
/// ([`InterchangeError::UnevenSlices`]), different slices at one place, colour images, images without a place.
pub fn read_dicom(path: &Path, series_instance_uid: Option<&str>) -> Result<Volume, InterchangeError> {
    let found = series::find(path, series_instance_uid)?;
    let images = found.images;
    let stack = stack::arrange(path, &images)?;
    let mut reader = SliceReader { images: &images, open: None };
    let [nx, ny, _] = stack.grid.shape;
    let (mut values, mut masks) = (Vec::new(), Vec::new());
    for slice in &stack.slices {
        let (rescaled, inside) = reader.read(slice)?;
        values.extend(rescaled);
        masks.extend(inside);
    }
    let shape = [stack.slices.len(), ny, nx];
    let values = Array3::from_shape_vec(shape, values).expect("every slice gives its pixels");
    let masks = Array3::from_shape_vec(shape, masks).expect("every slice gives its pixels");

    let mut warnings = found.warnings;
    warnings.extend(stack.warnings.iter().cloned());
    drop_duplicates(path, &stack, &values, &mut reader, &mut warnings)?;
    let first = &images[stack.slices[0].image];
    let has_padding = masks.iter().any(|&inside| inside == 0);
    if has_padding {
        let padded = masks.iter().filter(|&&inside| inside == 0).count();
        warnings.push(format!("{padded} voxels hold the padding value and are left out of the mask"));
    }
    let (grid, values, masks) = match &stack.shifts_px {
        None => (stack.grid, values, has_padding.then_some(masks)),
        Some(shifts_px) => {
            let [columns, rows] = shifts_px.last().copied().unwrap_or_default();
            warnings.push(format!(
                "gantry tilt: slices shift by {columns:.2} columns and {rows:.2} rows from first to last; \
                 resampled onto an orthogonal grid by linear interpolation within the slices"
            ));
            let (grid, values, masks) = straighten(&stack.grid, &values, &masks, shifts_px);
            (grid, values, Some(masks))
        }
    };
    let mut volume = Volume::new(grid, values, first.quantity);
    volume.mask = masks;
    volume.frame_of_reference_uid = first.frame_of_reference_uid.clone();
    volume.provenance.warnings = warnings;
    Ok(volume)
}

/// Slices at one place must be copies of each other.
fn drop_duplicates(
    path: &Path,
    stack: &Stack,
    values: &Array3<f32>,
    reader: &mut SliceReader<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), InterchangeError> {
    let normal = stack.grid.direction.column(2).into_owned();
    let (mut different, mut first_mm) = (0, 0.0);
    for (kept, duplicate) in &stack.duplicates {
        let (other, _) = reader.read(duplicate)?;
        if !values.index_axis(Axis(0), *kept).iter().eq(other.iter()) {
            first_mm = if different == 0 { duplicate.plane.position.dot(&normal) } else { first_mm };
            different += 1;
        }
    }
    if different > 0 {
        return Err(InterchangeError::DuplicateSlices {
            path: path.into(),
            duplicates: different,
            position_mm: first_mm,
        });
    }
    if !stack.duplicates.is_empty() {
        warnings.push(format!("{} slices are copies of others and were left out", stack.duplicates.len()));
    }
    Ok(())
}

/// Reads slices, keeping the last file open: the frames of a multi-frame object follow each other.
struct SliceReader<'a> {
    images: &'a [ImageFile],
    open: Option<(usize, Object)>,
}

impl SliceReader<'_> {
    /// Rescaled values and the mask of one slice, row by row.
    fn read(&mut self, slice: &Slice) -> Result<(Vec<f32>, Vec<u8>), InterchangeError> {
        let image = &self.images[slice.image];
        if self.open.as_ref().is_none_or(|(index, _)| *index != slice.image) {
            self.open = Some((slice.image, object::open_all(&image.path)?));
        }
        let (_, object) = self.open.as_ref().expect("opened above");
        let frames = Frames::of(&image.path, object)?;
        if [frames.format.columns, frames.format.rows] != image.size {
            let found = format!("{} x {}", frames.format.columns, frames.format.rows);
            return Err(InterchangeError::content(&image.path, "image size", "the size first read", found));
        }
        let mut values = frames.stored_values(slice.frame)?;
        let (slope, intercept) = (slice.plane.slope, slice.plane.intercept);
        let inside = |stored: f32| match image.padding {
            Some([low, high]) if (low..=high).contains(&f64::from(stored)) => 0,
            _ => mask::FIELD_OF_VIEW | mask::COVERED,
        };
        let masks = values.iter().map(|&stored| inside(stored)).collect();
        for value in &mut values {
            *value = (slope * f64::from(*value) + intercept) as f32;
        }
        Ok((values, masks))
    }
}

/// Shifts each slice of a sheared stack back within its plane. The new grid is as much larger as the whole
/// shift, by whole pixels, so that the first slice (whose shift is zero) keeps its samples.
fn straighten(
    grid: &VolumeGrid,
    values: &Array3<f32>,
    masks: &Array3<u8>,
    shifts_px: &[[f64; 2]],
) -> (VolumeGrid, Array3<f32>, Array3<u8>) {
    let [nx, ny, nz] = grid.shape;
    // Pixels that the slices reach beyond the first one, on its near and far side.
    let whole = |px: f64| (px - 1e-6).ceil().max(0.0) as usize;
    let reach = |axis: usize, sign: f64| shifts_px.iter().map(|px| sign * px[axis]).fold(0.0, f64::max);
    let before = [0, 1].map(|axis| whole(reach(axis, -1.0)));
    let after = [0, 1].map(|axis| whole(reach(axis, 1.0)));
    let mut straight = *grid;
    straight.shape = [nx + before[0] + after[0], ny + before[1] + after[1], nz];
    straight.origin = grid.point(-(before[0] as f64), -(before[1] as f64), 0.0);

    let fill = values.iter().copied().fold(f32::INFINITY, f32::min);
    let shape = [nz, straight.shape[1], straight.shape[0]];
    let (mut new_values, mut new_masks) = (Array3::from_elem(shape, fill), Array3::zeros(shape));
    for (k, own_px) in shifts_px.iter().enumerate() {
        let shift = [0, 1].map(|axis| before[axis] as f64 + own_px[axis]);
        shift_slice(
            values.index_axis(Axis(0), k),
            masks.index_axis(Axis(0), k),
            shift,
            new_values.index_axis_mut(Axis(0), k),
            new_masks.index_axis_mut(Axis(0), k),
        );
    }
    (straight, new_values, new_masks)
}

/// Places one slice at `shift_px` (columns, rows) in a larger one, bilinear between its pixel centres.
fn shift_slice(
    slice: ArrayView2<'_, f32>,
    inside: ArrayView2<'_, u8>,
    shift_px: [f64; 2],
    mut to: ArrayViewMut2<'_, f32>,
    mut to_inside: ArrayViewMut2<'_, u8>,
) {
    let (rows, columns) = slice.dim();
    // Of an index in the target: the source pixel before it and the share of the one after.
    let source = |index: usize, shift: f64, size: usize| -> Option<(usize, f64)> {
        let at = index as f64 - shift;
        let nearest = at.round();
        // A pixel centre hit up to rounding needs no neighbour.
        let at = if (at - nearest).abs() < 1e-6 { nearest } else { at };
        let before = at.floor();
        let is_inside = before >= 0.0 && at <= size as f64 - 1.0;
        is_inside.then_some((before as usize, at - before))
    };
    for j in 0..to.nrows() {
        let Some((row, row_share)) = source(j, shift_px[1], rows) else { continue };
        for i in 0..to.ncols() {
            let Some((column, column_share)) = source(i, shift_px[0], columns) else { continue };
            let next_row = (row + 1).min(rows - 1);
            let next_column = (column + 1).min(columns - 1);
            let mix = |row: usize| {
                f64::from(slice[[row, column]]) * (1.0 - column_share)
                    + f64::from(slice[[row, next_column]]) * column_share
            };
            to[[j, i]] = (mix(row) * (1.0 - row_share) + mix(next_row) * row_share) as f32;
            let used = inside.slice(s![row..=next_row, column..=next_column]);
            to_inside[[j, i]] = used.iter().fold(u8::MAX, |all, one| all & one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::{Matrix3, Point3};

    /// A field linear in space survives shear and linear interpolation exactly.
    #[test]
    fn dicom_straightened_slices_hold_the_field_at_its_place() {
        let grid =
            VolumeGrid::new([9, 7, 5], [0.5, 0.8, 2.0], Matrix3::identity(), Point3::new(1.0, 2.0, 3.0))
                .unwrap();
        let field = |p: Point3<f64>| 3.0 * p.x - 5.0 * p.y + 7.0 * p.z;
        for shear_px in [[0.0, -0.65], [0.37, 0.0], [-1.0, 2.25]] {
            let values = Array3::from_shape_fn([5, 7, 9], |(k, j, i)| {
                let (i, j) = (i as f64 + k as f64 * shear_px[0], j as f64 + k as f64 * shear_px[1]);
                field(grid.point(i, j, k as f64)) as f32
            });
            let masks = Array3::from_elem([5, 7, 9], mask::FIELD_OF_VIEW);
            let shifts_px: Vec<_> = (0..5).map(|k| shear_px.map(|px| px * f64::from(k))).collect();
            let (straight, found, inside) = straighten(&grid, &values, &masks, &shifts_px);
            let mut compared = 0;
            for ((k, j, i), value) in found.indexed_iter() {
                if inside[[k, j, i]] != 0 {
                    let expected = field(straight.point(i as f64, j as f64, k as f64));
                    assert!((f64::from(*value) - expected).abs() < 1e-4, "{shear_px:?} {i} {j} {k}");
                    compared += 1;
                }
            }
            assert!(compared >= 5 * 6 * 8 - 10, "{compared}");
        }
    }
}
