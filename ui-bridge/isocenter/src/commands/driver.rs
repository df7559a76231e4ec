//! `isocenter driver`: one device of the daemon in a process of its own, so that a driver that blocks or crashes takes no
//! other stream with it. The daemon starts it; nobody types it.

use crate::cli::DriverOptions;
use crate::commands::serve::{Config, driver};
use crate::commands::worker::daemons_socket;
use crate::console::{Console, Outcome};
use anyhow::{Context, Result};
use serde_json::json;

/// Runs the command.
pub fn run(options: &DriverOptions, console: &Console) -> Result<Outcome> {
    let socket = daemons_socket()?;
    let config = Config::read(&options.config)?;
    let part = config.devices.iter().find(|part| part.name == options.device);
    let part = part.with_context(|| format!("{}: no device {}", options.config.display(), options.device))?;
    let driver = driver(part, console)?;
    service::drive(socket, driver.as_ref())?;
    Ok(Outcome::success(json!({}), ""))
}
