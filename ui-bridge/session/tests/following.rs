//! A volume made while its recording grows.

use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{FrameHeader, FrameSource, RunDescription, SourceEvent, Volume};
use nalgebra::{Matrix3, Point3};
use session::{RunReconstruction, RunSettings, SessionError, follow_run, reconstruct_run};
use simulated::{Attenuation, Effects, Material, Options, Patient, Protocol, SimulatedCarm};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A short scan of a ball by a coarse panel.
fn spin() -> (RunDescription, Vec<(FrameHeader, Vec<u16>)>) {
    let mut protocol = Protocol::named("spine-spin").unwrap();
    (protocol.detector.columns, protocol.detector.rows) = (77, 60);
    protocol.detector.pixel_pitch_mm = 4.928;
    let ball = Patient::ball(Point3::new(20.0, 0.0, 0.0), 60.0, Attenuation::Density(Material::Water, 1.0));
    let options = Options { effects: Effects::NONE, ..Options::default() };
    let mut arm = SimulatedCarm::new(protocol, ball, options).unwrap();
    let description = arm.description().clone();
    let mut frames = Vec::new();
    let mut counts = vec![0; description.detector.pixel_count()];
    while let SourceEvent::Frame(header) = arm.next_frame(&mut counts).unwrap() {
        frames.push((header, counts.clone()));
    }
    (description, frames)
}

fn settings(has_second_pass: bool) -> RunSettings {
    let grid = carm::VolumeGrid::centred([40, 40, 20], [4.0; 3], Matrix3::identity(), Point3::origin());
    RunSettings { grid: Some(grid.unwrap()), has_second_pass, ..RunSettings::default() }
}

/// Writes frames into a file that another thread follows, a next part of them only when it has all of the last.
fn followed(
    path: &Path,
    description: &RunDescription,
    parts: &[&[(FrameHeader, Vec<u16>)]],
    settings: &RunSettings,
) -> (RunReconstruction, Vec<Volume>) {
    let reserve_bytes = Some(RunWriter::bytes_needed(description, 300));
    let mut writer =
        RunWriter::create(path, description, WriterOptions { reserve_bytes, ..Default::default() }).unwrap();
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut reader = RunReader::open(path).unwrap();
            let mut progress = |done, _| {
                taken.store(done, Ordering::Release);
                true
            };
            let mut early = Vec::new();
            let made =
                follow_run(&mut reader, settings, &mut progress, &mut |volume| early.push(volume)).unwrap();
            (made, early)
        });
        let mut written = 0;
        for part in parts {
            for (header, counts) in *part {
                writer.write_frame(header, counts).unwrap();
            }
            writer.flush().unwrap();
            written += part.len() as u64;
            while taken.load(Ordering::Acquire) < written {
                assert!(!follower.is_finished(), "it ended before the last frame");
                std::thread::yield_now();
            }
        }
        writer.end_frames(carm::HostTime(0)).unwrap();
        let made = follower.join().unwrap();
        // What follows the last frame is not waited for.
        writer.finish(RunOutcome::Complete).unwrap();
        made
    })
}

#[test]
fn followed_run_gives_the_volume_of_the_finished_one_and_an_earlier_version() {
    let folder = tempfile::tempdir().unwrap();
    let (description, frames) = spin();
    let parts: Vec<_> = frames.chunks(frames.len() / 5).collect();
    for has_second_pass in [false, true] {
        let path = folder.path().join(format!("{has_second_pass}.mcap"));
        let settings = settings(has_second_pass);
        let (made, early) = followed(&path, &description, &parts, &settings);
        let mut reader = RunReader::open(&path).unwrap();
        let of_finished = reconstruct_run(&mut reader, &settings, &mut |_, _| true).unwrap();
        assert_eq!(made.views, frames.len());
        assert_eq!(made.volume.values, of_finished.volume.values);
        assert_eq!(made.volume.provenance.inputs, of_finished.volume.provenance.inputs);
        if !has_second_pass {
            assert!(early.is_empty(), "there is one version");
            continue;
        }
        let first = reconstruct_run(&mut reader, &self::settings(false), &mut |_, _| true).unwrap();
        assert_eq!(early.len(), 1);
        assert_eq!(early[0].values, first.volume.values);
        assert_eq!(early[0].provenance.inputs, first.volume.provenance.inputs);
        assert_ne!(made.volume.values, first.volume.values, "the second pass did something");
    }
}

#[test]
fn followed_run_that_was_cut_short_is_planned_again_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.mcap");
    let (description, frames) = spin();
    let covered = &frames[..frames.len() * 24 / 25];
    let (made, early) = followed(&path, &description, &[covered], &settings(true));
    for volume in [&made.volume, &early[0]] {
        let warnings = &volume.provenance.warnings;
        assert!(warnings.iter().any(|warning| warning.contains("planned degrees")), "{warnings:?}");
    }
}

#[test]
fn follower_of_a_run_that_never_ends_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless.mcap");
    let (description, frames) = spin();
    let mut writer = RunWriter::create(&path, &description, WriterOptions::default()).unwrap();
    writer.write_frame(&frames[0].0, &frames[0].1).unwrap();
    writer.flush().unwrap();
    let mut asked = 0;
    let mut progress = |_, _| {
        asked += 1;
        asked < 5
    };
    let mut reader = RunReader::open(&path).unwrap();
    let told = follow_run(&mut reader, &settings(true), &mut progress, &mut |_| panic!("no volume"));
    assert!(matches!(told, Err(SessionError::Cancelled)), "{told:?}");
}

#[test]
fn second_pass_of_a_run_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let (description, frames) = spin();
    followed(&path, &description, &[&frames], &settings(false));
    let mut reader = RunReader::open(&path).unwrap();
    let is_first_there = std::cell::Cell::new(false);
    let told = follow_run(&mut reader, &settings(true), &mut |_, _| !is_first_there.get(), &mut |_| {
        is_first_there.set(true);
    });
    assert!(is_first_there.get());
    assert!(matches!(told, Err(SessionError::Cancelled)), "{told:?}");
}
