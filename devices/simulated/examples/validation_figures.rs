//! Prints what the scripts in `validation/` hold against other programs.
//!
//! ```text
//! validation_figures cylinders                                   JSON: primary and scatter of water cylinders
//! validation_figures projections HU.raw NX NY NZ SX SY SZ OUT     truth volume and line integrals, raw float32
//! validation_figures speed HU.raw NX NY NZ SX SY SZ VIEWS         seconds per frame of spine-spin, all effects
//! validation_figures iodine HU.raw NX NY NZ SX SY SZ LABELS.raw  the bone rule against labels (uint8)
//! ```
//! `HU.raw`: float32, x fastest, axes along LPS, centred on the origin.

use carm::{FrameSource, Quantity, Volume, VolumeGrid};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;
use simulated::{Effects, Options, Patient, Protocol, SimulatedCarm};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("cylinders") => cylinders(),
        Some("projections") => projections(&read_ct(&arguments[1..8])?, Path::new(&arguments[8])),
        Some("speed") => speed(&read_ct(&arguments[1..8])?, arguments[8].parse()?),
        Some("iodine") => iodine(&read_ct(&arguments[1..8])?, &arguments[8]),
        _ => Err("expected cylinders, projections, speed or iodine".into()),
    }
}

fn read_ct(arguments: &[String]) -> Result<Volume, Box<dyn Error>> {
    let number = |n: usize| arguments[n].parse::<f64>();
    let shape = [number(1)? as usize, number(2)? as usize, number(3)? as usize];
    let spacing = [number(4)?, number(5)?, number(6)?];
    let bytes = std::fs::read(&arguments[0])?;
    let hu: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let grid = VolumeGrid::centred(shape, spacing, Matrix3::identity(), Point3::origin())?;
    let values = Array3::from_shape_vec((shape[2], shape[1], shape[0]), hu)?;
    Ok(Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None }))
}

/// Central row of the primary and mean scatter in 7 x 3 blocks, without a grid in front of the detector.
fn cylinders() -> Result<(), Box<dyn Error>> {
    let mut all = Vec::new();
    for diameter_mm in [200.0, 260.0, 320.0] {
        let mut protocol = Protocol::named("spine-spin")?;
        protocol.beam.grid_primary_transmission = 1.0;
        protocol.beam.grid_scatter_transmission = 1.0;
        let effects = Effects { scatter: true, ..Effects::NONE };
        let options = Options { effects, views: Some(1), ..Options::default() };
        let arm = SimulatedCarm::new(protocol, Patient::water_cylinder(diameter_mm, 300.0), options)?;
        let truth = arm.truth_frame(0)?;
        let scatter = truth.scatter.ok_or("scatter is on")?;
        let block = |a: usize, b: usize| {
            scatter.slice(ndarray::s![b * 160..(b + 1) * 160, a * 88..(a + 1) * 88]).mean().unwrap_or(0.0)
        };
        let blocks: Vec<Vec<f32>> = (0..7).map(|a| (0..3).map(|b| block(a, b)).collect()).collect();
        // 60 x 60 mm in the middle.
        let middle = scatter.slice(ndarray::s![191..289, 259..357]).mean().unwrap_or(0.0);
        let matrix: Vec<f64> = truth.true_matrix.matrix().transpose().iter().copied().collect();
        all.push(serde_json::json!({
            "diameter_mm": diameter_mm, "transmission_row_240": truth.transmission.row(240).to_vec(),
            "matrix": matrix, "blocks": blocks, "middle": middle,
        }));
    }
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(())
}

/// Writes `truth.raw` on the CT's own grid, `line_integrals.raw` and `geometry.json` for views of a wobbling spin.
fn projections(ct: &Volume, out: &Path) -> Result<(), Box<dyn Error>> {
    let effects = Effects { wobble: true, calibration_drift: true, jitter: true, ..Effects::NONE };
    let options = Options { effects, views: Some(7), ..Options::default() };
    let arm = SimulatedCarm::new(Protocol::named("spine-spin")?, Patient::from_hu(ct)?, options)?;
    let raw = |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    std::fs::write(out.join("truth.raw"), raw(&mut arm.truth(&ct.grid).values.iter().copied()))?;
    let detector = arm.description().detector;
    let (mut stack, mut poses) = (Vec::new(), Vec::new());
    for view in 0..arm.views() {
        let truth = arm.truth_frame(view)?;
        stack.extend(raw(&mut truth.line_integrals.iter().copied()));
        let pose = truth.true_matrix.for_space(&arm.lps_from_world().inverse()).detector_pose(&detector);
        poses.push(serde_json::json!({
            "source": pose.source.coords.as_slice(), "centre": pose.centre.coords.as_slice(),
            "e_u": pose.e_u.as_slice(), "e_v": pose.e_v.as_slice(),
        }));
    }
    std::fs::write(out.join("line_integrals.raw"), stack)?;
    std::fs::write(out.join("geometry.json"), serde_json::to_vec(&poses)?)?;
    Ok(())
}

fn speed(ct: &Volume, views: usize) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let patient = Patient::from_hu(ct)?;
    let patient_s = started.elapsed().as_secs_f64();
    let mut arm = SimulatedCarm::new(
        Protocol::named("spine-spin")?,
        patient,
        Options { views: Some(views), ..Options::default() },
    )?;
    let set_up_s = started.elapsed().as_secs_f64() - patient_s;
    let mut counts = vec![0; arm.description().detector.pixel_count()];
    let (started, cpu_before_s) = (Instant::now(), user_cpu_s()?);
    for _ in 0..views {
        arm.next_frame(&mut counts)?;
    }
    let frame_ms = started.elapsed().as_secs_f64() * 1e3 / views as f64;
    let frame_cpu_ms = (user_cpu_s()? - cpu_before_s) * 1e3 / views as f64;
    println!("patient {patient_s:.2} s, set-up {set_up_s:.2} s, {frame_ms:.0} ms a frame");
    println!("{frame_cpu_ms:.0} ms of processor time a frame, {cpu_before_s:.2} s before the first");
    Ok(())
}

/// User time of all threads of this process, in clock ticks of 10 ms (Linux).
fn user_cpu_s() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The 14th field; the second is the program's name in brackets.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().nth(11).ok_or("utime in /proc/self/stat")?.parse()?;
    Ok(0.01 * ticks)
}

/// Grams of iodine and bone in the field of view by the neighbourhood rule and by labels, and what both call iodine.
fn iodine(ct: &Volume, labels: &str) -> Result<(), Box<dyn Error>> {
    let labels = Array3::from_shape_vec(ct.values.raw_dim(), std::fs::read(labels)?)?;
    let sums = |patient: Patient| -> Result<[ndarray::Array2<f32>; 2], Box<dyn Error>> {
        let options = Options { ideal: true, views: Some(1), ..Options::default() };
        let truth = SimulatedCarm::new(Protocol::named("fluoro-ap")?, patient, options)?.truth_frame(0)?;
        Ok([truth.iodine_g_cm2, truth.bone_g_cm2])
    };
    let by_rule = sums(Patient::from_hu(ct)?)?;
    let by_labels = sums(Patient::from_labelled_hu(ct, &labels)?)?;
    for (name, rule, labels) in [("iodine", &by_rule[0], &by_labels[0]), ("bone", &by_rule[1], &by_labels[1])]
    {
        let both: f32 = rule.iter().zip(labels).map(|(a, b)| a.min(*b)).sum();
        println!(
            "{name}: rule {:.1}, labels {:.1}, in both {both:.1} (g/cm2 summed over pixels)",
            rule.sum(),
            labels.sum()
        );
    }
    Ok(())
}
