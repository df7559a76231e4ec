//! Joins device, acquisition, capture and reconstruction into a running case.
