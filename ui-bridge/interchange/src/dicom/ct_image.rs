//! A volume as a folder of CT Image Storage objects (PS3.3 A.3), one a slice.

use super::attributes::{
    SeriesIdentity, Stored, put_comment, put_common, put_decimals, put_orientation, put_pixels, put_position,
    put_text, put_texts, rescale_type, sizes, slice_order, write_object,
};
use super::quantise::quantise;
use crate::atomic::write_folder;
use crate::error::InterchangeError;
use crate::format::WriteOptions;
use carm::Volume;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use std::path::Path;

/// Writes the series into a new folder.
pub(crate) fn write(volume: &Volume, path: &Path, options: &WriteOptions) -> Result<(), InterchangeError> {
    let (columns, rows, _) = sizes(volume, path)?;
    let quantised = quantise(path, volume)?;
    let identity = SeriesIdentity::new(volume, path, options)?;
    let grid = &volume.grid;
    let per_slice = usize::from(columns) * usize::from(rows);
    write_folder(path, |folder| {
        for (number, k) in slice_order(volume).into_iter().enumerate() {
            let mut object = InMemDicomObject::new_empty();
            put_common(&mut object, &identity, options, "CT", number + 1);
            put_texts(&mut object, tags::IMAGE_TYPE, VR::CS, &["DERIVED", "SECONDARY", "AXIAL"]);
            put_comment(&mut object, volume.quantity);
            put_position(&mut object, &grid.point(0.0, 0.0, k as f64));
            let axis = |index: usize| grid.direction.column(index).into_owned();
            put_orientation(&mut object, axis(0), axis(1));
            put_decimals(&mut object, tags::PIXEL_SPACING, &[grid.spacing_mm[1], grid.spacing_mm[0]]);
            put_decimals(&mut object, tags::SLICE_THICKNESS, &[grid.spacing_mm[2]]);
            put_decimals(&mut object, tags::SPACING_BETWEEN_SLICES, &[grid.spacing_mm[2]]);
            let unknown =
                [(tags::KVP, VR::DS), (tags::ACQUISITION_NUMBER, VR::IS), (tags::LATERALITY, VR::CS)];
            for (tag, vr) in unknown {
                object.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
            }
            put_decimals(&mut object, tags::RESCALE_INTERCEPT, &[quantised.intercept]);
            put_decimals(&mut object, tags::RESCALE_SLOPE, &[quantised.slope]);
            put_text(&mut object, tags::RESCALE_TYPE, VR::LO, rescale_type(volume.quantity));
            put_pixels(
                &mut object,
                columns,
                rows,
                Stored::Signed(&quantised.stored[k * per_slice..(k + 1) * per_slice]),
            );
            let name = format!("slice_{:05}.dcm", number + 1);
            write_object(object, uids::CT_IMAGE_STORAGE, &folder.join(name))?;
        }
        Ok(())
    })
}
