//! Room for new recordings: the oldest ones go, where the configuration says so, and never one that is marked to be kept.

use crate::runs::{RunInfo, RunState, Runs};
use std::path::{Path, PathBuf};

/// How long recordings stay. By default for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// All recordings together take at most so many bytes.
    pub most_bytes: Option<u64>,
    /// So many bytes of the disk stay free.
    pub free_bytes: Option<u64>,
}

/// Takes the oldest recordings away until there is room as configured; gives those that went.
///
/// Those being written, those marked to be kept and those `in_use` stay, however full the disk is.
pub(crate) fn make_room(runs: &Runs, retention: Retention, in_use: &[PathBuf]) -> Vec<RunInfo> {
    let mut gone = Vec::new();
    for run in runs.list() {
        if !is_room_missing(runs, retention) {
            break;
        }
        let may_go = run.state != RunState::Recording && !run.is_kept && !in_use.contains(&run.path);
        if !may_go {
            continue;
        }
        match std::fs::remove_file(&run.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(%error, run = run.id, "an old recording cannot be taken away");
            }
            _ => {
                tracing::warn!(run = run.id, bytes = run.bytes, "taken away to make room");
                runs.forget(&run.id);
                gone.push(run);
            }
        }
    }
    gone
}

fn is_room_missing(runs: &Runs, retention: Retention) -> bool {
    let is_too_much = retention.most_bytes.is_some_and(|most| taken_bytes(runs.folder()) > most);
    let free = runs.free_bytes();
    let is_too_full = retention.free_bytes.zip(free).is_some_and(|(wanted, free)| free < wanted);
    is_too_much || is_too_full
}

/// What the recordings take of the disk: as it is, and not as it was when each was finished.
fn taken_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let runs = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "mcap"));
    runs.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// Runs `a` to `e`, 1000 bytes each, `a` the oldest.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (age, name) in ["e", "d", "c", "b", "a"].iter().enumerate() {
            let path = folder.path().join(format!("{name}.mcap"));
            std::fs::write(&path, vec![0; 1000]).unwrap();
            let then = SystemTime::now() - Duration::from_secs(60 * (age as u64 + 1));
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        }
        folder
    }

    fn ids(runs: &[RunInfo]) -> Vec<&str> {
        runs.iter().map(|run| run.id.as_str()).collect()
    }

    #[test]
    fn retention_takes_the_oldest_and_never_what_is_kept_or_in_use() {
        let folder = folder();
        let runs = Runs::open(folder.path()).unwrap();
        assert!(make_room(&runs, Retention::default(), &[]).is_empty(), "only where configured");
        runs.keep("a", true).unwrap();
        let most = Retention { most_bytes: Some(3000), free_bytes: None };
        let in_use = [folder.path().join("b.mcap")];
        assert_eq!(ids(&make_room(&runs, most, &in_use)), ["c", "d"]);
        assert_eq!(ids(&runs.list()), ["a", "b", "e"]);
        assert!(!folder.path().join("c.mcap").exists() && folder.path().join("a.mcap").exists());
        // The mark lasts: another daemon finds it.
        let again = Runs::open(folder.path()).unwrap();
        let nothing_left = Retention { most_bytes: Some(0), free_bytes: None };
        assert_eq!(ids(&make_room(&again, nothing_left, &[])), ["b", "e"]);
        again.keep("a", false).unwrap();
        assert_eq!(ids(&make_room(&again, nothing_left, &[])), ["a"]);
    }

    #[test]
    fn retention_keeps_the_disk_free_and_leaves_what_is_being_written() {
        let folder = folder();
        let runs = Runs::open(folder.path()).unwrap();
        let recording = RunInfo { state: RunState::Recording, ..runs.get("c").unwrap() };
        runs.put(recording);
        let all = Retention { most_bytes: None, free_bytes: Some(u64::MAX) };
        assert_eq!(ids(&make_room(&runs, all, &[])), ["a", "b", "d", "e"]);
        assert_eq!(ids(&runs.list()), ["c"]);
    }
}
