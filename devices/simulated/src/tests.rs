//! The whole chain from patient to counts, on a small detector.

use crate::device::light_mtf;
use crate::*;
use carm::{DetectorGrid, FrameSource, PatientPosition, PatientSetup, SourceEvent, TablePose};
use nalgebra::{Isometry3, Point3};
use ndarray::Array2;
use std::f64::consts::PI;

/// The protocol on a detector of 4 mm pixels.
fn small(name: &str) -> Protocol {
    let mut protocol = Protocol::named(name).unwrap();
    let detector = &mut protocol.detector;
    (detector.columns, detector.rows, detector.pixel_pitch_mm) = (96, 72, 4.0);
    protocol
}

fn frames(arm: &mut SimulatedCarm) -> Vec<(carm::FrameHeader, Vec<u16>)> {
    let mut all = Vec::new();
    let mut counts = vec![0; arm.description().detector.pixel_count()];
    while let SourceEvent::Frame(header) = arm.next_frame(&mut counts).unwrap() {
        all.push((header, counts.clone()));
    }
    all
}

fn everything(views: usize) -> Options {
    let step =
        MotionKnot { time_s: 0.05, pose: MotionPose { shift_mm: [1.0, 0.0, 2.0], ..MotionPose::default() } };
    Options {
        views: Some(views),
        sub_frames: 2,
        motion: Motion::Steps { knots: vec![step], rise_s: 0.2 },
        inserts: vec![Insert::pedicle_screw(6.5, 45.0, Isometry3::translation(20.0, 10.0, 0.0))],
        ..Options::default()
    }
}

#[test]
fn frames_are_the_same_bits_on_one_and_two_threads() {
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = Options { seed, ..everything(3) };
        let mut arm =
            SimulatedCarm::new(small("spine-spin"), Patient::water_cylinder(220.0, 250.0), options).unwrap();
        pool.install(|| frames(&mut arm))
    };
    let one = run(1, 7);
    assert_eq!(one.len(), 3);
    assert!(one == run(2, 7), "threads changed the bits");
    let other = run(2, 8);
    let same = one[1].1.iter().zip(&other[1].1).filter(|(a, b)| a == b).count();
    assert!(same < one[1].1.len() / 4, "another seed gives other noise: {same} pixels agree");
}

#[test]
fn frames_lost_leave_a_gap_and_do_not_disturb_the_others() {
    let run = |drop_share: f64| {
        let options = Options { drop_share, ..everything(24) };
        let mut arm =
            SimulatedCarm::new(small("spine-spin"), Patient::water_cylinder(220.0, 250.0), options).unwrap();
        frames(&mut arm)
    };
    let (all, some) = (run(0.0), run(0.3));
    assert_eq!(all.len(), 24);
    assert!(some.len() < 24 && some.len() > 8, "{}", some.len());
    for (header, counts) in &some {
        let (whole, same) = &all[header.sequence as usize];
        assert!(header == whole && counts == same, "frame {}", header.sequence);
    }
}

#[test]
fn ideal_frame_gives_the_closed_form_line_integrals() {
    let options = Options { ideal: true, views: Some(2), ..Options::default() };
    let mut arm =
        SimulatedCarm::new(small("spine-spin"), Patient::water_cylinder(200.0, 180.0), options).unwrap();
    let description = arm.description().clone();
    let calibration = description.detector_calibration.clone().unwrap();
    let (header, counts) = frames(&mut arm).remove(1);
    let planned = description.planned_views[1];
    assert_eq!(header.gantry.primary_angle_rad, planned.primary_angle_rad);
    let source = planned.projection_matrix.source_position();
    let air = calibration.air_intensity_per_mas * header.exposure.tube_charge_mas();
    for (u, v) in [(48, 36), (30, 36), (70, 20), (47, 60), (2, 36)] {
        let ray = planned.projection_matrix.ray(f64::from(u), f64::from(v));
        let along = ray / ray.norm();
        // A circle of radius 100 in the plane, cut at z = +-90.
        let (a, b) = (along.x.powi(2) + along.y.powi(2), source.x * along.x + source.y * along.y);
        let c = source.x.powi(2) + source.y.powi(2) - 100.0_f64.powi(2);
        let root = (b * b - a * c).max(0.0).sqrt();
        let ends = [-90.0, 90.0].map(|z| (z - source.z) / along.z);
        let low = ((-b - root) / a).max(ends[0].min(ends[1]));
        let high = ((-b + root) / a).min(ends[0].max(ends[1]));
        let exact = (high - low).max(0.0) * description.beam.mu_water_per_mm;
        let pixel = v as usize * 96 + u as usize;
        let intensity =
            f64::from(counts[pixel]) - f64::from(calibration.dark_counts[[v as usize, u as usize]]);
        let found = -(intensity / air).ln();
        // Half a count of rounding.
        let rounding = 0.6 / (air * (-exact).exp());
        assert!((found - exact).abs() < rounding + 1e-5, "{u} {v}: {found} {exact}");
    }
}

