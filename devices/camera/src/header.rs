//! What is known of a frame that a camera sent.

use carm::{ClockStamps, DeviceTime, Exposure, FrameHeader, GantryPose, HostTime, Pedal, WallTime};
use std::time::{SystemTime, UNIX_EPOCH};

/// When a frame came, by this host's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    host: HostTime,
    wall: WallTime,
}

impl Arrived {
    /// This host's monotonic and wall clocks.
    pub(crate) fn now() -> Self {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let host_ns = monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64;
        let wall_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Self { host: HostTime(host_ns), wall: WallTime(wall_ns) }
    }
}

/// A frame with X-rays on, as far as a camera can tell; without a stamp of the source the host's clock stands in.
pub(crate) fn frame_header(
    sequence: u64,
    stamp_ns: Option<u64>,
    Arrived { host, wall }: Arrived,
    exposure: Exposure,
) -> FrameHeader {
    let device = DeviceTime(stamp_ns.unwrap_or(host.0));
    FrameHeader {
        sequence,
        stamps: ClockStamps { device, host, wall },
        mid_exposure: device,
        is_xray_on: true,
        pedal: Pedal::Fluoroscopy,
        gantry: GantryPose::default(),
        exposure,
    }
}
