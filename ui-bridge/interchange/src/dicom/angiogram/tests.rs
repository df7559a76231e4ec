//! What is written comes back: angles, distances, times, exposure, and line integrals to half a step of the scale.

use super::*;
use crate::error::InterchangeError;
use carm::converters::{CarmAngles, CarmDistances, projection_from_carm_angles};
use carm::{
    BeamModel, DetectorGrid, DeviceIdentity, DeviceTime, Exposure, FrameHeader, GantryPose, PatientPosition,
    PatientSetup, PlannedView, RunDescription,
};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_object::open_file;

const NU: usize = 9;
const NV: usize = 7;
const VIEWS: usize = 60;
const DISTANCES: CarmDistances =
    CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
const AIR: f32 = 50_000.0;

fn angle_rad(view: usize) -> f64 {
    (3.7 * view as f64 - 105.0).to_radians()
}

fn description(position: PatientPosition) -> RunDescription {
    let detector = DetectorGrid::new([NU, NV], [4.3, 2.15]).unwrap();
    let view = |view: usize| {
        let angles = CarmAngles { primary_rad: angle_rad(view), secondary_rad: 0.02 };
        let projection_matrix = projection_from_carm_angles(angles, DISTANCES, &detector).unwrap();
        PlannedView { primary_angle_rad: angle_rad(view), projection_matrix }
    };
    RunDescription {
        run_id: "xa".into(),
        protocol: "spin".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector,
        bits_stored: 16,
        frame_rate_hz: 30.0,
        planned_views: (0..VIEWS).map(view).collect(),
        detector_calibration: None,
        beam: BeamModel {
            tube_voltage_kv: 110.0,
            effective_energy_kev: 60.0,
            mu_water_per_mm: 0.0206,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup { position, ..PatientSetup::default() },
        volume_grid: None,
        remarks: Vec::new(),
    }
}

fn header(view: usize) -> FrameHeader {
    let mut header = FrameHeader { sequence: view as u64, is_xray_on: true, ..FrameHeader::default() };
    // One frame was lost on its way.
    let place = if view > 20 { view + 1 } else { view } as u64;
    header.stamps.device = DeviceTime(9_000_000_000 + place * 33_333_000);
    header.gantry = GantryPose { primary_angle_rad: angle_rad(view), secondary_angle_rad: 0.02 };
    header.exposure = Exposure { tube_voltage_kv: 110.0, tube_current_ma: 151.5, pulse_width_ms: 8.25 };
    header
}

fn line_integral(view: usize, pixel: usize) -> f64 {
    ((view * 13 + pixel * 7) % 101) as f64 * 0.09
}

fn written(path: &Path) -> WrittenAngiogram {
    let mut writer = AngiogramWriter::new(path, &description(PatientPosition::Hfs)).unwrap();
    writer.add(&FrameHeader::default(), &[0.0; NU * NV], 0.0).unwrap();
    for view in 0..VIEWS {
        let intensity: Vec<f32> =
            (0..NU * NV).map(|pixel| AIR * (-line_integral(view, pixel)).exp() as f32).collect();
        writer.add(&header(view), &intensity, AIR).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn angiogram_comes_back_with_angles_times_and_line_integrals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.dcm");
    let told = written(&path);
    assert_eq!((told.frames, told.left_out), (VIEWS, vec!["1 frames without X-rays".to_string()]));
    assert!(told.off_ideal_px < 1e-6, "{}", told.off_ideal_px);

    assert!(is_angiogram(&path));
    let read = Angiogram::open(&path, 0.02).unwrap();
    assert_eq!(read.missing, [] as [String; 0]);
    let run = &read.description;
    assert_eq!(run.detector, description(PatientPosition::Hfs).detector);
    assert_eq!((run.planned_views.len(), run.beam.mu_water_per_mm), (VIEWS, 0.02));
    assert!(run.remarks.iter().any(|remark| remark.starts_with(NOMINAL_GEOMETRY)), "{:?}", run.remarks);
    for (view, (found, planned)) in read.headers.iter().zip(&run.planned_views).enumerate() {
        // Decimal strings of 16 characters hold angles to 1e-12 degrees or so.
        assert!((found.gantry.primary_angle_rad - angle_rad(view)).abs() < 1e-10, "{view}");
        assert!((found.gantry.secondary_angle_rad - 0.02).abs() < 1e-10);
        assert_eq!(found.exposure, header(view).exposure);
        let elapsed = header(view).stamps.device.0 - header(0).stamps.device.0;
        assert!(found.stamps.device.0.abs_diff(elapsed) <= 2, "{view}: {}", found.stamps.device.0);
        let expected = description(PatientPosition::Hfs).planned_views[view].projection_matrix;
        let off = (planned.projection_matrix.matrix() - expected.matrix()).abs().max();
        assert!(off < 1e-6, "{off}");
    }
    let remark = run.remarks.iter().find(|remark| remark.starts_with("grey-scale log")).unwrap();
    let per_count: f64 = remark.rsplit('=').next().unwrap().parse().unwrap();
    let (mut frames, mut counts) = (read.frames().unwrap(), vec![0; NU * NV]);
    for view in 0..VIEWS {
        frames.read(view, &mut counts).unwrap();
        for (pixel, &count) in counts.iter().enumerate() {
            let off = f64::from(count) * per_count - line_integral(view, pixel);
            // Half a step, and the rounding of an intensity to 32 bits.
            assert!(off.abs() < 0.51 * per_count + 1e-6, "view {view}, pixel {pixel}: {off}");
        }
    }
}

#[test]
fn angiogram_refuses_patients_whose_angles_it_cannot_tell_and_runs_without_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.dcm");
    let error = AngiogramWriter::new(&path, &description(PatientPosition::Ffp)).err().unwrap();
    assert!(error.to_string().contains("head first") && error.to_string().contains("FFP"), "{error}");
    let empty = AngiogramWriter::new(&path, &description(PatientPosition::Hfs)).unwrap();
    let error = empty.finish().unwrap_err();
    assert!(matches!(error, InterchangeError::NotRepresentable { .. }), "{error}");
    assert!(!path.exists() && !is_angiogram(&path));
}

/// Takes attributes away or changes them, as other makers' objects lack them.
fn changed(
    folder: &Path,
    remove: &[dicom_core::Tag],
    put: &[(dicom_core::Tag, VR, &str)],
) -> std::path::PathBuf {
    let (path, other) = (folder.join("run.dcm"), folder.join("other.dcm"));
    written(&path);
    let mut object = open_file(&path).unwrap();
    for tag in remove {
        object.remove_element(*tag);
    }
    for (tag, vr, text) in put {
        object.put(DataElement::new(*tag, *vr, PrimitiveValue::from(*text)));
    }
    object.write_to_file(&other).unwrap();
    other
}

#[test]
fn angiogram_names_what_is_missing_and_makes_no_views_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let gone = [
        tags::IMAGER_PIXEL_SPACING,
        tags::DISTANCE_SOURCE_TO_PATIENT,
        tags::FRAME_TIME_VECTOR,
        tags::X_RAY_TUBE_CURRENT,
        tags::X_RAY_TUBE_CURRENT_INU_A,
        tags::KVP,
    ];
    let path = changed(folder.path(), &gone, &[(tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "DISP")]);
    let read = Angiogram::open(&path, 0.02).unwrap();
    let missing = read.missing.join("; ");
    for name in ["ImagerPixelSpacing", "source to isocenter", "frame times", "exposure", "KVP", "found DISP"]
    {
        assert!(missing.contains(name), "{name} in {missing}");
    }
    assert!(read.description.planned_views.is_empty() && read.description.detector_calibration.is_none());
    assert!(read.description.volume_grid.is_none());
}

