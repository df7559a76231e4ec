//! What systemd is told (`sd_notify(3)`): ready, alive, stopping. Datagrams to the socket that it names; without one, nobody
//! is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The supervisor, if there is one.
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    /// Half the time after which silence counts as death.
    interval: Option<Duration>,
    last: Mutex<Instant>,
}

impl Supervisor {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn from_environment() -> Self {
        let socket = std::env::var("NOTIFY_SOCKET").ok().and_then(|name| {
            connect(&name).inspect_err(|error| tracing::warn!(%error, name, "systemd cannot be told")).ok()
        });
        let interval = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let interval = interval.map(|us| Duration::from_micros(us) / 2);
        Self { socket, interval, last: Mutex::new(Instant::now()) }
    }

    /// Tells it one line.
    pub fn tell(&self, line: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(line.as_bytes())
        {
            tracing::warn!(%error, line, "systemd was not told");
        }
    }

    /// Tells it that the daemon lives, as often as it wants to know.
    pub fn tell_alive(&self) {
        let Some(interval) = self.interval else { return };
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= interval {
            *last = Instant::now();
            drop(last);
            self.tell("WATCHDOG=1");
        }
    }
}

fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
