//! Work that may take long and must never delay a frame: one job at a time, in a process of its own, with progress, and
//! an end to it whenever somebody wants one.
//!
//! ```text
//! asked for --> desk --(one thread)--> WorkerRunner ==socket pair==> worker process: attend(..)
//!                 ^                          |
//!                 '--- progress, result, or why not; a worker that was killed is begun again once
//! ```
//! A spin's job goes first: what runs for others, or refines the volume of an earlier spin, stops and begins again after it.

mod attend;
mod supervise;
mod task;

pub use attend::{ToDaemon, attend};
pub use supervise::WorkerRunner;
pub use task::{JobClass, JobKind, Task, WorkerBudget};

use crate::alarms::{Alarms, Severity};
use crate::error::ServiceError;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Jobs kept in the list; the oldest that are over go first.
const KEPT: usize = 100;
/// Jobs that may wait.
const WAITING: usize = 16;
/// Times that a job is begun when its worker is lost.
const ATTEMPTS: u64 = 2;

/// How far a running job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobNews {
    /// The process that does it.
    pub process: u32,
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub all: u64,
    /// A first version of its result, in its place; a better one will take that place.
    pub first_version: Option<PathBuf>,
}

/// Hears several times a second how far a job is and says whether to go on.
pub type Step<'a> = dyn FnMut(&JobNews) -> bool + Send + 'a;

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// In words.
    pub reason: String,
    /// Whether the worker was lost rather than the work impossible, so that it is worth another attempt.
    pub is_worker_lost: bool,
}

impl JobFailure {
    /// The work cannot be done.
    pub fn of(reason: String) -> Self {
        Self { reason, is_worker_lost: false }
    }

    /// Whoever did it is gone.
    pub fn lost_worker(reason: String) -> Self {
        Self { reason, is_worker_lost: true }
    }
}

/// Does the work.
pub trait JobRunner: Send + Sync + 'static {
    /// Does one job; gives the file made.
    ///
    /// # Errors
    /// Why it could not.
    fn run(&self, task: &Task, step: &mut Step<'_>) -> Result<PathBuf, JobFailure>;
}

/// A daemon that does no jobs.
pub struct NoJobs;

impl JobRunner for NoJobs {
    fn run(&self, _: &Task, _: &mut Step<'_>) -> Result<PathBuf, JobFailure> {
        Err(JobFailure::of("expected a daemon that does jobs, found one that does not".into()))
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Others come first.
    Waiting,
    /// At work.
    Running,
    /// There is a result.
    Done,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl JobState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Counts from 1.
    pub id: u64,
    /// What it does.
    pub kind: JobKind,
    /// How much it matters.
    pub class: JobClass,
    /// The recording that it works on; for an import the name of none.
    pub run: String,
    /// How it stands.
    pub state: JobState,
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub all: u64,
    /// Times that it was begun anew because its worker was lost.
    pub restarts: u64,
    /// The process that does it, while one does.
    pub process: Option<u32>,
    /// Its result: a file, which is a first version until the job is done.
    pub result: Option<PathBuf>,
    /// Why it failed, or why it was begun anew.
    pub error: Option<String>,
}

struct Entry {
    job: Job,
    path: PathBuf,
    wish: Arc<Wish>,
}

/// What is wished of a job that runs.
#[derive(Default)]
struct Wish {
    cancelled: AtomicBool,
    gives_way: AtomicBool,
}

impl Wish {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn gives_way(&self) -> bool {
        self.gives_way.load(Ordering::Acquire)
    }
}

#[derive(Default)]
struct Desk {
    entries: Vec<Entry>,
    last_id: u64,
    closes: bool,
}

/// The daemon's jobs.
pub struct Jobs {
    desk: Arc<(Mutex<Desk>, Condvar)>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Jobs {
    /// Starts the thread that does them.
    ///
    /// # Errors
    /// [`ServiceError::Thread`].
    pub fn start(runner: impl JobRunner, alarms: Arc<Alarms>) -> Result<Self, ServiceError> {
        let desk = Arc::new((Mutex::new(Desk::default()), Condvar::new()));
        let shared = desk.clone();
        let worker = std::thread::Builder::new()
            .name("jobs".into())
            .spawn(move || work(&shared, &runner, &alarms))
            .map_err(|source| ServiceError::Thread { name: "jobs".into(), source })?;
        Ok(Self { desk, worker: Mutex::new(Some(worker)) })
    }

    /// Asks for the volume of a recording; gives the job's number.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] when too many wait.
    pub fn reconstruct(&self, run: &str, path: &Path, class: JobClass) -> Result<u64, ServiceError> {
        self.ask(JobKind::Reconstruct, run, path, class)
    }

    /// Asks for a file to become a recording; gives the job's number.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] when too many wait.
    pub(crate) fn import(&self, path: &Path) -> Result<u64, ServiceError> {
        self.ask(JobKind::Import, "", path, JobClass::Other)
    }

    fn ask(&self, kind: JobKind, run: &str, path: &Path, class: JobClass) -> Result<u64, ServiceError> {
        let mut desk = lock(&self.desk);
        let waiting = desk.entries.iter().filter(|entry| entry.job.state == JobState::Waiting).count();
        if waiting >= WAITING || desk.closes {
            return Err(ServiceError::NotNow {
                stream: run.into(),
                action: "take one more job",
                expected: "at most 15 jobs waiting",
                found: waiting.to_string(),
            });
        }
        desk.last_id += 1;
        let id = desk.last_id;
        if desk.entries.len() >= KEPT {
            let is_over = |entry: &Entry| !matches!(entry.job.state, JobState::Waiting | JobState::Running);
            let over = desk.entries.iter().position(is_over).unwrap_or(0);
            desk.entries.remove(over);
        }
        let job = Job {
            id,
            kind,
            class,
            run: run.into(),
            state: JobState::Waiting,
            done: 0,
            all: 0,
            restarts: 0,
            process: None,
            result: None,
            error: None,
        };
        desk.entries.push(Entry { job, path: path.to_path_buf(), wish: Arc::default() });
        for running in desk.entries.iter().filter(|entry| entry.job.state == JobState::Running) {
            // One that was to give way already still is.
            running.wish.gives_way.fetch_or(running.job.urgency() > (class, false), Ordering::AcqRel);
        }
        self.desk.1.notify_all();
        Ok(id)
    }

    /// Ends a job at its next step, or takes it off the list of those that wait.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`].
    pub fn cancel(&self, id: u64) -> Result<(), ServiceError> {
        let mut desk = lock(&self.desk);
        let Some(entry) = desk.entries.iter_mut().find(|entry| entry.job.id == id) else {
            let known = desk.entries.iter().map(|entry| entry.job.id.to_string()).collect::<Vec<_>>();
            return Err(ServiceError::Unknown {
                kind: "job",
                known: known.join(", "),
                found: id.to_string(),
            });
        };
        entry.wish.cancelled.store(true, Ordering::Release);
        if entry.job.state == JobState::Waiting {
            entry.job.state = JobState::Cancelled;
        }
        Ok(())
    }

    /// All that are kept, oldest first.
    pub fn list(&self) -> Vec<Job> {
        lock(&self.desk).entries.iter().map(|entry| entry.job.clone()).collect()
    }

    /// Ends all of them and the thread.
    pub fn stop(&self) {
        {
            let mut desk = lock(&self.desk);
            desk.closes = true;
            for entry in &mut desk.entries {
                entry.wish.cancelled.store(true, Ordering::Release);
                if entry.job.state == JobState::Waiting {
                    entry.job.state = JobState::Cancelled;
                }
            }
            self.desk.1.notify_all();
        }
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // A panic of the worker was reported when it happened.
            let _ = worker.join();
        }
    }
}

fn lock(desk: &(Mutex<Desk>, Condvar)) -> MutexGuard<'_, Desk> {
    desk.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(desk: &(Mutex<Desk>, Condvar), runner: &dyn JobRunner, alarms: &Alarms) {
    while let Some((id, task, wish)) = next(desk) {
        let mut step = |news: &JobNews| {
            update(desk, id, |job| job.hear(news));
            !wish.is_cancelled() && !wish.gives_way()
        };
        let attempt = std::panic::AssertUnwindSafe(|| runner.run(&task, &mut step));
        let made = std::panic::catch_unwind(attempt)
            .unwrap_or_else(|_| Err(JobFailure::of("the daemon's part of it panicked".into())));
        let mut state = JobState::Failed;
        update(desk, id, |job| {
            job.end_attempt(made, &wish);
            state = job.state;
        });
        match state {
            JobState::Failed => {
                alarms.raise("", "jobs", Severity::Warning, format!("job {id} failed: see the list of jobs"));
            }
            JobState::Done => alarms.clear("", "jobs"),
            _ => {}
        }
    }
}

impl Job {
    fn hear(&mut self, news: &JobNews) {
        (self.process, self.done, self.all) = (Some(news.process), news.done, news.all);
        if news.first_version.is_some() {
            self.result.clone_from(&news.first_version);
        }
    }

