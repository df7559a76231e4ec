use super::nasty::{Numbers, awkward_grid, nasty, nasty_field};
use super::*;
use crate::check::check;
use crate::progress::Silent;
use carm::VolumeGrid;
use nalgebra::Matrix3;
use ndarray::Array3;

#[test]
fn surface_of_200_nasty_volumes_is_sound() {
    (0..200_u64).into_par_iter().for_each(|seed| {
        let (grid, values) = nasty_field(seed);
        let field = Field::new(grid, values).unwrap();
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