#[test]
fn noise_variance_grows_with_the_mean_as_stated() {
    const TOLERANCE: f64 = 0.03;
    // Five strips of water from 0 to 240 mm, side by side across the beam.
    let strip = |n: usize| Shape {
        form: Form::Box { half_sides_mm: [24.0, 30.0 * n as f64, 400.0] },
        lps_from_shape: Isometry3::translation(48.0 * (n as f64 - 2.0), 0.0, 0.0),
        attenuation: Attenuation::Density(Material::Water, 1.0),
    };
    let body = Patient::from_shapes((1..5).map(strip).collect());
    let effects = Effects { noise: true, ..Effects::NONE };
    let options = Options { effects, views: Some(60), ..Options::default() };
    let mut arm = SimulatedCarm::new(small("fluoro-ap"), body, options).unwrap();
    let truth = arm.truth_frame(0).unwrap();
    let offset = arm.protocol.detector.offset_counts;
    let runs = frames(&mut arm);
    let (mut xy, mut xx, mut sum_x, mut sum_y, mut n) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for pixel in 0..96 * 72 {
        let values: Vec<f64> = runs.iter().map(|(_, counts)| f64::from(counts[pixel]) - offset).collect();
        let mean = values.iter().sum::<f64>() / 60.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 59.0;
        // One quantum in counts: the bare beam's counts over its quanta, times what the path does to the quantum.
        let (v, u) = (pixel / 96, pixel % 96);
        let expected_counts = arm.protocol.detector.air_counts * f64::from(truth.transmission[[v, u]]);
        let quantum = expected_counts / f64::from(truth.photons[[v, u]]);
        // Relative weights, so that dark strips count as much as bright ones.
        let (x, y, w) = (mean * quantum, variance - 1.0 / 12.0, 1.0 / (mean * quantum).powi(2));
        xy += w * x * y;
        xx += w * x * x;
        sum_x += w * x;
        sum_y += w * y;
        n += w;
    }
    let slope = (xy - sum_x * sum_y / n) / (xx - sum_x * sum_x / n);
    let intercept = (sum_y - slope * sum_x) / n;
    let smallest = 13_000.0 * 0.005;
    assert!((slope - 1.0).abs() < TOLERANCE, "slope {slope}");
    assert!(intercept.abs() < TOLERANCE * smallest, "intercept {intercept}");
    println!("noise: slope {slope:.4}, intercept {intercept:.3} counts^2");
}

#[test]
fn dark_variance_is_the_stated_electronic_variance() {
    const TOLERANCE: f64 = 0.03;
    let options = Options { views: Some(60), ..Options::default() };
    let mut arm =
        SimulatedCarm::new(small("dark-field"), Patient::water_cylinder(1.0, 1.0), options).unwrap();
    let runs = frames(&mut arm);
    assert!(!runs[0].0.is_xray_on && runs[0].0.exposure.tube_charge_mas() == 0.0);
    let plan = &arm.protocol.detector;
    let electronic = crate::detector::Panel::real(plan, 1200.0, 100.0, 1).electronic_variance();
    let variances = (0..96 * 72).map(|pixel| {
        let mean = runs.iter().map(|(_, c)| f64::from(c[pixel])).sum::<f64>() / 60.0;
        runs.iter().map(|(_, c)| (f64::from(c[pixel]) - mean).powi(2)).sum::<f64>() / 59.0
    });
    // Defects lie far outside: dead and stuck pixels have no variance, noisy ones a hundred times as much.
    let good: Vec<f64> = variances.filter(|variance| (2.0..40.0).contains(variance)).collect();
    assert!(good.len() > 6000, "{}", good.len());
    let mean = good.iter().sum::<f64>() / good.len() as f64;
    assert!((mean / electronic - 1.0).abs() < TOLERANCE, "{mean} {electronic}");
}

