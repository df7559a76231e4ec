//! The live view's thread: the newest frame, corrected; skipped ones counted.

use crate::error::SessionError;
use crate::lag::LagLog;
use crate::spin::{LONGEST_WAIT, Shared};
use acquisition::{CorrectedFrame, Corrector, NewestReader};
use std::time::Instant;

/// What the live view showed.
#[derive(Debug, Default)]
pub struct LiveReport {
    /// Frames shown.
    pub shown: u64,
    /// Frames passed over for a newer one.
    pub skipped: u64,
    /// Time that correction took, per shown frame.
    pub correction: LagLog,
    /// The shown frame nearest to a frontal view.
    pub frontal: Option<CorrectedFrame>,
    /// The last frame shown.
    pub last: Option<CorrectedFrame>,
}

/// Shows frames until the device has ended.
pub(crate) fn show_live(
    mut reader: NewestReader,
    pixels: usize,
    corrector: Option<Corrector>,
    shared: &Shared,
) -> Result<LiveReport, SessionError> {
    let mut report = LiveReport::default();
    let Some(mut corrector) = corrector else { return Ok(report) };
    let mut counts = vec![0; pixels];
    let mut corrected = CorrectedFrame::default();
    loop {
        match reader.next(&mut counts)? {
            Some(newest) => {
                let start = Instant::now();
                corrector.correct(&newest.header, &counts, &mut corrected)?;
                report.correction.add(newest.header.sequence, start.elapsed());
                report.shown += 1;
                let is_more_frontal = report.frontal.as_ref().is_none_or(|known| {
                    corrected.header.gantry.primary_angle_rad.abs()
                        < known.header.gantry.primary_angle_rad.abs()
                });
                if is_more_frontal {
                    report.frontal = Some(corrected.clone());
                }
            }
            None if shared.is_over(0) => break,
            None => reader.wait(LONGEST_WAIT),
        }
    }
    report.skipped = reader.skipped();
    if report.shown > 0 {
        report.last = Some(corrected);
    }
    Ok(report)
}
