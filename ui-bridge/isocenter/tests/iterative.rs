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
fn iterating_goes_on_from_an_earlier_volume_and_stops_by_its_rule() {
    let folder = tempfile::tempdir().unwrap();
    let run = image(folder.path(), "run.mcap", &NOISY);
    let residuals = |told: &Value| -> Vec<f64> {
        let passes = told["iterations"].as_array().unwrap();
        passes.iter().map(|pass| pass["residual_rms"].as_f64().unwrap()).collect()
    };
    let sart: [Argument<'_>; 2] = [&"--algorithm", &"os-sart"];
    let first = reconstruct(
        &run,
        folder.path(),
        &[&sart[..], &[&"--iterations", &"2", &"--start", &"zero"]].concat(),
    );
    let earlier = folder.path().join("earlier.nii");
    std::fs::rename(folder.path().join("volume.nii"), &earlier).unwrap();
    let on = reconstruct(
        &run,
        folder.path(),
        &[&sart[..], &[&"--iterations", &"1", &"--start", &earlier]].concat(),
    );
    assert!(residuals(&on)[0] < residuals(&first)[1], "{first} {on}");

    let stopped = reconstruct(
        &run,
        folder.path(),
        &[&sart[..], &[&"--iterations", &"20", &"--stop-change", &"0.5", &"--start", &earlier]].concat(),
    );
    assert_eq!(residuals(&stopped).len(), 1, "{stopped}");

    let out = folder.path().join("b.nii");
    let other: [Argument<'_>; 8] =
        [&"reconstruct", &run, &"--out", &out, &"--grid", &"40", &"--start", &earlier];
    let ran = isocenter(&[&other[..], &sart[..]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("earlier.nii: expected the grid") && ran.stderr.contains("[48, 48, 48]"),
        "{}",
        ran.stderr
    );
    assert!(!out.exists());
}

#[test]
fn total_variation_follows_the_noise_of_the_views() {
    let folder = tempfile::tempdir().unwrap();
    let run = image(folder.path(), "run.mcap", &NOISY);
    let smoothing = |options: &[Argument<'_>]| {
        let common: [Argument<'_>; 4] = [&"--algorithm", &"fista-tv", &"--iterations", &"1"];
        let told = reconstruct(&run, folder.path(), &[&common, options].concat());
        let stages = told["stages"].as_array().unwrap();
        let stage =
            stages.iter().find(|stage| stage["name"] == "fista-tv").expect("a stage of that name").clone();
        let text = stage["parameters"]["smoothing_per_mm"].as_str().unwrap();
        (text.parse::<f64>().unwrap(), stage["parameters"]["photons"].as_str().unwrap().to_string())
    };
    let (few, _) = smoothing(&[&"--photons", &"20"]);
    let (many, told) = smoothing(&[&"--photons", &"320"]);
    assert!((few / many - 4.0).abs() < 1e-3, "{few} {many}");
    assert_eq!(told, "320 as given");
    let (seen, told) = smoothing(&[]);
    assert!(seen > 0.0 && told.ends_with("as the views' own noise tells"), "{seen} {told}");
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
