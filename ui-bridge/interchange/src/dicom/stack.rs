//! Planes of a series to a volume's grid: sorted by place, judged for spacing, shift and duplicates.
//!
//! Slices are sorted along their common normal. Between neighbours the step has a part along the normal, which
//! must be even, and a part in the plane, which is zero for an ordinary scan. With a tilted gantry it is not: then
//! the slices form a sheared block, which no [`VolumeGrid`] holds. Such a block is brought onto an orthogonal
//! grid by shifting each slice by its own amount within its own plane, so that values are interpolated only there.

use super::image::{ImageFile, Plane};
use crate::error::InterchangeError;
use carm::VolumeGrid;
use nalgebra::{Matrix3, Point3, Vector3};
use std::path::Path;

/// Largest cosine (and relative difference of pitch) between the planes of one stack.
const SAME_PLANE_TOLERANCE: f64 = 1e-3;
/// How far a slice may lie from its place in an even stack, as a share of the slice step...
const STEP_TOLERANCE: f64 = 0.02;
/// ...and in any case, mm: positions are often written to 0.01 mm.
const STEP_TOLERANCE_MM: f64 = 0.011;
/// Slices closer than this are at one place, mm.
const SAME_PLACE_MM: f64 = 1e-3;
/// Shift within the plane, over the whole stack, that is not worth interpolating for: a tenth of a pixel.
const SHIFT_TOLERANCE_PX: f64 = 0.1;

/// A frame in its place.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// Index into the images.
    pub image: usize,
    pub frame: usize,
    pub plane: Plane,
}

/// Slices in order, with further slices at the same places apart.
pub(crate) struct Stack {
    pub slices: Vec<Slice>,
    /// `(index of the slice kept, slice at the same place)`; to be compared with it.
    pub duplicates: Vec<(usize, Slice)>,
    pub grid: VolumeGrid,
    /// Shift of each slice within its plane against the first, in columns and rows, where there is one.
    pub shifts_px: Option<Vec<[f64; 2]>>,
    pub warnings: Vec<String>,
}

/// Sorts and judges.
///
/// # Errors
/// Frames without a place; several sizes, orientations or pitches; uneven steps, with the numbers.
pub(crate) fn arrange(path: &Path, images: &[ImageFile]) -> Result<Stack, InterchangeError> {
    let slices = placed(images)?;
    require_parallel(path, images, &slices)?;
    let first = slices[0].plane.clone();
    let normal = first.e_column.cross(&first.e_row);
    let (slices, duplicates) = sorted(slices, &normal);
    let mut warnings = Vec::new();
    let step_mm = even_step(path, &slices, &normal, &mut warnings)?;
    let shifts_px = shifts(&slices);
    let origin = Point3::from(slices[0].plane.position);
    let direction = Matrix3::from_columns(&[first.e_column, first.e_row, normal]);
    let [nx, ny] = images[slices[0].image].size;
    let spacing = [first.pitch_mm[0], first.pitch_mm[1], step_mm];
    let grid = VolumeGrid::new([nx, ny, slices.len()], spacing, direction, origin)
        .map_err(InterchangeError::geometry(path))?;
    Ok(Stack { slices, duplicates, grid, shifts_px, warnings })
}

/// Position along the normal, mm.
fn along(slice: &Slice, normal: &Vector3<f64>) -> f64 {
    slice.plane.position.dot(normal)
}

fn placed(images: &[ImageFile]) -> Result<Vec<Slice>, InterchangeError> {
    let mut slices = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let planes = image.planes.as_ref().map_err(|missing| {
            let found = format!("a {} image without it (a projection or a photograph?)", image.modality);
            InterchangeError::content(&image.path, "place of the image", *missing, found)
        })?;
        slices.extend(planes.iter().enumerate().map(|(frame, plane)| Slice {
            image: index,
            frame,
            plane: plane.clone(),
        }));
    }
    Ok(slices)
}

fn require_parallel(path: &Path, images: &[ImageFile], slices: &[Slice]) -> Result<(), InterchangeError> {
    let first = &slices[0].plane;
    let differs = |a: f64, b: f64| (a - b).abs() > SAME_PLANE_TOLERANCE * b.abs();
    let is_odd = |slice: &&Slice| {
        let plane = &slice.plane;
        images[slice.image].size != images[slices[0].image].size
            || (plane.e_column - first.e_column).norm() > SAME_PLANE_TOLERANCE
            || (plane.e_row - first.e_row).norm() > SAME_PLANE_TOLERANCE
            || differs(plane.pitch_mm[0], first.pitch_mm[0])
            || differs(plane.pitch_mm[1], first.pitch_mm[1])
    };
    let odd = slices.iter().filter(is_odd).count();
    if odd == 0 {
        return Ok(());
    }
    let found =
        format!("{odd} of {} slices that differ from the first (a localizer among them?)", slices.len());
    Err(InterchangeError::content(path, "slices", "one size, orientation and pixel pitch", found))
}

fn sorted(mut slices: Vec<Slice>, normal: &Vector3<f64>) -> (Vec<Slice>, Vec<(usize, Slice)>) {
    slices.sort_by(|a, b| along(a, normal).total_cmp(&along(b, normal)));
    let (mut kept, mut duplicates) = (Vec::<Slice>::new(), Vec::new());
    for slice in slices {
        match kept.last() {
            Some(last) if along(&slice, normal) - along(last, normal) < SAME_PLACE_MM => {
                duplicates.push((kept.len() - 1, slice));
            }
            _ => kept.push(slice),
        }
    }
    (kept, duplicates)
}

