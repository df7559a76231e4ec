//! The recorder's thread: every frame into a run file, or a gap that says so in the file itself.
//!
//! Two runs may be open at once: the stream's own, when it is recorded, and an armed spin's, which takes the frames
//! that say they belong to an acquisition.

use super::RecordPolicy;
use super::lock;
use super::open_run::OpenRun;
use super::priority::{give_way, leave_real_time};
use super::shared::{RecordingState, Shared};
use crate::alarms::Severity;
use crate::clock::{monotonic_now, wall_now};
use crate::error::ServiceError;
use crate::jobs::JobClass;
use crate::ledger::count;
use crate::runs::{RunInfo, RunState};
use crate::spin::{SpinPhase, SpinStatus};
use crate::verdict::{SpinWatch, Verdict};
use acquisition::{Delivery, LosslessReader, LosslessReceiver, Spin, SpinState, Transition};
use capture::{CaptureError, RunOutcome, RunWriter, WriterOptions};
use carm::{FrameHeader, Pedal, RunDescription};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// After a failure a new run is tried no sooner than this.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Without a frame for so long, a spin that has covered its arc is over.
const SPIN_OVER: Duration = Duration::from_millis(500);
/// After so many frames without another overrun it counts as over.
const CALM_FRAMES: u64 = 300;
/// Frames that wait in memory for so long while none follows are written.
const IDLE: Duration = Duration::from_millis(300);
/// The list of runs learns of progress every so many frames.
const TELL_FRAMES: u64 = 32;

/// What the recorder can be asked.
pub(crate) enum Command {
    Start(SyncSender<Result<RunInfo, ServiceError>>),
    Stop(SyncSender<Result<RunInfo, ServiceError>>),
    Arm(Box<ArmedSpin>, SyncSender<Result<(), ServiceError>>),
    Abort(SyncSender<Result<(), ServiceError>>),
}

/// A spin with its file open and room set aside.
pub(crate) struct ArmedSpin {
    pub(crate) spin: Spin,
    pub(crate) armed: Transition,
    pub(crate) writer: RunWriter,
    pub(crate) info: RunInfo,
    pub(crate) makes_volume: bool,
    pub(crate) watch: SpinWatch,
}

struct SpinRun {
    open: OpenRun,
    spin: Spin,
    makes_volume: bool,
    /// The job that makes its volume while it turns.
    job: Option<u64>,
    watch: SpinWatch,
    last_frame: Instant,
}

/// A spin that is over, and whose verdict is being made.
struct JudgedSpin {
    open: OpenRun,
    outcome: RunOutcome,
    job: Option<u64>,
    verdict: std::io::Result<JoinHandle<Verdict>>,
}

pub(crate) struct Recorder {
    shared: Arc<Shared>,
    description: RunDescription,
    commands: LosslessReceiver<Command>,
    reader: LosslessReader,
    counts: Vec<u16>,
    /// Whether the stream is to be recorded.
    wanted: bool,
    run: Option<OpenRun>,
    spin: Option<SpinRun>,
    judged: Option<JudgedSpin>,
    try_again: Option<Instant>,
    /// The first frame since the last run that should have been recorded and is not, and why.
    unwritten: Option<(u64, String)>,
    was_overtaken: bool,
    /// Frames recorded since the recorder was overtaken.
    since_overtaken: u64,
    last_sequence: u64,
    /// Times that the device had been opened when the last frame came.
    opened: u64,
}

impl Recorder {
    pub(crate) fn new(
        shared: Arc<Shared>,
        description: RunDescription,
        commands: LosslessReceiver<Command>,
        reader: LosslessReader,
    ) -> Self {
        Self {
            wanted: shared.settings.record == RecordPolicy::Always,
            counts: vec![0; description.detector.pixel_count()],
            shared,
            description,
            commands,
            reader,
            run: None,
            spin: None,
            judged: None,
            try_again: None,
            unwritten: None,
            was_overtaken: false,
            since_overtaken: 0,
            last_sequence: 0,
            opened: 1,
        }
    }

