//! A process that the daemon started and answers for: one end of a socket pair as its standard input, its words kept, its
//! whole group ended with it.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One that has said its last word may take so long to end.
const GRACE: Duration = Duration::from_secs(3);
/// What is kept of its standard error.
const MOST_TOLD_BYTES: usize = 4096;

/// Ended when dropped.
pub(crate) struct ChildProcess {
    child: Child,
    told: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl ChildProcess {
    /// Starts a program with its arguments; gives our end of its socket, too.
    pub(crate) fn start(command: &[OsString]) -> std::io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let (program, arguments) = command.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal is the daemon's to hear.
            .process_group(0)
            .spawn()?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = child.stderr.take().map(|stderr| {
            let told = told.clone();
            std::thread::spawn(move || keep_last(stderr, &told))
        });
        Ok((Self { child, told, listener }, ours))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Its whole group, while its number is still its own; it may be gone already.
        if let (Ok(None), Some(group)) = (self.child.try_wait(), group) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Waits for one that has said its last word; none for one that had to be ended.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        None
    }

    /// The last of what it said on standard error, once it has ended.
    pub(crate) fn last_words(&mut self) -> String {
        if let Some(listener) = self.listener.take() {
            // A panic of that thread loses some words at most.
            let _ = listener.join();
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&told).into_owned()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Hands its words on to the log and keeps the last ones.
fn keep_last(mut stderr: impl Read, told: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 1024];
    while let Ok(count) = stderr.read(&mut bytes) {
        if count == 0 {
            return;
        }
        tracing::warn!("a process says: {}", String::from_utf8_lossy(&bytes[..count]).trim_end());
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.extend_from_slice(&bytes[..count]);
        let excess = told.len().saturating_sub(MOST_TOLD_BYTES);
        told.drain(..excess);
    }
}
