//! Closed forms first, then every fast path against the `f64` reference on awkward geometry.

use super::*;
use carm::DetectorPose;
use nalgebra::{Matrix3, Point3, Rotation3, Unit};
use ndarray::Array3;

/// `f32` places (up to a few hundred voxels) and sums of a few hundred samples, relative to the largest integral.
const F32_TOLERANCE: f64 = 2e-5;

/// A geometry to try: what it is, the grid, the view, the detector.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) grid: VolumeGrid,
    pub(super) view: ProjectionMatrix,
    pub(super) detector: DetectorGrid,
}

fn view(
    detector: &DetectorGrid,
    angle_rad: f64,
    distances_mm: [f64; 2],
    turn: Rotation3<f64>,
    shift_mm: [f64; 2],
) -> ProjectionMatrix {
    let around = Rotation3::from_axis_angle(&Unit::new_unchecked(Vector3::z()), angle_rad);
    let [e_u, e_v] = [Vector3::y(), Vector3::z()].map(|axis| around * axis);
    let inward = around * -Vector3::x();
    let normal = e_u.cross(&e_v);
    let local = Rotation3::from_matrix_unchecked(Matrix3::from_columns(&[e_u, e_v, normal]));
    let turned = local * turn * local.inverse();
    let pose = DetectorPose {
        source: Point3::origin() - inward * distances_mm[0],
        centre: Point3::origin() + inward * distances_mm[1] + e_u * shift_mm[0] + e_v * shift_mm[1],
        e_u: turned * e_u,
        e_v: turned * e_v,
    };
    ProjectionMatrix::from_pose(&pose, detector).unwrap()
}

fn grid(shape: [usize; 3], spacing_mm: [f64; 3], turn: Rotation3<f64>, centre: [f64; 3]) -> VolumeGrid {
    VolumeGrid::centred(shape, spacing_mm, *turn.matrix(), Point3::from(centre)).unwrap()
}

/// Geometries that have broken projectors before.
pub(super) fn awkward_cases() -> Vec<Case> {
    let none = Rotation3::identity();
    let fine = DetectorGrid::new([71, 53], [1.1, 0.9]).unwrap();
    let coarse = DetectorGrid::new([37, 29], [3.3, 3.7]).unwrap();
    let cube = grid([33, 29, 37], [2.0; 3], none, [0.0; 3]);
    let thin = grid([31, 40, 23], [1.7, 0.9, 2.6], none, [6.0, -9.0, 4.0]);
    let oblique =
        grid([30, 27, 35], [1.9, 2.2, 1.6], Rotation3::new(Vector3::new(0.2, -0.3, 0.5)), [3.0, 2.0, -5.0]);
    let diagonal =
        grid([28, 33, 31], [2.0, 1.5, 2.5], Rotation3::new(Vector3::new(0.8, 0.05, 0.1)), [0.0; 3]);
    let roll = |rad: f64| Rotation3::new(Vector3::z() * rad);
    let case = |name, grid, detector, angle, distances, turn, shift| Case {
        name,
        grid,
        view: view(&detector, angle, distances, turn, shift),
        detector,
    };
    let far = [400.0, 250.0];
    vec![
        case("aligned", cube, fine, 0.3, far, none, [0.0; 2]),
        case("along an axis", cube, fine, 0.0, far, none, [0.0; 2]),
        case("main axis changes within the view", cube, fine, 0.78, far, none, [0.0; 2]),
        case("detector shifted, anisotropic voxels", thin, fine, 2.1, far, none, [21.0, -13.0]),
        case("rows coarser than voxels", thin, coarse, 4.0, far, none, [0.0; 2]),
        case("rows much finer than voxels", cube, fine, 1.0, [300.0, 1500.0], none, [0.0; 2]),
        case("detector rolled a little", cube, fine, 1.9, far, roll(0.01), [3.0, 2.0]),
        case(
            "detector tilted, yawed and rolled",
            thin,
            fine,
            5.1,
            far,
            Rotation3::new(Vector3::new(0.05, -0.08, 0.4)),
            [0.0; 2],
        ),
        case("detector on its side", cube, fine, 0.9, far, roll(1.6), [4.0, 0.0]),
        case("detector upside down", cube, coarse, 2.9, far, roll(3.1), [0.0; 2]),
        case("oblique volume", oblique, fine, 3.7, far, roll(0.02), [0.0; 2]),
        case("diagonal volume", diagonal, coarse, 0.4, far, none, [0.0; 2]),
        case("source near the volume, wide cone", cube, coarse, 0.5, [48.0, 30.0], none, [0.0; 2]),
        case("source in the volume", cube, coarse, 0.2, [9.0, 60.0], none, [0.0; 2]),
        case(
            "rays that miss",
            grid([9, 8, 7], [1.0; 3], none, [14.0, 9.0, -12.0]),
            fine,
            1.2,
            far,
            none,
            [0.0; 2],
        ),
        case("one voxel", grid([1, 1, 1], [5.0; 3], none, [0.0; 3]), fine, 1.2, far, none, [0.0; 2]),
        case("one slice", grid([40, 36, 1], [1.5; 3], none, [0.0; 3]), fine, 0.6, far, none, [0.0; 2]),
    ]
}

