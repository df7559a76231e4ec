//! The virtual C-arm: a real CT or an analytic phantom, imaged with physics.
//!
//! Every correction and every reconstruction in Isocenter is held against what this crate makes, because here the truth
//! is known: the attenuation of the patient, the true place of source and detector, the noise-free primary, the scatter.
//! It shares no code with the reconstruction.
//!
//! The types to know: [`Protocol`] (what the console would choose, readable TOML), [`Patient`] (a CT or shapes, and how
//! they lie), [`Options`] (seed, ideal or which effects, motion, devices) and [`SimulatedCarm`], a
//! [`carm::FrameSource`] that also knows the truth ([`SimulatedCarm::truth`], [`SimulatedCarm::truth_frame`]).
//!
//! The same seed gives the same bits on any number of threads: random numbers are keyed by (seed, frame, pixel, purpose).
//!
//! # Example
//!
//! ```
//! use carm::{FrameSource, SourceEvent};
//! use simulated::{Options, Patient, Protocol, SimulatedCarm};
//!
//! let protocol = Protocol::named("fluoro-ap").unwrap();
//! let patient = Patient::water_cylinder(200.0, 300.0);
//! let options = Options { ideal: true, views: Some(1), ..Options::default() };
//! let mut arm = SimulatedCarm::new(protocol, patient, options).unwrap();
//! let mut counts = vec![0; arm.description().detector.pixel_count()];
//! assert!(matches!(arm.next_frame(&mut counts).unwrap(), SourceEvent::Frame(_)));
//! assert!(matches!(arm.next_frame(&mut counts).unwrap(), SourceEvent::End));
//! assert!(counts[240 * 616 + 308] < counts[240 * 616], "the cylinder's middle is darker than the air beside it");
//! ```

mod abdomen;
mod beam;
mod blur;
mod bone;
mod detector;
mod device;
mod error;
mod gantry;
pub mod inserts;
mod lag;
mod materials;
mod motion;
mod options;
mod patient;
mod project;
mod protocol;
mod random;
mod scatter;
mod shapes;
#[cfg(test)]
mod tests;
mod truth;
mod vessels;
mod views;

pub use device::SimulatedCarm;
pub use error::SimulationError;
pub use inserts::Insert;
pub use materials::Material;
pub use motion::{Motion, MotionKnot, MotionPose};
pub use options::{Effects, Options};
pub use patient::{Patient, label};
pub use protocol::{BeamPlan, DetectorPlan, GantryPlan, Protocol, RunKind, VolumePlan};
pub use shapes::{Attenuation, Form, Shape};
pub use truth::FrameTruth;
pub use vessels::{BolusPlan, Breathing, Organs, Vessel};
