//! The promises of the run file, each against a file made here.

mod damage;
mod full_disk;
mod golden;
mod round_trip;
mod sample;
