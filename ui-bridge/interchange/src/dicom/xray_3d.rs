//! A volume as one X-Ray 3D Angiographic Image Storage object (PS3.3 A.54): a multi-frame file, one frame a slice.

use super::attributes::{
    SeriesIdentity, Stored, put_comment, put_common, put_decimals, put_item, put_items, put_measures,
    put_orientation, put_pixels, put_position, put_text, put_texts, put_u16, rescale_type, sizes,
    slice_order, write_object,
};
use super::quantise::{Quantised, quantise};
use super::uid;
use crate::error::InterchangeError;
use crate::format::WriteOptions;
use carm::{Quantity, Volume};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use std::path::Path;

/// Reconstructed from projections, every voxel of one volume, nothing mixed.
const IMAGE_TYPE: [&str; 4] = ["DERIVED", "PRIMARY", "VOLUME", "NONE"];

/// Writes the object.
pub(crate) fn write(volume: &Volume, path: &Path, options: &WriteOptions) -> Result<(), InterchangeError> {
    let (columns, rows, slices) = sizes(volume, path)?;
    let bytes = 2 * volume.values.len() as u64;
    if bytes >= u64::from(u32::MAX) {
        return Err(InterchangeError::NotRepresentable {
            path: path.into(),
            format: "a DICOM file",
            expected: "less than 4 GiB of pixel data".into(),
            found: format!("{bytes} bytes"),
        });
    }
    let quantised = quantise(path, volume)?;
    let identity = SeriesIdentity::new(volume, path, options)?;
    let order = slice_order(volume);
    let mut object = InMemDicomObject::new_empty();
    put_common(&mut object, &identity, options, "XA", 1);
    put_enhanced(&mut object, &identity, volume.quantity, slices);
    put_dimensions(&mut object, path)?;
    put_items(&mut object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared_groups(volume, &quantised)]);
    let frames = order.iter().enumerate().map(|(number, &k)| frame_groups(volume, number, k)).collect();
    put_items(&mut object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frames);

    let per_slice = usize::from(columns) * usize::from(rows);
    let is_in_order = order.first() == Some(&0);
    if is_in_order {
        put_pixels(&mut object, columns, rows, Stored::Signed(&quantised.stored));
    } else {
        let stored: Vec<i16> = order
            .iter()
            .flat_map(|&k| &quantised.stored[k * per_slice..(k + 1) * per_slice])
            .copied()
            .collect();
        put_pixels(&mut object, columns, rows, Stored::Signed(&stored));
    }
    write_object(object, uids::X_RAY3_D_ANGIOGRAPHIC_IMAGE_STORAGE, path)
}

