//! The command line of Isocenter. It parses, wires and reports; the work is in the crates.
//!
//! Exit codes: 0 when what was said was done, 2 for bad usage alone, 1 for anything else with one clear message.

mod cancel;
mod cli;
mod commands;
mod console;
mod maps;
mod picture;
mod report;
mod runs;
mod tissue;
mod volumes;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(told) => return console::tell_usage(&told),
    };
    start_logging();
    cancel::listen();
    let console = console::Console::new(arguments.json);
    match commands::run(arguments.command, &console) {
        Ok(outcome) => console.finish(outcome),
        Err(error) => console.fail(&error),
    }
}

/// Logs go to standard error; `RUST_LOG` chooses what.
fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
