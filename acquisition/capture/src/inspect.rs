//! What a file is and whether it is sound: every byte looked at, nothing trusted, nothing thrown.

use crate::codec::FrameUnpacker;
use crate::error::CaptureError;
use crate::file::RunFile;
use crate::index::is_summary_sound;
use crate::layout::{HEAD_BYTES, MAGIC};
use crate::reader::{EventRecord, GapRecord, description, read_counts, refuse_foreign, texts};
use crate::scan::{Contents, Damage, DamageKind, scan};
use crate::writer::RunOutcome;
use carm::RunDescription;
use std::path::{Path, PathBuf};

/// The parts of a description worth a line in a report.
#[derive(Clone, Debug, PartialEq)]
pub struct DescriptionSummary {
    /// Identifies the run.
    pub run_id: String,
    /// The protocol's name.
    pub protocol: String,
    /// Maker and model of the device.
    pub device: String,
    /// Columns and rows.
    pub detector_size: [usize; 2],
    /// Column and row pitch, mm.
    pub pixel_pitch_mm: [f64; 2],
    /// Nominal frame rate, 1/s.
    pub frame_rate_hz: f64,
    /// Views of the plan.
    pub planned_views: usize,
    /// Whether dark, gain and defects are stored.
    pub has_calibration: bool,
}

/// A report on a run file.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub file_bytes: u64,
    /// Whether anything in it is a run of ours.
    pub is_run: bool,
    /// Whether it could not be read at all, and why.
    pub unreadable: Option<String>,
    /// Every damaged stretch, in file order.
    pub damage: Vec<Damage>,
    /// Whole chunks.
    pub chunks: u64,
    /// Frames that are bit for bit what was recorded.
    pub frames: usize,
    /// Frames that were recorded according to the outcome.
    pub recorded_frames: Option<u64>,
    /// First and last sequence number among the sound frames.
    pub sequences: Option<(u64, u64)>,
    /// Sequence numbers between those that are neither a sound frame nor within a gap record: first and count.
    pub unexplained_gaps: Vec<(u64, u64)>,
    /// Gaps that the recording itself tells of.
    pub gaps: Vec<GapRecord>,
    /// What happened.
    pub events: Vec<EventRecord>,
    /// How the run ended; none for one that was cut off.
    pub outcome: Option<RunOutcome>,
    /// What was recorded, where a copy of the description holds.
    pub description: Option<DescriptionSummary>,
}

impl Inspection {
    /// Whether the file is whole, every checksum holds, and the run was finished.
    pub fn is_sound(&self) -> bool {
        self.is_run
            && self.unreadable.is_none()
            && self.damage.is_empty()
            && self.description.is_some()
            && self.outcome.is_some()
            && self.recorded_frames == Some(self.frames as u64)
    }

    fn unreadable(path: &Path, file_bytes: u64, reason: String) -> Self {
        Self {
            path: path.into(),
            file_bytes,
            is_run: false,
            unreadable: Some(reason),
            damage: Vec::new(),
            chunks: 0,
            frames: 0,
            recorded_frames: None,
            sequences: None,
            unexplained_gaps: Vec::new(),
            gaps: Vec::new(),
            events: Vec::new(),
            outcome: None,
            description: None,
        }
    }
}

/// Reads all of a file and reports on it. Any bytes may come: the worst is a report that says so.
pub fn inspect(path: impl AsRef<Path>) -> Inspection {
    let path = path.as_ref();
    let file = match RunFile::open(path).and_then(|file| refuse_foreign(&file).map(|()| file)) {
        Ok(file) => file,
        Err(error) => return Inspection::unreadable(path, 0, chain(&error)),
    };
    match inspect_file(&file) {
        Ok(inspection) => inspection,
        Err(error) => Inspection::unreadable(path, file.bytes, chain(&error)),
    }
}

