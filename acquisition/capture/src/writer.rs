//! Recording: frames and what happened around them, appended chunk by chunk.
//!
//! A chunk is gathered in memory and appended at once when it holds 1 MiB or spans 0.5 s of the frames' own host
//! time; so a crash of the program costs at most that much. Against a crash of the machine the file is forced
//! to disk after its description, then once a second of host time at the end of a chunk, and when it is finished.
//! Once a second, because a forced write of one second of a spin takes a disk some tens of milliseconds, which the
//! ring in front of the recorder holds easily, while a spin of several seconds lost to a power cut has to be
//! repeated on the patient.

use crate::codec::{FrameCodec, FramePacker};
use crate::description::{StoredPart, to_parts};
use crate::error::CaptureError;
use crate::record::{FRAMES_END, FrameRecord, TextRecord, counts_hash, finite};
use crate::storage::{Reservation, Storage};
use carm::{FrameHeader, HostTime, RunDescription};
use mcap::records::MessageHeader;
use mcap::write::NoSeek;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Profile in the header of every run file.
pub(crate) const PROFILE: &str = "isocenter";
/// Topic of the frames.
pub(crate) const FRAMES_TOPIC: &str = "/frames";

/// How a run is written.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Space to set aside before the first frame; [`RunWriter::bytes_needed`] says how much a spin may take.
    pub reserve_bytes: Option<u64>,
    /// A chunk closes when it holds so many bytes.
    pub chunk_bytes: u64,
    /// A chunk closes when it spans so much of the frames' host time, ns.
    pub chunk_span_ns: u64,
    /// Host time between two forced writes, ns.
    pub sync_interval_ns: u64,
    /// Whether a file of the same name may be replaced.
    pub overwrite: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            reserve_bytes: None,
            chunk_bytes: 1 << 20,
            chunk_span_ns: 500_000_000,
            sync_interval_ns: 1_000_000_000,
            overwrite: false,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Everything planned was recorded.
    Complete,
    /// The operator stopped it.
    Aborted,
    /// It failed.
    Faulted(String),
}

/// What a finished recording holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// The file.
    pub path: PathBuf,
    /// Frames written.
    pub frames: u64,
    /// Gap records written.
    pub gaps: u64,
    /// Event records written.
    pub events: u64,
    /// Size of the file.
    pub file_bytes: u64,
    /// BLAKE3 over sequence number and counts of every frame, in order.
    pub content_hash: String,
    /// Whether space was set aside.
    pub reservation: Reservation,
}

#[derive(Clone, Copy)]
struct Channels {
    frames: u16,
    gantry: u16,
    exposure: u16,
    events: u16,
    gaps: u16,
}

type Container = mcap::Writer<NoSeek<BufWriter<Box<dyn Write + Send>>>>;

/// Writes one run. Dropped without [`RunWriter::finish`], it leaves a file that reads as incomplete.
pub struct RunWriter {
    container: Option<Container>,
    storage: Storage,
    options: WriterOptions,
    channels: Channels,
    parts: Vec<StoredPart>,
    packer: FramePacker,
    record: Vec<u8>,
    scratch: Vec<u8>,
    nu: usize,
    nv: usize,
    bits_stored: u8,
    chunk_filled_bytes: u64,
    chunk_start_ns: Option<u64>,
    last_host_ns: u64,
    last_sync_ns: Option<u64>,
    frames: u64,
    frames_appended: u64,
    gaps: u64,
    events: u64,
    text_sequence: u32,
    content: blake3::Hasher,
    has_failed: bool,
}

impl RunWriter {
    /// Creates the file, sets space aside, and writes the description durably.
    ///
    /// # Errors
    /// [`CaptureError::AlreadyExists`], [`CaptureError::NoRoomToReserve`] (the file is removed again),
    /// [`CaptureError::DescriptionNotStorable`], [`CaptureError::DiskFull`], [`CaptureError::Io`].
    pub fn create(
        path: impl AsRef<Path>,
        description: &RunDescription,
        options: WriterOptions,
    ) -> Result<Self, CaptureError> {
        let parts = to_parts(description)?;
        let storage = Storage::create(path.as_ref(), options.overwrite, options.reserve_bytes.unwrap_or(0))?;
        let output = storage.writer()?;
        Self::on(storage, output, description, parts, options)
    }

