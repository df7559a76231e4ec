//! A spin from arming to its volume's job.

use super::devices::{Act, Panel};
use super::{service, wait_for};
use crate::{RunState, ServiceError, SpinPhase, StreamSettings};
use capture::{RunOutcome, RunReader};
use std::time::Duration;

#[test]
fn spin_is_armed_started_and_recorded_to_its_end_and_live_images_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), Panel::with_spin(25), StreamSettings::default());
    let stream = service.stream("panel").unwrap();
    wait_for(&service, "an image", |status| status.ledger.shown > 0);
    assert!(matches!(stream.start_spin(), Err(ServiceError::NotNow { .. })), "not armed yet");
    let armed = stream.arm_spin().unwrap();
    assert_eq!((armed.phase, armed.planned_views), (SpinPhase::Armed, 25));
    assert!(matches!(stream.arm_spin(), Err(ServiceError::NotNow { .. })), "one at a time");
    stream.start_spin().unwrap();
    let status = wait_for(&service, "a complete spin", |status| status.spin.phase == SpinPhase::Complete);
    assert!((status.spin.arc_deg - status.spin.planned_arc_deg).abs() < 0.6, "{:?}", status.spin);
    let before = status.ledger.shown;
    wait_for(&service, "live again", |status| status.ledger.shown > before + 5);
    let run = wait_for_run(&service, &status.spin.run);
    assert_eq!((run.state, run.frames, run.lost), (RunState::Complete, 25, 0));
    let reader = RunReader::open(&run.path).unwrap();
    assert_eq!(reader.outcome(), Some(&RunOutcome::Complete));
    let told: Vec<&str> = reader.events().iter().map(|event| event.text.as_str()).collect();
    assert_eq!(told[..3], ["idle -> armed", "armed -> rotating", "rotating -> complete"]);
    assert!(told[3].starts_with("review; missing views 0.00 %: accept;"), "{told:?}");
    let verdict = service.streams()[0].status().spin.verdict.unwrap();
    assert_eq!((told.len(), verdict.to_string().as_str()), (4, told[3]));
    assert!(reader.headers().windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
}

#[test]
fn spin_aborted_before_its_start_leaves_nothing_and_while_it_turns_what_was_covered() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), Panel::with_spin(200), StreamSettings::default());
    let stream = service.stream("panel").unwrap();
    wait_for(&service, "an image", |status| status.ledger.shown > 0);
    let armed = stream.arm_spin().unwrap();
    stream.abort_spin().unwrap();
    assert_eq!(stream.status().spin.phase, SpinPhase::Idle);
    assert!(service.runs().iter().all(|run| run.id != armed.run));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(matches!(stream.abort_spin(), Err(ServiceError::NotNow { .. })));

    stream.arm_spin().unwrap();
    stream.start_spin().unwrap();
    let turning = wait_for(&service, "some views", |status| status.spin.views > 10);
    stream.abort_spin().unwrap();
    assert_eq!(stream.status().spin.phase, SpinPhase::Aborted);
    let run = wait_for_run(&service, &turning.spin.run);
    assert!(run.state == RunState::Aborted && run.frames > 10 && run.frames < 200, "{run:?}");
    let before = stream.status().ledger.shown;
    wait_for(&service, "live again", |status| status.ledger.shown > before + 5);
}

#[test]
fn device_that_cannot_spin_is_not_armed() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path(), Panel::new(vec![vec![Act::Forever]]), StreamSettings::default());
    wait_for(&service, "an image", |status| status.ledger.shown > 0);
    let error = service.streams()[0].arm_spin().unwrap_err();
    assert!(error.to_string().contains("a device that can spin"), "{error}");
    assert_eq!(service.streams()[0].status().spin.phase, SpinPhase::Idle);
}

/// The recording of a spin once it is closed.
fn wait_for_run(service: &crate::Service, id: &str) -> crate::RunInfo {
    loop {
        let run = service.runs().into_iter().find(|run| run.id == id).unwrap();
        if run.state != RunState::Recording {
            return run;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
