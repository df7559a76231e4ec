//! What the user sees: progress on a terminal, then either one JSON object or a few lines.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::process::ExitCode;

/// Exit status of a malformed command line.
const BAD_USAGE: u8 = 2;

/// How a command ended.
pub struct Outcome {
    /// The object for `--json`.
    pub json: Value,
    /// The same for people.
    pub text: String,
    /// False for a finding that is a failure, such as an unsound file: reported, then exit 1.
    pub is_success: bool,
}

impl Outcome {
    /// A command that did what it says.
    pub fn success(json: Value, text: impl Into<String>) -> Self {
        Self { json, text: text.into(), is_success: true }
    }
}

/// Where reports go.
pub struct Console {
    json: bool,
}

impl Console {
    /// `json`: exactly one JSON object on standard output.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A bar of `length` steps on standard error, drawn only on a terminal.
    pub fn progress(&self, length: u64, what: &'static str) -> ProgressBar {
        if !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg:16} {bar:40} {pos}/{len} {elapsed} (left {eta})")
            .expect("a template that is part of the program");
        ProgressBar::new(length).with_style(style).with_message(what)
    }

    /// Prints the outcome.
    pub fn finish(&self, outcome: Outcome) -> ExitCode {
        if self.json {
            println!("{}", outcome.json);
        } else if !outcome.text.is_empty() {
            println!("{}", outcome.text.trim_end());
        }
        if outcome.is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Prints the one message of a failure.
    pub fn fail(&self, error: &anyhow::Error) -> ExitCode {
        // The chain's links often repeat their source's text: keep each statement once.
        let mut message = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        if self.json {
            println!("{}", json!({ "error": message }));
        }
        eprintln!("isocenter: {message}");
        ExitCode::FAILURE
    }
}

/// Prints help, version, or what was wrong with the usage; with `--json` the latter is an object, too.
pub fn tell_usage(told: &clap::Error) -> ExitCode {
    // Nothing is left to be told when the terminal itself is gone.
    let _ = told.print();
    if told.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        println!("{}", json!({ "error": told.render().to_string().trim() }));
    }
    ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(BAD_USAGE))
}

/// Largest resident memory of this process so far, MiB; none where the system does not tell.
pub fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kib / 1024.0 * 10.0).round() / 10.0)
}