    /// Bytes that `frame_count` frames and the description may take at most: what to reserve when arming.
    pub fn bytes_needed(description: &RunDescription, frame_count: usize) -> u64 {
        let pixels = description.detector.pixel_count() as u64;
        // Per frame: record, two short texts, indexes. The description twice: maps that may not pack at all.
        let per_frame = 2 * pixels + 1024;
        let per_view = 700;
        frame_count as u64 * per_frame
            + 2 * (8 * pixels + per_view * description.planned_views.len() as u64)
            + (64 << 10)
    }

    pub(crate) fn on(
        storage: Storage,
        output: Box<dyn Write + Send>,
        description: &RunDescription,
        parts: Vec<StoredPart>,
        options: WriterOptions,
    ) -> Result<Self, CaptureError> {
        let detector = description.detector;
        let packer = FramePacker::new(detector.pixel_count())
            .map_err(CaptureError::io(&storage.path, "setting up the frame codec"))?;
        let opened = mcap::WriteOptions::new()
            .compression(None)
            .profile(PROFILE)
            .library(concat!("isocenter-capture ", env!("CARGO_PKG_VERSION")))
            .chunk_size(None)
            .disable_seeking(true)
            .create(NoSeek::new(BufWriter::with_capacity(1 << 16, output)));
        let container = opened.map_err(|error| container_error(&storage, "writing the header", error))?;
        let mut writer = Self {
            container: Some(container),
            storage,
            options,
            channels: Channels { frames: 0, gantry: 0, exposure: 0, events: 0, gaps: 0 },
            parts,
            packer,
            record: Vec::new(),
            scratch: Vec::new(),
            nu: detector.nu,
            nv: detector.nv,
            bits_stored: description.bits_stored,
            chunk_filled_bytes: 0,
            chunk_start_ns: None,
            last_host_ns: 0,
            last_sync_ns: None,
            frames: 0,
            frames_appended: 0,
            gaps: 0,
            events: 0,
            text_sequence: 0,
            content: blake3::Hasher::new(),
            has_failed: false,
        };
        writer.write_parts()?;
        writer.open_channels()?;
        writer.close_chunk()?;
        writer.force(true)?;
        Ok(writer)
    }

    /// Appends a frame: raw counts `[v, u]`, u fastest.
    ///
    /// # Errors
    /// [`CaptureError::FrameSize`] for another number of counts (nothing is written then);
    /// [`CaptureError::DiskFull`], [`CaptureError::Io`]; [`CaptureError::Stopped`] ever after.
    pub fn write_frame(&mut self, header: &FrameHeader, counts: &[u16]) -> Result<(), CaptureError> {
        let expected = self.nu * self.nv;
        if counts.len() != expected {
            return Err(CaptureError::FrameSize { expected, found: counts.len() });
        }
        let host_ns = header.stamps.host.0;
        self.begin_record(host_ns)?;
        let hash = counts_hash(counts, &mut self.scratch);
        let (codec, packed) = self.packer.pack(counts, self.nu);
        let frame = FrameRecord {
            header: *header,
            codec,
            bits_stored: self.bits_stored,
            nu: self.nu as u32,
            nv: self.nv as u32,
            packed_bytes: packed.len() as u32,
            counts_hash: hash,
        };
        let mut record = std::mem::take(&mut self.record);
        frame.write(packed, &mut record);
        let sequence = header.sequence as u32;
        let publish_ns = header.stamps.device.0;
        let written = self.append(self.channels.frames, sequence, host_ns, publish_ns, &record);
        self.record = record;
        written?;
        self.frames += 1;
        self.content.update(&header.sequence.to_le_bytes()).update(&hash);
        self.write_plotted(header)?;
        self.end_record()
    }

    /// Records that frames are missing from `first_sequence` on, and why.
    ///
    /// # Errors
    /// As [`RunWriter::write_frame`].
    pub fn write_gap(&mut self, first_sequence: u64, count: u64, reason: &str) -> Result<(), CaptureError> {
        let host_ns = self.last_host_ns;
        let gap = TextRecord::Gap { first_sequence, count, reason: reason.into(), host_ns };
        self.begin_record(host_ns)?;
        self.append_text(self.channels.gaps, host_ns, &gap)?;
        self.gaps += 1;
        self.end_record()
    }

    /// Records something that happened. Never pass patient data.
    ///
    /// # Errors
    /// As [`RunWriter::write_frame`].
    pub fn write_event(&mut self, name: &str, text: &str, host: HostTime) -> Result<(), CaptureError> {
        let event = TextRecord::Event { name: name.into(), text: text.into(), host_ns: host.0 };
        self.begin_record(host.0)?;
        self.append_text(self.channels.events, host.0, &event)?;
        self.events += 1;
        self.end_record()
    }

