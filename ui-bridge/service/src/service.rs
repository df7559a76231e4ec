//! The daemon as a whole.

use crate::alarms::{Alarm, Alarms, Severity};
use crate::capacity::RecorderCapacity;
use crate::driver::Driver;
use crate::error::ServiceError;
use crate::housekeeping::{House, Housekeeping};
use crate::incoming::Incoming;
use crate::jobs::{Job, JobClass, JobRunner, Jobs};
use crate::retention::Retention;
use crate::runs::{RunInfo, Runs};
use crate::stream::{Stream, StreamSettings, StreamStatus};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where the daemon keeps things.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Folder of the recordings.
    pub folder: PathBuf,
    /// Folder whose files become recordings as they come; it exists.
    pub incoming: Option<PathBuf>,
    /// How long recordings stay.
    pub retention: Retention,
    /// An alarm is raised when less of the disk is free, bytes.
    pub low_disk_bytes: u64,
    /// Whether to measure at the start what the recorder can hold: half a second, and as much of the disk's time.
    pub measures_recorder: bool,
    /// Room on the disk is looked at this often.
    pub housekeeping: Duration,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            incoming: None,
            retention: Retention::default(),
            low_disk_bytes: 4 << 30,
            measures_recorder: false,
            housekeeping: Duration::from_secs(2),
        }
    }
}

/// The daemon at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// Its version.
    pub version: &'static str,
    /// Since it started, s.
    pub uptime_s: f64,
    /// Bytes that are free for recordings.
    pub free_bytes: Option<u64>,
    /// What the recorder was measured to hold, where it was.
    pub recorder_capacity: Option<RecorderCapacity>,
    /// Old recordings taken away to make room.
    pub runs_retired: u64,
    /// Its streams.
    pub streams: Vec<StreamStatus>,
    /// Its jobs.
    pub jobs: Vec<Job>,
    /// Its alarms, those that are over included.
    pub alarms: Vec<Alarm>,
}

/// The running daemon.
pub struct Service {
    streams: Vec<Stream>,
    runs: Arc<Runs>,
    jobs: Arc<Jobs>,
    alarms: Arc<Alarms>,
    house: Arc<House>,
    housekeeping: Housekeeping,
    started: Instant,
}

impl Service {
    /// Starts every device's stream.
    ///
    /// # Errors
    /// [`ServiceError::Devices`] without devices or with two of one name; a folder that cannot be used.
    pub fn start(
        settings: &ServiceSettings,
        devices: Vec<(Box<dyn Driver>, StreamSettings)>,
        runner: impl JobRunner,
    ) -> Result<Self, ServiceError> {
        let names: BTreeSet<&str> = devices.iter().map(|(driver, _)| driver.name()).collect();
        if names.is_empty() || names.len() != devices.len() {
            let found: Vec<&str> = devices.iter().map(|(driver, _)| driver.name()).collect();
            return Err(ServiceError::Devices { found: format!("[{}]", found.join(", ")) });
        }
        let runs = Arc::new(Runs::open(&settings.folder)?);
        let alarms = Arc::new(Alarms::default());
        let jobs = Arc::new(Jobs::start(runner, alarms.clone())?);
        let capacity = if settings.measures_recorder { measure(&settings.folder, &alarms) } else { None };
        let streams = devices
            .into_iter()
            .map(|(driver, settings)| Stream::start(driver, settings, &alarms, &runs, &jobs))
            .collect::<Result<Vec<_>, _>>()?;
        let house = Arc::new(House {
            runs: runs.clone(),
            jobs: jobs.clone(),
            alarms: alarms.clone(),
            streams: streams.iter().map(Stream::shared).collect(),
            retention: settings.retention,
            low_disk_bytes: settings.low_disk_bytes,
            capacity,
            incoming: settings.incoming.clone().map(Incoming::new),
            retired: AtomicU64::new(0),
        });
        let housekeeping = Housekeeping::start(house.clone(), settings.housekeeping)?;
        Ok(Self { streams, runs, jobs, alarms, house, housekeeping, started: Instant::now() })
    }

    /// Its streams.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// A stream by its name.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`].
    pub fn stream(&self, name: &str) -> Result<&Stream, ServiceError> {
        self.streams.iter().find(|stream| stream.name() == name).ok_or_else(|| ServiceError::Unknown {
            kind: "stream",
            known: self.streams.iter().map(Stream::name).collect::<Vec<_>>().join(", "),
            found: name.into(),
        })
    }

    /// Its recordings.
    pub fn runs(&self) -> Vec<RunInfo> {
        self.runs.list()
    }

    /// Marks a recording to be kept, or takes the mark away.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`]; a mark that cannot be written.
    pub fn keep_run(&self, run: &str, is_kept: bool) -> Result<RunInfo, ServiceError> {
        self.runs.keep(run, is_kept)
    }

    /// Its jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Asks for the volume of a recording; gives the job's number.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`]; too many jobs waiting.
    pub fn reconstruct(&self, run: &str) -> Result<u64, ServiceError> {
        let run = self.runs.get(run)?;
        self.jobs.reconstruct(&run.id, &run.path, JobClass::Other)
    }

    /// Its alarms.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// How it is now.
    pub fn status(&self) -> ServiceStatus {
        ServiceStatus {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs_f64(),
            free_bytes: self.runs.free_bytes(),
            recorder_capacity: self.house.capacity,
            runs_retired: self.house.retired.load(Ordering::Relaxed),
            streams: self.streams.iter().map(Stream::status).collect(),
            jobs: self.jobs.list(),
            alarms: self.alarms.list(),
        }
    }

    /// Lets the devices go, closes the recordings and ends the jobs.
    pub fn stop(&self) {
        self.housekeeping.stop();
        self.streams.iter().for_each(Stream::tell_to_stop);
        self.streams.iter().for_each(Stream::wait_for_end);
        self.jobs.stop();
    }
}

/// A folder that cannot be written is no reason not to show live images.
fn measure(folder: &Path, alarms: &Alarms) -> Option<RecorderCapacity> {
    match RecorderCapacity::measure(folder) {
        Ok(capacity) => {
            let mb_per_s = capacity.raw_bytes_per_s * 1e-6;
            tracing::info!(mb_per_s, packed_share = capacity.packed_share, "the recorder was measured");
            Some(capacity)
        }
        Err(error) => {
            let text = format!("the recorder cannot write: {error}");
            alarms.raise("", "capacity", Severity::Fault, text);
            None
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}
