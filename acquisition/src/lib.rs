//! Raw counts to corrected frames: the ring that every frame enters, the corrections and the maps they take, live images
//! and angiographies, and the account of what arrived.
//!
//! The types to know are [`FrameRing`] (one producer, any number of readers, no waiting), [`Corrector`] with
//! [`CorrectedFrame`] (offset, gain, defects, unattenuated intensity: linear out), [`LiveChain`] (raw counts to the image on
//! the screen), [`SequenceLedger`] (every sequence
//! number accounted for) and [`Spin`] (armed, rotating, complete, aborted or faulted). Time comes in as an argument
//! everywhere; nothing here reads a clock.
//!
//! # Example
//!
//! ```
//! use acquisition::{Delivery, FrameRing, SequenceLedger};
//! use carm::FrameHeader;
//!
//! let (mut producer, ring) = FrameRing::new(4, 6)?;
//! let mut recorder = ring.lossless_reader();
//! let mut screen = ring.newest_reader();
//! let mut ledger = SequenceLedger::new();
//! for sequence in [1, 2, 4] {
//!     producer.publish(&FrameHeader { sequence, ..FrameHeader::default() }, &[sequence as u16; 6])?;
//! }
//! let mut slot = [0; 6];
//! while let Delivery::Frame(header) = recorder.next(&mut slot)? {
//!     ledger.observe(header.sequence);
//! }
//! assert_eq!(ledger.missing(), [(3, 1)]);
//! let newest = screen.next(&mut slot)?.unwrap();
//! assert_eq!((newest.header.sequence, newest.skipped), (4, 2));
//! # Ok::<(), acquisition::AcquisitionError>(())
//! ```

mod bands;
pub mod calibrate;
pub mod correct;
mod error;
mod ledger;
pub mod live;
mod queue;
mod ring;
mod shared_memory;
mod spin;

#[cfg(test)]
mod counting_allocator;

pub use correct::lag::{LagModel, LagTerm};
pub use correct::panel::PanelModel;
pub use correct::{CorrectedFrame, Corrector, VarianceModel};
pub use error::AcquisitionError;
pub use ledger::{Arrival, SequenceLedger};
pub use live::{LiveChain, LiveNote, LiveSettings, LiveStages, Shown, Window};
pub use queue::{Full, LosslessReceiver, LosslessSender, lossless_queue};
pub use ring::{
    Delivery, FrameNote, FrameRing, LosslessReader, Newest, NewestReader, RingLayout, RingProducer,
};
pub use spin::{Coverage, Fault, Spin, SpinPlan, SpinState, Transition};
