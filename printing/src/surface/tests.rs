use super::*;
use crate::check::check;
use crate::progress::Silent;
use carm::VolumeGrid;
use nalgebra::{Matrix3, Rotation3};
use ndarray::Array3;

/// Numbers that look random, from a seed (Steele, Lea and Flood 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A grid turned, mirrored, stretched and shifted at will.
fn awkward_grid(shape: [usize; 3], numbers: &mut Numbers) -> VolumeGrid {
    let turn = Rotation3::from_euler_angles(6.0 * numbers.next(), 3.0 * numbers.next(), 6.0 * numbers.next());
    let mirror = if numbers.next() < 0.5 { -1.0 } else { 1.0 };
    let direction = turn.matrix() * Matrix3::from_diagonal(&[1.0, mirror, 1.0].into());
    let spacing = [0, 1, 2].map(|_| 0.2 + 2.5 * numbers.next());
    let origin = nalgebra::Point3::from([0, 1, 2].map(|_| 600.0 * numbers.next() - 300.0));
    VolumeGrid::new(shape, spacing, direction, origin).unwrap()
}

/// One of ten families of nasty volumes.
fn nasty(family: u64, shape: [usize; 3], numbers: &mut Numbers) -> Array3<f32> {
    let mut noise = || numbers.next() as f32 * 2.0 - 1.0;
    let [nx, ny, nz] = shape;
    Array3::from_shape_fn((nz, ny, nx), |(z, y, x)| {
        let (i, j, k) = (x as f32, y as f32, z as f32);
        let from_middle = |p: f32, n: usize| p - (n as f32 - 1.0) / 2.0;
        let (a, b, c) = (from_middle(i, nx), from_middle(j, ny), from_middle(k, nz));
        match family {
            // Noise; noise of whole numbers, with the level itself; noise far beyond and beside the level.
            0 => noise(),
            1 => (3.0 * noise()).round(),
            2 => {
                if noise() > 0.0 {
                    1e30
                } else {
                    -1e-30
                }
            }
            // Checkerboard; touching corners of cubes of two voxels.
            3 => {
                if (x + y + z) % 2 == 0 {
                    1.0
                } else {
                    -1.0
                }
            }
            4 => {
                if (x / 2 + y / 2 + z / 2) % 2 == 0 {
                    noise().abs()
                } else {
                    -noise().abs()
                }
            }
            // Thin oblique sheets; a shell with handles; a gyroid that touches the border.
            5 => 0.6 - (i + 0.7 * j - 0.4 * k + 0.3).rem_euclid(4.0),
            6 => 1.0 - ((a * a + b * b).sqrt() - 4.0).hypot(c) + 0.8 * noise(),
            7 => (i.sin() * j.cos() + j.sin() * k.cos() + k.sin() * i.cos()) * 0.5,
            // Everything inside; sparse single voxels.
            8 => 1.0,
            _ => {
                if noise() > 0.8 {
                    1.0
                } else {
                    -1.0
                }
            }
        }
    })
}

#[test]
fn surface_of_200_nasty_volumes_is_sound() {
    (0..200_u64).into_par_iter().for_each(|seed| {
        let mut numbers = Numbers(seed);
        let shape = [0, 1, 2].map(|_| 3 + (9.0 * numbers.next()) as usize);
        let values = nasty(seed % 10, shape, &mut numbers);
        let field = Field::new(awkward_grid(shape, &mut numbers), values).unwrap();
        let report = check(&surface(&field, &mut Silent).unwrap());
        assert!(report.is_sound(), "seed {seed}: {report}");
    });
}