    /// The least goes first: what somebody waits for, and of that what has no first version yet.
    fn urgency(&self) -> (JobClass, bool) {
        (self.class, self.result.is_some())
    }

    /// Takes over how an attempt ended: it is over, or it waits to be begun anew.
    fn end_attempt(&mut self, made: Result<PathBuf, JobFailure>, wish: &Wish) {
        self.process = None;
        match made {
            Ok(file) => (self.state, self.result, self.error) = (JobState::Done, Some(file), None),
            Err(_) if wish.is_cancelled() => self.state = JobState::Cancelled,
            Err(_) if wish.gives_way() => {
                wish.gives_way.store(false, Ordering::Release);
                (self.state, self.done) = (JobState::Waiting, 0);
            }
            Err(failure) => {
                let is_begun_anew = failure.is_worker_lost && self.restarts + 1 < ATTEMPTS;
                self.error = Some(failure.reason);
                if is_begun_anew {
                    (self.restarts, self.done) = (self.restarts + 1, 0);
                }
                self.state = if is_begun_anew { JobState::Waiting } else { JobState::Failed };
            }
        }
    }
}

/// The next job: the most urgent, then the oldest.
fn next(desk: &(Mutex<Desk>, Condvar)) -> Option<(u64, Task, Arc<Wish>)> {
    let mut held = lock(desk);
    loop {
        if held.closes {
            return None;
        }
        let waiting = held.entries.iter_mut().filter(|entry| entry.job.state == JobState::Waiting);
        if let Some(entry) = waiting.min_by_key(|entry| (entry.job.urgency(), entry.job.id)) {
            entry.job.state = JobState::Running;
            let task = Task { kind: entry.job.kind, class: entry.job.class, run: entry.path.clone() };
            return Some((entry.job.id, task, entry.wish.clone()));
        }
        held = desk.1.wait(held).unwrap_or_else(PoisonError::into_inner);
    }
}

fn update(desk: &(Mutex<Desk>, Condvar), id: u64, change: impl FnOnce(&mut Job)) {
    if let Some(entry) = lock(desk).entries.iter_mut().find(|entry| entry.job.id == id) {
        change(&mut entry.job);
    }
}