/// Values without symmetry.
pub(super) fn noise(grid: &VolumeGrid) -> Array3<f32> {
    let mut state = 12345_u32;
    let [nx, ny, nz] = grid.shape;
    Array3::from_shape_fn((nz, ny, nx), |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    })
}

pub(super) fn instructions() -> Vec<Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()).collect()
}

/// Any direction must do as the column axis: the view's own rows, its columns, and the third.
pub(super) const COLUMN_AXES: [[f64; 3]; 3] = [[1.0, 0.1, 0.0], [0.0, 1.0, 0.2], [0.1, 0.0, 1.0]];

#[test]
fn projector_equals_reference_on_awkward_geometry() {
    for case in awkward_cases() {
        let values = noise(&case.grid);
        let whole = DetectorRegion::whole(&case.detector);
        let exact = reference::project(&case.grid, values.mapv(f64::from).view(), &case.view, whole);
        let largest = exact.iter().copied().fold(0.0, f64::max);
        assert!(largest > 0.0, "{}: some ray must hit", case.name);
        for isa in instructions() {
            for axis in COLUMN_AXES {
                let projector = Projector::new(case.grid, &Vector3::from(axis), isa);
                let volume = projector.store(values.view()).unwrap();
                let image = projector.project(&volume, &case.view, whole);
                for ((row, column), value) in image.indexed_iter() {
                    let error = (f64::from(*value) - exact[[row, column]]).abs();
                    assert!(
                        error <= F32_TOLERANCE * largest,
                        "{} {isa:?} {axis:?} u {column} v {row}: {value} {}",
                        case.name,
                        exact[[row, column]]
                    );
                }
            }
        }
    }
}

#[test]
fn projector_gives_a_region_the_values_of_the_whole() {
    for case in awkward_cases().into_iter().take(9) {
        let projector = Projector::new(case.grid, &Vector3::z(), Isa::detect());
        let volume = projector.store(noise(&case.grid).view()).unwrap();
        let whole = projector.project(&volume, &case.view, DetectorRegion::whole(&case.detector));
        let region = DetectorRegion { u_start: 3, v_start: 5, nu: 11, nv: 7, step: 2 };
        let part = projector.project(&volume, &case.view, region);
        for ((row, column), value) in part.indexed_iter() {
            let expected = whole[[5 + 2 * row, 3 + 2 * column]];
            assert!(
                f64::from((value - expected).abs()) <= F32_TOLERANCE * 60.0,
                "{}: {value} {expected}",
                case.name
            );
        }
    }
}

#[test]
fn projector_has_one_result_for_any_number_of_threads() {
    for case in awkward_cases() {
        let projector = Projector::new(case.grid, &Vector3::z(), Isa::detect());
        let volume = projector.store(noise(&case.grid).view()).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| projector.project(&volume, &case.view, DetectorRegion::whole(&case.detector)))
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert!(run(threads) == one, "{} {threads}", case.name);
        }
    }
}

#[test]
fn reference_gives_a_uniform_box_the_path_through_it() {
    // Faces half a voxel beyond the outermost centres; rays that cross only the two faces of the main axis.
    let grid = grid([21, 17, 19], [2.0, 3.0, 2.5], Rotation3::identity(), [0.0; 3]);
    let detector = DetectorGrid::new([15, 11], [1.5, 2.0]).unwrap();
    let view = view(&detector, 0.0, [500.0, 300.0], Rotation3::identity(), [2.0, 1.0]);
    let values = Array3::from_elem((19, 17, 21), 0.02);
    let region = DetectorRegion::whole(&detector);
    let joseph = reference::project(&grid, values.view(), &view, region);
    let exact = siddon::project(&grid, values.view(), &view, region);
    for ((row, column), value) in joseph.indexed_iter() {
        let ray = view.ray(column as f64, row as f64);
        let path_mm = 42.0 * ray.norm() / ray.x.abs();
        assert!((value - 0.02 * path_mm).abs() < 1e-12, "Joseph u {column} v {row}: {value}");
        assert!((exact[[row, column]] - 0.02 * path_mm).abs() < 1e-12, "Siddon u {column} v {row}");
    }
}

