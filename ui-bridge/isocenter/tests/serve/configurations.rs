//! What a configuration may say, and where it is wrong.

use super::configuration;
use crate::program::{done, refused};

const CAMERA: &str = r#"
[[device]]
name = "panel"
[device.camera]
launch = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=64,height=48,framerate=30/1 ! appsink"
"#;

#[test]
fn check_accepts_a_sound_configuration_and_the_one_that_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let sound = configuration(folder.path(), CAMERA);
    assert_eq!(done(&[&"serve", &"--check", &"--config", &sound])["sound"], true);
    let deployed = isocenter_tests::repository_root().join("deploy/isocenter.toml");
    assert_eq!(done(&[&"serve", &"--check", &"--config", &deployed])["sound"], true);
}

#[test]
fn check_refuses_what_it_does_not_know_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = configuration(folder.path(), &format!("{CAMERA}gamma = 2.2\n"));
    refused(&[&"serve", &"--check", &"--config", &unknown], &["line 10, column 1", "unknown field `gamma`"]);
    let misspelt = configuration(folder.path(), &CAMERA.replace("launch", "lunch"));
    refused(&[&"serve", &"--check", &"--config", &misspelt], &["line 9", "unknown field `lunch`"]);
    let untyped = configuration(folder.path(), &CAMERA.replace("\"panel\"", "7"));
    refused(&[&"serve", &"--check", &"--config", &untyped], &["line 7", "expected a string"]);
}

#[test]
fn check_refuses_devices_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let check = |rest: &str, parts: &[&str]| {
        let path = configuration(folder.path(), rest);
        refused(&[&"serve", &"--check", &"--config", &path], parts)
    };
    check("[[device]]\nname = \"panel\"\n", &["device panel", "exactly one of", "found 0"]);
    check(&CAMERA.replace("panel", "../panel"), &["letters, digits, - or _", "../panel"]);
    check(&format!("{CAMERA}{CAMERA}"), &["names that differ"]);
    check(&CAMERA.replace("name = ", "ring-frames = 2\nname = "), &["ring-frames", "4 to 4096", "found 2"]);
    let open = CAMERA.to_owned() + "[jobs]\nthreads = 0\n";
    check(&open, &["jobs.threads", "found 0"]);
    let path = configuration(folder.path(), CAMERA);
    let text = std::fs::read_to_string(&path).unwrap().replace("127.0.0.1:0", "0.0.0.0:80");
    std::fs::write(&path, text).unwrap();
    refused(&[&"serve", &"--check", &"--config", &path], &["loopback", "0.0.0.0:80"]);
}

#[test]
fn configuration_that_is_not_there_is_refused() {
    refused(
        &[&"serve", &"--config", &"/nowhere/isocenter.toml"],
        &["/nowhere/isocenter.toml", "cannot be read"],
    );
}