fn chain(error: &CaptureError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn inspect_file(file: &RunFile) -> Result<Inspection, CaptureError> {
    let mut contents = scan(file)?;
    check_frames(file, &mut contents)?;
    check_whole(file, &mut contents)?;
    contents.damage.sort_by_key(|damage| damage.start_byte);
    let description = description(file, &contents)?.ok();
    let (gaps, events, outcome) = texts(&contents);
    let recorded_frames = outcome.as_ref().map(|(_, frames)| *frames);
    let mut sequences: Vec<u64> = contents.frames.iter().map(|frame| frame.record.header.sequence).collect();
    sequences.sort_unstable();
    Ok(Inspection {
        path: file.path.clone(),
        file_bytes: file.bytes,
        is_run: !contents.frames.is_empty() || !contents.attachments.is_empty() || !contents.texts.is_empty(),
        unreadable: None,
        damage: contents.damage,
        chunks: contents.chunks,
        frames: contents.frames.len(),
        recorded_frames,
        sequences: sequences.first().copied().zip(sequences.last().copied()),
        unexplained_gaps: unexplained_gaps(&sequences, &gaps),
        gaps,
        events,
        outcome: outcome.map(|(outcome, _)| outcome),
        description: description.as_ref().map(summary),
    })
}

/// Unpacks every frame against its hash; one that fails is damage and no frame.
fn check_frames(file: &RunFile, contents: &mut Contents) -> Result<(), CaptureError> {
    let mut unpacker =
        FrameUnpacker::new().map_err(CaptureError::io(&file.path, "setting up the frame codec"))?;
    let (mut record, mut scratch, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let mut damage = Vec::new();
    let mut failure = None;
    contents.frames.retain(|frame| {
        counts.resize(frame.record.pixel_count(), 0);
        match read_counts(file, frame, &mut unpacker, &mut record, &mut scratch, &mut counts) {
            Ok(()) => true,
            Err(CaptureError::FrameDamaged { .. }) => {
                let end_byte = frame.offset + frame.record.record_bytes() as u64;
                damage.push(Damage { start_byte: frame.offset, end_byte, kind: DamageKind::FrameCounts });
                false
            }
            Err(error) => {
                failure = Some(error);
                false
            }
        }
    });
    contents.damage.extend(damage);
    failure.map_or(Ok(()), Err)
}

/// The checksums over everything: of all records, and of the index.
fn check_whole(file: &RunFile, contents: &mut Contents) -> Result<(), CaptureError> {
    let Some((summary_start, _)) = contents.footer else { return Ok(()) };
    if !is_summary_sound(file)? {
        let end_byte = file.bytes - MAGIC.len() as u64;
        let start_byte = summary_start.min(end_byte);
        contents.damage.push(Damage { start_byte, end_byte, kind: DamageKind::Index });
    }
    let Some((data_end, crc)) = contents.data_end.filter(|_| contents.damage.is_empty()) else {
        return Ok(());
    };
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < data_end {
        file.read(at, (data_end - at).min(1 << 20), &mut buffer)?;
        hasher.update(&buffer);
        at += buffer.len() as u64;
    }
    if crc != 0 && hasher.finalize() != crc {
        let end_byte = data_end + HEAD_BYTES + 4;
        contents.damage.push(Damage { start_byte: 0, end_byte, kind: DamageKind::DataChecksum });
    }
    Ok(())
}

/// Holes between sorted sequence numbers that no gap record covers.
pub(crate) fn unexplained_gaps(sequences: &[u64], gaps: &[GapRecord]) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    for pair in sequences.windows(2) {
        let mut first = pair[0].saturating_add(1);
        let mut covering: Vec<_> =
            gaps.iter().filter(|gap| gap.first_sequence < pair[1] && end_of(gap) > first).collect();
        covering.sort_by_key(|gap| gap.first_sequence);
        for gap in covering {
            if gap.first_sequence > first {
                holes.push((first, gap.first_sequence - first));
            }
            first = first.max(end_of(gap));
        }
        if first < pair[1] {
            holes.push((first, pair[1] - first));
        }
    }
    holes
}

fn end_of(gap: &GapRecord) -> u64 {
    gap.first_sequence.saturating_add(gap.count)
}

fn summary(run: &RunDescription) -> DescriptionSummary {
    DescriptionSummary {
        run_id: run.run_id.clone(),
        protocol: run.protocol.clone(),
        device: format!("{} {}", run.device.manufacturer, run.device.model),
        detector_size: [run.detector.nu, run.detector.nv],
        pixel_pitch_mm: [run.detector.pixel_pitch_u_mm, run.detector.pixel_pitch_v_mm],
        frame_rate_hz: run.frame_rate_hz,
        planned_views: run.planned_views.len(),
        has_calibration: run.detector_calibration.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::HostTime;

    fn gap(first_sequence: u64, count: u64) -> GapRecord {
        GapRecord { first_sequence, count, reason: String::new(), host: HostTime(0) }
    }

    #[test]
    fn unexplained_gaps_are_what_neither_frames_nor_gap_records_cover() {
        assert_eq!(unexplained_gaps(&[1, 2, 3], &[]), []);
        assert_eq!(unexplained_gaps(&[1, 5, 6, 9], &[]), [(2, 3), (7, 2)]);
        assert_eq!(unexplained_gaps(&[1, 5], &[gap(2, 3)]), []);
        assert_eq!(unexplained_gaps(&[1, 9], &[gap(5, 2), gap(3, 1)]), [(2, 1), (4, 1), (7, 2)]);
        assert_eq!(unexplained_gaps(&[1, u64::MAX], &[gap(2, u64::MAX)]), []);
    }
}
