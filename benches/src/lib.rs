//! The place for criterion benches in the field's units, one short file a kernel; none is written yet.
//!
//! `peers/`, beside this package's source, runs other programs on the same data: `make compare`.
