//! Replay for engineers: a part of a run, again and again, with faults on purpose, any frame, two runs compared.

use crate::program::{Argument, done, isocenter, refused};
use crate::small_spin;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const FAULTS: &str = r#"
seed = 7

[[fault]]
kind = "drop"
frames = [10, 12]

[[fault]]
kind = "corrupt"
frames = [20, 60]
share = 0.2
pixels = 3

[[fault]]
kind = "delay"
frames = [30, 30]
milliseconds = 5
"#;

fn spin(folder: &Path) -> PathBuf {
    small_spin::image(folder, "run.mcap", &small_spin::NOISY)
}

fn faults(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("faults.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn replay_injects_faults_by_its_seed_and_says_so_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (run, recording) = (spin(folder.path()), folder.path().join("faulty.mcap"));
    let schedule = faults(folder.path(), FAULTS);
    let common: [Argument<'_>; 5] = [&"replay", &run, &"--faults", &schedule, &"--hashes"];
    let told = done(&[&common[..], &[&"--speed", &"max", &"--record", &recording]].concat());
    assert_eq!(told["lost"], json!([[10, 3]]));
    let counts = &told["faults"]["counts"];
    assert_eq!((&counts["drop"], &counts["delay"]), (&json!(3), &json!(1)));
    let corrupted = counts["corrupt"].as_u64().unwrap();
    assert!((2..20).contains(&corrupted), "{told}");
    assert_eq!(told["faults"]["first_hits"].as_array().unwrap().len() as u64, corrupted + 4);

    // The same at another speed, and from the recording, which is what the program saw.
    let again = done(&[&common[..], &[&"--speed", &"6"]].concat());
    assert_eq!((&again["faults"], &again["hashes"]), (&told["faults"], &told["hashes"]));
    let recorded = done(&[&"replay", &recording, &"--speed", &"max", &"--hashes"]);
    assert_eq!(recorded["hashes"], told["hashes"]);
    assert_eq!(recorded["faults"]["counts"], json!({}));
    let gaps = done(&[&"inspect", &recording])["gaps"].clone();
    assert_eq!((&gaps[0]["first_sequence"], &gaps[0]["count"]), (&json!(10), &json!(3)));
    let remarks = capture::RunReader::open(&recording).unwrap().description().remarks.join("; ");
    assert!(remarks.contains("faults on purpose: drop, corrupt, delay, seed 7"), "{remarks}");

    // Where it parts from the run that it was made from.
    let parted = isocenter(&[&"replay", &"--compare", &run, &recording, &"--json"]);
    assert_eq!(parted.code, Some(1));
    let difference = &parted.json()["difference"];
    assert_eq!(
        (&difference["sequence"], &difference["stage"]),
        (&json!(10), &json!("header")),
        "{difference}"
    );
    assert_eq!((&difference["value"], &difference["b"]), (&json!("sequence number"), &json!("13")));
}

#[test]
fn replay_tells_the_first_difference_by_frame_stage_and_value() {
    let folder = tempfile::tempdir().unwrap();
    let run = spin(folder.path());
    let differs = |name: &str, text: &str| -> Value {
        let recording = folder.path().join(name);
        let schedule = faults(folder.path(), text);
        done(&[&"replay", &run, &"--faults", &schedule, &"--speed", &"max", &"--record", &recording]);
        let parted = isocenter(&[&"replay", &"--compare", &run, &recording, &"--json"]);
        let told = parted.json();
        assert_eq!(parted.code, Some(i32::from(told["same"] == false)));
        told
    };
    let told = differs("same.mcap", "[[fault]]\nkind = \"delay\"\nmilliseconds = 0");
    assert_eq!((&told["same"], &told["volumes_compared"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(told["same_frames"], small_spin::VIEWS);

    let told = differs("pose.mcap", "[[fault]]\nkind = \"wrong-pose\"\nframes = [40, 40]\ndegrees = 0.5");
    assert_eq!((&told["difference"]["sequence"], &told["same_frames"]), (&json!(40), &json!(40)));
    assert_eq!(told["difference"]["value"], "primary angle in degrees");

    let told = differs("bit.mcap", "[[fault]]\nkind = \"corrupt\"\nframes = [7, 7]\npixels = 1");
    assert_eq!((&told["difference"]["stage"], &told["difference"]["count"]), (&json!("counts"), &json!(1)));
    assert!(told["difference"]["value"].as_str().unwrap().starts_with("pixel u "), "{told}");
}

#[test]
fn replay_compares_what_maps_and_matrices_make_of_the_same_counts() {
    let folder = tempfile::tempdir().unwrap();
    // Glare would spread one pixel's change over the others.
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--without", &"scatter,glare"]);
    let changed = |name: &str, change: &dyn Fn(&mut carm::RunDescription)| -> Value {
        let mut reader = capture::RunReader::open(&run).unwrap();
        let mut description = reader.description().clone();
        change(&mut description);
        let path = folder.path().join(name);
        let mut writer = capture::RunWriter::create(&path, &description, Default::default()).unwrap();
        let mut counts = vec![0; description.detector.pixel_count()];
        for index in 0..reader.frame_count() {
            let header = reader.read_frame(index, &mut counts).unwrap();
            writer.write_frame(&header, &counts).unwrap();
        }
        writer.finish(capture::RunOutcome::Complete).unwrap();
        isocenter(&[&"replay", &"--compare", &run, &path, &"--json"]).json()["difference"].clone()
    };
    let told = changed("gain.mcap", &|run| {
        run.detector_calibration.as_mut().unwrap().gain[(30, 40)] *= 1.01;
    });
    assert_eq!((&told["stage"], &told["value"]), (&json!("corrected"), &json!("pixel u 40, v 30")), "{told}");
    let told = changed("beam.mcap", &|run| run.beam.mu_water_per_mm *= 1.001);
    assert_eq!((&told["stage"], &told["sequence"]), (&json!("volume"), &Value::Null), "{told}");
    assert!(told["count"].as_u64().unwrap() > 1000, "{told}");
}

#[test]
fn replay_plays_a_part_again_and_again_and_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = spin(folder.path());
    let part: [Argument<'_>; 6] = [&"replay", &run, &"--from", &"20", &"--to", &"1.01s"];
    let told = done(&[&part[..], &[&"--speed", &"max", &"--loop", &"3", &"--hashes"]].concat());
    // At 30 frames a second the last frame before 1.01 s is number 30.
    assert_eq!(
        (&told["frames"], &told["lost"], &told["hashes"]["frames"]),
        (&json!(33), &json!([]), &json!(33))
    );
    let once = done(&[&part[..], &[&"--speed", &"2", &"--hashes"]].concat());
    assert_eq!(once["frames"], 11);
    refused(
        &[&part[..], &[&"--loop", &"2", &"--out", &folder.path().join("a.nii")]].concat(),
        &["--loop", "one sweep"],
    );
    refused(&[&"replay", &run, &"--from", &"5000"], &["frame 5000", "found none"]);
    for usage in [&["--loop", "0"][..], &["--from", "soon"], &["--show", "3", "--step"], &["--compare", "a"]]
    {
        let arguments: Vec<Argument<'_>> = usage.iter().map(|word| word as Argument<'_>).collect();
        assert_eq!(
            isocenter(&[&[&"replay" as Argument<'_>, &run][..], &arguments[..]].concat()).code,
            Some(2)
        );
    }
}

/// The part of a sweep that suffices is planned again; lag comes from the frames before.
#[test]
fn replay_of_a_part_makes_a_volume_that_knows_the_frames_before() {
    let folder = tempfile::tempdir().unwrap();
    let (run, out, recording) =
        (spin(folder.path()), folder.path().join("a.nii"), folder.path().join("part.mcap"));
    let told = done(&[
        &"replay",
        &run,
        &"--from",
        &"2",
        &"--speed",
        &"max",
        &"--record",
        &recording,
        &"--out",
        &out,
    ]);
    let warnings = told["volume"]["warnings"].to_string();
    assert!(
        warnings.contains("2 of 90 planned views are missing") || warnings.contains("the sweep covered"),
        "{warnings}"
    );
    let remarks = capture::RunReader::open(&recording).unwrap().description().remarks.join("; ");
    assert!(remarks.contains("a part of a recording: frames 2 to 89"), "{remarks}");
    // Without that knowledge, as the recording alone is, it is another volume.
    let alone = done(&[&"reconstruct", &recording, &"--out", &folder.path().join("b.nii")]);
    assert_ne!(alone["volume_hash"], told["volume"]["volume_hash"]);
}

#[test]
fn replay_shows_any_frame_the_same_however_it_was_reached() {
    let folder = tempfile::tempdir().unwrap();
    let run = spin(folder.path());
    let told = done(&[&"replay", &run, &"--show", &"77,3,2.5s,77"]);
    let shown = told["shown"].as_array().unwrap();
    assert_eq!(shown.len(), 4);
    assert_eq!((&shown[0]["sequence"], &shown[1]["sequence"]), (&json!(77), &json!(3)));
    assert_eq!(shown[0]["image_hash"], shown[3]["image_hash"]);
    assert_ne!(shown[0]["image_hash"], shown[1]["image_hash"]);
    assert!(shown.iter().all(|one| one["seek_ms"].as_f64().is_some()));
}
