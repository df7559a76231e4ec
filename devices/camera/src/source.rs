//! A running launch line as a [`FrameSource`].

use crate::bus::{Ended, Listener};
use crate::closing::close_apart;
use crate::error::CameraError;
use crate::header::{Arrived, frame_header};
use crate::launch;
use crate::numbers::Numbering;
use crate::pixels::Layout;
use crate::settings::CameraSettings;
use carm::{DeviceError, Exposure, FrameHeader, FrameSource, RunDescription, SourceEvent};
use gstreamer::prelude::*;
use gstreamer::{BufferRef, ClockTime, Pipeline, Sample, State};
use gstreamer_app::AppSink;
use gstreamer_video::{VideoInfo, VideoMeta};
use std::time::{Duration, Instant};

/// While waiting, the end of the pipeline is looked for this often.
const LOOK: Duration = Duration::from_millis(5);

/// A launch line that runs.
pub(crate) struct Camera {
    name: String,
    pipeline: Pipeline,
    sink: AppSink,
    listener: Listener,
    description: RunDescription,
    exposure: Exposure,
    layout: Layout,
    numbering: Numbering,
    period: Duration,
    /// The frame that told size and format, not yet handed out.
    first: Option<Sample>,
    last_sequence: u64,
    last_arrival: Instant,
}

impl Camera {
    /// Starts the launch line and waits for its first frame, which tells size, format and, usually, rate.
    ///
    /// # Errors
    /// [`CameraError`]: a line that does not parse or converts pixels, a source that does not start, frames that are
    /// not grey counts.
    pub(crate) fn open(settings: &CameraSettings, line: &str) -> Result<Self, CameraError> {
        let (pipeline, sink) = launch::pipeline(&settings.name, line)?;
        let listener = Listener::on(&pipeline.bus().expect("a pipeline has a bus"));
        let running = Running(Some(pipeline));
        let first = running.first_sample(&sink, &listener, settings)?;
        let name = settings.name.clone();
        let info = first.caps().and_then(|caps| VideoInfo::from_caps(caps).ok());
        let unknown = || CameraError::Format { camera: name.clone(), found: "no video".into() };
        let info = info.ok_or_else(unknown)?;
        let layout = Layout::of(&info).ok_or_else(|| CameraError::Format {
            camera: name.clone(),
            found: info.format().to_str().to_string(),
        })?;
        let told = Some(info.fps()).filter(|fps| fps.numer() > 0 && fps.denom() > 0);
        let told = told.map(|fps| f64::from(fps.numer()) / f64::from(fps.denom()));
        let frame_rate_hz = settings
            .frame_rate_hz
            .or(told)
            .ok_or_else(|| CameraError::NoFrameRate { camera: settings.name.clone() })?;
        Ok(Self {
            description: settings.describe(
                layout,
                8 * layout.bytes_per_count as u8,
                frame_rate_hz,
                settings.identity.clone(),
            )?,
            name,
            pipeline: running.keep(),
            sink,
            listener,
            exposure: settings.exposure,
            layout,
            numbering: Numbering::new(settings.numbers, frame_rate_hz),
            period: Duration::from_secs_f64(1.0 / frame_rate_hz),
            first: Some(first),
            last_sequence: 0,
            last_arrival: Instant::now(),
        })
    }

