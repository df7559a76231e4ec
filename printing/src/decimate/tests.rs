use super::*;
use crate::check::check;
use crate::field::Field;
use crate::hausdorff::hausdorff;
use crate::progress::Silent;
use crate::surface::surface;
use carm::VolumeGrid;
use nalgebra::{Matrix3, Point3};

fn meshed(n: usize, value: impl Fn(&Point3<f64>) -> f64 + Sync) -> TriangleMesh {
    let grid = VolumeGrid::centred([n; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
    surface(&Field::from_fn(grid, value).unwrap(), &mut Silent).unwrap()
}

/// Layers, bridges and handles at the size of a voxel.
fn sponge(p: &Point3<f64>) -> f64 {
    let q = p.coords * 2.3;
    0.3 * (q.x.sin() * q.y.cos()
        + q.y.sin() * q.z.cos()
        + q.z.sin() * q.x.cos()
        + (3.1 * q.x).sin() * (2.7 * q.z).cos())
}

#[test]
fn decimate_keeps_a_ball_within_the_allowed_distance() {
    let mesh = meshed(44, |p| 9.0 - p.coords.norm());
    let less = decimate(&mesh, mesh.triangles.len() / 4, 0.1, &mut Silent).unwrap();
    let report = check(&less.mesh);
    assert!(report.is_sound() && report.faces <= mesh.triangles.len() / 4, "{report}");
    let distance = hausdorff(&mesh, &less.mesh).unwrap();
    assert!(
        less.deviation_mm <= 0.1 && distance.max_mm() < 0.12 && distance.bound_mm() < 0.17,
        "{} {distance:?}",
        less.deviation_mm
    );
    assert!(distance.mean_mm() < 0.02, "{distance:?}");
    assert!((report.volume_mm3 / check(&mesh).volume_mm3 - 1.0).abs() < 0.003);
}

#[test]
fn decimate_keeps_a_tangled_sponge_sound_however_far_it_goes() {
    let mesh = meshed(24, sponge);
    let whole = check(&mesh);
    assert!(whole.genus.unwrap() > 5, "{whole:?}");
    for (target, error) in [(mesh.triangles.len() / 2, 0.2), (0, 0.3), (0, 10.0)] {
        let less = decimate(&mesh, target, error, &mut Silent).unwrap();
        let report = check(&less.mesh);
        assert!(report.is_sound(), "{report}");
        assert_eq!((report.genus, report.components), (whole.genus, whole.components));
        assert!(less.mesh.triangles.len() < mesh.triangles.len() * 2 / 3, "{report}");
    }
}

#[test]
fn decimate_in_blocks_keeps_all_that_it_keeps_as_a_whole() {
    let ball = meshed(44, |p| 9.0 - p.coords.norm());
    for (mesh, error_mm) in [(meshed(24, sponge), 0.3), (ball, 0.1)] {
        let whole = check(&mesh);
        let target = mesh.triangles.len() / 4;
        for blocks in [2, 3, 7] {
            let less = decimate_in_blocks(&mesh, target, error_mm, blocks, &mut Silent).unwrap();
            let report = check(&less.mesh);
            assert!(report.is_sound(), "{blocks} blocks: {report}");
            assert_eq!((report.genus, report.components), (whole.genus, whole.components));
            let one = decimate_in_blocks(&mesh, target, error_mm, 1, &mut Silent).unwrap();
            // Blocks leave hardly more than the whole where the error ends the work, and no more where the number does.
            assert!(less.mesh.triangles.len() as f64 <= 1.1 * one.mesh.triangles.len().max(target) as f64);
            let distance = [&less, &one].map(|d| hausdorff(&mesh, &d.mesh).unwrap());
            assert!(less.deviation_mm <= error_mm, "{}", less.deviation_mm);
            println!("{blocks} blocks: {:.4} and {:.4} mm", distance[0].mean_mm(), distance[1].mean_mm());
            // Blocks as thin as a few voxels are mostly border, and worse; real ones are many times as thick.
            if blocks <= 3 {
                assert!(distance[0].max_mm() < 1.25 * distance[1].max_mm(), "{distance:?}");
                assert!(distance[0].mean_mm() < 1.25 * distance[1].mean_mm(), "{distance:?}");
            }
        }
    }
}

#[test]
fn decimate_in_blocks_gives_one_result_for_any_threads() {
    let mesh = meshed(24, sponge);
    let [one, four] = [1, 4].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| decimate_in_blocks(&mesh, mesh.triangles.len() / 3, 0.3, 5, &mut Silent).unwrap())
    });
    assert!(one == four);
}

#[test]
fn decimate_leaves_few_triangles_of_a_flat_box_and_no_error() {
    let mesh = meshed(30, |p| 5.0 - p.coords.amax());
    let less = decimate(&mesh, 0, 0.02, &mut Silent).unwrap();
    let report = check(&less.mesh);
    assert!(report.is_sound() && report.faces < mesh.triangles.len() / 10, "{report}");
    assert!(hausdorff(&mesh, &less.mesh).unwrap().max_mm() < 0.08);
}

#[test]
fn decimate_refuses_open_meshes_and_nonsense_and_can_be_stopped() {
    struct Stop;
    impl Progress for Stop {
        fn step(&mut self, _: &'static str, _: u64, _: u64) -> bool {
            false
        }
    }
    let mut mesh = meshed(10, |p| 2.0 - p.coords.norm());
    assert!(matches!(decimate(&mesh, 0, f64::NAN, &mut Silent), Err(PrintingError::Parameter { .. })));
    assert_eq!(decimate(&mesh, 0, 1.0, &mut Stop), Err(PrintingError::Cancelled));
    mesh.triangles.pop();
    assert!(matches!(decimate(&mesh, 0, 1.0, &mut Silent), Err(PrintingError::Unsound { .. })));
}
