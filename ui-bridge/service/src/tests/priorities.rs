//! Who runs in real time, as the kernel tells.

use super::devices::{Act, Panel};
use super::{service, wait_for};
use crate::StreamSettings;

/// Policies (`sched.h`) of this process's threads whose name begins so.
fn policies(beginning: &str) -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let policy = |stat: String| {
        let (front, rest) = stat.rsplit_once(')')?;
        let name = front.split_once('(')?.1;
        // proc(5): the name is field 2, the policy field 41.
        name.starts_with(beginning).then(|| rest.split_whitespace().nth(38)?.parse().ok())?
    };
    stats.filter_map(policy).collect()
}

#[test]
fn recorder_does_not_inherit_the_priority_of_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StreamSettings { real_time: true, ..StreamSettings::default() };
    let service = service(folder.path(), Panel::new(vec![vec![Act::Forever]]), settings);
    let status = wait_for(&service, "real time asked for", |status| {
        status.ledger.shown > 0 && status.real_time != "not asked for"
    });
    let recorders = policies("recorder ");
    assert!(!recorders.is_empty() && recorders.iter().all(|policy| *policy == 0), "{recorders:?}");
    if status.real_time == "granted" {
        for beginning in ["device ", "live "] {
            let found = policies(beginning);
            assert!(found.contains(&1), "{beginning}: {found:?}");
        }
    }
    service.stop();
}
