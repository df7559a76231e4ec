//! The daemon as a whole.

use crate::alarms::{Alarm, Alarms};
use crate::driver::Driver;
use crate::error::ServiceError;
use crate::jobs::{Job, JobRunner, Jobs};
use crate::runs::{RunInfo, Runs};
use crate::stream::{Stream, StreamSettings, StreamStatus};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Where the daemon keeps things.
#[derive(Clone, Debug, Default)]
pub struct ServiceSettings {
    /// Folder of the recordings.
    pub folder: PathBuf,
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
        let jobs = Arc::new(Jobs::start(runner)?);
        let alarms = Arc::new(Alarms::default());
        let streams = devices
            .into_iter()
            .map(|(driver, settings)| Stream::start(driver, settings, &alarms, &runs, &jobs))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { streams, runs, jobs, alarms, started: Instant::now() })
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
        self.jobs.reconstruct(&run.id, &run.path)
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
            streams: self.streams.iter().map(Stream::status).collect(),
            jobs: self.jobs.list(),
            alarms: self.alarms.list(),
        }
    }

    /// Lets the devices go, closes the recordings and ends the jobs.
    pub fn stop(&self) {
        self.streams.iter().for_each(Stream::tell_to_stop);
        self.streams.iter().for_each(Stream::wait_for_end);
        self.jobs.stop();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}
