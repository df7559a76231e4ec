//! Views to volume: weights, ramp filter, projectors, FDK.
