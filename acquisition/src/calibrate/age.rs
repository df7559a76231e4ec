//! Whether maps still suit the frames that they correct.

use carm::{RunDescription, WallTime};
use std::fmt;

/// Maps older than this are doubted: gain drifts by tenths of a percent within days.
const OLDEST_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;
/// Maps measured so soon after a run serve it as well; later ones make one of the clocks suspect.
const SOON_AFTER_NS: u64 = 24 * 3600 * 1_000_000_000;
/// Tube voltages apart by more than this see another gain.
const VOLTAGE_KV: f64 = 10.0;

/// How what speaks against maps begins, among a run's remarks too.
pub(super) const AGAINST: &str = "detector maps: expected";

/// Why maps may not suit.
#[derive(Clone, Debug, PartialEq)]
pub enum MapsDoubt {
    /// There are none.
    Missing,
    /// They were measured too long ago.
    Old {
        /// Their age in days.
        days: f64,
    },
    /// They are from more than a day after the run: one of the clocks may be wrong.
    FromTheFuture,
    /// They were measured at another frame rate.
    Rate {
        /// Of the maps, 1/s.
        maps_hz: f64,
        /// Of the run, 1/s.
        run_hz: f64,
    },
    /// They were measured on pixels of another size, though as many.
    Binning {
        /// Pitch of the maps' pixels, mm.
        maps_mm: f64,
        /// Pitch of the run's, mm.
        run_mm: f64,
    },
    /// What was noted against them when they were put in force.
    Noted(String),
    /// They were measured at another tube voltage.
    Voltage {
        /// Of the maps, kV.
        maps_kv: f64,
        /// Of the run, kV.
        run_kv: f64,
    },
}

impl fmt::Display for MapsDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("detector maps: expected some, found none: frames are not corrected")
            }
            Self::Old { days } => {
                write!(
                    f,
                    "detector maps: expected at most {} days old, found {days:.1}",
                    OLDEST_NS / 86_400_000_000_000
                )
            }
            Self::FromTheFuture => f.write_str(
                "detector maps: expected from before the run or the day after it, found from later: is a clock wrong?",
            ),
            Self::Rate { maps_hz, run_hz } => {
                write!(f, "detector maps: expected for {run_hz} frames/s as the run, found for {maps_hz}")
            }
            Self::Binning { maps_mm, run_mm } => {
                write!(
                    f,
                    "detector maps: expected for pixels of {run_mm} mm as the run, found of {maps_mm} mm"
                )
            }
            Self::Noted(text) => f.write_str(text),
            Self::Voltage { maps_kv, run_kv } => {
                write!(f, "detector maps: expected for {run_kv} kV as the run, found for {maps_kv} kV")
            }
        }
    }
}

/// What speaks against a run's maps at a time.
pub fn doubts(run: &RunDescription, now: WallTime) -> Vec<MapsDoubt> {
    let Some(maps) = &run.detector_calibration else { return vec![MapsDoubt::Missing] };
    let mut doubts = Vec::new();
    match now.0.checked_sub(maps.acquired.0) {
        None if maps.acquired.0 - now.0 > SOON_AFTER_NS => doubts.push(MapsDoubt::FromTheFuture),
        None => {}
        Some(age_ns) if age_ns > OLDEST_NS => doubts.push(MapsDoubt::Old { days: age_ns as f64 / 8.64e13 }),
        Some(_) => {}
    }
    let (maps_kv, run_kv) = (maps.tube_voltage_kv, run.beam.tube_voltage_kv);
    if (maps_kv - run_kv).abs() > VOLTAGE_KV {
        doubts.push(MapsDoubt::Voltage { maps_kv, run_kv });
    }
    let noted = run.remarks.iter().filter(|remark| remark.starts_with(AGAINST));
    doubts.extend(noted.cloned().map(MapsDoubt::Noted));
    doubts
}
