//! Labels as one Segmentation Storage object (PS3.3 A.51): a frame of one bit a voxel for each segment and slice.

use super::attributes::{
    SeriesIdentity, put_common, put_item, put_items, put_measures, put_orientation, put_position, put_text,
    put_texts, put_u16, sizes, slice_order, write_object,
};
use super::uid;
use crate::error::InterchangeError;
use crate::format::WriteOptions;
use carm::Volume;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::Axis;
use std::path::Path;

/// A code of a scheme, with its meaning.
type Code = [&'static str; 3];

/// Categories of context group 7150, by SNOMED CT.
const ANATOMY: Code = ["91723000", "SCT", "Anatomical Structure"];
const OBJECT: Code = ["260787004", "SCT", "Physical object"];
const ABNORMAL: Code = ["49755003", "SCT", "Morphologically Abnormal Structure"];

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentProperty {
    /// Bone.
    Bone,
    /// One vertebra.
    Vertebra,
    /// The aorta.
    Aorta,
    /// Any vessel.
    BloodVessel,
    /// Metal.
    Metal,
    /// Calcification outside bone.
    Calcification,
    /// What lies within the skin.
    Body,
}

impl SegmentProperty {
    /// Category and type.
    fn codes(self) -> [Code; 2] {
        match self {
            Self::Bone => [ANATOMY, ["272673000", "SCT", "Bone"]],
            Self::Vertebra => [ANATOMY, ["51282000", "SCT", "Vertebra"]],
            Self::Aorta => [ANATOMY, ["15825003", "SCT", "Aorta"]],
            Self::BloodVessel => [ANATOMY, ["59820001", "SCT", "Blood Vessel"]],
            Self::Body => [ANATOMY, ["38266002", "SCT", "Entire body"]],
            // SNOMED's substance is no object, so this one is a private code.
            Self::Metal => [OBJECT, ["METAL", "99ISOCENTER", "Metal"]],
            Self::Calcification => [ABNORMAL, ["18115005", "SCT", "Pathologic calcification"]],
        }
    }
}

/// One label of a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its value in the volume.
    pub label: u16,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub property: SegmentProperty,
}

/// Writes labels as DICOM Segmentation, one segment for each of `segments`, in their order. The file appears whole or
/// not at all.
///
/// `labels`: whole numbers, 0 for background; its grid and frame of reference are those of the image.
///
/// # Errors
/// A label without a segment, no segment, sizes that DICOM cannot count, and what the file system refuses.
pub fn write_segmentation(
    path: &Path,
    labels: &Volume,
    segments: &[Segment],
) -> Result<(), InterchangeError> {
    require_named(path, labels, segments)?;
    let (columns, rows, _) = sizes(labels, path)?;
    let mut frames = Frames::default();
    for (number, segment) in (1_u16..).zip(segments) {
        for (place, k) in (1_u32..).zip(slice_order(labels)) {
            let slice = labels.values.index_axis(Axis(0), k);
            frames.add(number, place, k, slice.iter().map(|&label| label == f32::from(segment.label)));
        }
    }
    if frames.bits.bytes.len() as u64 >= u64::from(u32::MAX) {
        return Err(not_representable(path, "less than 4 GiB of pixel data", "more".into()));
    }
    let identity = SeriesIdentity::new(labels, path, &WriteOptions::default())?;
    let mut object = InMemDicomObject::new_empty();
    put_common(&mut object, &identity, &WriteOptions::default(), "SEG", 1);
    // Of images that a scanner made only.
    object.remove_element(tags::PATIENT_POSITION);
    object.remove_element(tags::BURNED_IN_ANNOTATION);
    put_module(&mut object);
    put_items(&mut object, tags::SEGMENT_SEQUENCE, (1..).zip(segments).map(segment_item).collect());
    put_dimensions(&mut object, path)?;
    put_items(&mut object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared_groups(labels)]);
    let groups = frames.places.iter().map(|place| frame_groups(labels, place)).collect();
    put_items(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups);
    put_text(&mut object, tags::NUMBER_OF_FRAMES, VR::IS, &frames.places.len().to_string());
    put_u16(&mut object, tags::ROWS, rows);
    put_u16(&mut object, tags::COLUMNS, columns);
    let bytes = frames.bits.even();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into())));
    write_object(object, uids::SEGMENTATION_STORAGE, path)
}

fn not_representable(path: &Path, expected: &str, found: String) -> InterchangeError {
    InterchangeError::NotRepresentable {
        path: path.into(),
        format: "DICOM Segmentation",
        expected: expected.into(),
        found,
    }
}

/// Every label that occurs has its segment.
fn require_named(path: &Path, labels: &Volume, segments: &[Segment]) -> Result<(), InterchangeError> {
    let is_known =
        |label: f32| label == 0.0 || segments.iter().any(|segment| f32::from(segment.label) == label);
    let mut last = 0.0;
    for &label in &labels.values {
        if label != last && !is_known(label) {
            return Err(not_representable(
                path,
                "a name for every label",
                format!("label {label} without one"),
            ));
        }
        last = label;
    }
    if segments.is_empty() {
        return Err(not_representable(path, "at least one segment", "none".into()));
    }
    Ok(())
}

/// A frame's segment, its place among the slices from 1, and its slice of the volume.
struct Place {
    segment: u16,
    place: u32,
    k: usize,
}

/// Frames that hold anything.
#[derive(Default)]
struct Frames {
    places: Vec<Place>,
    bits: Bits,
}