/// The mean step along the normal, when every slice lies where an even stack has it.
fn even_step(
    path: &Path,
    slices: &[Slice],
    normal: &Vector3<f64>,
    warnings: &mut Vec<String>,
) -> Result<f64, InterchangeError> {
    let places: Vec<f64> = slices.iter().map(|slice| along(slice, normal)).collect();
    if places.len() == 1 {
        return Ok(slices[0].plane.slice_step_mm.unwrap_or_else(|| {
            warnings.push("one slice without thickness: taken as 1 mm thick".into());
            1.0
        }));
    }
    let steps: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = (places[places.len() - 1] - places[0]) / steps.len() as f64;
    let mut in_order = steps.clone();
    in_order.sort_by(f64::total_cmp);
    let median = in_order[in_order.len() / 2];
    let tolerance = (STEP_TOLERANCE * median).max(STEP_TOLERANCE_MM);
    let drift = places.iter().enumerate().map(|(k, place)| (place - places[0] - k as f64 * mean).abs());
    let worst_drift = drift.fold(0.0, f64::max);
    let off = |step: &f64| (step - median).abs();
    let worst = (0..steps.len()).max_by(|&a, &b| off(&steps[a]).total_cmp(&off(&steps[b]))).unwrap_or(0);
    // Rounded positions disturb a step twice.
    if worst_drift <= tolerance && off(&steps[worst]) <= 2.0 * tolerance {
        return Ok(mean);
    }
    Err(InterchangeError::UnevenSlices {
        path: path.into(),
        slices: slices.len(),
        smallest_mm: in_order[0],
        median_mm: median,
        largest_mm: in_order[in_order.len() - 1],
        after_slice: worst,
        position_mm: places[worst],
    })
}

/// Every slice's own shift within the plane, in pixels; `None` where all are next to nothing.
fn shifts(slices: &[Slice]) -> Option<Vec<[f64; 2]>> {
    let first = &slices[0].plane;
    let shift = |slice: &Slice| {
        let moved = slice.plane.position - first.position;
        [moved.dot(&first.e_column) / first.pitch_mm[0], moved.dot(&first.e_row) / first.pitch_mm[1]]
    };
    let shifts: Vec<[f64; 2]> = slices.iter().map(shift).collect();
    let largest_px = shifts.iter().flatten().map(|px| px.abs()).fold(0.0, f64::max);
    (largest_px > SHIFT_TOLERANCE_PX).then_some(shifts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::Quantity;
    use std::path::PathBuf;

    fn image_at(position: Vector3<f64>) -> ImageFile {
        ImageFile {
            path: PathBuf::from("slice"),
            series_instance_uid: "1".into(),
            modality: "CT".into(),
            size: [4, 3],
            frame_of_reference_uid: None,
            quantity: Quantity::Unknown,
            padding: None,
            frames: 1,
            planes: Ok(vec![Plane {
                position,
                e_column: Vector3::x(),
                e_row: Vector3::y(),
                pitch_mm: [0.5, 0.5],
                slice_step_mm: Some(9.0),
                slope: 1.0,
                intercept: 0.0,
            }]),
        }
    }

    fn at_heights(heights: &[f64]) -> Result<Stack, InterchangeError> {
        let images: Vec<_> = heights.iter().map(|&z| image_at(Vector3::new(1.0, 2.0, z))).collect();
        arrange(Path::new("series"), &images)
    }

    #[test]
    fn stack_sorts_by_place_and_tolerates_rounded_positions() {
        let stack = at_heights(&[4.0, 0.0, 2.01, 6.0]).unwrap();
        let order: Vec<usize> = stack.slices.iter().map(|slice| slice.image).collect();
        assert_eq!(order, [1, 2, 0, 3]);
        assert!((stack.grid.spacing_mm[2] - 2.0).abs() < 1e-12);
        assert_eq!(stack.shifts_px, None);
    }

    #[test]
    fn stack_refuses_a_missing_slice_with_the_numbers() {
        let text = at_heights(&[0.0, 2.0, 6.0, 8.0]).err().unwrap().to_string();
        for part in ["2.0000 to 4.0000 mm", "median 2.0000", "follows slice 1 at 2.000"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(at_heights(&[0.0, 2.0, 4.2, 6.0]).is_err());
    }

    #[test]
    fn stack_sets_duplicates_apart_and_reports_shear() {
        let stack = at_heights(&[0.0, 2.0, 2.0, 4.0]).unwrap();
        assert_eq!((stack.slices.len(), stack.duplicates.len(), stack.duplicates[0].0), (3, 1, 1));
        let sheared: Vec<_> =
            (0..5).map(|k| image_at(Vector3::new(0.0, -0.3 * f64::from(k), 2.0 * f64::from(k)))).collect();
        let [columns, rows] = arrange(Path::new("s"), &sheared).unwrap().shifts_px.unwrap()[4];
        assert!(columns.abs() < 1e-12 && (rows + 2.4).abs() < 1e-12);
    }

    #[test]
    fn stack_refuses_mixed_planes_and_images_without_place() {
        let mut other = image_at(Vector3::new(0.0, 0.0, 2.0));
        other.size = [4, 4];
        let text = arrange(Path::new("s"), &[image_at(Vector3::zeros()), other]).err().unwrap().to_string();
        assert!(text.contains("1 of 2 slices"), "{text}");
        let mut placeless = image_at(Vector3::zeros());
        placeless.planes = Err("ImagePositionPatient");
        let text = arrange(Path::new("s"), &[placeless]).err().unwrap().to_string();
        assert!(text.contains("ImagePositionPatient"), "{text}");
    }
}
