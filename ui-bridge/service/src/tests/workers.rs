//! Workers that die, fall silent, babble or are ended: shell scripts that speak the protocol, or do not.

use super::devices::{Act, Panel};
use crate::{
    JobClass, JobFailure, JobKind, JobRunner, JobState, Service, ServiceSettings, StreamSettings, Task,
    WorkerBudget, WorkerRunner,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// A worker that is a shell script; its standard input is the socket, on which it also answers.
fn runner(folder: &Path, script: &str) -> WorkerRunner {
    let command = ["sh", "-c", script].map(Into::into).to_vec();
    let budget = WorkerBudget { threads: None, memory_bytes: Some(64 << 20) };
    let (folder, recordings) = (folder.to_path_buf(), folder.join("runs"));
    WorkerRunner { command, folder, recordings, budget, silence: Duration::from_millis(700) }
}

fn run(folder: &Path, script: &str) -> Result<std::path::PathBuf, JobFailure> {
    let task = Task { kind: JobKind::Reconstruct, class: JobClass::Other, run: folder.join("run.mcap") };
    let made = runner(folder, script).run(&task, &mut |_| true);
    let left = std::fs::read_dir(folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".job-"));
    assert_eq!(left.count(), 0, "no worker's folder stays");
    made
}

/// Takes the folder out of the order.
const FOLDER: &str = r#"read order; folder=$(echo "$order" | sed 's/.*"folder":"\([^"]*\)".*/\1/'); "#;

#[test]
fn worker_that_makes_a_file_has_it_put_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        r#"{FOLDER} echo '{{"progress":{{"done":1,"all":2}}}}' >&0; echo volume > "$folder/v.nii.gz"; echo '{{"done":{{"file":"v.nii.gz"}}}}' >&0"#
    );
    assert_eq!(run(folder.path(), &script), Ok(folder.path().join("v.nii.gz")));
    assert_eq!(std::fs::read_to_string(folder.path().join("v.nii.gz")).unwrap(), "volume\n");
}

#[test]
fn worker_that_dies_falls_silent_or_babbles_is_a_failure_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let reason = |script: &str| {
        let JobFailure { reason, is_worker_lost } = run(folder.path(), script).unwrap_err();
        (reason, is_worker_lost)
    };
    assert_eq!(reason("read order; kill -9 $$"), ("its worker was ended by signal 9".into(), true));
    assert_eq!(reason("kill -SEGV $$"), ("its worker was ended by signal 11".into(), true));
    assert_eq!(reason("exit 7"), ("its worker ended without a result, exit status 7".into(), false));
    let (silent, is_lost) = reason("read order; kill -STOP $$");
    assert!(silent.contains("no sign of life for 0.7 s") && is_lost, "{silent}");
    assert!(reason("read order; exec >&0; yes").0.contains("cannot be understood"));
    let endless = "read order; exec 3>&0; head -c 200000 /dev/zero | tr '\\0' x >&3; sleep 5";
    assert!(reason(endless).0.contains("a line without an end"));
    let memory = "read order; echo memory allocation of 12 bytes failed >&2; kill -ABRT $$";
    assert_eq!(
        reason(memory),
        ("memory: expected a need of at most 64 MiB as configured, found more".into(), false)
    );
    let said = r#"read order; echo '{"failed":{"reason":"no views"}}' >&0"#;
    assert_eq!(reason(said), ("no views".into(), false));
    let outside = r#"read order; echo '{"done":{"file":"../../etc/passwd"}}' >&0"#;
    assert!(reason(outside).0.contains("expected a plain file name"));
}

#[test]
fn worker_that_does_not_stop_when_asked_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"read order; while true; do echo '"alive"' >&0; sleep 0.1; done"#;
    let task = Task { kind: JobKind::Reconstruct, class: JobClass::Other, run: "run.mcap".into() };
    let begun = Instant::now();
    let failure = runner(folder.path(), script).run(&task, &mut |_| false).unwrap_err();
    assert!(failure.reason.contains("did not stop when asked"), "{failure:?}");
    assert!(begun.elapsed() > Duration::from_secs(2), "it had its time to stop");
}

/// A service whose jobs are done by a script, and whose live images go on meanwhile.
fn service(folder: &Path, script: &str) -> Service {
    let panel: Box<dyn crate::Driver> = Box::new(Panel::new(vec![vec![Act::Forever]]));
    let settings = ServiceSettings { folder: folder.join("runs"), ..ServiceSettings::default() };
    Service::start(&settings, vec![(panel, StreamSettings::default())], runner(folder, script)).unwrap()
}

