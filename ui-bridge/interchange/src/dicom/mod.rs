//! DICOM: series of slices and multi-frame objects in, X-Ray 3D Angiographic or CT Image out.
//!
//! On the way in: [`structure`] holds every declared length against the file before a library sees it;
//! [`object`] opens it with panics contained; [`image`] takes the place of every frame from the attributes;
//! [`series`] picks one series; [`stack`] judges its geometry; [`pixels`] decodes; [`read`] fills the volume.
//! On the way out: [`quantise`] chooses the rescale, [`attributes`] holds what both classes share, and
//! [`ct_image`] and [`xray_3d`] are the two classes. [`encapsulated_stl`] holds surfaces, [`segmentation`] labels,
//! [`angiogram`] projection runs.

pub(crate) mod angiogram;
mod attributes;
mod containment;
mod ct_image;
mod encapsulated_stl;
mod image;
pub(crate) mod object;
pub(crate) mod pixels;
mod quantise;
mod read;
mod segmentation;
mod series;
mod stack;
pub(crate) mod structure;
mod uid;
mod xray_3d;

pub use angiogram::{
    ARBITRARY_GREY, Angiogram, AngiogramFrames, AngiogramWriter, NOMINAL_GEOMETRY, WrittenAngiogram,
    is_angiogram,
};
pub use encapsulated_stl::{EncapsulatedStl, read_encapsulated_stl, write_encapsulated_stl};
pub use read::read_dicom;
pub use segmentation::{Segment, SegmentProperty, write_segmentation};

use crate::error::InterchangeError;
use crate::format::WriteOptions;
use carm::Volume;
use std::path::Path;

/// Which DICOM object a volume becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DicomClass {
    /// X-Ray 3D Angiographic Image Storage: one multi-frame file.
    XRay3DAngiographic,
    /// CT Image Storage: a folder with one file a slice, for programs that know no better.
    CtImage,
}

