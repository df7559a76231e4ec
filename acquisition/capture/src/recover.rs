//! Repair into a new file: everything that is sound, and the loss said in the file itself.

use crate::error::CaptureError;
use crate::file::RunFile;
use crate::inspect::unexplained_gaps;
use crate::reader::{RunReader, refuse_foreign};
use crate::record::TextRecord;
use crate::writer::{RunOutcome, RunSummary, RunWriter, WriterOptions};
use carm::HostTime;
use std::path::Path;

/// What a repair saved and what it could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The repaired file.
    pub summary: RunSummary,
    /// Frames recorded according to the original's outcome, where that was found.
    pub recorded_frames: Option<u64>,
    /// Missing sequence numbers, first and count, that the repaired file records as gaps of its own.
    pub lost: Vec<(u64, u64)>,
    /// The outcome written: the original's when nothing is missing, otherwise a fault that tells what is.
    pub outcome: RunOutcome,
}

/// Writes every sound record of `path` into `out`, a new file. `path` is only read.
///
/// # Errors
/// As [`RunReader::open`] and [`RunWriter::create`]; [`CaptureError::AlreadyExists`] when `out` is there, so that
/// it can never be the original.
pub fn recover(path: impl AsRef<Path>, out: impl AsRef<Path>) -> Result<Recovery, CaptureError> {
    let file = RunFile::open(path.as_ref())?;
    refuse_foreign(&file)?;
    let mut reader = RunReader::scanned(file)?;
    let description = reader.description().clone();
    let mut writer = RunWriter::create(out, &description, WriterOptions::default())?;
    let mut counts = vec![0; description.detector.pixel_count()];
    let texts = reader.contents().texts.clone();
    let mut texts = texts.iter().peekable();
    let mut sequences = Vec::new();
    for index in 0..reader.frame_count() {
        let offset = reader.contents().frames[index].offset;
        while let Some((_, text)) = texts.next_if(|(at, _)| *at < offset) {
            write_text(&mut writer, text)?;
        }
        match reader.read_frame(index, &mut counts) {
            Ok(header) => {
                writer.write_frame(&header, &counts)?;
                sequences.push(header.sequence);
            }
            // Not what was recorded: lost, and said so below.
            Err(CaptureError::FrameDamaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    texts.try_for_each(|(_, text)| write_text(&mut writer, text))?;
    finish(writer, &reader, sequences)
}

fn finish(
    mut writer: RunWriter,
    reader: &RunReader,
    mut sequences: Vec<u64>,
) -> Result<Recovery, CaptureError> {
    let saved = sequences.len() as u64;
    sequences.sort_unstable();
    let lost = unexplained_gaps(&sequences, reader.gaps());
    for &(first, count) in &lost {
        writer.write_gap(first, count, "not in the damaged recording")?;
    }
    let recorded_frames = reader.recorded_frame_count();
    let outcome = match reader.outcome() {
        Some(outcome) if recorded_frames == Some(saved) => outcome.clone(),
        _ => {
            let recorded = recorded_frames.map_or("an unknown number".to_string(), |n| n.to_string());
            RunOutcome::Faulted(format!("recovered from a damaged recording: {saved} of {recorded} frames"))
        }
    };
    let last = reader.headers().last().map_or(HostTime(0), |header| header.stamps.host);
    writer.write_event("recovered", &format!("{} damaged stretches", reader.damage().len()), last)?;
    let summary = writer.finish(outcome.clone())?;
    Ok(Recovery { summary, recorded_frames, lost, outcome })
}

fn write_text(writer: &mut RunWriter, text: &TextRecord) -> Result<(), CaptureError> {
    match text {
        TextRecord::Event { name, text, host_ns } => writer.write_event(name, text, HostTime(*host_ns)),
        TextRecord::Gap { first_sequence, count, reason, .. } => {
            writer.write_gap(*first_sequence, *count, reason)
        }
        // Plotted values are written anew with their frames; the outcome is decided at the end.
        TextRecord::Gantry { .. } | TextRecord::Exposure { .. } | TextRecord::Outcome { .. } => Ok(()),
    }
}
