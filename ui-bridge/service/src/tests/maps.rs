//! Maps that are old, or of another mode, raise an alarm; those that suit raise none.

use super::devices::{NU, NV, counts, description, header};
use crate::{Driver, NoJobs, PreRendered, Service, ServiceSettings, StreamSettings, wall_now};
use carm::{DetectorCalibration, DeviceError, FrameSource, WallTime};
use ndarray::Array2;
use std::time::{Duration, Instant};

/// A panel whose maps are so many days old and were measured at a voltage.
struct Mapped {
    days: u64,
    tube_voltage_kv: f64,
}

impl Driver for Mapped {
    fn name(&self) -> &str {
        "panel"
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let mut run = description();
        run.detector_calibration = Some(DetectorCalibration {
            dark_counts: Array2::zeros((NV, NU)),
            gain: Array2::ones((NV, NU)),
            defects: Vec::new(),
            air_intensity_per_mas: 1000.0,
            electronic_variance: 1.0,
            variance_per_count: 1.0,
            saturation_counts: u16::MAX,
            tube_voltage_kv: self.tube_voltage_kv,
            binning: 1,
            acquired: WallTime(wall_now().0 - self.days * 86_400_000_000_000),
        });
        Ok(Box::new(PreRendered::new(run, vec![(header(0), counts(0))]).again_and_again()))
    }
}

fn alarms(days: u64, tube_voltage_kv: f64) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let at = ServiceSettings { folder: folder.path().to_path_buf(), ..ServiceSettings::default() };
    let panel = Mapped { days, tube_voltage_kv };
    let service = Service::start(&at, vec![(Box::new(panel), StreamSettings::default())], NoJobs).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let expects_one = days > 7 || tube_voltage_kv != 70.0;
    // Housekeeping looks once a second or so; a device that needs no alarm is watched for two of its rounds.
    let patience = Instant::now() + Duration::from_secs(3);
    loop {
        let found: Vec<String> = service
            .status()
            .alarms
            .into_iter()
            .filter(|alarm| alarm.kind == "maps" && alarm.is_active())
            .map(|alarm| alarm.text)
            .collect();
        if !found.is_empty() || (!expects_one && Instant::now() > patience) {
            service.stop();
            return found;
        }
        assert!(Instant::now() < deadline, "no alarm");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn maps_raise_an_alarm_when_they_are_old_or_of_another_voltage() {
    assert!(alarms(30, 70.0)[0].contains("at most 7 days old, found 30.0"));
    assert!(alarms(1, 110.0)[0].contains("expected for 70 kV as the run, found for 110 kV"));
    assert_eq!(alarms(1, 70.0), [] as [String; 0]);
}
