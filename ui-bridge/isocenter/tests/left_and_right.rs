//! Left stays left: three balls of different sizes, imaged in every patient position, reconstructed, written as
//! NIfTI, MetaImage and both DICOM objects, and found again where they were by SimpleITK and by us.

use crate::program::done;
use crate::small_spin::{self, VOXEL_MM};
use carm::{PatientPosition, Quantity, Volume, VolumeGrid};
use interchange::{WriteOptions, read_volume, write_volume};
use isocenter_tests::run_oracle;
use nalgebra::{Matrix3, Point3, Vector3};
use ndarray::Array3;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Centre of the CT, which comes to lie at the isocenter, LPS mm.
const CENTRE_LPS: [f64; 3] = [13.0, -21.0, 37.0];
/// Centre from the CT's centre (LPS mm) and radius of each ball, mm. No two lie alike on any axis.
const BALLS: [([f64; 3], f64); 3] =
    [([45.0, -6.0, 12.0], 15.0), ([-12.0, 41.0, -24.0], 12.0), ([-30.0, -36.0, 30.0], 18.0)];
/// Sampling of 5 mm voxels and streaks of 90 views move a centroid by a small part of a voxel; any exchange of
/// sides moves it by centimetres.
const OFF_MAX_MM: f64 = 0.1 * VOXEL_MM;
/// Two programs that read the same numbers: what rounding of 16-bit samples and text leaves.
const SAME_MM: f64 = 0.01;
/// Balls are sought this far beyond their surface, mm.
const WINDOW_MM: f64 = 12.0;

fn centre(offset: [f64; 3]) -> Point3<f64> {
    Point3::from(CENTRE_LPS) + Vector3::from(offset)
}

/// The balls as a CT whose voxel axes run right to left, front to back and up: left-handed, as NIfTI often is.
fn ct() -> Volume {
    const SUB_SAMPLES: usize = 4;
    let direction = Matrix3::from_diagonal(&Vector3::new(-1.0, 1.0, 1.0));
    let grid =
        VolumeGrid::centred([60, 56, 52], [2.5, 2.75, 3.0], direction, Point3::from(CENTRE_LPS)).unwrap();
    let [nx, ny, nz] = grid.shape;
    let steps: Vec<f64> = (0..SUB_SAMPLES).map(|i| (i as f64 + 0.5) / SUB_SAMPLES as f64 - 0.5).collect();
    let share_inside = |x: usize, y: usize, z: usize| {
        let mut inside = 0;
        for (dx, dy, dz) in steps.iter().flat_map(|dx| {
            steps.iter().flat_map(|dy| steps.iter().map(move |dz| (*dx, *dy, *dz))).collect::<Vec<_>>()
        }) {
            let point = grid.point(x as f64 + dx, y as f64 + dy, z as f64 + dz);
            inside +=
                usize::from(BALLS.iter().any(|(offset, radius)| (point - centre(*offset)).norm() < *radius));
        }
        inside as f64 / SUB_SAMPLES.pow(3) as f64
    };
    let values = Array3::from_shape_fn((nz, ny, nx), |(z, y, x)| {
        let point = grid.point(x as f64, y as f64, z as f64);
        let is_near = BALLS.iter().any(|(offset, radius)| (point - centre(*offset)).norm() < radius + 4.0);
        if is_near { (1000.0 * share_inside(x, y, z) - 1000.0) as f32 } else { -1000.0 }
    });
    Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None })
}

/// Centroid of HU + 1000 around each ball, and the sum of it, which tells the sizes apart.
fn centroids(volume: &Volume) -> Vec<(Point3<f64>, f64)> {
    let one = |(offset, radius): &([f64; 3], f64)| {
        let (mut sum, mut total) = (Vector3::zeros(), 0.0);
        for ((z, y, x), &hu) in volume.values.indexed_iter() {
            let point = volume.grid.point(x as f64, y as f64, z as f64);
            if (point - centre(*offset)).norm() < radius + WINDOW_MM {
                let weight = f64::from(hu) + 1000.0;
                sum += point.coords * weight;
                total += weight;
            }
        }
        (Point3::from(sum / total), total)
    };
    BALLS.iter().map(one).collect()
}

/// Images in one position, reconstructs, and writes every format.
fn written(folder: &Path, ct: &Path, protocol: &Path, position: PatientPosition) -> Vec<PathBuf> {
    let at = |name: &str| folder.join(format!("{position}{name}"));
    let run = at(".mcap");
    done(&[
        &"simulate",
        &ct,
        &"--protocol",
        &protocol,
        &"--out",
        &run,
        &"--ideal",
        &"--position",
        &position.code(),
    ]);
    let nifti = at(".nii.gz");
    done(&[&"reconstruct", &run, &"--out", &nifti]);
    let direct = at("-direct.dcm");
    done(&[&"reconstruct", &run, &"--out", &direct]);
    let (series, meta) = (at("-series"), at(".mha"));
    done(&[&"convert", &nifti, &series, &"--dicom-class", &"ct", &"--position", &position.code()]);
    done(&[&"convert", &direct, &meta]);
    vec![nifti, direct, series, meta]
}

#[test]
fn left_stays_left_from_ct_to_every_format_in_every_position() {
    let folder = tempfile::tempdir().unwrap();
    let (ct_path, protocol) = (folder.path().join("ct.nii.gz"), small_spin::protocol(folder.path()));
    write_volume(&ct(), &ct_path, &WriteOptions::default()).unwrap();
    let files: Vec<(PatientPosition, PathBuf)> = PatientPosition::ALL
        .into_iter()
        .flat_map(|position| {
            written(folder.path(), &ct_path, &protocol, position)
                .into_iter()
                .map(move |path| (position, path))
        })
        .collect();
    let balls: Vec<Value> = BALLS
        .iter()
        .map(|(offset, radius)| json!({ "centre": centre(*offset).coords.as_slice(), "radius": radius + WINDOW_MM }))
        .collect();
    let question = json!({ "balls": balls, "paths": files.iter().map(|(_, path)| path).collect::<Vec<_>>() });
    let told = run_oracle("ball_centroids.py", &[&question.to_string()]);
    let told = told.as_array().unwrap();
    assert_eq!(told.len(), 32);
    let mut largest_mm = 0.0_f64;
    for ((position, path), told) in files.iter().zip(told) {
        let ours = centroids(&read_volume(path).unwrap());
        // The larger ball holds more.
        assert!(ours[2].1 > 1.3 * ours[0].1 && ours[0].1 > 1.3 * ours[1].1, "{}: {ours:?}", path.display());
        for (((offset, _), (found, _)), theirs) in
            BALLS.iter().zip(&ours).zip(told["centroids"].as_array().unwrap())
        {
            let number = |axis: usize| theirs[axis].as_f64().unwrap();
            let theirs = Point3::new(number(0), number(1), number(2));
            let off_mm = (theirs - centre(*offset)).norm();
            largest_mm = largest_mm.max(off_mm);
            assert!(off_mm < OFF_MAX_MM, "{}: {theirs} is off by {off_mm} mm", path.display());
            let apart_mm = (theirs - found).norm();
            assert!(apart_mm < SAME_MM, "{}: SimpleITK and we are {apart_mm} mm apart", path.display());
        }
        if !told["patient_position"].is_null() {
            assert_eq!(told["patient_position"], position.code(), "{}", path.display());
        }
    }
    assert_eq!(told.iter().filter(|told| !told["patient_position"].is_null()).count(), 16);
    println!("largest distance of a ball's centroid from its place: {largest_mm:.3} mm");
}
