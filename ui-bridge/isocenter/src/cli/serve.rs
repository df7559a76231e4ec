//! `serve`, and what it starts itself.

use clap::Args;
use std::path::PathBuf;

/// Options of `serve`.
#[derive(Args)]
pub struct Serve {
    /// The configuration: TOML, described in `deploy/isocenter.toml`.
    #[arg(long)]
    pub config: PathBuf,
    /// Only say whether the configuration is sound.
    #[arg(long)]
    pub check: bool,
}

/// Options of `driver`.
#[derive(Args)]
pub struct DriverOptions {
    /// The daemon's configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Which device of it.
    #[arg(long)]
    pub device: String,
}
