//! What the threads of a stream share, and how it looks from outside.

use super::{StreamSettings, lock};
use crate::alarms::Alarms;
use crate::clock::monotonic_now;
use crate::dose::{Dose, DoseMeter};
use crate::jobs::Jobs;
use crate::latency::Latency;
use crate::ledger::{Counters, Ledger};
use crate::runs::Runs;
use crate::spin::SpinStatus;
use acquisition::{FrameRing, LiveStages};
use carm::{DeviceIdentity, FrameSource, RunDescription};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Frame times without a frame after which a live image counts as stalled.
const STALL_PERIODS: f64 = 2.0;

/// How the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// Being opened.
    Connecting,
    /// Frames come.
    Streaming,
    /// Frames are due and do not come.
    Stalled,
    /// Not there.
    Gone,
    /// It said that it is over.
    Ended,
}

impl DeviceState {
    const ALL: [Self; 5] = [Self::Connecting, Self::Streaming, Self::Stalled, Self::Gone, Self::Ended];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Stalled => "stalled",
            Self::Gone => "gone",
            Self::Ended => "ended",
        }
    }
}

/// What the picture on the screen is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveState {
    /// No image yet.
    Waiting,
    /// What the detector sees now.
    Live,
    /// The last image before X-rays went off.
    LastImage,
    /// Images are due and do not come: what is on the screen is old.
    Stalled,
}

impl LiveState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::LastImage => "last-image",
            Self::Stalled => "stalled",
        }
    }
}

/// How the recording is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum RecordingState {
    /// Nothing is recorded.
    #[default]
    Off,
    /// Every frame is.
    On {
        /// Into this run.
        run: String,
    },
    /// It should be, and cannot; it is tried again.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Size and pace of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StreamShape {
    /// Columns.
    pub nu: usize,
    /// Rows.
    pub nv: usize,
    /// Bits of a raw count that are used.
    pub bits_stored: u8,
    /// Nominal frames per second.
    pub frame_rate_hz: f64,
}

/// A stream at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Who makes the frames: maker, model, serial number.
    pub identity: [String; 3],
    /// How the device is.
    pub device: DeviceState,
    /// Why, where it is not streaming.
    pub device_reason: String,
    /// What the picture is.
    pub live: LiveState,
    /// Since the newest image's frame arrived, ms; none before the first.
    pub age_ms: Option<f64>,
    /// The newest image's number.
    pub last_sequence: u64,
    /// From arrival to finished image: median and 99th percentile so far, ms (bounds of buckets).
    pub latency_p50_ms: Option<f64>,
    /// See `latency_p50_ms`.
    pub latency_p99_ms: Option<f64>,
    /// What became of its frames.
    pub ledger: Ledger,
    /// Size and pace; none before the first frame.
    pub shape: Option<StreamShape>,
    /// Stages asked for, as [`LiveStages::bits`].
    pub stages: u8,
    /// The recording.
    pub recording: RecordingState,
    /// Dose so far, where the tube is known.
    pub dose: Option<Dose>,
    /// Whether it can spin.
    pub can_spin: bool,
    /// Its spin.
    pub spin: SpinStatus,
    /// Whether its threads run at real-time priority, or why not.
    pub real_time: String,
}

/// Made with the first frame's size and kept for good.
pub(crate) struct Rings {
    pub(crate) live: FrameRing,
    pub(crate) description: RunDescription,
}

