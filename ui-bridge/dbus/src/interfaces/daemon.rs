//! `org.isocenter.Daemon1`: the daemon as a whole.

use crate::stream_path;
use service::Service;
use std::sync::Arc;
use zbus::zvariant::OwnedObjectPath;

pub(crate) struct Daemon {
    pub(crate) service: Arc<Service>,
}

#[zbus::interface(name = "org.isocenter.Daemon1")]
impl Daemon {
    /// Version of the program.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        self.service.status().version
    }

    /// Since it started, s.
    #[zbus(property(emits_changed_signal = "false"))]
    fn uptime_seconds(&self) -> f64 {
        self.service.status().uptime_s
    }

    /// Bytes that are free for recordings; zero where the system does not tell.
    #[zbus(property(emits_changed_signal = "false"))]
    fn free_bytes(&self) -> u64 {
        self.service.status().free_bytes.unwrap_or(0)
    }

    /// The streams' objects.
    #[zbus(property(emits_changed_signal = "const"))]
    fn streams(&self) -> Vec<OwnedObjectPath> {
        let paths = self.service.streams().iter().map(|stream| stream_path(stream.name()));
        paths.map(|path| OwnedObjectPath::try_from(path).expect("escaped names make a path")).collect()
    }
}
