//! A case: one device, its recording, its live view and its volume, joined.
//!
//! [`run_spin`] plays a [`carm::FrameSource`] through ring, recorder, live view and streaming reconstruction;
//! [`reconstruct_run`] makes the same volume, bit for bit, from a recording; [`ViewMaker`] is what both do with
//! a frame, and [`StageTimes`] holds the clock that the reconstruction itself must not read.

mod error;
mod hash;
mod lag;
mod live;
mod recorded;
mod recorder;
mod spin;
mod timing;
mod views;

pub use error::SessionError;
pub use hash::volume_hash;
pub use lag::LagLog;
pub use live::LiveReport;
pub use recorded::{Progress, RunReconstruction, reconstruct_run};
pub use spin::{SpinOptions, SpinReport, run_spin};
pub use timing::StageTimes;
pub use views::{RunSettings, ViewMaker, plan_partial, plan_run};
