//! A panel that shows four images in turn and can spin.

use carm::{
    BeamModel, CarmAngles, CarmDistances, DetectorGrid, DeviceError, DeviceIdentity, FrameHeader,
    FrameSource, GantryPose, PatientSetup, Pedal, PlannedView, RunDescription,
};
use service::{Driver, PreRendered};

pub(super) const NU: usize = 24;
pub(super) const NV: usize = 16;
pub(super) const VIEWS: usize = 30;

pub(super) struct Panel;

pub(super) fn counts(image: u64) -> Vec<u16> {
    (0..NU * NV).map(|i| (1000 * (image + 1) + i as u64) as u16).collect()
}

fn description() -> RunDescription {
    RunDescription {
        run_id: "test".into(),
        protocol: "fluoro".into(),
        device: DeviceIdentity {
            manufacturer: "Nobody".into(),
            model: "Test panel".into(),
            serial_number: "1".into(),
        },
        seed: None,
        detector: DetectorGrid::new([NU, NV], [0.6, 0.6]).unwrap(),
        bits_stored: 16,
        frame_rate_hz: 50.0,
        planned_views: Vec::new(),
        detector_calibration: None,
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 53.0,
            mu_water_per_mm: 0.022,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    }
}

impl Driver for Panel {
    fn name(&self) -> &str {
        "flat-panel"
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let header = |sequence| FrameHeader {
            sequence,
            is_xray_on: true,
            pedal: Pedal::Fluoroscopy,
            ..FrameHeader::default()
        };
        let frames = (0..4).map(|image| (header(image), counts(image))).collect();
        Ok(Box::new(PreRendered::new(description(), frames).again_and_again()))
    }

    fn can_spin(&self) -> bool {
        true
    }

    fn open_spin(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
        let mut run = description();
        let mut frames = Vec::new();
        for view in 0..VIEWS {
            let primary_rad = 0.03 * view as f64;
            let angles = CarmAngles { primary_rad, secondary_rad: 0.0 };
            let projection_matrix =
                carm::converters::projection_from_carm_angles(angles, distances, &run.detector).unwrap();
            run.planned_views.push(PlannedView { primary_angle_rad: primary_rad, projection_matrix });
            let header = FrameHeader {
                sequence: view as u64,
                is_xray_on: true,
                pedal: Pedal::Acquisition,
                gantry: GantryPose { primary_angle_rad: primary_rad, secondary_angle_rad: 0.0 },
                ..FrameHeader::default()
            };
            frames.push((header, counts(view as u64)));
        }
        Ok(Box::new(PreRendered::new(run, frames)))
    }
}