/// Enhanced equipment, X-Ray 3D image, multi-frame and acquisition context modules.
fn put_enhanced(object: &mut InMemDicomObject, identity: &SeriesIdentity, quantity: Quantity, slices: usize) {
    put_texts(object, tags::IMAGE_TYPE, VR::CS, &IMAGE_TYPE);
    put_text(object, tags::CONTENT_QUALIFICATION, VR::CS, "RESEARCH");
    put_text(object, tags::PIXEL_PRESENTATION, VR::CS, "MONOCHROME");
    put_text(object, tags::VOLUMETRIC_PROPERTIES, VR::CS, "VOLUME");
    put_text(object, tags::VOLUME_BASED_CALCULATION_TECHNIQUE, VR::CS, "NONE");
    put_text(object, tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY");
    put_text(object, tags::NUMBER_OF_FRAMES, VR::IS, &slices.to_string());
    put_text(object, tags::MANUFACTURER_MODEL_NAME, VR::LO, "Isocenter");
    put_text(object, tags::DEVICE_SERIAL_NUMBER, VR::LO, "none");
    put_text(object, tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION"));
    let date_time = format!("{}{}+0000", identity.date, identity.time);
    put_text(object, tags::INSTANCE_CREATION_DATE, VR::DA, &identity.date);
    put_text(object, tags::INSTANCE_CREATION_TIME, VR::TM, &identity.time);
    put_text(object, tags::ACQUISITION_DATE_TIME, VR::DT, &date_time);
    put_items(object, tags::ACQUISITION_CONTEXT_SEQUENCE, Vec::new());
    put_comment(object, quantity);
}

/// Frames are ordered by their place in one stack.
fn put_dimensions(object: &mut InMemDicomObject, path: &Path) -> Result<(), InterchangeError> {
    let organization_uid = uid::new_uid(path)?;
    put_item(object, tags::DIMENSION_ORGANIZATION_SEQUENCE, |item| {
        put_text(item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization_uid);
    });
    let index = |pointer: Tag| {
        let mut item = InMemDicomObject::new_empty();
        let put_tag = |item: &mut InMemDicomObject, tag: Tag, value: Tag| {
            item.put(DataElement::new(tag, VR::AT, PrimitiveValue::Tags([value].as_slice().into())));
        };
        put_tag(&mut item, tags::DIMENSION_INDEX_POINTER, pointer);
        put_tag(&mut item, tags::FUNCTIONAL_GROUP_POINTER, tags::FRAME_CONTENT_SEQUENCE);
        put_text(&mut item, tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization_uid);
        item
    };
    let indices = vec![index(tags::STACK_ID), index(tags::IN_STACK_POSITION_NUMBER)];
    put_items(object, tags::DIMENSION_INDEX_SEQUENCE, indices);
    Ok(())
}

/// What is the same for every slice.
fn shared_groups(volume: &Volume, quantised: &Quantised) -> InMemDicomObject {
    let grid = &volume.grid;
    let mut groups = InMemDicomObject::new_empty();
    put_measures(&mut groups, grid);
    put_item(&mut groups, tags::PLANE_ORIENTATION_SEQUENCE, |item| {
        put_orientation(item, grid.direction.column(0).into_owned(), grid.direction.column(1).into_owned());
    });
    put_item(&mut groups, tags::X_RAY3_D_FRAME_TYPE_SEQUENCE, |item| {
        put_texts(item, tags::FRAME_TYPE, VR::CS, &IMAGE_TYPE);
        put_text(item, tags::PIXEL_PRESENTATION, VR::CS, "MONOCHROME");
        put_text(item, tags::VOLUMETRIC_PROPERTIES, VR::CS, "VOLUME");
        put_text(item, tags::VOLUME_BASED_CALCULATION_TECHNIQUE, VR::CS, "NONE");
    });
    put_item(&mut groups, tags::FRAME_ANATOMY_SEQUENCE, |item| {
        put_text(item, tags::FRAME_LATERALITY, VR::CS, "U");
        put_item(item, tags::ANATOMIC_REGION_SEQUENCE, |code| {
            put_text(code, tags::CODE_VALUE, VR::SH, "38266002");
            put_text(code, tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT");
            put_text(code, tags::CODE_MEANING, VR::LO, "Entire body");
        });
    });
    put_item(&mut groups, tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, |item| {
        put_decimals(item, tags::RESCALE_INTERCEPT, &[quantised.intercept]);
        put_decimals(item, tags::RESCALE_SLOPE, &[quantised.slope]);
        put_text(item, tags::RESCALE_TYPE, VR::LO, rescale_type(volume.quantity));
    });
    put_item(&mut groups, tags::FRAME_VOILUT_SEQUENCE, |item| {
        let width = (quantised.highest - quantised.lowest).max(quantised.slope);
        put_decimals(item, tags::WINDOW_CENTER, &[(quantised.highest + quantised.lowest) / 2.0]);
        put_decimals(item, tags::WINDOW_WIDTH, &[width]);
    });
    groups
}

/// Where one slice lies: `number` from 0 in the file, `k` in the volume.
fn frame_groups(volume: &Volume, number: usize, k: usize) -> InMemDicomObject {
    let mut groups = InMemDicomObject::new_empty();
    let place = number as u32 + 1;
    put_item(&mut groups, tags::FRAME_CONTENT_SEQUENCE, |item| {
        put_text(item, tags::STACK_ID, VR::SH, "1");
        item.put(DataElement::new(tags::IN_STACK_POSITION_NUMBER, VR::UL, PrimitiveValue::from(place)));
        let indices = [1_u32, place];
        item.put(DataElement::new(
            tags::DIMENSION_INDEX_VALUES,
            VR::UL,
            PrimitiveValue::U32(indices.as_slice().into()),
        ));
        put_u16(item, tags::FRAME_ACQUISITION_NUMBER, 1);
    });
    put_item(&mut groups, tags::PLANE_POSITION_SEQUENCE, |item| {
        put_position(item, &volume.grid.point(0.0, 0.0, k as f64));
    });
    groups
}
