//! The service with devices made for the test.

mod devices;
mod drivers;
mod faults;
mod maps;
mod priorities;
mod recordings;
mod spins;
mod workers;

use crate::{NoJobs, Service, ServiceSettings, StreamSettings, StreamStatus};
use devices::Panel;
use std::path::Path;
use std::time::{Duration, Instant};

/// A service of one panel.
fn service(folder: &Path, panel: Panel, settings: StreamSettings) -> Service {
    let at = ServiceSettings { folder: folder.to_path_buf(), ..ServiceSettings::default() };
    Service::start(&at, vec![(Box::new(panel), settings)], NoJobs).unwrap()
}

/// Waits until the one stream's status is as wished; panics with the last one otherwise.
fn wait_for(service: &Service, what: &str, is_so: impl Fn(&StreamStatus) -> bool) -> StreamStatus {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = service.streams()[0].status();
        if is_so(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status:#?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
