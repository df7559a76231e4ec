//! Lag through the whole spin: an off-centre body, imaged by a panel whose lag depends on the exposure, once corrected by
//! what is known of the panel, once as if it were linear, once not at all; against the same spin on a panel without lag.

use acquisition::PanelModel;
use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{FrameSource, RunDescription, SourceEvent, Volume};
use nalgebra::{Matrix3, Point3};
use session::{RunSettings, reconstruct_run};
use simulated::{Attenuation, Effects, Material, Options, Patient, Protocol, SimulatedCarm};
use std::path::Path;

fn protocol() -> Protocol {
    let mut protocol = Protocol::named("spine-spin").unwrap();
    (protocol.detector.columns, protocol.detector.rows) = (154, 24);
    protocol.detector.pixel_pitch_mm = 2.464;
    protocol
}

/// Images the body and changes what the description says of the panel.
fn image(path: &Path, lag: bool, change: impl Fn(&mut RunDescription)) {
    let effects = Effects { lag, ..Effects::NONE };
    let body = Patient::ball(Point3::new(55.0, 0.0, 0.0), 110.0, Attenuation::Density(Material::Water, 1.0));
    let mut arm = SimulatedCarm::new(protocol(), body, Options { effects, ..Options::default() }).unwrap();
    let mut description = arm.description().clone();
    change(&mut description);
    let mut writer = RunWriter::create(path, &description, WriterOptions::default()).unwrap();
    let mut counts = vec![0; description.detector.pixel_count()];
    while let SourceEvent::Frame(header) = arm.next_frame(&mut counts).unwrap() {
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.finish(RunOutcome::Complete).unwrap();
}

fn volume(folder: &Path, name: &str, lag: bool, change: impl Fn(&mut RunDescription)) -> Volume {
    let path = folder.join(name);
    image(&path, lag, change);
    let grid = carm::VolumeGrid::centred([80, 80, 5], [2.5, 2.5, 5.0], Matrix3::identity(), Point3::origin());
    let settings =
        RunSettings { grid: Some(grid.unwrap()), has_second_pass: false, ..RunSettings::default() };
    reconstruct_run(&mut RunReader::open(&path).unwrap(), &settings, &mut |_, _| true).unwrap().volume
}

/// 99th percentile of the difference's size over the middle slice within 90 mm of the axis, HU.
fn residual_hu(volume: &Volume, truth: &Volume) -> f64 {
    let mut off: Vec<f64> = Vec::new();
    for ((_, y, x), value) in volume.values.indexed_iter().filter(|((z, _, _), _)| *z == 2) {
        let [px, py] = [x, y].map(|i| (i as f64 - 39.5) * 2.5);
        if px.hypot(py) < 90.0 {
            off.push(f64::from((value - truth.values[(2, y, x)]).abs()));
        }
    }
    off.sort_by(f64::total_cmp);
    off[off.len() * 99 / 100]
}

/// Rewrites the panel's model in a run's remarks.
fn with_model(description: &mut RunDescription, change: impl Fn(PanelModel) -> PanelModel) {
    let model = change(PanelModel::of(description).unwrap());
    description.remarks.retain(|remark| !remark.starts_with("panel-model"));
    description.remarks.push(model.to_string());
}

#[test]
fn lag_correction_that_knows_the_exposure_leaves_little_where_a_linear_one_leaves_much() {
    let folder = tempfile::tempdir().unwrap();
    let truth = volume(folder.path(), "truth.mcap", false, |_| ());
    let uncorrected = volume(folder.path(), "none.mcap", true, |run| {
        with_model(run, |_| PanelModel::default());
    });
    let linear = volume(folder.path(), "linear.mcap", true, |run| {
        with_model(run, |mut model| {
            model.lag.as_mut().unwrap().low_exposure_growth = 0.0;
            model
        });
    });
    let corrected = volume(folder.path(), "corrected.mcap", true, |_| ());
    let [none, linear, corrected] = [uncorrected, linear, corrected].map(|made| residual_hu(&made, &truth));
    println!(
        "99th percentile: {none:.1} HU without correction, {linear:.1} linear, {corrected:.1} by exposure"
    );
    assert!(corrected < 40.0, "{corrected} HU");
    assert!(linear > 2.5 * corrected, "{linear} HU linear against {corrected} HU");
}
