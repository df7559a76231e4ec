//! Jobs in processes of their own: killed, stopped, starved; live images and recording go on.

use super::{Daemon, configuration, get, post};
use crate::program::{Argument, done};
use crate::small_spin;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PANEL: &str = r#"
[[device]]
name = "panel"
record = "always"
real-time = false
[device.camera]
launch = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=30/1 ! appsink"
"#;

/// A daemon with a spin in its folder whose volume has so many voxels along each side, and with such a part `jobs`.
fn daemon(folder: &Path, side: usize, jobs: &str) -> (Daemon, String) {
    let runs = folder.join("data/runs");
    std::fs::create_dir_all(&runs).unwrap();
    let text = std::fs::read_to_string(small_spin::protocol(folder)).unwrap();
    let protocol = folder.join("large.toml");
    let shape = format!("shape = [{side}, {side}, {side}]");
    std::fs::write(&protocol, text.replace("shape = [48, 48, 48]", &shape)).unwrap();
    let run = runs.join("old-spin.mcap");
    let arguments: [Argument<'_>; 7] =
        [&"simulate", &"water-cylinder:150", &"--protocol", &protocol, &"--ideal", &"--out", &run];
    done(&arguments);
    Daemon::start(&configuration(folder, &format!("[jobs]\n{jobs}{PANEL}")), &[])
}

/// The last job, once it is as wished.
fn wait_for_job(url: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(150);
    loop {
        let status: Value = serde_json::from_str(&get(url, "/api/status")).unwrap();
        let job = status["jobs"].as_array().unwrap().last().cloned().unwrap_or_default();
        if is_so(&job) {
            return job;
        }
        assert!(Instant::now() < deadline, "{what}: {job:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(name: &str, process: &Value) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Ends the daemon; every frame of its stream must have been shown or counted, and recorded.
fn end(daemon: Daemon) {
    daemon.signal("-TERM");
    let report = daemon.end().json();
    let ledger = &report["streams"][0]["ledger"];
    let count = |name: &str| ledger[name].as_u64().unwrap();
    assert!(count("received") > 0, "{ledger}");
    assert_eq!(count("received"), count("shown") + count("skipped") + count("held") + count("unshowable"));
    assert_eq!((count("received"), count("record_lost")), (count("recorded"), 0), "{ledger}");
}

#[test]
fn worker_that_is_killed_is_begun_anew_and_one_that_is_stopped_fails_and_no_frame_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, url) = daemon(folder.path(), 256, "threads = 1\nsilence-s = 1.5\n");
    post(&url, "/api/runs/old-spin/reconstruct");
    let at_work = |job: &Value| job["process"].is_u64() && job["done"].as_u64() > Some(0);
    let first = wait_for_job(&url, "a worker", at_work);
    signal("-KILL", &first["process"]);
    let second = wait_for_job(&url, "another worker", |job| at_work(job) && job["restarts"] == 1);
    assert_ne!(first["process"], second["process"]);
    assert_eq!(second["error"], "its worker was ended by signal 9");
    signal("-STOP", &second["process"]);
    let failed = wait_for_job(&url, "its failure", |job| job["state"] == "failed");
    assert_eq!(failed["error"], "its worker gave no sign of life for 1.5 s and was ended");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("data/volumes")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    end(daemon);
}

#[test]
fn worker_that_needs_more_memory_than_it_may_have_fails_with_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, url) = daemon(folder.path(), 256, "threads = 1\nmemory-mib = 64\n");
    post(&url, "/api/runs/old-spin/reconstruct");
    let failed = wait_for_job(&url, "its failure", |job| job["state"] == "failed");
    assert_eq!(failed["error"], "memory: expected a need of at most 64 MiB as configured, found more");
    end(daemon);
}

#[test]
fn job_that_is_cancelled_and_one_of_a_daemon_that_is_killed_leave_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, url) = daemon(folder.path(), 256, "threads = 1\n");
    // What nobody has waited for yet is dead all the same.
    let is_there = |process: &Value| {
        std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    post(&url, "/api/runs/old-spin/reconstruct");
    let running = wait_for_job(&url, "a worker", |job| job["process"].is_u64());
    post(&url, &format!("/api/jobs/{}/cancel", running["id"]));
    wait_for_job(&url, "its end", |job| job["state"] == "cancelled");
    assert!(!is_there(&running["process"]));
    post(&url, "/api/runs/old-spin/reconstruct");
    let running = wait_for_job(&url, "another worker", |job| job["process"].is_u64());
    daemon.signal("-KILL");
    daemon.end();
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_there(&running["process"]) {
        assert!(Instant::now() < deadline, "the worker outlives its daemon");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn worker_started_by_hand_says_what_it_expects() {
    crate::program::refused(&[&"worker"], &["expected the daemon's socket"]);
}
