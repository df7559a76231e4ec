//! Broken DICOM through the program: it must neither panic, hang, swell nor tell a name. Run by `make test-data`.

#[allow(dead_code, reason = "shared with the tests of the command line, which use all of it")]
mod program;

use isocenter_tests::{assert_tells_no_name, files_below, unpacked};
use std::time::{Duration, Instant};

/// Longest that any one file may take.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Most memory for any one file.
const PEAK_RSS_MAX_MIB: f64 = 1024.0;

#[test]
fn data_broken_dicom_is_inspected_soundly() {
    let (mut inspected, mut sound) = (0, 0);
    let (mut slowest, mut largest_mib) = (Duration::ZERO, 0.0_f64);
    for archive in ["dicom_bad/pydicom_test_files.tar.gz", "dicom_bad/pylibjpeg_codec_files.tar.gz"] {
        let folder = unpacked(archive);
        for path in files_below(folder.path()) {
            let name = path.display();
            let start = Instant::now();
            let ran = program::isocenter(&[&"inspect", &path, &"--json"]);
            let spent = start.elapsed();
            assert!(spent < TIME_MAX, "{name}: {spent:?}");
            // 101 would be a panic, none a signal.
            assert!(matches!(ran.code, Some(0 | 1)), "{name}: {ran:?}");
            let report = ran.json();
            assert_eq!(report["is_sound"], ran.code == Some(0), "{name}: {ran:?}");
            let has_findings = report["findings"].as_array().is_some_and(|findings| !findings.is_empty());
            assert!(has_findings || ran.code == Some(0), "{name}: {ran:?}");
            let peak_mib = report["peak_rss_mib"].as_f64().expect("the program's largest memory");
            assert!(peak_mib < PEAK_RSS_MAX_MIB, "{name}: {peak_mib} MiB");
            assert_tells_no_name(&path, &format!("{}{}", ran.stdout, ran.stderr));
            let plain = program::isocenter(&[&"inspect", &path]);
            assert_eq!(plain.code, ran.code, "{name}: {plain:?}");
            assert_tells_no_name(&path, &format!("{}{}", plain.stdout, plain.stderr));
            inspected += 1;
            sound += usize::from(ran.code == Some(0));
            slowest = slowest.max(spent);
            largest_mib = largest_mib.max(peak_mib);
        }
    }
    println!("{inspected} files, {sound} sound; slowest {slowest:?}, largest {largest_mib} MiB");
    assert!(inspected >= 148, "{inspected}");
}

/// What each broken surface must be found to have.
const BROKEN_MESHES: [(&str, &str); 10] = [
    ("admesh_block_fill-holes_bad.stl.gz", "open edges"),
    ("admesh_block_normal-directions_bad.stl.gz", "inconsistently oriented edges"),
    ("anatomy_aorta_closed.stl.gz", "facing inward"),
    ("anatomy_aorta_open_ends.stl.gz", "open edges"),
    ("empty.stl.gz", "0 faces"),
    ("nonmanifold_openscad.obj.gz", "duplicate faces"),
    ("offset1_nonmanifold.obj.gz", "non-manifold edges"),
    ("p_xpm_components.3mf.gz", "degenerate faces"),
    ("self_intersect_a.obj.gz", "self-intersections"),
    ("teapot_open.stl.gz", "non-manifold vertices"),
];

#[test]
fn data_broken_meshes_are_inspected_with_every_defect_named() {
    let paths = files_below(&isocenter_tests::real_data("mesh"));
    for path in &paths {
        let ran = program::isocenter(&[&"inspect", path, &"--json"]);
        assert!(matches!(ran.code, Some(0 | 1)), "{}: {ran:?}", path.display());
        assert_eq!(ran.json()["is_sound"], ran.code == Some(0), "{ran:?}");
    }
    for (name, defect) in BROKEN_MESHES {
        let path = paths.iter().find(|path| path.ends_with(name)).expect("a file of the data");
        let ran = program::isocenter(&[&"inspect", path, &"--json"]);
        let findings = ran.json()["findings"].to_string();
        assert!(ran.code == Some(1) && findings.contains(defect), "{name}: {findings}");
    }
}

/// A coronary angiogram of 96 frames, JPEG in several fragments each, replayed; each frame is what SimpleITK decodes.
#[test]
fn data_angiogram_is_replayed_as_simpleitk_decodes_it() {
    /// Two decoders of one lossy frame round differently.
    const ROUNDING: f64 = 0.25;
    let folder = tempfile::tempdir().unwrap();
    let unpack = |name: &str| isocenter_tests::gunzipped(&format!("dicom_xray/{name}.gz"), folder.path());
    let object = unpack("xa_coronary_96frames_jpeg.dcm");
    let played = program::done(&[&"replay", &object, &"--speed", &"max", &"--hashes"]);
    assert_eq!((&played["frames"], &played["hashes"]["frames"]), (&96.into(), &96.into()), "{played}");
    let missing = played["missing"].to_string();
    for name in ["ImagerPixelSpacing", "source to isocenter", "source to detector", "exposure"] {
        assert!(missing.contains(name), "{name} in {missing}");
    }
    let run = folder.path().join("run.mcap");
    let told = program::done(&[&"convert", &object, &run]);
    assert!((told["frame_rate_hz"].as_f64().unwrap() - 1000.0 / 33.0).abs() < 1e-9, "{told}");
    assert_eq!(told["views"], 0);
    let means = isocenter_tests::run_oracle("angiogram.py", &["means", object.to_str().unwrap()]);
    let mut reader = capture::RunReader::open(&run).unwrap();
    let mut counts = vec![0; 512 * 512];
    for (index, mean) in means.as_array().unwrap().iter().enumerate() {
        let header = reader.read_frame(index, &mut counts).unwrap();
        assert!((header.gantry.primary_angle_rad.to_degrees() + 32.0).abs() < 1e-9);
        let found = counts.iter().map(|&count| f64::from(count)).sum::<f64>() / counts.len() as f64;
        assert!((found - mean.as_f64().unwrap()).abs() < ROUNDING, "frame {index}: {found} against {mean}");
    }
    let ran = program::isocenter(&[&"reconstruct", &object, &"--out", &folder.path().join("a.nii")]);
    assert!(ran.code == Some(1) && ran.stderr.contains("makes no volume"), "{ran:?}");

    let fluoroscopy = unpack("rf_siemens_shoulder.dcm");
    let played = program::done(&[&"replay", &fluoroscopy, &"--speed", &"max"]);
    assert_eq!(played["frames"], 1, "{played}");
    assert_tells_no_name(&fluoroscopy, &played.to_string());
}