#[test]
fn siddon_equals_a_sum_of_boxes_met_one_by_one() {
    for case in awkward_cases() {
        let values = noise(&case.grid).mapv(f64::from);
        let region = DetectorRegion { u_start: 2, v_start: 1, nu: 6, nv: 5, step: 5 };
        let found = siddon::project(&case.grid, values.view(), &case.view, region);
        for ((row, column), value) in found.indexed_iter() {
            let [u, v] = region.pixel(column, row);
            let source = case.grid.voxel(&case.view.source_position());
            let ray_mm = case.view.ray(u, v);
            let ahead = case.grid.voxel(&(case.view.source_position() + ray_mm));
            let mut sum = 0.0;
            for ((z, y, x), voxel) in values.indexed_iter() {
                let mut inside = [0.0, f64::INFINITY];
                for (axis, index) in [x, y, z].into_iter().enumerate() {
                    let slope = ahead[axis] - source[axis];
                    let ends = [-0.5, 0.5].map(|half| (index as f64 + half - source[axis]) / slope);
                    inside = [inside[0].max(ends[0].min(ends[1])), inside[1].min(ends[0].max(ends[1]))];
                }
                sum += voxel * (inside[1] - inside[0]).max(0.0) * ray_mm.norm();
            }
            assert!((value - sum).abs() < 1e-9, "{} u {u} v {v}: {value} {sum}", case.name);
        }
    }
}

#[test]
fn reference_gives_a_smooth_ball_its_closed_form() {
    // A Gaussian blob: its line integral is sqrt(2 pi) sigma exp(-d^2 / 2 sigma^2), d the ray's distance.
    let sigma_mm = 9.0;
    let centre = Point3::new(4.0, -3.0, 5.0);
    for case in
        awkward_cases().iter().filter(|case| case.name.starts_with("oblique") || case.name == "aligned")
    {
        let fine = VolumeGrid::centred(
            [121, 119, 123],
            [0.7, 0.7, 0.7],
            case.grid.direction,
            Point3::new(1.0, 2.0, 1.0),
        )
        .unwrap();
        let values = Array3::from_shape_fn((123, 119, 121), |(z, y, x)| {
            let d = fine.point(x as f64, y as f64, z as f64) - centre;
            (-d.norm_squared() / (2.0 * sigma_mm * sigma_mm)).exp()
        });
        let region = DetectorRegion::every(&case.detector, 6);
        let found = reference::project(&fine, values.view(), &case.view, region);
        let source = case.view.source_position();
        for ((row, column), value) in found.indexed_iter() {
            let [u, v] = region.pixel(column, row);
            let ray = Unit::new_normalize(case.view.ray(u, v));
            let distance = (centre - source).cross(&ray).norm();
            let expected = (std::f64::consts::TAU).sqrt()
                * sigma_mm
                * (-distance * distance / (2.0 * sigma_mm * sigma_mm)).exp();
            // Bilinear interpolation of a Gaussian of 13 voxels' width loses up to half of (1/13)^2 / 4.
            assert!((value - expected).abs() < 2e-3 * 22.6, "{} u {u} v {v}: {value} {expected}", case.name);
        }
    }
}

#[test]
fn projector_refuses_what_is_not_a_volume() {
    let case = &awkward_cases()[3];
    let projector = Projector::new(case.grid, &Vector3::z(), Isa::detect());
    let error = projector.store(Array3::zeros((4, 5, 6)).view()).unwrap_err();
    assert_eq!(error, ReconstructError::VolumeShape { expected: [31, 40, 23], found: [6, 5, 4] });
    for (poison, [z, y, x]) in
        [(f32::NAN, [22, 0, 30]), (f32::INFINITY, [0, 39, 0]), (f32::NEG_INFINITY, [7, 8, 9])]
    {
        let mut values = noise(&case.grid);
        values[[z, y, x]] = poison;
        let error = projector.store(values.view()).unwrap_err();
        assert!(
            matches!(error, ReconstructError::VoxelNotFinite { voxel, .. } if voxel == [x, y, z]),
            "{error}"
        );
    }
}

