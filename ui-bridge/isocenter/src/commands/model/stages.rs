//! How long each stage of a model takes.

use serde_json::{Map, Value, json};
use std::time::Instant;

/// A clock that is read at the end of every stage.
pub struct Stages {
    since: Instant,
    told: Vec<(&'static str, f64)>,
}

impl Stages {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { since: Instant::now(), told: Vec::new() }
    }

    /// What was done since the last stage ended; the same name again adds to it.
    pub fn ended(&mut self, stage: &'static str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        match self.told.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, sum)) => *sum += seconds,
            None => self.told.push((stage, seconds)),
        }
    }

    /// Seconds of all stages.
    pub fn sum(&self) -> f64 {
        self.told.iter().map(|(_, seconds)| seconds).sum()
    }

    /// Seconds by stage.
    pub fn told(&self) -> Value {
        let told: Map<String, Value> = self
            .told
            .iter()
            .map(|(name, seconds)| ((*name).into(), json!((seconds * 1e3).round() / 1e3)))
            .collect();
        Value::Object(told)
    }
}
