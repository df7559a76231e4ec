//! What is recorded is what came, number by number.

use super::devices::{Act, Panel, counts};
use super::{service, wait_for};
use crate::{RecordPolicy, RecordingState, RunState, ServiceError, StreamSettings};
use capture::{RunOutcome, RunReader};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

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
    for _ in 0..2 {
        let before = service.streams()[0].status().ledger.recorded;
        let run = stream.start_recording().unwrap();
        assert!(matches!(stream.start_recording(), Err(ServiceError::NotNow { .. })));
        let status = wait_for(&service, "recorded frames", |status| status.ledger.recorded > before + 5);
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
fn recording_goes_on_in_the_next_file_without_a_frame_between() {
    let folder = tempfile::tempdir().unwrap();
    let file_lasts = Duration::from_millis(300);
    // A busy disk may keep the recorder waiting; what is asked here is the change of files.
    let ring_slots = 1024;
    let settings =
        StreamSettings { record: RecordPolicy::Always, file_lasts, ring_slots, ..StreamSettings::default() };
    let service = service(folder.path(), Panel::new(vec![vec![Act::Forever]]), settings);
    wait_for(&service, "a second's frames", |status| {
        status.ledger.received > 110 && service.runs().len() >= 3
    });
    service.stop();
    let runs = service.runs();
    assert!(runs.len() >= 3 && runs.iter().all(|run| run.state == RunState::Complete), "{runs:?}");
    let numbers: Vec<u64> = runs.iter().flat_map(|run| numbers(&run.path)).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(numbers.len() as u64, service.streams()[0].status().ledger.recorded);
}

fn numbers(path: &std::path::Path) -> Vec<u64> {
    RunReader::open(path).unwrap().headers().iter().map(|header| header.sequence).collect()
}

/// A folder that is full, as `statvfs` and `write` tell it: a small file system of its own. Not without root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kib: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let size = format!("size={kib}k");
        let made =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.0.path()).output();
        made.is_ok_and(|made| made.status.success()).then_some(disk)
    }

    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        let done = Command::new("mount").args(["-o", &option]).arg(self.0.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A mount that stays is of no harm but to the next look at the machine.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// What the files of a stream say of each number: a frame, a gap, or nothing.
fn account(service: &crate::Service) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut frames, mut gaps) = (BTreeSet::new(), BTreeSet::new());
    for run in service.runs() {
        let Ok(reader) = RunReader::open(&run.path) else { continue };
        frames.extend(reader.headers().iter().map(|header| header.sequence));
        gaps.extend(reader.gaps().iter().flat_map(|gap| gap.first_sequence..gap.first_sequence + gap.count));
    }
    (frames, gaps)
}

#[test]
fn disk_that_fills_is_told_and_its_frames_stand_as_a_gap_in_the_next_file() {
    let Some(disk) = SmallDisk::mount(400) else {
        println!("not run: a small file system needs root");
        return;
    };
    let settings = StreamSettings { record: RecordPolicy::Always, ..StreamSettings::default() };
    let service = service(disk.0.path(), Panel::new(vec![vec![Act::Forever]]), settings);
    let full = wait_for(
        &service,
        "a full disk",
        |status| matches!(&status.recording, RecordingState::Failed { reason } if reason.contains("no space left")),
    );
    assert!(service.alarms().list().iter().any(|alarm| alarm.kind == "recorder" && alarm.is_active()));
    wait_for(&service, "further images", |status| status.ledger.shown > full.ledger.shown + 20);
    disk.remount("size=40m");
    wait_for(&service, "a recording again", |status| matches!(status.recording, RecordingState::On { .. }));
    let back = service.streams()[0].status().ledger.recorded;
    wait_for(&service, "recorded frames", |status| status.ledger.recorded > back + 50);
    service.stop();
    let ledger = service.streams()[0].status().ledger;
    assert!(ledger.record_lost > 0 && ledger.unrecorded == 0, "{ledger:?}");
    assert_eq!(ledger.received, ledger.recorded + ledger.record_lost);
    let (frames, gaps) = account(&service);
    let all: BTreeSet<u64> = frames.union(&gaps).copied().collect();
    assert_eq!(all.len() as u64, ledger.received, "each number is a frame or in a gap");
    assert!(frames.len() as u64 >= ledger.recorded, "what counts as recorded is there");
    assert!(service.alarms().list().iter().all(|alarm| alarm.kind != "recorder" || !alarm.is_active()));
    let empty = std::fs::read_dir(disk.0.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().metadata().unwrap().len() == 0);
    assert_eq!(empty.count(), 0, "no empty files");
}

#[test]
fn disk_that_becomes_read_only_is_told_and_recording_goes_on_when_it_is_not() {
    let Some(disk) = SmallDisk::mount(40_000) else {
        println!("not run: a small file system needs root");
        return;
    };
    let settings = StreamSettings { record: RecordPolicy::Always, ..StreamSettings::default() };
    // No file stays open for writing while the disk is remounted.
    let service = service(disk.0.path(), Panel::new(vec![vec![Act::Forever]]), settings);
    wait_for(&service, "recorded frames", |status| status.ledger.recorded > 5);
    service.streams()[0].stop_recording().unwrap();
    disk.remount("ro");
    let refused = service.streams()[0].start_recording().unwrap_err();
    assert!(refused.to_string().contains("creating the file"), "{refused}");
    disk.remount("rw");
    service.streams()[0].start_recording().unwrap();
    let before = service.streams()[0].status().ledger.recorded;
    wait_for(&service, "recorded frames", |status| status.ledger.recorded > before + 10);
}

#[test]
fn wall_clock_that_is_set_stands_in_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let hour = 3_600_000_000_000;
    let panel = Panel::new(vec![vec![
        Act::WallClock(hour),
        Act::Frames((0..5).collect()),
        Act::WallClock(0),
        Act::Frames((5..10).collect()),
        Act::Dark(u64::MAX),
    ]]);
    let settings = StreamSettings { record: RecordPolicy::Always, ..StreamSettings::default() };
    let service = service(folder.path(), panel, settings);
    wait_for(&service, "dark frames after the others", |status| status.ledger.held > 3);
    service.stop();
    let reader = RunReader::open(&service.runs()[0].path).unwrap();
    let told: Vec<&str> = reader.events().iter().map(|event| event.name.as_str()).collect();
    assert_eq!(told, ["clock"]);
    let text = &reader.events()[0].text;
    assert!(
        text.starts_with("the wall clock stepped by -3600.0")
            || text.starts_with("the wall clock stepped by -3599.9"),
        "{text}"
    );
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
