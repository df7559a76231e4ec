//! A recorded run: its description, what happened, and any frame by index or sequence number.

use crate::codec::FrameUnpacker;
use crate::description::{DARK_NAME, DESCRIPTION_NAME, GAIN_NAME, from_parts};
use crate::error::CaptureError;
use crate::file::RunFile;
use crate::index::read_by_index;
use crate::layout;
use crate::record::{FRAMES_END, FrameRecord, TextRecord, counts_hash};
use crate::scan::{Contents, Damage, FramePlace, scan, scan_further};
use crate::writer::RunOutcome;
use carm::{FrameHeader, HostTime, RunDescription};
use std::collections::HashMap;
use std::path::Path;

/// Frames that are known to be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapRecord {
    /// First missing sequence number.
    pub first_sequence: u64,
    /// How many are missing.
    pub count: u64,
    /// Why.
    pub reason: String,
    /// When it was recorded.
    pub host: HostTime,
}

/// Something that happened during the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// What, such as `xray_on`.
    pub name: String,
    /// More about it.
    pub text: String,
    /// When.
    pub host: HostTime,
}

/// An opened run.
pub struct RunReader {
    file: RunFile,
    description: RunDescription,
    contents: Contents,
    is_indexed: bool,
    headers: Vec<FrameHeader>,
    by_sequence: HashMap<u64, usize>,
    gaps: Vec<GapRecord>,
    events: Vec<EventRecord>,
    outcome: Option<(RunOutcome, u64)>,
    unpacker: FrameUnpacker,
    record: Vec<u8>,
    scratch: Vec<u8>,
}

