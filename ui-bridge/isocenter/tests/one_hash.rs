//! One hash for any number of threads, streaming or batch, from the device or from its recording.

use crate::program::{Argument, done, refused};
use crate::small_spin;
use serde_json::{Value, json};
use std::path::Path;

fn content_hash(folder: &Path, name: &str, options: &[Argument<'_>]) -> Value {
    let run = small_spin::image(folder, name, &[options, &[&"--views", &"12"]].concat());
    let told = done(&[&"replay", &run, &"--speed", &"max"]);
    told["run_hash"].clone()
}

#[test]
fn one_hash_of_a_simulated_run_for_one_seed_on_any_threads() {
    let folder = tempfile::tempdir().unwrap();
    let one = content_hash(folder.path(), "one.mcap", &[&"--seed", &"7", &"--threads", &"1"]);
    let two = content_hash(folder.path(), "two.mcap", &[&"--seed", &"7", &"--threads", &"2"]);
    let other = content_hash(folder.path(), "other.mcap", &[&"--seed", &"8", &"--threads", &"2"]);
    assert!(one.as_str().is_some_and(|hash| hash.len() >= 32), "{one}");
    assert_eq!(one, two);
    assert_ne!(one, other);
}

/// Gaps and all: with noise and lost frames the volume is the same bits on every way to it.
#[test]
fn one_hash_of_the_volume_on_every_way_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (prefix, options) in [("whole", &[] as &[Argument<'_>]), ("gaps", &[&"--drop", &"0.05"])] {
        let run = small_spin::image(
            folder.path(),
            &format!("{prefix}.mcap"),
            &[&small_spin::NOISY[..], options].concat(),
        );
        let (recording, streamed) =
            (at(&format!("{prefix}-again.mcap")), at(&format!("{prefix}-streamed.nii")));
        let mut hashes = Vec::new();
        for threads in ["1", "2"] {
            let out = at(&format!("{prefix}-{threads}.nii"));
            let told = done(&[&"reconstruct", &run, &"--out", &out, &"--threads", &threads]);
            assert_eq!(told["threads"].to_string(), threads);
            hashes.push(told["volume_hash"].clone());
            let told = done(&[
                &"replay",
                &run,
                &"--speed",
                &"max",
                &"--record",
                &recording,
                &"--out",
                &streamed,
                &"--threads",
                &threads,
            ]);
            assert_eq!(told["recording"]["frames"], told["frames"], "{told}");
            hashes.push(told["volume"]["volume_hash"].clone());
            let told = done(&[&"reconstruct", &recording, &"--out", &at("b.nii"), &"--threads", &threads]);
            hashes.push(told["volume_hash"].clone());
            let same = |a: &Path, b: &Path| std::fs::read(a).unwrap() == std::fs::read(b).unwrap();
            assert!(same(&out, &streamed) && same(&out, &at("b.nii")), "{prefix}, {threads} threads");
        }
        // Paced: the device sets the time, frames are taken as they come.
        let told = done(&[&"replay", &run, &"--speed", &"4", &"--out", &streamed]);
        hashes.push(told["volume"]["volume_hash"].clone());
        assert!(hashes[0].as_str().is_some_and(|hash| hash.len() >= 32), "{hashes:?}");
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{prefix}: {hashes:?}");
    }
}

/// Sequence numbers in gap records or in `lost`, one by one.
fn numbers(ranges: impl Iterator<Item = (u64, u64)>) -> Vec<u64> {
    ranges.flat_map(|(first, count)| first..first + count).collect()
}

#[test]
fn one_hash_does_not_hide_dropped_frames() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_spin::image(
        folder.path(),
        "gaps.mcap",
        &[&small_spin::NOISY[..], &[&"--drop", &"0.05"]].concat(),
    );
    let told = done(&[&"inspect", &run]);
    let gaps = told["gaps"].as_array().unwrap();
    let in_file = numbers(
        gaps.iter().map(|gap| (gap["first_sequence"].as_u64().unwrap(), gap["count"].as_u64().unwrap())),
    );
    assert!(!in_file.is_empty() && in_file.len() < 20, "{in_file:?}");
    assert_eq!(told["unexplained_gaps"], json!([]), "{told}");

    let recording = folder.path().join("again.mcap");
    let told = done(&[&"replay", &run, &"--speed", &"max", &"--record", &recording]);
    let lost = told["lost"].as_array().unwrap();
    let live = numbers(lost.iter().map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap())));
    assert_eq!(live, in_file);
    assert_eq!(done(&[&"inspect", &recording])["gaps"].as_array().map(Vec::len), Some(gaps.len()));

    let told = done(&[&"reconstruct", &run, &"--out", &folder.path().join("a.nii")]);
    let warnings = told["warnings"].to_string();
    let frames = told["views"].as_u64().unwrap();
    assert!(frames + in_file.len() as u64 <= small_spin::VIEWS as u64, "{told}");
    let missing = small_spin::VIEWS as u64 - frames;
    assert!(warnings.contains(&format!("{missing} of 90 planned views are missing")), "{warnings}");
}

/// A stack under a small memory budget is made slab by slab, into the same bytes.
#[test]
fn one_hash_of_a_volume_made_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let truth = at("truth");
    small_spin::image(folder.path(), "run.mcap", &[&"--ideal", &"--truth", &truth]);
    let (stack, matrices) = (truth.join("line_integrals.mha"), truth.join("matrices_true.txt"));
    // Eight MiB hold the views and a part of the voxels.
    for (name, memory) in [("a.mha", "8MiB"), ("a.nii", "8MiB"), ("a.nrrd", "9MiB")] {
        let (whole, parts) = (at(&format!("whole-{name}")), at(&format!("parts-{name}")));
        let common: [Argument<'_>; 8] =
            [&"reconstruct", &stack, &"--geometry", &matrices, &"--grid", &"96", &"--voxel-mm", &"2.5"];
        let told = done(&[&common[..], &[&"--out", &whole]].concat());
        let told_parts = done(&[&common[..], &[&"--out", &parts, &"--memory", &memory]].concat());
        assert!(told_parts["warnings"].to_string().contains("parts"), "{told_parts}");
        assert_eq!(told["volume_hash"], told_parts["volume_hash"], "{name}");
        assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&parts).unwrap(), "{name}");
    }
    let common: [Argument<'_>; 6] = [&"reconstruct", &stack, &"--geometry", &matrices, &"--memory", &"8MiB"];
    let packed = at("a.nii.gz");
    let grid: [Argument<'_>; 2] = [&"--grid", &"96"];
    refused(&[&common[..], &grid, &[&"--out", &packed]].concat(), &[".mha, .nii or .nrrd"]);
    assert!(!packed.exists());
}
