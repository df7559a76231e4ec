//! The recordings: those in the folder when the daemon started, and those made since.

use crate::clock::{utc_stamp, wall_now};
use crate::error::ServiceError;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

/// How a recording stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Being written.
    Recording,
    /// All that was planned, or stopped as asked.
    Complete,
    /// The operator let go.
    Aborted,
    /// It failed; the reason. What was written stays readable.
    Faulted(String),
    /// Found in the folder.
    Stored,
}

impl RunState {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Faulted(_) => "faulted",
            Self::Stored => "stored",
        }
    }
}

/// One recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    /// The file's name without its ending.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// Whether it is a spin, from which a volume can be made.
    pub is_spin: bool,
    /// How it stands.
    pub state: RunState,
    /// When it was begun, or last changed if found in the folder, ns since 1970.
    pub started_unix_ns: u64,
    /// Frames written; zero for one found in the folder, which nobody has read yet.
    pub frames: u64,
    /// Numbers missing in it.
    pub lost: u64,
    /// Size, once finished.
    pub bytes: u64,
    /// BLAKE3 over numbers and counts of its frames, once finished.
    pub content_hash: String,
    /// Marked to be kept: never taken away to make room.
    pub is_kept: bool,
}

/// The folder of recordings.
#[derive(Debug)]
pub struct Runs {
    folder: PathBuf,
    list: Mutex<Vec<RunInfo>>,
}

impl Runs {
    /// Makes the folder where there is none, and lists what lies there.
    ///
    /// # Errors
    /// [`ServiceError::Folder`].
    pub fn open(folder: &Path) -> Result<Self, ServiceError> {
        let failed = |doing| move |source| ServiceError::Folder { path: folder.to_path_buf(), doing, source };
        std::fs::create_dir_all(folder).map_err(failed("making it"))?;
        let mut list = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed("listing it"))? {
            let path = entry.map_err(failed("listing it"))?.path();
            list.extend(found(&path));
        }
        list.sort_by_key(|run| (run.started_unix_ns, run.id.clone()));
        Ok(Self { folder: folder.to_path_buf(), list: Mutex::new(list) })
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<RunInfo> {
        self.lock().clone()
    }

    /// One by its name.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`].
    pub fn get(&self, id: &str) -> Result<RunInfo, ServiceError> {
        let list = self.lock();
        list.iter().find(|run| run.id == id).cloned().ok_or_else(|| {
            let newest = list.iter().rev().take(5).map(|run| run.id.as_str()).collect::<Vec<_>>();
            ServiceError::Unknown { kind: "run", known: newest.join(", "), found: id.into() }
        })
    }

    /// Marks a recording to be kept, or takes the mark away. The mark is a file beside it, so that it lasts.
    ///
    /// # Errors
    /// [`ServiceError::Unknown`]; a mark that cannot be written.
    pub fn keep(&self, id: &str, is_kept: bool) -> Result<RunInfo, ServiceError> {
        let run = self.get(id)?;
        let mark = keep_mark(&run.path);
        let marked = if is_kept { std::fs::write(&mark, "") } else { std::fs::remove_file(&mark) };
        match marked {
            Err(source) if is_kept || source.kind() != ErrorKind::NotFound => {
                return Err(ServiceError::Folder { path: mark, doing: "marking a run to be kept", source });
            }
            _ => {}
        }
        let mut list = self.lock();
        let known = list.iter_mut().find(|known| known.id == id);
        Ok(known.map_or(run, |known| {
            known.is_kept = is_kept;
            known.clone()
        }))
    }

    /// Bytes that are free for recordings; none where the system does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        let room = rustix::fs::statvfs(&self.folder).ok()?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// A name and a file that no recording has yet.
    pub(crate) fn name_new(&self, stream: &str, is_spin: bool) -> RunInfo {
        let now = wall_now();
        let list = self.lock();
        let stem = format!("{stream}-{}{}", utc_stamp(now), if is_spin { "-spin" } else { "" });
        let names = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
        let is_free = |id: &String| {
            list.iter().all(|run| run.id != *id) && !self.folder.join(format!("{id}.mcap")).exists()
        };
        let id = names.into_iter().find(is_free).expect("one of endless names is free");
        RunInfo {
            path: self.folder.join(format!("{id}.mcap")),
            id,
            is_spin,
            state: RunState::Recording,
            started_unix_ns: now.0,
            frames: 0,
            lost: 0,
            bytes: 0,
            content_hash: String::new(),
            is_kept: false,
        }
    }

    /// Adds a recording or replaces what is known of it.
    pub(crate) fn put(&self, run: RunInfo) {
        let mut list = self.lock();
        match list.iter_mut().find(|known| known.id == run.id) {
            // Whoever writes the run knows nothing of the mark.
            Some(known) => *known = RunInfo { is_kept: known.is_kept, ..run },
            None => list.push(run),
        }
    }

    /// Where they lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Forgets a recording that came to nothing.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().retain(|run| run.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RunInfo>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file that says that a recording is to be kept.
fn keep_mark(run: &Path) -> PathBuf {
    run.with_extension("keep")
}

/// What can be told of a file without reading it; none for one that is no recording.
pub(crate) fn found(path: &Path) -> Option<RunInfo> {
    if path.extension()? != "mcap" {
        return None;
    }
    let id = path.file_stem()?.to_str()?.to_owned();
    let about = std::fs::metadata(path).ok()?;
    let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Some(RunInfo {
        is_spin: id.contains("-spin"),
        id,
        path: path.to_path_buf(),
        state: RunState::Stored,
        started_unix_ns: changed.map_or(0, |since| since.as_nanos() as u64),
        frames: 0,
        lost: 0,
        bytes: about.len(),
        content_hash: String::new(),
        is_kept: keep_mark(path).exists(),
    })
}
