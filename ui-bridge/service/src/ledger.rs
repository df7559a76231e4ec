//! Every sequence number accounted for, while it happens.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What became of the frames of one stream since the daemon started. Without frames on their way,
        /// `received = shown + skipped + held + unshowable = recorded + record_lost + unrecorded`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Ledger {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Ledger {
            /// Each count by its name.
            pub fn counts(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), self.$name),)*]
            }
        }

        /// The same as atomics: each counter has one thread that adds to it.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Ledger {
                Ledger { $($name: self.$name.load(Ordering::Acquire),)* }
            }
        }
    };
}

counters! {
    /// Frames that came from the device, in order.
    received,
    /// Numbers that the device gave and that never came.
    lost,
    /// Frames that came twice or too late to be shown or recorded in order; too late ones are also among the lost.
    refused,
    /// Live images finished.
    shown,
    /// Frames passed over for a newer one.
    skipped,
    /// Frames without X-rays, which do not replace the last image.
    held,
    /// Frames that could not be made an image, such as for want of a reported exposure.
    unshowable,
    /// Frames written to a recording.
    recorded,
    /// Frames that should have been recorded and were not; each stands in the recording as a gap where there still is
    /// one.
    record_lost,
    /// Frames that came while nothing was to be recorded.
    unrecorded,
    /// Frames of which packets never came; they are among the lost. Only where the device tells, as the next two.
    incomplete,
    /// Packets that never came.
    packets_lost,
    /// Packets that came when they were asked for again.
    packets_resent,
    /// Times that frames were due and did not come.
    stalls,
    /// Times that the device was opened.
    opened,
}

/// Adds to a counter that this thread alone changes.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Release);
}
