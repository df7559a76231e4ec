//! The daemon's page: live images at full rate in a browser on this machine, runs, spins, metrics, health.
//!
//! Served on loopback only, with everything it needs built in: no other host is asked for anything, and none may ask.
//! The types to know are [`WebSettings`] and [`Server`].
//!
//! | path | gives |
//! |---|---|
//! | `/` | the page: `assets/`, plain HTML, CSS and JavaScript |
//! | `/ws/live/NAME` | a WebSocket: each image as a binary message ([`frame`]), the stream's status as JSON five times a second |
//! | `/api/status`, `/api/runs` | JSON |
//! | `POST /api/streams/NAME/spin/arm`, `start`, `abort` | a spin |
//! | `POST /api/streams/NAME/recording/start`, `stop` | the recording |
//! | `POST /api/streams/NAME/stages` | stages of the live image, JSON |
//! | `POST /api/streams/NAME/remask` | the next frames become the mask that is subtracted |
//! | `POST /api/runs/ID/reconstruct`, `/api/jobs/N/cancel` | jobs |
//! | `/metrics` | Prometheus |
//! | `/healthz`, `/readyz` | whether it lives; whether every stream shows images |

mod api;
mod error;
pub mod frame;
mod guard;
mod live;
mod metrics;
mod server;
mod socket;

#[cfg(test)]
mod tests;

pub use error::WebError;
pub use server::{Server, WebSettings};
