//! A watched folder: each file that comes into it becomes a recording.
//!
//! A file is taken once it has stopped growing. A worker process makes the recording, so that a file which no reader
//! survives costs the daemon nothing; the file then goes to `taken` in the folder, or to `refused`. None is deleted.

use crate::alarms::{Alarms, Severity};
use crate::jobs::{Job, JobState, Jobs};
use crate::runs::{Runs, found};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file that has not changed for so long is whole.
const SETTLED: Duration = Duration::from_secs(3);
/// Where files go.
const TAKEN: &str = "taken";
const REFUSED: &str = "refused";

/// The folder, and the files whose jobs are not over.
pub(crate) struct Incoming {
    folder: PathBuf,
    open: Mutex<HashMap<PathBuf, u64>>,
}

impl Incoming {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// Puts away what is done, and asks for what has come.
    pub(crate) fn look(&self, runs: &Runs, jobs: &Jobs, alarms: &Alarms) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let list = jobs.list();
        open.retain(|file, id| {
            let job = list.iter().find(|job| job.id == *id);
            let is_open = job.is_some_and(|job| matches!(job.state, JobState::Waiting | JobState::Running));
            if !is_open {
                self.put_away(file, job, runs, alarms);
            }
            is_open
        });
        let files = match self.settled() {
            Ok(files) => files,
            Err(error) => {
                let text = format!("{}: cannot be looked at: {error}", self.folder.display());
                return alarms.raise("", "incoming-folder", Severity::Fault, text);
            }
        };
        alarms.clear("", "incoming-folder");
        for file in files {
            if let Entry::Vacant(place) = open.entry(file) {
                // When too many jobs wait, the next look finds it again.
                let Ok(id) = jobs.import(place.key()) else { break };
                place.insert(id);
            }
        }
    }

    /// Plain files that have stopped growing, in the order of their names.
    fn settled(&self) -> std::io::Result<Vec<PathBuf>> {
        let is_settled = |about: &Metadata| {
            let age = about.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            about.is_file() && age.is_some_and(|age| age >= SETTLED)
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !is_hidden && entry.metadata().is_ok_and(|about| is_settled(&about)) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn put_away(&self, file: &Path, job: Option<&Job>, runs: &Runs, alarms: &Alarms) {
        let recording = job.and_then(|job| job.result.as_deref()).and_then(found);
        let is_taken = recording.is_some();
        if let Some(recording) = recording {
            runs.put(recording);
        } else {
            let id = job.map_or_else(String::new, |job| format!(" (job {})", job.id));
            let text =
                format!("a file did not become a recording{id} and lies in {REFUSED}: see the list of jobs");
            alarms.raise("", "incoming", Severity::Warning, text);
        }
        if let Err(error) = self.move_to(if is_taken { TAKEN } else { REFUSED }, file) {
            let text = format!("{}: a file cannot be moved: {error}", self.folder.display());
            alarms.raise("", "incoming-folder", Severity::Fault, text);
        }
    }

    fn move_to(&self, place: &str, file: &Path) -> std::io::Result<()> {
        let place = self.folder.join(place);
        std::fs::create_dir_all(&place)?;
        let name = file.file_name().unwrap_or_default();
        let names = std::iter::once(name.to_owned()).chain((2..).map(|n| {
            let mut other = name.to_owned();
            other.push(format!(".{n}"));
            other
        }));
        let target = names.map(|name| place.join(name)).find(|target| !target.exists());
        std::fs::rename(file, target.expect("one of endless names is free"))
    }
}
