//! Real clients (`gdbus`, `busctl`) and zbus's own on a private bus, and peer to peer.

mod clients;
mod device;
mod introspection;
mod peers;
mod policy;

use crate::{Bus, DbusSettings, Server};
use device::Panel;
use service::{NoJobs, Service, ServiceSettings, StreamSettings};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A bus, a daemon on it, and a socket for its peers.
struct Rig {
    address: String,
    socket: PathBuf,
    service: Arc<Service>,
    runtime: Runtime,
    _server: Server,
    _bus: Option<PrivateBus>,
    _folder: Option<TempDir>,
}

struct PrivateBus(Child);

impl Drop for PrivateBus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn private_bus() -> (PrivateBus, String) {
    let mut bus = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--print-address=1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("`dbus-daemon`, Debian's dbus");
    let mut address = String::new();
    BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (PrivateBus(bus), address.trim().to_owned())
}

impl Rig {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bus, address) = private_bus();
        let rig = Self::start_on(address, folder.path());
        Self { _bus: Some(bus), _folder: Some(folder), ..rig }
    }

    /// On a bus that somebody else made.
    fn start_on(address: String, folder: &Path) -> Self {
        let settings = ServiceSettings { folder: folder.join("runs"), ..ServiceSettings::default() };
        let panel: Box<dyn service::Driver> = Box::new(Panel);
        let service = Service::start(&settings, vec![(panel, StreamSettings::default())], NoJobs).unwrap();
        let service = Arc::new(service);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = folder.join("peers");
        let settings =
            DbusSettings { bus: Some(Bus::Address(address.clone())), peer_socket: Some(socket.clone()) };
        let server = runtime.block_on(Server::start(service.clone(), &settings)).unwrap();
        let rig = Self { address, socket, service, runtime, _server: server, _bus: None, _folder: None };
        rig.wait_until("images", || rig.service.streams()[0].status().ledger.shown > 0);
        rig
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: {:#?}", self.service.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `gdbus`, on the bus.
    fn gdbus(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("gdbus");
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command.args([verb, "--session", "--dest", crate::BUS_NAME]).args(arguments);
        command.output().expect("`gdbus`, Debian's libglib2.0-bin")
    }

    /// `busctl`, on the bus: what it prints.
    fn busctl(&self, arguments: &[&str]) -> String {
        let address = format!("--address={}", self.address);
        let output =
            Command::new("busctl").arg(address).args(arguments).output().expect("`busctl`, Debian's systemd");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Words of a program that went well.
fn words(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}