    /// Writes the outcome, the description's second copy and the index, and forces all to disk.
    ///
    /// # Errors
    /// As [`RunWriter::write_frame`]; the run then reads as incomplete unless the outcome had been written.
    pub fn finish(mut self, outcome: RunOutcome) -> Result<RunSummary, CaptureError> {
        let content_hash = self.content.finalize().to_hex().to_string();
        let (name, reason) = match outcome {
            RunOutcome::Complete => ("complete", None),
            RunOutcome::Aborted => ("aborted", None),
            RunOutcome::Faulted(reason) => ("faulted", Some(reason)),
        };
        let host_ns = self.last_host_ns;
        let record = TextRecord::Outcome {
            outcome: name.into(),
            reason,
            frames: self.frames,
            gaps: self.gaps,
            events: self.events,
            content_hash: content_hash.clone(),
            host_ns,
        };
        self.begin_record(host_ns)?;
        self.append_text(self.channels.events, host_ns, &record)?;
        self.close_chunk()?;
        self.write_parts()?;
        self.with_container("writing the index", |container| container.finish().map(drop))?;
        let container = self.container.take().expect("a writer that has not failed has its container");
        let written = container.into_inner().into_inner().flush();
        let path = self.storage.path.clone();
        written.map_err(|error| {
            CaptureError::write(&path, "writing the index", self.storage.written_bytes(), error)
        })?;
        self.storage.release().map_err(CaptureError::io(&path, "giving back reserved space"))?;
        self.force(true)?;
        Ok(RunSummary {
            path,
            frames: self.frames,
            gaps: self.gaps,
            events: self.events,
            file_bytes: self.storage.written_bytes(),
            content_hash,
            reservation: self.storage.reservation,
        })
    }

    /// Whether space was set aside.
    pub fn reservation(&self) -> Reservation {
        self.storage.reservation
    }

    /// Frames that are in the file, where a crash of the program leaves them; the others wait in the open chunk.
    pub fn frames_appended(&self) -> u64 {
        self.frames_appended
    }

