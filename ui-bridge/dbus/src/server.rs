//! The daemon's objects on a bus, and on a socket for peers.

use crate::error::DbusError;
use crate::interfaces::{
    Alarms, Daemon, Device, Dose, Jobs, LiveStream, Recording, Runs, Spin, StreamHandle,
};
use crate::{BUS_NAME, DAEMON_PATH, changes, stream_path};
use futures_util::StreamExt;
use service::Service;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use zbus::MessageStream;
use zbus::connection::{Builder, Connection};
use zbus::fdo::RequestNameFlags;

/// Peers at once.
const MOST_PEERS: usize = 32;
/// Messages that a connection holds for us before its sender has to wait.
const MOST_QUEUED: usize = 64;

/// Which bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// Of the user's session.
    Session,
    /// Of the machine.
    System,
    /// At an address.
    Address(String),
}

impl fmt::Display for Bus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => out.write_str("session"),
            Self::System => out.write_str("system"),
            Self::Address(address) => out.write_str(address),
        }
    }
}

/// Where the daemon is served.
#[derive(Clone, Debug, Default)]
pub struct DbusSettings {
    /// On this bus.
    pub bus: Option<Bus>,
    /// And on a socket of its own, to which only its user and group may connect.
    pub peer_socket: Option<PathBuf>,
}

/// The daemon on D-Bus, until it is dropped.
pub struct Server {
    _bus: Option<Connection>,
    tasks: Vec<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Server {
    /// Serves the daemon; needs a tokio runtime.
    ///
    /// # Errors
    /// [`DbusError`]: a bus or name that cannot be had, a socket that cannot be made.
    pub async fn start(service: Arc<Service>, settings: &DbusSettings) -> Result<Self, DbusError> {
        let mut server = Self { _bus: None, tasks: Vec::new(), socket: None };
        if let Some(bus) = &settings.bus {
            let connection = connect(&service, bus).await?;
            server.tasks.push(tokio::spawn(changes::tell(connection.clone(), service.clone())));
            server._bus = Some(connection);
        }
        if let Some(path) = &settings.peer_socket {
            let failed = |source| DbusError::Socket { path: path.clone(), source };
            // What lies there is left over from a daemon that was killed; one that runs holds the bus name.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
            let listener = UnixListener::bind(path).map_err(failed)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o660)).map_err(failed)?;
            server.socket = Some(path.clone());
            server.tasks.push(tokio::spawn(listen(listener, service)));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(path) = &self.socket {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn connect(service: &Arc<Service>, bus: &Bus) -> Result<Connection, DbusError> {
    let failed = |source| DbusError::Connect { bus: bus.to_string(), source };
    let builder = match bus {
        Bus::Session => Builder::session(),
        Bus::System => Builder::system(),
        Bus::Address(address) => Builder::address(address.as_str()),
    };
    let builder = builder.and_then(|builder| objects(builder, service)).map_err(failed)?;
    let connection = builder.max_queued(MOST_QUEUED).build().await.map_err(failed)?;
    // Neither taken from a daemon that has it nor waited for.
    let named = connection.request_name_with_flags(BUS_NAME, RequestNameFlags::DoNotQueue.into()).await;
    named.map_err(|source| DbusError::Name { name: BUS_NAME, bus: bus.to_string(), source })?;
    Ok(connection)
}

/// Accepts peers; one too many has to wait.
async fn listen(listener: UnixListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(MOST_PEERS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    if let Err(error) = attend(stream, service).await {
                        tracing::debug!(%error, "a D-Bus peer went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no D-Bus peer could be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn attend(stream: UnixStream, service: Arc<Service>) -> zbus::Result<()> {
    let guid = zbus::Guid::generate();
    let builder = Builder::unix_stream(stream).server(guid)?.p2p().max_queued(MOST_QUEUED);
    let connection = objects(builder, &service)?.build().await?;
    let telling = tokio::spawn(changes::tell(connection.clone(), service));
    // Messages are answered elsewhere; here only their end matters.
    let mut messages = MessageStream::from(&connection);
    while let Some(Ok(_)) = messages.next().await {}
    telling.abort();
    Ok(())
}

fn objects<'a>(builder: Builder<'a>, service: &Arc<Service>) -> zbus::Result<Builder<'a>> {
    let mut builder = builder
        .serve_at(DAEMON_PATH, Daemon { service: service.clone() })?
        .serve_at(DAEMON_PATH, Runs { service: service.clone() })?
        .serve_at(DAEMON_PATH, Jobs { service: service.clone() })?
        .serve_at(DAEMON_PATH, Alarms { service: service.clone() })?;
    for (index, stream) in service.streams().iter().enumerate() {
        let path = stream_path(stream.name());
        let handle = StreamHandle { service: service.clone(), index };
        builder = builder
            .serve_at(path.clone(), Device(handle.clone()))?
            .serve_at(path.clone(), LiveStream(handle.clone()))?
            .serve_at(path.clone(), Recording(handle.clone()))?
            .serve_at(path.clone(), Spin(handle.clone()))?
            .serve_at(path, Dose(handle))?;
    }
    Ok(builder)
}
