//! Raw counts to corrected frames: ring, queues, corrections, spin state machine.
