//! Projection runs in DICOM: X-Ray Angiographic, Radiofluoroscopic and their Enhanced twins in, X-Ray Angiographic out.
//!
//! The attributes tell angles (PS3.3 C.8.7.5), distances, pixel pitch, frame times, exposure, mask frames and what a stored
//! value means; [`attributes`] takes them from wherever an object keeps them, [`read`] makes a run of them and names what is
//! missing, [`write`] makes an object of a run.
//!
//! # Geometry
//!
//! Two angles and two distances describe an ideal C-arm: offsets, tilt and wobble of the real one are not in them. The
//! angles are the patient's own (PS3.3 C.8.7.5.1.2), so that such a run lies in LPS, its origin at the isocenter, however
//! the patient lay.
//!
//! # Grey scale
//!
//! `LIN` values are proportional to the intensity; where nothing tells the unattenuated one, the brightest values stand for
//! it. `LOG` values are optical densities where a rescale says so (PS3.3 C.11.1, type `OD`: thousandths), else their scale
//! is not known and Hounsfield units cannot be. `DISP` values are for looking only.

mod attributes;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Angiogram, AngiogramFrames};
pub use write::{AngiogramWriter, WrittenAngiogram};

use super::object::{open_header, text};
use super::structure::has_dicom_prefix;
use dicom_dictionary_std::{tags, uids};
use std::path::Path;

/// Classes of projection runs.
const CLASSES: [(&str, &str); 4] = [
    (uids::X_RAY_ANGIOGRAPHIC_IMAGE_STORAGE, "X-Ray Angiographic"),
    (uids::ENHANCED_XA_IMAGE_STORAGE, "Enhanced XA"),
    (uids::X_RAY_RADIOFLUOROSCOPIC_IMAGE_STORAGE, "X-Ray Radiofluoroscopic"),
    (uids::ENHANCED_XRF_IMAGE_STORAGE, "Enhanced XRF"),
];

/// First words of the remark on a run whose matrices come from angles and distances alone.
pub const NOMINAL_GEOMETRY: &str = "nominal geometry";
/// First words of the remark on a run whose values say nothing of attenuation.
pub const ARBITRARY_GREY: &str = "arbitrary grey scale";

/// Whether a file is a projection run in DICOM. Any other file, broken ones too, is not.
pub fn is_angiogram(path: &Path) -> bool {
    if !has_dicom_prefix(path).unwrap_or(false) {
        return false;
    }
    let class = open_header(path).ok().and_then(|object| text(&object, tags::SOP_CLASS_UID));
    class.is_some_and(|class| CLASSES.iter().any(|(uid, _)| *uid == class))
}
