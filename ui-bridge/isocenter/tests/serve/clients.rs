//! Chromium, a Python D-Bus client, and Aravis' camera simulator at the daemon.

use super::{Daemon, configuration};
use crate::program::done;
use crate::small_spin;
use isocenter_tests::{oracle_python, repository_root, run_oracle};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A small virtual C-arm that can spin.
fn virtual_carm(folder: &Path) -> String {
    let (spin, live) = (small_spin::protocol(folder), small_spin::fluoroscopy(folder));
    format!(
        "[[device]]\nname = \"carm\"\nreal-time = false\n[device.virtual-carm]\npatient = \"water-cylinder:100\"\n\
         protocol = {live:?}\nframes = 4\nideal = true\nspin = {spin:?}\n\
         [device.dose]\nyield-ugy-per-mas = 60.0\nyield-at-kv = 80.0\nsource-to-isocenter-mm = 785.0\nsource-to-detector-mm = 1200.0\n"
    )
}

#[test]
fn python_dbus_client_takes_a_spin_to_its_volume_and_reads_live_images() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--print-address=1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("`dbus-daemon`, Debian's dbus");
    let mut address = String::new();
    BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim();
    let rest = format!("[dbus]\nbus = \"session\"\n{}", virtual_carm(folder.path()));
    let environment = [("DBUS_SESSION_BUS_ADDRESS", address)];
    let (daemon, url) = Daemon::start(&configuration(folder.path(), &rest), &environment);
    let told = run_oracle("dbus_client.py", &[address, "carm"]);
    let again = spin_by_gdbus(address);
    assert_dose(&url);
    daemon.signal("-TERM");
    let ran = daemon.end();
    bus.kill().unwrap();
    bus.wait().unwrap();

    assert_eq!(told["alterations_refused"], serde_json::json!([true, true, true]), "{told}");
    assert_eq!(told["state"], "complete", "{told}");
    assert!(again.starts_with("(<('accept', [('missing views', 0.0, '%', 'accept')"), "{again}");
    let images = told["images"].as_array().unwrap();
    assert!(images.iter().all(|image| image["low"].as_u64() < image["high"].as_u64()), "{images:?}");
    let job = &told["jobs"].as_array().unwrap().last().unwrap();
    assert_eq!((&job[1], &job[3]), (&"reconstruct".into(), &"done".into()), "{job}");
    let volume = done(&[&"inspect", &job[6].as_str().unwrap()]);
    assert_eq!(volume["is_sound"], true, "{volume}");
    let report = ran.json();
    let run = report["runs"].as_array().unwrap().iter().find(|run| run["id"] == told["run"]).unwrap().clone();
    assert_eq!(
        (&run["state"], &run["frames"], &run["lost"]),
        (&"complete".into(), &told["views"], &0.into())
    );
}