#[test]
fn angiogram_takes_a_constant_increment_and_marks_scales_without_a_zero() {
    let folder = tempfile::tempdir().unwrap();
    let path = changed(
        folder.path(),
        &[tags::RESCALE_TYPE],
        &[
            (tags::POSITIONER_PRIMARY_ANGLE, VR::DS, "170"),
            (tags::POSITIONER_PRIMARY_ANGLE_INCREMENT, VR::DS, "-3"),
            (tags::POSITIONER_SECONDARY_ANGLE_INCREMENT, VR::DS, "0"),
        ],
    );
    let read = Angiogram::open(&path, 0.02).unwrap();
    let last = read.headers[VIEWS - 1].gantry.primary_angle_rad.to_degrees();
    assert!((last - (170.0 - 3.0 * 59.0)).abs() < 1e-9, "{last}");
    assert_eq!(read.description.planned_views.len(), VIEWS);
    assert!(
        read.description.planned_views[0].primary_angle_rad
            > read.description.planned_views[1].primary_angle_rad
    );
    let is_marked =
        |run: &RunDescription| run.remarks.iter().any(|remark| remark.starts_with(ARBITRARY_GREY));
    assert!(is_marked(&read.description));

    // Linear values: the brightest ones stand for the bare beam.
    let path = changed(folder.path(), &[], &[(tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LIN")]);
    let read = Angiogram::open(&path, 0.02).unwrap();
    assert!(read.missing[0].contains("unattenuated intensity"), "{:?}", read.missing);
    assert!(!is_marked(&read.description));
    let maps = read.description.detector_calibration.unwrap();
    let air = maps.air_intensity_per_mas * read.headers[0].exposure.tube_charge_mas();
    // 100 steps of 0.09 on a scale of 10,000 a decade of intensity.
    assert!((air - 100.0 * 0.09 / std::f64::consts::LN_10 * 1e4).abs() < 1.0, "{air}");
}
