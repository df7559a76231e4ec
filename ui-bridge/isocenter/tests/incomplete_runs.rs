//! Runs that ended too early: aborted sweeps, files cut off, disks that filled.

use crate::program::{Ran, check_refusal, done, isocenter, refused};
use crate::small_spin;
use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Copies the first frames of a run into one that says that it was aborted.
pub fn aborted_after(run: &Path, frames: usize, out: &Path) {
    let mut reader = RunReader::open(run).unwrap();
    let description = reader.description().clone();
    let mut writer = RunWriter::create(out, &description, WriterOptions::default()).unwrap();
    let mut counts = vec![0; description.detector.pixel_count()];
    for index in 0..frames {
        let header = reader.read_frame(index, &mut counts).unwrap();
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.finish(RunOutcome::Aborted).unwrap();
}

/// Mean within 40 mm of the isocenter, inside the water cylinder.
fn mean_inside_hu(path: &Path) -> f64 {
    let volume = interchange::read_volume(path).unwrap();
    let values = volume.values.indexed_iter().filter_map(|((z, y, x), &hu)| {
        (volume.grid.point(x as f64, y as f64, z as f64).coords.norm() < 40.0).then_some(f64::from(hu))
    });
    let (count, sum) = values.fold((0, 0.0), |(count, sum), hu| (count + 1, sum + hu));
    assert!(count > 1000, "{count}");
    sum / f64::from(count)
}

/// 180 degrees and the fan of 17.7 need 81 of the 90 steps; 84 views are enough, 78 are not.
#[test]
fn incomplete_sweep_past_half_a_turn_and_the_fan_gives_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &[&"--ideal"]);
    aborted_after(&run, 84, &at("enough.mcap"));
    done(&[&"reconstruct", &run, &"--out", &at("whole.nii")]);
    let told = done(&[&"reconstruct", &at("enough.mcap"), &"--out", &at("enough.nii")]);
    assert_eq!(told["views"], 84);
    let warnings = told["warnings"].to_string();
    assert!(
        warnings.contains("confidence-normalised") && warnings.contains("of 220.0 planned"),
        "{warnings}"
    );
    let (whole, enough) = (mean_inside_hu(&at("whole.nii")), mean_inside_hu(&at("enough.nii")));
    println!("water: {whole:.2} HU from 90 views, {enough:.2} HU from 84");
    assert!((whole - enough).abs() < 5.0, "{whole} HU and {enough} HU");

    // Live as well: the recording of the aborted sweep is what the second volume is made of.
    let told = done(&[
        &"replay",
        &at("enough.mcap"),
        &"--speed",
        &"max",
        &"--record",
        &at("again.mcap"),
        &"--out",
        &at("live.nii"),
    ]);
    assert!(told["volume"]["warnings"].to_string().contains("confidence-normalised"), "{told}");
    assert_eq!(fs::read(at("live.nii")).unwrap(), fs::read(at("enough.nii")).unwrap());
    let inspected = done(&[&"inspect", &at("again.mcap")]);
    assert_eq!(inspected["outcome"], "Aborted");

    aborted_after(&run, 78, &at("short.mcap"));
    refused(
        &[&"reconstruct", &at("short.mcap"), &"--out", &at("short.nii")],
        &["expected at least 197.7 degrees", "found 190.7", "78 views"],
    );
    assert!(!at("short.nii").exists());
    done(&[&"reconstruct", &at("short.mcap"), &"--out", &at("short.nii"), &"--limited-angle"]);
}

