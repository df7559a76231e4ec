//! A GigE Vision or USB3 Vision panel as a [`FrameSource`], by the library Aravis.
//!
//! `aravissrc` of GStreamer shows such a panel too, but hides frame ids, drops frames whose packets are missing without a
//! word and stamps by its own clock. Here each frame keeps the panel's id and time stamp, and what the link lost is counted.

use crate::closing::close_apart;
use crate::error::CameraError;
use crate::header::{Arrived, frame_header};
use crate::numbers::FrameIds;
use crate::pixels::Layout;
use crate::settings::CameraSettings;
use aravis::glib::prelude::ObjectExt;
use aravis::prelude::*;
use aravis::{Buffer, BufferPayloadType, BufferStatus, PixelFormat, Stream};
use carm::{
    DeviceError, DeviceIdentity, Exposure, FrameHeader, FrameSource, LinkCounts, RunDescription, SourceEvent,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Frames that the library may fill ahead of a reader. More would only hide a reader that is too slow.
const WAITING_FRAMES: usize = 8;
/// A frame that a panel announces is no larger, bytes: 8192 x 8192 counts of 16 bits and as much again.
const MOST_FRAME_BYTES: usize = 256 << 20;
/// A frame whose packets are asked for again is given up after so long at least; otherwise after one frame time.
const LEAST_RETENTION: Duration = Duration::from_millis(25);
/// While waiting, the loss of the panel is looked for this often.
const LOOK: Duration = Duration::from_millis(5);

/// A panel that streams.
pub(crate) struct Panel {
    name: String,
    link: Option<Link>,
    description: RunDescription,
    exposure: Exposure,
    layout: Layout,
    format: PixelFormat,
    ids: FrameIds,
    period: Duration,
    counts: LinkCounts,
    last_sequence: u64,
    last_arrival: Instant,
}

/// What the library holds of an open panel.
struct Link {
    stream: Stream,
    camera: aravis::Camera,
    is_lost: Arc<AtomicBool>,
    /// The stream's counts of packets that were missing and that came again, where this kind of stream has them.
    counted: [Option<&'static str>; 2],
}

impl Panel {
    /// Opens the panel, sets its features and starts it. It need not send frames yet: a panel may wait for the pedal.
    ///
    /// # Errors
    /// [`CameraError`]: no such panel, a feature that it does not have or take, frames that are not grey counts of 8 to
    /// 16 bits, a frame rate that nobody tells.
    pub(crate) fn open(settings: &CameraSettings, wanted: &str, features: &str) -> Result<Self, CameraError> {
        let failed = |doing: &'static str| {
            move |error: aravis::glib::Error| CameraError::GenICam {
                camera: settings.name.clone(),
                doing,
                reason: error.message().into(),
            }
        };
        let wanted = Some(wanted).filter(|wanted| !wanted.is_empty());
        let camera = aravis::Camera::new(wanted).map_err(failed("opening"))?;
        let device = camera.device().ok_or_else(|| CameraError::GenICam {
            camera: settings.name.clone(),
            doing: "opening",
            reason: "no panel answers".into(),
        })?;
        if !features.trim().is_empty() {
            device.set_features_from_string(features).map_err(failed("features"))?;
        }
        camera
            .set_acquisition_mode(aravis::AcquisitionMode::Continuous)
            .map_err(failed("continuous frames"))?;

        let format = camera.pixel_format().map_err(failed("pixel format"))?;
        let (_, _, columns, rows) = camera.region().map_err(failed("region"))?;
        let unusable = || CameraError::Format {
            camera: settings.name.clone(),
            found: camera.pixel_format_as_string().map_or_else(|_| "another format".into(), Into::into),
        };
        let (bits, bytes_per_count) = bits_of(format).ok_or_else(unusable)?;
        let size = |n: i32| usize::try_from(n).unwrap_or(0);
        let layout = Layout { columns: size(columns), rows: size(rows), bytes_per_count };
        let told =
            camera.is_frame_rate_available().unwrap_or(false).then(|| camera.frame_rate().ok()).flatten();
        let frame_rate_hz = settings
            .frame_rate_hz
            .or(told.filter(|rate| rate.is_finite() && *rate > 0.0))
            .ok_or_else(|| CameraError::NoFrameRate { camera: settings.name.clone() })?;
        let description =
            settings.describe(layout, bits, frame_rate_hz, identity(&settings.identity, &camera))?;
        let period = Duration::from_secs_f64(1.0 / frame_rate_hz);

        let payload = camera.payload().map_err(failed("size of a frame"))? as usize;
        let least = layout.count() * bytes_per_count;
        if !(least..=MOST_FRAME_BYTES).contains(&payload) {
            return Err(CameraError::GenICam {
                camera: settings.name.clone(),
                doing: "size of a frame",
                reason: format!("expected {least} to {MOST_FRAME_BYTES} bytes, found {payload}"),
            });
        }
        let stream = camera.create_stream().map_err(failed("stream"))?;
        if stream.property_type("frame-retention") == Some(aravis::glib::Type::U32) {
            // The frames behind one that misses packets wait for it.
            stream.set_property("frame-retention", period.max(LEAST_RETENTION).as_micros() as u32);
        }
        for _ in 0..WAITING_FRAMES {
            stream.push_buffer(Buffer::new_allocate(payload));
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let lost = is_lost.clone();
        device.connect_control_lost(move |_| lost.store(true, Ordering::Release));
        let names: Vec<_> = (0..stream.n_infos()).map(|id| stream.info_name(id)).collect();
        let counted = ["n_missing_packets", "n_resent_packets"]
            .map(|name| names.iter().flatten().any(|known| known == name).then_some(name));
        camera.start_acquisition().map_err(failed("start"))?;
        Ok(Self {
            name: settings.name.clone(),
            link: Some(Link { stream, camera, is_lost, counted }),
            description,
            exposure: settings.exposure,
            layout,
            format,
            ids: FrameIds::default(),
            period,
            counts: LinkCounts::default(),
            last_sequence: 0,
            last_arrival: Instant::now(),
        })
    }

    fn link(&self) -> &Link {
        self.link.as_ref().expect("a panel has its link until it is dropped")
    }

    /// A complete frame into the slot; none for one whose packets did not all come.
    fn take(&mut self, buffer: &Buffer, slot: &mut [u16]) -> Result<Option<FrameHeader>, DeviceError> {
        let arrived = Arrived::now();
        if buffer.status() != BufferStatus::Success {
            self.counts.incomplete += 1;
            return Ok(None);
        }
        let is_image =
            matches!(buffer.payload_type(), BufferPayloadType::Image | BufferPayloadType::ExtendedChunkData);
        let (_, _, columns, rows) = if is_image { buffer.image_region() } else { (0, 0, 0, 0) };
        let expected = [self.layout.columns, self.layout.rows];
        let is_as_announced = [columns, rows].map(|n| usize::try_from(n).unwrap_or(0)) == expected
            && buffer.image_pixel_format() == self.format;
        if !is_as_announced || !self.copy(buffer, slot) {
            return Err(self.failed(format!(
                "expected a frame of {} x {} counts as announced, found {columns} x {rows} or another format",
                expected[0], expected[1]
            )));
        }
        self.last_arrival = Instant::now();
        self.last_sequence = self.ids.number(buffer.frame_id());
        let stamp_ns = Some(buffer.timestamp()).filter(|&stamp_ns| stamp_ns > 0);
        Ok(Some(frame_header(self.last_sequence, stamp_ns, arrived, self.exposure)))
    }

    fn copy(&self, buffer: &Buffer, slot: &mut [u16]) -> bool {
        let (data, size) = buffer.data();
        let (padding, _) = buffer.image_padding();
        let stride =
            self.layout.columns * self.layout.bytes_per_count + usize::try_from(padding).unwrap_or(0);
        let needed = stride.saturating_mul(self.layout.rows);
        if data.is_null() || size < needed {
            return false;
        }
        // SAFETY: the library gives the start and the size of the memory of this buffer, which is ours alone from when
        // the stream handed it out until it is pushed back, for which the buffer borrowed here is needed. A frame whose
        // packets all came has written the rows, padding included.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast_const(), needed) };
        self.layout.copy(bytes, 0, stride, slot)
    }

    fn failed(&self, reason: String) -> DeviceError {
        DeviceError::Failed { device: self.name.clone(), reason, source: None }
    }
}

impl FrameSource for Panel {
    fn description(&self) -> &RunDescription {
        &self.description
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        DeviceError::check_slot(slot, self.layout.count())?;
        let overdue = Instant::now() + self.period.mul_f64(crate::STALL_PERIODS);
        loop {
            let left = overdue.saturating_duration_since(Instant::now());
            if let Some(buffer) = self.link().stream.timeout_pop_buffer(left.min(LOOK).as_micros() as u64) {
                let taken = self.take(&buffer, slot);
                self.link().stream.push_buffer(buffer);
                match taken? {
                    Some(header) => return Ok(SourceEvent::Frame(header)),
                    None => continue,
                }
            }
            if self.link().is_lost.load(Ordering::Acquire) {
                return Err(DeviceError::Disconnected {
                    device: self.name.clone(),
                    last_sequence: self.last_sequence,
                });
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

    fn link_counts(&self) -> LinkCounts {
        let Link { stream, counted, .. } = self.link();
        let [packets_lost, packets_resent] =
            counted.map(|name| name.map_or(0, |name| stream.info_uint64_by_name(name)));
        LinkCounts { packets_lost, packets_resent, ..self.counts }
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            close_apart(move || {
                // A panel that does not stop cannot be helped any further.
                let _ = link.camera.stop_acquisition();
                drop(link);
            });
        }
    }
}

/// Bits that count and bytes that they take, of the grey formats whose counts lie one by one.
fn bits_of(format: PixelFormat) -> Option<(u8, usize)> {
    Some(match format {
        PixelFormat::MONO_8 => (8, 1),
        PixelFormat::MONO_10 => (10, 2),
        PixelFormat::MONO_12 => (12, 2),
        PixelFormat::MONO_14 => (14, 2),
        PixelFormat::MONO_16 => (16, 2),
        _ => return None,
    })
}

/// Who makes the frames: what was configured, otherwise what the panel tells.
fn identity(configured: &DeviceIdentity, camera: &aravis::Camera) -> DeviceIdentity {
    let or = |configured: &String, told: Result<aravis::glib::GString, aravis::glib::Error>| {
        if configured.is_empty() {
            told.map_or_else(|_| String::new(), Into::into)
        } else {
            configured.clone()
        }
    };
    DeviceIdentity {
        manufacturer: or(&configured.manufacturer, camera.vendor_name()),
        model: or(&configured.model, camera.model_name()),
        serial_number: or(&configured.serial_number, camera.device_serial_number()),
    }
}
