//! What is looked at now and then: room on the disk, and whether the recorder can hold what it is asked to.

use crate::alarms::{Alarms, Severity};
use crate::capacity::RecorderCapacity;
use crate::clock::wall_now;
use crate::error::ServiceError;
use crate::incoming::Incoming;
use crate::jobs::{JobState, Jobs};
use crate::retention::{Retention, make_room};
use crate::runs::Runs;
use crate::stream::{RecordingState, Shared, StreamShape, lock};
use acquisition::calibrate::{MapsDoubt, doubts};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Below so much free disk nothing is recorded for long, bytes.
const NEARLY_FULL_BYTES: u64 = 256 << 20;

/// What housekeeping needs to know.
pub(crate) struct House {
    pub(crate) runs: Arc<Runs>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) streams: Vec<Arc<Shared>>,
    pub(crate) retention: Retention,
    pub(crate) low_disk_bytes: u64,
    pub(crate) capacity: Option<RecorderCapacity>,
    pub(crate) incoming: Option<Incoming>,
    /// Recordings taken away so far.
    pub(crate) retired: AtomicU64,
}

/// The thread that does it.
pub(crate) struct Housekeeping {
    stops: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeping {
    pub(crate) fn start(house: Arc<House>, every: Duration) -> Result<Self, ServiceError> {
        let stops = Arc::new((Mutex::new(false), Condvar::new()));
        let told = stops.clone();
        let work = move || {
            let mut stop = told.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stop {
                drop(stop);
                house.look();
                stop = told.0.lock().unwrap_or_else(PoisonError::into_inner);
                if !*stop {
                    stop = told.1.wait_timeout(stop, every).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        };
        let name = "housekeeping";
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .map_err(|source| ServiceError::Thread { name: name.into(), source })?;
        Ok(Self { stops, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn stop(&self) {
        *self.stops.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stops.1.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl House {
    fn look(&self) {
        let gone = make_room(&self.runs, self.retention, &self.in_use());
        self.retired.fetch_add(gone.len() as u64, Ordering::Relaxed);
        self.look_at_the_disk();
        self.look_at_the_recorders();
        self.look_at_the_dose();
        self.look_at_the_maps();
        if let Some(incoming) = &self.incoming {
            incoming.look(&self.runs, &self.jobs, &self.alarms);
        }
    }

    /// Maps grow old while the daemon runs. A device without any shows raw counts, and its frames say so.
    fn look_at_the_maps(&self) {
        for stream in &self.streams {
            let Some(rings) = stream.rings.get() else { continue };
            let found = doubts(&rings.description, wall_now()).into_iter();
            let against: Vec<String> =
                found.filter(|doubt| *doubt != MapsDoubt::Missing).map(|doubt| doubt.to_string()).collect();
            if against.is_empty() {
                self.alarms.clear(&stream.name, "maps");
            } else {
                self.alarms.raise(&stream.name, "maps", Severity::Warning, against.join("; "));
            }
        }
    }

    fn look_at_the_dose(&self) {
        for stream in &self.streams {
            match stream.dose() {
                Some(dose) if dose.is_signal_on => {
                    let text = format!(
                        "another five minutes of fluoroscopy: {:.1} in all",
                        dose.fluoroscopy_s / 60.0
                    );
                    self.alarms.raise(&stream.name, "fluoroscopy-time", Severity::Warning, text);
                }
                _ => self.alarms.clear(&stream.name, "fluoroscopy-time"),
            }
        }
    }

    /// Recordings that a job waits for or reads.
    fn in_use(&self) -> Vec<PathBuf> {
        let is_open = |state| matches!(state, JobState::Waiting | JobState::Running);
        let jobs = self.jobs.list().into_iter().filter(|job| is_open(job.state));
        jobs.filter_map(|job| Some(self.runs.get(&job.run).ok()?.path)).collect()
    }

    fn look_at_the_disk(&self) {
        let Some(free) = self.runs.free_bytes() else { return };
        let text = format!("{} MiB are free for recordings", free >> 20);
        if free < NEARLY_FULL_BYTES.min(self.low_disk_bytes) {
            self.alarms.clear("", "disk-low");
            self.alarms.raise("", "disk-full", Severity::Fault, text);
        } else if free < self.low_disk_bytes {
            self.alarms.clear("", "disk-full");
            self.alarms.raise("", "disk-low", Severity::Warning, text);
        } else {
            self.alarms.clear("", "disk-full");
            self.alarms.clear("", "disk-low");
        }
    }

    /// All streams that are recorded, beside what one recorder was measured to hold.
    fn look_at_the_recorders(&self) {
        let Some(capacity) = self.capacity else { return };
        for stream in &self.streams {
            let is_recorded = matches!(*lock(&stream.recording), RecordingState::On { .. });
            let needed = stream.shape().map_or(0.0, |shape| raw_bytes_per_s(&shape));
            if is_recorded && needed > capacity.raw_bytes_per_s {
                let text = format!(
                    "its frames are {:.0} MB/s, and the recorder was measured to hold {:.0} MB/s here: expect gaps",
                    needed * 1e-6,
                    capacity.raw_bytes_per_s * 1e-6
                );
                self.alarms.raise(&stream.name, "capacity", Severity::Warning, text);
            } else {
                self.alarms.clear(&stream.name, "capacity");
            }
        }
    }
}

/// What a stream's frames are before they are packed.
pub(crate) fn raw_bytes_per_s(shape: &StreamShape) -> f64 {
    (2 * shape.nu * shape.nv) as f64 * shape.frame_rate_hz
}