#[test]
fn stored_volume_comes_back_in_order() {
    for case in awkward_cases() {
        let values = noise(&case.grid);
        for axis in COLUMN_AXES {
            let projector = Projector::new(case.grid, &Vector3::from(axis), Isa::detect());
            assert_eq!(projector.to_array(&projector.store(values.view()).unwrap()), values, "{}", case.name);
        }
    }
}

#[test]
fn adjoint_equals_reference_on_awkward_geometry() {
    // Rows of 0.55 mm at the axis: from half a row to four rows a voxel.
    let detector = DetectorGrid::new([31, 61], [1.1, 0.9]).unwrap();
    let of_row_fineness = [0.3, 0.5, 0.7, 0.9, 1.03, 1.2, 1.5, 1.75, 2.2].map(|spacing| Case {
        name: "rows of every fineness",
        grid: grid([19, 17, 37], [1.5, 1.5, spacing], Rotation3::identity(), [0.0; 3]),
        view: view(&detector, 0.4, [400.0, 250.0], Rotation3::identity(), [0.0; 2]),
        detector,
    });
    for case in awkward_cases().into_iter().chain(of_row_fineness) {
        let region = DetectorRegion::whole(&case.detector);
        let image =
            Array2::from_shape_fn((region.nv, region.nu), |(v, u)| ((7 * u + 13 * v) % 23) as f32 / 23.0);
        let exact = reference::back(&case.grid, image.mapv(f64::from).view(), &case.view, region);
        let largest = exact.iter().copied().fold(0.0, f64::max);
        for isa in instructions() {
            for axis in COLUMN_AXES {
                let projector = Projector::new(case.grid, &Vector3::from(axis), isa);
                let images = [ViewImage { view: &case.view, region, values: image.as_slice().unwrap() }];
                let found = projector.back(&images).unwrap();
                assert!(found.border_is_zero(projector.column_grid()), "{} {isa:?} {axis:?}", case.name);
                for ((z, y, x), value) in projector.to_array(&found).indexed_iter() {
                    let error = (f64::from(*value) - exact[[z, y, x]]).abs();
                    assert!(
                        error <= 2.0 * F32_TOLERANCE * largest,
                        "{} {isa:?} {axis:?} {:?}: {value} {}",
                        case.name,
                        [x, y, z],
                        exact[[z, y, x]]
                    );
                }
            }
        }
    }
}

#[test]
fn adjoint_is_the_transpose_of_the_projection() {
    const MATCHED: f64 = 1e-5;
    for case in awkward_cases() {
        let region = DetectorRegion { step: 1, u_start: 2, v_start: 3, nu: 31, nv: 23 };
        let values = noise(&case.grid);
        let rays =
            Array2::from_shape_fn((region.nv, region.nu), |(v, u)| ((5 * u + 17 * v) % 29) as f32 / 29.0);
        for isa in instructions() {
            let projector = Projector::new(case.grid, &Vector3::z(), isa);
            let image = projector.project(&projector.store(values.view()).unwrap(), &case.view, region);
            let images = [ViewImage { view: &case.view, region, values: rays.as_slice().unwrap() }];
            let back = projector.to_array(&projector.back(&images).unwrap());
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            let in_rays = dot(image.as_slice().unwrap(), rays.as_slice().unwrap());
            let in_voxels = dot(values.as_slice().unwrap(), back.as_slice().unwrap());
            assert!(
                (in_rays - in_voxels).abs() <= MATCHED * in_rays.max(1e-9),
                "{} {isa:?}: {in_rays} {in_voxels}",
                case.name
            );
        }
    }
}

#[test]
fn adjoint_has_one_result_for_any_number_of_threads() {
    let cases = awkward_cases();
    let grid = cases[0].grid;
    let projector = Projector::new(grid, &Vector3::z(), Isa::detect());
    let values: Vec<Vec<f32>> = cases
        .iter()
        .map(|case| (0..case.detector.pixel_count()).map(|i| (i % 17) as f32 - 5.0).collect())
        .collect();
    let images: Vec<ViewImage<'_>> = cases
        .iter()
        .zip(&values)
        .map(|(case, values)| ViewImage {
            view: &case.view,
            region: DetectorRegion::whole(&case.detector),
            values,
        })
        .collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| projector.back(&images).unwrap())
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(run(threads) == one, "{threads}");
    }
}

