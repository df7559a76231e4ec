//! An X-ray object as a run.

use super::attributes::{Place, seconds};
use super::{ARBITRARY_GREY, CLASSES, NOMINAL_GEOMETRY};
use crate::dicom::object::{Object, items, number, numbers, open_all, text};
use crate::dicom::pixels::{Frames, PixelFormat};
use crate::dicom::structure::check;
use crate::error::InterchangeError;
use carm::converters::{CarmAngles, CarmDistances, projection_from_carm_angles};
use carm::{
    BeamModel, ClockStamps, DetectorCalibration, DetectorGrid, DeviceIdentity, DeviceTime, Exposure,
    FrameHeader, GantryPose, GeometryError, HostTime, PatientSetup, Pedal, PlannedView, RunDescription,
    VolumeGrid, WallTime,
};
use dicom_dictionary_std::tags;
use nalgebra::{Matrix3, Point3};
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// Tube charge of a frame whose exposure nobody tells: any will do, because the brightest values stand for the bare beam.
const UNKNOWN_CHARGE: Exposure =
    Exposure { tube_voltage_kv: 0.0, tube_current_ma: 100.0, pulse_width_ms: 10.0 };
/// Frame rate where nothing tells it, 1/s.
const UNKNOWN_RATE_HZ: f64 = 15.0;
/// Share of the values that lie above the one which stands for the unattenuated beam.
const BRIGHTEST: f64 = 0.001;
/// Frames and values looked at for it.
const LOOKED_AT: usize = 24;
/// Unattenuated intensity of logarithmic values, counts: any scale will do.
const LOG_AIR: f64 = 60_000.0;
/// Less of an arc than this is no rotation, degrees.
const LEAST_ARC_DEG: f64 = 30.0;
/// Angles closer than this are one, degrees.
const SAME_ANGLE_DEG: f64 = 1e-4;
/// Voxels along each side of the volume that a rotation is meant for.
const GRID: usize = 256;

/// A projection run in a DICOM file.
pub struct Angiogram {
    path: PathBuf,
    object: Object,
    /// What the attributes tell, as a run's description. Without a rotation or a grey scale that allows it there are no
    /// planned views or no maps.
    pub description: RunDescription,
    /// Of every frame.
    pub headers: Vec<FrameHeader>,
    /// Attributes that are missing, and what was taken in their place.
    pub missing: Vec<String>,
    /// Frames that were to be subtracted from the others, counted from 1.
    pub mask_frames: Vec<usize>,
}

