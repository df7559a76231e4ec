//! Which format a path means, and the two functions that everything else calls.

use crate::dicom::{self, DicomClass};
use crate::error::InterchangeError;
use crate::stored::StoredVolume;
use crate::{metaimage, nifti, nrrd};
use carm::Volume;
use std::path::Path;

/// What is told about names that are not known.
pub(crate) const KNOWN_VOLUMES: &str = "a volume (.nii, .nii.gz, .mha, .mhd, .nrrd, a DICOM file or folder)";

/// The formats of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeFormat {
    /// `.nii`, `.nii.gz`
    Nifti,
    /// `.mha`, `.mhd`
    MetaImage,
    /// `.nrrd`, `.nhdr`
    Nrrd,
    /// A DICOM file (`.dcm`), or a folder of them.
    Dicom,
}

impl VolumeFormat {
    /// The format that the name tells; `None` for an extension that is not known. A name without extension is
    /// a DICOM folder (or, where such a file exists, a DICOM file).
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        if path.is_dir() || name.ends_with(".dcm") || name.ends_with(".ima") {
            return Some(Self::Dicom);
        }
        if name.ends_with(".nii") || name.ends_with(".nii.gz") {
            return Some(Self::Nifti);
        }
        match path.extension() {
            None => Some(Self::Dicom),
            Some(extension) => match extension.to_string_lossy().to_ascii_lowercase().as_str() {
                "mha" | "mhd" => Some(Self::MetaImage),
                "nrrd" | "nhdr" => Some(Self::Nrrd),
                // DICOM files are often named by their UID: the "extension" is its last number.
                digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(Self::Dicom),
                _ => None,
            },
        }
    }

    /// As [`VolumeFormat::of`].
    ///
    /// # Errors
    /// [`InterchangeError::UnknownFormat`], with the extensions that are known.
    pub fn required(path: &Path) -> Result<Self, InterchangeError> {
        Self::of(path).ok_or_else(|| InterchangeError::UnknownFormat {
            path: path.into(),
            expected: KNOWN_VOLUMES,
            found: format!("extension {:?}", path.extension().unwrap_or_default()),
        })
    }
}

/// How a volume is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteOptions {
    /// Pack the samples (MetaImage, NRRD); NIfTI is packed when its name ends in `.gz`.
    pub compress: bool,
    /// Which DICOM object to write; by default a `.dcm` file is X-Ray 3D Angiographic, a folder CT Image.
    pub dicom_class: Option<DicomClass>,
    /// StudyInstanceUID of an existing study that the DICOM objects join; a new one by default.
    pub study_instance_uid: Option<String>,
    /// How the patient lay, for DICOM; left empty where not known.
    pub patient_position: Option<carm::PatientPosition>,
}

/// Reads a volume in LPS millimetres; the format is told by the name.
///
/// What was assumed on the way stands in the volume's provenance warnings.
///
/// # Errors
/// An unknown extension, what the file system refuses, and content that is broken or not supported, each with
/// what was expected and found. DICOM: see [`read_dicom`](crate::read_dicom).
pub fn read_volume(path: &Path) -> Result<Volume, InterchangeError> {
    match VolumeFormat::required(path)? {
        VolumeFormat::Nifti => nifti::open(path).and_then(StoredVolume::read),
        VolumeFormat::MetaImage => metaimage::open(path).and_then(StoredVolume::read),
        VolumeFormat::Nrrd => nrrd::open(path).and_then(StoredVolume::read),
        VolumeFormat::Dicom => dicom::read_dicom(path, None),
    }
}

/// Writes a volume; the format is told by the name. The file appears whole or not at all.
///
/// Samples are 32-bit floats, in DICOM 16-bit integers with a rescale. A volume in [`World`](carm::Space::World)
/// is written as if its world were LPS, as ITK does with foreign stacks.
///
/// # Errors
/// An unknown extension, what the file system refuses, and volumes that the format cannot hold.
pub fn write_volume(volume: &Volume, path: &Path, options: &WriteOptions) -> Result<(), InterchangeError> {
    match VolumeFormat::required(path)? {
        VolumeFormat::Nifti => nifti::write(volume, path),
        VolumeFormat::MetaImage => metaimage::write(volume, path, options.compress),
        VolumeFormat::Nrrd => nrrd::write(volume, path, options.compress),
        VolumeFormat::Dicom => dicom::write_dicom(volume, path, options),
    }
}
