//! Measured maps put in the place of a run's own: checked against the run's mode, and the panel's lag model told on which
//! frames they were measured.

use super::age::{AGAINST, MapsDoubt};
use crate::correct::lag::LagModel;
use crate::correct::panel::PanelModel;
use crate::error::AcquisitionError;
use carm::{DetectorGrid, RunDescription};
use std::ops::Range;

/// First word of the remark in a description of maps that says which frames of each even field were averaged.
const FLAT_MARK: &str = "flat-frames";
/// Frame rates apart by more than this share integrate another offset and lag.
const RATE_SHARE: f64 = 0.1;
/// Pixel pitches apart by more than this share are another binning.
const PITCH_SHARE: f64 = 0.01;

/// The remark that goes with maps: which frames of each even field were averaged, counted from its first.
pub fn flat_frames_remark(frames: &Range<u32>) -> String {
    format!("{FLAT_MARK} {} {}", frames.start, frames.end)
}

fn flat_frames(measured: &RunDescription) -> Option<Range<u32>> {
    let remark = measured.remarks.iter().find_map(|remark| remark.strip_prefix(FLAT_MARK))?;
    let (start, end) = remark.trim().split_once(' ')?;
    let frames = start.parse().ok()?..end.parse().ok()?;
    (frames.start < frames.end && frames.end <= 1 << 20).then_some(frames)
}

/// Puts the maps of `measured` in force in `run`. Raw counts are not touched. What of the maps' mode speaks against them
/// goes into the run's remarks, where [`super::doubts`] finds it now and in every recording.
///
/// # Errors
/// [`AcquisitionError::MapSize`] for maps of another detector, [`AcquisitionError::NoMaps`] for none, a panel model that
/// cannot be read.
pub fn install(measured: &RunDescription, run: &mut RunDescription) -> Result<(), AcquisitionError> {
    let maps = measured.detector_calibration.clone().ok_or(AcquisitionError::NoMaps)?;
    let DetectorGrid { nu, nv, .. } = run.detector;
    if maps.gain.dim() != (nv, nu) {
        let found = [maps.gain.nrows(), maps.gain.ncols()];
        return Err(AcquisitionError::MapSize { what: "detector maps", expected: [nv, nu], found });
    }
    let panel = PanelModel::of(run)?;
    if let (Some(frames), Some(lag)) = (flat_frames(measured), panel.lag) {
        let model = PanelModel { lag: Some(LagModel { flat_gain: mean_gain(&lag, frames), ..lag }), ..panel };
        PanelModel::take_from(run);
        run.remarks.push(model.to_string());
    }
    run.remarks.retain(|remark| !remark.starts_with(AGAINST));
    run.remarks.push(format!("detector maps of {}", measured.run_id));
    run.detector_calibration = Some(maps);
    let differ = |a: f64, b: f64, share: f64| (a - b).abs() > share * b.abs();
    let (maps_hz, run_hz) = (measured.frame_rate_hz, run.frame_rate_hz);
    if differ(maps_hz, run_hz, RATE_SHARE) {
        run.remarks.push(MapsDoubt::Rate { maps_hz, run_hz }.to_string());
    }
    let (maps_mm, run_mm) = (measured.detector.pixel_pitch_u_mm, run.detector.pixel_pitch_u_mm);
    if differ(maps_mm, run_mm, PITCH_SHARE) {
        run.remarks.push(MapsDoubt::Binning { maps_mm, run_mm }.to_string());
    }
    Ok(())
}

/// What lag has added to the mean of these frames of an even field that began in a rested panel.
fn mean_gain(lag: &LagModel, frames: Range<u32>) -> f64 {
    let count = frames.len() as f64;
    frames.map(|frame| lag.gain_after(frame)).sum::<f64>() / count
}
