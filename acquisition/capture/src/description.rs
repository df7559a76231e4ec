//! The description of a run as it is stored: JSON for all that is small, packed attachments for the maps.
//!
//! The stored shape is its own set of types, so that the vocabulary stays free to change without a file becoming
//! unreadable. Numbers are written with the fewest digits (up to 17) that read back as the same bits.

use crate::codec::{MAX_PIXELS, pack_map, unpack_map};
use crate::error::CaptureError;
use carm::{
    BeamModel, DetectorCalibration, DetectorGrid, DeviceIdentity, PatientPosition, PatientSetup, PixelDefect,
    PlannedView, ProjectionMatrix, RunDescription, TablePose, VolumeGrid, WallTime,
};
use nalgebra::{Matrix3, Matrix3x4, Point3};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Attachment with the description.
pub(crate) const DESCRIPTION_NAME: &str = "run.json";
/// Attachment with the counts without X-rays.
pub(crate) const DARK_NAME: &str = "detector/dark_counts.map";
/// Attachment with the relative response.
pub(crate) const GAIN_NAME: &str = "detector/gain.map";
/// Every attachment that a run may hold.
pub(crate) const ATTACHMENT_NAMES: [&str; 3] = [DESCRIPTION_NAME, DARK_NAME, GAIN_NAME];

const FORMAT: u32 = 1;

