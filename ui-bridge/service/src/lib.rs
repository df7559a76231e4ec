//! The daemon's inside: it owns the devices, keeps their live images coming, records them, and knows what happened.
//!
//! A [`Service`] runs one [`Stream`] a device. A stream's device thread only fills a ring; its recorder and its live
//! chain read that ring on threads of their own, so that nothing they wait for reaches the device. Whatever the borders
//! (D-Bus, web page) want is asked here: a [`ServiceStatus`], the ring of finished live images, recordings, spins, jobs,
//! alarms. Nothing here knows a concrete device ([`Driver`]), a bus or a socket.
//!
//! What a device produced is accounted for number by number: [`Ledger`].
//!
//! # Example
//!
//! ```
//! use service::{Driver, NoJobs, PreRendered, Service, ServiceSettings, StreamSettings};
//! # use carm::{BeamModel, DetectorGrid, DeviceError, DeviceIdentity, FrameHeader, FrameSource, PatientSetup, RunDescription};
//! # fn description() -> RunDescription { RunDescription {
//! #     run_id: "example".into(), protocol: "fluoro".into(), device: DeviceIdentity::default(), seed: None,
//! #     detector: DetectorGrid::new([8, 6], [0.6, 0.6]).unwrap(), bits_stored: 16, frame_rate_hz: 200.0,
//! #     planned_views: Vec::new(), detector_calibration: None,
//! #     beam: BeamModel { tube_voltage_kv: 70.0, effective_energy_kev: 53.0, mu_water_per_mm: 0.022,
//! #         water_precorrection: vec![1.0] },
//! #     patient: PatientSetup::default(), volume_grid: None, remarks: Vec::new(),
//! # } }
//! struct Panel;
//! impl Driver for Panel {
//!     fn name(&self) -> &str { "panel" }
//!     fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
//!         let header = FrameHeader { is_xray_on: true, ..FrameHeader::default() };
//!         Ok(Box::new(PreRendered::new(description(), vec![(header, vec![500; 48])]).again_and_again()))
//!     }
//! }
//!
//! # let folder = std::env::temp_dir().join(format!("service-example-{}", std::process::id()));
//! let settings = ServiceSettings { folder: folder.clone(), ..ServiceSettings::default() };
//! let service = Service::start(&settings, vec![(Box::new(Panel), StreamSettings::default())], NoJobs)?;
//! while service.status().streams[0].ledger.shown < 5 {
//!     std::thread::sleep(std::time::Duration::from_millis(5));
//! }
//! service.stop();
//! let ledger = service.status().streams[0].ledger;
//! assert_eq!(ledger.received, ledger.shown + ledger.skipped);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), service::ServiceError>(())
//! ```

mod alarms;
mod capacity;
mod child;
mod clock;
mod dose;
mod driver;
mod error;
mod housekeeping;
mod incoming;
mod jobs;
mod latency;
mod ledger;
mod prerendered;
mod retention;
mod runs;
mod service;
mod spin;
mod stream;
mod verdict;

#[cfg(test)]
mod tests;

pub use alarms::{Alarm, Alarms, Severity};
pub use capacity::RecorderCapacity;
pub use clock::{monotonic_now, wall_now};
pub use dose::{Dose, DoseSettings};
pub use driver::{Driver, ProcessDriver, drive};
pub use error::ServiceError;
pub use jobs::{
    Job, JobClass, JobFailure, JobKind, JobNews, JobRunner, JobState, Jobs, NoJobs, Step, Task, ToDaemon,
    WorkerBudget, WorkerRunner, attend,
};
pub use latency::{BOUNDS_MS, Latency, LatencySnapshot};
pub use ledger::Ledger;
pub use prerendered::PreRendered;
pub use retention::Retention;
pub use runs::{RunInfo, RunState, Runs};
pub use service::{Service, ServiceSettings, ServiceStatus};
pub use spin::{SpinPhase, SpinStatus};
pub use stream::{
    DeviceState, LiveState, RecordPolicy, RecordingState, Stream, StreamSettings, StreamShape, StreamStatus,
    prefer_this_thread,
};
pub use verdict::{Advice, Finding, SpinWatch, Verdict};
