//! A run as one X-Ray Angiographic Image Storage object (PS3.3 A.14): corrected frames as optical density.
//!
//! Optical density, a rescale of the logarithmic scale, is what carries line integrals through the standard: its zero is the
//! unattenuated beam. Angles stand in the vector of increments as absolute values, which PS3.3 C.8.7.5.1.3 permits.

use crate::dicom::attributes::{
    SeriesIdentity, Stored, put_common, put_decimals, put_pixels, put_text, put_texts, write_object,
};
use crate::dicom::uid;
use crate::error::InterchangeError;
use crate::format::WriteOptions;
use crate::quantity::RESEARCH_USE;
use carm::converters::{
    CarmAngles, CarmDistances, carm_angles_from_projection, carm_distances_from_projection,
    projection_from_carm_angles,
};
use carm::{CalibratedTrajectory, FrameHeader, PatientPosition, ProjectionMatrix, RunDescription};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use nalgebra::Point3;
use std::path::{Path, PathBuf};

/// A stored value is so many thousandths of an optical density: 16 bits then hold line integrals up to 15.
const THOUSANDTHS: f64 = 0.1;
/// Text of so many bytes fits into an attribute of explicit VR, and a number of the vectors takes so many.
const VECTOR_BYTES: usize = 65_534;
const NUMBER_BYTES: usize = 17;
/// Points around the isocenter that tell how far ideal geometry is from the calibrated one, mm.
const AROUND_MM: f64 = 60.0;

/// Gathers corrected frames, then writes the object.
pub struct AngiogramWriter {
    path: PathBuf,
    description: RunDescription,
    trajectory: Option<CalibratedTrajectory>,
    headers: Vec<FrameHeader>,
    views: Vec<(CarmAngles, Option<ProjectionMatrix>)>,
    stored: Vec<u16>,
    without_xray: usize,
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenAngiogram {
    /// Frames written.
    pub frames: usize,
    /// What the object cannot hold of the run.
    pub left_out: Vec<String>,
    /// How far the ideal C-arm of the object's angles and distances is from the calibrated matrices, pixels, at most.
    pub off_ideal_px: f64,
}

impl AngiogramWriter {
    /// For a run.
    ///
    /// # Errors
    /// A patient who does not lie head first and supine: the object's angles are the patient's own, the run's the room's.
    /// Matrices that make no trajectory.
    pub fn new(path: &Path, description: &RunDescription) -> Result<Self, InterchangeError> {
        let position = description.patient.position;
        if position != PatientPosition::Hfs {
            return Err(not_representable(path, "a patient who lies head first and supine", position.code()));
        }
        let views = &description.planned_views;
        let trajectory = (!views.is_empty())
            .then(|| CalibratedTrajectory::new(description.detector, views.clone()))
            .transpose()
            .map_err(InterchangeError::geometry(path))?;
        Ok(Self {
            path: path.into(),
            description: description.clone(),
            trajectory,
            headers: Vec::new(),
            views: Vec::new(),
            stored: Vec::new(),
            without_xray: 0,
        })
    }

    /// Adds a corrected frame: intensities `[v, u]` and the unattenuated one. Frames without X-rays are left out.
    ///
    /// # Errors
    /// An angle that is not calibrated.
    pub fn add(
        &mut self,
        header: &FrameHeader,
        intensity: &[f32],
        air_intensity: f32,
    ) -> Result<(), InterchangeError> {
        if !header.is_xray_on {
            self.without_xray += 1;
            return Ok(());
        }
        let matrix = match &self.trajectory {
            Some(trajectory) => {
                let found = trajectory.matrix_at(header.gantry.primary_angle_rad);
                Some(found.map_err(|error| {
                    not_representable(&self.path, "frames at calibrated angles", &error.to_string())
                })?)
            }
            None => None,
        };
        let angles = match &matrix {
            Some(matrix) => carm_angles_from_projection(matrix),
            None => CarmAngles {
                primary_rad: header.gantry.primary_angle_rad,
                secondary_rad: header.gantry.secondary_angle_rad,
            },
        };
        let air = f64::from(air_intensity);
        let per_unit = 1e3 / std::f64::consts::LN_10 / THOUSANDTHS;
        self.stored.extend(intensity.iter().map(|&value| {
            // Less than a ten-millionth is nothing; more than the bare beam, as noise has it, ends at zero.
            let density = (air / f64::from(value).max(1e-7 * air)).ln() * per_unit;
            (density + 0.5).clamp(0.0, 65_535.0) as u16
        }));
        self.headers.push(*header);
        self.views.push((angles, matrix));
        Ok(())
    }

