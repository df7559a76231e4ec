//! DICOM as it comes: a patient's series, gantry tilt, three codecs of one frame, and files that break readers.

use interchange::{inspect_file, read_volume};
use isocenter_tests::{assert_tells_no_name, files_below, gunzipped, real_data, run_oracle, unpacked};
use nalgebra::{Matrix3, Vector3};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest that any one file may take.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Most memory that this whole test binary may have used: the bound holds for every file in it.
const PEAK_RSS_MAX_MIB: u64 = 1024;

fn peak_rss_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The folder within an unpacked archive that holds the files.
fn innermost(folder: &Path) -> PathBuf {
    files_below(folder).into_iter().map(|file| file.parent().unwrap().to_path_buf()).next().unwrap()
}

#[test]
fn data_ct_series_is_read_as_simpleitk_reads_it() {
    let folder = unpacked("ct/abdomen_contrast_crlm1004_dicom.tar.gz");
    let ours = read_volume(&innermost(folder.path())).unwrap();
    let told = run_oracle("volume_summary.py", &[innermost(folder.path()).to_str().unwrap()]);
    assert_same_summary(&ours, &told);
    assert_eq!(ours.grid.shape, [512, 512, 41]);
}

#[test]
fn data_nifti_with_flipped_axes_is_read_as_simpleitk_reads_it() {
    let path = real_data("ct/abdomen_pelvis_3mm_ct.nii.gz");
    let ours = read_volume(&path).unwrap();
    assert_same_summary(&ours, &run_oracle("volume_summary.py", &[path.to_str().unwrap()]));
    let diagonal = ours.grid.direction.diagonal();
    assert!(ours.grid.direction.abs().max() > 0.999 && (diagonal.abs() - Vector3::repeat(1.0)).norm() < 1e-6);
}

/// Size, affine, sum and sum of index-weighted values, which no wrong order of voxels leaves alone.
fn assert_same_summary(ours: &carm::Volume, told: &serde_json::Value) {
    let numbers = |name: &str| -> Vec<f64> {
        told[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    assert_eq!(numbers("shape"), ours.grid.shape.map(|n| n as f64));
    let affine: Vec<f64> = ours.grid.space_from_voxel().transpose().iter().copied().collect();
    for (found, expected) in affine.iter().zip(numbers("affine")) {
        assert!((found - expected).abs() < 1e-3, "{found} against {expected}");
    }
    let mut sums = [0.0_f64; 4];
    for ((z, y, x), &value) in ours.values.indexed_iter() {
        let value = f64::from(value);
        for (sum, weight) in sums.iter_mut().zip([1.0, x as f64, y as f64, z as f64]) {
            *sum += value * weight;
        }
    }
    for (found, expected) in sums.iter().zip(numbers("sums")) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} against {expected}");
    }
}

/// The slices are sheared by 18.5 degrees: in every one the centroid of HU + 1024 lies where the slice's
/// own position puts it.
#[test]
fn data_tilted_series_is_straightened_as_its_slices_lie() {
    let folder = unpacked("head/skull_phantom_tilt_minus18_dicom.tar.gz");
    let path = innermost(folder.path());
    let ours = read_volume(&path).unwrap();
    assert!(ours.provenance.warnings.iter().any(|warning| warning.contains("gantry tilt")));
    let told = run_oracle("slice_centroids.py", &[path.to_str().unwrap()]);
    let slices = told.as_array().unwrap();
    assert_eq!(slices.len(), ours.grid.shape[2]);
    let identity = Matrix3::<f64>::identity();
    let axes = ours.grid.direction;
    assert!((axes.transpose() * axes - identity).abs().max() < 1e-6);
    for (k, slice) in slices.iter().enumerate() {
        let point = |index: usize| {
            let number = |axis: usize| slice[index][axis].as_f64().unwrap();
            Vector3::new(number(0), number(1), number(2))
        };
        let (middle, expected) = (point(0), point(1));
        let (mut sum, mut total) = (Vector3::zeros(), 0.0);
        for ((j, i), &value) in ours.values.index_axis(ndarray::Axis(0), k).indexed_iter() {
            let place = ours.grid.point(i as f64, j as f64, k as f64).coords;
            let window = (1.0 - (place - middle).norm_squared() / 100.0_f64.powi(2)).max(0.0).powi(2);
            let weight = (f64::from(value) + 1024.0) * window;
            sum += place * weight;
            total += weight;
        }
        // What interpolation costs at the window; stacked along the normal it is centimetres.
        let off_mm = (sum / total - expected).norm();
        assert!(off_mm < 0.05, "slice {k} is off by {off_mm} mm");
    }
}

#[test]
fn data_three_codecs_of_one_angiogram_decode_alike() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = ["xa1_j2kr", "xa1_jpll", "xa1_rle"]
        .iter()
        .map(|name| gunzipped(&format!("dicom_xray/{name}.dcm.gz"), folder.path()))
        .collect();
    let hash = |path: &PathBuf| {
        let inspection = inspect_file(path);
        assert!(inspection.is_sound, "{:?}", inspection.findings);
        inspection.facts.iter().find(|(name, _)| name == "pixels_hash").unwrap().1.clone()
    };
    let hashes: Vec<String> = paths.iter().map(hash).collect();
    assert!(hashes.iter().all(|one| *one == hashes[0]), "{hashes:?}");
}

#[test]
fn data_broken_dicom_never_panics_hangs_or_tells_a_name() {
    let mut inspected = 0;
    for archive in ["dicom_bad/pydicom_test_files.tar.gz", "dicom_bad/pylibjpeg_codec_files.tar.gz"] {
        let folder = unpacked(archive);
        for path in files_below(folder.path()) {
            let start = Instant::now();
            let inspection = inspect_file(&path);
            assert!(start.elapsed() < TIME_MAX, "{}", path.display());
            assert!(inspection.is_sound || !inspection.findings.is_empty(), "{}", path.display());
            assert_tells_no_name(&path, &format!("{inspection:?}"));
            let told = read_volume(&path).map_or_else(|error| error.to_string(), |_| String::new());
            assert_tells_no_name(&path, &told);
            inspected += 1;
        }
    }
    assert!(inspected >= 148, "{inspected}");
    let peak = peak_rss_mib();
    assert!(peak < PEAK_RSS_MAX_MIB, "{peak} MiB");
}