impl Angiogram {
    /// Opens a file and reads its attributes; `mu_water_per_mm` is the attenuation that Hounsfield units refer to.
    ///
    /// # Errors
    /// A file that is no such object, or whose pixels are no grey values of up to 16 bits without sign.
    pub fn open(path: &Path, mu_water_per_mm: f64) -> Result<Self, InterchangeError> {
        let object = open_all(path)?;
        let class = text(&object, tags::SOP_CLASS_UID).unwrap_or_default();
        let Some((_, class_name)) = CLASSES.iter().find(|(uid, _)| *uid == class) else {
            let expected = "X-Ray Angiographic, Radiofluoroscopic or their Enhanced twins";
            return Err(InterchangeError::content(path, "SOP class", expected, class));
        };
        let format = PixelFormat::of(path, &object)?;
        let pixel_bytes = check(path)?.pixel_data_bytes.unwrap_or(0);
        // A frame takes at least a byte of pixel data, packed or not.
        if format.frames as u64 > pixel_bytes {
            let (expected, found) =
                (format!("pixels of {} frames", format.frames), format!("{pixel_bytes} bytes"));
            return Err(InterchangeError::content(path, "NumberOfFrames", expected, found));
        }
        if format.samples_per_pixel != 1 || format.bits_allocated > 16 || format.is_signed {
            let found = format!("{} samples of {} bits", format.samples_per_pixel, format.bits_allocated);
            let expected = "grey values of up to 16 bits without sign";
            return Err(InterchangeError::content(path, "pixel format", expected, found));
        }
        let mut missing = Vec::new();
        let detector = detector(path, &object, format, &mut missing)?;
        let (times_s, frame_rate_hz) = times(&object, format.frames, &mut missing);
        let exposures: Vec<Exposure> = (0..format.frames).map(|frame| exposure(&object, frame)).collect();
        let angles = angles(&object, format.frames);
        let known = |angles: &Option<CarmAngles>| angles.is_some();
        if !angles.iter().all(known) {
            missing.push("positioner angles: taken as 0".into());
        }
        let header = |frame: usize| {
            let device = DeviceTime((times_s[frame] * 1e9) as u64);
            let exposure = exposures[frame];
            let angles = angles[frame].unwrap_or_default();
            FrameHeader {
                sequence: frame as u64,
                stamps: ClockStamps { device, host: HostTime(device.0), wall: WallTime(0) },
                mid_exposure: DeviceTime(device.0 + (exposure.pulse_width_ms * 0.5e6) as u64),
                is_xray_on: true,
                pedal: Pedal::Acquisition,
                gantry: GantryPose {
                    primary_angle_rad: angles.primary_rad,
                    secondary_angle_rad: angles.secondary_rad,
                },
                exposure: if exposure.tube_charge_mas() > 0.0 {
                    exposure
                } else {
                    Exposure { tube_voltage_kv: exposure.tube_voltage_kv, ..UNKNOWN_CHARGE }
                },
            }
        };
        let headers: Vec<FrameHeader> = (0..format.frames).map(header).collect();
        if exposures.iter().any(|exposure| exposure.tube_charge_mas() <= 0.0) {
            missing.push("exposure (tube current and pulse width): frames are taken to have the same".into());
        }
        let kv = exposures[0].tube_voltage_kv;
        if kv == 0.0 {
            missing.push("KVP: not known".into());
        }
        let device = |tag| text(&object, tag).unwrap_or_default();
        let mut description = RunDescription {
            run_id: "dicom".into(),
            protocol: (*class_name).into(),
            device: DeviceIdentity {
                manufacturer: device(tags::MANUFACTURER),
                model: device(tags::MANUFACTURER_MODEL_NAME),
                serial_number: device(tags::DEVICE_SERIAL_NUMBER),
            },
            seed: None,
            detector,
            bits_stored: format.bits_stored as u8,
            frame_rate_hz,
            planned_views: Vec::new(),
            detector_calibration: None,
            beam: BeamModel {
                tube_voltage_kv: kv,
                effective_energy_kev: 0.0,
                mu_water_per_mm,
                water_precorrection: vec![1.0],
            },
            patient: PatientSetup::default(),
            volume_grid: None,
            remarks: vec![format!("from a DICOM object of class {class_name}")],
        };
        let has_all_angles = angles.iter().all(known);
        let distances = distances(&object, &mut missing);
        if let (true, Some(distances)) = (has_all_angles, distances) {
            plan(path, &mut description, &headers, distances)?;
        }
        let mut run =
            Self { path: path.into(), object, description, headers, missing, mask_frames: Vec::new() };
        run.mask_frames = mask_frames(&run.object, format.frames);
        if !run.mask_frames.is_empty() {
            run.description.remarks.push(format!("mask frames: {:?}", run.mask_frames));
        }
        run.find_grey_scale(format)?;
        Ok(run)
    }