    /// Waits for the next sample, for the end, or until a frame is overdue.
    fn wait(&mut self) -> Result<Option<Sample>, DeviceError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let overdue = Instant::now() + self.period.mul_f64(crate::STALL_PERIODS);
        loop {
            let left = overdue.saturating_duration_since(Instant::now());
            let sample = self.sink.try_pull_sample(clock_time(left.min(LOOK)));
            if sample.is_some() {
                return Ok(sample);
            }
            // Frames that came before the end are handed out before it is told.
            match self.listener.ended() {
                Some(Ended::Stream) if self.sink.is_eos() => return Ok(None),
                Some(Ended::Failed { is_gone, reason }) => return Err(self.gone(*is_gone, reason)),
                _ => {}
            }
            if left.is_zero() {
                return Err(DeviceError::Stalled {
                    device: self.name.clone(),
                    period_ms: self.period.as_secs_f64() * 1e3,
                    silent_ms: self.last_arrival.elapsed().as_secs_f64() * 1e3,
                });
            }
        }
    }

    fn gone(&self, is_gone: bool, reason: &str) -> DeviceError {
        if is_gone {
            return DeviceError::Disconnected {
                device: format!("{} ({reason})", self.name),
                last_sequence: self.last_sequence,
            };
        }
        DeviceError::Failed { device: self.name.clone(), reason: reason.into(), source: None }
    }

    fn take(&mut self, sample: &Sample, slot: &mut [u16]) -> Result<FrameHeader, DeviceError> {
        let arrived = Arrived::now();
        self.last_arrival = Instant::now();
        let buffer = sample.buffer().filter(|buffer| self.copy(buffer, slot)).ok_or_else(|| {
            let [nu, nv] = [self.layout.columns, self.layout.rows];
            let found = sample.buffer().map_or(0, BufferRef::size);
            DeviceError::Failed {
                device: self.name.clone(),
                reason: format!("expected a frame of {nu} x {nv} counts, found {found} bytes"),
                source: None,
            }
        })?;
        // All bits set: GStreamer's word for no offset.
        let offset = Some(buffer.offset()).filter(|&offset| offset != u64::MAX);
        let stamp_ns = buffer.pts().map(ClockTime::nseconds);
        let sequence = self.numbering.number(stamp_ns, offset);
        self.last_sequence = sequence;
        Ok(frame_header(sequence, stamp_ns, arrived, self.exposure))
    }

    /// Copies the counts of a buffer, however its rows are padded.
    fn copy(&self, buffer: &BufferRef, slot: &mut [u16]) -> bool {
        let padded = buffer
            .meta::<VideoMeta>()
            .and_then(|meta| Some((*meta.offset().first()?, usize::try_from(*meta.stride().first()?).ok()?)));
        // Without word from the buffer, rows are padded to four bytes: GStreamer's rule for its raw formats.
        let row_bytes = self.layout.columns * self.layout.bytes_per_count;
        let (start, stride) = padded.unwrap_or((0, row_bytes.next_multiple_of(4)));
        buffer.map_readable().is_ok_and(|map| self.layout.copy(map.as_slice(), start, stride, slot))
    }
}

impl FrameSource for Camera {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        DeviceError::check_slot(slot, self.layout.count())?;
        match self.wait()? {
            Some(sample) => Ok(SourceEvent::Frame(self.take(&sample, slot)?)),
            None => Ok(SourceEvent::End),
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let pipeline = self.pipeline.clone();
        close_apart(move || {
            // A pipeline that does not stop cannot be helped any further.
            let _ = pipeline.set_state(State::Null);
        });
    }
}

/// A pipeline that is stopped again unless it is kept.
struct Running(Option<Pipeline>);

impl Running {
    fn first_sample(
        &self,
        sink: &AppSink,
        listener: &Listener,
        settings: &CameraSettings,
    ) -> Result<Sample, CameraError> {
        let waited = settings.start_timeout;
        let refused = |reason: &str| CameraError::NoFirstFrame {
            camera: settings.name.clone(),
            waited,
            reason: reason.into(),
        };
        let told = |otherwise: &str| match listener.ended() {
            Some(Ended::Failed { reason, .. }) => refused(reason),
            Some(Ended::Stream) => refused("the end of the stream"),
            None => refused(otherwise),
        };
        let pipeline = self.0.as_ref().expect("a pipeline until it is kept");
        pipeline.set_state(State::Playing).map_err(|_| told("a source that does not start"))?;
        let deadline = Instant::now() + waited;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(sample) = sink.try_pull_sample(clock_time(left.min(LOOK))) {
                return Ok(sample);
            }
            if left.is_zero() || sink.is_eos() || listener.ended().is_some() {
                return Err(told("none"));
            }
        }
    }

    fn keep(mut self) -> Pipeline {
        self.0.take().expect("a pipeline until it is kept")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pipeline) = &self.0 {
            let _ = pipeline.set_state(State::Null);
        }
    }
}

fn clock_time(duration: Duration) -> ClockTime {
    ClockTime::from_nseconds(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1))
}
