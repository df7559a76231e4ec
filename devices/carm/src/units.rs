//! The three clocks, and HU against attenuation: where a mix-up would be silent and costly.

/// Nanoseconds on the device's own clock; starts anywhere, may step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceTime(pub u64);

/// Nanoseconds on this host's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostTime(pub u64);

/// Nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// Hounsfield units of an attenuation `mu_per_mm`, given water's at the same effective energy.
pub fn hu_from_mu(mu_per_mm: f64, mu_water_per_mm: f64) -> f64 {
    1000.0 * (mu_per_mm - mu_water_per_mm) / mu_water_per_mm
}

/// Attenuation in 1/mm of a Hounsfield number, given water's at the same effective energy.
pub fn mu_from_hu(hu: f64, mu_water_per_mm: f64) -> f64 {
    mu_water_per_mm * (1.0 + hu / 1000.0)
}
