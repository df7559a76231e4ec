//! A spin from arming to its volume's job.

use super::devices::{Act, Panel};
use super::{service, wait_for};
use crate::{
    JobFailure, JobNews, JobRunner, JobState, RunState, Service, ServiceError, ServiceSettings, SpinPhase,
    Step, StreamSettings, Task,
};
use capture::{RunOutcome, RunReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
    assert_eq!(reader.events()[3].name, "frames_end");
    assert!(told[4].starts_with("review; missing views 0.00 %: accept;"), "{told:?}");
    let verdict = service.streams()[0].status().spin.verdict.unwrap();
    assert_eq!((told.len(), verdict.to_string().as_str()), (5, told[4]));
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

/// Follows a recording until no frame comes any more; its result names how many there were.
struct Follower;

impl JobRunner for Follower {
    fn run(&self, task: &Task, step: &mut Step<'_>) -> Result<PathBuf, JobFailure> {
        let mut reader = RunReader::open(&task.run).unwrap();
        while !reader.has_all_frames() {
            if !step(&JobNews::default()) {
                return Err(JobFailure::of("told to stop".into()));
            }
            std::thread::sleep(Duration::from_millis(5));
            reader.refresh().unwrap();
        }
        Ok(PathBuf::from(format!("{} frames", reader.frame_count())))
    }
}

#[test]
fn volume_of_a_spin_is_begun_while_it_turns_and_given_up_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let start = |views| {
        let mut panel = Panel::with_spin(views);
        panel.has_volume_grid = true;
        let settings =
            ServiceSettings { folder: folder.path().join(format!("{views}")), ..Default::default() };
        let streams: Vec<(Box<dyn crate::Driver>, StreamSettings)> =
            vec![(Box::new(panel), Default::default())];
        let service = Service::start(&settings, streams, Follower).unwrap();
        wait_for(&service, "an image", |status| status.ledger.shown > 0);
        let stream = service.stream("panel").unwrap();
        stream.arm_spin().unwrap();
        assert!(service.jobs().list().is_empty(), "nothing turns yet");
        stream.start_spin().unwrap();
        service
    };
    let is_job = |state: JobState| {
        move |service: &Service| service.jobs().list().last().is_some_and(|job| job.state == state)
    };

    // Half a minute of turning.
    let service = start(3000);
    until(&service, is_job(JobState::Running));
    assert_eq!(service.streams()[0].status().spin.phase, SpinPhase::Rotating);
    service.stream("panel").unwrap().abort_spin().unwrap();
    until(&service, is_job(JobState::Cancelled));
    drop(service);

    let service = start(25);
    until(&service, is_job(JobState::Done));
    assert_eq!(service.jobs().list()[0].result, Some(PathBuf::from("25 frames")));
}

fn until(service: &Service, is_so: impl Fn(&Service) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so(service) {
        assert!(Instant::now() < deadline, "{:?}", service.jobs().list());
        std::thread::sleep(Duration::from_millis(2));
    }
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
