//! The worker's side: it hears one order, keeps within its budget, tells how far it is, and ends.

use super::task::{Event, JobClass, MOST_LINE_BYTES, Order, Task, WorkerBudget};
use rustix::process::{Resource, Rlimit, Signal};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A sign of life this often.
const BEAT: Duration = Duration::from_millis(500);
/// How much a worker gives way, by class.
const NICE_SPIN: i32 = 5;
const NICE_OTHER: i32 = 15;
/// When memory runs out the kernel takes workers first (-1000 to 1000).
const OUT_OF_MEMORY_SCORE: &str = "900";
/// What a worker ends with when the daemon is gone.
const ORPHANED: i32 = 3;

/// The daemon, as a worker speaks to it.
pub struct ToDaemon {
    socket: Arc<Mutex<UnixStream>>,
    stops: Arc<AtomicBool>,
}

impl ToDaemon {
    /// Tells how far the work is; gives whether to go on.
    pub fn step(&self, done: u64, all: u64) -> bool {
        tell(&self.socket, &Event::Progress { done, all }).is_ok() && !self.stops.load(Ordering::Acquire)
    }

    /// Hands over a first version of the result, by its file name in the worker's folder. A daemon that is gone ends the
    /// worker elsewhere.
    pub fn first_version(&self, file: String) {
        let _ = tell(&self.socket, &Event::FirstVersion { file });
    }
}

/// Does the one job that the daemon orders on `socket`: `work` gets the task, the folder for its result, the budget and
/// whom to tell how far it is; it gives the result's file name in that folder, or why not.
///
/// # Errors
/// A socket that does not speak as the daemon does.
pub fn attend(
    socket: UnixStream,
    work: impl FnOnce(&Task, &Path, WorkerBudget, &ToDaemon) -> Result<String, String>,
) -> std::io::Result<()> {
    let mut orders = BufReader::new(socket.try_clone()?);
    let Order::Begin { task, budget, folder } = next_order(&mut orders)? else {
        return Err(std::io::Error::other("expected a job, found an order to stop"));
    };
    keep_within(budget, task.class);
    let speaker = Arc::new(Mutex::new(socket));
    let stops = Arc::new(AtomicBool::new(false));
    spawn("heartbeat", {
        let speaker = speaker.clone();
        move || {
            while tell(&speaker, &Event::Alive).is_ok() {
                std::thread::sleep(BEAT);
            }
        }
    })?;
    spawn("orders", {
        let stops = stops.clone();
        move || match next_order(&mut orders) {
            Ok(_) => stops.store(true, Ordering::Release),
            // Nobody is left to work for.
            Err(_) => std::process::exit(ORPHANED),
        }
    })?;
    let daemon = ToDaemon { socket: speaker.clone(), stops };
    let made = contained(|| work(&task, &folder, budget, &daemon));
    let event = match made {
        Ok(file) => Event::Done { file },
        Err(reason) => Event::Failed { reason },
    };
    tell(&speaker, &event)
}

/// A panic becomes a reason that says where and not with which words, which might quote what was read.
fn contained(work: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    let place = Arc::new(Mutex::new(String::new()));
    let (noted, before) = (place.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(location) = panic.location() {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = format!(" at {location}");
        }
    }));
    let made = std::panic::catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(before);
    made.unwrap_or_else(|_| {
        Err(format!("its worker panicked{}", place.lock().unwrap_or_else(PoisonError::into_inner)))
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

fn next_order(orders: &mut BufReader<UnixStream>) -> std::io::Result<Order> {
    let mut line = Vec::new();
    orders.by_ref().take(MOST_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

fn tell(speaker: &Mutex<UnixStream>, event: &Event) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    speaker.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
}

/// What the system does not grant is told on standard error; the job goes on without.
fn keep_within(budget: WorkerBudget, class: JobClass) {
    let told = |what: &str, result: Result<(), std::io::Error>| {
        if let Err(error) = result {
            eprintln!("worker: {what}: {error}");
        }
    };
    // It goes with the daemon, even one that was killed.
    let with_daemon = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    told("it may outlive the daemon", with_daemon.map_err(Into::into));
    let nice = if class == JobClass::Spin { NICE_SPIN } else { NICE_OTHER };
    told(
        "it runs at the daemon's priority",
        rustix::process::setpriority_process(None, nice).map_err(Into::into),
    );
    told(
        "no preference when memory runs out",
        std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE),
    );
    if let Some(bytes) = budget.memory_bytes {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        let limited = rustix::process::setrlimit(Resource::Data, limit);
        told("its memory is not limited", limited.map_err(Into::into));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_becomes_a_reason_with_its_place_and_without_its_words() {
        let reason = contained(|| panic!("the patient's name")).unwrap_err();
        assert!(reason.contains("panicked at") && reason.contains("attend.rs"), "{reason}");
        assert!(!reason.contains("name"), "{reason}");
        assert_eq!(contained(|| Ok("file".into())), Ok("file".into()));
    }
}
