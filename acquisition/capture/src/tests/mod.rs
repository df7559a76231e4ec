//! The promises of the run file, each against a file made here.

mod round_trip;
mod sample;