    /// Writes the object, whole or not at all.
    ///
    /// # Errors
    /// No frame, or more than the object can hold; what the file system refuses.
    pub fn finish(self) -> Result<WrittenAngiogram, InterchangeError> {
        let frames = self.headers.len();
        let detector = &self.description.detector;
        let most = VECTOR_BYTES / NUMBER_BYTES;
        let sizes = u16::try_from(detector.nu).ok().zip(u16::try_from(detector.nv).ok());
        let bytes = 2 * self.stored.len() as u64;
        let Some((columns, rows)) =
            sizes.filter(|_| (1..=most).contains(&frames) && bytes < u64::from(u32::MAX))
        else {
            let expected = format!("1 to {most} frames, less than 4 GiB in all");
            let found = format!("{frames} frames of {} x {}", detector.nu, detector.nv);
            return Err(not_representable(&self.path, &expected, &found));
        };
        let distances = self.distances();
        let (date, time) = uid::date_and_time();
        let identity = SeriesIdentity {
            study_uid: uid::new_uid(&self.path)?,
            series_uid: uid::new_uid(&self.path)?,
            frame_of_reference_uid: uid::new_uid(&self.path)?,
            date,
            time,
        };
        let mut object = InMemDicomObject::new_empty();
        let options =
            WriteOptions { patient_position: Some(PatientPosition::Hfs), ..WriteOptions::default() };
        put_common(&mut object, &identity, &options, "XA", 1);
        self.put_image(&mut object, &identity);
        self.put_times(&mut object);
        self.put_exposure(&mut object);
        self.put_positioner(&mut object, distances);
        put_pixels(&mut object, columns, rows, Stored::Unsigned(&self.stored));
        write_object(object, uids::X_RAY_ANGIOGRAPHIC_IMAGE_STORAGE, &self.path)?;
        let off_ideal_px = distances.map_or(0.0, |distances| self.off_ideal_px(distances));
        Ok(WrittenAngiogram { frames, left_out: self.left_out(off_ideal_px), off_ideal_px })
    }

