//! A folder of DICOM files, of which one series is the volume.

use super::image::{self, ImageFile};
use super::{object, structure};
use crate::error::{InterchangeError, SeriesSummary};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep folders are searched; exports nest patient, study, series.
const DEPTH_MAX: usize = 8;
/// Most files that are looked at.
const FILES_MAX: usize = 100_000;

/// The images of one series, and what was left out on the way.
pub(crate) struct Series {
    pub images: Vec<ImageFile>,
    pub warnings: Vec<String>,
}

/// Describes a file, or picks a series of a folder.
///
/// # Errors
/// A broken DICOM file, by its name; no image; several series and none chosen.
pub(crate) fn find(path: &Path, chosen_uid: Option<&str>) -> Result<Series, InterchangeError> {
    let is_folder = fs::metadata(path).map_err(InterchangeError::io(path, "open"))?.is_dir();
    let mut files = Vec::new();
    if is_folder {
        collect(path, 0, &mut files)?;
        files.sort();
    } else {
        files.push(path.to_path_buf());
    }
    let (mut by_series, mut others) = (BTreeMap::<String, Vec<ImageFile>>::new(), 0);
    for file in &files {
        if is_folder && !structure::has_dicom_prefix(file)? {
            others += 1;
            continue;
        }
        let seen = structure::check(file)?;
        match image::describe(file, &object::open_header(file)?, &seen)? {
            Some(image) => by_series.entry(image.series_instance_uid.clone()).or_default().push(image),
            None => others += 1,
        }
    }
    let images = choose(path, by_series, chosen_uid, files.len())?;
    let warnings = match others {
        0 => Vec::new(),
        others => vec![format!("{others} files that are no DICOM images were left out")],
    };
    Ok(Series { images, warnings })
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), InterchangeError> {
    for entry in fs::read_dir(folder).map_err(InterchangeError::io(folder, "list"))? {
        let entry = entry.map_err(InterchangeError::io(folder, "list"))?;
        let kind = entry.file_type().map_err(InterchangeError::io(folder, "list"))?;
        if kind.is_dir() && depth < DEPTH_MAX {
            collect(&entry.path(), depth + 1, files)?;
        } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
            files.push(entry.path());
        }
        if files.len() > FILES_MAX {
            let found = "more in this folder";
            return Err(InterchangeError::content(folder, "folder", "at most 100000 files", found));
        }
    }
    Ok(())
}

fn choose(
    path: &Path,
    mut by_series: BTreeMap<String, Vec<ImageFile>>,
    chosen_uid: Option<&str>,
    files: usize,
) -> Result<Vec<ImageFile>, InterchangeError> {
    if let Some(images) = chosen_uid.and_then(|uid| by_series.remove(uid)) {
        return Ok(images);
    }
    let summaries: Vec<SeriesSummary> = by_series.values().map(|images| summary(images)).collect();
    match (chosen_uid, by_series.len()) {
        (_, 0) => Err(InterchangeError::NoDicomImages { path: path.into(), files }),
        (Some(uid), _) => {
            Err(InterchangeError::NoSuchSeries { path: path.into(), expected: uid.into(), series: summaries })
        }
        (None, 1) => Ok(by_series.into_values().next().unwrap_or_default()),
        (None, _) => Err(InterchangeError::SeveralSeries { path: path.into(), series: summaries }),
    }
}

fn summary(images: &[ImageFile]) -> SeriesSummary {
    let first = &images[0];
    SeriesSummary {
        series_instance_uid: first.series_instance_uid.clone(),
        modality: first.modality.clone(),
        images: images.iter().map(|image| image.frames).sum(),
        size: first.size,
    }
}