    /// Records until no more frames come, then closes what is open.
    pub(crate) fn run(mut self) {
        leave_real_time();
        loop {
            while let Some(command) = self.commands.receive(Duration::ZERO) {
                self.obey(command);
            }
            let is_judged =
                |judged: &JudgedSpin| judged.verdict.as_ref().map_or(true, JoinHandle::is_finished);
            if self.judged.as_ref().is_some_and(is_judged) {
                self.close_spin();
            }
            let is_over = self.shared.device_ended.load(Ordering::Acquire);
            match self.reader.next(&mut self.counts).expect("a buffer of the ring's size") {
                Delivery::Frame(header) => self.take(&header),
                Delivery::Overrun { count } => self.overtaken(count),
                Delivery::Empty if is_over => break,
                Delivery::Empty => {
                    self.look_at_the_clock();
                    self.reader.wait(LONGEST_WAIT);
                }
            }
        }
        if self.spin.is_some() {
            self.finish_spin();
        }
        self.close_spin();
        self.tell_rest();
        if let Some(open) = self.run.take() {
            let _ = self.close(open, RunOutcome::Complete);
        }
        self.shared.recorder_ended.store(true, Ordering::Release);
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may have given up waiting.
        match command {
            Command::Start(reply) => drop(reply.send(self.start())),
            Command::Stop(reply) => drop(reply.send(self.stop())),
            Command::Arm(armed, reply) => drop(reply.send(self.arm(*armed))),
            Command::Abort(reply) => drop(reply.send(self.abort())),
        }
    }

    fn start(&mut self) -> Result<RunInfo, ServiceError> {
        if let Some(open) = &self.run {
            return Err(self.not_now("start a recording", "none running", open.info.id.clone()));
        }
        self.open()?;
        self.wanted = true;
        Ok(self.run.as_ref().expect("a run that was just opened").info.clone())
    }

    fn stop(&mut self) -> Result<RunInfo, ServiceError> {
        self.tell_rest();
        self.wanted = false;
        self.try_again = None;
        *lock(&self.shared.recording) = RecordingState::Off;
        match self.run.take() {
            Some(open) => self.close(open, RunOutcome::Complete),
            None => Err(self.not_now("end a recording", "one running", "none".into())),
        }
    }

    /// Frames that could not be recorded until the end get a file that says so, if there is room for one by now.
    fn tell_rest(&mut self) {
        let Some((first, why)) = self.unwritten.take() else { return };
        if let Err(error) = self.open() {
            let text = format!("frames from {first} on stand in no file: {why}; {error}");
            self.shared.alarms.raise(&self.shared.name, "recorder", Severity::Fault, text);
            return;
        }
        let Some(open) = &mut self.run else { return };
        if let Err(error) = open.tell_unwritten(first, self.last_sequence + 1, &why) {
            self.failed(first, &error.to_string());
        }
    }

    fn open(&mut self) -> Result<(), ServiceError> {
        let info = self.shared.runs.name_new(&self.shared.name, false);
        let description = RunDescription { run_id: info.id.clone(), ..self.description.clone() };
        let created = RunWriter::create(&info.path, &description, WriterOptions::default());
        let writer = created.inspect_err(|error| {
            if !matches!(error, CaptureError::AlreadyExists { .. }) {
                // Nothing was recorded into it: it would only mislead. It may not even be there.
                let _ = std::fs::remove_file(&info.path);
            }
        })?;
        self.shared.runs.put(info.clone());
        *lock(&self.shared.recording) = RecordingState::On { run: info.id.clone() };
        self.shared.alarms.clear(&self.shared.name, "recorder");
        self.run = Some(OpenRun::new(writer, info));
        Ok(())
    }

