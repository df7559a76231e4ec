//! What was written reads back, bit for bit.

use super::sample::{NU, NV, SEQUENCES, description, fill, frame, record};
use crate::{CaptureError, Reservation, RunOutcome, RunReader, RunWriter, WriterOptions, inspect, recover};
use carm::{FrameHeader, HostTime};

fn bits(run: &carm::RunDescription) -> Vec<u64> {
    let calibration = run.detector_calibration.as_ref().unwrap();
    let maps =
        calibration.dark_counts.iter().chain(&calibration.gain).map(|value| u64::from(value.to_bits()));
    let views = run.planned_views.iter().flat_map(|view| {
        let p = &view.projection_matrix;
        let numbers = p.matrix().iter().chain(p.m_inverse().iter()).copied();
        numbers.chain([view.primary_angle_rad]).collect::<Vec<f64>>()
    });
    let grid = run.volume_grid.unwrap();
    let numbers = views
        .chain(run.beam.water_precorrection.iter().copied())
        .chain(grid.direction.iter().copied())
        .chain(grid.origin.iter().copied())
        .chain(run.patient.isocenter_lps.iter().copied())
        .chain([run.frame_rate_hz, run.beam.mu_water_per_mm, run.patient.table.longitudinal_mm]);
    maps.chain(numbers.map(f64::to_bits)).collect()
}

#[test]
fn run_reads_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let summary = record(&path);
    assert_eq!(summary.frames, SEQUENCES.len() as u64);
    assert_eq!(summary.file_bytes, std::fs::metadata(&path).unwrap().len());

    let mut reader = RunReader::open(&path).unwrap();
    assert!(reader.is_indexed());
    assert_eq!(reader.description(), &description());
    assert_eq!(bits(reader.description()), bits(&description()));
    assert_eq!(reader.content_hash(), summary.content_hash);
    assert_eq!(reader.outcome(), Some(&RunOutcome::Complete));
    assert_eq!(reader.recorded_frame_count(), Some(10));
    assert_eq!((reader.gaps()[0].first_sequence, reader.gaps()[0].count), (4, 2));
    assert_eq!(reader.gaps()[0].reason, "lost in transit");
    let names: Vec<&str> = reader.events().iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["xray_on", "xray_off"]);
    assert_eq!(reader.events()[0].host, HostTime(900_000_000_000));
    // Random access, backwards.
    for (index, sequence) in SEQUENCES.into_iter().enumerate().rev() {
        let mut counts = vec![0; NU * NV];
        let header = reader.read_frame(index, &mut counts).unwrap();
        assert_eq!((header, counts), frame(sequence));
        assert_eq!(reader.headers()[index], header);
        assert_eq!(reader.index_of(sequence), Some(index));
    }
    assert_eq!(reader.index_of(4), None);
}

#[test]
fn run_by_index_and_by_scan_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    record(&path);
    let indexed = RunReader::open(&path).unwrap();
    let scanned = RunReader::scanned(crate::file::RunFile::open(&path).unwrap()).unwrap();
    assert!(indexed.is_indexed() && !scanned.is_indexed());
    assert!(scanned.damage().is_empty(), "{:?}", scanned.damage());
    assert_eq!(indexed.headers(), scanned.headers());
    assert_eq!(indexed.gaps(), scanned.gaps());
    assert_eq!(indexed.events(), scanned.events());
    assert_eq!(indexed.outcome(), scanned.outcome());
    assert_eq!(indexed.content_hash(), scanned.content_hash());
    assert_eq!(indexed.contents().chunks, scanned.contents().chunks);
    assert!(indexed.contents().chunks > 3, "the sample run must have several chunks");
}

#[test]
fn inspection_of_a_finished_run_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    record(&path);
    let found = inspect(&path);
    assert!(found.is_sound(), "{found:?}");
    assert_eq!((found.frames, found.sequences), (10, Some((0, 11))));
    assert!(found.unexplained_gaps.is_empty());
    let description = found.description.unwrap();
    assert_eq!((description.detector_size, description.planned_views), ([NU, NV], 3));
}

#[test]
fn run_dropped_or_killed_without_finish_reads_as_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    for is_killed in [false, true] {
        let path = folder.path().join(format!("killed-{is_killed}.mcap"));
        let options = WriterOptions { chunk_bytes: 1500, ..WriterOptions::default() };
        let mut writer = RunWriter::create(&path, &description(), options).unwrap();
        fill(&mut writer);
        if is_killed {
            // As when the process is gone: nothing that a destructor would still save.
            std::mem::forget(writer);
        } else {
            drop(writer);
        }
        let mut reader = RunReader::open(&path).unwrap();
        assert_eq!(reader.outcome(), None);
        assert_eq!(reader.description(), &description());
        let at_least = if is_killed { 6 } else { 10 };
        assert!(reader.frame_count() >= at_least, "{} frames", reader.frame_count());
        for (index, sequence) in SEQUENCES.into_iter().take(reader.frame_count()).enumerate() {
            let mut counts = vec![0; NU * NV];
            assert_eq!((reader.read_frame(index, &mut counts).unwrap(), counts), frame(sequence));
        }
        assert!(!inspect(&path).is_sound());
    }
}