/// The coarsest rounding that is let through leaves the guarantee standing.
#[test]
fn surface_is_sound_at_the_limit_of_rounding_and_refused_beyond() {
    (0..40_u64).into_par_iter().for_each(|seed| {
        let mut numbers = Numbers(1000 + seed);
        let values = nasty(seed % 10, [9, 9, 9], &mut numbers);
        let at = |reach: f64| {
            let grid = VolumeGrid {
                origin: [reach, -0.3 * reach, 0.1].into(),
                ..awkward_grid([9; 3], &mut Numbers(seed))
            };
            surface(&Field::new(grid, values.clone()).unwrap(), &mut Silent)
        };
        let spacing =
            awkward_grid([9; 3], &mut Numbers(seed)).spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
        let limit = spacing * ROUNDING_MOST * 2.0_f64.powi(24);
        let report = check(&at(0.95 * limit).unwrap());
        assert!(report.is_sound(), "seed {seed}: {report}");
        assert!(matches!(at(1.2 * limit), Err(PrintingError::TooFine { .. })), "seed {seed}");
    });
}

fn ball(shape: [usize; 3], radius: f64) -> Field {
    let grid =
        VolumeGrid::centred(shape, [0.5, 0.5, 0.5], Matrix3::identity(), [3.0, 4.0, 5.0].into()).unwrap();
    Field::from_fn(grid, |p| radius - (p - grid.centre()).norm()).unwrap()
}

#[test]
fn surface_of_a_ball_lies_on_the_ball() {
    let field = ball([40; 3], 8.0);
    let mesh = surface(&field, &mut Silent).unwrap();
    for vertex in &mesh.vertices_mm {
        let distance = (nalgebra::Point3::from(vertex.map(f64::from)) - field.grid.centre()).norm();
        // A twentieth of a voxel for vertices kept away from an edge's end, less than that for the interpolation.
        assert!((distance - 8.0).abs() < 0.05 * 0.5 + 0.01, "{distance}");
    }
    let report = check(&mesh);
    let expected = 4.0 / 3.0 * std::f64::consts::PI * 8.0_f64.powi(3);
    assert!((report.volume_mm3 / expected - 1.0).abs() < 0.005, "{} against {expected}", report.volume_mm3);
    assert_eq!((report.components, report.genus), (1, Some(0)));
    assert!(field.touched_sides().is_empty());
}

#[test]
fn surface_is_capped_flat_where_the_field_ends() {
    let field = ball([12, 40, 40], 8.0);
    let mesh = surface(&field, &mut Silent).unwrap();
    assert!(check(&mesh).is_sound());
    assert_eq!(field.touched_sides(), [crate::Side::First(0), crate::Side::Last(0)]);
    // Half a voxel beyond the outermost of 12 samples 0.5 mm apart, about x = 3.
    let bounds = check(&mesh).bounds_mm.unwrap();
    assert_eq!((bounds[0][0], bounds[1][0]), (0.0, 6.0));
}

#[test]
fn surface_refuses_nan_and_emptiness() {
    let grid = VolumeGrid::centred([3; 3], [1.0; 3], Matrix3::identity(), [0.0; 3].into()).unwrap();
    let mut values = Array3::from_elem((3, 3, 3), -1.0_f32);
    let empty = Field { grid, values: values.clone() };
    assert!(matches!(surface(&empty, &mut Silent), Err(PrintingError::Empty { .. })));
    values[[2, 1, 0]] = f32::NAN;
    let bad = surface(&Field { grid, values }, &mut Silent);
    assert!(matches!(bad, Err(PrintingError::NotFinite { voxel: [0, 1, 2], .. })), "{bad:?}");
}

#[test]
fn surface_stops_when_asked_and_has_the_same_bits_on_any_number_of_threads() {
    struct Stop;
    impl Progress for Stop {
        fn step(&mut self, _: &'static str, done: u64, _: u64) -> bool {
            done == 0
        }
    }
    let field = ball([40; 3], 8.0);
    assert_eq!(surface(&field, &mut Stop), Err(PrintingError::Cancelled));
    let with_threads = |count| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        pool.install(|| surface(&field, &mut Silent).unwrap())
    };
    assert_eq!(with_threads(1), with_threads(3));
}