    fn close(&mut self, mut open: OpenRun, outcome: RunOutcome) -> Result<RunInfo, ServiceError> {
        let counters = &self.shared.counters;
        count(&counters.recorded, open.settle());
        let OpenRun { writer, mut info, pending, .. } = open;
        info.state = match &outcome {
            RunOutcome::Complete => RunState::Complete,
            RunOutcome::Aborted => RunState::Aborted,
            RunOutcome::Faulted(reason) => RunState::Faulted(reason.clone()),
        };
        match writer.finish(outcome) {
            Ok(summary) => {
                count(&counters.recorded, pending.len() as u64);
                (info.bytes, info.content_hash) = (summary.file_bytes, summary.content_hash);
                self.shared.runs.put(info.clone());
                Ok(info)
            }
            Err(error) => {
                count(&counters.record_lost, pending.len() as u64);
                info.frames -= pending.len() as u64;
                info.state = RunState::Faulted(error.to_string());
                self.shared.runs.put(info);
                self.shared.alarms.raise(&self.shared.name, "recorder", Severity::Fault, error.to_string());
                Err(error.into())
            }
        }
    }

    fn take(&mut self, header: &FrameHeader) {
        self.last_sequence = header.sequence;
        if self.spin.is_some() && self.spin_takes(header) {
            return;
        }
        if !self.wanted {
            count(&self.shared.counters.unrecorded, 1);
            self.was_overtaken = false;
            return;
        }
        let sequence = header.sequence;
        if let Some(open) = self.run.take_if(|open| open.begun.elapsed() > self.shared.settings.file_lasts) {
            // A failure is told by an alarm; the next file is opened below either way.
            let _ = self.close(open, RunOutcome::Complete);
        }
        if self.run.is_none()
            && self.try_again.is_none_or(|again| Instant::now() >= again)
            && let Err(error) = self.open()
        {
            self.failed(sequence, &error.to_string());
        }
        let Some(open) = &mut self.run else {
            count(&self.shared.counters.record_lost, 1);
            return;
        };
        let since = self.unwritten.take();
        let told = since.as_ref().map_or(Ok(()), |(first, why)| open.tell_unwritten(*first, sequence, why));
        // How many frames the device made while it was away nobody knows; that it was away stands in the run.
        let opened = self.shared.counters.opened.load(Ordering::Acquire);
        let was_away = std::mem::replace(&mut self.opened, opened) != opened;
        let told = told.and_then(|()| if was_away { open.tell_return(header) } else { Ok(()) });
        let overtaken = std::mem::take(&mut self.was_overtaken);
        match told.and_then(|()| open.write(header, &self.counts, overtaken)) {
            Ok(recorded) => {
                self.note_recorded(header, recorded);
                self.tell_progress();
            }
            Err(error) => {
                count(&self.shared.counters.record_lost, 1);
                self.failed(sequence, &error.to_string());
                if let (Some((first, _)), Some((before, _))) = (&mut self.unwritten, since) {
                    *first = before.min(*first);
                }
            }
        }
    }

    /// A run that cannot go on: its file stays as far as it came, and another is tried later, which tells what is
    /// missing in between.
    fn failed(&mut self, sequence: u64, reason: &str) {
        let mut first = sequence;
        if let Some(mut open) = self.run.take() {
            count(&self.shared.counters.recorded, open.settle());
            count(&self.shared.counters.record_lost, open.pending.len() as u64);
            first = open.pending.front().copied().unwrap_or(sequence);
            let OpenRun { mut info, pending, .. } = open;
            info.frames -= pending.len() as u64;
            info.state = RunState::Faulted(reason.into());
            self.shared.runs.put(info);
        }
        self.unwritten.get_or_insert((first, reason.into()));
        *lock(&self.shared.recording) = RecordingState::Failed { reason: reason.into() };
        self.shared.alarms.raise(&self.shared.name, "recorder", Severity::Fault, reason);
        self.try_again = Some(Instant::now() + TRY_AGAIN);
    }

    fn overtaken(&mut self, frames: u64) {
        let is_spin =
            self.spin.as_ref().is_some_and(|run| matches!(run.spin.state(), SpinState::Rotating(_)));
        if !self.wanted && !is_spin {
            count(&self.shared.counters.unrecorded, frames);
            return;
        }
        count(&self.shared.counters.record_lost, frames);
        (self.was_overtaken, self.since_overtaken) = (true, 0);
        let text = format!("the device overtook the recorder by {frames} frames; the run has a gap");
        self.shared.alarms.raise(&self.shared.name, "overrun", Severity::Fault, text);
    }