    /// The frames' counts: stored values as they are.
    ///
    /// # Errors
    /// Pixel data that is not there.
    pub fn frames(&self) -> Result<AngiogramFrames<'_>, InterchangeError> {
        let frames = Frames::of(&self.path, &self.object)?;
        Ok(AngiogramFrames { frames, path: &self.path })
    }

    /// Sets maps, and the remark on the grey scale, by what the stored values mean.
    fn find_grey_scale(&mut self, format: PixelFormat) -> Result<(), InterchangeError> {
        let properties = tags::FRAME_PIXEL_DATA_PROPERTIES_SEQUENCE;
        let place = Place::of(&self.object, 0);
        let relationship = place.text(properties, tags::PIXEL_INTENSITY_RELATIONSHIP).unwrap_or_default();
        let is_falling = place.number(properties, tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN) == Some(-1.0);
        let full_scale = f64::from(u16::MAX >> (16 - format.bits_stored.clamp(1, 16)));
        let bits = format.bits_stored;
        match relationship.as_str() {
            "LIN" if !is_falling => {
                let air = self.brightest()?;
                self.missing.push(format!(
                    "unattenuated intensity: {air} taken, which {} % of the values exceed",
                    100.0 * BRIGHTEST
                ));
                self.set_maps(air.max(1.0), full_scale as u16);
                if bits <= 8 {
                    self.description.remarks.push(format!(
                        "{ARBITRARY_GREY}: {bits} bits of a linear scale cannot tell dense paths apart"
                    ));
                }
            }
            "LOG" => {
                let transform = tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE;
                let slope = place.number(transform, tags::RESCALE_SLOPE).filter(|slope| *slope != 0.0);
                let intercept = place.number(transform, tags::RESCALE_INTERCEPT);
                let kind = place.text(transform, tags::RESCALE_TYPE);
                // Thousandths of an optical density, whose base is ten.
                let per_unit = std::f64::consts::LN_10 * 1e-3;
                let (zero, per_count) = match (slope, intercept, kind.as_deref()) {
                    (Some(slope), Some(intercept), Some("OD")) => (per_unit * intercept, per_unit * slope),
                    _ => {
                        self.description.remarks.push(format!(
                            "{ARBITRARY_GREY}: logarithmic values without a rescale to optical density"
                        ));
                        let per_count = full_scale.ln() / full_scale;
                        if is_falling { (0.0, per_count) } else { (full_scale.ln(), -per_count) }
                    }
                };
                let remark = format!("grey-scale log zero={zero} per-count={per_count}");
                self.description.remarks.push(remark);
                self.set_maps(LOG_AIR, u16::MAX);
            }
            other => {
                let told = if other.is_empty() { "none" } else { other };
                self.missing.push(format!(
                    "PixelIntensityRelationship: expected LIN or LOG, found {told}{}: no volume can be made",
                    if is_falling { " with sign -1" } else { "" }
                ));
            }
        }
        Ok(())
    }

    fn set_maps(&mut self, air: f64, saturation_counts: u16) {
        let size = (self.description.detector.nv, self.description.detector.nu);
        let mas = self.headers[0].exposure.tube_charge_mas();
        self.description.detector_calibration = Some(DetectorCalibration {
            dark_counts: Array2::zeros(size),
            gain: Array2::ones(size),
            defects: Vec::new(),
            air_intensity_per_mas: air / mas,
            electronic_variance: 0.0,
            // Not known; where nearly nothing arrives, the logarithm ends at one count.
            variance_per_count: 1.0,
            saturation_counts,
            tube_voltage_kv: self.description.beam.tube_voltage_kv,
            binning: 1,
            acquired: WallTime(0),
        });
    }

    /// The value that only few exceed, over some of the frames.
    fn brightest(&self) -> Result<f64, InterchangeError> {
        let mut frames = self.frames()?;
        let mut counts = vec![0; self.description.detector.pixel_count()];
        let mut histogram = vec![0_u64; 1 << 16];
        let every = self.headers.len().div_ceil(LOOKED_AT).max(1);
        for frame in (0..self.headers.len()).step_by(every) {
            frames.read(frame, &mut counts)?;
            counts.iter().for_each(|&count| histogram[usize::from(count)] += 1);
        }
        let mut above = (BRIGHTEST * histogram.iter().sum::<u64>() as f64) as u64;
        let brightest = histogram.iter().rposition(|&count| {
            let is_it = count > above;
            above = above.saturating_sub(count);
            is_it
        });
        Ok(brightest.unwrap_or(0) as f64)
    }
}

/// The pixels of a run's frames.
pub struct AngiogramFrames<'a> {
    frames: Frames<'a>,
    path: &'a Path,
}

impl AngiogramFrames<'_> {
    /// Decodes one frame into `counts`, `[v, u]`, u fastest.
    ///
    /// # Errors
    /// Pixels that cannot be decoded.
    pub fn read(&mut self, frame: usize, counts: &mut [u16]) -> Result<(), InterchangeError> {
        let values = self.frames.stored_values(frame)?;
        if values.len() != counts.len() {
            let (expected, found) = (counts.len().to_string(), values.len().to_string());
            return Err(InterchangeError::content(self.path, "pixels of a frame", expected, found));
        }
        counts.iter_mut().zip(values).for_each(|(count, value)| *count = value as u16);
        Ok(())
    }
}

fn detector(
    path: &Path,
    object: &Object,
    format: PixelFormat,
    missing: &mut Vec<String>,
) -> Result<DetectorGrid, InterchangeError> {
    let pitch = Place::of(object, 0)
        .numbers(tags::FRAME_PIXEL_DATA_PROPERTIES_SEQUENCE, tags::IMAGER_PIXEL_SPACING)
        .filter(|pitch| pitch.len() >= 2 && pitch.iter().all(|mm| *mm > 0.0));
    let pitch_mm = match pitch {
        // Between rows, then between columns.
        Some(pitch) => [pitch[1], pitch[0]],
        None => {
            missing.push("ImagerPixelSpacing: 1 mm taken".into());
            [1.0; 2]
        }
    };
    DetectorGrid::new([format.columns, format.rows], pitch_mm).map_err(InterchangeError::geometry(path))
}

