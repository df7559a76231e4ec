//! Correction and live chain as a session has them, on every frame in order.

use crate::error::SessionError;
use acquisition::{CorrectedFrame, Corrector, LiveChain, LiveSettings, LiveStages, Window};
use carm::{FrameHeader, RunDescription};

/// What one frame became.
#[derive(Clone, Debug)]
pub struct Made {
    /// The frame, corrected; empty for a run without maps.
    pub corrected: CorrectedFrame,
    /// The live image `[v, u]`, gain-corrected counts.
    pub image: Vec<u16>,
    /// The window to show it with.
    pub window: Window,
}

/// Correction and live chain, and what the last frame became.
#[derive(Clone, Debug)]
pub struct Stages {
    state: StageState,
    made: Made,
}

/// What the frames so far leave for the next one: lag, noise filter, window. Copies share the maps.
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    corrector: Option<Corrector>,
    chain: LiveChain,
}

impl Stages {
    /// For a run, before its first frame.
    ///
    /// # Errors
    /// Maps that are unusable.
    pub fn new(description: &RunDescription) -> Result<Self, SessionError> {
        let image = vec![0; description.detector.pixel_count()];
        let corrector = Corrector::for_run(description)?;
        let chain = LiveChain::new(description, LiveSettings::default())?;
        let made = Made { corrected: CorrectedFrame::default(), image, window: Window::default() };
        Ok(Self { state: StageState { corrector, chain }, made })
    }

    /// The correction as the frames so far have left it; none for a run without maps.
    pub fn corrector(&self) -> Option<&Corrector> {
        self.state.corrector.as_ref()
    }

    /// What the last frame became.
    pub fn made(&self) -> &Made {
        &self.made
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// What correction and live chain find.
    pub fn make(&mut self, header: &FrameHeader, counts: &[u16]) -> Result<&Made, SessionError> {
        let Self { state: StageState { corrector, chain }, made } = self;
        if let Some(corrector) = corrector {
            corrector.correct(header, counts, &mut made.corrected)?;
        }
        made.window = chain.show(header, counts, LiveStages::USUAL, &mut made.image)?.window;
        Ok(made)
    }

    pub(crate) fn state(&self) -> &StageState {
        &self.state
    }

    pub(crate) fn go_back_to(&mut self, state: &StageState) {
        self.state.clone_from(state);
    }
}
