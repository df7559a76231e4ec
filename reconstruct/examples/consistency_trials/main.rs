//! How often the consistency check finds what is wrong, and how often it cries without reason.
//!
//! `cargo run --profile ci -p reconstruct --example consistency_trials -- 100` prints one line a fault, bodies that are
//! seen whole and truncated ones apart; a second argument prints every trial's spreads instead.

mod trial;

use reconstruct::consistency::{Consistency, check_consistency};
use trial::{Fault, MU_WATER_PER_MM, scan};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let trials: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let tells_all = arguments.next().is_some();
    for is_truncated in [false, true] {
        for fault in Fault::ALL {
            let found: Vec<Consistency> = (0..trials).map(|seed| check(seed, is_truncated, fault)).collect();
            let alarms = found.iter().filter(|found| found.is_alarm()).count();
            let body = if is_truncated { "truncated" } else { "whole" };
            println!("{body:9} {fault:?}: {alarms} alarms in {trials}");
            if tells_all {
                for found in &found {
                    let parts = found.spreads.parts().map(|(_, value)| format!("{value:.5}"));
                    println!("# {body} {fault:?} {} {}", found.is_truncated, parts.join(" "));
                }
            }
        }
    }
}

fn check(seed: u64, is_truncated: bool, fault: Fault) -> Consistency {
    let scan = scan(seed, is_truncated, fault);
    check_consistency(&scan.geometry, scan.line_integrals.view(), MU_WATER_PER_MM, &mut |_, _| true)
        .expect("a sound scan")
}
