//! Why the daemon is not on D-Bus, and what a refused call says.

use service::ServiceError;
use std::io;
use std::path::PathBuf;

/// The daemon cannot be served on D-Bus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbusError {
    /// The bus cannot be reached.
    #[error("D-Bus: the {bus} bus cannot be reached")]
    Connect {
        /// Which bus.
        bus: String,
        /// Why.
        #[source]
        source: zbus::Error,
    },
    /// The name is taken, or the bus's policy does not allow it.
    #[error("D-Bus: the name {name} cannot be had on the {bus} bus")]
    Name {
        /// The name.
        name: &'static str,
        /// Which bus.
        bus: String,
        /// Why.
        #[source]
        source: zbus::Error,
    },
    /// The socket for peers cannot be made.
    #[error("{}: expected a socket for D-Bus peers, found it cannot be made", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a refused call says: `org.isocenter.Error.*`.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.isocenter.Error")]
pub(crate) enum CallError {
    /// zbus's own.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// No such stream, run or job.
    Unknown(String),
    /// The present state does not allow it.
    NotNow(String),
    /// It was tried and failed.
    Failed(String),
}

impl From<ServiceError> for CallError {
    fn from(error: ServiceError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        match error {
            ServiceError::Unknown { .. } => Self::Unknown(text),
            ServiceError::NotNow { .. } | ServiceError::NoFrames { .. } => Self::NotNow(text),
            _ => Self::Failed(text),
        }
    }
}

/// Does what may wait for a disk or a device on a thread where waiting hurts nobody.
pub(crate) async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, CallError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(CallError::Failed(error.to_string())),
    }
}
