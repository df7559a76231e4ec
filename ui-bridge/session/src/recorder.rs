//! The recorder's thread: every frame of the ring into the run file, every frame that never came as a gap, and
//! the spin's own story as events.

use crate::error::SessionError;
use crate::spin::{LONGEST_WAIT, Shared};
use acquisition::{Arrival, Delivery, LosslessReader, SequenceLedger, Spin, SpinPlan, SpinState, Transition};
use capture::{RunOutcome, RunSummary, RunWriter, WriterOptions};
use carm::{HostTime, RunDescription};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An encoder may jitter back by so much, rad.
const TURN_BACK_RAD: f64 = 0.02;

/// A recording that is open, and the state of the spin that it records.
pub(crate) struct Recorder {
    writer: RunWriter,
    pixels: usize,
    /// Absent for runs that are not spins.
    spin: Option<Spin>,
    ledger: SequenceLedger,
}

impl Recorder {
    /// Opens the file and, for a spin, sets its space aside and arms it.
    pub(crate) fn create(
        path: &Path,
        description: &RunDescription,
        frame_timeout: Duration,
    ) -> Result<Self, SessionError> {
        let views = &description.planned_views;
        let reserve_bytes = (!views.is_empty()).then(|| RunWriter::bytes_needed(description, views.len()));
        let options = WriterOptions { reserve_bytes, overwrite: true, ..WriterOptions::default() };
        let mut recorder = Self {
            writer: RunWriter::create(path, description, options)?,
            pixels: description.detector.pixel_count(),
            spin: None,
            ledger: SequenceLedger::new(),
        };
        if let (Some(first), Some(last), Some(reserved_bytes)) = (views.first(), views.last(), reserve_bytes)
        {
            let plan = SpinPlan {
                arc_rad: (last.primary_angle_rad - first.primary_angle_rad).abs(),
                views: views.len() as u64,
                reserved_bytes,
                frame_timeout_ns: frame_timeout.as_nanos() as u64,
                turn_back_rad: TURN_BACK_RAD,
            };
            let mut spin = Spin::new();
            let armed = spin.arm(plan, HostTime(0))?;
            recorder.spin = Some(spin);
            recorder.tell(Some(armed))?;
        }
        Ok(recorder)
    }

    /// Records until the device has ended and the ring is empty.
    pub(crate) fn run(
        mut self,
        mut reader: LosslessReader,
        shared: &Shared,
    ) -> Result<RunSummary, SessionError> {
        let recorded = self.record(&mut reader, shared);
        // A full disk must not leave the others waiting for a recorder that is gone.
        shared.recorded.store(u64::MAX, Ordering::Release);
        if recorded.is_err() {
            shared.stops.store(true, Ordering::Release);
        }
        recorded?;
        let outcome = self.outcome(shared)?;
        Ok(self.writer.finish(outcome)?)
    }

    fn record(&mut self, reader: &mut LosslessReader, shared: &Shared) -> Result<(), SessionError> {
        let mut counts = vec![0; self.pixels];
        let mut position = 0;
        loop {
            match reader.next(&mut counts)? {
                Delivery::Frame(header) => {
                    if let Arrival::AfterGap { first_sequence, count } = self.ledger.observe(header.sequence)
                    {
                        self.writer.write_gap(first_sequence, count, "never arrived from the device")?;
                    }
                    self.writer.write_frame(&header, &counts)?;
                    position += 1;
                    shared.recorded.store(position, Ordering::Release);
                    let turned = self.spin.as_mut().and_then(|spin| spin.frame(&header, shared.now()));
                    self.tell(turned)?;
                }
                // The numbers that are missing become a gap record with the next frame.
                Delivery::Overrun { count } => {
                    position += count;
                    tracing::error!(count, "the device overtook the recorder");
                }
                Delivery::Empty if shared.is_over(reader.backlog()) => return Ok(()),
                Delivery::Empty => {
                    let silent = self.spin.as_mut().and_then(|spin| spin.tick(shared.now()));
                    self.tell(silent)?;
                    reader.wait(LONGEST_WAIT);
                }
            }
        }
    }

    /// A change of the spin's state becomes an event of the recording.
    fn tell(&mut self, transition: Option<Transition>) -> Result<(), SessionError> {
        if let Some(Transition { from, to, at }) = transition {
            self.writer.write_event("spin", &format!("{from} -> {to}"), at)?;
        }
        Ok(())
    }

    fn outcome(&mut self, shared: &Shared) -> Result<RunOutcome, SessionError> {
        let was_stopped = shared.stops.load(Ordering::Acquire);
        let Some(spin) = &mut self.spin else {
            return Ok(if was_stopped { RunOutcome::Aborted } else { RunOutcome::Complete });
        };
        let ended = match spin.state() {
            SpinState::Rotating(_) => Some(spin.abort(shared.now())?),
            _ => None,
        };
        let outcome = match spin.state() {
            SpinState::Complete(_) => RunOutcome::Complete,
            SpinState::Faulted { fault, .. } => RunOutcome::Faulted(format!("{fault:?}")),
            _ => RunOutcome::Aborted,
        };
        self.tell(ended)?;
        Ok(outcome)
    }
}