impl RunReader {
    /// Opens a run by its index when that is there and sound, otherwise by reading all of it.
    ///
    /// # Errors
    /// [`CaptureError::Io`]; [`CaptureError::NotARun`]; [`CaptureError::DescriptionLost`] when neither copy of the
    /// description holds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CaptureError> {
        let file = RunFile::open(path.as_ref())?;
        refuse_foreign(&file)?;
        let indexed = read_by_index(&file)?;
        if let Some(contents) = indexed
            && let Ok(Ok(description)) = description(&file, &contents)
        {
            return Self::with(file, contents, description, true);
        }
        Self::scanned(file)
    }

    /// Opens a run by reading all of it, so that every damaged stretch is known.
    pub(crate) fn scanned(file: RunFile) -> Result<Self, CaptureError> {
        let contents = scan(&file)?;
        if contents.frames.is_empty() && contents.attachments.is_empty() && contents.texts.is_empty() {
            let found = format!("{} bytes with no record of a run", file.bytes);
            return Err(CaptureError::NotARun { path: file.path, found });
        }
        let description = description(&file, &contents)?.map_err(|reason| CaptureError::DescriptionLost {
            path: file.path.clone(),
            sound_frames: contents.frames.len(),
            reason,
        })?;
        Self::with(file, contents, description, false)
    }

    fn with(
        file: RunFile,
        contents: Contents,
        description: RunDescription,
        is_indexed: bool,
    ) -> Result<Self, CaptureError> {
        let unpacker =
            FrameUnpacker::new().map_err(CaptureError::io(&file.path, "setting up the frame codec"))?;
        let mut reader = Self {
            file,
            description,
            contents,
            is_indexed,
            headers: Vec::new(),
            by_sequence: HashMap::new(),
            gaps: Vec::new(),
            events: Vec::new(),
            outcome: None,
            unpacker,
            record: Vec::new(),
            scratch: Vec::new(),
        };
        reader.list();
        Ok(reader)
    }

    fn list(&mut self) {
        self.headers = self.contents.frames.iter().map(|frame| frame.record.header).collect();
        self.by_sequence.clear();
        for (index, header) in self.headers.iter().enumerate() {
            self.by_sequence.entry(header.sequence).or_insert(index);
        }
        (self.gaps, self.events, self.outcome) = texts(&self.contents);
    }

    /// What the device announced.
    pub fn description(&self) -> &RunDescription {
        &self.description
    }

    /// Has the run seen by another description from now on, as with newer maps; what is recorded stays as it is.
    ///
    /// # Errors
    /// [`CaptureError::FrameSize`] for one of a detector of another size.
    pub fn describe_as(&mut self, description: RunDescription) -> Result<(), CaptureError> {
        let [expected, found] = [&self.description, &description].map(|run| run.detector.pixel_count());
        if self.description.detector.nu != description.detector.nu || expected != found {
            return Err(CaptureError::FrameSize { expected, found });
        }
        self.description = description;
        Ok(())
    }

    /// Frames that can be read.
    pub fn frame_count(&self) -> usize {
        self.headers.len()
    }

    /// The header of every frame, in the order of recording.
    pub fn headers(&self) -> &[FrameHeader] {
        &self.headers
    }

    /// Index of the frame with a sequence number (the first, should it have come twice).
    pub fn index_of(&self, sequence: u64) -> Option<usize> {
        self.by_sequence.get(&sequence).copied()
    }

    /// Frames recorded as missing.
    pub fn gaps(&self) -> &[GapRecord] {
        &self.gaps
    }

    /// What happened.
    pub fn events(&self) -> &[EventRecord] {
        &self.events
    }

    /// How the run ended; none when it was cut off or is still being recorded.
    pub fn outcome(&self) -> Option<&RunOutcome> {
        self.outcome.as_ref().map(|(outcome, _)| outcome)
    }

    /// Whether no frame follows: the run has its outcome, or its recorder said so ([`crate::RunWriter::end_frames`]).
    pub fn has_all_frames(&self) -> bool {
        self.outcome.is_some() || self.events.iter().any(|event| event.name == FRAMES_END)
    }

    /// Frames that were recorded according to the outcome; more than [`RunReader::frame_count`] after damage.
    pub fn recorded_frame_count(&self) -> Option<u64> {
        self.outcome.as_ref().map(|(_, frames)| *frames)
    }

    /// Damage found while opening: empty when the index was used. [`crate::inspect`] looks at every byte.
    pub fn damage(&self) -> &[Damage] {
        &self.contents.damage
    }

    /// Whether the run was opened by its index rather than by reading all of it.
    pub fn is_indexed(&self) -> bool {
        self.is_indexed
    }

    /// BLAKE3 over sequence number and counts of every frame in order, as [`crate::RunSummary::content_hash`].
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for frame in &self.contents.frames {
            hasher.update(&frame.record.header.sequence.to_le_bytes()).update(&frame.record.counts_hash);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Reads a frame's counts, `[v, u]`, u fastest, checked against the hash made when it was recorded.
    ///
    /// # Errors
    /// [`CaptureError::NoSuchFrame`], [`CaptureError::FrameSize`]; [`CaptureError::FrameDamaged`] for anything that is
    /// not bit for bit what was recorded (`counts` is then meaningless).
    pub fn read_frame(&mut self, index: usize, counts: &mut [u16]) -> Result<FrameHeader, CaptureError> {
        let expected = self.description.detector.pixel_count();
        if counts.len() != expected {
            return Err(CaptureError::FrameSize { expected, found: counts.len() });
        }
        let frame_count = self.contents.frames.len();
        let missing = CaptureError::NoSuchFrame { frame_count, found: index };
        let frame = *self.contents.frames.get(index).ok_or(missing)?;
        let detector = self.description.detector;
        if (frame.record.nu as usize, frame.record.nv as usize) != (detector.nu, detector.nv) {
            return Err(frame_damaged(&self.file, &frame, "its size is not that of the run's detector"));
        }
        read_counts(&self.file, &frame, &mut self.unpacker, &mut self.record, &mut self.scratch, counts)?;
        Ok(frame.record.header)
    }

    /// Reads of the file so far: opening by the index takes a few for each chunk and one for each frame,
    /// [`RunReader::read_frame`] takes one wherever the frame lies.
    pub fn file_reads(&self) -> u64 {
        self.file.reads()
    }

    /// Looks for what a recorder has appended since; gives the number of frames that are new.
    ///
    /// # Errors
    /// [`CaptureError::Io`].
    pub fn refresh(&mut self) -> Result<usize, CaptureError> {
        let before = self.headers.len();
        self.file.refresh()?;
        if !self.is_indexed && self.file.bytes > self.contents.resume_at {
            self.contents = scan_further(&self.file, std::mem::take(&mut self.contents))?;
            self.list();
        }
        Ok(self.headers.len().saturating_sub(before))
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }
}

