//! A spin, live: device, ring, recorder, live view and reconstruction at once.
//!
//! The device's thread only fills the ring. The recorder and the reconstruction get every frame: a
//! reconstruction that falls behind the ring reads what it missed from the recording. The live view takes the
//! newest frame and counts what it passed over.

use crate::error::SessionError;
use crate::lag::LagLog;
use crate::live::{LiveReport, show_live};
use crate::recorded::{Progress, finish, push_frame, reconstruct_after};
use crate::recorder::Recorder;
use crate::timing::StageTimes;
use crate::views::{RunSettings, ViewMaker, plan_run};
use acquisition::{Corrector, Delivery, FrameRing, LosslessReader, RingProducer};
use capture::{RunReader, RunSummary};
use carm::{FrameHeader, FrameSource, HostTime, RunDescription, SourceEvent, Volume};
use reconstruct::{Fdk, ReconstructError, to_hu};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a reader sleeps at most before it looks for the end of the run.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// How long a reconstruction that was overtaken waits for the recorder.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(10);

/// What a spin is to do beside showing live images.
#[derive(Clone, Debug)]
pub struct SpinOptions {
    /// How the volume is made; absent for a run that makes none.
    pub volume: Option<RunSettings>,
    /// Where the run is recorded.
    pub record: Option<PathBuf>,
    /// Slots of the frame ring.
    pub ring_slots: usize,
    /// The device waits when the ring is full of frames that someone still needs: for a replay flat out. A real
    /// device never waits.
    pub device_waits: bool,
    /// Without a frame for so long, a rotating spin is at fault.
    pub frame_timeout: Duration,
    /// The correction as earlier frames of the same run left it; by default that of a panel which has rested.
    pub corrector: Option<Corrector>,
}

impl Default for SpinOptions {
    fn default() -> Self {
        Self {
            volume: None,
            record: None,
            ring_slots: 64,
            device_waits: false,
            frame_timeout: Duration::from_secs(5),
            corrector: None,
        }
    }
}

/// What a spin did.
#[derive(Debug)]
pub struct SpinReport {
    /// Frames that came from the device.
    pub frames: u64,
    /// Frames that the device numbered and that never came: first and count.
    pub lost: Vec<(u64, u64)>,
    /// The volume in Hounsfield units, LPS: its last version.
    pub volume: Option<Volume>,
    /// The version that was complete when the sweep ended, where there is a later one.
    pub first_version: Option<Volume>,
    /// Time per stage of the reconstruction.
    pub stages: StageTimes,
    /// How far behind each view the reconstruction was.
    pub lag: LagLog,
    /// From the arrival of the last view with weight to the complete volume (its first version).
    pub complete_after_last_view: Option<Duration>,
    /// From the arrival of the last view to the second version.
    pub refined_after_last_view: Option<Duration>,
    /// Most frames that waited for the reconstruction at once.
    pub deepest_backlog: u64,
    /// Frames that the reconstruction read from the recording because the ring had moved on.
    pub caught_up: u64,
    /// Frames that the reconstruction had to do without, because neither ring nor recording held them any more.
    pub missed: u64,
    /// The live view.
    pub live: LiveReport,
    /// The recording.
    pub recording: Option<RunSummary>,
}

/// What the threads of a spin share.
pub(crate) struct Shared {
    pub(crate) ring: FrameRing,
    /// Set by the device's thread when no more frames come.
    pub(crate) has_ended: AtomicBool,
    /// Set by anyone who wants the device to stop.
    pub(crate) stops: AtomicBool,
    start: Instant,
    /// Arrival of each frame by its position in the ring, ns since `start`.
    arrivals: Vec<AtomicU64>,
    /// Positions up to which recorder and reconstruction have read.
    pub(crate) recorded: AtomicU64,
    reconstructed: AtomicU64,
}

