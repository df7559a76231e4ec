//! Exit codes, `--json`, help and completion, command by command.

use crate::program::{Argument, done, isocenter, refused};
use crate::small_spin;
use serde_json::json;

#[test]
fn contract_every_command_prints_one_object_and_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    let protocol = small_spin::protocol(folder.path());
    let told = done(&[
        &"simulate",
        &"ball:10,-5,20,60",
        &"--protocol",
        &protocol,
        &"--out",
        &at("ball.mcap"),
        &"--views",
        &"12",
        &"--truth",
        &at("truth"),
    ]);
    assert_eq!(told["frames"], 12);
    for name in
        ["volume.mha", "line_integrals.mha", "matrices_true.txt", "matrices_calibrated.txt", "truth.json"]
    {
        assert!(at("truth").join(name).is_file(), "{name}");
    }

    let told = done(&[&"inspect", &run]);
    assert_eq!(
        [&told["kind"], &told["is_sound"], &told["frames"]],
        [&json!("run"), &json!(true), &json!(90)]
    );

    let told = done(&[
        &"reconstruct",
        &run,
        &"--out",
        &at("a.nii.gz"),
        &"--threads",
        &"1",
        &"--filter",
        &"hann:0.9",
    ]);
    for name in ["reconstruct_s", "peak_rss_mib"] {
        assert!(told[name].as_f64().is_some_and(|value| value > 0.0), "{name} in {told}");
    }
    assert_eq!([&told["threads"], &told["views"]], [&json!(1), &json!(90)]);
    assert!(told["backend"].as_str().is_some_and(|name| name.starts_with("cpu")), "{told}");
    assert!((told["geometry"]["arc_deg"].as_f64().unwrap() - 220.0).abs() < 0.1, "{told}");
    assert!(told["stages"].as_array().is_some_and(|stages| stages.len() > 3), "{told}");
    assert_eq!(told["volume"]["unit"], "HU");

    let told = done(&[&"inspect", &at("a.nii.gz")]);
    assert_eq!(told["is_sound"], true, "{told}");

    let told = done(&[&"convert", &at("a.nii.gz"), &at("a.dcm"), &"--position", &"FFP"]);
    assert_eq!(told["shape"], json!([48, 48, 48]));
    assert_eq!(done(&[&"inspect", &at("a.dcm")])["is_sound"], true);

    let told = done(&[&"replay", &run, &"--speed", &"max", &"--out", &at("b.mha")]);
    assert_eq!([&told["frames"], &told["lost"]], [&json!(90), &json!([])]);
    assert!(told["volume"]["volume_hash"].is_string(), "{told}");
}

/// One frame for each line on standard input.
#[test]
fn contract_replay_steps_on_enter() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    let mut child = crate::program::command(&[&"replay", &run, &"--step", &"--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"\n\n\n").unwrap();
    let ran = crate::program::Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.json()["frames"], 3);
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("frame ")).count(), 3, "{}", ran.stderr);
}

#[test]
fn contract_bad_usage_alone_exits_2() {
    let cases: [&[Argument<'_>]; 18] = [
        &[],
        &[&"levitate"],
        &[&"reconstruct"],
        &[&"reconstruct", &"a.mcap"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--no-such-option"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--filter", &"hann"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--filter", &"hann:0"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--filter", &"gauss:1"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--grid", &"0"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--grid", &"64,64"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--voxel-mm", &"-1"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--center", &"1,2,nan"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--direction", &"1,0,0,0,1,0,0,0"],
        &[&"reconstruct", &"a.mcap", &"--out", &"b.nii", &"--memory", &"lots"],
        &[&"replay", &"a.mcap", &"--speed", &"0"],
        &[
            &"simulate",
            &"a.nii",
            &"--protocol",
            &"spine-spin",
            &"--out",
            &"b.mcap",
            &"--position",
            &"SITTING",
        ],
        &[&"simulate", &"a.nii", &"--protocol", &"spine-spin", &"--out", &"b.mcap", &"--without", &"gravity"],
        &[&"convert", &"a.nii", &"b.dcm", &"--dicom-class", &"mr"],
    ];
    for case in cases {
        let told: Vec<_> = case.iter().map(|argument| argument.as_ref()).collect();
        let ran = isocenter(case);
        assert_eq!(ran.code, Some(2), "{told:?}: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{told:?}: {ran:?}");
        let ran = isocenter(&[case, &[&"--json"]].concat());
        assert_eq!(ran.code, Some(2), "{told:?}: {ran:?}");
        assert!(ran.json()["error"].is_string(), "{told:?}: {ran:?}");
    }
}

#[test]
fn contract_failures_exit_1_and_say_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    refused(&[&"reconstruct", &run, &"--out", &at("a.xyz")], &["a.xyz", "expected", "found"]);
    refused(&[&"reconstruct", &run, &"--out", &at("none/a.nii")], &["none/a.nii"]);
    refused(
        &[&"reconstruct", &run, &"--out", &at("a.nii"), &"--memory", &"100KiB"],
        &["memory", "expected", "found"],
    );
    refused(
        &[&"reconstruct", &run, &"--out", &at("a.nii"), &"--geometry", &at("g.xml")],
        &["run.mcap", "--geometry"],
    );
    refused(
        &[&"simulate", &"water-cylinder:150", &"--protocol", &"no-such", &"--out", &at("b.mcap")],
        &["no-such", "spine-spin"],
    );
    refused(
        &[&"simulate", &"water-cylinder:-1", &"--protocol", &"spine-spin", &"--out", &at("b.mcap")],
        &["water-cylinder:-1"],
    );
    assert!(!at("a.nii").exists() && !at("b.mcap").exists());
    let without_json = isocenter(&[&"reconstruct", &at("none.mcap"), &"--out", &at("a.nii")]);
    assert_eq!((without_json.code, without_json.stdout.as_str()), (Some(1), ""));
    assert_eq!(without_json.stderr.lines().count(), 1, "{without_json:?}");
}

#[test]
fn contract_help_version_and_completions_exit_0() {
    let cases: [&[Argument<'_>]; 3] = [&[&"--help"], &[&"--version"], &[&"reconstruct", &"--help"]];
    for arguments in cases {
        let ran = isocenter(arguments);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("isocenter") && ran.stderr.is_empty(), "{ran:?}");
    }
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef isocenter"), ("fish", "complete -c isocenter")]
    {
        let ran = isocenter(&[&"completions", &shell]);
        assert_eq!(ran.code, Some(0), "{shell}");
        assert!(ran.stdout.contains(word) && ran.stdout.contains("reconstruct"), "{shell}: {}", ran.stdout);
        assert!(done(&[&"completions", &shell])["script"].is_string());
    }
}
