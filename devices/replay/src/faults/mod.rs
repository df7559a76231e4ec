//! Faults on demand: a small schedule in TOML says which frames suffer what, and a seed makes each draw repeatable.
//!
//! ```toml
//! seed = 7
//!
//! [[fault]]
//! kind = "drop"
//! frames = [40, 60]     # sequence numbers, both included; all frames where absent
//! share = 0.1           # of these frames; all of them where absent
//!
//! [[fault]]
//! kind = "wrong-pose"
//! frames = [80, 80]
//! degrees = 3.0
//! ```
//!
//! | kind | what happens to the frame | takes |
//! |---|---|---|
//! | `drop` | never comes | |
//! | `duplicate` | comes twice | |
//! | `reorder` | comes behind the next one | |
//! | `delay` | comes late | `milliseconds` |
//! | `stall` | comes late, and so does every later one | `milliseconds` |
//! | `clock-jump` | from here on the device's clock is off | `milliseconds`, may be negative |
//! | `wrong-pose` | carries a wrong primary angle | `degrees` |
//! | `corrupt` | one bit of so many random pixels is turned over | `pixels` |
//! | `saturate` | a square of about so many pixels reads full scale | `pixels` |
//!
//! Each draw depends on the seed, the fault's place in the schedule and the frame's number alone, so a schedule does the
//! same at any speed, from any start and on any machine.

mod inject;
mod log;
#[cfg(test)]
mod tests;

pub(crate) use inject::Injector;
pub use log::FaultLog;

use crate::ReplayError;
use serde::Deserialize;

/// What can be done to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Never comes.
    Drop,
    /// Comes late.
    Delay,
    /// Comes behind the next one.
    Reorder,
    /// Comes twice.
    Duplicate,
    /// Bits of some pixels are turned over.
    Corrupt,
    /// The device's clock is off from here on.
    ClockJump,
    /// Carries a wrong primary angle.
    WrongPose,
    /// A square of pixels reads full scale.
    Saturate,
    /// Comes late, and so does all that follows.
    Stall,
}

impl FaultKind {
    /// Its name in the schedule.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Delay => "delay",
            Self::Reorder => "reorder",
            Self::Duplicate => "duplicate",
            Self::Corrupt => "corrupt",
            Self::ClockJump => "clock-jump",
            Self::WrongPose => "wrong-pose",
            Self::Saturate => "saturate",
            Self::Stall => "stall",
        }
    }
}

/// One line of the schedule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// First and last sequence number that it may hit; all frames where absent.
    pub frames: Option<[u64; 2]>,
    /// Share of these frames that it hits.
    #[serde(default = "all_of_them")]
    pub share: f64,
    /// For `delay`, `stall` and `clock-jump`, ms.
    pub milliseconds: Option<f64>,
    /// For `wrong-pose`, added to the primary angle.
    pub degrees: Option<f64>,
    /// For `corrupt` and `saturate`.
    pub pixels: Option<u32>,
}

fn all_of_them() -> f64 {
    1.0
}

/// What happens to the frames of a replay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSchedule {
    /// Of every draw.
    #[serde(default)]
    pub seed: u64,
    /// In this order on each frame.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

impl FaultSchedule {
    /// Reads a schedule from TOML.
    ///
    /// # Errors
    /// [`ReplayError::ScheduleText`] with line and column for text that is none; [`ReplayError::Fault`] for a fault that
    /// lacks its number, has one that it does not take, or one that cannot be.
    pub fn from_toml(text: &str) -> Result<Self, ReplayError> {
        let schedule: Self =
            toml::from_str(text).map_err(|error| ReplayError::ScheduleText(Box::new(error)))?;
        schedule.faults.iter().enumerate().try_for_each(|(place, fault)| check(place, fault))?;
        Ok(schedule)
    }
}

/// Longest delay, one hour: beyond it a schedule is a slip of the pen.
const MOST_MILLISECONDS: f64 = 3.6e6;

fn check(place: usize, fault: &Fault) -> Result<(), ReplayError> {
    let refuse = |expected: &str, found: String| {
        let (number, kind, expected) = (place + 1, fault.kind.name(), expected.to_owned());
        Err(ReplayError::Fault { number, kind, expected, found })
    };
    let told = |value: Option<f64>| value.map_or("none".into(), |value| value.to_string());
    if !(0.0..=1.0).contains(&fault.share) {
        return refuse("a share from 0 to 1", fault.share.to_string());
    }
    if let Some([first, last]) = fault.frames.filter(|[first, last]| first > last) {
        return refuse("frames = [first, last]", format!("[{first}, {last}]"));
    }
    let takes = match fault.kind {
        FaultKind::Delay | FaultKind::Stall | FaultKind::ClockJump => [true, false, false],
        FaultKind::WrongPose => [false, true, false],
        FaultKind::Corrupt | FaultKind::Saturate => [false, false, true],
        FaultKind::Drop | FaultKind::Reorder | FaultKind::Duplicate => [false; 3],
    };
    let has = [fault.milliseconds.is_some(), fault.degrees.is_some(), fault.pixels.is_some()];
    for ((name, takes), has) in ["milliseconds", "degrees", "pixels"].into_iter().zip(takes).zip(has) {
        if takes != has {
            let expected = if takes { name.to_string() } else { format!("no {name}") };
            return refuse(&expected, if has { name.to_string() } else { "none".into() });
        }
    }
    let least = if fault.kind == FaultKind::ClockJump { -MOST_MILLISECONDS } else { 0.0 };
    let is_time = |ms: f64| (least..=MOST_MILLISECONDS).contains(&ms);
    if !fault.milliseconds.is_none_or(is_time) {
        return refuse(&format!("{least} to {MOST_MILLISECONDS} milliseconds"), told(fault.milliseconds));
    }
    if !fault.degrees.is_none_or(|degrees| degrees.abs() <= 360.0) {
        return refuse("at most a turn", told(fault.degrees));
    }
    Ok(())
}