/// What the threads of a stream share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) settings: StreamSettings,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) rings: OnceLock<Rings>,
    pub(crate) counters: Counters,
    pub(crate) dose: DoseMeter,
    pub(crate) live_latency: Latency,
    pub(crate) record_latency: Latency,
    /// The daemon ends.
    pub(crate) stops: AtomicBool,
    /// No more frames will come.
    pub(crate) device_ended: AtomicBool,
    pub(crate) recorder_ended: AtomicBool,
    pub(crate) stages: AtomicU8,
    /// How often a new mask was asked for.
    pub(crate) remasks: AtomicU64,
    device_state: AtomicU8,
    device_reason: Mutex<String>,
    pub(crate) real_time: Mutex<String>,
    /// Monotonic clock, ns; zero before the first frame.
    pub(crate) last_arrival_ns: AtomicU64,
    pub(crate) last_shown_ns: AtomicU64,
    pub(crate) last_shown_sequence: AtomicU64,
    pub(crate) is_xray_on: AtomicBool,
    pub(crate) recording: Mutex<RecordingState>,
    pub(crate) spin: Mutex<SpinStatus>,
    /// An armed spin, for the device's thread to take when `spin_starts`.
    pub(crate) spin_source: Mutex<Option<Box<dyn FrameSource>>>,
    pub(crate) spin_starts: AtomicBool,
    pub(crate) spin_aborts: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        name: &str,
        settings: StreamSettings,
        alarms: Arc<Alarms>,
        runs: Arc<Runs>,
        jobs: Arc<Jobs>,
    ) -> Self {
        Self {
            name: name.into(),
            stages: AtomicU8::new(settings.stages.bits()),
            remasks: AtomicU64::new(0),
            settings,
            alarms,
            runs,
            jobs,
            rings: OnceLock::new(),
            counters: Counters::default(),
            dose: DoseMeter::default(),
            live_latency: Latency::default(),
            record_latency: Latency::default(),
            stops: AtomicBool::new(false),
            device_ended: AtomicBool::new(false),
            recorder_ended: AtomicBool::new(false),
            device_state: AtomicU8::new(0),
            device_reason: Mutex::default(),
            real_time: Mutex::new("not asked for".into()),
            last_arrival_ns: AtomicU64::new(0),
            last_shown_ns: AtomicU64::new(0),
            last_shown_sequence: AtomicU64::new(0),
            is_xray_on: AtomicBool::new(false),
            recording: Mutex::default(),
            spin: Mutex::default(),
            spin_source: Mutex::new(None),
            spin_starts: AtomicBool::new(false),
            spin_aborts: AtomicBool::new(false),
        }
    }

    pub(crate) fn stops(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    /// Without allocating, so that the device's thread may call it between frames.
    pub(crate) fn set_device_state(&self, state: DeviceState) {
        let index = DeviceState::ALL.iter().position(|known| *known == state).unwrap_or(0);
        self.device_state.store(index as u8, Ordering::Release);
    }

    pub(crate) fn set_device_reason(&self, reason: String) {
        *lock(&self.device_reason) = reason;
    }

    fn device_state(&self) -> DeviceState {
        DeviceState::ALL[usize::from(self.device_state.load(Ordering::Acquire)) % DeviceState::ALL.len()]
    }

    pub(crate) fn stages(&self) -> LiveStages {
        LiveStages::from_bits(self.stages.load(Ordering::Acquire))
    }

    /// A source that blocks and tells nothing is found out here, by the clock.
    fn live_state(&self) -> LiveState {
        let Some(rings) = self.rings.get() else { return LiveState::Waiting };
        if self.last_shown_ns.load(Ordering::Acquire) == 0 {
            return LiveState::Waiting;
        }
        let device = self.device_state();
        if device == DeviceState::Ended || !self.is_xray_on.load(Ordering::Acquire) {
            return LiveState::LastImage;
        }
        let silent_s =
            monotonic_now().0.saturating_sub(self.last_arrival_ns.load(Ordering::Acquire)) as f64 * 1e-9;
        let is_overdue = silent_s * rings.description.frame_rate_hz > STALL_PERIODS;
        if device == DeviceState::Streaming && !is_overdue { LiveState::Live } else { LiveState::Stalled }
    }

    /// Dose so far; none before the first frame, or where the tube is not known.
    pub(crate) fn dose(&self) -> Option<Dose> {
        let (settings, rings) = (self.settings.dose.as_ref()?, self.rings.get()?);
        let is_live = self.live_state() == LiveState::Live;
        Some(self.dose.snapshot(settings, &rings.description.detector, is_live))
    }

    /// Size and pace; none before the first frame.
    pub(crate) fn shape(&self) -> Option<StreamShape> {
        let description = &self.rings.get()?.description;
        Some(StreamShape {
            nu: description.detector.nu,
            nv: description.detector.nv,
            bits_stored: description.bits_stored,
            frame_rate_hz: description.frame_rate_hz,
        })
    }

    pub(crate) fn status(&self, can_spin: bool) -> StreamStatus {
        let rings = self.rings.get();
        let identity = rings.map(|rings| rings.description.device.clone()).unwrap_or_default();
        let DeviceIdentity { manufacturer, model, serial_number } = identity;
        let shown_ns = self.last_shown_ns.load(Ordering::Acquire);
        let latency = self.live_latency.snapshot();
        let live = self.live_state();
        let device = match self.device_state() {
            DeviceState::Streaming if live == LiveState::Stalled => DeviceState::Stalled,
            state => state,
        };
        StreamStatus {
            name: self.name.clone(),
            identity: [manufacturer, model, serial_number],
            device,
            device_reason: lock(&self.device_reason).clone(),
            live,
            age_ms: (shown_ns != 0).then(|| super::Stream::age_ms(shown_ns)),
            last_sequence: self.last_shown_sequence.load(Ordering::Acquire),
            latency_p50_ms: latency.quantile_ms(0.5),
            latency_p99_ms: latency.quantile_ms(0.99),
            ledger: self.counters.snapshot(),
            shape: self.shape(),
            stages: self.stages.load(Ordering::Acquire),
            recording: lock(&self.recording).clone(),
            dose: self.dose(),
            can_spin,
            spin: lock(&self.spin).clone(),
            real_time: lock(&self.real_time).clone(),
        }
    }
}
