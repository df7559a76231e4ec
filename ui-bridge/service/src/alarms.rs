//! What somebody should know of: raised once, cleared when it is over, the last ones kept.

use crate::clock::wall_now;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Alarms kept; the oldest ones that are over go first.
const KEPT: usize = 200;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something works less well.
    Warning,
    /// Something does not work.
    Fault,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Counts from 1.
    pub id: u64,
    /// Which stream; empty for the daemon itself.
    pub stream: String,
    /// What, such as `device` or `recorder`: one alarm of a kind is active at a time in a stream.
    pub kind: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// In words.
    pub text: String,
    /// When, ns since 1970.
    pub raised_unix_ns: u64,
    /// When it was over, ns since 1970; zero while it is not.
    pub cleared_unix_ns: u64,
    /// How often it was raised again meanwhile.
    pub repeats: u64,
}

/// The daemon's alarms.
#[derive(Debug, Default)]
pub struct Alarms {
    kept: Mutex<VecDeque<Alarm>>,
}

impl Alarms {
    /// Raises an alarm, or counts it again while it is active.
    pub fn raise(&self, stream: &str, kind: &'static str, severity: Severity, text: impl Into<String>) {
        let text = text.into();
        let mut kept = self.lock();
        if let Some(active) = kept.iter_mut().find(|alarm| alarm.is(stream, kind)) {
            active.repeats += 1;
            active.text = text;
            return;
        }
        match severity {
            Severity::Fault => tracing::error!(stream, kind, "{text}"),
            Severity::Warning => tracing::warn!(stream, kind, "{text}"),
        }
        if kept.len() >= KEPT {
            let over = kept.iter().position(|alarm| alarm.cleared_unix_ns != 0).unwrap_or(0);
            kept.remove(over);
        }
        let id = kept.back().map_or(1, |last| last.id + 1);
        kept.push_back(Alarm {
            id,
            stream: stream.into(),
            kind,
            severity,
            text,
            raised_unix_ns: wall_now().0,
            cleared_unix_ns: 0,
            repeats: 0,
        });
    }

    /// It is over.
    pub fn clear(&self, stream: &str, kind: &'static str) {
        if let Some(active) = self.lock().iter_mut().find(|alarm| alarm.is(stream, kind)) {
            active.cleared_unix_ns = wall_now().0;
            tracing::info!(stream, kind, "over: {}", active.text);
        }
    }

    /// All that are kept, oldest first.
    pub fn list(&self) -> Vec<Alarm> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Alarm>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarm {
    /// Whether it is still so.
    pub fn is_active(&self) -> bool {
        self.cleared_unix_ns == 0
    }

    fn is(&self, stream: &str, kind: &str) -> bool {
        self.is_active() && self.stream == stream && self.kind == kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_raised_once_repeated_and_cleared() {
        let alarms = Alarms::default();
        alarms.raise("panel", "device", Severity::Fault, "gone");
        alarms.raise("panel", "device", Severity::Fault, "still gone");
        alarms.raise("", "disk", Severity::Warning, "low");
        let list = alarms.list();
        assert_eq!((list.len(), list[0].repeats, list[0].text.as_str()), (2, 1, "still gone"));
        alarms.clear("panel", "device");
        alarms.raise("panel", "device", Severity::Fault, "gone again");
        let ids: Vec<(u64, bool)> = alarms.list().iter().map(|alarm| (alarm.id, alarm.is_active())).collect();
        assert_eq!(ids, [(1, false), (2, true), (3, true)]);
    }

    #[test]
    fn alarms_are_bounded_and_forget_those_that_are_over_first() {
        let alarms = Alarms::default();
        alarms.raise("", "disk", Severity::Fault, "full");
        for _ in 0..3 * KEPT {
            alarms.raise("panel", "device", Severity::Fault, "gone");
            alarms.clear("panel", "device");
        }
        let list = alarms.list();
        assert!(list.len() <= KEPT && list[0].kind == "disk" && list[0].is_active());
    }
}
