//! What a file is, and whether it is sound: every header checked, every sample read once, nothing kept.
//!
//! Memory stays small whatever a file declares: volumes are read in pieces, DICOM frames one by one after the
//! [structure](crate::dicom) was walked. Findings and facts are of sizes, geometry and coding, never of people.

use crate::dicom::{object, pixels::Frames, structure};
use crate::error::InterchangeError;
use crate::format::VolumeFormat;
use crate::stored::StoredVolume;
use crate::{matrices, metaimage, nifti, nrrd, projection_stack, rtk_geometry};
use dicom_dictionary_std::tags;
use nalgebra::Vector3;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long frames of one DICOM file are decoded before the rest is left and said so.
const DECODE_TIME_MAX: Duration = Duration::from_secs(8);
/// Largest DICOM file that is opened: the library holds it in memory, and more than once while decoding.
const DICOM_BYTES_MAX: u64 = 256 << 20;

/// What was found in a file or folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What it is, such as `NIfTI volume`.
    pub kind: String,
    /// True when nothing in it is broken.
    pub is_sound: bool,
    /// What is broken (then `is_sound` is false), or worth knowing.
    pub findings: Vec<String>,
    /// Names and values, in order.
    pub facts: Vec<(String, String)>,
}

impl Inspection {
    fn of(kind: &str) -> Self {
        Self { kind: kind.into(), is_sound: true, ..Self::default() }
    }

    fn fact(&mut self, name: &str, value: impl ToString) {
        self.facts.push((name.into(), value.to_string()));
    }

    fn broken(&mut self, error: &InterchangeError) {
        self.is_sound = false;
        self.findings.push(error.to_string());
    }
}

/// Inspects a file or folder of any format of this crate. Never fails and never panics: what cannot be read is
/// an unsound file whose findings say why.
pub fn inspect_file(path: &Path) -> Inspection {
    let mut inspection = Inspection::of("unknown");
    let length = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return inspect_folder(path),
        Ok(metadata) => metadata.len(),
        Err(error) => {
            inspection.broken(&InterchangeError::io(path, "open")(error));
            return inspection;
        }
    };
    let is_dicom = structure::has_dicom_prefix(path).unwrap_or(false);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    inspection = match (extension.as_str(), VolumeFormat::of(path)) {
        _ if is_dicom => inspect_dicom(path, length),
        ("xml", _) => inspect_rtk_geometry(path),
        ("txt", _) => inspect_matrices(path),
        ("raw" | "json", _) => inspect_raw_stack(path),
        (_, Some(VolumeFormat::Nifti)) => inspect_volume("NIfTI volume", nifti::open(path)),
        (_, Some(VolumeFormat::MetaImage)) => {
            inspect_volume("MetaImage volume or stack", metaimage::open(path))
        }
        (_, Some(VolumeFormat::Nrrd)) => inspect_volume("NRRD volume", nrrd::open(path)),
        (_, Some(VolumeFormat::Dicom)) => inspect_dicom(path, length),
        (_, None) => {
            let error = InterchangeError::UnknownFormat {
                path: path.into(),
                expected: "a volume, a projection stack, a scan geometry or a DICOM file",
                found: format!("extension {extension:?} and no DICOM prefix"),
            };
            inspection.broken(&error);
            inspection
        }
    };
    inspection.facts.insert(0, ("bytes".into(), length.to_string()));
    inspection
}

fn inspect_volume(kind: &str, opened: Result<StoredVolume, InterchangeError>) -> Inspection {
    let mut inspection = Inspection::of(kind);
    let stored = match opened {
        Ok(stored) => stored,
        Err(error) => {
            inspection.broken(&error);
            return inspection;
        }
    };
    inspection.fact("samples", stored.sizes());
    let [sx, sy, sz] = stored.grid.spacing_mm;
    inspection.fact("spacing_mm", format!("{sx} x {sy} x {sz}"));
    let vector = |v: Vector3<f64>| format!("{:.6} {:.6} {:.6}", v.x, v.y, v.z);
    inspection.fact("origin_lps_mm", vector(stored.grid.origin.coords));
    for (axis, name) in ["axis_i_lps", "axis_j_lps", "axis_k_lps"].into_iter().enumerate() {
        inspection.fact(name, vector(stored.grid.direction.column(axis).into_owned()));
    }
    let (mut lowest, mut highest, mut odd) = (f32::INFINITY, f32::NEG_INFINITY, 0_u64);
    let passed = stored.visit(|values| {
        for &value in values {
            if value.is_finite() {
                lowest = lowest.min(value);
                highest = highest.max(value);
            } else {
                odd += 1;
            }
        }
    });
    inspection.findings.extend(stored.warnings.iter().cloned());
    match passed {
        Err(error) => inspection.broken(&error),
        Ok(passed) => {
            inspection.fact("values", format!("{lowest} to {highest}"));
            if odd > 0 {
                inspection.findings.push(format!("{odd} samples are not finite"));
            }
            if passed.has_more {
                inspection.findings.push("the file goes on after the last sample".into());
            }
        }
    }
    inspection
}