    fn put_image(&self, object: &mut InMemDicomObject, identity: &SeriesIdentity) {
        // PS3.3 C.8.7.1.1.1: the third value names the plane.
        put_texts(object, tags::IMAGE_TYPE, VR::CS, &["DERIVED", "PRIMARY", "SINGLE PLANE"]);
        let derived = "offset, gain, defects and lag corrected; optical density against the bare beam";
        put_text(object, tags::DERIVATION_DESCRIPTION, VR::ST, derived);
        put_text(object, tags::IMAGE_COMMENTS, VR::LT, RESEARCH_USE);
        put_text(object, tags::ACQUISITION_DATE, VR::DA, &identity.date);
        put_text(object, tags::ACQUISITION_TIME, VR::TM, &identity.time);
        for (tag, vr) in [(tags::LATERALITY, VR::CS), (tags::PATIENT_ORIENTATION, VR::CS)] {
            object.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
        }
        put_text(object, tags::NUMBER_OF_FRAMES, VR::IS, &self.headers.len().to_string());
        put_text(object, tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LOG");
        put_decimals(object, tags::RESCALE_INTERCEPT, &[0.0]);
        put_decimals(object, tags::RESCALE_SLOPE, &[THOUSANDTHS]);
        put_text(object, tags::RESCALE_TYPE, VR::LO, "OD");
        let detector = &self.description.detector;
        let pitch = [detector.pixel_pitch_v_mm, detector.pixel_pitch_u_mm];
        put_decimals(object, tags::IMAGER_PIXEL_SPACING, &pitch);
    }

    /// Milliseconds from each frame to the next, by the device's clock.
    fn put_times(&self, object: &mut InMemDicomObject) {
        let clock = |index: usize| self.headers[index].stamps.device.0 as f64 * 1e-6;
        let step = |index: usize| if index == 0 { 0.0 } else { clock(index) - clock(index - 1) };
        let steps: Vec<f64> = (0..self.headers.len()).map(step).collect();
        put_decimals(object, tags::FRAME_TIME_VECTOR, &steps);
        let pointer = PrimitiveValue::Tags([tags::FRAME_TIME_VECTOR].as_slice().into());
        object.put(DataElement::new(tags::FRAME_INCREMENT_POINTER, VR::AT, pointer));
    }

    /// Means over all frames: the object has one set.
    fn put_exposure(&self, object: &mut InMemDicomObject) {
        let mean = |of: fn(&FrameHeader) -> f64| {
            self.headers.iter().map(of).sum::<f64>() / self.headers.len() as f64
        };
        put_text(object, tags::RADIATION_SETTING, VR::CS, "GR");
        put_decimals(object, tags::KVP, &[mean(|header| header.exposure.tube_voltage_kv)]);
        let whole = |number: f64| (number.round().clamp(0.0, 2e9) as u64).to_string();
        let current_ma = mean(|header| header.exposure.tube_current_ma);
        put_text(object, tags::X_RAY_TUBE_CURRENT, VR::IS, &whole(current_ma));
        put_decimals(object, tags::X_RAY_TUBE_CURRENT_INU_A, &[current_ma * 1e3]);
        let width_ms = mean(|header| header.exposure.pulse_width_ms);
        put_text(object, tags::EXPOSURE_TIME, VR::IS, &whole(width_ms * self.headers.len() as f64));
        put_decimals(object, tags::AVERAGE_PULSE_WIDTH, &[width_ms]);
        let all_mas: f64 = self.headers.iter().map(|header| header.exposure.tube_charge_mas()).sum();
        put_text(object, tags::EXPOSURE, VR::IS, &whole(all_mas));
    }

    fn put_positioner(&self, object: &mut InMemDicomObject, distances: Option<CarmDistances>) {
        put_text(object, tags::POSITIONER_MOTION, VR::CS, "DYNAMIC");
        put_decimals(object, tags::POSITIONER_PRIMARY_ANGLE, &[0.0]);
        put_decimals(object, tags::POSITIONER_SECONDARY_ANGLE, &[0.0]);
        let degrees = |of: fn(&CarmAngles) -> f64| -> Vec<f64> {
            self.views.iter().map(|(angles, _)| of(angles).to_degrees()).collect()
        };
        let primary = degrees(|angles| angles.primary_rad);
        put_decimals(object, tags::POSITIONER_PRIMARY_ANGLE_INCREMENT, &primary);
        let secondary = degrees(|angles| angles.secondary_rad);
        put_decimals(object, tags::POSITIONER_SECONDARY_ANGLE_INCREMENT, &secondary);
        if let Some(distances) = distances {
            put_decimals(object, tags::DISTANCE_SOURCE_TO_DETECTOR, &[distances.source_to_detector_mm]);
            put_decimals(object, tags::DISTANCE_SOURCE_TO_PATIENT, &[distances.source_to_isocenter_mm]);
        }
    }

    /// Means over all views; none for a run without matrices.
    fn distances(&self) -> Option<CarmDistances> {
        let matrices: Option<Vec<&ProjectionMatrix>> =
            self.views.iter().map(|(_, matrix)| matrix.as_ref()).collect();
        let all: Vec<CarmDistances> = matrices?
            .into_iter()
            .map(|matrix| carm_distances_from_projection(matrix, &self.description.detector))
            .collect();
        let mean = |of: fn(&CarmDistances) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        Some(CarmDistances {
            source_to_isocenter_mm: mean(|one| one.source_to_isocenter_mm),
            source_to_detector_mm: mean(|one| one.source_to_detector_mm),
        })
    }

    fn off_ideal_px(&self, distances: CarmDistances) -> f64 {
        let points = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]];
        let mut worst = 0.0_f64;
        for (angles, matrix) in &self.views {
            let ideal = projection_from_carm_angles(*angles, distances, &self.description.detector);
            let (Some(matrix), Ok(ideal)) = (matrix, ideal) else { continue };
            for point in points {
                let point = Point3::from(point) * AROUND_MM;
                let (a, b) = (matrix.project(&point), ideal.project(&point));
                worst = worst.max((a.u - b.u).hypot(a.v - b.v));
            }
        }
        worst
    }

    fn left_out(&self, off_ideal_px: f64) -> Vec<String> {
        let mut left_out = Vec::new();
        if self.without_xray > 0 {
            left_out.push(format!("{} frames without X-rays", self.without_xray));
        }
        let skipped = self.headers.windows(2).filter(|pair| pair[1].sequence != pair[0].sequence + 1).count();
        if skipped > 0 {
            left_out.push(format!("sequence numbers: {skipped} gaps show in the frame times only"));
        }
        if self.trajectory.is_none() {
            left_out.push("distances: the run has no calibrated matrices".into());
        } else if off_ideal_px > 0.05 {
            left_out.push(format!(
                "calibrated matrices: angles and distances put points up to {off_ideal_px:.2} pixels elsewhere"
            ));
        }
        if self.description.patient.lps_from_world().translation.vector.norm() > 1e-6 {
            left_out
                .push("where the isocenter lies in the patient: the object's origin is the isocenter".into());
        }
        left_out
    }
}

fn not_representable(path: &Path, expected: &str, found: &str) -> InterchangeError {
    InterchangeError::NotRepresentable {
        path: path.into(),
        format: "an X-Ray Angiographic object",
        expected: expected.into(),
        found: found.into(),
    }
}