/// Of every frame, seconds since the first, and the frame rate.
fn times(object: &Object, frames: usize, missing: &mut Vec<String>) -> (Vec<f64>, f64) {
    let content = tags::FRAME_CONTENT_SEQUENCE;
    let stamp = |frame: usize| {
        let place = Place::of(object, frame);
        let own = |tag| place.text(content, tag).and_then(|text| seconds(&text));
        own(tags::FRAME_REFERENCE_DATE_TIME).or_else(|| own(tags::FRAME_ACQUISITION_DATE_TIME))
    };
    let stamps: Option<Vec<f64>> = (0..frames).map(stamp).collect();
    let vector = numbers(object, tags::FRAME_TIME_VECTOR).filter(|steps| steps.len() == frames);
    let elapsed: Option<Vec<f64>> = match (stamps, vector) {
        (Some(stamps), _) => Some(stamps.iter().map(|stamp| stamp - stamps[0]).collect()),
        (None, Some(steps)) => {
            let mut sum = 0.0;
            Some(
                steps
                    .iter()
                    .map(|ms| {
                        sum += ms * 1e-3;
                        sum - steps[0] * 1e-3
                    })
                    .collect(),
            )
        }
        (None, None) => None,
    };
    let is_rising = |times: &Vec<f64>| times.windows(2).all(|pair| pair[1] > pair[0]);
    if let Some(times) = elapsed.filter(|times| times.len() > 1 && is_rising(times)) {
        let rate_hz = (times.len() - 1) as f64 / times[times.len() - 1];
        return (times, rate_hz);
    }
    let of_period = number(object, tags::FRAME_TIME).map(|ms| 1e3 / ms);
    let told = of_period
        .or_else(|| number(object, tags::RECOMMENDED_DISPLAY_FRAME_RATE))
        .or_else(|| number(object, tags::CINE_RATE))
        .filter(|rate| rate.is_finite() && *rate > 0.0);
    let rate_hz = told.unwrap_or_else(|| {
        if frames > 1 {
            missing.push(format!("frame times: {UNKNOWN_RATE_HZ} frames/s taken"));
        }
        UNKNOWN_RATE_HZ
    });
    ((0..frames).map(|frame| frame as f64 / rate_hz).collect(), rate_hz)
}

/// As told; zero for what is not.
fn exposure(object: &Object, frame: usize) -> Exposure {
    let place = Place::of(object, frame);
    let group = tags::FRAME_ACQUISITION_SEQUENCE;
    let told = |tag| place.positive(group, tag);
    let current = told(tags::X_RAY_TUBE_CURRENT_INM_A)
        .or_else(|| told(tags::X_RAY_TUBE_CURRENT_INU_A).map(|ua| ua / 1e3))
        .or_else(|| told(tags::X_RAY_TUBE_CURRENT));
    let width = place
        .positive(tags::FRAME_CONTENT_SEQUENCE, tags::FRAME_ACQUISITION_DURATION)
        .or_else(|| told(tags::AVERAGE_PULSE_WIDTH));
    Exposure {
        tube_voltage_kv: told(tags::KVP).unwrap_or(0.0),
        tube_current_ma: current.unwrap_or(0.0),
        pulse_width_ms: width.unwrap_or(0.0),
    }
}

/// The patient's own angles of every frame, unwrapped; none where they are not told.
fn angles(object: &Object, frames: usize) -> Vec<Option<CarmAngles>> {
    let primary = increments(object, tags::POSITIONER_PRIMARY_ANGLE_INCREMENT, frames);
    let secondary = increments(object, tags::POSITIONER_SECONDARY_ANGLE_INCREMENT, frames);
    let mut before_deg = None;
    let mut angles = Vec::with_capacity(frames);
    for frame in 0..frames {
        let place = Place::of(object, frame);
        let told = |tag| place.number(tags::POSITIONER_POSITION_SEQUENCE, tag);
        let first = told(tags::POSITIONER_PRIMARY_ANGLE).zip(told(tags::POSITIONER_SECONDARY_ANGLE));
        angles.push(first.map(|(first_primary, first_secondary)| {
            let mut primary_deg = first_primary + primary[frame];
            if let Some(before) = before_deg {
                let turns: f64 = (primary_deg - before) / 360.0;
                primary_deg -= 360.0 * turns.round();
            }
            before_deg = Some(primary_deg);
            CarmAngles {
                primary_rad: primary_deg.to_radians(),
                secondary_rad: (first_secondary + secondary[frame]).to_radians(),
            }
        }));
    }
    angles
}