#[test]
fn adjoint_refuses_what_is_not_an_image() {
    let case = &awkward_cases()[0];
    let projector = Projector::new(case.grid, &Vector3::z(), Isa::detect());
    let region = DetectorRegion { u_start: 0, v_start: 0, nu: 4, nv: 3, step: 1 };
    let mut values = vec![0.0; 12];
    let short = ViewImage { view: &case.view, region, values: &values[..11] };
    assert_eq!(
        projector.back(&[short]).unwrap_err(),
        ReconstructError::ViewSize { view: 0, expected: 12, found: 11 }
    );
    values[6] = f32::NAN;
    let error = projector.back(&[ViewImage { view: &case.view, region, values: &values }]).unwrap_err();
    assert!(matches!(error, ReconstructError::NotFinite { view: 0, u: 2, v: 1, .. }), "{error}");
}

/// Smooth enough that central differences over a small step see no kinks of the interpolation worth telling.
fn blobs(grid: &VolumeGrid) -> Array3<f32> {
    let [nx, ny, nz] = grid.shape;
    let centre = grid.centre();
    let size = grid.spacing_mm[0] * nx as f64;
    Array3::from_shape_fn((nz, ny, nx), |(z, y, x)| {
        let point = grid.point(x as f64, y as f64, z as f64) - centre;
        let blob = |at: [f64; 3], width: f64| {
            let d = (point / size - Vector3::from(at)).norm() / width;
            (-d * d / 2.0).exp()
        };
        (blob([0.1, -0.05, 0.02], 0.12) + 0.7 * blob([-0.15, 0.1, 0.1], 0.08)) as f32
    })
}

#[test]
fn derivatives_equal_central_differences_of_the_reference_at_twenty_random_poses() {
    const RELATIVE: f64 = 1e-3;
    let detector = DetectorGrid::new([23, 19], [3.0, 3.4]).unwrap();
    let mut state = 2024_u32;
    let mut random = |scale: f64| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        scale * (f64::from(state >> 8) / f64::from(1 << 23) - 1.0)
    };
    for pose in 0..20 {
        let mut turn = |scale: f64| Rotation3::new(Vector3::new(random(scale), random(scale), random(scale)));
        let grid = grid([41, 37, 39], [1.6, 1.8, 1.7], turn(0.6), [4.0, -3.0, 5.0]);
        let tilt = turn(0.08);
        let view =
            view(&detector, random(3.1), [410.0 + random(60.0), 260.0], tilt, [random(9.0), random(9.0)]);
        let values = blobs(&grid);
        let exact = values.mapv(f64::from);
        let pivot = grid.centre() + Vector3::new(random(20.0), random(20.0), random(20.0));
        let region = DetectorRegion::whole(&detector);
        let projector = Projector::new(grid, &Vector3::z(), Isa::detect());
        let volume = projector.store(values.view()).unwrap();
        let volume_motion = projector.linearise(&volume, &view, &pose::volume_motions(&view, &pivot), region);
        let carm_motion = projector.linearise(&volume, &view, &pose::carm_motions(&view, &pivot), region);
        for index in 0..6 {
            let axis = Vector3::ith(index % 3, 1.0);
            // So short that next to no sample crosses a kink of the interpolation.
            let step = if index < 3 { 1e-6 } else { 3e-8 };
            let moved = |step: f64| {
                let (shift, turn) =
                    if index < 3 { (axis * step, Vector3::zeros()) } else { (Vector3::zeros(), axis * step) };
                let about = nalgebra::Isometry3::new(shift, turn);
                let motion = nalgebra::Translation3::from(pivot.coords)
                    * about
                    * nalgebra::Translation3::from(-pivot.coords);
                // Moving the volume, as its grid; the C-arm's motion, as its matrix.
                let body = reference::project(&grid.transformed(&motion), exact.view(), &view, region);
                let carm = view.for_space(&motion.inverse());
                [body, reference::project(&grid, exact.view(), &carm, region)]
            };
            let (ahead, behind) = (moved(step), moved(-step));
            for (which, found) in [&volume_motion, &carm_motion].into_iter().enumerate() {
                let expected = (&ahead[which] - &behind[which]) / (2.0 * step);
                let found = found.derivatives.index_axis(ndarray::Axis(0), index).mapv(f64::from);
                let norm = |image: &Array2<f64>| image.iter().map(|d| d * d).sum::<f64>().sqrt();
                let error = norm(&(&found - &expected)) / norm(&expected);
                assert!(error <= RELATIVE, "pose {pose} parameter {index} of {which}: {error}");
            }
        }
        let image = reference::project(&grid, exact.view(), &view, region);
        let worst = volume_motion
            .image
            .iter()
            .zip(&image)
            .map(|(a, b)| (f64::from(*a) - b).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1e-4, "pose {pose}: {worst}");
    }
}