#[test]
fn growing_run_is_followed_chunk_by_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let mut writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    let mut reader = RunReader::open(&path).unwrap();
    assert_eq!(reader.frame_count(), 0);
    for sequence in 0..40 {
        let (header, counts) = frame(sequence);
        writer.write_frame(&header, &counts).unwrap();
        if sequence % 10 == 9 {
            writer.flush().unwrap();
            reader.refresh().unwrap();
            assert_eq!(reader.frame_count() as u64, sequence + 1);
            let mut found = vec![0; NU * NV];
            assert_eq!(reader.read_frame(sequence as usize, &mut found).unwrap(), header);
            assert_eq!(found, counts);
        }
    }
    assert!(!reader.has_all_frames());
    writer.end_frames(HostTime(0)).unwrap();
    assert_eq!((reader.refresh().unwrap(), reader.has_all_frames(), reader.outcome()), (0, true, None));
    writer.finish(RunOutcome::Aborted).unwrap();
    assert_eq!(reader.refresh().unwrap(), 0);
    assert_eq!(reader.outcome(), Some(&RunOutcome::Aborted));
    assert!(reader.damage().is_empty(), "{:?}", reader.damage());
}

#[test]
fn chunk_closes_after_half_a_second_of_the_frames_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let mut writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    for sequence in 0..40 {
        let (header, counts) = frame(sequence);
        writer.write_frame(&header, &counts).unwrap();
    }
    writer.finish(RunOutcome::Complete).unwrap();
    // 40 frames every 33.4 ms are 1.3 s: three chunks, and the one with the channels in front.
    assert_eq!(inspect(&path).chunks, 4);
}

#[test]
fn faulted_run_keeps_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    writer.finish(RunOutcome::Faulted("generator: no ready signal".into())).unwrap();
    let reader = RunReader::open(&path).unwrap();
    assert_eq!(reader.outcome(), Some(&RunOutcome::Faulted("generator: no ready signal".into())));
}

#[test]
fn reserved_space_is_given_back_and_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, reserved) = (folder.path().join("plain.mcap"), folder.path().join("reserved.mcap"));
    record(&plain);
    let reserve_bytes = Some(64 << 20);
    let options = WriterOptions { chunk_bytes: 1500, reserve_bytes, ..WriterOptions::default() };
    let mut writer = RunWriter::create(&reserved, &description(), options).unwrap();
    fill(&mut writer);
    let summary = writer.finish(RunOutcome::Complete).unwrap();
    assert_ne!(summary.reservation, Reservation::None);
    assert_eq!(std::fs::read(&plain).unwrap(), std::fs::read(&reserved).unwrap());
    use std::os::unix::fs::MetadataExt;
    let on_disk = std::fs::metadata(&reserved).unwrap().blocks() * 512;
    assert!(on_disk < 8 << 20, "{on_disk} bytes still held");
}

#[test]
fn writer_refuses_what_it_could_not_give_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let mut nan = description();
    nan.beam.mu_water_per_mm = f64::NAN;
    let error = RunWriter::create(&path, &nan, WriterOptions::default()).err().unwrap();
    assert!(matches!(error, CaptureError::DescriptionNotStorable { .. }), "{error}");
    assert!(!path.exists(), "a refused run leaves no file");

    let mut writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    let error = writer.write_frame(&FrameHeader::default(), &[0; 7]).unwrap_err();
    assert!(matches!(error, CaptureError::FrameSize { expected: 165, found: 7 }), "{error}");
    let error = RunWriter::create(&path, &description(), WriterOptions::default()).err().unwrap();
    assert!(matches!(error, CaptureError::AlreadyExists { .. }), "{error}");
}

#[test]
fn recover_of_a_sound_run_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("run.mcap"), folder.path().join("out.mcap"));
    let summary = record(&path);
    let recovery = recover(&path, &out).unwrap();
    assert_eq!(recovery.outcome, RunOutcome::Complete);
    assert_eq!(recovery.summary.content_hash, summary.content_hash);
    assert!(recovery.lost.is_empty() && inspect(&out).is_sound());
    assert!(matches!(recover(&path, &path), Err(CaptureError::AlreadyExists { .. })));
}

#[test]
fn foreign_and_empty_files_are_refused_with_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    std::fs::write(&path, []).unwrap();
    let text = RunReader::open(&path).err().unwrap().to_string();
    assert!(text.contains("found 0 bytes"), "{text}");
    assert!(inspect(&path).unreadable.is_some());
    std::fs::write(&path, "DICM and nothing else").unwrap();
    let text = RunReader::open(&path).err().unwrap().to_string();
    assert!(text.contains("expected a run file"), "{text}");
    assert!(!inspect(&path).is_run);
    assert!(inspect(folder.path()).unreadable.is_some());
    assert!(inspect(folder.path().join("absent")).unreadable.is_some());
}