impl Shared {
    fn arrival(&self, position: u64) -> Option<Instant> {
        let ns = self.arrivals.get(position as usize)?.load(Ordering::Acquire);
        Some(self.start + Duration::from_nanos(ns))
    }

    /// This session's clock.
    pub(crate) fn now(&self) -> HostTime {
        HostTime(self.start.elapsed().as_nanos() as u64)
    }

    /// Whether a reader at `position` has read all there will be.
    pub(crate) fn is_over(&self, backlog: u64) -> bool {
        self.has_ended.load(Ordering::Acquire) && backlog == 0
    }
}

/// Runs a source to its end. The reconstruction runs on the current rayon pool and the calling thread.
///
/// # Errors
/// The first failure of device, recorder or reconstruction; what was recorded until then stays readable.
pub fn run_spin(
    mut source: Box<dyn FrameSource>,
    options: &SpinOptions,
    progress: &mut (dyn Progress + Send),
) -> Result<SpinReport, SessionError> {
    let description = source.description().clone();
    let pixels = description.detector.pixel_count();
    let (producer, ring) = FrameRing::new(options.ring_slots, pixels)?;
    let expected = description.planned_views.len().max(1);
    let shared = Shared {
        has_ended: AtomicBool::new(false),
        stops: AtomicBool::new(false),
        start: Instant::now(),
        arrivals: (0..2 * expected + 4096).map(|_| AtomicU64::new(0)).collect(),
        recorded: AtomicU64::new(if options.record.is_some() { 0 } else { u64::MAX }),
        reconstructed: AtomicU64::new(if options.volume.is_some() { 0 } else { u64::MAX }),
        ring,
    };
    // Everything that can be refused is refused before the first frame.
    let reconstruction = match &options.volume {
        Some(settings) => Some(Reconstruction::prepare(&description, settings, options, &shared)?),
        None => None,
    };
    let recorder_reader = shared.ring.lossless_reader();
    let live_reader = shared.ring.newest_reader();
    let corrector = match &options.corrector {
        Some(corrector) => Some(corrector.clone()),
        None => Corrector::for_run(&description)?,
    };
    let recorder = match &options.record {
        Some(path) => Some(Recorder::create(path, &description, options.frame_timeout)?),
        None => None,
    };
    std::thread::scope(|scope| {
        let (shared, description) = (&shared, &description);
        let _guard = StopOnPanic(shared);
        let device = scope.spawn(move || run_device(source.as_mut(), producer, shared, options));
        let recorder = recorder.map(|recorder| scope.spawn(move || recorder.run(recorder_reader, shared)));
        let pixels = description.detector.pixel_count();
        let live = scope.spawn(move || show_live(live_reader, pixels, corrector, shared));
        let volume = match reconstruction {
            Some(reconstruction) => reconstruction.run(description, shared, progress).map(Some),
            None => watch(shared, expected as u64, progress).map(|()| None),
        };
        if volume.is_err() {
            shared.stops.store(true, Ordering::Release);
        }
        let ended = |thread| SessionError::ThreadEnded { thread };
        let device = device.join().map_err(|_| ended("device"))?;
        let recording =
            recorder.map(|recorder| recorder.join().map_err(|_| ended("recorder"))).transpose()?;
        let live = live.join().map_err(|_| ended("live view"))??;
        let (frames, lost) = device?;
        let recording = recording.transpose()?;
        let made = match volume {
            Err(SessionError::Reconstruct(ReconstructError::SweepCutShort { .. }))
                if options.record.is_some() =>
            {
                Some(remake_from_recording(options, progress)?)
            }
            other => other?,
        };
        let made = made.unwrap_or_default();
        Ok(SpinReport {
            frames,
            lost,
            volume: made.volume,
            first_version: made.first_version,
            stages: made.stages,
            lag: made.lag,
            complete_after_last_view: made.complete_after_last_view,
            refined_after_last_view: made.refined_after_last_view,
            deepest_backlog: made.deepest_backlog,
            caught_up: made.caught_up,
            missed: made.missed,
            live,
            recording,
        })
    })
}

