//! A recorded run played as a device: on time, faster, or flat out.
