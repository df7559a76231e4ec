//! The command line of Isocenter.

fn main() {}
