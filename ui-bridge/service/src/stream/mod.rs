//! One device's life in the daemon: its thread, its ring, its recorder, its live images.
//!
//! ```text
//! device thread --> raw ring --+--> recorder thread --> run files
//!                              '--> live thread (newest wins) --> live ring --> D-Bus clients, web page
//! ```

mod device;
mod live;
mod open_run;
mod priority;
mod recorder;
mod shared;
mod spin_control;

pub use priority::prefer_this_thread;
pub(crate) use shared::Shared;
pub use shared::{DeviceState, LiveState, RecordingState, StreamShape, StreamStatus};

use crate::alarms::Alarms;
use crate::clock::monotonic_now;
use crate::dose::DoseSettings;
use crate::driver::Driver;
use crate::error::ServiceError;
use crate::jobs::Jobs;
use crate::latency::LatencySnapshot;
use crate::runs::{RunInfo, Runs};
use acquisition::{FrameRing, LiveSettings, LiveStages, LosslessSender, lossless_queue};
use carm::RunDescription;
use recorder::Command;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for an answer of the recorder: it may be forcing a run to a slow disk.
const ANSWER_S: u64 = 10;
/// Longest wait for a device to let go when the daemon stops.
const LET_GO: Duration = Duration::from_secs(3);

/// When a stream is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordPolicy {
    /// From the first frame to the last.
    Always,
    /// When somebody asks. Spins are recorded in any case.
    #[default]
    OnRequest,
}

/// How a stream runs.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// Raw frames that the ring holds: how long the recorder may be held up by a disk.
    pub ring_slots: usize,
    /// The tube, for dose figures; none where it is not known.
    pub dose: Option<DoseSettings>,
    /// Finished images that the live ring holds.
    pub live_slots: usize,
    /// When the stream is recorded.
    pub record: RecordPolicy,
    /// A recording goes on in a new file after so long, so that no file is without an end and old ones can go.
    pub file_lasts: Duration,
    /// Stages of the live image that are on at first.
    pub stages: LiveStages,
    /// How they work.
    pub live: LiveSettings,
    /// Whether device and live threads ask the system for real-time priority.
    pub real_time: bool,
    /// Time between two attempts to open a device that is not there.
    pub open_again_after: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            ring_slots: 64,
            dose: None,
            live_slots: 16,
            record: RecordPolicy::default(),
            file_lasts: Duration::from_secs(3600),
            stages: LiveStages::USUAL,
            live: LiveSettings::default(),
            real_time: false,
            open_again_after: Duration::from_millis(500),
        }
    }
}

/// A device in the daemon.
pub struct Stream {
    shared: Arc<Shared>,
    driver: Arc<dyn Driver>,
    commands: LosslessSender<Command>,
    device: Mutex<Option<JoinHandle<Vec<JoinHandle<()>>>>>,
    /// One spin is armed at a time.
    arming: Mutex<()>,
}

