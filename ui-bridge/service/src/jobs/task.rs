//! What a job is asked to do, and how daemon and worker speak of it: one JSON object a line on a socket pair.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest line that either side takes.
pub(super) const MOST_LINE_BYTES: usize = 64 << 10;

/// What is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// A volume of a recording.
    Reconstruct,
    /// A recording of a file that came from elsewhere.
    Import,
}

impl JobKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconstruct => "reconstruct",
            Self::Import => "import",
        }
    }
}

/// Who goes first. Live images come before either and run elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobClass {
    /// The volume of a spin, made while it turns: somebody stands and waits for it.
    Spin,
    /// Anything else; gives way to a spin's and begins again after it.
    Other,
}

/// One job as its worker gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What is to be made.
    pub kind: JobKind,
    /// How much it matters.
    pub class: JobClass,
    /// The recording, or for an import the file, that it is made of.
    pub run: PathBuf,
}

/// What a worker may take of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBudget {
    /// Threads; by default one a core.
    pub threads: Option<usize>,
    /// Memory of its own, bytes; by default not limited.
    pub memory_bytes: Option<u64>,
}

/// From the daemon to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The first line.
    Begin {
        task: Task,
        budget: WorkerBudget,
        /// A folder for the result, which is the worker's alone.
        folder: PathBuf,
    },
    /// End at the next step.
    Stop,
}

/// From a worker to the daemon.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// It lives; told twice a second, from a thread that does nothing else.
    Alive,
    /// Steps done and in all.
    Progress { done: u64, all: u64 },
    /// A first version of the result is there, by its name in the worker's folder; a better one follows.
    FirstVersion { file: String },
    /// The result's name in its folder.
    Done { file: String },
    /// It could not be made.
    Failed { reason: String },
}