#[test]
fn incomplete_file_is_repaired_into_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = small_spin::image(folder.path(), "run.mcap", &small_spin::NOISY);
    let bytes = fs::read(&run).unwrap();
    // In the middle of the frames: behind them stand the description again and the index.
    let torn = &bytes[..bytes.len() * 80 / 100];
    fs::write(at("torn.mcap"), torn).unwrap();
    let ran = isocenter(&[&"inspect", &at("torn.mcap"), &"--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.json()["is_sound"], false);
    let whole = ran.json()["frames"].as_u64().unwrap();
    let told = done(&[&"inspect", &at("torn.mcap"), &"--recover", &at("repaired.mcap")]);
    assert_eq!(told["frames"].as_u64(), Some(whole));
    assert!((40..90).contains(&whole), "{whole} frames");
    assert_eq!(fs::read(at("torn.mcap")).unwrap(), torn, "the original is never touched");
    assert_eq!(done(&[&"inspect", &at("repaired.mcap")])["frames"].as_u64(), Some(whole));
    // Both give the same volume, or the same refusal when the arc no longer reaches.
    let both = ["torn", "repaired"].map(|name| {
        let out = at(&format!("{name}.nii"));
        let ran = isocenter(&[&"reconstruct", &at(&format!("{name}.mcap")), &"--out", &out, &"--json"]);
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
        (ran.code, ran.json()["volume_hash"].clone())
    });
    assert_eq!(both[0], both[1]);
    // A file that exists is never overwritten by a repair.
    refused(&[&"inspect", &at("torn.mcap"), &"--recover", &run], &["run.mcap"]);
    assert_eq!(fs::read(&run).unwrap(), bytes);
}

/// Records on a disk of 1 MiB (a tmpfs in a mount namespace of its own; where that is not allowed, a limit on the
/// size of files), then reads the recording back while that disk is still there.
const RECORD_ON_SMALL_DISK: &str = r#"
if [ "$1" = tmpfs ]; then mount -t tmpfs -o size=1m tmpfs "$2/small" || exit 77; else trap '' XFSZ; ulimit -f 2048; fi
"$0" replay "$2/run.mcap" --speed max --record "$2/small/run.mcap" --json >"$2/replay.json" 2>"$2/replay.txt"
echo $? >"$2/replay.code"
"$0" inspect "$2/small/run.mcap" --json >"$2/inspect.json" 2>"$2/inspect.txt"
echo $? >"$2/inspect.code"
cp "$2/small/run.mcap" "$2/copy.mcap"
"#;

#[test]
fn incomplete_recording_on_a_full_disk_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Fluoroscopy has no end that space could be set aside for.
    let protocol = small_spin::fluoroscopy(folder.path());
    let run = at("run.mcap");
    done(&[
        &"simulate",
        &"water-cylinder:150",
        &"--protocol",
        &protocol,
        &"--views",
        &"400",
        &"--without",
        &"scatter",
        &"--out",
        &run,
    ]);
    assert!(fs::metadata(&run).unwrap().len() > 2 << 20, "the run must not fit on the small disk");
    fs::create_dir(at("small")).unwrap();

    let program = env!("CARGO_BIN_EXE_isocenter");
    let mut script = Command::new("unshare");
    script.args(["--map-root-user", "--mount", "sh", "-c", RECORD_ON_SMALL_DISK, program, "tmpfs"]);
    let status = script.arg(folder.path()).status();
    if !status.is_ok_and(|status| status.success()) || !at("replay.code").exists() {
        println!("no mount namespace here: a limit on the size of files stands in for the small disk");
        let mut script = Command::new("sh");
        script.args(["-c", RECORD_ON_SMALL_DISK, program, "limit"]).arg(folder.path()).status().unwrap();
    }
    let ran = |name: &str| Ran {
        code: fs::read_to_string(at(&format!("{name}.code"))).unwrap().trim().parse().ok(),
        stdout: fs::read_to_string(at(&format!("{name}.json"))).unwrap(),
        stderr: fs::read_to_string(at(&format!("{name}.txt"))).unwrap(),
    };
    let recorded = ran("replay");
    check_refusal(&recorded, &["small/run.mcap", "no space left after", "incomplete"]);
    let inspected = ran("inspect");
    assert_eq!(inspected.code, Some(1), "{inspected:?}");
    let report = inspected.json();
    assert_eq!(report["outcome"], serde_json::Value::Null, "{report}");
    assert_eq!(report["is_sound"], false);
    let readable = report["frames"].as_u64().unwrap();
    println!("{readable} of 400 frames are readable on the full disk");
    assert!(readable > 40, "{report}");
    let told = done(&[&"inspect", &at("copy.mcap"), &"--recover", &at("repaired.mcap")]);
    assert_eq!(told["frames"].as_u64(), Some(readable));

    // Frame by frame what the device gave.
    let (mut given, mut kept) =
        (RunReader::open(&run).unwrap(), RunReader::open(at("repaired.mcap")).unwrap());
    let pixels = given.description().detector.pixel_count();
    let (mut one, mut other) = (vec![0; pixels], vec![0; pixels]);
    for index in 0..kept.frame_count() {
        let header = kept.read_frame(index, &mut other).unwrap();
        let same = given.index_of(header.sequence).unwrap();
        assert_eq!(given.read_frame(same, &mut one).unwrap().sequence, header.sequence);
        assert!(one == other, "frame {}", header.sequence);
    }
}