impl Frames {
    fn add(&mut self, segment: u16, place: u32, k: usize, mask: impl Iterator<Item = bool> + Clone) {
        if mask.clone().any(|is_set| is_set) {
            self.places.push(Place { segment, place, k });
            mask.for_each(|is_set| self.bits.push(is_set));
        }
    }
}

/// Bits from the lowest of each byte on, frames without a gap between them (PS3.5 8.1.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.used;
        }
        self.used = (self.used + 1) % 8;
    }

    fn even(mut self) -> Vec<u8> {
        if !self.bytes.len().is_multiple_of(2) {
            self.bytes.push(0);
        }
        self.bytes
    }
}

/// Enhanced equipment, image pixel and segmentation image modules.
fn put_module(object: &mut InMemDicomObject) {
    put_text(object, tags::MANUFACTURER_MODEL_NAME, VR::LO, "Isocenter");
    put_text(object, tags::DEVICE_SERIAL_NUMBER, VR::LO, "none");
    put_text(object, tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION"));
    put_texts(object, tags::IMAGE_TYPE, VR::CS, &["DERIVED", "PRIMARY"]);
    put_text(object, tags::CONTENT_LABEL, VR::CS, "SEGMENTATION");
    put_text(object, tags::CONTENT_DESCRIPTION, VR::LO, "Found by a program; not reviewed");
    object.put(DataElement::new(tags::CONTENT_CREATOR_NAME, VR::PN, PrimitiveValue::Empty));
    put_text(object, tags::SEGMENTATION_TYPE, VR::CS, "BINARY");
    put_text(object, tags::SEGMENTS_OVERLAP, VR::CS, "NO");
    put_u16(object, tags::SAMPLES_PER_PIXEL, 1);
    put_text(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    put_u16(object, tags::BITS_ALLOCATED, 1);
    put_u16(object, tags::BITS_STORED, 1);
    put_u16(object, tags::HIGH_BIT, 0);
    put_u16(object, tags::PIXEL_REPRESENTATION, 0);
}

fn put_code(object: &mut InMemDicomObject, tag: Tag, [value, scheme, meaning]: Code) {
    put_item(object, tag, |code| {
        put_text(code, tags::CODE_VALUE, VR::SH, value);
        put_text(code, tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
        put_text(code, tags::CODE_MEANING, VR::LO, meaning);
    });
}

/// One segment; its label in other formats stands in its description.
fn segment_item((number, segment): (u16, &Segment)) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    let [category, kind] = segment.property.codes();
    put_u16(&mut item, tags::SEGMENT_NUMBER, number);
    // At most 64 characters.
    put_text(&mut item, tags::SEGMENT_LABEL, VR::LO, &segment.name.chars().take(64).collect::<String>());
    put_text(&mut item, tags::SEGMENT_DESCRIPTION, VR::ST, &format!("label {}", segment.label));
    put_text(&mut item, tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC");
    put_text(&mut item, tags::SEGMENT_ALGORITHM_NAME, VR::LO, "Isocenter");
    put_code(&mut item, tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, category);
    put_code(&mut item, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, kind);
    item
}

/// Frames are ordered by segment, then by place.
fn put_dimensions(object: &mut InMemDicomObject, path: &Path) -> Result<(), InterchangeError> {
    let organization_uid = uid::new_uid(path)?;
    put_item(object, tags::DIMENSION_ORGANIZATION_SEQUENCE, |item| {
        put_text(item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization_uid);
    });
    let index = |pointer: Tag, group: Tag| {
        let mut item = InMemDicomObject::new_empty();
        for (tag, value) in
            [(tags::DIMENSION_INDEX_POINTER, pointer), (tags::FUNCTIONAL_GROUP_POINTER, group)]
        {
            item.put(DataElement::new(tag, VR::AT, PrimitiveValue::Tags([value].as_slice().into())));
        }
        put_text(&mut item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization_uid);
        item
    };
    let indices = vec![
        index(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE),
        index(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE),
    ];
    put_items(object, tags::DIMENSION_INDEX_SEQUENCE, indices);
    Ok(())
}

fn shared_groups(labels: &Volume) -> InMemDicomObject {
    let grid = &labels.grid;
    let mut groups = InMemDicomObject::new_empty();
    put_measures(&mut groups, grid);
    put_item(&mut groups, tags::PLANE_ORIENTATION_SEQUENCE, |item| {
        put_orientation(item, grid.direction.column(0).into_owned(), grid.direction.column(1).into_owned());
    });
    groups
}

fn frame_groups(labels: &Volume, frame: &Place) -> InMemDicomObject {
    let mut groups = InMemDicomObject::new_empty();
    put_item(&mut groups, tags::FRAME_CONTENT_SEQUENCE, |item| {
        let indices = [u32::from(frame.segment), frame.place];
        let indices = PrimitiveValue::U32(indices.as_slice().into());
        item.put(DataElement::new(tags::DIMENSION_INDEX_VALUES, VR::UL, indices));
    });
    put_item(&mut groups, tags::PLANE_POSITION_SEQUENCE, |item| {
        put_position(item, &labels.grid.point(0.0, 0.0, frame.k as f64));
    });
    put_item(&mut groups, tags::SEGMENT_IDENTIFICATION_SEQUENCE, |item| {
        put_u16(item, tags::REFERENCED_SEGMENT_NUMBER, frame.segment);
    });
    groups
}
