//! Any frame of a recording, shown as an uninterrupted replay would show it.
//!
//! What a frame becomes depends on those before it: lag, noise filter and window remember. On the way through a recording
//! their state is kept every so many frames; to show a frame, the stages go back to the last state kept before it and take
//! the frames between. States are exact copies, so the image is the same to the last bit. They stay within a budget of
//! memory: when it is used up every other one goes, and they are kept half as often from then on.

use crate::error::SessionError;
use crate::recorded::Progress;
use crate::stages::{Made, StageState, Stages};
use capture::{CaptureError, RunReader};
use carm::FrameHeader;

/// Frames between two states, as long as memory lasts.
const SPACING: usize = 256;
/// Memory for the states, bytes.
const BUDGET_BYTES: usize = 512 << 20;
/// State of a pixel: lag of four terms twice, glare, noise filter, enhancement, mask and images, about, bytes.
const PIXEL_BYTES: usize = 160;

/// A recording whose frames can be shown in any order.
pub struct Seeker {
    reader: RunReader,
    stages: Stages,
    counts: Vec<u16>,
    /// Frames that the stages have seen.
    next: usize,
    spacing: usize,
    most_states: usize,
    /// States after so many frames, rising; the first is before all frames.
    states: Vec<(usize, StageState)>,
}

impl Seeker {
    /// For a recording, before its first frame.
    ///
    /// # Errors
    /// Maps that are unusable.
    pub fn new(reader: RunReader) -> Result<Self, SessionError> {
        Self::within(reader, SPACING, BUDGET_BYTES)
    }

    /// As [`Seeker::new`], with states every `spacing` frames within so many bytes.
    fn within(reader: RunReader, spacing: usize, budget_bytes: usize) -> Result<Self, SessionError> {
        let stages = Stages::new(reader.description())?;
        let pixels = reader.description().detector.pixel_count();
        let states = vec![(0, stages.state().clone())];
        let most_states = (budget_bytes / (pixels * PIXEL_BYTES)).max(2);
        Ok(Self { reader, stages, counts: vec![0; pixels], next: 0, spacing, most_states, states })
    }

    /// The recording.
    pub fn recording(&self) -> &RunReader {
        &self.reader
    }

    /// States that are kept.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// Frames from one state to the next: what a seek takes at most once all have been seen.
    pub fn spacing(&self) -> usize {
        self.spacing
    }

    /// Has the stages see exactly the frames before `index`, which [`Seeker::into_stages`] then gives away.
    ///
    /// # Errors
    /// A recording that cannot be read; damaged frames are left out, as a replay leaves them out. What the stages find.
    pub fn go_to(&mut self, index: usize, progress: &mut dyn Progress) -> Result<(), SessionError> {
        let index = index.min(self.reader.frame_count());
        let known = self.states.partition_point(|(frames, _)| *frames <= index) - 1;
        let (frames, state) = &self.states[known];
        if self.next > index || self.next < *frames {
            self.stages.go_back_to(state);
            self.next = *frames;
        }
        while self.next < index {
            match self.reader.read_frame(self.next, &mut self.counts) {
                Ok(header) => self.take(&header)?,
                Err(CaptureError::FrameDamaged { .. }) => self.next += 1,
                Err(error) => return Err(error.into()),
            }
            if !progress.step(self.next as u64, index as u64) {
                return Err(SessionError::Cancelled);
            }
        }
        Ok(())
    }

    /// Shows the frame of an index.
    ///
    /// # Errors
    /// As [`Seeker::go_to`]; a frame that is damaged or not there.
    pub fn show(
        &mut self,
        index: usize,
        progress: &mut dyn Progress,
    ) -> Result<(FrameHeader, &Made), SessionError> {
        self.go_to(index, progress)?;
        let header = self.reader.read_frame(index, &mut self.counts)?;
        self.take(&header)?;
        Ok((header, self.stages.made()))
    }

    /// The stages as the frames so far have left them.
    pub fn into_stages(self) -> Stages {
        self.stages
    }

    /// Takes the next frame, which was read into `counts`.
    fn take(&mut self, header: &FrameHeader) -> Result<(), SessionError> {
        self.stages.make(header, &self.counts)?;
        self.next += 1;
        self.keep();
        Ok(())
    }

    /// Keeps the state where one is due.
    fn keep(&mut self) {
        let last = self.states.last().map_or(0, |(frames, _)| *frames);
        if self.next < last + self.spacing {
            return;
        }
        self.states.push((self.next, self.stages.state().clone()));
        if self.states.len() > self.most_states {
            let mut place = 0;
            self.states.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.spacing *= 2;
        }
    }
}

#[cfg(test)]
mod tests;
