//! The run file: every raw frame of a run, what happened around it, and all that is needed to reconstruct it years later.
//!
//! A run is one MCAP file (<https://mcap.dev/spec>) that is only ever appended to. Frames are packed by a lossless
//! 16-bit predictor; each record carries its own checksum, so that whatever survives a crash, a full disk or a
//! damaged sector can be trusted record by record. The description (geometry, calibration maps, beam, patient
//! position) is stored at the front and, when the run is finished, once more at the end.
//!
//! The types to know are [`RunWriter`] (records), [`RunReader`] (reads any frame), [`inspect`] with [`Inspection`]
//! (is it sound, and what is damaged where) and [`recover`] (repairs into a new file).
//!
//! | topic | holds |
//! |---|---|
//! | `/frames` | the frames, binary: layout in `schemas/frame.txt`, also stored in each file |
//! | `/gantry`, `/exposure` | angles and generator settings of each frame, JSON, for programs that plot |
//! | `/events` | what happened, and as the last record the outcome |
//! | `/gaps` | frames known to be missing |
//!
//! # Example
//!
//! ```
//! use capture::{RunOutcome, RunReader, RunWriter, WriterOptions, inspect};
//! # use carm::{BeamModel, DetectorGrid, DeviceIdentity, FrameHeader, PatientSetup, RunDescription};
//! # let folder = std::env::temp_dir().join(format!("capture-example-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("RUN.mcap");
//! let description = RunDescription {
//!     run_id: "example".into(),
//!     protocol: "flat-field".into(),
//!     device: DeviceIdentity::default(),
//!     seed: None,
//!     detector: DetectorGrid::new([8, 6], [0.6, 0.6]).unwrap(),
//!     bits_stored: 16,
//!     frame_rate_hz: 30.0,
//!     planned_views: Vec::new(),
//!     detector_calibration: None,
//!     beam: BeamModel {
//!         tube_voltage_kv: 110.0,
//!         effective_energy_kev: 60.0,
//!         mu_water_per_mm: 0.0206,
//!         water_precorrection: vec![1.0],
//!     },
//!     patient: PatientSetup::default(),
//!     volume_grid: None,
//!     remarks: Vec::new(),
//! };
//! let counts = [1000_u16; 48];
//! let mut writer = RunWriter::create(&path, &description, WriterOptions::default())?;
//! writer.write_frame(&FrameHeader { sequence: 7, ..FrameHeader::default() }, &counts)?;
//! writer.finish(RunOutcome::Complete)?;
//!
//! let mut reader = RunReader::open(&path)?;
//! let mut slot = [0_u16; 48];
//! let header = reader.read_frame(0, &mut slot)?;
//! assert_eq!((header.sequence, slot), (7, counts));
//! assert_eq!(reader.description(), &description);
//! assert!(inspect(&path).is_sound());
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), capture::CaptureError>(())
//! ```

mod codec;
mod description;
mod error;
mod file;
mod index;
mod inspect;
mod layout;
mod reader;
mod record;
mod recover;
mod scan;
mod storage;
mod writer;

#[cfg(test)]
mod tests;

pub use codec::FrameCodec;
pub use error::CaptureError;
pub use inspect::{DescriptionSummary, Inspection, inspect};
pub use reader::{EventRecord, GapRecord, RunReader};
pub use recover::{Recovery, recover};
pub use scan::{Damage, DamageKind};
pub use storage::Reservation;
pub use writer::{RunOutcome, RunSummary, RunWriter, WriterOptions};