    /// Takes note of a frame handed to the writer, and of how many reached the file with it.
    fn note_recorded(&mut self, header: &FrameHeader, recorded: u64) {
        count(&self.shared.counters.recorded, recorded);
        let took_ns = monotonic_now().0.saturating_sub(header.stamps.host.0);
        self.shared.record_latency.add(Duration::from_nanos(took_ns));
        self.since_overtaken += 1;
        if self.since_overtaken == CALM_FRAMES {
            self.shared.alarms.clear(&self.shared.name, "overrun");
        }
    }

    fn tell_progress(&mut self) {
        let Some(open) = &self.run else { return };
        if open.info.frames.is_multiple_of(TELL_FRAMES) {
            self.shared.runs.put(open.info.clone());
        }
    }

    fn not_now(&self, action: &'static str, expected: &'static str, found: String) -> ServiceError {
        ServiceError::NotNow { stream: self.shared.name.clone(), action, expected, found }
    }

    fn arm(&mut self, armed: ArmedSpin) -> Result<(), ServiceError> {
        let ArmedSpin { spin, armed, writer, info, makes_volume, watch } = armed;
        let mut open = OpenRun::new(writer, info);
        open.tell(armed)?;
        self.shared.runs.put(open.info.clone());
        let run = SpinRun { open, spin, makes_volume, job: None, watch, last_frame: Instant::now() };
        lock(&self.shared.spin).follow(run.spin.state());
        self.spin = Some(run);
        Ok(())
    }

