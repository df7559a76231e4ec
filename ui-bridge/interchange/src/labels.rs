//! Volumes of bytes: labels, or bits of a mask, on the grid of the volume that they belong to.

use crate::error::InterchangeError;
use crate::format::VolumeFormat;
use crate::{metaimage, nifti, nrrd};
use carm::VolumeGrid;
use ndarray::Array3;
use std::path::Path;

/// Bytes on a grid, as the formats' writers take them.
pub(crate) struct Labels<'a> {
    pub grid: &'a VolumeGrid,
    /// `[z, y, x]`, x fastest.
    pub bytes: &'a [u8],
    pub meaning: &'a str,
}

/// Refuses a name whose format holds no labels here: `.nii`, `.nii.gz`, `.mha` and `.nrrd` do.
///
/// # Errors
/// An unknown extension, or a format that is written in several files or with a rescale.
pub fn check_labels_format(path: &Path) -> Result<(), InterchangeError> {
    labels_format(path).map(|_| ())
}

fn labels_format(path: &Path) -> Result<VolumeFormat, InterchangeError> {
    let format = VolumeFormat::required(path)?;
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if format == VolumeFormat::Dicom || matches!(extension.as_str(), "mhd" | "nhdr") {
        return Err(InterchangeError::NotRepresentable {
            path: path.into(),
            format: "a volume of labels",
            expected: ".nii, .nii.gz, .mha or .nrrd".into(),
            found: if extension.is_empty() { "no extension".into() } else { format!(".{extension}") },
        });
    }
    Ok(format)
}

/// Writes one byte a voxel, `labels[z, y, x]` on `grid`; the format is told by the name. `meaning` says in a few words
/// what numbers or bits stand for; NIfTI keeps as much of it as its description holds. The file appears whole or not at
/// all.
///
/// # Errors
/// As [`check_labels_format`], what the file system refuses, and volumes that the format cannot hold.
///
/// # Panics
/// When the array's shape is not the grid's: a bug of the caller.
pub fn write_labels(
    grid: &VolumeGrid,
    labels: &Array3<u8>,
    meaning: &str,
    path: &Path,
) -> Result<(), InterchangeError> {
    let [nx, ny, nz] = grid.shape;
    assert_eq!(labels.shape(), [nz, ny, nx], "labels [z, y, x] against grid [nx, ny, nz]");
    let bytes = labels.as_standard_layout();
    let labels = Labels { grid, bytes: bytes.as_slice().expect("standard layout is contiguous"), meaning };
    match labels_format(path)? {
        VolumeFormat::Nifti => nifti::write_labels(&labels, path),
        VolumeFormat::Nrrd => nrrd::write_labels(&labels, path),
        _ => metaimage::write_labels(&labels, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::oblique_volume;
    use crate::{inspect_file, read_volume};

    #[test]
    fn labels_come_back_in_place_one_byte_each() {
        let volume = oblique_volume();
        let labels = Array3::from_shape_fn(volume.values.dim(), |(z, y, x)| (x + 10 * y + 50 * z) as u8);
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"] {
            let path = folder.path().join(name);
            write_labels(&volume.grid, &labels, "bits", &path).unwrap();
            let read = read_volume(&path).unwrap();
            assert_eq!(read.values, labels.mapv(f32::from), "{name}");
            assert!((read.grid.origin - volume.grid.origin).norm() < 1e-4, "{name}");
            assert!(format!("{:?}", inspect_file(&path)).contains("uint8"), "{name}");
        }
        for name in ["a.dcm", "a.mhd", "a.nhdr", "a.xyz"] {
            let path = folder.path().join(name);
            let error = write_labels(&volume.grid, &labels, "bits", &path).unwrap_err().to_string();
            assert!(error.contains(".nii") && error.contains(name), "{error}");
            assert!(!path.exists());
        }
    }
}
