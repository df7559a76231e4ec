//! Volume files against independent programs, in both directions: nibabel, SimpleITK, pynrrd and pydicom read
//! what we write and we read what they write, and dciodvfy judges our DICOM.

use carm::{PatientPosition, Quantity, Volume, VolumeGrid};
use interchange::{DicomClass, WriteOptions, inspect_file, read_volume, write_labels, write_volume};
use isocenter_tests::run_oracle;
use nalgebra::{Matrix4, Point3, Rotation3, Vector4};
use ndarray::Array3;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where NIfTI keeps affines: 32-bit floats of some hundred millimetres.
const PLACE_TOLERANCE_MM: f64 = 1e-4;

/// What an oracle says of a file.
struct Told {
    path: PathBuf,
    reader: String,
    lps_from_voxel: Matrix4<f64>,
    shape: [usize; 3],
    values: Vec<f64>,
    is_tilted: bool,
}

impl Told {
    fn from_json(entry: &Value) -> Self {
        let numbers = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let rows: Vec<f64> = entry["affine"].as_array().unwrap().iter().flat_map(numbers).collect();
        let shape = numbers(&entry["shape"]);
        Self {
            path: entry["path"].as_str().unwrap().into(),
            reader: entry["reader"].as_str().unwrap().into(),
            lps_from_voxel: Matrix4::from_row_slice(&rows),
            shape: [shape[0] as usize, shape[1] as usize, shape[2] as usize],
            values: numbers(&entry["values"]),
            is_tilted: entry["tilted"].as_bool() == Some(true),
        }
    }

    fn of(value: &Value) -> Vec<Self> {
        value.as_array().unwrap().iter().map(Self::from_json).collect()
    }

    fn point(&self, x: usize, y: usize, z: usize) -> Point3<f64> {
        Point3::from((self.lps_from_voxel * Vector4::new(x as f64, y as f64, z as f64, 1.0)).xyz())
    }

    /// Every voxel that the oracle sees is where we have it, with the same value.
    fn assert_agrees_with(&self, ours: &Volume, value_tolerance: f64) {
        let name = format!("{} by {}", self.path.display(), self.reader);
        let [nx, ny, nz] = self.shape;
        assert_eq!(self.values.len(), nx * ny * nz, "{name}");
        assert_eq!(ours.values.len(), self.values.len(), "{name}");
        let mut remaining = self.values.iter();
        for (z, y, x) in (0..nz).flat_map(|z| (0..ny).flat_map(move |y| (0..nx).map(move |x| (z, y, x)))) {
            let expected = remaining.next().unwrap();
            let point = self.point(x, y, z);
            let [i, j, k] = ours.grid.voxel(&point).map(f64::round);
            let off_mm = (ours.grid.point(i, j, k) - point).norm();
            assert!(off_mm < PLACE_TOLERANCE_MM, "{name}: ({x}, {y}, {z}) off by {off_mm} mm");
            let found = f64::from(ours.values[[k as usize, j as usize, i as usize]]);
            let difference = (found - expected).abs();
            assert!(difference <= value_tolerance, "{name}: ({x}, {y}, {z}) {found} against {expected}");
        }
    }
}

/// Oblique, asymmetric, odd sizes, unequal spacing, whole HU; left-handed on request.
fn volume(is_left_handed: bool) -> Volume {
    let mut direction = *Rotation3::from_euler_angles(0.35, -0.2, 0.8).matrix();
    if is_left_handed {
        let mirrored = -direction.column(0).into_owned();
        direction.set_column(0, &mirrored);
    }
    let grid =
        VolumeGrid::new([5, 7, 9], [0.5, 0.75, 2.25], direction, Point3::new(-31.5, 12.25, 107.0)).unwrap();
    let values =
        Array3::from_shape_fn([9, 7, 5], |(z, y, x)| (13 * x + 57 * y + 190 * z + x * y * z) as f32 - 1000.0);
    Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None })
}

fn written(volume: &Volume, folder: &Path) -> Vec<PathBuf> {
    let names =
        ["a.nii", "a.nii.gz", "a.mha", "packed.mha", "a.mhd", "a.nrrd", "packed.nrrd", "a.dcm", "series"];
    let files = names.map(|name| {
        let path = folder.join(name);
        let options = WriteOptions { compress: name.starts_with("packed"), ..WriteOptions::default() };
        write_volume(volume, &path, &options).unwrap();
        path
    });
    files.to_vec()
}

#[test]
fn interchange_volumes_open_elsewhere_with_the_same_values_and_place() {
    for is_left_handed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let ours = volume(is_left_handed);
        let paths = written(&ours, folder.path());
        let mut arguments = vec!["read"];
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        let told = Told::of(&run_oracle("volumes.py", &arguments));
        // SimpleITK reads all nine; nibabel two of them, pynrrd two, pydicom two.
        assert_eq!(told.len(), 15);
        for one in &told {
            one.assert_agrees_with(&ours, 0.0);
        }
    }
}