fn wait_for_job(service: &Service, id: u64, state: JobState) -> crate::Job {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let jobs = service.jobs().list();
        let job = jobs.iter().find(|job| job.id == id).unwrap();
        if job.state == state {
            return job.clone();
        }
        assert!(Instant::now() < deadline, "{jobs:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_worker_is_begun_anew_once_and_images_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        r#"{FOLDER} if mkdir {0}/once 2>/dev/null; then kill -9 $$; fi; touch "$folder/v"; echo '{{"done":{{"file":"v"}}}}' >&0"#,
        folder.path().display()
    );
    let service = service(folder.path(), &script);
    let id = service.jobs().reconstruct("a", &folder.path().join("a"), JobClass::Other).unwrap();
    let job = wait_for_job(&service, id, JobState::Done);
    assert_eq!((job.restarts, job.error, job.process), (1, None, None));
    let status = super::wait_for(&service, "images", |status| status.ledger.shown > 20);
    assert_eq!((status.ledger.lost, status.ledger.stalls), (0, 0));
}

#[test]
fn worker_killed_each_time_fails_the_job_and_raises_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), "read order; kill -9 $$");
    let id = service.jobs().reconstruct("a", &folder.path().join("a"), JobClass::Other).unwrap();
    let job = wait_for_job(&service, id, JobState::Failed);
    assert_eq!((job.restarts, job.error.as_deref()), (1, Some("its worker was ended by signal 9")));
    assert!(service.alarms().list().iter().any(|alarm| alarm.kind == "jobs" && alarm.is_active()));
}

#[test]
fn spin_goes_first_and_what_ran_for_others_begins_again_after_it() {
    let folder = tempfile::tempdir().unwrap();
    // Works on "slow" until it is told to stop, unless the spin was made before; anything else is done at once.
    let script = format!(
        r#"{FOLDER} case "$order" in *slow*) if [ ! -e {0}/spin ]; then echo '{{"progress":{{"done":1,"all":9}}}}' >&0; read stop; exit 1; fi; f=slow;; *) f=spin;; esac; touch "$folder/$f"; echo "{{\"done\":{{\"file\":\"$f\"}}}}" >&0"#,
        folder.path().display()
    );
    let mut slow = runner(folder.path(), &script);
    // It says nothing while it waits.
    slow.silence = Duration::from_secs(20);
    let panel: Box<dyn crate::Driver> = Box::new(Panel::new(vec![vec![Act::Forever]]));
    let settings = ServiceSettings { folder: folder.path().join("runs"), ..ServiceSettings::default() };
    let service = Service::start(&settings, vec![(panel, StreamSettings::default())], slow).unwrap();
    let other = service.jobs().reconstruct("slow", Path::new("slow"), JobClass::Other).unwrap();
    wait_for_job(&service, other, JobState::Running);
    let spin = service.jobs().reconstruct("quick", Path::new("quick"), JobClass::Spin).unwrap();
    // What is asked for after it changes nothing.
    service.jobs().reconstruct("quick too", Path::new("quick"), JobClass::Other).unwrap();
    wait_for_job(&service, spin, JobState::Done);
    let job = wait_for_job(&service, other, JobState::Done);
    assert_eq!(job.restarts, 0, "giving way is no fault");
}

#[test]
fn first_version_is_there_while_the_last_is_made_and_the_next_spin_goes_before_that() {
    let folder = tempfile::tempdir().unwrap();
    // "first" hands over a first version and refines it until it is told to stop, unless the next spin was made before.
    let script = format!(
        r#"{FOLDER} case "$order" in *first*) f=first; if [ ! -e {0}/next ]; then echo 1 > "$folder/$f"; echo '{{"first-version":{{"file":"first"}}}}' >&0; read stop; exit 1; fi;; *) f=next;; esac; echo 2 > "$folder/$f"; echo "{{\"done\":{{\"file\":\"$f\"}}}}" >&0"#,
        folder.path().display()
    );
    let mut refining = runner(folder.path(), &script);
    // It says nothing while it waits.
    refining.silence = Duration::from_secs(20);
    let panel: Box<dyn crate::Driver> = Box::new(Panel::new(vec![vec![Act::Forever]]));
    let settings = ServiceSettings { folder: folder.path().join("runs"), ..ServiceSettings::default() };
    let service = Service::start(&settings, vec![(panel, StreamSettings::default())], refining).unwrap();
    let version = || std::fs::read_to_string(folder.path().join("first")).unwrap();
    let first = service.jobs().reconstruct("first", Path::new("first"), JobClass::Spin).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while service.jobs().list()[0].result != Some(folder.path().join("first")) {
        assert!(Instant::now() < deadline, "{:?}", service.jobs().list());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((version().as_str(), service.jobs().list()[0].state), ("1\n", JobState::Running));
    let next = service.jobs().reconstruct("next", Path::new("next"), JobClass::Spin).unwrap();
    wait_for_job(&service, next, JobState::Done);
    let job = wait_for_job(&service, first, JobState::Done);
    assert_eq!((version().as_str(), job.restarts), ("2\n", 0));
}

#[test]
fn what_a_killed_daemons_workers_left_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(".job-left")).unwrap();
    std::fs::write(folder.path().join("kept.nii.gz"), "").unwrap();
    runner(folder.path(), "").clear_left_over().unwrap();
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kept.nii.gz"]);
}
