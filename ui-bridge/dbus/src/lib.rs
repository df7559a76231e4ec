//! The daemon on D-Bus: typed, introspectable, callable by `busctl` and `gdbus` as they are.
//!
//! | object | interfaces |
//! |---|---|
//! | `/org/isocenter/Daemon1` | `org.isocenter.Daemon1`, `.Runs1`, `.Jobs1`, `.Alarms1` |
//! | `/org/isocenter/Daemon1/stream/NAME` | `org.isocenter.Device1`, `.LiveStream1`, `.Recording1`, `.Spin1`, `.Dose1` |
//!
//! The same objects are served under the name `org.isocenter.Daemon1` on a bus and, peer to peer, on a socket of the
//! daemon's own ([`DbusSettings`]). Images do not travel over D-Bus: `LiveStream1.OpenRing` hands out the sealed memory of
//! the live ring once ([`acquisition::RingLayout`] says how it lies), and a client maps it for reading. What changes is
//! told by `PropertiesChanged`, at most five times a second. Introspection data is checked in under `introspection/`.
//!
//! ```sh
//! gdbus call --session --dest org.isocenter.Daemon1 --object-path /org/isocenter/Daemon1/stream/panel \
//!     --method org.isocenter.Spin1.Arm
//! busctl --user get-property org.isocenter.Daemon1 /org/isocenter/Daemon1/stream/panel org.isocenter.LiveStream1 Ledger
//! ```

mod changes;
mod error;
mod interfaces;
mod server;

#[cfg(test)]
mod tests;

pub use error::DbusError;
pub use server::{Bus, DbusSettings, Server};

/// Name on a bus.
pub const BUS_NAME: &str = "org.isocenter.Daemon1";
/// The daemon's object; streams lie below it.
pub const DAEMON_PATH: &str = "/org/isocenter/Daemon1";

/// The object of a stream: characters that a path may not hold become `_` and two hexadecimal digits.
pub fn stream_path(name: &str) -> String {
    let mut path = format!("{DAEMON_PATH}/stream/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(byte.into());
        } else {
            path += &format!("_{byte:02x}");
        }
    }
    path
}