#[test]
fn ball_lands_where_the_matrix_says_in_every_patient_position() {
    let at = Point3::new(30.0, -20.0, 25.0);
    for position in PatientPosition::ALL {
        let setup = PatientSetup {
            position,
            table: TablePose { lateral_mm: 5.0, vertical_mm: -8.0, longitudinal_mm: 12.0 },
            isocenter_lps: Point3::new(4.0, -3.0, 2.0),
        };
        let patient = Patient::ball(at, 24.0, Attenuation::MuPerMm(0.02)).with_setup(setup);
        let options = Options { ideal: true, views: Some(5), rays_per_pixel_side: 4, ..Options::default() };
        let arm = SimulatedCarm::new(small("spine-spin"), patient, options).unwrap();
        for view in [0, 3] {
            let truth = arm.truth_frame(view).unwrap();
            let planned = arm.description().planned_views[view].projection_matrix;
            let expected = planned.project(&(setup.world_from_lps() * at));
            let (u, v) = centroid(&truth.line_integrals);
            // The centre's image is off the centroid by the perspective of a 12 mm ball, below 0.03 pixels here.
            let off = (u - expected.u).hypot(v - expected.v);
            assert!(off < 0.06, "{position} view {view}: {u} {v} {expected:?}");
        }
    }
}

fn centroid(image: &Array2<f32>) -> (f64, f64) {
    let mut sums = [0.0; 3];
    for ((v, u), value) in image.indexed_iter() {
        let value = f64::from(*value);
        sums = [sums[0] + value, sums[1] + value * u as f64, sums[2] + value * v as f64];
    }
    (sums[1] / sums[0], sums[2] / sums[0])
}

#[test]
fn moving_patient_moves_in_the_image_and_truth_says_how() {
    let knot = |time_s, x| MotionKnot {
        time_s,
        pose: MotionPose { shift_mm: [x, 0.0, 0.0], ..MotionPose::default() },
    };
    let motion = Motion::Spline(vec![knot(0.0, 0.0), knot(1.0, 30.0)]);
    let options =
        Options { ideal: true, motion, views: Some(16), rays_per_pixel_side: 2, ..Options::default() };
    let patient = Patient::ball(Point3::origin(), 24.0, Attenuation::MuPerMm(0.02));
    let arm = SimulatedCarm::new(small("fluoro-ap"), patient, options).unwrap();
    let (first, last) = (arm.truth_frame(0).unwrap(), arm.truth_frame(15).unwrap());
    let moved_mm = last.motion.translation.x - first.motion.translation.x;
    assert!(moved_mm > 25.0);
    let moved_px = centroid(&last.line_integrals).0 - centroid(&first.line_integrals).0;
    assert!((moved_px - moved_mm * 1200.0 / 785.0 / 4.0).abs() < 0.1, "{moved_px} {moved_mm}");
}

#[test]
fn screw_displaces_tissue_and_shows_in_the_truth_volume() {
    let pose = Isometry3::translation(0.0, 0.0, -20.0);
    let inserts = vec![Insert::rod(6.0, 60.0, pose)];
    let options = Options { ideal: true, views: Some(1), inserts, ..Options::default() };
    let arm = SimulatedCarm::new(small("fluoro-ap"), Patient::water_cylinder(100.0, 300.0), options).unwrap();
    let truth = arm.truth_frame(0).unwrap();
    let metal = Material::CobaltChrome.density_g_cm3();
    let middle = [40, 48];
    let path_mm = f64::from(truth.metal_g_cm2[middle]) * 10.0 / metal;
    assert!(path_mm > 5.0 && path_mm < 6.1, "{path_mm}");
    let water_mm = f64::from(truth.water_g_cm2[middle]) * 10.0;
    assert!((water_mm + path_mm - 100.0).abs() < 0.6, "{water_mm} {path_mm}");
    let grid =
        carm::VolumeGrid::centred([9, 9, 9], [2.0; 3], nalgebra::Matrix3::identity(), Point3::origin())
            .unwrap();
    let volume = arm.truth(&grid);
    let energy = arm.protocol.beam.effective_energy_kev;
    let (steel, water) = (Material::CobaltChrome.mu_per_mm(energy), Material::Water.mu_per_mm(energy));
    assert!((f64::from(volume.values[[4, 4, 4]]) - steel).abs() < 1e-4 * steel);
    assert!((f64::from(volume.values[[4, 4, 8]]) - water).abs() < 1e-4 * water);
}

