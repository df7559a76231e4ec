//! Ten thousand small reconstructions in one process: memory stays where it was.

use carm::converters::projection_from_carm_angles;
use carm::{CarmAngles, CarmDistances, DetectorGrid, ScanGeometry, VolumeGrid};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;
use reconstruct::{FdkOptions, FdkPlan, Silent, reconstruct_stack};
use std::sync::Arc;

const RECONSTRUCTIONS: usize = 10_000;
/// Until then allocator and thread pool have found their size.
const WARM_UP: usize = 1_000;
/// Resident memory may grow by this much, KiB: less than half a byte in a thousand of what passes through.
const GROWTH_MAX_KIB: u64 = 2_048;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn reconstruct_once(scan: &ScanGeometry, stack: &Array3<f32>) -> f32 {
    let grid = VolumeGrid::centred([6; 3], [8.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
    let options = FdkOptions { truncation_water_per_mm: Some(0.02), ..FdkOptions::default() };
    let plan = Arc::new(FdkPlan::new(scan.clone(), grid, options).unwrap());
    let volume = reconstruct_stack(plan, stack.view(), &mut Silent).unwrap();
    volume.values[(3, 3, 3)]
}

#[test]
fn ten_thousand_reconstructions_keep_memory_flat() {
    let detector = DetectorGrid::new([16, 12], [16.0, 16.0]).unwrap();
    let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
    let views = (0..6)
        .map(|view| {
            let angles =
                CarmAngles { primary_rad: (40.0 * f64::from(view)).to_radians(), secondary_rad: 0.0 };
            projection_from_carm_angles(angles, distances, &detector).unwrap()
        })
        .collect();
    let scan = ScanGeometry::new(detector, views).unwrap();
    let stack = Array3::from_elem((6, 12, 16), 0.7);
    let first = reconstruct_once(&scan, &stack);
    assert!(first > 0.0);
    let mut before = 0;
    for done in 0..RECONSTRUCTIONS {
        if done == WARM_UP {
            before = resident_kib();
        }
        assert_eq!(reconstruct_once(&scan, &stack).to_bits(), first.to_bits(), "reconstruction {done}");
    }
    let after = resident_kib();
    println!("resident after {WARM_UP}: {before} KiB, after {RECONSTRUCTIONS}: {after} KiB");
    assert!(after < before + GROWTH_MAX_KIB, "{before} KiB became {after} KiB");
}
