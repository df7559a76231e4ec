//! A surface as one Encapsulated STL Storage object (PS3.3 A.85.1): a binary STL file within a DICOM file.

use super::attributes::{SeriesIdentity, put_common, put_item, put_items, put_text, write_object};
use super::object::{count, open_all, text};
use super::uid;
use crate::error::InterchangeError;
use crate::format::WriteOptions;
use crate::mesh::{MeshFile, stl_bytes, stl_surface};
use carm::TriangleMesh;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use std::path::Path;

/// The kind of document that is within.
const MIME_TYPE: &str = "model/stl";

/// What the object says of its surface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncapsulatedStl {
    /// What it shows.
    pub title: String,
    /// Words for the header of the STL file within.
    pub description: String,
    /// The frame of reference that its coordinates lie in (LPS, mm), where it is one that images share.
    pub frame_of_reference_uid: Option<String>,
    /// Whether somebody has accepted it.
    pub is_reviewed: bool,
    /// Whether the surface is another than the image shows: hollowed, thickened, on a base, scaled.
    pub is_modified: bool,
}

/// Writes a surface as an Encapsulated STL object. The file appears whole or not at all.
///
/// `mesh`: mm, in the frame of reference.
///
/// # Errors
/// What [`crate::write_mesh`] refuses, and a document of 4 GiB or more.
pub fn write_encapsulated_stl(
    path: &Path,
    mesh: &TriangleMesh,
    document: &EncapsulatedStl,
) -> Result<(), InterchangeError> {
    let mut file = MeshFile::of(&document.title, mesh.clone(), None);
    file.metadata.push(("Description".into(), document.description.clone()));
    let bytes = stl_bytes(path, &file)?;
    let length =
        u32::try_from(bytes.len()).ok().filter(|length| length.is_multiple_of(2)).ok_or_else(|| {
            InterchangeError::NotRepresentable {
                path: path.into(),
                format: "a DICOM file",
                expected: "a document of less than 4 GiB".into(),
                found: format!("{} bytes", bytes.len()),
            }
        })?;
    let (date, time) = uid::date_and_time();
    let identity = SeriesIdentity {
        study_uid: uid::new_uid(path)?,
        series_uid: uid::new_uid(path)?,
        frame_of_reference_uid: match &document.frame_of_reference_uid {
            Some(uid) => uid.clone(),
            None => uid::new_uid(path)?,
        },
        date,
        time,
    };
    let mut object = InMemDicomObject::new_empty();
    put_common(&mut object, &identity, &WriteOptions::default(), "M3D", 1);
    // Of images only.
    object.remove_element(tags::PATIENT_POSITION);
    object.remove_element(tags::LOSSY_IMAGE_COMPRESSION);
    put_text(&mut object, tags::MANUFACTURER_MODEL_NAME, VR::LO, "Isocenter");
    put_text(&mut object, tags::DEVICE_SERIAL_NUMBER, VR::LO, "none");
    put_text(&mut object, tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION"));
    put_document(&mut object, document, bytes, length);
    write_object(object, uids::ENCAPSULATED_STL_STORAGE, path)
}

/// Encapsulated document and manufacturing 3D model modules.
fn put_document(object: &mut InMemDicomObject, document: &EncapsulatedStl, bytes: Vec<u8>, length: u32) {
    let review = if document.is_reviewed { "reviewed" } else { "not reviewed" };
    put_text(object, tags::DOCUMENT_TITLE, VR::ST, &format!("{}, {review}", document.title));
    put_text(object, tags::RECOGNIZABLE_VISUAL_FEATURES, VR::CS, "NO");
    object.put(DataElement::new(tags::ACQUISITION_DATE_TIME, VR::DT, PrimitiveValue::Empty));
    put_items(object, tags::CONCEPT_NAME_CODE_SEQUENCE, Vec::new());
    put_text(object, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, VR::LO, MIME_TYPE);
    object.put(DataElement::new(tags::ENCAPSULATED_DOCUMENT_LENGTH, VR::UL, PrimitiveValue::from(length)));
    object.put(DataElement::new(tags::ENCAPSULATED_DOCUMENT, VR::OB, PrimitiveValue::U8(bytes.into())));
    put_item(object, tags::MEASUREMENT_UNITS_CODE_SEQUENCE, |code| {
        put_text(code, tags::CODE_VALUE, VR::SH, "mm");
        put_text(code, tags::CODING_SCHEME_DESIGNATOR, VR::SH, "UCUM");
        put_text(code, tags::CODE_MEANING, VR::LO, "mm");
    });
    let modified = if document.is_modified { "YES" } else { "NO" };
    put_text(object, tags::MODEL_MODIFICATION, VR::CS, modified);
    put_text(object, tags::MODEL_MIRRORING, VR::CS, "NO");
}

/// The surface within an Encapsulated STL object, mm.
///
/// # Errors
/// What is no DICOM file, holds no STL document, or one that is shorter than it declares or cannot be read.
pub fn read_encapsulated_stl(path: &Path) -> Result<TriangleMesh, InterchangeError> {
    let object = open_all(path)?;
    let found = text(&object, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT);
    if found.as_deref() != Some(MIME_TYPE) {
        let found = found.unwrap_or_else(|| "none".into());
        return Err(InterchangeError::content(path, "kind of the encapsulated document", MIME_TYPE, found));
    }
    let document = object.get(tags::ENCAPSULATED_DOCUMENT).and_then(|element| element.to_bytes().ok());
    let Some(document) = document else {
        return Err(InterchangeError::content(path, "encapsulated document", "bytes", "none"));
    };
    let length = count(&object, tags::ENCAPSULATED_DOCUMENT_LENGTH).unwrap_or(document.len());
    let Some(document) = document.get(..length) else {
        let expected = format!("{length} bytes as declared");
        return Err(InterchangeError::content(
            path,
            "encapsulated document",
            expected,
            format!("{} bytes", document.len()),
        ));
    };
    stl_surface(path, document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tetrahedron() -> TriangleMesh {
        TriangleMesh {
            vertices_mm: vec![[0.0, 0.0, 0.0], [10.25, 0.0, 0.0], [0.0, 7.5, 0.0], [0.0, 0.0, 0.1]],
            triangles: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
        }
    }

    #[test]
    fn encapsulated_stl_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.dcm");
        let document = EncapsulatedStl { title: "bone model".into(), ..EncapsulatedStl::default() };
        write_encapsulated_stl(&path, &tetrahedron(), &document).unwrap();
        let (back, wrote) = (read_encapsulated_stl(&path).unwrap(), tetrahedron());
        let corners = |mesh: &TriangleMesh| -> Vec<[f32; 3]> {
            mesh.triangles.iter().flatten().map(|&v| mesh.vertices_mm[v as usize]).collect()
        };
        assert_eq!(corners(&back), corners(&wrote));
    }

    #[test]
    fn encapsulated_stl_refuses_an_image_and_a_document_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.dcm");
        write_encapsulated_stl(&path, &tetrahedron(), &EncapsulatedStl::default()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(8).position(|window| window == b"\x42\x00\x15\x00UL\x04\x00").unwrap() + 8;
        bytes[at..at + 4].copy_from_slice(&9999_u32.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let told = read_encapsulated_stl(&path).unwrap_err().to_string();
        assert!(told.contains("9999 bytes"), "{told}");
        let image = folder.path().join("image.dcm");
        crate::write_volume(&crate::fixture::oblique_volume(), &image, &WriteOptions::default()).unwrap();
        let told = read_encapsulated_stl(&image).unwrap_err().to_string();
        assert!(told.contains("model/stl") && told.contains("none"), "{told}");
    }
}
