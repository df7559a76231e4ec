//! Seconds per stage: the clock that `reconstruct` itself must not read.

use reconstruct::Observer;
use std::time::{Duration, Instant};

/// Time spent in each stage, in the order in which stages first ran.
#[derive(Clone, Debug, Default)]
pub struct StageTimes {
    stages: Vec<(&'static str, Duration)>,
}

impl StageTimes {
    /// Stages with their total time.
    pub fn stages(&self) -> &[(&'static str, Duration)] {
        &self.stages
    }
}

impl Observer for StageTimes {
    fn stage(&mut self, name: &'static str, work: &mut dyn FnMut()) {
        let start = Instant::now();
        work();
        let spent = start.elapsed();
        match self.stages.iter_mut().find(|(known, _)| *known == name) {
            Some((_, total)) => *total += spent,
            None => self.stages.push((name, spent)),
        }
    }
}
