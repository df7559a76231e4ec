//! `reconstruct --algorithm`: the next version of a volume, closer to the views with every pass.

use crate::program::{Argument, done, isocenter};
use crate::small_spin::{NOISY, image};
use serde_json::Value;
use std::path::Path;

fn reconstruct(run: &Path, folder: &Path, options: &[Argument<'_>]) -> Value {
    let out = folder.join("volume.nii");
    let common: [Argument<'_>; 4] = [&"reconstruct", &run, &"--out", &out];
    done(&[&common, options].concat())
}

#[test]
fn iterative_algorithms_make_the_next_version_with_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let run = image(folder.path(), "run.mcap", &NOISY);
    let first = reconstruct(&run, folder.path(), &[]);
    let version = first["version"].as_u64().unwrap();
    for algorithm in ["os-sart", "cgls", "fista-tv"] {
        let told = reconstruct(
            &run,
            folder.path(),
            &[&"--algorithm", &algorithm, &"--iterations", &"3", &"--photons", &"20000"],
        );
        assert_eq!(told["version"], version + 1, "{algorithm}");
        assert_ne!(told["volume_hash"], first["volume_hash"], "{algorithm}");
        let stages = told["stages"].as_array().unwrap();
        let stage = stages.iter().find(|stage| stage["name"] == algorithm).expect("a stage of that name");
        assert_eq!(stage["parameters"]["iterations"], "3", "{stage}");
        let residuals: Vec<f64> = told["iterations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pass| pass["residual_rms"].as_f64().unwrap())
            .collect();
        assert_eq!(residuals.len(), 3, "{algorithm}");
        assert!(residuals[2] < residuals[0], "{algorithm}: {residuals:?}");
    }
}

#[test]
fn iterative_options_out_of_range_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = image(folder.path(), "run.mcap", &NOISY);
    let out = folder.path().join("a.nii");
    let code = |options: &[Argument<'_>]| {
        let common: [Argument<'_>; 4] = [&"reconstruct", &run, &"--out", &out];
        let ran = isocenter(&[&common, options].concat());
        (ran.code, ran.stderr)
    };
    assert_eq!(code(&[&"--algorithm", &"magic"]).0, Some(2));
    assert_eq!(code(&[&"--algorithm", &"cgls", &"--iterations", &"0"]).0, Some(2));
    let (status, told) = code(&[&"--algorithm", &"os-sart", &"--relaxation", &"3"]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("relaxation") && told.contains("below 2"), "{told}");
    assert!(!out.exists());
}
