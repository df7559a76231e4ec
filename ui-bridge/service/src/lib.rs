//! The daemon's inside: streams, runs, spin, jobs and alarms.
