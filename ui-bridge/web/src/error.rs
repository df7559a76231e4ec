//! Why there is no page.

use std::io;
use std::net::SocketAddr;

/// The page cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// An address that others can reach.
    #[error("web page: expected a loopback address such as 127.0.0.1:8477, found {found}")]
    NotLoopback {
        /// The address.
        found: SocketAddr,
    },
    /// The address cannot be had.
    #[error("web page: {address} cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("web page: the thread for {stream} could not be started")]
    Thread {
        /// The stream that it is for.
        stream: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
