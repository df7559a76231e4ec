//! What is recorded is what came, number by number.

use super::devices::{Act, Panel, counts};
use super::{service, wait_for};
use crate::{RecordPolicy, RecordingState, RunState, ServiceError, StreamSettings};
use capture::{RunOutcome, RunReader};

#[test]
fn always_recorded_stream_holds_every_frame_and_a_gap_for_each_that_never_came() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u64> = (0..60).filter(|n| ![7, 8, 9, 33].contains(n)).collect();
    let panel = Panel::new(vec![vec![Act::Frames(numbers.clone()), Act::Dark(u64::MAX)]]);
    let settings = StreamSettings { record: RecordPolicy::Always, ..StreamSettings::default() };
    let service = service(folder.path(), panel, settings);
    wait_for(&service, "dark frames after the others", |status| status.ledger.held > 3);
    service.stop();
    let ledger = service.status().streams[0].ledger;
    assert_eq!((ledger.lost, ledger.refused, ledger.record_lost, ledger.unrecorded), (4, 0, 0, 0));
    assert_eq!(ledger.received, ledger.recorded);
    assert_eq!(ledger.received, ledger.shown + ledger.skipped + ledger.held + ledger.unshowable);

    let runs = service.runs();
    assert_eq!((runs.len(), &runs[0].state), (1, &RunState::Complete));
    assert_eq!((runs[0].frames, runs[0].lost), (ledger.recorded, 4));
    let mut reader = RunReader::open(&runs[0].path).unwrap();
    assert_eq!(reader.outcome(), Some(&RunOutcome::Complete));
    assert_eq!(reader.content_hash(), runs[0].content_hash);
    let gaps: Vec<(u64, u64)> = reader.gaps().iter().map(|gap| (gap.first_sequence, gap.count)).collect();
    assert_eq!(gaps, [(7, 3), (33, 1)]);
    let mut read = vec![0; super::devices::NU * super::devices::NV];
    for (index, sequence) in numbers.into_iter().enumerate() {
        assert_eq!(reader.read_frame(index, &mut read).unwrap().sequence, sequence);
        assert_eq!(read, counts(sequence));
    }
}

#[test]
fn recording_starts_and_stops_when_asked_one_file_each() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), Panel::new(vec![vec![Act::Forever]]), StreamSettings::default());
    let stream = service.stream("panel").unwrap();
    wait_for(&service, "unrecorded frames", |status| status.ledger.unrecorded > 5);
    for round in 1..=2 {
        let run = stream.start_recording().unwrap();
        assert!(matches!(stream.start_recording(), Err(ServiceError::NotNow { .. })));
        let status = wait_for(&service, "recorded frames", |status| status.ledger.recorded > 10 * round);
        assert_eq!(status.recording, RecordingState::On { run: run.id.clone() });
        let done = stream.stop_recording().unwrap();
        assert_eq!((&done.id, &done.state), (&run.id, &RunState::Complete));
        assert!(done.frames >= 5 && done.lost == 0 && done.bytes > 0);
        assert!(capture::inspect(&done.path).is_sound());
        assert!(matches!(stream.stop_recording(), Err(ServiceError::NotNow { .. })));
    }
    assert_eq!(service.runs().len(), 2);
    service.stop();
    let again =
        super::service(folder.path(), Panel::new(vec![vec![Act::Forever]]), StreamSettings::default());
    let found = again.runs();
    assert!(found.len() == 2 && found.iter().all(|run| run.state == RunState::Stored && run.bytes > 0));
}

#[test]
fn recording_that_cannot_be_is_told_and_the_live_image_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let settings = StreamSettings { record: RecordPolicy::Always, ..StreamSettings::default() };
    let service = service(&runs, Panel::new(vec![vec![Act::Frames(vec![1]), Act::Forever]]), settings);
    wait_for(&service, "a recording", |status| status.ledger.recorded > 2);
    let stream = service.stream("panel").unwrap();
    stream.stop_recording().unwrap();
    std::fs::remove_dir_all(&runs).unwrap();
    let error = stream.start_recording().unwrap_err();
    assert!(matches!(error, ServiceError::Capture(_)), "{error}");
    let before = service.streams()[0].status().ledger;
    wait_for(&service, "further images", |status| status.ledger.shown > before.shown + 5);
}

#[test]
fn run_and_stream_that_are_not_there_are_refused_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), Panel::new(vec![vec![Act::Forever]]), StreamSettings::default());
    let error = service.stream("arm").err().unwrap().to_string();
    assert_eq!(error, "stream: expected one of [panel], found arm");
    assert!(matches!(service.reconstruct("nothing"), Err(ServiceError::Unknown { kind: "run", .. })));
    assert!(matches!(service.jobs().cancel(7), Err(ServiceError::Unknown { kind: "job", .. })));
}
