//! How often the verdict of a spin finds what is wrong with it, and how often it cries without reason.
//!
//! `cargo run --profile ci -p service --example verdict_trials -- 1000 100` draws bodies with seeds from 1000 on, and prints
//! one line a fault. A third argument names one fault, as `MotionAcross`, and prints every trial's verdict as well.

mod trial;

use std::time::{Duration, Instant};
use trial::{Fault, spin};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(or);
    let (first, trials) = (number(0, 1000), number(1, 10));
    let asked = arguments.get(2);
    for fault in Fault::ALL {
        if asked.is_some_and(|asked| *asked != format!("{fault:?}")) {
            continue;
        }
        let (mut told, mut longest) = (0, Duration::ZERO);
        for seed in first..first + trials {
            let (watch, now_ns) = spin(seed, fault);
            let begun = Instant::now();
            let verdict = watch.verdict(now_ns);
            longest = longest.max(begun.elapsed());
            told += u64::from(fault.is_told(&verdict));
            if asked.is_some() {
                println!("# {seed} {verdict}");
            }
        }
        let what = if fault == Fault::None { "accepted" } else { "told" };
        println!("{fault:?}: {told} of {trials} {what}; the longest verdict took {} ms", longest.as_millis());
    }
}