/// Writes a volume as DICOM. A `.dcm` name means one file, any other a folder.
pub(crate) fn write_dicom(
    volume: &Volume,
    path: &Path,
    options: &WriteOptions,
) -> Result<(), InterchangeError> {
    let is_file = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dcm"));
    let by_name = if is_file { DicomClass::XRay3DAngiographic } else { DicomClass::CtImage };
    match (options.dicom_class.unwrap_or(by_name), is_file) {
        (DicomClass::XRay3DAngiographic, true) => xray_3d::write(volume, path, options),
        (DicomClass::XRay3DAngiographic, false) => crate::atomic::write_folder(path, |folder| {
            xray_3d::write(volume, &folder.join("volume.dcm"), options)
        }),
        (DicomClass::CtImage, false) => ct_image::write(volume, path, options),
        (DicomClass::CtImage, true) => Err(InterchangeError::NotRepresentable {
            path: path.into(),
            format: "a CT Image series",
            expected: "one file a slice in a folder (a name without .dcm)".into(),
            found: "the name of a single file".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::InterchangeError;
    use crate::fixture::{assert_same_values_at_points, left_handed_volume, oblique_volume};
    use crate::read_volume;
    use std::fs;

    const BOTH: [DicomClass; 2] = [DicomClass::XRay3DAngiographic, DicomClass::CtImage];

    fn written(volume: &Volume, folder: &Path, class: DicomClass) -> std::path::PathBuf {
        let path = folder.join(match class {
            DicomClass::XRay3DAngiographic => "volume.dcm",
            DicomClass::CtImage => "series",
        });
        let options = WriteOptions { dicom_class: Some(class), ..WriteOptions::default() };
        write_dicom(volume, &path, &options).unwrap();
        path
    }

    #[test]
    fn dicom_comes_back_in_both_classes_and_left_handed() {
        for (volume, class) in
            [oblique_volume(), left_handed_volume()].iter().flat_map(|v| BOTH.map(|c| (v, c)))
        {
            let folder = tempfile::tempdir().unwrap();
            let path = written(volume, folder.path(), class);
            let read = read_volume(&path).unwrap();
            // Half a quantisation step of a range of about 2300 HU.
            assert_same_values_at_points(&read, volume, 0.02);
            assert_eq!(read.quantity, volume.quantity);
            assert!(read.frame_of_reference_uid.unwrap().starts_with("2.25."));
            assert!(read.provenance.warnings.is_empty(), "{:?}", read.provenance.warnings);
            assert!(crate::inspect_file(&path).is_sound);
        }
    }

    /// A sequence of VR UN is implicit inside, which the library takes for explicit: text becomes a length.
    #[test]
    fn dicom_with_a_sequence_of_unknown_vr_is_read_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&oblique_volume(), folder.path(), DicomClass::XRay3DAngiographic);
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(6).position(|window| window == b"\x10\x00\x10\x00PN").unwrap();
        let mut unknown =
            b"\x09\x00\x10\x10UN\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF".to_vec();
        unknown.extend(b"\x08\x00\x50\x11\x1a\x00\x00\x001.2.840.10008.5.1.4.1.1.2\x00");
        unknown.extend(b"\xFE\xFF\x0D\xE0\x00\x00\x00\x00\xFE\xFF\xDD\xE0\x00\x00\x00\x00");
        bytes.splice(at..at, unknown);
        fs::write(&path, bytes).unwrap();
        assert_same_values_at_points(&read_volume(&path).unwrap(), &oblique_volume(), 0.02);
        let findings = crate::inspect_file(&path).findings;
        assert!(findings[0].contains("unknown VR"), "{findings:?}");
    }

    #[test]
    fn dicom_whole_numbers_come_back_exactly() {
        let mut volume = oblique_volume();
        volume.values.mapv_inplace(f32::round);
        for class in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let read = read_volume(&written(&volume, folder.path(), class)).unwrap();
            assert_same_values_at_points(&read, &volume, 0.0);
        }
    }

    #[test]
    fn dicom_folder_with_a_slice_gone_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&oblique_volume(), folder.path(), DicomClass::CtImage);
        fs::remove_file(path.join("slice_00004.dcm")).unwrap();
        let error = read_volume(&path).unwrap_err();
        assert!(matches!(error, InterchangeError::UnevenSlices { slices: 8, after_slice: 2, .. }), "{error}");
    }

    #[test]
    fn dicom_folder_with_two_series_lists_them_and_reads_the_chosen_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = written(&oblique_volume(), folder.path(), DicomClass::CtImage);
        let other = folder.path().join("more");
        fs::create_dir(&other).unwrap();
        written(&left_handed_volume(), &other, DicomClass::CtImage);
        fs::write(folder.path().join("readme.txt"), "not DICOM").unwrap();
        let error = read_volume(folder.path()).unwrap_err();
        let InterchangeError::SeveralSeries { series, .. } = &error else { panic!("{error}") };
        assert_eq!(series.iter().map(|one| one.images).collect::<Vec<_>>(), [9, 9]);
        let uid = read_volume(&first).map(|_| series[0].series_instance_uid.clone()).unwrap();
        let chosen = read_dicom(folder.path(), Some(&uid)).unwrap();
        assert_eq!(chosen.grid.shape, [5, 7, 9]);
        assert!(chosen.provenance.warnings[0].contains("1 files"));
        assert!(read_dicom(folder.path(), Some("1.2.3")).unwrap_err().to_string().contains("1.2.3"));
    }

    #[test]
    fn dicom_copies_of_a_slice_are_left_out_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&oblique_volume(), folder.path(), DicomClass::CtImage);
        fs::copy(path.join("slice_00004.dcm"), path.join("copy.dcm")).unwrap();
        let read = read_volume(&path).unwrap();
        assert_eq!(read.grid.shape[2], 9);
        assert!(read.provenance.warnings[0].contains("copies"));
        let mut bytes = fs::read(path.join("copy.dcm")).unwrap();
        let end = bytes.len();
        bytes[end - 1] ^= 0x10;
        fs::write(path.join("copy.dcm"), bytes).unwrap();
        let error = read_volume(&path).unwrap_err();
        assert!(matches!(error, InterchangeError::DuplicateSlices { duplicates: 1, .. }), "{error}");
    }

    #[test]
    fn dicom_folder_and_file_without_images_say_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_volume(folder.path()).unwrap_err().to_string().contains("0 files"));
        let empty = folder.path().join("empty.dcm");
        fs::write(&empty, b"").unwrap();
        assert!(read_volume(&empty).unwrap_err().to_string().contains("0 bytes"));
        assert!(!crate::inspect_file(&empty).is_sound);
        let odd = folder.path().join("a.xyz");
        fs::write(&odd, b"?").unwrap();
        assert!(read_volume(&odd).unwrap_err().to_string().contains("xyz"));
        assert!(!crate::inspect_file(&odd).is_sound);
    }
}
