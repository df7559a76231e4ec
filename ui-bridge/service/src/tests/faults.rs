//! Devices that fail, fall silent or never let go.

use super::devices::{Act, Panel, RATE_HZ};
use super::{service, wait_for};
use crate::{DeviceState, LiveState, NoJobs, Service, ServiceError, ServiceSettings, StreamSettings};
use acquisition::{Delivery, LiveNote, LiveStages};
use std::time::{Duration, Instant};

#[test]
fn device_that_went_away_is_told_and_its_numbers_go_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let panel = Panel::new(vec![
        vec![Act::Frames(vec![3, 4, 6]), Act::Fail],
        vec![Act::Frames(vec![0, 1]), Act::Forever],
    ]);
    let settings = StreamSettings {
        open_again_after: Duration::from_millis(200),
        record: crate::RecordPolicy::Always,
        ..StreamSettings::default()
    };
    let service = service(folder.path(), panel, settings);
    let gone = wait_for(&service, "the device gone", |status| status.device == DeviceState::Gone);
    assert!(gone.device_reason.contains("disconnected") && gone.live == LiveState::Stalled, "{gone:?}");
    assert!(service.alarms().list().iter().any(|alarm| alarm.kind == "device" && alarm.is_active()));
    let back = wait_for(&service, "the device back", |status| status.ledger.received >= 8);
    assert_eq!((back.device, back.ledger.opened, back.ledger.lost), (DeviceState::Streaming, 2, 1));
    assert!(back.last_sequence >= 9, "3, 4, 6, then 7, 8, ...: {}", back.last_sequence);
    assert!(service.alarms().list().iter().all(|alarm| !alarm.is_active()));
    service.stop();
    let run = capture::RunReader::open(&service.runs()[0].path).unwrap();
    let events: Vec<_> =
        run.events().iter().map(|event| (event.name.as_str(), event.text.as_str())).collect();
    assert_eq!(events, [("device", "opened again")]);
}

#[test]
fn silent_device_is_stalled_within_two_frame_times_though_it_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let block = Act::Block(Duration::from_millis(600));
    let panel = Panel::new(vec![vec![Act::Frames((0..20).collect()), block, Act::Forever]]);
    let service = service(folder.path(), panel, StreamSettings::default());
    wait_for(&service, "the last frame", |status| status.last_sequence == 19);
    let stalled = wait_for(&service, "the stall", |status| status.live == LiveState::Stalled);
    // The age is the moment's: two frame times, the wait's own step, and what a busy machine adds.
    let age_ms = stalled.age_ms.unwrap();
    assert!(age_ms > 2e3 / RATE_HZ && age_ms < 200.0, "{age_ms} ms");
    assert_eq!(stalled.device, DeviceState::Stalled);
    wait_for(&service, "live again", |status| status.live == LiveState::Live);
}

#[test]
fn device_that_never_lets_go_does_not_keep_the_daemon_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let panel = Panel::new(vec![vec![Act::Frames((0..5).collect()), Act::Block(Duration::from_secs(8))]]);
    let settings = StreamSettings { record: crate::RecordPolicy::Always, ..StreamSettings::default() };
    let service = service(folder.path(), panel, settings);
    wait_for(&service, "all frames", |status| status.ledger.recorded == 5);
    let stopping = Instant::now();
    service.stop();
    assert!(stopping.elapsed() < Duration::from_secs(6), "{:?}", stopping.elapsed());
    assert!(capture::inspect(&service.runs()[0].path).is_sound());
}

#[test]
fn last_image_stays_when_xrays_go_off() {
    let folder = tempfile::tempdir().unwrap();
    let panel = Panel::new(vec![vec![Act::Frames((0..10).collect()), Act::Dark(u64::MAX)]]);
    let service = service(folder.path(), panel, StreamSettings::default());
    let status = wait_for(&service, "dark frames", |status| status.ledger.held > 5);
    assert_eq!((status.live, status.last_sequence), (LiveState::LastImage, 9));
    assert_eq!(status.ledger.received, status.ledger.shown + status.ledger.skipped + status.ledger.held);
}

#[test]
fn live_ring_carries_images_with_their_window_stages_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), Panel::new(vec![vec![Act::Forever]]), StreamSettings::default());
    let stream = service.stream("panel").unwrap();
    wait_for(&service, "an image", |status| status.ledger.shown > 0);
    let mut reader = stream.live_ring().unwrap().lossless_reader();
    let mut image = vec![0; super::devices::NU * super::devices::NV];
    let mut read = || loop {
        match reader.next(&mut image).unwrap() {
            Delivery::Frame(header) => break (header, LiveNote::from_words(&reader.note()), image.clone()),
            _ => reader.wait(Duration::from_secs(1)),
        }
    };
    let (header, note, image) = read();
    assert_eq!(image, super::devices::counts(header.sequence), "no maps, so the counts themselves");
    assert!(note.finished_ns >= header.stamps.host.0 && note.shown.window.low < note.shown.window.high);
    assert_eq!(note.shown.stages, LiveStages { automatic_window: true, ..LiveStages::NONE });
    stream.set_stages(LiveStages { automatic_window: false, ..LiveStages::USUAL });
    while read().1.shown.stages.automatic_window {}
}

#[test]
fn service_without_devices_or_with_two_of_one_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ServiceSettings { folder: folder.path().to_path_buf(), ..ServiceSettings::default() };
    assert!(matches!(Service::start(&settings, vec![], NoJobs), Err(ServiceError::Devices { .. })));
    let panel = || -> (Box<dyn crate::Driver>, _) {
        (Box::new(Panel::new(vec![vec![Act::Forever]])), StreamSettings::default())
    };
    let Err(error) = Service::start(&settings, vec![panel(), panel()], NoJobs) else { panic!("refused") };
    assert!(error.to_string().contains("[panel, panel]"), "{error}");
}
