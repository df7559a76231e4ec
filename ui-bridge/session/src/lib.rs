//! A case: one device, its recording, its live view and its volume, joined.
//!
//! [`run_spin`] plays a [`carm::FrameSource`] through ring, recorder, live view and streaming reconstruction;
//! [`reconstruct_run`] makes the same volume, bit for bit, from a recording and [`follow_run`] from one that still grows;
//! [`ViewMaker`] is what all do with a frame, and [`StageTimes`] holds the clock that the reconstruction itself must not read. For engineers, [`Witness`]
//! hashes what each stage makes of a replay, [`Seeker`] shows any frame as an uninterrupted replay would, and
//! [`compare_runs`] finds where two recordings part.
//!
//! # Example
//!
//! ```
//! use carm::{DeviceError, FrameHeader, FrameSource, RunDescription, SourceEvent};
//! use session::{SpinOptions, run_spin};
//! # use carm::{BeamModel, DetectorGrid, DeviceIdentity, PatientSetup};
//!
//! /// Delivers frames 1, 2 and 4: the third was lost on its way.
//! struct Panel(RunDescription, Vec<u64>);
//!
//! impl FrameSource for Panel {
//!     fn description(&self) -> &RunDescription {
//!         &self.0
//!     }
//!     fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
//!         let Some(sequence) = self.1.pop() else { return Ok(SourceEvent::End) };
//!         slot.fill(500);
//!         Ok(SourceEvent::Frame(FrameHeader { sequence, ..FrameHeader::default() }))
//!     }
//! }
//!
//! # let description = RunDescription {
//! #     run_id: "example".into(), protocol: "flat-field".into(), device: DeviceIdentity::default(), seed: None,
//! #     detector: DetectorGrid::new([8, 6], [0.6, 0.6]).unwrap(), bits_stored: 16, frame_rate_hz: 30.0,
//! #     planned_views: Vec::new(), detector_calibration: None,
//! #     beam: BeamModel { tube_voltage_kv: 110.0, effective_energy_kev: 60.0, mu_water_per_mm: 0.0206,
//! #         water_precorrection: vec![1.0] },
//! #     patient: PatientSetup::default(), volume_grid: None, remarks: Vec::new(),
//! # };
//! # let folder = std::env::temp_dir().join(format!("session-example-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let options = SpinOptions { record: Some(folder.join("RUN.mcap")), ..SpinOptions::default() };
//! let report = run_spin(Box::new(Panel(description, vec![4, 2, 1])), &options, &mut |_, _| true)?;
//! assert_eq!((report.frames, report.lost), (3, vec![(3, 1)]));
//! let recording = report.recording.unwrap();
//! assert_eq!((recording.frames, recording.gaps), (3, 1));
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), session::SessionError>(())
//! ```

mod compare;
mod error;
mod hash;
mod lag;
mod live;
mod panel;
mod recorded;
mod recorder;
mod seek;
mod spin;
mod stages;
mod timing;
mod views;
mod witness;

pub use compare::{Comparison, Difference, compare_runs, compare_volumes};
pub use error::SessionError;
pub use hash::{VolumeHasher, image_hash, volume_hash};
pub use lag::LagLog;
pub use live::LiveReport;
pub use recorded::{Progress, RunReconstruction, follow_run, reconstruct_run};
pub use seek::Seeker;
pub use spin::{SpinOptions, SpinReport, run_spin};
pub use stages::{Made, Stages};
pub use timing::StageTimes;
pub use views::{RunSettings, ViewMaker, plan_partial, plan_run};
pub use witness::{FrameHashes, Witness, WitnessHandle};
