//! Work that may take long and must never delay a frame: one at a time, at the lowest priority, with progress, and an
//! end to it whenever somebody wants one.
//!
//! Jobs run on a thread of this process for now; the trait is where worker processes will take over.

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

/// Is told `(done, all)` after each step of a job and says whether to go on.
pub type Step<'a> = dyn FnMut(u64, u64) -> bool + Send + 'a;

/// Does the work.
pub trait JobRunner: Send + Sync + 'static {
    /// Makes a volume of a recording; gives the file.
    ///
    /// # Errors
    /// The reason in words.
    fn reconstruct(&self, run: &Path, step: &mut Step<'_>) -> Result<PathBuf, String>;
}

/// A daemon that does no jobs.
pub struct NoJobs;

impl JobRunner for NoJobs {
    fn reconstruct(&self, _: &Path, _: &mut Step<'_>) -> Result<PathBuf, String> {
        Err("expected a daemon that reconstructs, found one that does not".into())
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
    pub kind: &'static str,
    /// The recording that it works on.
    pub run: String,
    /// How it stands.
    pub state: JobState,
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub all: u64,
    /// Its result: a file.
    pub result: Option<PathBuf>,
    /// Why it failed.
    pub error: Option<String>,
}

struct Entry {
    job: Job,
    path: PathBuf,
    cancelled: Arc<AtomicBool>,
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
    pub fn start(runner: impl JobRunner) -> Result<Self, ServiceError> {
        let desk = Arc::new((Mutex::new(Desk::default()), Condvar::new()));
        let shared = desk.clone();
        let worker = std::thread::Builder::new()
            .name("jobs".into())
            .spawn(move || work(&shared, &runner))
            .map_err(|source| ServiceError::Thread { name: "jobs".into(), source })?;
        Ok(Self { desk, worker: Mutex::new(Some(worker)) })
    }

    /// Asks for the volume of a recording; gives the job's number.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] when too many wait.
    pub fn reconstruct(&self, run: &str, path: &Path) -> Result<u64, ServiceError> {
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
            kind: "reconstruct",
            run: run.into(),
            state: JobState::Waiting,
            done: 0,
            all: 0,
            result: None,
            error: None,
        };
        desk.entries.push(Entry { job, path: path.to_path_buf(), cancelled: Arc::default() });
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
        entry.cancelled.store(true, Ordering::Release);
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
                entry.cancelled.store(true, Ordering::Release);
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

fn work(desk: &(Mutex<Desk>, Condvar), runner: &dyn JobRunner) {
    crate::stream::yield_to_others();
    loop {
        let Some((id, path, cancelled)) = next(desk) else { return };
        let mut step = |done, all| {
            update(desk, id, |job| (job.done, job.all) = (done, all));
            !cancelled.load(Ordering::Acquire)
        };
        let attempt = std::panic::AssertUnwindSafe(|| runner.reconstruct(&path, &mut step));
        let made = std::panic::catch_unwind(attempt).unwrap_or_else(|_| Err("it panicked".into()));
        update(desk, id, |job| match made {
            Ok(file) => (job.state, job.result) = (JobState::Done, Some(file)),
            Err(_) if cancelled.load(Ordering::Acquire) => job.state = JobState::Cancelled,
            Err(reason) => (job.state, job.error) = (JobState::Failed, Some(reason)),
        });
    }
}

fn next(desk: &(Mutex<Desk>, Condvar)) -> Option<(u64, PathBuf, Arc<AtomicBool>)> {
    let mut held = lock(desk);
    loop {
        if held.closes {
            return None;
        }
        if let Some(entry) = held.entries.iter_mut().find(|entry| entry.job.state == JobState::Waiting) {
            entry.job.state = JobState::Running;
            return Some((entry.job.id, entry.path.clone(), entry.cancelled.clone()));
        }
        held = desk.1.wait(held).unwrap_or_else(PoisonError::into_inner);
    }
}

fn update(desk: &(Mutex<Desk>, Condvar), id: u64, change: impl FnOnce(&mut Job)) {
    if let Some(entry) = lock(desk).entries.iter_mut().find(|entry| entry.job.id == id) {
        change(&mut entry.job);
    }
}