/// Arms, disarms, arms and starts a spin as anybody can with `gdbus`; gives its verdict.
fn spin_by_gdbus(address: &str) -> String {
    let call = |method: &str, arguments: &[&str]| -> String {
        let path = "/org/isocenter/Daemon1/stream/carm";
        let output = Command::new("gdbus")
            .args(["call", "--address", address, "--dest", "org.isocenter.Daemon1", "--object-path", path])
            .args(["--method", method])
            .args(arguments)
            .output()
            .expect("`gdbus`, Debian's libglib2.0-bin");
        assert!(output.status.success(), "{method}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let property = |name: &str| call("org.freedesktop.DBus.Properties.Get", &["org.isocenter.Spin1", name]);
    call("org.isocenter.Spin1.Arm", &[]);
    assert_eq!(property("State"), "(<'armed'>,)");
    call("org.isocenter.Spin1.Abort", &[]);
    assert_eq!(property("State"), "(<'idle'>,)");
    call("org.isocenter.Spin1.Arm", &[]);
    call("org.isocenter.Spin1.Start", &[]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while property("State") != "(<'complete'>,)" {
        assert!(Instant::now() < deadline, "{}", property("State"));
        std::thread::sleep(Duration::from_millis(50));
    }
    // Within two seconds of the end; a busy machine may need more.
    loop {
        let verdict = property("Verdict");
        if !verdict.starts_with("(<(''") {
            return verdict;
        }
        assert!(Instant::now() < deadline, "no verdict");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Air kerma by closed form: 60 uGy/mAs * (120 / 80)^2 * 1.8 mAs * (1000 / 635)^2 a frame.
fn assert_dose(url: &str) {
    let status: Value = serde_json::from_str(&super::get(url, "/api/status")).unwrap();
    let stream = &status["streams"][0];
    let expected_mgy = 0.602_641 * stream["ledger"]["received"].as_f64().unwrap();
    let found_mgy = stream["dose"]["air_kerma_mgy"].as_f64().unwrap();
    // A frame may come between the two numbers.
    assert!((found_mgy / expected_mgy - 1.0).abs() < 0.02, "{found_mgy} of {expected_mgy} mGy");
}

#[test]
fn page_in_chromium_shows_what_is_live_what_is_held_and_what_is_stalled() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("frames");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let old = small_spin::image(folder.path(), "old.mcap", &[&"--ideal", &"--views", &"6"]);
    let rest = format!(
        "{}[[device]]\nname = \"grabber\"\nreal-time = false\n[device.camera]\nlaunch = \"filesrc location={} \
         blocksize=6144 ! rawvideoparse format=gray16-le width=64 height=48 framerate=25/1 ! appsink\"\n\
         [[device]]\nname = \"old\"\nreal-time = false\n[device.recording]\nfile = {old:?}\n",
        virtual_carm(folder.path()),
        fifo.display(),
    );
    let (daemon, url) = Daemon::start(&configuration(folder.path(), &rest), &[]);
    let pictures = pictures();
    let process = daemon.child.id().to_string();
    let fifo = fifo.to_str().unwrap();
    let arguments = [url.as_str(), fifo, "64", "48", process.as_str(), pictures.to_str().unwrap()];
    let told = run_oracle("live_page.py", &arguments);
    drop(daemon);

    assert_eq!(told["counts_equal"], true, "{told}");
    // Mask and frame are the same body: 16384 but for rounding to counts in the shadow of the body.
    let subtracted: Vec<f64> =
        told["subtracted"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let off = subtracted.iter().map(|count| (count - 16_384.0).abs()).fold(0.0, f64::max);
    assert!(!subtracted.is_empty() && off < 60.0, "{off} counts from even grey");
    // 8-bit grey of a linear window: half a step, and the GPU's rounding.
    assert!(told["worst_grey"].as_f64() < Some(1.01), "{told}");
    assert!(told["spin"].as_str().unwrap().contains("views"), "{told}");
    assert_eq!((&told["errors"], &told["foreign_requests"]), (&Value::Array(vec![]), &Value::Array(vec![])));
}

/// Where pictures of the page go, for people to look at.
fn pictures() -> PathBuf {
    repository_root().join("out/live-page")
}

#[test]
fn gige_camera_by_a_launch_line_is_recorded_and_shown_and_comes_back() {
    let launch = "frame-rate-hz = 25.0\nlaunch = \"aravissrc ! \
                  video/x-raw,format=GRAY16_LE,width=512,height=256,framerate=25/1 ! appsink\"";
    let Some(told) = gige_camera(8477, "", launch, &[]) else { return };
    assert_eq!(told["report"]["streams"][0]["ledger"]["packets_lost"], 0, "{told}");
}

#[test]
fn gige_panel_in_a_process_of_its_own_is_recorded_with_the_packets_that_it_lost_told() {
    let panel =
        "genicam = { features = \"Width=512 Height=256 PixelFormat=Mono16 AcquisitionFrameRate=25\" }";
    let Some(told) = gige_camera(8478, "process = true\n", panel, &["--gvsp-lost-ratio", "1"]) else {
        return;
    };
    let ledger = &told["report"]["streams"][0]["ledger"];
    let count = |name: &str| ledger[name].as_u64().unwrap();
    assert!(count("packets_lost") >= count("incomplete") && count("incomplete") > 0, "{ledger}");
    assert!(count("lost") > 0 && count("lost") <= count("incomplete"), "{ledger}");
}

/// What the daemon reports of Aravis' simulator with these options, unplugged once, after a look at its recording; none
/// where this user may not make a network namespace.
fn gige_camera(port: u16, device: &str, camera: &str, simulator: &[&str]) -> Option<Value> {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = folder.path().join("isocenter.toml");
    let text = format!(
        "[service]\nfolder = {data:?}\n[web]\nlisten = \"127.0.0.1:{port}\"\n[[device]]\nname = \"panel\"\n\
         record = \"always\"\nreal-time = false\n{device}[device.camera]\n{camera}\n"
    );
    std::fs::write(&path, text).unwrap();
    let output = Command::new("unshare")
        .arg("--net")
        .arg(oracle_python())
        .arg(repository_root().join("tests/oracles/gige_daemon.py"))
        .arg(env!("CARGO_BIN_EXE_isocenter"))
        .arg(&path)
        .arg(format!("http://127.0.0.1:{port}"))
        .args(simulator)
        .output()
        .expect("`unshare` of util-linux");
    let told = String::from_utf8_lossy(&output.stderr);
    if told.contains("unshare failed: Operation not permitted") {
        println!("not run: a network namespace needs root, and this user may not make one");
        return None;
    }
    assert!(output.status.success(), "{told}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["exit"], 0, "{told}");
    let ledger = &told["report"]["streams"][0]["ledger"];
    assert!(ledger["opened"].as_u64() >= Some(2) && ledger["record_lost"] == 0, "{ledger}");
    let run = done(&[&"inspect", &told["report"]["runs"][0]["path"].as_str().unwrap()]);
    assert_eq!((&run["outcome"], &run["frames"]), (&"Complete".into(), &ledger["recorded"]), "{run}");
    Some(told)
}