/// One attachment, ready to be written or just read.
#[derive(Clone, Debug)]
pub(crate) struct StoredPart {
    pub(crate) name: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) contents: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredRun {
    format: u32,
    run_id: String,
    protocol: String,
    device: StoredDevice,
    seed: Option<u64>,
    detector: StoredDetector,
    bits_stored: u8,
    frame_rate_hz: f64,
    planned_views: Vec<StoredView>,
    detector_calibration: Option<StoredCalibration>,
    beam: StoredBeam,
    patient: StoredPatient,
    volume_grid: Option<StoredGrid>,
    remarks: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredDevice {
    manufacturer: String,
    model: String,
    serial_number: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredDetector {
    nu: usize,
    nv: usize,
    pixel_pitch_u_mm: f64,
    pixel_pitch_v_mm: f64,
}

/// Matrices row by row; the inverse of the left block is kept so that its bits come back too.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredView {
    primary_angle_rad: f64,
    projection_matrix: [f64; 12],
    m_inverse: [f64; 9],
}

/// A map in an attachment: shape, and BLAKE3 of its packed bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredMap {
    rows: usize,
    columns: usize,
    blake3: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredCalibration {
    dark_counts: StoredMap,
    gain: StoredMap,
    /// Pairs of column and row.
    defects: Vec<[u32; 2]>,
    air_intensity_per_mas: f64,
    electronic_variance: f64,
    variance_per_count: f64,
    saturation_counts: u16,
    tube_voltage_kv: f64,
    binning: u8,
    acquired_unix_ns: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredBeam {
    tube_voltage_kv: f64,
    effective_energy_kev: f64,
    mu_water_per_mm: f64,
    water_precorrection: Vec<f64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredPatient {
    position: String,
    table_lateral_mm: f64,
    table_vertical_mm: f64,
    table_longitudinal_mm: f64,
    isocenter_lps_mm: [f64; 3],
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredGrid {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    /// Row by row.
    direction: [f64; 9],
    origin_lps_mm: [f64; 3],
}

/// Packs a description into its attachments.
pub(crate) fn to_parts(run: &RunDescription) -> Result<Vec<StoredPart>, CaptureError> {
    let refuse = |found: String| CaptureError::DescriptionNotStorable { max_pixels: MAX_PIXELS, found };
    if !(1..=MAX_PIXELS).contains(&run.detector.pixel_count()) {
        return Err(refuse(format!("a detector of {} x {} pixels", run.detector.nu, run.detector.nv)));
    }
    let mut maps = Vec::new();
    let calibration = match &run.detector_calibration {
        Some(calibration) => Some(store_calibration(calibration, &mut maps)?),
        None => None,
    };
    let stored = store(run, calibration);
    let json = serde_json::to_vec_pretty(&stored).map_err(|error| refuse(error.to_string()))?;
    match serde_json::from_slice::<StoredRun>(&json) {
        Ok(back) if back == stored => drop(restore(back, None).map_err(refuse)?),
        Ok(_) => return Err(refuse("a number that does not read back as it was".into())),
        // JSON has no NaN and no infinity: they come out as null and do not read back.
        Err(error) => return Err(refuse(format!("a number that is not finite ({error})"))),
    }
    let mut parts =
        vec![StoredPart { name: DESCRIPTION_NAME, media_type: "application/json", contents: json }];
    parts.extend(maps);
    Ok(parts)
}

/// Restores a description; `attachment` gives the contents of every sound copy of a named attachment.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn from_parts(
    json: &[u8],
    mut attachment: impl FnMut(&str) -> Vec<Vec<u8>>,
) -> Result<RunDescription, String> {
    let stored: StoredRun = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let calibration = match &stored.detector_calibration {
        Some(calibration) => Some(restore_calibration(calibration, &mut attachment)?),
        None => None,
    };
    restore(stored, calibration)
}

fn row_major<const N: usize>(values: impl Iterator<Item = f64>) -> [f64; N] {
    let mut row_major = [0.0; N];
    row_major.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    row_major
}

fn store_calibration(
    calibration: &DetectorCalibration,
    maps: &mut Vec<StoredPart>,
) -> Result<StoredCalibration, CaptureError> {
    let mut store_map = |name: &'static str, map: &Array2<f32>| {
        let (rows, columns) = map.dim();
        if rows.checked_mul(columns).is_none_or(|count| count > MAX_PIXELS) {
            let found = format!("{name} of {columns} x {rows}");
            return Err(CaptureError::DescriptionNotStorable { max_pixels: MAX_PIXELS, found });
        }
        let values: Vec<f32> = map.iter().copied().collect();
        let contents = pack_map(&values).map_err(|error| CaptureError::DescriptionNotStorable {
            max_pixels: MAX_PIXELS,
            found: format!("{name} that could not be packed: {error}"),
        })?;
        let blake3 = blake3::hash(&contents).to_hex().to_string();
        let media_type = "application/x-isocenter-map";
        maps.push(StoredPart { name, media_type, contents });
        Ok(StoredMap { rows, columns, blake3 })
    };
    Ok(StoredCalibration {
        dark_counts: store_map(DARK_NAME, &calibration.dark_counts)?,
        gain: store_map(GAIN_NAME, &calibration.gain)?,
        defects: calibration.defects.iter().map(|defect| [defect.u, defect.v]).collect(),
        air_intensity_per_mas: calibration.air_intensity_per_mas,
        electronic_variance: calibration.electronic_variance,
        variance_per_count: calibration.variance_per_count,
        saturation_counts: calibration.saturation_counts,
        tube_voltage_kv: calibration.tube_voltage_kv,
        binning: calibration.binning,
        acquired_unix_ns: calibration.acquired.0,
    })
}

fn restore_calibration(
    stored: &StoredCalibration,
    attachment: &mut impl FnMut(&str) -> Vec<Vec<u8>>,
) -> Result<DetectorCalibration, String> {
    let mut restore_map = |name: &str, map: &StoredMap| {
        let count = map.rows.checked_mul(map.columns).filter(|&count| count <= MAX_PIXELS);
        let count = count.ok_or_else(|| format!("{name}: {} x {} is too large", map.columns, map.rows))?;
        let values = attachment(name)
            .into_iter()
            .filter(|contents| blake3::hash(contents).to_hex().as_str() == map.blake3)
            .find_map(|contents| unpack_map(&contents, count))
            .ok_or_else(|| format!("{name}: no copy matches its hash"))?;
        Array2::from_shape_vec((map.rows, map.columns), values).map_err(|error| error.to_string())
    };
    Ok(DetectorCalibration {
        dark_counts: restore_map(DARK_NAME, &stored.dark_counts)?,
        gain: restore_map(GAIN_NAME, &stored.gain)?,
        defects: stored.defects.iter().map(|&[u, v]| PixelDefect { u, v }).collect(),
        air_intensity_per_mas: stored.air_intensity_per_mas,
        electronic_variance: stored.electronic_variance,
        variance_per_count: stored.variance_per_count,
        saturation_counts: stored.saturation_counts,
        tube_voltage_kv: stored.tube_voltage_kv,
        binning: stored.binning,
        acquired: WallTime(stored.acquired_unix_ns),
    })
}

fn store(run: &RunDescription, detector_calibration: Option<StoredCalibration>) -> StoredRun {
    let view = |view: &PlannedView| StoredView {
        primary_angle_rad: view.primary_angle_rad,
        projection_matrix: row_major(view.projection_matrix.matrix().transpose().iter().copied()),
        m_inverse: row_major(view.projection_matrix.m_inverse().transpose().iter().copied()),
    };
    let grid = |grid: &VolumeGrid| StoredGrid {
        shape: grid.shape,
        spacing_mm: grid.spacing_mm,
        direction: row_major(grid.direction.transpose().iter().copied()),
        origin_lps_mm: grid.origin.coords.into(),
    };
    StoredRun {
        format: FORMAT,
        run_id: run.run_id.clone(),
        protocol: run.protocol.clone(),
        device: StoredDevice {
            manufacturer: run.device.manufacturer.clone(),
            model: run.device.model.clone(),
            serial_number: run.device.serial_number.clone(),
        },
        seed: run.seed,
        detector: StoredDetector {
            nu: run.detector.nu,
            nv: run.detector.nv,
            pixel_pitch_u_mm: run.detector.pixel_pitch_u_mm,
            pixel_pitch_v_mm: run.detector.pixel_pitch_v_mm,
        },
        bits_stored: run.bits_stored,
        frame_rate_hz: run.frame_rate_hz,
        planned_views: run.planned_views.iter().map(view).collect(),
        detector_calibration,
        beam: StoredBeam {
            tube_voltage_kv: run.beam.tube_voltage_kv,
            effective_energy_kev: run.beam.effective_energy_kev,
            mu_water_per_mm: run.beam.mu_water_per_mm,
            water_precorrection: run.beam.water_precorrection.clone(),
        },
        patient: StoredPatient {
            position: run.patient.position.code().into(),
            table_lateral_mm: run.patient.table.lateral_mm,
            table_vertical_mm: run.patient.table.vertical_mm,
            table_longitudinal_mm: run.patient.table.longitudinal_mm,
            isocenter_lps_mm: run.patient.isocenter_lps.coords.into(),
        },
        volume_grid: run.volume_grid.as_ref().map(grid),
        remarks: run.remarks.clone(),
    }
}

fn restore(
    stored: StoredRun,
    detector_calibration: Option<DetectorCalibration>,
) -> Result<RunDescription, String> {
    if stored.format != FORMAT {
        return Err(format!("expected description format {FORMAT}, found {}", stored.format));
    }
    let text = |error: carm::GeometryError| error.to_string();
    let d = &stored.detector;
    if d.nu.checked_mul(d.nv).is_none_or(|count| count > MAX_PIXELS) {
        return Err(format!("expected a detector of at most {MAX_PIXELS} pixels, found {} x {}", d.nu, d.nv));
    }
    let view = |view: &StoredView| {
        let p = Matrix3x4::from_row_slice(&view.projection_matrix);
        let projection_matrix =
            ProjectionMatrix::from_stored(p, Matrix3::from_row_slice(&view.m_inverse)).map_err(text)?;
        Ok::<_, String>(PlannedView { primary_angle_rad: view.primary_angle_rad, projection_matrix })
    };
    let grid = |grid: StoredGrid| {
        let direction = Matrix3::from_row_slice(&grid.direction);
        VolumeGrid::new(grid.shape, grid.spacing_mm, direction, Point3::from(grid.origin_lps_mm))
            .map_err(text)
    };
    Ok(RunDescription {
        run_id: stored.run_id,
        protocol: stored.protocol,
        device: DeviceIdentity {
            manufacturer: stored.device.manufacturer,
            model: stored.device.model,
            serial_number: stored.device.serial_number,
        },
        seed: stored.seed,
        detector: DetectorGrid::new([d.nu, d.nv], [d.pixel_pitch_u_mm, d.pixel_pitch_v_mm]).map_err(text)?,
        bits_stored: stored.bits_stored,
        frame_rate_hz: stored.frame_rate_hz,
        planned_views: stored.planned_views.iter().map(view).collect::<Result<_, _>>()?,
        detector_calibration,
        beam: BeamModel {
            tube_voltage_kv: stored.beam.tube_voltage_kv,
            effective_energy_kev: stored.beam.effective_energy_kev,
            mu_water_per_mm: stored.beam.mu_water_per_mm,
            water_precorrection: stored.beam.water_precorrection,
        },
        patient: PatientSetup {
            position: stored
                .patient
                .position
                .parse::<PatientPosition>()
                .map_err(|_| "expected a DICOM patient position".to_string())?,
            table: TablePose {
                lateral_mm: stored.patient.table_lateral_mm,
                vertical_mm: stored.patient.table_vertical_mm,
                longitudinal_mm: stored.patient.table_longitudinal_mm,
            },
            isocenter_lps: Point3::from(stored.patient.isocenter_lps_mm),
        },
        volume_grid: stored.volume_grid.map(grid).transpose()?,
        remarks: stored.remarks,
    })
}
