//! How often the consistency check finds what is wrong, and how often it cries without reason.
//!
//! `cargo run --profile ci -p reconstruct --example consistency_trials -- 1000 100` draws bodies with seeds from 1000 on and
//! prints one line a fault, bodies that are seen whole and truncated ones apart. A third argument names one class and
//! fault, as `truncated:Drift1mm`, or `all`, and prints every trial's measures as well.

mod trial;

use reconstruct::consistency::{Consistency, check_consistency};
use trial::{Fault, MU_WATER_PER_MM, scan};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(or);
    let (first, trials) = (number(0, 1000), number(1, 10));
    let asked = arguments.get(2);
    for is_truncated in [false, true] {
        for fault in Fault::ALL {
            let body = if is_truncated { "truncated" } else { "whole" };
            if asked.is_some_and(|asked| asked != "all" && *asked != format!("{body}:{fault:?}")) {
                continue;
            }
            let found: Vec<Consistency> =
                (first..first + trials).map(|seed| check(seed, is_truncated, fault)).collect();
            let alarms = found.iter().filter(|found| found.is_alarm()).count();
            println!("{body:9} {fault:?}: {alarms} alarms in {trials}");
            if asked.is_some() {
                found.iter().for_each(|found| tell(body, fault, found));
            }
        }
    }
}

fn tell(body: &str, fault: Fault, found: &Consistency) {
    let parts = found.measures.parts().map(|(name, value)| format!("{name} {value:.5}"));
    println!("# {body} {fault:?} {:.2} {} {}", found.number(), found.is_truncated, parts.join(" "));
}

fn check(seed: u64, is_truncated: bool, fault: Fault) -> Consistency {
    let scan = scan(seed, is_truncated, fault);
    check_consistency(&scan.geometry, scan.line_integrals.view(), MU_WATER_PER_MM, &mut |_, _| true)
        .expect("a sound scan")
}
