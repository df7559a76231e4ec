//! Drivers in processes of their own: killed and stopped while another stream goes on.

use super::{Daemon, configuration, get, wait_for};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const CAMERA: &str = r#"
[[device]]
name = "apart"
real-time = false
process = true
record = "always"
[device.camera]
launch = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=25/1 ! appsink"
[[device]]
name = "other"
real-time = false
record = "always"
[device.camera]
launch = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=25/1 ! appsink"
"#;

/// The driver's process among the daemon's children.
fn driver_of(daemon: &Daemon) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let tasks = format!("/proc/{}/task", daemon.child.id());
        let children = std::fs::read_dir(tasks)
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        let children: String = children.collect();
        let is_driver = |id: &&str| {
            std::fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("driver"))
        };
        if let Some(id) = children.split_whitespace().find(is_driver) {
            return id.to_owned();
        }
        assert!(Instant::now() < deadline, "no driver among {children:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().unwrap().success());
}

fn other_received(url: &str) -> u64 {
    let status: Value = serde_json::from_str(&get(url, "/api/status")).unwrap();
    status["streams"][1]["ledger"]["received"].as_u64().unwrap()
}

#[test]
fn driver_that_crashes_or_blocks_is_told_and_comes_back_and_the_other_stream_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, url) = Daemon::start(&configuration(folder.path(), CAMERA), &[]);
    wait_for(&url, "live images", |stream| stream["live"] == "live" && stream["shape"]["nu"] == 64);
    signal("-ABRT", &driver_of(&daemon));
    let gone = wait_for(&url, "its crash", |stream| stream["device_reason"] != "");
    assert!(gone["device_reason"].as_str().unwrap().contains("signal: 6"), "{gone}");
    wait_for(&url, "its return", |stream| stream["live"] == "live" && stream["ledger"]["opened"] == 2);
    let driver = driver_of(&daemon);
    signal("-STOP", &driver);
    wait_for(&url, "its stall", |stream| stream["live"] == "stalled");
    let before = other_received(&url);
    std::thread::sleep(Duration::from_secs(1));
    assert!(other_received(&url) > before + 10, "the other stream goes on");
    signal("-CONT", &driver);
    wait_for(&url, "live again", |stream| stream["live"] == "live");
    daemon.signal("-TERM");
    let report = daemon.end().json();
    let ledger = &report["streams"][1]["ledger"];
    assert_eq!(
        (&ledger["opened"], &ledger["lost"], &ledger["record_lost"]),
        (&1.into(), &0.into(), &0.into())
    );
}