    /// Appends the open chunk to the file now, so that a reader of the growing file sees it.
    ///
    /// # Errors
    /// As [`RunWriter::write_frame`].
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.close_chunk()
    }

    /// Tells those who read the growing file that no frame follows, and appends what waits; events may still follow.
    ///
    /// # Errors
    /// As [`RunWriter::write_frame`].
    pub fn end_frames(&mut self, host: HostTime) -> Result<(), CaptureError> {
        self.write_event(FRAMES_END, "", host)?;
        self.flush()
    }

    fn write_plotted(&mut self, header: &FrameHeader) -> Result<(), CaptureError> {
        let (sequence, host_ns) = (header.sequence, header.stamps.host.0);
        let gantry = TextRecord::Gantry {
            sequence,
            host_ns,
            primary_angle_deg: finite(header.gantry.primary_angle_rad.to_degrees()),
            secondary_angle_deg: finite(header.gantry.secondary_angle_rad.to_degrees()),
        };
        self.append_text(self.channels.gantry, host_ns, &gantry)?;
        let exposure = TextRecord::Exposure {
            sequence,
            host_ns,
            is_xray_on: header.is_xray_on,
            tube_voltage_kv: finite(header.exposure.tube_voltage_kv),
            tube_current_ma: finite(header.exposure.tube_current_ma),
            pulse_width_ms: finite(header.exposure.pulse_width_ms),
        };
        self.append_text(self.channels.exposure, host_ns, &exposure)
    }

    fn write_parts(&mut self) -> Result<(), CaptureError> {
        let parts = std::mem::take(&mut self.parts);
        let written = parts.iter().try_for_each(|part| {
            let attachment = mcap::Attachment {
                log_time: 0,
                create_time: 0,
                name: part.name.into(),
                media_type: part.media_type.into(),
                data: (&part.contents).into(),
            };
            self.with_container("writing the description", |container| container.attach(&attachment))
        });
        self.parts = parts;
        written
    }

    fn open_channels(&mut self) -> Result<(), CaptureError> {
        let (nu, nv, bits_stored) = (self.nu, self.nv, self.bits_stored);
        self.channels = self.with_container("writing the channels", |container| {
            let frame_text = include_bytes!("../schemas/frame.txt");
            let schema = container.add_schema("isocenter.Frame", "isocenter-text", frame_text)?;
            let metadata = BTreeMap::from([
                ("codec".to_string(), FrameCodec::DeltaPlanesZstd.name().to_string()),
                ("codec_when_larger".into(), FrameCodec::Raw.name().into()),
                ("width".into(), nu.to_string()),
                ("height".into(), nv.to_string()),
                ("bits_stored".into(), bits_stored.to_string()),
            ]);
            let frames = container.add_channel(schema, FRAMES_TOPIC, "isocenter-frame", &metadata)?;
            let mut text = |name: &str, topic: &str, json: &[u8]| {
                let schema = container.add_schema(name, "jsonschema", json)?;
                container.add_channel(schema, topic, "json", &BTreeMap::new())
            };
            Ok(Channels {
                frames,
                gantry: text("isocenter.Gantry", "/gantry", include_bytes!("../schemas/gantry.json"))?,
                exposure: text(
                    "isocenter.Exposure",
                    "/exposure",
                    include_bytes!("../schemas/exposure.json"),
                )?,
                events: text("isocenter.Event", "/events", include_bytes!("../schemas/event.json"))?,
                gaps: text("isocenter.Gap", "/gaps", include_bytes!("../schemas/gap.json"))?,
            })
        })?;
        Ok(())
    }

    fn begin_record(&mut self, host_ns: u64) -> Result<(), CaptureError> {
        if self.has_failed {
            return Err(CaptureError::Stopped { path: self.storage.path.clone() });
        }
        let spans = self.chunk_start_ns.map_or(0, |start| host_ns.saturating_sub(start));
        if spans >= self.options.chunk_span_ns {
            self.close_chunk()?;
        }
        self.last_host_ns = self.last_host_ns.max(host_ns);
        self.chunk_start_ns.get_or_insert(host_ns);
        Ok(())
    }

    fn end_record(&mut self) -> Result<(), CaptureError> {
        if self.chunk_filled_bytes >= self.options.chunk_bytes { self.close_chunk() } else { Ok(()) }
    }

    fn append_text(&mut self, channel: u16, host_ns: u64, record: &TextRecord) -> Result<(), CaptureError> {
        self.text_sequence = self.text_sequence.wrapping_add(1);
        let sequence = self.text_sequence;
        self.append(channel, sequence, host_ns, host_ns, &record.to_json())
    }

    fn append(
        &mut self,
        channel_id: u16,
        sequence: u32,
        log_time: u64,
        publish_time: u64,
        record: &[u8],
    ) -> Result<(), CaptureError> {
        let header = MessageHeader { channel_id, sequence, log_time, publish_time };
        self.chunk_filled_bytes += record.len() as u64;
        self.with_container("writing a record", |container| container.write_to_known_channel(&header, record))
    }

    fn close_chunk(&mut self) -> Result<(), CaptureError> {
        if self.has_failed {
            return Err(CaptureError::Stopped { path: self.storage.path.clone() });
        }
        self.with_container("writing a chunk", |container| container.flush())?;
        self.frames_appended = self.frames;
        self.chunk_filled_bytes = 0;
        self.chunk_start_ns = None;
        let since = self.last_sync_ns.map_or(0, |last| self.last_host_ns.saturating_sub(last));
        if self.last_sync_ns.is_none() || since >= self.options.sync_interval_ns {
            self.force(false)?;
        }
        Ok(())
    }

    fn force(&mut self, with_directory: bool) -> Result<(), CaptureError> {
        let forced = if with_directory { self.storage.sync_with_directory() } else { self.storage.sync() };
        self.last_sync_ns = (self.last_host_ns > 0).then_some(self.last_host_ns);
        forced.map_err(|error| {
            self.has_failed = true;
            CaptureError::write(&self.storage.path, "forcing to disk", self.storage.written_bytes(), error)
        })
    }

    fn with_container<T>(
        &mut self,
        doing: &'static str,
        write: impl FnOnce(&mut Container) -> mcap::McapResult<T>,
    ) -> Result<T, CaptureError> {
        let Some(container) = self.container.as_mut().filter(|_| !self.has_failed) else {
            return Err(CaptureError::Stopped { path: self.storage.path.clone() });
        };
        write(container).map_err(|error| {
            self.has_failed = true;
            container_error(&self.storage, doing, error)
        })
    }
}

fn container_error(storage: &Storage, doing: &'static str, error: mcap::McapError) -> CaptureError {
    match error {
        mcap::McapError::Io(error) => {
            CaptureError::write(&storage.path, doing, storage.written_bytes(), error)
        }
        source => CaptureError::Container { path: storage.path.clone(), doing, source },
    }
}

impl Drop for RunWriter {
    /// Saves the open chunk and an index where it still can; without an outcome record the run stays incomplete.
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            drop(container);
            // The records are whole; at worst, space beyond their end stays reserved.
            let _ = self.storage.release();
        }
    }
}