/// Refuses what is empty or plainly another kind of file, so that the message names the file and not its bytes.
pub(crate) fn refuse_foreign(file: &RunFile) -> Result<(), CaptureError> {
    if file.bytes == 0 {
        return Err(CaptureError::NotARun { path: file.path.clone(), found: "0 bytes".into() });
    }
    Ok(())
}

fn frame_damaged(file: &RunFile, frame: &FramePlace, reason: &'static str) -> CaptureError {
    CaptureError::FrameDamaged {
        path: file.path.clone(),
        sequence: frame.record.header.sequence,
        offset_bytes: frame.offset,
        reason,
    }
}

/// Reads and unpacks one frame into `counts`, refusing all that is not what was recorded.
pub(crate) fn read_counts(
    file: &RunFile,
    frame: &FramePlace,
    unpacker: &mut FrameUnpacker,
    record: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    counts: &mut [u16],
) -> Result<(), CaptureError> {
    file.read(frame.offset, frame.record.record_bytes() as u64, record)?;
    if FrameRecord::read(record) != Some(frame.record) {
        return Err(frame_damaged(file, frame, "its checksum does not hold"));
    }
    let nu = frame.record.nu as usize;
    if !unpacker.unpack(frame.record.codec, FrameRecord::packed(record), nu, counts) {
        return Err(frame_damaged(file, frame, "its counts do not unpack"));
    }
    if counts_hash(counts, scratch) != frame.record.counts_hash {
        return Err(frame_damaged(file, frame, "its counts do not match their hash"));
    }
    Ok(())
}

/// The description from any copy whose parts hold, or what is wrong with the last one tried.
pub(crate) fn description(
    file: &RunFile,
    contents: &Contents,
) -> Result<Result<RunDescription, String>, CaptureError> {
    let copies = |name: &str| -> Result<Vec<Vec<u8>>, CaptureError> {
        let mut copies = Vec::new();
        for place in contents.attachments.iter().filter(|place| place.name == name) {
            let mut body = Vec::new();
            file.read(place.body_offset, place.body_bytes.min(layout::MAX_ATTACHMENT_BYTES), &mut body)?;
            copies.extend(
                layout::attachment(&body).filter(|(found, _)| *found == name).map(|(_, c)| c.to_vec()),
            );
        }
        Ok(copies)
    };
    let (dark, gain) = (copies(DARK_NAME)?, copies(GAIN_NAME)?);
    let map = |name: &str| match name {
        DARK_NAME => dark.clone(),
        _ => gain.clone(),
    };
    let mut last = Err("no copy of it holds".to_string());
    for json in copies(DESCRIPTION_NAME)? {
        last = from_parts(&json, map);
        if last.is_ok() {
            break;
        }
    }
    Ok(last)
}

type Texts = (Vec<GapRecord>, Vec<EventRecord>, Option<(RunOutcome, u64)>);

/// Gaps, events and the outcome with the number of frames it tells.
pub(crate) fn texts(contents: &Contents) -> Texts {
    let (mut gaps, mut events, mut outcome) = (Vec::new(), Vec::new(), None);
    for (_, text) in &contents.texts {
        match text.clone() {
            TextRecord::Gap { first_sequence, count, reason, host_ns } => {
                gaps.push(GapRecord { first_sequence, count, reason, host: HostTime(host_ns) });
            }
            TextRecord::Event { name, text, host_ns } => {
                events.push(EventRecord { name, text, host: HostTime(host_ns) });
            }
            TextRecord::Outcome { outcome: name, reason, frames, .. } => {
                let found = match name.as_str() {
                    "complete" => RunOutcome::Complete,
                    "aborted" => RunOutcome::Aborted,
                    _ => RunOutcome::Faulted(reason.unwrap_or_default()),
                };
                outcome = Some((found, frames));
            }
            TextRecord::Gantry { .. } | TextRecord::Exposure { .. } => {}
        }
    }
    (gaps, events, outcome)
}
