//! The command line as its users meet it: every test runs the program itself.

mod contract;
mod incomplete_runs;
mod interruption;
mod iterative;
mod left_and_right;
mod masks;
mod models;
mod one_hash;
mod program;
mod refusals;
mod serve;
mod small_spin;