/// Offsets from the initial angle: one value is the change per frame, a vector has one for each (PS3.3 C.8.7.5.1.3).
fn increments(object: &Object, tag: dicom_core::Tag, frames: usize) -> Vec<f64> {
    match numbers(object, tag) {
        Some(one) if one.len() == 1 => (0..frames).map(|frame| frame as f64 * one[0]).collect(),
        Some(all) if all.len() == frames => all,
        _ => vec![0.0; frames],
    }
}

fn distances(object: &Object, missing: &mut Vec<String>) -> Option<CarmDistances> {
    let place = Place::of(object, 0);
    let told = |tag| place.positive(tags::X_RAY_GEOMETRY_SEQUENCE, tag);
    let isocenter =
        told(tags::DISTANCE_SOURCE_TO_ISOCENTER).or_else(|| told(tags::DISTANCE_SOURCE_TO_PATIENT));
    let detector = told(tags::DISTANCE_SOURCE_TO_DETECTOR);
    for (name, found) in [("source to isocenter", isocenter), ("source to detector", detector)] {
        if found.is_none() {
            missing.push(format!("distance {name}: not known"));
        }
    }
    Some(CarmDistances { source_to_isocenter_mm: isocenter?, source_to_detector_mm: detector? })
}

/// Views and grid of a rotation; nothing for a run that does not turn.
fn plan(
    path: &Path,
    run: &mut RunDescription,
    headers: &[FrameHeader],
    distances: CarmDistances,
) -> Result<(), InterchangeError> {
    let mut poses: Vec<GantryPose> = headers.iter().map(|header| header.gantry).collect();
    poses.sort_by(|a, b| a.primary_angle_rad.total_cmp(&b.primary_angle_rad));
    poses.dedup_by(|a, b| (a.primary_angle_rad - b.primary_angle_rad).to_degrees().abs() < SAME_ANGLE_DEG);
    let (Some(first), Some(last)) = (poses.first(), poses.last()) else { return Ok(()) };
    if (last.primary_angle_rad - first.primary_angle_rad).to_degrees() < LEAST_ARC_DEG {
        return Ok(());
    }
    if headers[0].gantry.primary_angle_rad > headers[headers.len() - 1].gantry.primary_angle_rad {
        poses.reverse();
    }
    let view = |pose: &GantryPose| {
        let angles =
            CarmAngles { primary_rad: pose.primary_angle_rad, secondary_rad: pose.secondary_angle_rad };
        let projection_matrix = projection_from_carm_angles(angles, distances, &run.detector)?;
        Ok(PlannedView { primary_angle_rad: pose.primary_angle_rad, projection_matrix })
    };
    let views: Result<Vec<PlannedView>, GeometryError> = poses.iter().map(view).collect();
    run.planned_views = views.map_err(InterchangeError::geometry(path))?;
    let half_width_mm = 0.5 * run.detector.nu as f64 * run.detector.pixel_pitch_u_mm;
    let half_fan = (half_width_mm / distances.source_to_detector_mm).atan();
    let voxel_mm = 2.0 * distances.source_to_isocenter_mm * half_fan.sin() / GRID as f64;
    let grid = VolumeGrid::centred([GRID; 3], [voxel_mm; 3], Matrix3::identity(), Point3::origin());
    run.volume_grid = Some(grid.map_err(InterchangeError::geometry(path))?);
    run.remarks.push(format!(
        "{NOMINAL_GEOMETRY}: matrices from the angles and distances of an ideal C-arm, not from a calibration"
    ));
    Ok(())
}

fn mask_frames(object: &Object, frames: usize) -> Vec<usize> {
    let told = items(object, tags::MASK_SUBTRACTION_SEQUENCE).iter();
    let numbers = told.filter_map(|item| numbers(item, tags::MASK_FRAME_NUMBERS)).flatten();
    let mut frames: Vec<usize> = numbers
        .filter(|number| (1.0..=frames as f64).contains(number))
        .map(|number| number as usize)
        .collect();
    frames.sort_unstable();
    frames.dedup();
    frames
}