#[test]
fn truth_of_shapes_holds_their_mass_and_voxels_hold_their_hu() {
    let patient = Patient::ball(Point3::new(1.3, -0.4, 2.2), 17.0, Attenuation::MuPerMm(0.03));
    let options = Options { ideal: true, views: Some(1), ..Options::default() };
    let arm = SimulatedCarm::new(small("fluoro-ap"), patient, options.clone()).unwrap();
    let turn = nalgebra::Rotation3::from_euler_angles(0.3, 0.2, -0.5);
    let grid =
        carm::VolumeGrid::centred([24, 20, 22], [1.2, 1.4, 1.3], *turn.matrix(), Point3::origin()).unwrap();
    let sum: f64 = arm.truth(&grid).values.iter().map(|x| f64::from(*x)).sum::<f64>() * 1.2 * 1.4 * 1.3;
    let exact = 0.03 * PI / 6.0 * 17.0_f64.powi(3);
    assert!((sum / exact - 1.0).abs() < 2e-3, "{sum} {exact}");

    let grid = carm::VolumeGrid::centred([12, 13, 14], [1.5; 3], *turn.matrix(), Point3::origin()).unwrap();
    let hu = ndarray::Array3::from_shape_fn((14, 13, 12), |(k, j, i)| (i + j + k) as f32 * 2.0 - 20.0);
    let volume = carm::Volume::new(grid, hu.clone(), carm::Quantity::Hu { mu_water_per_mm: None });
    let arm = SimulatedCarm::new(small("fluoro-ap"), Patient::from_hu(&volume).unwrap(), options).unwrap();
    let water = arm.description().beam.mu_water_per_mm;
    let back = arm.truth(&grid);
    for (mu, hu) in back.values.iter().zip(&hu) {
        let found = carm::hu_from_mu(f64::from(*mu), water);
        assert!((found - f64::from(*hu)).abs() < 0.01, "{found} {hu}");
    }
}

/// ISO 12233's way: a straight edge, 3 degrees off the columns, binned by distance, differentiated, transformed.
#[test]
fn mtf_from_a_tilted_edge_is_the_one_asked_for() {
    const TOLERANCE: f64 = 0.03;
    let mut protocol = Protocol::named("fluoro-ap").unwrap();
    (protocol.detector.columns, protocol.detector.rows, protocol.detector.pixel_pitch_mm) = (160, 160, 0.3);
    let tilt = 3.0_f64.to_radians();
    // A thin dense plate half in the beam, its edge through the isocenter, turned about the view's axis.
    let turn = nalgebra::UnitQuaternion::from_axis_angle(&nalgebra::Vector3::y_axis(), tilt);
    let plate = Shape {
        form: Form::Box { half_sides_mm: [200.0, 0.005, 400.0] },
        lps_from_shape: Isometry3::from_parts((turn * nalgebra::Vector3::new(-200.0, 0.0, 0.0)).into(), turn),
        attenuation: Attenuation::MuPerMm(300.0),
    };
    let effects = Effects { blur: true, glare: true, ..Effects::NONE };
    let options = Options { effects, views: Some(1), rays_per_pixel_side: 4, ..Options::default() };
    let mut arm = SimulatedCarm::new(protocol, Patient::from_shapes(vec![plate]), options).unwrap();
    let (_, counts) = frames(&mut arm).remove(0);
    let found = edge_mtf(&counts, 160, 0.3, tilt);
    let scale = 1200.0 / 785.0 - 1.0;
    for f in [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5] {
        let spot =
            crate::blur::sinc(f * 0.6 * scale) * 0.98 + 0.02 * (-2.0 * (PI * 3.0 * scale * f).powi(2)).exp();
        let asked = light_mtf(effects, f, 0.0) * spot * crate::blur::sinc(f * 0.3);
        let measured = found(f);
        println!("MTF at {f} lp/mm: asked {asked:.4}, measured {measured:.4}");
        assert!((measured - asked).abs() < TOLERANCE * asked.max(0.3), "{f}: {measured} {asked}");
    }
}