impl Stream {
    /// Starts the device's thread, which starts the others with the first frame.
    pub(crate) fn start(
        driver: Box<dyn Driver>,
        settings: StreamSettings,
        alarms: &Arc<Alarms>,
        runs: &Arc<Runs>,
        jobs: &Arc<Jobs>,
    ) -> Result<Self, ServiceError> {
        let driver: Arc<dyn Driver> = driver.into();
        let name = driver.name().to_owned();
        let shared = Shared::new(&name, settings, alarms.clone(), runs.clone(), jobs.clone());
        let shared = Arc::new(shared);
        let (commands, obeyed) = lossless_queue(16);
        let thread = device::DeviceThread::new(driver.clone(), shared.clone(), obeyed);
        let device = std::thread::Builder::new()
            .name(format!("device {name}"))
            .spawn(move || thread.run())
            .map_err(|source| ServiceError::Thread { name, source })?;
        let device = Mutex::new(Some(device));
        Ok(Self { shared, driver, commands, device, arming: Mutex::new(()) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the device announced; none before its first frame.
    pub fn description(&self) -> Option<&RunDescription> {
        self.shared.rings.get().map(|rings| &rings.description)
    }

    /// The ring of finished live images: counts on the scale of the intensity, each with an [`acquisition::LiveNote`].
    ///
    /// # Errors
    /// [`ServiceError::NoFrames`] before the first frame.
    pub fn live_ring(&self) -> Result<FrameRing, ServiceError> {
        let rings = self.shared.rings.get();
        let none = || ServiceError::NoFrames { stream: self.name().into() };
        rings.map(|rings| rings.live.clone()).ok_or_else(none)
    }

    /// Gives this thread real-time priority, where the stream asks for it and the system grants it: for a thread that
    /// hands its live images on.
    pub fn prefer_this_thread(&self) {
        priority::ask_for_real_time(&self.shared, priority::HAND_ON);
    }

    /// What its threads share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// How it is now.
    pub fn status(&self) -> StreamStatus {
        let can_spin = self.driver.can_spin();
        self.shared.status(can_spin)
    }

    /// Time from a frame's arrival to its finished image.
    pub fn live_latency(&self) -> LatencySnapshot {
        self.shared.live_latency.snapshot()
    }

    /// Time from a frame's arrival to its record.
    pub fn record_latency(&self) -> LatencySnapshot {
        self.shared.record_latency.snapshot()
    }

    /// Somebody knows of the last five minutes of fluoroscopy.
    pub fn reset_dose_signal(&self) {
        self.shared.dose.reset_signal();
    }

    /// Switches stages of the live image.
    pub fn set_stages(&self, stages: LiveStages) {
        self.shared.stages.store(stages.bits(), Ordering::Release);
    }

    /// Takes the next frames as a new mask for subtraction.
    pub fn remask(&self) {
        self.shared.remasks.fetch_add(1, Ordering::AcqRel);
    }

    /// Starts a recording.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] while one runs; a file that cannot be made.
    pub fn start_recording(&self) -> Result<RunInfo, ServiceError> {
        self.ask("start a recording", Command::Start)?
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] while none runs; a file that cannot be finished.
    pub fn stop_recording(&self) -> Result<RunInfo, ServiceError> {
        self.ask("end a recording", Command::Stop)?
    }

    /// Puts a question to the recorder.
    fn ask<T>(
        &self,
        action: &'static str,
        command: impl FnOnce(SyncSender<T>) -> Command,
    ) -> Result<T, ServiceError> {
        if self.shared.rings.get().is_none() {
            return Err(ServiceError::NoFrames { stream: self.name().into() });
        }
        let (reply, answer) = sync_channel(1);
        self.commands.send(command(reply)).map_err(|_| ServiceError::NotNow {
            stream: self.name().into(),
            action,
            expected: "a recorder that keeps up with its requests",
            found: "a full queue of them".into(),
        })?;
        let none = |_| ServiceError::NoAnswer { stream: self.name().into(), seconds: ANSWER_S };
        answer.recv_timeout(Duration::from_secs(ANSWER_S)).map_err(none)
    }

    /// Tells the threads to stop; [`Stream::wait_for_end`] waits for them.
    pub(crate) fn tell_to_stop(&self) {
        self.shared.stops.store(true, Ordering::Release);
    }

    /// Waits until the device let go and its recording is closed. A device that never lets go is left behind.
    pub(crate) fn wait_for_end(&self) {
        let Some(device) = lock(&self.device).take() else { return };
        let deadline = Instant::now() + LET_GO;
        while !device.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.shared.device_ended.store(true, Ordering::Release);
        if device.is_finished() {
            for worker in device.join().unwrap_or_default() {
                // A panic was reported when it happened.
                let _ = worker.join();
            }
            return;
        }
        tracing::error!(
            stream = self.name(),
            "the device does not let go; its recording is closed without it"
        );
        let closing = Instant::now();
        while !self.shared.recorder_ended.load(Ordering::Acquire) && closing.elapsed() < LET_GO {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Milliseconds since a moment of the monotonic clock.
    pub fn age_ms(since_ns: u64) -> f64 {
        monotonic_now().0.saturating_sub(since_ns) as f64 * 1e-6
    }
}

/// A panic elsewhere leaves what these locks hold whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
