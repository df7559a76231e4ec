//! The run file: frame codec, MCAP, index, recovery.