/// A panic on the reconstruction's thread must not leave the device waiting for it.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stops.store(true, Ordering::Release);
        }
    }
}

/// A sweep that ended early: the recording holds all its views, and their weights can now be found.
fn remake_from_recording(options: &SpinOptions, progress: &mut dyn Progress) -> Result<Made, SessionError> {
    let (Some(path), Some(settings)) = (&options.record, &options.volume) else {
        return Err(SessionError::ThreadEnded { thread: "reconstruction" });
    };
    let mut recording = RunReader::open(path)?;
    let made = reconstruct_after(&mut recording, settings, options.corrector.as_ref(), progress)?;
    Ok(Made { volume: Some(made.volume), stages: made.stages, ..Made::default() })
}

/// The device's thread: waits for frames and publishes them, nothing else.
fn run_device(
    source: &mut dyn FrameSource,
    mut producer: RingProducer,
    shared: &Shared,
    options: &SpinOptions,
) -> Result<(u64, Vec<(u64, u64)>), SessionError> {
    let mut counts = vec![0; source.description().detector.pixel_count()];
    let mut ledger = acquisition::SequenceLedger::new();
    let result = loop {
        if shared.stops.load(Ordering::Acquire) {
            break Ok(());
        }
        match source.next_frame(&mut counts) {
            Ok(SourceEvent::Frame(header)) => {
                if options.device_waits {
                    wait_for_readers(shared, options.ring_slots as u64);
                }
                let arrived = shared.start.elapsed().as_nanos() as u64;
                if let Some(slot) = shared.arrivals.get(shared.ring.published() as usize) {
                    slot.store(arrived, Ordering::Release);
                }
                ledger.observe(header.sequence);
                if let Err(error) = producer.publish(&header, &counts) {
                    break Err(error.into());
                }
            }
            Ok(SourceEvent::End) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    shared.has_ended.store(true, Ordering::Release);
    result.map(|()| (ledger.received(), ledger.missing()))
}

fn wait_for_readers(shared: &Shared, slots: u64) {
    let is_full = || {
        let slowest =
            shared.recorded.load(Ordering::Acquire).min(shared.reconstructed.load(Ordering::Acquire));
        shared.ring.published().saturating_sub(slowest) + 2 > slots
    };
    while is_full() && !shared.stops.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A run without a volume: only progress.
fn watch(shared: &Shared, expected: u64, progress: &mut dyn Progress) -> Result<(), SessionError> {
    while !shared.has_ended.load(Ordering::Acquire) {
        if !progress.step(shared.ring.published(), expected) {
            return Err(SessionError::Cancelled);
        }
        std::thread::sleep(LONGEST_WAIT);
    }
    Ok(())
}

#[derive(Default)]
struct Made {
    volume: Option<Volume>,
    first_version: Option<Volume>,
    stages: StageTimes,
    lag: LagLog,
    complete_after_last_view: Option<Duration>,
    refined_after_last_view: Option<Duration>,
    deepest_backlog: u64,
    caught_up: u64,
    missed: u64,
}

/// The consumer that turns frames into the volume.
struct Reconstruction {
    fdk: Fdk,
    maker: ViewMaker,
    reader: LosslessReader,
    recording: Option<PathBuf>,
    position: u64,
    last_sequence: Option<u64>,
    has_second_pass: bool,
    made: Made,
}

impl Reconstruction {
    fn prepare(
        description: &RunDescription,
        settings: &RunSettings,
        options: &SpinOptions,
        shared: &Shared,
    ) -> Result<Self, SessionError> {
        Ok(Self {
            fdk: Fdk::new(Arc::new(plan_run(description, settings)?)),
            maker: ViewMaker::after(description, options.corrector.clone())?,
            reader: shared.ring.lossless_reader(),
            recording: options.record.clone(),
            position: 0,
            last_sequence: None,
            has_second_pass: settings.has_second_pass,
            made: Made::default(),
        })
    }

    fn run(
        mut self,
        description: &RunDescription,
        shared: &Shared,
        progress: &mut dyn Progress,
    ) -> Result<Made, SessionError> {
        let all = description.planned_views.len() as u64;
        let mut counts = vec![0; description.detector.pixel_count()];
        loop {
            self.made.deepest_backlog = self.made.deepest_backlog.max(self.reader.backlog());
            match self.reader.next(&mut counts)? {
                Delivery::Frame(header) => self.take(&header, &counts, shared)?,
                Delivery::Overrun { count } => self.catch_up(count, &mut counts, shared)?,
                Delivery::Empty if shared.is_over(self.reader.backlog()) => break,
                Delivery::Empty => self.reader.wait(LONGEST_WAIT),
            }
            shared.reconstructed.store(self.position, Ordering::Release);
            if !progress.step(self.position, all) {
                return Err(SessionError::Cancelled);
            }
        }
        let Self { mut fdk, mut made, position, has_second_pass, .. } = self;
        let mu_water_per_mm = description.beam.mu_water_per_mm;
        let last_arrival = position.checked_sub(1).and_then(|last| shared.arrival(last));
        let mut first = fdk.first_version(&mut made.stages)?;
        if has_second_pass {
            to_hu(&mut first, mu_water_per_mm);
            made.complete_after_last_view = last_arrival.map(|arrived| arrived.elapsed());
            made.first_version = Some(first);
            let (first, second_pass) = fdk.finish_first_pass(&mut made.stages)?;
            let mut goes_on = || progress.step(position, all);
            made.volume =
                Some(finish(first, Some(second_pass), mu_water_per_mm, &mut goes_on, &mut made.stages)?);
            made.refined_after_last_view = last_arrival.map(|arrived| arrived.elapsed());
        } else {
            made.volume = Some(finish(first, None, mu_water_per_mm, &mut || true, &mut made.stages)?);
            made.complete_after_last_view = last_arrival.map(|arrived| arrived.elapsed());
        }
        Ok(made)
    }

    fn take(&mut self, header: &FrameHeader, counts: &[u16], shared: &Shared) -> Result<(), SessionError> {
        if self.last_sequence.is_some_and(|last| header.sequence <= last) {
            // Twice from the device: it counts once.
            self.position += 1;
            return Ok(());
        }
        self.last_sequence = Some(header.sequence);
        if header.is_xray_on {
            push_frame(&mut self.fdk, &mut self.maker, header, counts, &mut self.made.stages)?;
        } else {
            self.maker.correct(header, counts)?;
        }
        if let Some(arrived) = shared.arrival(self.position) {
            self.made.lag.add(header.sequence, arrived.elapsed());
        }
        self.position += 1;
        Ok(())
    }

    /// Reads frames that the ring no longer holds from the recording, where they follow the last one taken.
    fn catch_up(&mut self, count: u64, counts: &mut [u16], shared: &Shared) -> Result<(), SessionError> {
        let Some(path) = &self.recording else {
            // Without a recording they are lost to the volume, whose weights close over the gap.
            self.position += count;
            self.made.missed += count;
            return Ok(());
        };
        let mut recording = RunReader::open(path)?;
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        let until = self.position + count;
        while self.position < until {
            let next = match self.last_sequence {
                Some(last) => recording.index_of(last).map_or(0, |index| index + 1),
                None => 0,
            };
            if recording.frame_count() > next {
                let header = recording.read_frame(next, counts)?;
                self.take(&header, counts, shared)?;
                self.made.caught_up += 1;
                continue;
            }
            if Instant::now() > deadline {
                // The recorder was overtaken, too, or is stuck: go on with what the ring still has.
                self.made.missed += until - self.position;
                self.position = until;
                break;
            }
            std::thread::sleep(LONGEST_WAIT);
            recording.refresh()?;
        }
        Ok(())
    }
}