#[test]
fn interchange_labels_open_elsewhere_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut ours = volume(true);
    let labels = Array3::from_shape_fn(ours.values.dim(), |(z, y, x)| (x + 6 * y + 28 * z) as u8);
    ours.values = labels.mapv(f32::from);
    let paths = ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"].map(|name| {
        let path = folder.path().join(name);
        write_labels(&ours.grid, &labels, "bits: 1 one, 2 two", &path).unwrap();
        path.to_str().unwrap().to_string()
    });
    let mut arguments = vec!["read"];
    arguments.extend(paths.iter().map(String::as_str));
    let told = Told::of(&run_oracle("volumes.py", &arguments));
    // SimpleITK reads all four; nibabel two of them, pynrrd one.
    assert_eq!(told.len(), 7);
    for one in &told {
        one.assert_agrees_with(&ours, 0.0);
    }
}

#[test]
fn interchange_reads_what_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::of(&run_oracle("volumes.py", &["write", folder.path().to_str().unwrap()]));
    assert_eq!(told.len(), 20);
    for one in told.iter().filter(|one| !one.is_tilted) {
        let ours = read_volume(&one.path).unwrap_or_else(|error| panic!("{error}"));
        // 32-bit floats of values up to some thousand.
        one.assert_agrees_with(&ours, 1e-3);
        let inspection = inspect_file(&one.path);
        assert!(inspection.is_sound, "{:?}", inspection.findings);
        assert!(!format!("{inspection:?}").contains("Oracle"), "no patient's name in {inspection:?}");
    }
}

/// The oracle's series holds a field linear in space, which linear interpolation keeps.
#[test]
fn interchange_brings_a_tilted_series_to_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::of(&run_oracle("volumes.py", &["write", folder.path().to_str().unwrap()]));
    let tilted = told.iter().find(|one| one.is_tilted).unwrap();
    let ours = read_volume(&tilted.path).unwrap();
    assert!(ours.provenance.warnings.iter().any(|warning| warning.contains("gantry tilt")));
    // The field from three steps of the sheared affine; rounding to whole stored values (slope 0.25).
    let at = |x: usize, y: usize, z: usize| tilted.values[(z * tilted.shape[1] + y) * tilted.shape[0] + x];
    let gradient = [at(1, 0, 0) - at(0, 0, 0), at(0, 1, 0) - at(0, 0, 0), at(0, 0, 1) - at(0, 0, 0)];
    let inverse = tilted.lps_from_voxel.try_inverse().unwrap();
    let inside = ours.mask.as_ref().unwrap();
    let mut compared = 0;
    for ((k, j, i), &value) in ours.values.indexed_iter() {
        if inside[[k, j, i]] == 0 {
            continue;
        }
        let index = inverse * ours.grid.point(i as f64, j as f64, k as f64).to_homogeneous();
        let expected = at(0, 0, 0) + (0..3).map(|axis| gradient[axis] * index[axis]).sum::<f64>();
        // Half a stored step in the value, and in each gradient over its axis' length.
        assert!(
            (f64::from(value) - expected).abs() < 0.25 * 12.0,
            "({i}, {j}, {k}): {value} against {expected}"
        );
        compared += 1;
    }
    let all = tilted.values.len();
    assert!(compared > all * 4 / 5, "{compared} of {all}");
}

#[test]
fn interchange_dicom_has_no_errors_by_dciodvfy() {
    let folder = tempfile::tempdir().unwrap();
    for (position, is_left_handed) in [(None, false), (Some(PatientPosition::Ffp), true)] {
        for class in [DicomClass::XRay3DAngiographic, DicomClass::CtImage] {
            let mut ours = volume(is_left_handed);
            ours.values[[0, 0, 0]] += 0.3; // so that a rescale is needed
            let path = folder.path().join(format!("{class:?}-{is_left_handed}"));
            let options = WriteOptions {
                dicom_class: Some(class),
                patient_position: position,
                ..WriteOptions::default()
            };
            write_volume(&ours, &path, &options).unwrap();
            for entry in std::fs::read_dir(&path).unwrap() {
                let recognised = match class {
                    DicomClass::XRay3DAngiographic => "XRay3DAngiographicImage",
                    DicomClass::CtImage => "CTImage",
                };
                assert_no_errors(&entry.unwrap().path(), recognised);
            }
        }
    }
}

/// dciodvfy finds no error in a file, and recognises the object that it is.
pub fn assert_no_errors(path: &Path, recognised: &str) {
    let output =
        Command::new("dciodvfy").arg(path).output().expect("dciodvfy (Debian dicom3tools) must be there");
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // It names the object it recognised; without that it judged nothing.
    assert!(told.contains(recognised), "{told}");
    let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("Error")).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
}

#[test]
fn interchange_dicom_names_no_patient_and_says_research_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    write_volume(&volume(false), &path, &WriteOptions::default()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"research use only") && holds(b"RESEARCH"));
    // PatientName (0010,0010) with VR PN and length 0.
    assert!(holds(b"\x10\x00\x10\x00PN\x00\x00"));
}
