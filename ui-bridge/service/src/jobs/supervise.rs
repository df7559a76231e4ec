//! Jobs in processes of their own: started, listened to, and ended when they fall silent.
//!
//! A worker gets one end of a socket pair as its standard input and answers on it ([`super::attend`]). Whatever becomes
//! of it (a panic, a signal, no memory, no sign of life) costs the job's time and nothing else: its result appears by
//! renaming a finished file, and its folder goes with it.

use super::task::{Event, JobKind, MOST_LINE_BYTES, Order, Task, WorkerBudget};
use super::{JobFailure, JobNews, JobRunner, Step};
use crate::child::ChildProcess;
use crate::error::ServiceError;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A worker is looked at this often, whether it says something or not.
const LOOK: Duration = Duration::from_millis(100);
/// A worker that was asked to stop, or has told its end, may take so long.
const GRACE: Duration = Duration::from_secs(3);
/// Folders of workers begin so.
const FOLDER_PREFIX: &str = ".job-";
/// How Rust's allocator says that there is no memory, just before it aborts.
const NO_MEMORY: &str = "memory allocation of";

/// Runs each job in a process.
#[derive(Clone, Debug)]
pub struct WorkerRunner {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Where volumes go; it exists.
    pub folder: PathBuf,
    /// Where recordings go, on the same disk.
    pub recordings: PathBuf,
    /// What a worker may take.
    pub budget: WorkerBudget,
    /// A worker that says nothing for so long is taken for dead.
    pub silence: Duration,
}

impl WorkerRunner {
    /// Takes away what workers of a daemon that was killed left in the folder.
    ///
    /// # Errors
    /// [`ServiceError::Folder`].
    pub fn clear_left_over(&self) -> Result<(), ServiceError> {
        let failed = |doing| move |source| ServiceError::Folder { path: self.folder.clone(), doing, source };
        for entry in std::fs::read_dir(&self.folder).map_err(failed("listing it"))? {
            let entry = entry.map_err(failed("listing it"))?;
            if entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX) {
                std::fs::remove_dir_all(entry.path()).map_err(failed("clearing it of unfinished results"))?;
            }
        }
        Ok(())
    }

    fn start(&self, task: &Task, folder: &Path) -> std::io::Result<Worker> {
        let (child, socket) = ChildProcess::start(&self.command)?;
        let mut worker = Worker { child, socket, unread: Vec::new() };
        worker.socket.set_read_timeout(Some(LOOK))?;
        worker.socket.set_write_timeout(Some(GRACE))?;
        let (task, folder) = (task.clone(), folder.to_path_buf());
        match worker.tell(&Order::Begin { task, budget: self.budget, folder }) {
            // It died before it read: what became of it is heard as its end, with the reason.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            told => told?,
        }
        Ok(worker)
    }

    /// Puts the file of a worker in its place.
    fn take_over(&self, kind: JobKind, folder: &Path, file: &str) -> Result<PathBuf, JobFailure> {
        // A worker may have gone mad: it names a file of its own folder, and nothing else.
        let is_plain = Path::new(file).file_name().is_some_and(|name| name == file);
        if !is_plain {
            return Err(JobFailure::of(format!(
                "expected a plain file name from the worker, found {file:?}"
            )));
        }
        let place = match kind {
            JobKind::Reconstruct => self.folder.join(file),
            JobKind::Import => self.recordings.join(file),
        };
        std::fs::rename(folder.join(file), &place).map_err(|error| {
            JobFailure::of(format!("{}: the result cannot be put there: {error}", place.display()))
        })?;
        Ok(place)
    }
}

impl JobRunner for WorkerRunner {
    fn run(&self, task: &Task, step: &mut Step<'_>) -> Result<PathBuf, JobFailure> {
        let failed = |error: std::io::Error| JobFailure::of(format!("its worker cannot be started: {error}"));
        let folder =
            tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir_in(&self.folder).map_err(failed)?;
        let mut worker = self.start(task, folder.path()).map_err(failed)?;
        // Not the file of an import, which may be named after a patient.
        tracing::info!(worker = worker.child.id(), kind = task.kind.name(), "a job begins");
        let mut news = JobNews { process: worker.child.id(), ..JobNews::default() };
        let (mut heard, mut asked_to_stop) = (Instant::now(), None);
        loop {
            match worker.hear() {
                Ok(Heard::Event(event)) => {
                    heard = Instant::now();
                    match event {
                        Event::Alive => {}
                        Event::Progress { done, all } => (news.done, news.all) = (done, all),
                        Event::FirstVersion { file } => {
                            news.first_version = Some(self.take_over(task.kind, folder.path(), &file)?);
                        }
                        Event::Done { file } => {
                            worker.child.end();
                            return self.take_over(task.kind, folder.path(), &file);
                        }
                        Event::Failed { reason } => {
                            worker.child.end();
                            return Err(JobFailure::of(reason));
                        }
                    }
                }
                Ok(Heard::Nothing) if heard.elapsed() > self.silence => {
                    worker.child.kill();
                    let silent_s = self.silence.as_secs_f64();
                    let reason = format!("its worker gave no sign of life for {silent_s} s and was ended");
                    return Err(JobFailure::lost_worker(reason));
                }
                Ok(Heard::Nothing) => {}
                Ok(Heard::End) => return Err(worker.post_mortem(self.budget)),
                Err(error) => {
                    worker.child.kill();
                    return Err(JobFailure::of(format!("its worker cannot be understood: {error}")));
                }
            }
            if !step(&news) {
                let asked = *asked_to_stop.get_or_insert_with(|| {
                    // One that does not hear is ended below.
                    let _ = worker.tell(&Order::Stop);
                    Instant::now()
                });
                if asked.elapsed() > GRACE {
                    worker.child.kill();
                    return Err(JobFailure::of("its worker did not stop when asked and was ended".into()));
                }
            }
        }
    }
}

enum Heard {
    Event(Event),
    Nothing,
    End,
}

/// A worker's process; ended when dropped.
struct Worker {
    child: ChildProcess,
    socket: UnixStream,
    unread: Vec<u8>,
}

impl Worker {
    fn tell(&mut self, order: &Order) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }

    fn hear(&mut self) -> std::io::Result<Heard> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Heard::Event(serde_json::from_slice(&line)?));
            }
            if self.unread.len() > MOST_LINE_BYTES {
                return Err(std::io::Error::other("a line without an end"));
            }
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Ok(Heard::End),
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Killed with our words unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Heard::End),
                Err(error) => return Err(error),
            }
        }
    }

    /// Why a worker went without a word.
    fn post_mortem(&mut self, budget: WorkerBudget) -> JobFailure {
        let Some(status) = self.child.end() else {
            return JobFailure::lost_worker("its worker closed its socket and did not end".into());
        };
        let told = self.child.last_words();
        if told.contains(NO_MEMORY) {
            let allowed = budget
                .memory_bytes
                .map_or("what the system gives".into(), |bytes| format!("{} MiB as configured", bytes >> 20));
            return JobFailure::of(format!("memory: expected a need of at most {allowed}, found more"));
        }
        match (status.signal(), status.code()) {
            (Some(signal), _) => JobFailure::lost_worker(format!("its worker was ended by signal {signal}")),
            (None, code) => JobFailure::of(format!(
                "its worker ended without a result, exit status {}",
                code.map_or("unknown".into(), |code| code.to_string())
            )),
        }
    }
}