fn edge_mtf(counts: &[u16], columns: usize, pitch_mm: f64, tilt: f64) -> impl Fn(f64) -> f64 {
    // Bins of a fifth of a pixel; the middle rows and columns only.
    let step = pitch_mm / 5.0;
    let half = 150_i64;
    let mut bins = vec![(0.0, 0.0); 2 * half as usize + 1];
    let middle = (columns as f64 - 1.0) / 2.0;
    for v in 10..columns - 10 {
        for u in 0..columns {
            let (x, y) = ((u as f64 - middle) * pitch_mm, (v as f64 - middle) * pitch_mm);
            let distance = x * tilt.cos() + y * tilt.sin();
            let bin = (distance / step).round() as i64 + half;
            if (0..2 * half + 1).contains(&bin) {
                let bin = &mut bins[bin as usize];
                *bin = (bin.0 + f64::from(counts[v * columns + u]), bin.1 + 1.0);
            }
        }
    }
    let edge: Vec<f64> = bins.iter().map(|(sum, n)| sum / n).collect();
    let line: Vec<f64> = edge.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let total: f64 = line.iter().sum();
    move |f: f64| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, value) in line.iter().enumerate() {
            let phase = 2.0 * PI * f * step * n as f64;
            (re, im) = (re + value * phase.cos(), im + value * phase.sin());
        }
        // The difference of neighbours and the width of a bin each damp by a sinc.
        re.hypot(im) / total / crate::blur::sinc(f * step).powi(2)
    }
}

#[test]
fn description_states_the_run_and_what_it_leaves_out() {
    let options = Options { ideal: true, views: Some(3), ..Options::default() };
    let patient = Patient::water_cylinder(200.0, 300.0);
    let arm = SimulatedCarm::new(small("offset-360"), patient.clone(), options).unwrap();
    let description = arm.description();
    assert_eq!(description.planned_views.len(), 3);
    assert_eq!(description.beam.water_precorrection, [1.0]);
    let remarks = description.remarks.join("\n");
    assert!(
        remarks.contains("scatter")
            && remarks.contains("monoenergetic")
            && remarks.contains("rays per pixel")
    );
    let centre = description.volume_grid.unwrap().centre();
    assert!(centre.coords.norm() < 1e-9);
    let grid: DetectorGrid = description.detector;
    let middle = description.planned_views[1].projection_matrix.project(&Point3::origin());
    assert!(
        (middle.u - (grid.centre()[0] - 110.0 / 4.0)).abs() < 1e-9,
        "the detector is shifted: {middle:?}"
    );
    let flat = SimulatedCarm::new(small("flat-field"), patient, Options::default()).unwrap();
    assert!(flat.description().detector_calibration.is_none() && flat.description().volume_grid.is_none());
}

#[test]
fn options_out_of_range_are_refused() {
    let refuse = |options: Options| {
        let error =
            SimulatedCarm::new(small("fluoro-ap"), Patient::water_cylinder(9.0, 9.0), options).err().unwrap();
        assert!(matches!(error, SimulationError::OutOfRange { .. }), "{error}");
    };
    refuse(Options { rays_per_pixel_side: 0, ..Options::default() });
    refuse(Options { sub_frames: 17, ..Options::default() });
    refuse(Options { drop_share: f64::NAN, ..Options::default() });
    refuse(Options { views: Some(0), ..Options::default() });
    let arm = SimulatedCarm::new(small("fluoro-ap"), Patient::water_cylinder(9.0, 9.0), Options::default())
        .unwrap();
    assert!(matches!(arm.truth_frame(90), Err(SimulationError::NoSuchView { views: 90, found: 90 })));
}