fn inspect_rtk_geometry(path: &Path) -> Inspection {
    let mut inspection = Inspection::of("RTK geometry");
    match rtk_geometry::read(path) {
        Err(error) => inspection.broken(&error),
        Ok(geometry) => {
            inspection.fact("views", geometry.views.len());
            let first = geometry.views[0];
            inspection.fact("source_to_isocenter_mm", first.source_to_isocenter_mm);
            inspection.fact("source_to_detector_mm", first.source_to_detector_mm);
            let degrees = geometry.views.iter().map(|view| view.gantry_angle_rad.to_degrees());
            let (low, high) = degrees.fold((f64::MAX, f64::MIN), |(low, high), d| (low.min(d), high.max(d)));
            inspection.fact("gantry_angle_deg", format!("{low:.3} to {high:.3}"));
        }
    }
    inspection
}

fn inspect_matrices(path: &Path) -> Inspection {
    let mut inspection = Inspection::of("projection matrices");
    match matrices::read_matrices(path) {
        Err(error) => inspection.broken(&error),
        Ok(matrices) => {
            inspection.fact("views", matrices.len());
            let detector = carm::DetectorGrid { nu: 1, nv: 1, pixel_pitch_u_mm: 1.0, pixel_pitch_v_mm: 1.0 };
            match carm::ScanGeometry::from_matrices(detector, matrices) {
                Ok(geometry) => {
                    let side = if geometry.views()[0].is_right_handed() { "positive" } else { "negative" };
                    inspection.fact("determinants", side);
                }
                Err(error) => inspection.broken(&InterchangeError::geometry(path)(error)),
            }
        }
    }
    inspection
}

fn inspect_raw_stack(path: &Path) -> Inspection {
    match projection_stack::open_stack(path) {
        Ok((stored, _)) => inspect_volume("raw projection stack", Ok(stored)),
        Err(error) => inspect_volume("raw projection stack", Err(error)),
    }
}

fn inspect_folder(path: &Path) -> Inspection {
    if path.join("meta.json").is_file() {
        return inspect_raw_stack(path);
    }
    let mut inspection = Inspection::of("DICOM folder");
    match crate::dicom::read_dicom(path, None) {
        Err(error) => inspection.broken(&error),
        Ok(volume) => {
            let [nx, ny, nz] = volume.grid.shape;
            inspection.fact("voxels", format!("{nx} x {ny} x {nz}"));
            let [sx, sy, sz] = volume.grid.spacing_mm;
            inspection.fact("spacing_mm", format!("{sx} x {sy} x {sz}"));
            inspection.findings.extend(volume.provenance.warnings);
        }
    }
    inspection
}

fn inspect_dicom(path: &Path, length: u64) -> Inspection {
    let mut inspection = Inspection::of("DICOM file");
    if let Err(error) = look_into_dicom(path, length, &mut inspection) {
        inspection.broken(&error);
    }
    inspection
}

fn look_into_dicom(path: &Path, length: u64, inspection: &mut Inspection) -> Result<(), InterchangeError> {
    let seen = structure::check(path)?;
    inspection.fact("transfer_syntax_uid", &seen.transfer_syntax_uid);
    inspection.fact("elements", seen.elements);
    if length > DICOM_BYTES_MAX {
        inspection
            .findings
            .push("pixel data of more than 256 MiB: its structure was checked, not its frames".into());
        return Ok(());
    }
    if !seen.unknown_sequences.is_empty() {
        let count = seen.unknown_sequences.len();
        inspection.findings.push(format!("{count} elements hold sequences of unknown VR: not looked into"));
    }
    let object = object::open_all(path)?;
    for (name, tag) in [
        ("sop_class_uid", tags::SOP_CLASS_UID),
        ("modality", tags::MODALITY),
        ("photometric_interpretation", tags::PHOTOMETRIC_INTERPRETATION),
    ] {
        if let Some(value) = object::text(&object, tag) {
            inspection.fact(name, value);
        }
    }
    if seen.pixel_data_bytes.is_none() {
        inspection.findings.push("no pixel data".into());
        return Ok(());
    }
    let frames = Frames::of(path, &object)?;
    let format = frames.format;
    inspection.fact("frame_size", format!("{} x {}", format.columns, format.rows));
    inspection.fact("frames", format.frames);
    inspection.fact("bits_stored", format.bits_stored);
    let (start, mut hash) = (Instant::now(), FNV_OFFSET);
    for frame in 0..format.frames {
        hash = fnv_1a(hash, &frames.frame_bytes(frame)?);
        if start.elapsed() > DECODE_TIME_MAX && frame + 1 < format.frames {
            let decoded = frame + 1;
            inspection.findings.push(format!("{decoded} of {} frames were decoded in time", format.frames));
            return Ok(());
        }
    }
    inspection.fact("pixels_hash", format!("{hash:016x}"));
    Ok(())
}

/// Start of the FNV-1a hash of 64 bits (G. Fowler, L. Noll, K.-P. Vo): tells equal pixels, protects nothing.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv_1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
