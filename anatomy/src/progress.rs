//! How long work tells where it is and is told to stop.

use crate::error::AnatomyError;

/// Tells the caller, between steps, what comes next; the caller may end the work there.
pub struct Progress<'a> {
    tell: Option<&'a (dyn Fn(f64, &'static str) -> bool + Sync)>,
}

impl<'a> Progress<'a> {
    /// `tell(share, stage)`: the share of the work that is done, 0 to 1, and the step that begins; false cancels.
    pub fn new(tell: &'a (dyn Fn(f64, &'static str) -> bool + Sync)) -> Self {
        Self { tell: Some(tell) }
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self { tell: None }
    }

    /// A step begins.
    pub(crate) fn step(&self, share: f64, stage: &'static str) -> Result<(), AnatomyError> {
        match self.tell {
            Some(tell) if !tell(share, stage) => Err(AnatomyError::Cancelled { stage }),
            _ => Ok(()),
        }
    }
}
