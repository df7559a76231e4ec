//! The command line as its users meet it: every test runs the program itself.

mod angiograms;
mod calibrate;
mod contract;
mod golden_replay;
mod incomplete_runs;
mod interruption;
mod iterative;
mod left_and_right;
mod masks;
mod models;
mod one_hash;
mod program;
mod refusals;
mod replay;
mod serve;
mod small_spin;
