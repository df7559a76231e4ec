//! A few trials of each fault that is found reliably, on bodies that are seen whole; the example `consistency_trials` runs
//! a hundred of all, truncated ones too.

#[allow(dead_code, reason = "the example runs more faults than this test")]
#[path = "../examples/consistency_trials/trial.rs"]
mod trial;

use reconstruct::ReconstructError;
use reconstruct::consistency::{Consistency, check_consistency};
use trial::{Fault, MU_WATER_PER_MM, scan};

const TRIALS: u64 = 2;

fn check(seed: u64, is_truncated: bool, fault: Fault) -> Consistency {
    let scan = scan(seed, is_truncated, fault);
    check_consistency(&scan.geometry, scan.line_integrals.view(), MU_WATER_PER_MM, &mut |_, _| true).unwrap()
}

fn alarms(is_truncated: bool, fault: Fault) -> usize {
    (0..TRIALS).filter(|seed| check(1000 + seed, is_truncated, fault).is_alarm()).count()
}

#[test]
fn consistency_of_a_sound_scan_raises_no_alarm() {
    for is_truncated in [false, true] {
        assert_eq!(alarms(is_truncated, Fault::None), 0, "truncated: {is_truncated}");
    }
}

#[test]
fn consistency_finds_views_out_of_order_mirrored_ones_and_wrong_matrices() {
    let faults = [Fault::Shuffled, Fault::Mirrored, Fault::Drift1mm, Fault::Jitter1mm, Fault::Jitter05deg];
    for fault in faults {
        assert_eq!(alarms(false, fault), TRIALS as usize, "{fault:?}");
    }
}

#[test]
fn consistency_knows_whether_views_are_truncated_and_stops_when_asked() {
    for is_truncated in [false, true] {
        let found = check(7, is_truncated, Fault::None);
        assert_eq!(found.is_truncated, is_truncated);
        assert_eq!(found.views.iter().all(|view| view.whole.is_none()), is_truncated);
    }
    let scan = scan(7, false, Fault::None);
    let views = scan.line_integrals.view();
    let stopped = check_consistency(&scan.geometry, views, MU_WATER_PER_MM, &mut |done, _| done < 5);
    assert_eq!(stopped.unwrap_err(), ReconstructError::Cancelled);
}