    fn abort(&mut self) -> Result<(), ServiceError> {
        let now = monotonic_now();
        let Some(run) = &mut self.spin else {
            return Err(self.not_now("abort a spin", "an armed or rotating one", "none".into()));
        };
        if matches!(run.spin.state(), SpinState::Armed { .. }) {
            run.spin.disarm(now)?;
            let run = self.spin.take().expect("the spin just looked at");
            self.shared.runs.forget(&run.open.info.id);
            let path = run.open.info.path.clone();
            drop(run);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "an empty run stays behind");
            }
            *lock(&self.shared.spin) = crate::spin::SpinStatus::default();
            return Ok(());
        }
        let aborted = run.spin.abort(now)?;
        run.open.tell(aborted)?;
        self.finish_spin();
        Ok(())
    }

    /// Whether a frame belongs to the spin; a frame that does not may end it.
    fn spin_takes(&mut self, header: &FrameHeader) -> bool {
        let Some(run) = &mut self.spin else { return false };
        let turned = run.spin.frame(header, monotonic_now());
        lock(&self.shared.spin).follow(run.spin.state());
        if header.pedal != Pedal::Acquisition {
            if turned.is_some_and(|turned| run.open.tell(turned).is_err()) || run.is_over() {
                self.finish_spin();
            }
            return false;
        }
        let overtaken = std::mem::take(&mut self.was_overtaken);
        run.watch.take(header, &self.counts);
        let written = run.open.write(header, &self.counts, overtaken);
        let written = written
            .and_then(|recorded| turned.map_or(Ok(()), |turned| run.open.tell(turned)).map(|()| recorded));
        run.last_frame = Instant::now();
        match written {
            Ok(recorded) => {
                self.note_recorded(header, recorded);
                self.ask_for_volume();
            }
            Err(error) => {
                count(&self.shared.counters.record_lost, 1);
                // An armed or rotating spin can always fail.
                let _ = run.spin.report_fault(&error.to_string(), monotonic_now());
                self.finish_spin();
            }
        }
        true
    }

    /// The volume of a spin is made while it turns, from its first view on.
    fn ask_for_volume(&mut self) {
        let Some(run) = &mut self.spin else { return };
        if !std::mem::take(&mut run.makes_volume) {
            return;
        }
        let info = &run.open.info;
        match self.shared.jobs.reconstruct(&info.id, &info.path, JobClass::Spin) {
            Ok(id) => run.job = Some(id),
            Err(error) => {
                self.shared.alarms.raise(&self.shared.name, "jobs", Severity::Fault, error.to_string());
            }
        }
    }

    fn look_at_the_clock(&mut self) {
        if let Some(open) = &mut self.run
            && !open.pending.is_empty()
            && open.last_write.elapsed() > IDLE
        {
            match open.flush() {
                Ok(recorded) => count(&self.shared.counters.recorded, recorded),
                Err(error) => {
                    let first = open.pending.front().copied().unwrap_or_default();
                    self.failed(first, &error.to_string());
                }
            }
        }
        let Some(run) = &mut self.spin else { return };
        let silent = run.spin.tick(monotonic_now());
        if silent.is_some_and(|silent| run.open.tell(silent).is_err())
            || (run.is_over() && run.last_frame.elapsed() > SPIN_OVER)
        {
            self.finish_spin();
        }
    }

    fn finish_spin(&mut self) {
        let Some(mut run) = self.spin.take() else { return };
        if matches!(run.spin.state(), SpinState::Rotating(_)) {
            let aborted = run.spin.abort(monotonic_now()).expect("a rotating spin can be aborted");
            // The outcome says the same.
            let _ = run.open.tell(aborted);
        }
        let outcome = match run.spin.state() {
            SpinState::Complete(_) => RunOutcome::Complete,
            SpinState::Faulted { fault, .. } => RunOutcome::Faulted(format!("{fault:?}")),
            _ => RunOutcome::Aborted,
        };
        if outcome == RunOutcome::Complete {
            // Its volume waits for this word. A file that cannot take it says so when it is closed.
            if let Ok(recorded) = run.open.end_frames() {
                count(&self.shared.counters.recorded, recorded);
            }
        } else {
            self.cancel(run.job);
        }
        self.close_spin();
        let SpinRun { open, spin, job, watch, .. } = run;
        lock(&self.shared.spin).follow(spin.state());
        self.judged = Some(JudgedSpin { open, outcome, job, verdict: judge(watch) });
    }

    /// Closes the recording of a spin that is over, with its verdict, which is waited for.
    fn close_spin(&mut self) {
        let Some(JudgedSpin { mut open, outcome, job, verdict }) = self.judged.take() else { return };
        let (run, shared) = (open.info.id.clone(), self.shared.clone());
        // The next spin may be armed by now, and the status be its own.
        let tell = |change: &dyn Fn(&mut SpinStatus)| {
            let mut status = lock(&shared.spin);
            if status.run == run {
                change(&mut status);
            }
        };
        // A panic was reported when it happened.
        let verdict = verdict.ok().and_then(|verdict| verdict.join().ok());
        if let Some(verdict) = &verdict {
            // A run that cannot take the words any more says so when it is closed.
            let _ = open.tell_verdict(verdict);
        }
        tell(&|status| status.verdict.clone_from(&verdict));
        if let Err(error) = self.close(open, outcome) {
            tell(&|status| (status.phase, status.reason) = (SpinPhase::Faulted, error.to_string()));
            self.cancel(job);
        }
    }

    /// A spin that is not complete gets no volume.
    fn cancel(&self, job: Option<u64>) {
        if let Some(id) = job
            && let Err(error) = self.shared.jobs.cancel(id)
        {
            tracing::warn!(%error, "a spin's job is not there to be ended");
        }
    }
}

/// Makes a spin's verdict on threads that give way to all others.
fn judge(watch: SpinWatch) -> std::io::Result<JoinHandle<Verdict>> {
    std::thread::Builder::new().name("verdict".into()).spawn(move || {
        let now_ns = wall_now().0;
        match rayon::ThreadPoolBuilder::new().start_handler(|_| give_way()).build() {
            Ok(pool) => pool.install(|| watch.verdict(now_ns)),
            Err(_) => watch.verdict(now_ns),
        }
    })
}

impl SpinRun {
    /// Whether nothing more belongs to it.
    fn is_over(&self) -> bool {
        !matches!(self.spin.state(), SpinState::Armed { .. } | SpinState::Rotating(_))
    }
}
