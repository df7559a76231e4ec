//! Criterion benches in the field's units.
