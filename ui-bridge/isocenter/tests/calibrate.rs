//! Maps measured on the virtual C-arm's fields, from the command line to the volume; and maps that do not suit.

use crate::program::{Argument, done, isocenter, refused};
use crate::small_spin;
use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{RunDescription, WallTime};
use interchange::read_volume;
use std::path::{Path, PathBuf};

/// Radius of the water that is looked at, mm; the cylinder has 75.
const INSIDE_MM: f64 = 55.0;

fn field(folder: &Path, kind: &str, tube_current_ma: f64) -> PathBuf {
    let run = folder.join(format!("{kind}-{tube_current_ma}.mcap"));
    let protocol = small_spin::field(folder, kind, tube_current_ma);
    done(&[&"simulate", &"water-cylinder:150", &"--protocol", &protocol, &"--out", &run]);
    run
}

fn maps(folder: &Path) -> PathBuf {
    let out = folder.join("maps.mcap");
    let [dark, flat] = [field(folder, "dark-field", 150.0), field(folder, "flat-field", 150.0)];
    let told = done(&[&"calibrate", &"--dark", &dark, &"--flat", &flat, &"--binning", &"2", &"--out", &out]);
    assert_eq!((&told["flat_frames"], &told["dark_frames"]), (&48.into(), &48.into()), "{told}");
    assert_eq!(told["mode"]["tube_voltage_kv"], 120.0);
    out
}

/// Mean and root mean square of the water's Hounsfield units, which are to be zero.
fn water(path: &Path) -> (f64, f64) {
    let volume = read_volume(path).unwrap();
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for ((z, y, x), &value) in volume.values.indexed_iter() {
        let place = volume.grid.point(x as f64, y as f64, z as f64);
        if place.x.hypot(place.y) < INSIDE_MM && place.z.abs() < 40.0 {
            let value = f64::from(value);
            (sum, squares, count) = (sum + value, squares + value * value, count + 1.0);
        }
    }
    (sum / count, (squares / count).sqrt())
}

#[test]
fn calibrate_measures_maps_as_good_as_the_machines_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &small_spin::NOISY);
    let maps = maps(folder.path());
    let (own, measured) = (at("own.nii"), at("measured.nii"));
    done(&[&"reconstruct", &run, &"--out", &own]);
    let told = done(&[&"reconstruct", &run, &"--maps", &maps, &"--out", &measured]);
    assert!(!told["warnings"].to_string().contains("detector maps"), "{told}");
    let [(own_mean, own_rms), (mean, rms)] = [water(&own), water(&measured)];
    println!("water: own maps {own_mean:.2} HU (rms {own_rms:.2}), measured {mean:.2} HU (rms {rms:.2})");
    // The machine's own have drifted since they were measured, pixel by pixel: 67.6 HU RMS was seen, 8.0 with these.
    assert!(rms < 0.5 * own_rms, "{rms} against {own_rms}");
    assert!(mean.abs() < 10.0, "{mean} HU");

    // A replay records them, and the counts as they were.
    let recording = at("again.mcap");
    let told = done(&[&"replay", &run, &"--maps", &maps, &"--speed", &"max", &"--record", &recording]);
    let (before, after) = (RunReader::open(&run).unwrap(), RunReader::open(&recording).unwrap());
    assert_eq!(before.content_hash(), after.content_hash());
    assert_eq!(told["warnings"], serde_json::json!([]));
    let installed = RunReader::open(&maps).unwrap().description().detector_calibration.clone();
    assert_eq!(after.description().detector_calibration, installed);
    let again = done(&[&"reconstruct", &recording, &"--out", &at("again.nii")]);
    let direct = done(&[&"reconstruct", &run, &"--maps", &maps, &"--out", &measured]);
    assert_eq!(again["volume_hash"], direct["volume_hash"]);
}

/// The same maps with another description.
fn changed(maps: &Path, change: impl Fn(&mut RunDescription)) -> PathBuf {
    let mut description = RunReader::open(maps).unwrap().description().clone();
    change(&mut description);
    let path = maps.with_file_name("changed.mcap");
    let options = WriterOptions { overwrite: true, ..WriterOptions::default() };
    RunWriter::create(&path, &description, options).unwrap().finish(RunOutcome::Complete).unwrap();
    path
}

#[test]
fn calibrate_maps_that_do_not_suit_are_doubted_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_spin::image(
        folder.path(),
        "run.mcap",
        &[&small_spin::NOISY[..], &[&"--views", &"12"]].concat(),
    );
    let maps = maps(folder.path());
    let warned = |change: &dyn Fn(&mut RunDescription)| {
        let maps = changed(&maps, change);
        let recording = folder.path().join("again.mcap");
        let arguments: [Argument<'_>; 8] =
            [&"replay", &run, &"--maps", &maps, &"--speed", &"max", &"--record", &recording];
        let told = done(&arguments)["warnings"].to_string();
        // Who finds the recording later is told as well.
        assert_eq!(done(&[&"replay", &recording, &"--speed", &"max"])["warnings"].to_string(), told);
        told
    };
    let days = |run: &mut RunDescription, days: u64| {
        let maps = run.detector_calibration.as_mut().unwrap();
        maps.acquired = WallTime(maps.acquired.0 - days * 86_400_000_000_000);
    };
    assert_eq!(warned(&|_| ()), "[]");
    assert!(warned(&|run| days(run, 30)).contains("at most 7 days old, found 30"));
    assert!(
        warned(&|run| run.detector_calibration.as_mut().unwrap().tube_voltage_kv = 80.0).contains("80 kV")
    );
    assert!(warned(&|run| run.frame_rate_hz = 7.5).contains("frames/s"));
    assert!(warned(&|run| run.detector.pixel_pitch_u_mm = 2.15).contains("pixels of 4.3 mm"));

    let other = changed(&maps, |run| {
        run.detector.nu = 87;
        let maps = run.detector_calibration.as_mut().unwrap();
        maps.gain = ndarray::Array2::ones((72, 87));
        maps.dark_counts = ndarray::Array2::zeros((72, 87));
    });
    refused(
        &[&"replay", &run, &"--maps", &other, &"--speed", &"max"],
        &["detector maps", "[72, 88]", "[72, 87]"],
    );
    let without = changed(&maps, |run| run.detector_calibration = None);
    refused(&[&"replay", &run, &"--maps", &without], &["expected a file that carries some"]);
}

#[test]
fn calibrate_refuses_fields_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let [dark, flat] = [field(folder.path(), "dark-field", 150.0), field(folder.path(), "flat-field", 150.0)];
    let out = folder.path().join("maps.mcap");
    let common: [Argument<'_>; 3] = [&"calibrate", &"--out", &out];
    refused(
        &[&common[..], &[&"--dark", &flat, &"--flat", &flat]].concat(),
        &["flat-field", "expected no X-rays, found X-rays"],
    );
    refused(
        &[&common[..], &[&"--dark", &dark, &"--flat", &dark]].concat(),
        &["dark-field", "expected X-rays, found no X-rays"],
    );
    refused(
        &[&common[..], &[&"--dark", &dark, &"--flat", &flat, &"--skip", &"60"]].concat(),
        &["at least 8"],
    );
    assert!(!out.exists());
    assert_eq!(isocenter(&[&common[..], &[&"--dark", &dark]].concat()).code, Some(2));
    // Two exposures make the gain a slope.
    let half = field(folder.path(), "flat-field", 60.0);
    let told = done(&[&common[..], &[&"--dark", &dark, &"--flat", &flat, &"--flat", &half]].concat());
    assert_eq!(told["flat_fields"], 2);
}
