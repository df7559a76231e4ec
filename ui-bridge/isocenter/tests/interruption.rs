//! Ctrl-C: one clear message, exit 1, nothing half-written.

use crate::program::{Argument, Ran, check_refusal, command, done};
use crate::small_spin;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that the program may take to get going, and to stop when asked.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Bit of SIGINT in the masks of `/proc/PID/status`.
const SIGINT_BIT: u64 = 1 << 1;

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONGEST_WAIT, "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the process catches SIGINT by now.
fn catches_interrupts(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGINT_BIT != 0)
}

/// Starts the program, waits until it is at work, interrupts it and waits for its end.
fn interrupted(arguments: &[Argument<'_>], mut is_at_work: impl FnMut() -> bool) -> Ran {
    let mut child: Child =
        command(arguments).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the signal handler", || catches_interrupts(child.id()));
    wait_until("work", &mut is_at_work);
    assert_eq!(child.try_wait().unwrap(), None, "the program ended before it was interrupted");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    wait_until("the end", || child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap().into()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn interrupted_simulation_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run.mcap");
    let ran = interrupted(
        &[&"simulate", &"water-cylinder:200", &"--protocol", &"spine-spin-large", &"--out", &out],
        || !names(folder.path()).is_empty(),
    );
    check_refusal(&ran, &["cancelled"]);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn interrupted_truth_leaves_the_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let protocol = small_spin::protocol(folder.path());
    let ran = interrupted(
        &[
            &"simulate",
            &"water-cylinder:200",
            &"--protocol",
            &protocol,
            &"--out",
            &at("run.mcap"),
            &"--views",
            &"400",
            &"--ideal",
            &"--truth",
            &at("truth"),
        ],
        || at("run.mcap").exists(),
    );
    check_refusal(&ran, &["cancelled"]);
    assert_eq!(names(folder.path()), ["run.mcap", "small-spin.toml"]);
    assert_eq!(done(&[&"inspect", &at("run.mcap")])["frames"], 400);
}

#[test]
fn interrupted_reconstruction_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    let before = names(folder.path());
    let ran = interrupted(
        &[
            &"reconstruct",
            &run,
            &"--out",
            &folder.path().join("a.nii"),
            &"--grid",
            &"320",
            &"--voxel-mm",
            &"0.75",
            &"--backend",
            &"reference",
        ],
        || true,
    );
    check_refusal(&ran, &["cancelled"]);
    assert_eq!(names(folder.path()), before);
}

/// The recording is kept: it is what the device gave until then, and says that it was aborted.
#[test]
fn interrupted_replay_keeps_a_readable_recording() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &small_spin::NOISY);
    let begun = Instant::now();
    let ran = interrupted(
        &[&"replay", &run, &"--speed", &"0.3", &"--record", &at("again.mcap"), &"--out", &at("a.nii")],
        // Two seconds of the ten that it would take.
        || at("again.mcap").exists() && begun.elapsed() > Duration::from_secs(2),
    );
    check_refusal(&ran, &["cancelled"]);
    assert_eq!(names(folder.path()), ["again.mcap", "run.mcap", "small-spin.toml"]);
    let told = done(&[&"inspect", &at("again.mcap")]);
    assert_eq!(told["outcome"], "Aborted");
    let frames = told["frames"].as_u64().unwrap();
    assert!((1..90).contains(&frames), "{frames}");
}
