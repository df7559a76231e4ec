//! From start to end: recordings closed, frames accounted for, systemd told.

use super::{Daemon, configuration, wait_for};
use crate::program::done;
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

const RECORDED: &str = r#"
[[device]]
name = "panel"
record = "always"
real-time = false
[device.camera]
launch = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=50/1 ! appsink"
"#;

/// Fails unless every frame is accounted for.
fn assert_balanced(ledger: &Value) {
    let count = |name: &str| ledger[name].as_u64().unwrap();
    let received = count("received");
    assert_eq!(received, count("shown") + count("skipped") + count("held") + count("unshowable"), "{ledger}");
    assert_eq!(received, count("recorded") + count("record_lost") + count("unrecorded"), "{ledger}");
}

#[test]
fn daemon_closes_its_recording_on_sigterm_and_on_ctrl_c() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, url) = Daemon::start(&configuration(folder.path(), RECORDED), &[]);
        wait_for(&url, "recorded frames", |stream| stream["ledger"]["recorded"].as_u64() > Some(30));
        daemon.signal(signal);
        let ran = daemon.end();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report = ran.json();
        let ledger = &report["streams"][0]["ledger"];
        assert_balanced(ledger);
        assert_eq!((ledger["record_lost"].as_u64(), ledger["unrecorded"].as_u64()), (Some(0), Some(0)));
        let run = &report["runs"][0];
        let told = done(&[&"inspect", &run["path"].as_str().unwrap()]);
        assert_eq!((&told["outcome"], &told["frames"]), (&"Complete".into(), &ledger["recorded"]));
    }
}

#[test]
fn killed_daemon_leaves_a_recording_that_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, url) = Daemon::start(&configuration(folder.path(), RECORDED), &[]);
    wait_for(&url, "recorded frames", |stream| stream["ledger"]["recorded"].as_u64() > Some(150));
    daemon.signal("-KILL");
    assert_eq!(daemon.end().code, None);
    let runs = folder.path().join("data/runs");
    let file = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
    let recovered = folder.path().join("recovered.mcap");
    done(&[&"inspect", &file, &"--recover", &recovered]);
    let told = done(&[&"inspect", &recovered]);
    // A chunk closes after half a second: 25 frames, and those that waited.
    assert!(told["frames"].as_u64() > Some(100), "{told}");
}

#[test]
fn systemd_is_told_that_the_daemon_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 64];
    let mut hear = || {
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let (daemon, _) = Daemon::start(&configuration(folder.path(), RECORDED), &environment);
    assert_eq!([hear(), hear(), hear()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    daemon.signal("-TERM");
    let last = std::iter::repeat_with(hear).find(|told| told != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(daemon.end().code, Some(0));
}

#[test]
fn camera_that_is_not_there_does_not_keep_the_daemon_from_running() {
    let folder = tempfile::tempdir().unwrap();
    let gone =
        RECORDED.replace("videotestsrc is-live=true", "filesrc location=/nowhere/frames ! rawvideoparse");
    let (daemon, url) = Daemon::start(&configuration(folder.path(), &gone), &[]);
    let status = wait_for(&url, "its absence", |stream| stream["device"] == "gone");
    assert!(status["device_reason"].as_str().unwrap().contains("/nowhere/frames"), "{status}");
    assert_eq!(status["live"], "waiting");
    daemon.signal("-TERM");
    assert_eq!(daemon.end().code, Some(0));
}
