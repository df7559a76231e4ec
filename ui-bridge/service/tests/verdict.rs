//! The verdict of a spin, against bodies in closed form with a known fault; the example `verdict_trials` runs a hundred.

#[path = "../examples/verdict_trials/trial.rs"]
mod trial;

use carm::{DetectorGrid, Exposure, FrameHeader};
use service::{Advice, SpinWatch, Verdict};
use trial::{Fault, run, spin};

const TRIALS: u64 = 3;

fn verdicts(fault: Fault) -> Vec<Verdict> {
    let verdict = |(watch, now_ns): (SpinWatch, u64)| watch.verdict(now_ns);
    (1..=TRIALS).map(|seed| verdict(spin(seed, fault))).collect()
}

#[test]
fn verdict_accepts_sound_spins_and_tells_of_each_fault() {
    for fault in Fault::ALL {
        for verdict in verdicts(fault) {
            assert!(fault.is_told(&verdict), "{fault:?}, {:?}: {verdict}", fault.findings());
        }
    }
}

#[test]
fn verdict_of_a_body_that_leaves_the_detector_tells_of_truncation() {
    let mut narrow = run();
    narrow.detector = DetectorGrid::new([352, 256], [0.25, 1.1]).unwrap();
    let mut watch = SpinWatch::new(narrow);
    let header = |sequence| FrameHeader {
        sequence,
        is_xray_on: true,
        exposure: Exposure { tube_voltage_kv: 100.0, tube_current_ma: 100.0, pulse_width_ms: 10.0 },
        ..FrameHeader::default()
    };
    // All at one angle: nothing can be said of motion.
    (0..40).for_each(|view| watch.take(&header(view), &vec![3_000; 352 * 256]));
    let verdict = watch.verdict(0);
    let found = |what: &str| verdict.findings.iter().find(|found| found.what == what).unwrap();
    assert_eq!(found("motion").value, None);
    assert!(found("truncation").advice > Advice::Accept && verdict.advice > Advice::Accept, "{verdict}");
}
