//! What both DICOM classes that are written share: patient, study, series, equipment, and how a file is closed.
//!
//! Attributes that DICOM requires but nobody told (type 2) are empty: no patient, no physician, no date of a
//! study is ever invented.

use super::quantise::decimal_string;
use super::uid::{self, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::atomic::write_file;
use crate::error::InterchangeError;
use crate::format::WriteOptions;
use crate::quantity::{self, RESEARCH_USE};
use carm::{Quantity, Volume, VolumeGrid};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use nalgebra::{Point3, Vector3};
use std::path::Path;

/// Identifiers that all files of one series share.
pub(crate) struct SeriesIdentity {
    pub study_uid: String,
    pub series_uid: String,
    pub frame_of_reference_uid: String,
    pub date: String,
    pub time: String,
}

impl SeriesIdentity {
    pub(crate) fn new(
        volume: &Volume,
        path: &Path,
        options: &WriteOptions,
    ) -> Result<Self, InterchangeError> {
        let (date, time) = uid::date_and_time();
        let or_new = |given: &Option<String>| match given {
            Some(uid) => Ok(uid.clone()),
            None => uid::new_uid(path),
        };
        Ok(Self {
            study_uid: or_new(&options.study_instance_uid)?,
            series_uid: uid::new_uid(path)?,
            frame_of_reference_uid: or_new(&volume.frame_of_reference_uid)?,
            date,
            time,
        })
    }
}

pub(crate) fn put_text(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

/// A text of several values.
pub(crate) fn put_texts(object: &mut InMemDicomObject, tag: Tag, vr: VR, texts: &[&str]) {
    let texts = texts.iter().map(|text| text.to_string()).collect();
    object.put(DataElement::new(tag, vr, PrimitiveValue::Strs(texts)));
}

pub(crate) fn put_decimals(object: &mut InMemDicomObject, tag: Tag, numbers: &[f64]) {
    let texts: Vec<String> = numbers.iter().map(|&number| decimal_string(number)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    put_texts(object, tag, VR::DS, &texts);
}

pub(crate) fn put_u16(object: &mut InMemDicomObject, tag: Tag, number: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
}

pub(crate) fn put_items(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// One item with what `fill` puts into it.
pub(crate) fn put_item(object: &mut InMemDicomObject, tag: Tag, fill: impl FnOnce(&mut InMemDicomObject)) {
    let mut item = InMemDicomObject::new_empty();
    fill(&mut item);
    put_items(object, tag, vec![item]);
}

/// Patient, study, series, frame of reference, equipment, SOP common.
pub(crate) fn put_common(
    object: &mut InMemDicomObject,
    identity: &SeriesIdentity,
    options: &WriteOptions,
    modality: &str,
    instance_number: usize,
) {
    for (tag, vr) in [
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_ID, VR::LO),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::STUDY_ID, VR::SH),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
    }
    put_text(object, tags::STUDY_INSTANCE_UID, VR::UI, &identity.study_uid);
    put_text(object, tags::SERIES_INSTANCE_UID, VR::UI, &identity.series_uid);
    put_text(object, tags::FRAME_OF_REFERENCE_UID, VR::UI, &identity.frame_of_reference_uid);
    put_text(object, tags::MODALITY, VR::CS, modality);
    put_text(object, tags::SERIES_NUMBER, VR::IS, "1");
    put_text(object, tags::INSTANCE_NUMBER, VR::IS, &instance_number.to_string());
    put_text(object, tags::SERIES_DESCRIPTION, VR::LO, RESEARCH_USE);
    put_text(object, tags::CONTENT_DATE, VR::DA, &identity.date);
    put_text(object, tags::CONTENT_TIME, VR::TM, &identity.time);
    put_text(object, tags::MANUFACTURER, VR::LO, "Isocenter");
    put_text(object, tags::BURNED_IN_ANNOTATION, VR::CS, "NO");
    put_text(object, tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00");
    match options.patient_position {
        Some(position) => put_text(object, tags::PATIENT_POSITION, VR::CS, position.code()),
        None => {
            object.put(DataElement::new(tags::PATIENT_POSITION, VR::CS, PrimitiveValue::Empty));
        }
    }
}

/// Grey samples of 16 bits.
pub(crate) enum Stored<'a> {
    /// Two's complement.
    Signed(&'a [i16]),
    Unsigned(&'a [u16]),
}

pub(crate) fn put_pixels(object: &mut InMemDicomObject, columns: u16, rows: u16, stored: Stored<'_>) {
    put_u16(object, tags::SAMPLES_PER_PIXEL, 1);
    put_text(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    put_u16(object, tags::ROWS, rows);
    put_u16(object, tags::COLUMNS, columns);
    put_u16(object, tags::BITS_ALLOCATED, 16);
    put_u16(object, tags::BITS_STORED, 16);
    put_u16(object, tags::HIGH_BIT, 15);
    put_u16(object, tags::PIXEL_REPRESENTATION, u16::from(matches!(stored, Stored::Signed(_))));
    let words = match stored {
        Stored::Signed(stored) => stored.iter().map(|&value| value as u16).collect(),
        Stored::Unsigned(stored) => stored.iter().copied().collect(),
    };
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words)));
}

/// What the values are: research use, and the meaning that the rescale type has no word for.
pub(crate) fn put_comment(object: &mut InMemDicomObject, quantity: Quantity) {
    let comment = match quantity::to_text(quantity) {
        Some(quantity) => format!("{RESEARCH_USE}; {quantity}"),
        None => RESEARCH_USE.to_string(),
    };
    put_text(object, tags::IMAGE_COMMENTS, VR::LT, &comment);
}

/// `HU`, or `US` (unspecified) for anything else.
pub(crate) fn rescale_type(quantity: Quantity) -> &'static str {
    if matches!(quantity, Quantity::Hu { .. }) { "HU" } else { "US" }
}

pub(crate) fn put_position(object: &mut InMemDicomObject, position: &Point3<f64>) {
    put_decimals(object, tags::IMAGE_POSITION_PATIENT, position.coords.as_slice());
}

/// The pixel measures of every frame of a grid.
pub(crate) fn put_measures(groups: &mut InMemDicomObject, grid: &VolumeGrid) {
    put_item(groups, tags::PIXEL_MEASURES_SEQUENCE, |item| {
        put_decimals(item, tags::PIXEL_SPACING, &[grid.spacing_mm[1], grid.spacing_mm[0]]);
        put_decimals(item, tags::SLICE_THICKNESS, &[grid.spacing_mm[2]]);
        put_decimals(item, tags::SPACING_BETWEEN_SLICES, &[grid.spacing_mm[2]]);
    });
}

/// Direction of increasing column, then of increasing row.
pub(crate) fn put_orientation(object: &mut InMemDicomObject, e_column: Vector3<f64>, e_row: Vector3<f64>) {
    let cosines = [e_column.x, e_column.y, e_column.z, e_row.x, e_row.y, e_row.z];
    put_decimals(object, tags::IMAGE_ORIENTATION_PATIENT, &cosines);
}

/// Columns, rows and slices as DICOM counts them.
///
/// # Errors
/// More than 65535 columns or rows.
pub(crate) fn sizes(volume: &Volume, path: &Path) -> Result<(u16, u16, usize), InterchangeError> {
    let [nx, ny, nz] = volume.grid.shape;
    match (u16::try_from(nx), u16::try_from(ny)) {
        (Ok(columns), Ok(rows)) => Ok((columns, rows, nz)),
        _ => Err(InterchangeError::NotRepresentable {
            path: path.into(),
            format: "DICOM",
            expected: "at most 65535 columns and rows".into(),
            found: format!("{nx} x {ny}"),
        }),
    }
}

/// Slice indices in the order in which they lie along column x row: backwards for a left-handed grid, so that
/// readers that stack slices along that normal find them in order.
pub(crate) fn slice_order(volume: &Volume) -> Vec<usize> {
    let nz = volume.grid.shape[2];
    if volume.grid.direction.determinant() < 0.0 { (0..nz).rev().collect() } else { (0..nz).collect() }
}

/// Adds class and instance UID, the file meta information, and writes the file.
pub(crate) fn write_object(
    mut object: InMemDicomObject,
    sop_class_uid: &str,
    path: &Path,
) -> Result<(), InterchangeError> {
    let sop_instance_uid = uid::new_uid(path)?;
    put_text(&mut object, tags::SOP_CLASS_UID, VR::UI, sop_class_uid);
    put_text(&mut object, tags::SOP_INSTANCE_UID, VR::UI, &sop_instance_uid);
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(sop_class_uid)
        .media_storage_sop_instance_uid(&sop_instance_uid)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME);
    let file = object
        .with_meta(meta)
        .map_err(|error| InterchangeError::dicom(path, "file meta information", error.to_string()))?;
    write_file(path, |writer| file.write_all(writer).map_err(std::io::Error::other))
}
