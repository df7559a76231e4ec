//! What can go wrong at the border with files: always which file, what was expected and what was found.

use carm::GeometryError;
use std::io;
use std::path::{Path, PathBuf};

/// A file that cannot be read or written as what it should be. Messages never carry patient data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterchangeError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The name tells no format that is known for this purpose.
    #[error("{}: expected {expected}, found {found}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Which names or contents are known.
        expected: &'static str,
        /// What the name or the content is.
        found: String,
    },
    /// The content breaks its format, or says something that this program does not support.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        what: String,
        /// What should have been there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Fewer or more bytes than the header tells.
    #[error(
        "{}: expected {expected_bytes} bytes of samples ({sizes}), found {found_bytes}", path.display()
    )]
    Size {
        /// The file that holds the samples.
        path: PathBuf,
        /// The sizes told by the header, such as `5 x 7 x 9 float32`.
        sizes: String,
        /// Bytes that the sizes ask for.
        expected_bytes: u64,
        /// Bytes that are there.
        found_bytes: u64,
    },
    /// The geometry in a file is not one that a volume or a scan can have.
    #[error("{}: {source}", path.display())]
    Geometry {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GeometryError,
    },
    /// A stack and its geometry are of different scans.
    #[error(
        "{}: expected one matrix a view, found {views} views in the stack and {matrices} matrices in {}",
        path.display(), geometry.display()
    )]
    ViewCount {
        /// The stack.
        path: PathBuf,
        /// The geometry file.
        geometry: PathBuf,
        /// Views in the stack.
        views: usize,
        /// Matrices in the geometry.
        matrices: usize,
    },
    /// A folder with no DICOM image in it.
    #[error("{}: expected a folder with DICOM images, found {files} files and none of them", path.display())]
    NoDicomImages {
        /// The folder.
        path: PathBuf,
        /// Files that were looked at.
        files: usize,
    },
    /// More than one volume in one place: the caller has to choose.
    #[error(
        "{}: expected the slices of one volume, found {}", path.display(), list_series(series)
    )]
    SeveralSeries {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        series: Vec<SeriesSummary>,
    },
    /// The chosen series is not there.
    #[error(
        "{}: expected the DICOM series {expected}, found {}", path.display(), list_series(series)
    )]
    NoSuchSeries {
        /// The folder.
        path: PathBuf,
        /// The SeriesInstanceUID asked for.
        expected: String,
        /// What is in it.
        series: Vec<SeriesSummary>,
    },
    /// Slices whose distances differ: a missing slice, or a scan with changing increments.
    #[error(
        "{}: expected evenly spaced slices, found steps from {smallest_mm:.4} to {largest_mm:.4} mm (median \
         {median_mm:.4}) between {slices} slices; the odd one follows slice {after_slice} at {position_mm:.3} \
         mm along the normal",
        path.display()
    )]
    UnevenSlices {
        /// The folder or file.
        path: PathBuf,
        /// Number of slices.
        slices: usize,
        /// Smallest step, mm.
        smallest_mm: f64,
        /// Median step, mm.
        median_mm: f64,
        /// Largest step, mm.
        largest_mm: f64,
        /// Slice (sorted along the normal, from 0) before the step that differs most from the median.
        after_slice: usize,
        /// Its position along the normal, mm.
        position_mm: f64,
    },
    /// Several slices at one place with different pixels, as in a series with several phases.
    #[error(
        "{}: expected one slice at each position, found {duplicates} more with other pixels, the first at \
         {position_mm:.3} mm along the normal",
        path.display()
    )]
    DuplicateSlices {
        /// The folder or file.
        path: PathBuf,
        /// Slices beyond one a position.
        duplicates: usize,
        /// Position of the first along the normal, mm.
        position_mm: f64,
    },
    /// A DICOM library gave up on a file. Its own words are kept apart from values of the data set.
    #[error("{}: expected a readable DICOM {what}, found {cause}", path.display())]
    Dicom {
        /// The file.
        path: PathBuf,
        /// Which part was being read or written.
        what: &'static str,
        /// The cause, without values of the data set.
        cause: String,
    },
    /// The volume has what the chosen format cannot hold.
    #[error("{}: {format} holds {expected}, found {found}", path.display())]
    NotRepresentable {
        /// The file to be written.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// What it can hold.
        expected: String,
        /// What the volume has.
        found: String,
    },
}

/// One series of DICOM images in a folder, told without patient data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSummary {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Modality code, such as `CT`.
    pub modality: String,
    /// Images (frames of multi-frame objects count each).
    pub images: usize,
    /// Columns and rows of the images.
    pub size: [usize; 2],
}

fn list_series(series: &[SeriesSummary]) -> String {
    let told = series.iter().map(|one| {
        format!(
            "{} {} images of {}x{} in series {}",
            one.images, one.modality, one.size[0], one.size[1], one.series_instance_uid
        )
    });
    told.collect::<Vec<_>>().join(", ")
}

impl InterchangeError {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn geometry(path: &Path) -> impl FnOnce(GeometryError) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Geometry { path, source }
    }

    pub(crate) fn content(
        path: &Path,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Content {
            path: path.to_path_buf(),
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn dicom(path: &Path, what: &'static str, cause: impl Into<String>) -> Self {
        Self::Dicom { path: path.to_path_buf(), what, cause: cause.into() }
    }
}
