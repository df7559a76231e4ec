//! A folder that DICOM runs come into: they become recordings, of which volumes can be made.

use super::{Daemon, get, post};
use crate::program::done;
use crate::small_spin;
use serde_json::Value;
use std::fs::{File, create_dir, read_dir, write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const CONFIGURATION: &str = r#"
[web]
listen = "127.0.0.1:0"
[[device]]
name = "panel"
real-time = false
[device.camera]
launch = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=30/1 ! appsink"
"#;

fn set_modified(file: &Path, time: SystemTime) {
    File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
}

/// The jobs, once none is open and there are so many.
fn jobs(url: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status: Value = serde_json::from_str(&get(url, "/api/status")).unwrap();
        let jobs = status["jobs"].as_array().unwrap().clone();
        let is_over = |job: &Value| job["state"] != "waiting" && job["state"] != "running";
        if jobs.len() == count && jobs.iter().all(is_over) {
            return jobs;
        }
        assert!(Instant::now() < deadline, "{jobs:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = read_dir(folder)
        .map(|list| list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn dicom_run_that_comes_into_the_watched_folder_becomes_a_recording_and_what_is_none_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (incoming, data) = (folder.path().join("incoming"), folder.path().join("data"));
    create_dir(&incoming).unwrap();
    let configuration = folder.path().join("isocenter.toml");
    write(&configuration, format!("[service]\nfolder = {data:?}\nincoming = {incoming:?}\n{CONFIGURATION}"))
        .unwrap();

    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    let (angiogram, none) = (incoming.join("DOE^JOHN.dcm"), incoming.join("ROE^JANE.txt"));
    let outside = folder.path().join("run.dcm");
    done(&[&"convert", &run, &outside]);
    std::fs::copy(&outside, &angiogram).unwrap();
    write(&none, "no run").unwrap();
    let (now, while_ago) = (SystemTime::now(), Duration::from_secs(60));
    set_modified(&angiogram, now - while_ago);
    set_modified(&none, now - while_ago);
    // One that still grows is left alone.
    let growing = incoming.join("growing.dcm");
    write(&growing, "half").unwrap();
    set_modified(&growing, now + while_ago);

    let (daemon, url) = Daemon::start(&configuration, &[]);
    let jobs = jobs(&url, 2);
    assert_eq!(
        (&jobs[0]["kind"], &jobs[0]["state"], &jobs[1]["state"]),
        (&"import".into(), &"done".into(), &"failed".into())
    );
    // A file may be named after a patient.
    let told = jobs[1]["error"].as_str().unwrap();
    assert!(told.contains("incoming") && !told.contains("JANE"), "{jobs:#?}");

    let deadline = Instant::now() + Duration::from_secs(20);
    while names(&incoming.join("refused")).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", names(&incoming));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(names(&incoming), ["growing.dcm", "refused", "taken"]);
    assert_eq!(names(&incoming.join("taken")), ["DOE^JOHN.dcm"]);
    assert_eq!(names(&incoming.join("refused")), ["ROE^JANE.txt"]);
    let runs: Value = serde_json::from_str(&get(&url, "/api/runs")).unwrap();
    let imported = runs[0]["id"].as_str().unwrap();
    assert!(
        imported.starts_with("incoming-") && imported.ends_with("-spin") && runs[0]["is_spin"] == true,
        "{runs:#}"
    );
    assert!(!get(&url, "/api/runs").contains("DOE"));

    let told = done(&[&"inspect", &data.join(format!("runs/{imported}.mcap"))]);
    assert_eq!(told["frames"], small_spin::VIEWS, "{told:#}");
    post(&url, &format!("/api/runs/{imported}/keep/yes"));
    daemon.signal("-TERM");
    daemon.end();
}
