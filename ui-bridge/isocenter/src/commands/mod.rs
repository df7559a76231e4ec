//! One file a command.

mod calibrate;
mod convert;
mod demo;
mod driver;
mod inspect;
mod model;
mod reconstruct;
mod replay;
mod segment;
mod serve;
mod simulate;
mod worker;

use crate::cli::{Arguments, Command};
use crate::console::{Console, Outcome};
use anyhow::Result;
use clap::CommandFactory;

/// Runs a command.
pub fn run(command: Command, console: &Console) -> Result<Outcome> {
    match command {
        Command::Demo(options) => demo::run(&options, console),
        Command::Simulate(options) => simulate::run(&options, console),
        Command::Calibrate(options) => calibrate::run(&options, console),
        Command::Replay(options) => replay::run(&options, console),
        Command::Reconstruct(options) => reconstruct::run(&options, console),
        Command::Segment(options) => segment::run(&options, console),
        Command::Model(options) => model::run(&options, console),
        Command::Serve(options) => serve::run(&options, console),
        Command::Worker => worker::run(),
        Command::Driver(options) => driver::run(&options, console),
        Command::Convert(options) => convert::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "isocenter", &mut script);
            let script = String::from_utf8(script)?;
            Ok(Outcome::success(serde_json::json!({ "shell": shell.to_string(), "script": script }), script))
        }
    }
}
