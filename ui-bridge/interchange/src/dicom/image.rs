//! One DICOM image file: what its attributes say of every frame, single-frame and multi-frame alike.
//!
//! Single-frame objects carry the Image Plane module (PS3.3 C.7.6.2); enhanced ones carry the same in functional
//! groups (C.7.6.16), shared by all frames or for each.

use super::object::{Object, count, items, number, numbers, text, vector};
use super::structure::Structure;
use crate::error::InterchangeError;
use crate::quantity;
use carm::Quantity;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use nalgebra::Vector3;
use std::path::{Path, PathBuf};

/// An image file and its frames.
#[derive(Clone, Debug)]
pub(crate) struct ImageFile {
    pub path: PathBuf,
    pub series_instance_uid: String,
    pub modality: String,
    /// Columns, rows.
    pub size: [usize; 2],
    pub frame_of_reference_uid: Option<String>,
    pub quantity: Quantity,
    /// Stored values that stand for "no measurement", lowest and highest.
    pub padding: Option<[f64; 2]>,
    pub frames: usize,
    /// One a frame; or why there is none.
    pub planes: Result<Vec<Plane>, &'static str>,
}

/// Where a frame lies, and what its stored values mean.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plane {
    /// Centre of the first pixel, LPS mm.
    pub position: Vector3<f64>,
    /// Direction of increasing column, and of increasing row.
    pub e_column: Vector3<f64>,
    pub e_row: Vector3<f64>,
    /// Distance between columns, and between rows, mm.
    pub pitch_mm: [f64; 2],
    /// Between slices, else their thickness.
    pub slice_step_mm: Option<f64>,
    pub slope: f64,
    pub intercept: f64,
}

/// What the header says; `None` for objects without an image.
pub(crate) fn describe(
    path: &Path,
    object: &Object,
    structure: &Structure,
) -> Result<Option<ImageFile>, InterchangeError> {
    let (Some(rows), Some(columns)) = (count(object, tags::ROWS), count(object, tags::COLUMNS)) else {
        return Ok(None);
    };
    if structure.pixel_data_bytes.is_none() {
        return Ok(None);
    }
    if rows == 0 || columns == 0 {
        let found = format!("{columns} columns and {rows} rows");
        return Err(InterchangeError::content(path, "DICOM image", "at least one pixel", found));
    }
    let frames = count(object, tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1);
    // A frame takes at least a byte of pixel data, packed or not.
    if frames as u64 > structure.pixel_data_bytes.unwrap_or(0) {
        let found = format!("{} bytes of pixel data", structure.pixel_data_bytes.unwrap_or(0));
        return Err(InterchangeError::content(
            path,
            "NumberOfFrames",
            format!("pixels of {frames} frames"),
            found,
        ));
    }
    let comment = text(object, tags::IMAGE_COMMENTS).unwrap_or_default();
    let modality = text(object, tags::MODALITY).unwrap_or_else(|| "(no modality)".into());
    Ok(Some(ImageFile {
        path: path.into(),
        series_instance_uid: text(object, tags::SERIES_INSTANCE_UID).unwrap_or_else(|| "(no UID)".into()),
        size: [columns, rows],
        frame_of_reference_uid: text(object, tags::FRAME_OF_REFERENCE_UID),
        quantity: quantity_of(object, &modality, &comment),
        modality,
        padding: padding(object),
        frames,
        planes: (0..frames).map(|frame| plane(object, frame, frames)).collect(),
    }))
}

/// Our own comment where there is one; HU for CT unless the rescale says otherwise.
fn quantity_of(object: &Object, modality: &str, comment: &str) -> Quantity {
    let told = quantity::from_text(comment.rsplit("; ").next().unwrap_or_default());
    let shared = items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    let transformation =
        shared.and_then(|shared| items(shared, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE).first());
    let rescale_type = text(object, tags::RESCALE_TYPE)
        .or_else(|| transformation.and_then(|group| text(group, tags::RESCALE_TYPE)));
    match (told, rescale_type.as_deref(), modality) {
        (Quantity::Unknown, Some("HU"), _) | (Quantity::Unknown, None, "CT") => {
            Quantity::Hu { mu_water_per_mm: None }
        }
        (told, ..) => told,
    }
}

fn padding(object: &Object) -> Option<[f64; 2]> {
    let value = number(object, tags::PIXEL_PADDING_VALUE)?;
    let limit = number(object, tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    Some([value.min(limit), value.max(limit)])
}

/// An attribute of a frame: its own functional group, the shared one, or the object itself.
struct Frame<'a> {
    object: &'a InMemDicomObject,
    shared: Option<&'a InMemDicomObject>,
    own: Option<&'a InMemDicomObject>,
    is_single: bool,
}

impl Frame<'_> {
    fn numbers(&self, group: Tag, tag: Tag) -> Option<Vec<f64>> {
        let in_group = |groups: Option<&InMemDicomObject>| numbers(items(groups?, group).first()?, tag);
        let top = || if self.is_single { numbers(self.object, tag) } else { None };
        in_group(self.own).or_else(|| in_group(self.shared)).or_else(top)
    }

    fn number(&self, group: Tag, tag: Tag) -> Option<f64> {
        self.numbers(group, tag)?.first().copied().filter(|number| number.is_finite())
    }
}

fn plane(object: &Object, frame: usize, frames: usize) -> Result<Plane, &'static str> {
    let frame = Frame {
        object,
        shared: items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first(),
        own: items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame),
        is_single: frames == 1,
    };
    let position = frame.numbers(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT);
    let position = position.and_then(|numbers| vector(&numbers, 0)).ok_or("ImagePositionPatient")?;
    let axes = frame
        .numbers(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)
        .ok_or("ImageOrientationPatient")?;
    let (e_column, e_row) = orthonormal(vector(&axes, 0), vector(&axes, 3))
        .ok_or("ImageOrientationPatient with two unit vectors at right angles")?;
    let pitch = frame.numbers(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING).ok_or("PixelSpacing")?;
    let is_length = |mm: &f64| *mm > 0.0 && mm.is_finite();
    if pitch.len() < 2 || !pitch.iter().all(is_length) {
        return Err("PixelSpacing with two positive numbers");
    }
    let measure = |tag| frame.number(tags::PIXEL_MEASURES_SEQUENCE, tag).filter(is_length);
    let rescale = |tag| frame.number(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, tag);
    Ok(Plane {
        position,
        e_column,
        e_row,
        pitch_mm: [pitch[1], pitch[0]],
        slice_step_mm: measure(tags::SPACING_BETWEEN_SLICES).or_else(|| measure(tags::SLICE_THICKNESS)),
        slope: rescale(tags::RESCALE_SLOPE).unwrap_or(1.0),
        intercept: rescale(tags::RESCALE_INTERCEPT).unwrap_or(0.0),
    })
}

/// Cosines are written with few digits: brought to exactly unit length and right angles.
fn orthonormal(
    column: Option<Vector3<f64>>,
    row: Option<Vector3<f64>>,
) -> Option<(Vector3<f64>, Vector3<f64>)> {
    /// Largest deviation of a written cosine's length or angle from its ideal.
    const TOLERANCE: f64 = 1e-3;
    let (column, row) = (column?, row?);
    let is_unit = |v: &Vector3<f64>| (v.norm() - 1.0).abs() < TOLERANCE;
    if !is_unit(&column) || !is_unit(&row) || column.dot(&row).abs() >= TOLERANCE {
        return None;
    }
    let column = column / column.norm();
    let row = row - column * column.dot(&row);
    Some((column, row / row.norm()))
}
